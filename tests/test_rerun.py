"""`merge --from`: a merged file is made again from its own header, to the byte, or it is said why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import CLIP, VAE, metadata_of, model, stored, tiny, write_file, write_models
from reference import read_file

from lib_chilly import hashes

Run = Callable[..., tuple[int, str, str]]
RECIPE = """ratio = 0.15
pyAB = a + b
STEP = (1 - ratio) * c + ratio * pyAB
MIX = weighted_sum(STEP, b, alpha={*: preset("GRAD_V"), attn2: 0.3})
REST = 0.5 * MIX + 0.5 * a
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = write_models(tmp_path / "models", a=model(1), b=model(2, "fp32"), c=model(3, without=["VAE"]))
    write_file(folder / "c2.safetensors", {key: tensor for key, tensor in model(4).items() if key.startswith(VAE)})
    write_file(folder / "a.safetensors", model(1), {"license": "MIT", "sd_merge_recipe": '{"type": "webui"}'})
    return folder


def merge(run: Run, models: Path, output: Path, *arguments: object) -> dict:
    code, out, error = run("merge", *arguments, "-o", output, "--models", models, "--json", "--overwrite")
    assert (code, error) == (0, "")
    return json.loads(out)


def refusal(run: Run, models: Path, output: Path, *arguments: object) -> str:
    """What is said on stderr of a merge that is refused; nothing is written."""
    code, out, error = run("merge", *arguments, "-o", output, "--models", models, "--json")
    assert (code, out, output.exists()) == (2, "", False)
    assert error.startswith("chilly: ")
    return error


OPTIONS = [
    [],
    ["--dtype", "bf16", "--compute", "float64"],
    ["--dtype", "source"],
    ["--step", "STEP", "--on-nan", "take:b"],
    ["--no-source-hashes"],
    ["--dtype", "fp8_scaled", "--text-encoder-dtype", "fp32", "--ema", "keep", "--discard", "*.time_embed.*"],
    ["--vae", "c2", "--position-ids", "rebuild", "--title", "a title"],
    ["--vae", "drop", "--yaml", "drop"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_file_made_from_a_header_is_the_same_file_and_so_is_the_one_made_from_that(
    run: Run, models: Path, tmp_path: Path, options: list[str]
):
    first, second, third = (tmp_path / f"{number}.safetensors" for number in range(3))
    merge(run, models, first, RECIPE, *options)
    merge(run, models, second, "--from", first, "--threads", "1")
    merge(run, models, third, "--from", second, "--mmap")
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_folder_made_from_a_folder_s_header_is_the_same_folder(
    run: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
):
    one, two = (tiny(tmp_path_factory, f"sd1-{letter}", "sd1", seed=seed) for letter, seed in (("a", 0), ("b", 1)))
    models, recipe = one.parent, f"M = 0.25 * {one.stem} + 0.75 * {two.stem}"
    first = merge(run, models, tmp_path / "1", recipe, "--format", "diffusers")
    assert "format=diffusers" in first["recipe"]
    again = merge(run, models, tmp_path / "2", "--from", tmp_path / "1")
    assert again["sha256"] == first["sha256"] and (tmp_path / "2" / "model_index.json").is_file()
    said = merge(run, models, tmp_path / "3", f"{recipe}\nsave(format=diffusers)")
    assert (said["sha256"], said["recipe"]) == (first["sha256"], first["recipe"])
    merge(run, models, tmp_path / "4.safetensors", "--from", tmp_path / "1", "--format", "safetensors")
    merge(run, models, tmp_path / "5.safetensors", recipe)
    assert (tmp_path / "4.safetensors").read_bytes() == (tmp_path / "5.safetensors").read_bytes()


def test_what_made_a_file_can_be_planned(run: Run, models: Path, tmp_path: Path):
    path = tmp_path / "1.safetensors"
    made = merge(run, models, path, RECIPE, "--dtype", "bf16")
    code, out, error = run("plan", "--from", path, "--models", models, "--json")
    assert (code, error) == (0, "")
    assert json.loads(out)["recipe"] == made["recipe"]
    code, out, error = run("plan", path, "--models", models)
    assert (code, out) == (2, "")
    assert error == f"chilly: '{path}' is a model, no recipe; --from '{path}' carries out what made it, out of its header.\n"


@pytest.mark.parametrize("command", ["merge", "plan"])
def test_accepting_other_sources_without_from_is_refused(run: Run, models: Path, tmp_path: Path, command: str):
    output = ["-o", tmp_path / "out.safetensors"] if command == "merge" else []
    code, out, error = run(command, RECIPE, *output, "--models", models, "--accept-other-sources")
    assert (code, out) == (2, "")
    assert "--accept-other-sources is about the sources that --from FILE names; add --from, or leave it out." in error


def test_options_of_save_and_odd_names_are_taken_from_the_header(run: Run, tmp_path: Path):
    models = write_models(tmp_path / "models", **{"my model": model(1), "x": model(2), "été": model(3)})
    recipe = 'M = 0.5 * "my model" + 0.25 * x.safetensors + 0.25 * été\nsave(dtype=fp32, position_ids=rebuild, title="{not JSON")'
    merge(run, models, tmp_path / "1.safetensors", recipe)
    merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_file_in_a_sub_folder_is_found_by_any_of_its_names(run: Run, models: Path, tmp_path: Path):
    (models / "sub").mkdir()
    write_file(models / "sub" / "d.safetensors", model(4))
    merge(run, models, tmp_path / "1.safetensors", 'M = 0.5 * "sub/d" + 0.25 * a + 0.25 * d')
    (models / "sub" / "d.safetensors").rename(models / "e.safetensors")
    merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_other_flags_win_over_the_header(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    again = merge(
        run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors", "--dtype", "bf16", "--step", "STEP"
    )
    plain = merge(run, models, tmp_path / "3.safetensors", RECIPE, "--dtype", "bf16", "--step", "STEP")
    assert again["sha256"] == plain["sha256"] and {tensor.tag for tensor in read_file(tmp_path / "2.safetensors").values()} == {
        "BF16"
    }
    merge(run, models, tmp_path / "4.safetensors", "--from", tmp_path / "1.safetensors", "--no-source-hashes")
    assert "sha256" not in metadata_of(tmp_path / "4.safetensors")["chillymerge"]


def test_sources_under_other_names_are_found_by_their_hash_and_the_file_is_the_same(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    (models / "deep" / "er").mkdir(parents=True)
    (models / "a.safetensors").rename(models / "deep" / "er" / "renamed.safetensors")
    (models / "b.safetensors").rename(models / "x.pt")
    write_file(models / "a.safetensors", model(9))  # another file of the recorded name
    facts = merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    assert {note for note in facts["warnings"] if "found by its sha256" in note} == {
        "'a' was found by its sha256 as 'renamed.safetensors'.",
        "'b' was found by its sha256 as 'x.pt'.",
    }


def test_vae_of_another_file_is_found_by_its_hash_too(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE, "--vae", "c2")
    assert [source["name"] for source in json.loads(metadata_of(tmp_path / "1.safetensors")["chillymerge"])["sources"]] == [
        "a",
        "b",
        "c",
        "c2",
    ]
    (models / "c2.safetensors").rename(models / "renamed.safetensors")
    merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_of_two_files_with_the_recorded_name_the_recorded_one_is_taken(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    (models / "other").mkdir()
    write_file(models / "other" / "a.safetensors", model(9))
    assert "fits 2 files" in refusal(run, models, tmp_path / "x", RECIPE)
    merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_source_that_changed_is_refused_and_taken_when_that_is_accepted(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    write_file(models / "b.safetensors", model(7, "fp32"))
    said = refusal(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert f"'{models / 'b.safetensors'}' is another 'b' than the recorded one" in said and "--accept-other-sources" in said
    facts = merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors", "--accept-other-sources")
    assert any("'b' is another file than the recorded one" in warning for warning in facts["warnings"])
    assert facts["sha256"] == merge(run, models, tmp_path / "3.safetensors", RECIPE)["sha256"]


def test_same_size_and_time_do_not_pass_for_the_same_file(run: Run, models: Path, tmp_path: Path):
    path = models / "b.safetensors"
    before = path.stat()
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    shutil.copyfile(write_file(tmp_path / "forged", model(7, "fp32")), path)
    assert path.stat().st_size == before.st_size
    assert "is another 'b'" in refusal(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")


def test_source_that_is_gone_is_refused_with_its_hash(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    recorded = json.loads(metadata_of(tmp_path / "1.safetensors")["chillymerge"])["sources"][2]
    (models / "c.safetensors").unlink()
    (models / "broken.safetensors").write_bytes(b"\0" * recorded["size"])  # of its size, but no checkpoint
    said = refusal(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors", "--accept-other-sources")
    assert f"there is no 'c' in '{models}', and no other file with sha256 {recorded['sha256']}" in said


def test_without_recorded_hashes_another_size_is_refused(run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hashes, "hash_file", lambda *_: pytest.fail("a source was hashed"))
    merge(run, models, tmp_path / "1.safetensors", RECIPE, "--no-source-hashes")
    write_file(models / "c.safetensors", model(3, without=["VAE"], extras={CLIP + "x": stored([1.0], "fp16")}))
    assert "is another 'c' than the recorded one" in refusal(
        run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors"
    )


def test_sources_are_read_for_their_hashes_once(run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names: list[str] = []
    real = hashes.hash_file
    monkeypatch.setattr(hashes, "hash_file", lambda path, *more: names.append(path.name) or real(path, *more))
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "1.safetensors")
    assert sorted(names) == ["a.safetensors", "b.safetensors", "c.safetensors"]


def test_file_may_be_made_again_in_its_own_place(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    before = (tmp_path / "1.safetensors").read_bytes()
    merge(run, models, tmp_path / "1.safetensors", "--from", tmp_path / "1.safetensors")
    assert (tmp_path / "1.safetensors").read_bytes() == before


def test_other_arithmetic_than_the_recorded_one_is_said(run: Run, models: Path, tmp_path: Path):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    record = metadata_of(tmp_path / "1.safetensors")["chillymerge"]
    write_file(tmp_path / "older", model(1), {"chillymerge": record.replace('"maths":1', '"maths":7')})
    facts = merge(run, models, tmp_path / "2.safetensors", "--from", tmp_path / "older")
    assert "the file was made with arithmetic 7, this is 1: its numbers may differ." in facts["warnings"]


def with_record(path: Path, **changes: object) -> Path:
    """A file whose record says something else."""
    record = {"recipe": "M = 1 * a\n", "sources": [{"name": "a", "size": 1}], "maths": 1} | changes
    return write_file(path, model(1), {"chillymerge": json.dumps(record)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": "M = 1 * ("}, "is never closed"),
        ({"recipe": "M = 1 * a\n" * 5_000}, "a recipe has at most"),
        ({"recipe": 'M = 1 * "../../secret"', "sources": [{"name": "../../secret", "size": 1}]}, "there is no '../../secret'"),
        ({"sources": [{"name": "a", "size": 1}, {"name": "a", "size": 2}]}, "two of the recorded sources are called 'a'"),
        ({"sources": 5}, "its 'chillymerge' metadata is damaged"),
        ({}, "is another 'a' than the recorded one"),
    ],
    ids=["no recipe", "endless", "outside the folders", "twins", "damaged", "size"],
)
def test_header_that_lies_is_refused_in_a_sentence(run: Run, models: Path, tmp_path: Path, changes: dict, said: str):
    write_file(tmp_path / "secret.safetensors", model(1))
    assert said in refusal(
        run, models, tmp_path / "out.safetensors", "--from", with_record(tmp_path / "liar.safetensors", **changes)
    )


def test_file_without_a_recipe_is_refused(run: Run, models: Path, tmp_path: Path):
    path = models / "b.safetensors"
    assert f"'{path}' does not say how it was made" in refusal(run, models, tmp_path / "x", "--from", path)
    assert "no such file" in refusal(run, models, tmp_path / "x", "--from", models / "missing.safetensors").lower()


@pytest.mark.parametrize("more", [["1 * a"], ["--seed", "1"], ["--variants", "2"]], ids=" ".join)
def test_from_stands_for_the_whole_recipe(run: Run, models: Path, tmp_path: Path, more: list[str]):
    merge(run, models, tmp_path / "1.safetensors", RECIPE)
    assert "--from takes the recipe" in refusal(
        run, models, tmp_path / "2.safetensors", *more, "--from", tmp_path / "1.safetensors"
    )
    assert "there is no RECIPE" in refusal(run, models, tmp_path / "2.safetensors")
