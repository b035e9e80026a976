"""The command similarity: what BASE and OTHER may be, its table and JSON, the recipes it writes, its pictures, its refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from checkpoints import LANES, model, plan_in, stored, tiny, write_file, write_models
from test_likeness import near, values

from lib_chilly.architecture import load
from lib_chilly.canvas import Canvas, Words, colour, fitted, ink_on
from lib_chilly.dendrogram import joined, kinship, same_weights
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.shared_layers import MEASURES
from lib_chilly.similarity import Similarity, compare
from lib_chilly.similarity_arguments import MEASURE_NAMES
from lib_chilly.similarity_edits import replaced_below, weighted_by
from lib_chilly.similarity_plots import ranking_picture
from lib_chilly.similarity_words import Ranking, describe_ranking

Run = Callable[..., tuple[int, str, str]]
HOSTILE = "<script>alert(1)</script>&\x1b[31m"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """o; a, b and c, its children, c the farthest; a's copy is in a folder below; none of them has all of attention."""
    o = model(0)
    folder = write_models(tmp_path_factory.mktemp("command") / "models", o=o, a=near(1, o), b=near(2, o), c=near(3, o, share=0.8))
    write_models(folder / "sub", copy=near(1, o))
    return folder


@pytest.fixture
def say(run: Run, models: Path) -> Callable[..., dict]:
    """The command's JSON, by cosine where nothing else is asked for."""

    def facts(*arguments: object) -> dict:
        measure = [] if "--measure" in arguments else ["--measure", "cosine"]
        code, out, said = run("similarity", *arguments, *measure, "--models", models, "--json")
        assert (code, said) == (0, "")
        return json.loads(out)

    return facts


def test_json_has_the_documented_names_and_the_figures_of_compare(say, models):
    facts = say("a", "b")
    assert list(facts) == ["base", "measure", "rows"] and (facts["base"], facts["measure"]) == ("a", "cosine")
    expected = compare(plan_in(models, "a"), plan_in(models, "b"), "cosine")
    (row,) = facts["rows"]
    assert row == {"model": "b", "blocks": expected.blocks, "totals": expected.totals}


def test_folder_is_ranked_the_most_alike_first_and_without_the_base_itself(say, models):
    rows = say(models / "a.safetensors", models)["rows"]
    assert [row["model"] for row in rows] == ["sub/copy", "o", "b", "c"]
    assert rows[0]["totals"]["all"] == 100.0
    assert [row["model"] for row in say("o", models, "--rank", "input")["rows"]][-1] == "c"


def test_models_of_a_folder_that_do_not_fit_are_left_out_in_words(say, models, tmp_path, tmp_path_factory):
    write_models(tmp_path, b=model(2), small=model(3, size=16))
    (tmp_path / "bad.ckpt").write_bytes(b"bad")
    (tmp_path / "xl.safetensors").symlink_to(tiny(tmp_path_factory, "sdxl-a", "sdxl"))
    facts = say("a", tmp_path)
    assert [row["model"] for row in facts["rows"]] == ["b"]
    said = " ".join(facts["warnings"])
    assert all(f"'{name}' is left out: " in said for name in ("bad.ckpt", "small.safetensors", "xl.safetensors"))


def test_path_name_and_recipe_mean_the_same_model(say, models, tmp_path):
    write_file(tmp_path / "elsewhere.safetensors", near(2, model(0)))  # type: ignore[arg-type]
    (tmp_path / "mix.chilly").write_text("MIX = 1 * b\n")
    rows = [say("a", other)["rows"][0] for other in ("b", tmp_path / "elsewhere.safetensors", "1 * b", tmp_path / "mix.chilly")]
    assert [row["model"] for row in rows] == ["b", "elsewhere", "result", "MIX"]
    assert len({json.dumps(row["blocks"]) for row in rows}) == 1


def test_ranking_by_directions_begins_with_the_fewest(say):
    rows = say("a", "b", "c", "sub/copy", "--measure", "stable_rank")["rows"]
    figures = [row["totals"]["all"] for row in rows]
    assert rows[0]["model"] == "sub/copy" and figures == sorted(figures)


def test_names_are_told_apart_only_where_they_are_the_same(say, tmp_path):
    for folder, name in (("x", "model (1)"), ("x", "model (2)"), ("x", "model"), ("y", "model")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_file(tmp_path / folder / f"{name}.safetensors", model(2))
    first, *others = (tmp_path / f"{each}.safetensors" for each in ("x/model (1)", "x/model (2)", "x/model", "y/model"))
    facts = say(first, *others)
    assert [facts["base"], *(row["model"] for row in facts["rows"])] == ["model (1)", "model (2)", "model", "model (3)"]


def test_file_whose_name_ends_in_a_hash_in_brackets_is_compared(say, tmp_path):
    path = write_file(tmp_path / "model [deadbeef].safetensors", model(2))
    (row,) = say("a", path)["rows"]
    assert row["model"] == "model [deadbeef]"
    assert say("a", tmp_path)["rows"] == [row]
    assert '"model [deadbeef].safetensors"' in say("a", path, "--as-weights")["recipe"]


def test_merge_stands_between_its_models(say):
    blocks = {other: say("a", other)["rows"][0]["totals"]["all"] for other in ("b", "0.5 * a + 0.5 * b")}
    assert blocks["b"] < blocks["0.5 * a + 0.5 * b"] < 100


def test_delta_needs_an_ancestor_and_sees_what_cosine_does_not(say):
    (row,) = say("a", "b", "--measure", "delta", "--ancestor", "o")["rows"]
    assert abs(row["blocks"]["OUT05"]) < 20 < 90 < say("a", "b")["rows"][0]["blocks"]["OUT05"]


def test_matrix_groups_models_and_names_what_they_were_made_from(say):
    matrix = say("o", "a", "b", "c", "sub/copy", "--matrix")["matrix"]
    assert matrix["models"] == ["o", "a", "b", "c", "sub/copy"]
    assert matrix["joins"][0]["left"] == [1] and matrix["joins"][0]["right"] == [4] and matrix["joins"][0]["likeness"] == 100.0
    assert all(matrix["figures"][a][b] == matrix["figures"][b][a] for a in range(5) for b in range(5))
    assert any(line.startswith("'a' and 'sub/copy' have the same weights in CLIP_L") for line in matrix["kinship"])
    guess = "'o' is the nearest of 3 of 3 others: it may be what they were made from, or close to that."
    assert say("o", "a", "b", "c", "--matrix")["matrix"]["kinship"][-1] == guess


def test_broken_model_joins_none_and_is_nearest_to_none(say, run, models, tmp_path):
    import numpy as np

    tensors = model(1)
    tensors["model.diffusion_model.out.2.bias"] = stored(np.full(24, np.nan), "fp16")
    write_file(tmp_path / "x.safetensors", tensors)
    matrix = say("o", "a", "b", tmp_path / "x.safetensors", "--matrix")["matrix"]
    assert matrix["figures"][3] == [None] * 4
    assert [sorted(join["left"] + join["right"]) for join in matrix["joins"]][-1] == [0, 1, 2]
    assert all(join["likeness"] > 90 for join in matrix["joins"]) and len(matrix["joins"]) == 2
    assert not any("'x'" in line for line in matrix["kinship"])
    arguments = ("similarity", "o", tmp_path / "x.safetensors", "--models", models, "--measure", "cosine", "--matrix")
    code, out, _ = run(*arguments, "--plot", tmp_path / "x.svg")
    assert code == 0 and "joined with none: [1] o, [2] x" in out and {"1  o", "2  x"} <= set(words_of(tmp_path / "x.svg"))


def test_refusal_names_the_models_that_do_not_fit(run, models, tmp_path, tmp_path_factory):
    write_file(tmp_path / "small.safetensors", model(3, size=16))
    small, xl = tmp_path / "small.safetensors", tiny(tmp_path_factory, "sdxl-a", "sdxl")
    how = ("--models", models, "--measure", "delta")
    error = run("similarity", "a", "b", *how, "--ancestor", small)[2]
    assert "in 'a' and (16, 16) in the ancestor 'small'" in error
    assert "'a' is SD 1.x, the ancestor 'sdxl-a' is SDXL" in run("similarity", "a", "b", *how, "--ancestor", xl)[2]
    assert "'a' is SD 1.x, 'sdxl-a' is SDXL" in run("similarity", "a", xl, *how, "--ancestor", "o")[2]


def test_matrix_of_asim_has_the_shares_of_equal_elements_too(run, tmp_path_factory):
    a = tiny(tmp_path_factory, "sd1-a")
    near_a = tiny(tmp_path_factory, "sd1-near", near=a, drift=0.1)
    code, out, _ = run("similarity", a, near_a, a, "--matrix")
    assert code == 0 and "have the same weights in" in out and "joined by average linkage" in out and "\ntotal all 16 " in out


def test_table_is_printed_as_the_model_card_prints_it(run, tmp_path_factory):
    a = tiny(tmp_path_factory, "sd1-a")
    code, out, said = run("similarity", a, tiny(tmp_path_factory, "sd1-near", near=a, drift=0.1))
    lines = out.splitlines()
    assert (code, said) == (0, "") and lines[2] == "sd1-near against sd1-a, asim in %"
    assert lines[3].split() == [*(f"OUT{n:02}" for n in range(3, 12)), "total", "output"]
    assert lines[5].split() == ["IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "M00", "total", "input"]
    ins, outs = ([float(figure) for figure in lines[number].split()] for number in (6, 4))
    assert ins[-1] == pytest.approx(sum(ins[:-1]) / 7, abs=1e-4)
    assert lines[7].split()[:3] == ["total", "all", "16"]
    assert float(lines[7].split()[3]) == pytest.approx((sum(ins[:-1]) + sum(outs[:-1])) / 16, abs=1e-4)


# ---- recipes ----


def test_blocks_below_a_figure_are_replaced_by_another_model_s(run, models):
    facts = json.loads(run("similarity", "a", "c", "--measure", "cosine", "--models", models, "--json")[1])
    blocks = facts["rows"][0]["blocks"]
    limit = sorted(blocks.values())[len(blocks) // 2]
    code, out, _ = run(
        *("similarity", "a", "c", "--measure", "cosine", "--models", models, "--replace-below", f"{limit:.6f}", "--with", "b")
    )
    text = "\n".join(line for line in out.splitlines() if not line.startswith("#"))
    assert code == 0 and parse_recipe(out).canonical() == text + "\n" and text.startswith("MIX = weighted_sum(c, b, alpha={")
    plan = plan_in(models, out)
    for lane, value in blocks.items():
        taken = {plan.sources[number].name for number in plan.rows[lane].exact}
        assert taken == {"b" if value < float(f"{limit:.6f}") else "c"}


def test_recipe_keeps_its_steps_and_options_when_its_blocks_are_replaced():
    recipe = parse_recipe("MIX = 0.5 * a + 0.5 * b\nN = MIX + 1 * (c - a)\nsave(dtype=bf16, step=MIX)")
    found = replaced_below(recipe, "d.e", {"IN01": 80.0, "IN02": 89.9, "IN04": 10.0, "M00": 90.0, "OUT03": 5.0}, 90, load("sd1"))
    assert found.canonical() == (
        "MIX = 0.5 * a + 0.5 * b\nN = MIX + 1 * (c - a)\n"
        "MIX2 = weighted_sum(MIX, d.e, alpha={IN01-IN02: 1, IN04: 1, OUT03: 1, *: 0})\nsave(dtype=bf16)\n"
    )


def test_weights_are_the_figures_in_four_decimals_between_0_and_1():
    found = weighted_by("my base", parse_recipe("1 * a"), {"IN01": 87.65432, "M00": -3.0, "OUT03": 100.0, "OUT04": 99.99999})
    assert found.canonical().splitlines()[-1] == (
        'MIX = weighted_sum("my base", result, alpha={IN01: 0.8765, M00: 0, OUT03: 1, OUT04: 1, *: 0})'
    )


def test_as_weights_writes_a_recipe_that_plans(say, models):
    facts = say("a", "b", "--as-weights")
    plan = plan_in(models, facts["recipe"])
    share = facts["rows"][0]["blocks"]["OUT05"] / 100
    assert float(plan.rows["OUT05"].exact[1]) == pytest.approx(share, abs=6e-5) and plan.sources[1].name == "b"


# ---- groups ----


def test_groups_are_joined_by_the_mean_of_all_their_pairs():
    likeness = {(0, 1): 90.0, (0, 2): 50.0, (1, 2): 70.0, (0, 3): 10.0, (1, 3): 20.0, (2, 3): 80.0}
    found = [(join.left, join.right, join.likeness) for join in joined(4, likeness)]
    assert found == [((0,), (1,), 90.0), ((2,), (3,), 80.0), ((0, 1), (2, 3), 37.5)]
    assert joined(1, {}) == []


def test_ancestry_is_guessed_only_with_evidence():
    names, blocks = ["x", "y"], {(0, 1): {"IN00": 50.0, "M00": 99.5, "VAE": 100.0}}
    order = list(load("sd1").lanes)
    assert same_weights(names, {(0, 1): {"IN00": 3.0, "VAE": 100.0}}, order) == [
        "'x' and 'y' have the same weights in VAE: at least 99 % of the elements are equal."
    ]
    assert same_weights(names, {(0, 1): {}}, order) == []
    assert kinship(names, {(0, 1): 80.0}, blocks, 99.0, order)[0] == "'x' is nearest to 'y': 80.0000 %; 99 or more in M00."
    assert not any("may be" in line for line in kinship(names, {(0, 1): 80.0}, blocks, 99.0, order))


def test_runs_of_blocks_do_not_reach_over_one_without_a_figure():
    names, blocks = ["x", "y"], {(0, 1): {"IN01": 99.5, "IN02": 99.5, "IN04": 99.5, "T5": 99.9}}
    order = [*load("sd1").lanes, "T5"]
    (said,) = kinship(names, {(0, 1): 80.0}, blocks, 99.0, order)[:1]
    assert said.endswith("99 or more in IN01 to IN02 and IN04.")
    (said,) = same_weights(names, {(0, 1): {"IN01": 100.0, "IN02": 100.0, "IN04": 100.0}}, order)
    assert "same weights in IN01 to IN02 and IN04:" in said


# ---- pictures ----


def words_of(path: Path) -> list[str]:
    tree = ElementTree.fromstring(path.read_text("utf-8"))
    return [node.text or "" for node in tree.iter() if node.tag.endswith("text")]


def test_svg_shows_every_block_with_its_figure_and_every_model(run, models, tmp_path):
    target = tmp_path / "picture.svg"
    code, out, _ = run("similarity", "o", models, "--measure", "cosine", "--models", models, "--plot", target, "--json")
    words = words_of(target)
    assert code == 0 and {*LANES, "a", "b", "c", "sub/copy", "By block"} <= {word.partition("  ")[0] for word in words}
    figure = json.loads(out)["rows"][0]["blocks"]["OUT05"]
    assert any(re.fullmatch(r"\d+\.\d+", word) and float(word) == pytest.approx(figure, abs=0.006) for word in words)


def test_svg_of_a_matrix_shows_all_pairs_and_the_joins(run, models, tmp_path):
    target = tmp_path / "matrix.svg"
    assert run("similarity", "o", models, "--measure", "cosine", "--models", models, "--matrix", "--plot", target)[0] == 0
    assert "joined at (average linkage)" in words_of(target)
    joins = [
        node for node in ElementTree.fromstring(target.read_text("utf-8")).iter() if len(node.get("points", "").split()) == 4
    ]
    assert len(joins) == 4


def test_names_out_of_files_do_no_harm_in_a_picture(tmp_path):
    blocks = {"D00": 50.0, "S00": 60.0}
    rows = [(HOSTILE, Similarity("asim", blocks, {"input": None, "output": None, "all": 55.0}))]
    target = tmp_path / "x.svg"
    ranking_picture(Ranking(HOSTILE * 50, "asim", rows)).save(target)
    assert "<script" not in target.read_text("utf-8") and "\x1b" not in target.read_text("utf-8")
    assert {"D00", "S00"} <= set(words_of(target))


def test_png_has_the_svg_s_size_twice(run, models, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow draws PNG; compares with no peers")
    for name in ("picture.svg", "picture.png"):
        assert run("similarity", "o", "a", "--measure", "cosine", "--models", models, "--plot", tmp_path / name)[0] == 0
    width = float(ElementTree.fromstring((tmp_path / "picture.svg").read_text("utf-8")).get("width", "0"))
    with image.open(tmp_path / "picture.png") as picture:
        assert picture.width == round(2 * width) and len(picture.getcolors(1 << 20)) > 20


def test_picture_of_models_that_are_all_the_same_is_drawn(run, models, tmp_path):
    for more in ([], ["--matrix"]):
        target = tmp_path / "same.svg"
        code, _, error = run("similarity", "a", "sub/copy", "--measure", "cosine", "--models", models, "--plot", target, *more)
        assert (code, error) == (0, "") and "100.00" in words_of(target)


@pytest.mark.parametrize("values", [[100.0], [99.99999, 100.0], [7.3, 7.3], [0.0], [-3.0, 100.0]])
@pytest.mark.parametrize("unit", ["%", ""])
def test_scale_has_two_ends_and_holds_every_figure(values, unit):
    from lib_chilly.similarity_plots import _limits, _ticks

    low, high = _limits(values, unit)
    assert low < high and all(low - 1e-9 <= value <= high + 1e-9 for value in values) and _ticks(low, high)


def test_no_figure_below_100_is_shown_as_100():
    found = Similarity("cosine", {"IN00": 99.99996, "M00": 100.0}, {"input": 99.99998, "output": None, "all": 99.99998})
    out = "\n".join(describe_ranking(Ranking("a", "cosine", [("b", found)])))
    assert out.count("100.0000") == 1 and out.count("99.9999") == 3
    shown = words_of_canvas(ranking_picture(Ranking("a", "cosine", [("b", found)])))
    assert "99.9999" in shown and "100.00" in shown and "100.0000" not in shown


def words_of_canvas(canvas: Canvas) -> list[str]:
    return [shape.text for shape in canvas.shapes if isinstance(shape, Words)]


def test_png_is_refused_before_anything_is_read_where_pillow_is_too_old(run, models, tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("PIL", reason="Pillow draws PNG; compares with no peers"), "__version__", "9.5.0")
    code, out, error = run("similarity", "a", "nothing", "--models", models, "--plot", tmp_path / "x.png")
    assert (code, out) == (2, "") and "Pillow 10.1 or newer, and 9.5.0 is installed" in error


def test_scale_of_colours_grows_lighter_all_the_way():
    def light(fill: str) -> float:
        return sum(weight * int(fill[at : at + 2], 16) for weight, at in ((0.299, 1), (0.587, 3), (0.114, 5)))

    shades = [light(colour(step / 50)) for step in range(51)]
    assert shades == sorted(shades) and (colour(-1), colour(2)) == (colour(0), colour(1))
    assert ink_on(colour(0)) != ink_on(colour(1))
    assert fitted("a" * 100, 60) != "a" * 100 and fitted("short", 60) == "short"


# ---- refusals ----


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b", "--measure", "magic"], "there is no measure 'magic'. There are: asim, cosine"),
        (["a", "b", "--measure", "delta"], "name it with --ancestor"),
        (["a", "b", "--measure", "cosine", "--replace-below", "90"], "--replace-below X and --with MODEL go together"),
        (["a", "b", "--measure", "cosine", "--replace-below", "101", "--with", "c"], "'101' is not a percentage"),
        (["a", "b", "c", "--as-weights"], "name one OTHER"),
        (["a", "b", "--measure", "stable_rank", "--as-weights"], "no likeness in percent"),
        (["a", "b", "--measure", "stable_rank", "--matrix"], "groups nothing"),
        (["o", "a", "--measure", "delta", "--ancestor", "o"], "the ancestor is BASE itself"),
        (["a", "o", "--measure", "delta", "--ancestor", "o"], "'o' is left out: it is the ancestor itself"),
        (["a", "b", "--threads", "0256999"], "'0256999' is not a whole number"),
        (["a", "b", "--by", "key"], "asim has figures of lanes alone"),
        (["a", "b", "--measure", "cosine", "--plot", "x.gif"], "end it in .svg or .png"),
        (["a", "b", "--measure", "cosine", "--plot", "nowhere/x.svg"], "does not exist"),
        (["a", "nothing"], "there is no model 'nothing'"),
        (["a", "b"], "no layers in common that 'asim' can compare"),
    ],
)
def test_mistake_is_said_in_one_line(run, models, arguments, said):
    code, out, error = run("similarity", *arguments, "--models", models)
    assert (code, out) == (2, "") and said in error and "Traceback" not in error


def test_folder_is_no_base_and_nothing_is_compared_with_nothing(run, models, tmp_path):
    assert "name one of them" in run("similarity", models, "a", "--models", models)[2]
    (tmp_path / "empty").mkdir()
    assert "there is nothing to compare 'a' with" in run("similarity", "a", tmp_path / "empty", "--models", models)[2]


def test_block_that_none_is_below_is_said(run, models):
    error = run(*("similarity", "a", "b", "--measure", "cosine", "--models", models, "--replace-below", "1", "--with", "c"))[2]
    assert "no block is below 1: the least is" in error


def test_picture_that_cannot_be_drawn_of_broken_models_is_refused(run, tmp_path):
    import numpy as np

    nan = {key: stored(np.full(tensor.shape, np.nan), "fp16") for key, tensor in model(1).items()}
    folder = write_models(tmp_path / "models", a=model(1), x=nan)
    code, _, error = run("similarity", "a", "x", "--measure", "cosine", "--models", folder, "--plot", tmp_path / "x.svg")
    assert code == 2 and "nothing to draw" in error and not (tmp_path / "x.svg").exists()
    assert np.isnan(values(nan["model.diffusion_model.out.0.weight"])).all()


def test_measures_of_the_help_are_those_there_are():
    assert tuple(MEASURES) == MEASURE_NAMES
