"""Faults that were found by using the program, each kept from coming back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.cli import main
from lib_chilly.errors import OutputError, RecipeError
from lib_chilly.hashes import hash_checkpoints
from lib_chilly.models import ModelLibrary
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.synth import synthesise, synthesise_near

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    synthesise("sd1", "tiny", folder / "a.safetensors", seed=1)
    synthesise_near(folder / "a.safetensors", 0.2, folder / "b.safetensors", seed=2)
    return folder


def test_files_of_equal_size_time_and_header_keep_their_own_hashes(models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    paths = [models / "a.safetensors", models / "b.safetensors"]
    for path in paths:
        os.utime(path, ns=(1, 1))
    found = [hash_checkpoints([open_checkpoint(path)])[0] for path in paths]
    assert found == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_merge_whose_reader_has_gone_away_is_carried_out(models: Path, tmp_path: Path):
    output = tmp_path / "x.safetensors"
    command = [sys.executable, "-m", "lib_chilly.cli", "merge", "weighted_sum(a, b)", "--models", str(models), "-o", str(output)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    assert running.wait() == 0
    assert len(load_file(output)) == 1131


def test_scaled_fp8_without_a_lane_is_written_as_what_it_stands_for(models: Path, tmp_path: Path):
    tensors = load_file(models / "a.safetensors")
    tensors["extra.foo.weight"] = torch.tensor([1.0, 2.0, 4.0]).to(torch.float8_e4m3fn)
    tensors["extra.foo.scale_weight"] = torch.tensor(0.5)
    save_file(tensors, tmp_path / "u.safetensors")
    assert main(["merge", "mean(u, u)", "--models", str(tmp_path), "-o", str(tmp_path / "out.safetensors")]) == 0
    with safe_open(tmp_path / "out.safetensors", "np") as file:
        written = file.get_tensor("extra.foo.weight")
    assert written.dtype == np.float16
    assert written.tolist() == [0.5, 1.0, 2.0]


def test_one_key_without_a_lane_is_said_of_one(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_file(load_file(models / "a.safetensors") | {"extra.count": torch.tensor([1])}, tmp_path / "u.safetensors")
    assert main(["plan", "mean(u, u)", "--models", str(tmp_path)]) == 0
    assert "note: 1 key without a lane is copied, not merged: extra.count." in capsys.readouterr().out


def test_change_without_a_ratio_is_null_in_json(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tensors = load_file(models / "a.safetensors")
    for key in list(tensors):
        if key.startswith("model.diffusion_model.out."):
            tensors[key] = torch.zeros_like(tensors[key])
    save_file(tensors, tmp_path / "z.safetensors")
    (tmp_path / "b.safetensors").symlink_to(models / "b.safetensors")
    arguments = ["merge", "weighted_sum(z, b)", "--models", str(tmp_path), "-o", str(tmp_path / "out.safetensors"), "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert report["change"]["FINAL"] is None


def test_output_named_as_a_pickle_is_refused(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["merge", "weighted_sum(a, b)", "--models", str(models), "-o", str(tmp_path / "x.ckpt")]) == 2
    assert "x.safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bar", "q1.txt", "v1.5-mix", "x.yml"])
def test_output_that_is_not_named_as_safetensors_is_refused_with_the_name_to_write(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    common = ["weighted_sum(a, b)", "--models", str(models)]
    assert main(["merge", *common, "-o", str(tmp_path / name)]) == 2
    said = f"the output is a safetensors file; name it '{tmp_path / name}.safetensors', not '{name}'."
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(["merge", *common, "-o", str(tmp_path / f"{name}.SAFETENSORS")]) == 0


def test_wrong_sum_with_a_minus_in_a_name_says_that_spaces_are_needed():
    with pytest.raises(RecipeError, match="'b-c' is one name here"):
        parse_recipe("a + 0.5 * (b-c)")


def test_name_with_accents_spelled_apart_is_found(tmp_path: Path):
    (tmp_path / "cafe\u0301.safetensors").write_bytes(b"")
    assert ModelLibrary([tmp_path]).knows("caf\u00e9")


def test_model_given_as_a_recipe_is_refused_without_reading_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.truncate(50_000_000)
    assert main(["plan", str(tmp_path / "m.safetensors")]) == 2
    assert "is a model, no recipe" in capsys.readouterr().err
    (tmp_path / "m.safetensors").rename(tmp_path / "m.chilly")
    assert main(["plan", str(tmp_path / "m.chilly")]) == 2
    assert "is it a model?" in capsys.readouterr().err


def test_checkpoint_that_torch_cannot_write_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise RuntimeError("inline_container: enforce fail\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="cannot be written"):
        synthesise("sd1", "tiny", tmp_path / "x.ckpt", file_format="ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spelling", [("--compute", "float32"), ("--on-nan", "stop")])
def test_option_that_says_what_is_done_anyway_gives_the_same_file(models: Path, tmp_path: Path, spelling: tuple[str, str]):
    plain, said = tmp_path / "plain.safetensors", tmp_path / "said.safetensors"
    common = ["merge", "weighted_sum(a, b)", "--models", str(models), "--no-source-hashes", "-o"]
    assert main([*common, str(plain)]) == 0
    assert main([*common, str(said), *spelling]) == 0
    assert plain.read_bytes() == said.read_bytes()


def test_what_a_plan_leaves_out_is_said_in_json_too(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tensors = load_file(models / "a.safetensors")
    save_file(tensors | {"model_ema.decay": torch.tensor(0.5)}, tmp_path / "e.safetensors")
    arguments = ["mean(e, e)", "--models", str(tmp_path), "--json"]
    for command in (["plan", *arguments], ["merge", *arguments, "-o", str(tmp_path / "out.safetensors")]):
        assert main(command) == 0
        assert "1 EMA copies of 'e' are dropped." in json.loads(capsys.readouterr().out)["warnings"]
