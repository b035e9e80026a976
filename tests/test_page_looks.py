"""What a page shows of models: how alike they are by any measure, whether they are whole, and the card of a saved file."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import tiny
from loras import LINEAR, LINEAR_KEY, lora, write_lora
from safetensors.torch import load_file, save_file

from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.similarity import Question, compare, compare_all
from lib_chilly.ui.alike import figures
from lib_chilly.ui.questions import Room
from lib_chilly.ui.service import Service

MIX = "M = weighted_sum(a, b, alpha=0.25)  # so\nV = weighted_sum(a, M, alpha=0.5)\n"
HOSTILE = '<img src=x onerror="alert(1)">]]>&'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, a broken one, one of another kind, and one whose name is hostile."""
    folder = tmp_path_factory.mktemp("looks")
    first = tiny(tmp_path_factory, "looks-a", seed=1)
    second = tiny(tmp_path_factory, "looks-b", near=first, drift=0.3, seed=2)
    other = tiny(tmp_path_factory, "looks-xl", "sdxl", seed=3)
    for name, path in {"a": first, "b": second, HOSTILE: second, "xl": other}.items():
        (folder / f"{name}.safetensors").symlink_to(path)
    tensors = {key: tensor * (30 if "middle_block" in key else 1) for key, tensor in load_file(first).items()}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "broken.safetensors")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Asks a service as the page does: the reply, the problem, or the job that is over."""
    patch = pytest.MonkeyPatch()
    patch.setenv("CHILLY_HOME", str(tmp_path_factory.mktemp("home")))
    out = tmp_path_factory.mktemp("out")
    service = Service(Room(StandaloneHost([folder], out, threads=2)))

    def ask(question: str, **given: Any) -> Any:
        reply = json.loads(service.answer(json.dumps({"id": 1, "page": "tab", "ask": question, "with": given})))
        found = reply.get("reply", reply.get("problem"))
        more = {name: value for name, value in found.items() if name != "job"}
        while "job" in found and isinstance(found["job"], dict):
            if (job := found["job"])["state"] in ("done", "failed", "stopped"):
                return more | (job["report"] or job["problem"])
            time.sleep(0.01)
            found = {"job": ask("poll", jobs=[{"job": job["job"]}])["jobs"][0]}
        return found

    yield ask
    service.close()
    patch.undo()


def plan(folder: Path, recipe: str) -> Any:
    return make_plan(parse_recipe(recipe), ModelLibrary([folder]))


@pytest.mark.parametrize(("measure", "ancestor"), [("cosine", None), ("delta", "broken"), ("sign", None), ("stable_rank", None)])
def test_a_and_b_are_compared_by_the_chosen_measure(page, folder, measure, ancestor):
    found = page("alike", text=MIX, step="M", measure=measure, ancestor=ancestor)
    below = plan(folder, "x = broken") if ancestor else None
    expected = compare(plan(folder, "x = a"), plan(folder, "x = b"), measure, ancestor=below)
    assert (found["measure"], found["a"], found["b"]) == (measure, "a", "b")
    assert found["blocks"] == figures(expected.blocks)


def test_measures_are_told_with_what_they_need(page):
    measures = {each["name"]: each for each in page("start")["measures"]}
    assert measures["delta"]["ancestor"] == "needed" and measures["asim"]["ancestor"] == ""
    assert measures["stable_rank"]["unit"] == "" and "saturated" in measures["asim"]["says"]
    assert "name it with --ancestor" in page("alike", text=MIX, step="M", measure="delta")["message"]
    assert page("alike", text=MIX, measure="magic")["message"].startswith("there is no measure 'magic'")


def test_several_models_and_steps_are_compared_each_with_each(page, folder):
    found = page("alike_many", text=MIX, of=["a", "b", "M", HOSTILE, "a"], measure="cosine")
    assert (found["models"], found["base"]) == (["a", "b", "M", HOSTILE], "a")
    plans = [plan(folder, recipe) for recipe in ("x = a", "x = b", f"{MIX}save(step=M)")]
    pairs = compare_all(Question(plans, ((0, 1), (0, 2), (1, 2)), "cosine"))
    figures = [found["figures"][row][column] for row, column in ((0, 1), (0, 2), (1, 2))]
    assert figures == pytest.approx([each.totals["all"] for each in pairs])
    assert found["figures"][1][3] == 100 and found["rows"][0]["model"] == "M"
    assert any("have the same weights" in sentence for sentence in found["kinship"])


@pytest.mark.parametrize("picture", ["curves", "matrix"])
def test_name_stays_text_in_the_pictures(page, picture):
    svg = page("alike_many", text="", of=["a", HOSTILE], measure="l2")[picture]
    names = {node.tag.rpartition("}")[2] for node in xml.etree.ElementTree.fromstring(svg).iter()}
    assert names <= {"svg", "rect", "text", "polyline", "circle", "polygon"} and "&lt;img src=x" in svg


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (["a"], "choose 2 to 12 models; these are 1"),
        (["a", "xl"], "'xl' is SDXL, 'a' is SD 1.x"),
        (["a", "nobody"], "there is no model 'nobody'"),
        ([str(number) for number in range(13)], "these are 13"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(page, of, said):
    assert said in page("alike_many", text=MIX, of=of)["message"]


def test_models_are_not_grouped_by_what_is_no_likeness(page):
    said = page("alike_many", text=MIX, of=["a", "b"], measure="stable_rank")
    assert said["field"] == "measure" and "no likeness" in said["message"]


def test_model_is_not_compared_by_what_it_has_learned_since_itself(page):
    one = page("alike", text=MIX, step="M", measure="delta", ancestor="a")
    many = page("alike_many", text=MIX, of=["broken", "a", "b"], measure="sign", ancestor="b")
    assert one["field"] == many["field"] == "ancestor"
    assert "'a' is the ancestor itself" in one["message"] and "'b' is the ancestor itself" in many["message"]


def edit(page: Any, text: str, **change: Any) -> Any:
    return page("edit", text=text, edit=change, step="V")


def test_blocks_below_a_figure_become_those_of_b_in_one_edit_that_leaves_all_else_as_it_is(page):
    blocks = {"IN01": 91.0, "IN02": 80.0, "IN04": 95.0, "M00": 94.99, "OUT03": 99.0}
    done = edit(page, MIX, do="below", limit=95, blocks=blocks)
    assert done["text"] == MIX.replace("alpha=0.5)", "alpha={IN01-IN02: 1, M00: 1, *: 0})")
    values = done["mixer"]["values"]
    assert [values[lane] for lane in ("IN01", "IN02", "IN04", "M00", "OUT03", "IN00")] == [1, 1, 0, 1, 0, 0]


def test_blocks_below_a_figure_become_a_third_model_s_in_one_edit(page):
    done = edit(page, MIX, do="below", limit=95, blocks={"IN01": 91.0, "OUT03": 99.0}, donor="broken")
    assert done["text"] == MIX.replace("a, M, alpha=0.5)", "a, broken, alpha={IN01: 1, *: 0})")
    summed = edit(page, "V = 0.95 * a + 0.05 * b\n", do="below", limit=95, blocks={"IN01": 91.0}, donor="broken")
    assert summed["text"] == "V = weighted_sum(a, broken, alpha={IN01: 1, *: 0})\n"
    for donor, said in (("a", "'a' is A itself"), ("V", "cannot be made of itself"), (7, "blocks come in")):
        problem = edit(page, MIX, do="below", limit=95, blocks={"IN01": 91.0}, donor=donor)
        assert problem["field"] and said in problem["message"]


def test_each_block_gets_its_likeness_as_its_weight_in_one_edit(page):
    done = edit(page, MIX, do="likeness", blocks={"IN01": 91.25, "OUT03": 100})
    values = done["mixer"]["values"]
    assert [values[lane] for lane in ("IN01", "OUT03", "M00")] == [0.9125, 1, 0]
    assert done["ok"] and done["text"].startswith("M = weighted_sum(a, b, alpha=0.25)  # so\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"do": "below", "limit": 50, "blocks": {"IN01": 91}}, "no block is below 50"),
        ({"do": "below", "limit": "x", "blocks": {"IN01": 91}}, "'x' is no number"),
        ({"do": "below", "limit": 95, "blocks": {"D00": 91}}, "SD 1.x has no lane 'D00'"),
        ({"do": "likeness", "blocks": {"IN01": "much"}}, "'much' is no number"),
        ({"do": "likeness", "blocks": {}}, "Measure how alike both are first"),
        ({"do": "likeness", "blocks": [1]}, "Measure how alike both are first"),
    ],
)
def test_edit_without_figures_that_fit_is_refused(page, change, said):
    assert said in edit(page, MIX, **change)["message"]


def test_step_that_mixes_no_two_models_takes_no_likeness(page):
    text = "V = add_difference(a, b, a, alpha=0.5)"
    assert "no weighted sum" in edit(page, text, do="likeness", blocks={"IN01": 91})["message"]


def test_health_of_a_recipe_s_files_is_told_for_each_and_known_the_next_time(page):
    files = page("health", text="V = weighted_sum(a, broken, alpha=0.5)")["files"]
    assert [(file["name"], file["verdict"]) for file in files] == [("a", "fine"), ("broken", "broken")]
    assert any(sentence.startswith("M00: norms") for sentence in files[1]["says"])
    assert page("health", text="W = mean(a, broken)")["files"] == files


def test_loras_are_no_files_whose_health_is_told(page, folder):
    rows, columns = load_file(folder / "a.safetensors")[LINEAR_KEY].shape[:2]
    write_lora(folder / "style.safetensors", **{LINEAR: lora(1, rows, columns, 2)})
    page("models", again=True)
    files = page("health", text="V = a + 0.5 * lora(style)")
    assert [file["name"] for file in files["files"]] == ["a"]
    texts = ("V = a + 0.5 * lora(style)", "V = 0.5 * a + 0.5 * a", "M = mean(a, b)\nV = 1 * a")
    sizes = {page("look", text=text)["plan"]["checks_bytes"] for text in texts}
    assert sizes == {sum(tensor.nbytes for tensor in load_file(folder / "a.safetensors").values())}


def test_health_is_looked_at_again_when_the_file_is_another(page, folder):
    changing = folder / "changing.safetensors"
    changing.write_bytes((folder / "a.safetensors").read_bytes())
    page("models", again=True)
    assert page("health", text="V = changing")["files"][0]["verdict"] == "fine"
    tensors = load_file(changing)
    tensors["model.diffusion_model.middle_block.0.in_layers.2.weight"][:] = torch.nan
    save_file(tensors, changing)
    page("models", again=True)
    assert page("health", text="V = changing")["files"][0]["verdict"] == "broken"


def test_saved_file_has_a_verdict_and_a_card_in_which_names_stay_text(page):
    saved = page("save", text=f"V = weighted_sum(a, {json.dumps(HOSTILE)}, alpha=0.5)", name="mixes/new")
    assert saved["health"] == {"verdict": "fine", "words": "healthy", "says": []}
    card = page("card", name="mixes/new", base="a")
    titles = [section["title"] for section in card["sections"]]
    assert titles[:3] == ["File", "Recipe", "Sources"] and any(title.startswith("Similarity to a") for title in titles)
    assert card["architecture"] == "sd1"
    assert "<img" not in card["html"] and "<img" not in card["markdown"].split("```")[0]
    assert HOSTILE in {row[0] for row in card["sections"][2]["rows"]}


@pytest.mark.parametrize(
    ("name", "said"), [("../looks/a", "leads down"), ("nothing", "there is no nothing.safetensors"), ("", "no name")]
)
def test_cards_are_made_of_files_of_the_output_folder_alone(page, name, said):
    assert said in page("card", name=name)["message"]


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (
            "xl",
            "'new.safetensors' is a model of SD 1.x, but its base 'xl.safetensors' is a model of SDXL. Name a model of SD 1.x",
        ),
        ("vae", "its base 'vae.safetensors' is a VAE by itself"),
        ("style", "no model of a known architecture; a LoRA"),
        ("no", "no model 'no'"),
    ],
)
def test_base_that_does_not_fit_is_refused_at_once_in_words(page, folder, base, said):
    if not (folder / "vae.safetensors").exists():
        vae = {key: value for key, value in load_file(folder / "a.safetensors").items() if key.startswith("first_stage_model.")}
        save_file(vae, folder / "vae.safetensors")
        write_lora(folder / "style.safetensors", **{LINEAR: lora(1, 4, 4, 2)})
        page("save", text="V = weighted_sum(a, b, alpha=0.5)", name="new")
    page("models", again=True)
    assert said in page("card", name="new", base=base)["message"]


def test_save_says_what_is_broken_in_its_result(page):
    saved = page("save", text="V = weighted_sum(a, broken, alpha=0.9)", name="ill")
    assert saved["health"]["verdict"] == "broken" and any(said.startswith("M00") for said in saved["health"]["says"])
    assert any("the result: M00" in warning for warning in saved["warnings"])
