"""Two models whose names differ in their suffixes alone are two sources, in the plan, in the header and in the options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import LANES, metadata_of, model, stored, tiny, write_file, write_models
from reference import read_file
from safetensors.torch import load_file

from lib_chilly.synth import synthesise

Run = Callable[..., tuple[int, str, str]]
KEY = LANES["CLIP_L"][0]
RECIPE = "MIX = 0.7 * x.safetensors + 0.3 * x.ckpt"


def write_pickle(path: Path, like: Path) -> Path:
    """The tensors of a safetensors file in the zip format of torch."""
    torch.save({"state_dict": load_file(like)}, path)
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """x.safetensors with NaN in one key, and x.ckpt and y without."""
    folder = write_models(tmp_path / "models", x=model(2), y=model(3))
    write_pickle(folder / "x.ckpt", folder / "x.safetensors")
    bad = stored(np.full((24, 24), np.nan), "fp16")
    write_file(folder / "x.safetensors", model(1, extras={KEY: bad}))
    return folder


def facts(run: Run, *arguments: object) -> dict:
    code, out, error = run(*arguments, "--json")
    assert (code, error) == (0, "")
    return json.loads(out)


def test_file_and_file_of_one_stem_are_told_apart_in_the_plan(run: Run, models: Path):
    plan = facts(run, "plan", RECIPE, "--models", models)
    assert plan["folded"]["IN04"] == {"x.safetensors": 0.7, "x.ckpt": 0.3}
    assert [source["name"] for source in plan["sources"]] == ["x.safetensors", "x.ckpt"]
    assert facts(run, "plan", "mean(x.ckpt, y)", "--models", models)["folded"]["IN04"] == {"x": 0.5, "y": 0.5}


def test_file_and_folder_of_one_stem_are_told_apart_and_made_again(
    run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "x.safetensors").symlink_to(tiny(tmp_path_factory, "sd1-a", "sd1", seed=0))
    synthesise("sd1", "tiny", folder / "x", seed=5, file_format="diffusers")
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    made = facts(run, "merge", 'MIX = 0.7 * x.safetensors + 0.3 * "x/"', "--models", folder, "-o", first)
    assert made["folded"]["IN04"] == {"x.safetensors": 0.7, "x/": 0.3}
    facts(run, "merge", "--from", first, "--models", folder, "-o", again)
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("taken", ["take:x.ckpt", "take:y.safetensors", "take:y"])
def test_on_nan_takes_the_values_of_the_file_that_it_names(run: Run, models: Path, tmp_path: Path, taken: str):
    output, again = tmp_path / "mix.safetensors", tmp_path / "again.safetensors"
    recipe = "MIX = 0.4 * x.safetensors + 0.3 * x.ckpt + 0.3 * y"
    facts(run, "merge", recipe, "--on-nan", taken, "--models", models, "-o", output)
    expected = model(2 if "ckpt" in taken else 3)[KEY]
    assert read_file(output)[KEY].data == expected.data
    facts(run, "merge", "--from", output, "--models", models, "-o", again)
    assert output.read_bytes() == again.read_bytes()
    assert metadata_of(output)["modelspec.merged_from"] == "x.safetensors, x.ckpt, y"


@pytest.mark.parametrize("choice", ["x", "x.pt", "x/"])
def test_on_nan_and_yaml_refuse_a_name_that_is_neither_of_two(run: Run, models: Path, choice: str):
    for options in (["--on-nan", f"take:{choice}"], ["--yaml", choice]):
        code, out, error = run("plan", RECIPE, "--models", models, *options)
        assert (code, out) == (2, "") and "x.safetensors, x.ckpt" in error


@pytest.mark.parametrize("option", [["--on-nan", "take:x.ckpt"], ["--yaml", "x.ckpt"]])
def test_option_does_not_mean_the_other_file_of_a_stem(run: Run, models: Path, option: list[str]):
    code, out, error = run("plan", "mean(x.safetensors, y)", "--models", models, *option)
    assert (code, out) == (2, "") and "'x.ckpt'" in error and "x, y" in error


def test_vae_of_the_other_file_of_a_stem_is_recorded_by_its_own_name(run: Run, models: Path, tmp_path: Path):
    output, again = tmp_path / "mix.safetensors", tmp_path / "again.safetensors"
    options = ["--vae", "x.ckpt", "--on-nan", "take:y"]
    facts(run, "merge", "mean(y, x.safetensors)", *options, "--models", models, "-o", output)
    names = [source["name"] for source in json.loads(metadata_of(output)["chillymerge"])["sources"]]
    assert names == ["y", "x", "x.ckpt"]
    facts(run, "merge", "--from", output, "--models", models, "-o", again)
    assert output.read_bytes() == again.read_bytes()


def test_yaml_is_that_of_the_named_folder_s_file(run: Run, models: Path, tmp_path: Path):
    (models / "sub").mkdir()
    (models / "x.ckpt").rename(models / "sub" / "x.ckpt")
    (models / "x.yaml").write_text("model: {name: first}")
    (models / "sub" / "x.yaml").write_text("model: {name: second}")
    output = tmp_path / "mix.safetensors"
    recipe = "MIX = 0.5 * x.safetensors + 0.5 * x.ckpt"
    facts(run, "merge", recipe, "--yaml", "x.ckpt", "--on-nan", "take:x.ckpt", "--models", models, "-o", output)
    assert output.with_suffix(".yaml").read_text() == "model: {name: second}"
