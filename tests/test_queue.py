"""A queue of recipes: all planned first, carried out in order, gone on with where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CLIP, LANES, metadata_of, model, stored, write_file, write_models

from lib_chilly.errors import RecipeError
from lib_chilly.recipe_queue import read_queue

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[1]
QUEUE = """# three mixes
--- first.safetensors
weighted_sum(a, b, alpha=0.3)
---\tsecond.safetensors
M = a + 1 * (b - c)   # --- no line of its own
save(dtype=bf16)

--- third one.safetensors
mean(a, b, c)
"""
NAMES = ["first.safetensors", "second.safetensors", "third one.safetensors"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models", a=model(1), b=model(2), c=model(3))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def write(path: Path, text: str = QUEUE) -> Path:
    path.write_text(text, "utf-8")
    return path


def queue(run: Run, models: Path, out: Path, *arguments: object) -> tuple[int, list[str], str]:
    """(exit code, what became of each recipe, stderr)."""
    code, said, error = run("queue", *arguments, "--models", models, "--out", out, "--json")
    return code, [fact["status"] for fact in json.loads(said)["merges"]] if said else [], error


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_each_recipe_of_a_queue_makes_the_file_that_a_merge_makes(run: Run, models: Path, out: Path, tmp_path: Path):
    assert queue(run, models, out, write(tmp_path / "q")) == (0, ["done"] * 3, "")
    assert list(files(out)) == NAMES
    recipes = ("weighted_sum(a, b, alpha=0.3)", "M = a + 1 * (b - c)\nsave(dtype=bf16)", "mean(a, b, c)")
    for name, recipe in zip(NAMES, recipes, strict=True):
        assert run("merge", recipe, "-o", tmp_path / "alone.safetensors", "--models", models, "--overwrite")[0] == 0
        assert (tmp_path / "alone.safetensors").read_bytes() == (out / name).read_bytes()


def test_second_run_of_a_queue_writes_nothing(run: Run, models: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q")
    queue(run, models, out, path)
    before = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    assert queue(run, models, out, path) == (0, ["skipped"] * 3, "")
    assert queue(run, models, out, path, "--overwrite", "--threads", "1") == (0, ["skipped"] * 3, "")
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_queue_makes_what_is_missing_and_what_its_sources_outdated(run: Run, models: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q")
    queue(run, models, out, path)
    whole = files(out)
    (out / NAMES[1]).unlink()
    assert queue(run, models, out, path)[1] == ["skipped", "done", "skipped"]
    assert files(out) == whole
    write_file(models / "c.safetensors", model(9))  # a source of the second and the third
    code, statuses, error = queue(run, models, out, path)
    assert (code, statuses) == (2, []) and "'second.safetensors' of 'q': " in error and "exists" in error
    assert files(out) == whole
    assert queue(run, models, out, path, "--overwrite")[1] == ["skipped", "done", "done"]
    assert {name for name in NAMES if files(out)[name] == whole[name]} == {NAMES[0]}


@pytest.mark.parametrize("options", [["--dtype", "fp32"], ["--no-source-hashes"], ["--on-nan", "take:a"]], ids=" ".join)
def test_result_of_other_options_is_not_skipped(run: Run, models: Path, out: Path, tmp_path: Path, options: list[str]):
    path = write(tmp_path / "q")
    queue(run, models, out, path)
    assert queue(run, models, out, path, *options)[0] == 2
    assert queue(run, models, out, path, "--overwrite", *options)[1] == ["done"] * 3
    assert queue(run, models, out, path, *options)[1] == ["skipped"] * 3


def test_file_cut_short_is_not_taken_for_a_result(run: Run, models: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q")
    queue(run, models, out, path)
    whole = files(out)
    (out / NAMES[0]).write_bytes(whole[NAMES[0]][:-1])
    assert queue(run, models, out, path, "--overwrite")[1] == ["done", "skipped", "skipped"]
    assert files(out) == whole


def test_file_without_opening_lines_is_one_recipe_called_as_it_is(run: Run, models: Path, out: Path, tmp_path: Path):
    paths = [write(tmp_path / "one.chilly", "mean(a, b)"), write(tmp_path / "two.txt", "mean(a, c)")]
    assert queue(run, models, out, *paths) == (0, ["done", "done"], "")
    assert list(files(out)) == ["one.safetensors", "two.safetensors"]


def test_queue_of_folders_calls_them_without_a_suffix_and_skips_those_that_are_there(
    run: Run, models: Path, out: Path, tmp_path: Path
):
    path = write(tmp_path / "q", "--- one.safetensors\nmean(a, b)\nsave(format=diffusers)\n--- two.safetensors\nmean(a, c)")
    assert queue(run, models, out, path) == (0, ["done", "done"], "")
    assert sorted(file.name for file in out.iterdir()) == ["one", "two.safetensors"]
    assert queue(run, models, out, path, "--format", "diffusers") == (0, ["skipped", "done"], "")
    assert (out / "two" / "model_index.json").is_file()
    (out / "one" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert queue(run, models, out, path)[0] == 2
    assert queue(run, models, out, path, "--overwrite") == (0, ["done", "skipped"], "")


def test_people_are_told_the_same(run: Run, models: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q")
    code, said, error = run("queue", path, "--models", models, "--out", out)
    assert (code, error) == (0, "") and said.endswith("queue: 3 done.\n") and said.count("sha256 ") == 3
    assert run("queue", path, "--models", models, "--out", out) == (0, "queue: 3 skipped.\n", "")


# ---- mistakes ----


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("mean(a, nobody)", "'last.safetensors' of 'q': there is no model 'nobody'"),
        ("M = 0.5 * a", "the coefficients of 'M' add to 0.5"),
        ("", "the recipe has no step"),
        (
            "weighted_sum(a, b, alpha={*: 0, IN01: R})",
            "line 11, column 39: 'last.safetensors' of 'q': 'R' is no number",
        ),
        (
            "weighted_sum(a, b, alpha={*: X(0.2, 0.6)})",
            "A queue takes numbers only: draw them first",
        ),
        ("mean(a, other)", "'other' is SDXL"),
        ("mean(a, second)", "it reads 'second', which this queue is about to make"),
    ],
)
def test_mistake_in_the_last_recipe_is_said_before_the_first_is_carried_out(
    run: Run, models: Path, tmp_path: Path, last: str, said: str
):
    from lib_chilly.synth import synthesise

    synthesise("sdxl", "tiny", models / "other.safetensors")
    write_file(models / "second.safetensors", model(8))
    before = files(models)
    code, statuses, error = queue(
        run, models, models, write(tmp_path / "q", f"{QUEUE}--- last.safetensors\n{last}\n"), "--overwrite"
    )
    assert (code, statuses) == (2, []) and said in error and error.startswith("chilly: ")
    assert files(models) == before


def test_mistake_is_shown_at_its_line_of_the_whole_file(run: Run, models: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q", f"{QUEUE}--- last.safetensors\n\nM = 0.5 * a + 0.6 * ü\n")
    error = queue(run, models, out, path)[2]
    assert "line 12, column 5: 'last.safetensors' of 'q': the coefficients of 'M' add to 1.1" in error
    assert error.splitlines()[1:] == ["  M = 0.5 * a + 0.6 * \\xfc".replace("\\xfc", "ü"), "      ^"]


def test_config_that_is_in_the_way_is_said_before_the_first_is_carried_out(run: Run, models: Path, out: Path, tmp_path: Path):
    (models / "a.yaml").write_text("model: {}")
    (out / "third one.yaml").write_text("mine")
    code, statuses, error = queue(run, models, out, write(tmp_path / "q"))
    assert (code, statuses) == (2, []) and "third one.yaml' exists" in error
    assert list(files(out)) == ["third one.yaml"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../up.safetensors", "is no name for a result"),
        ("a/../../up.safetensors", "is no name for a result"),
        ("/tmp/up.safetensors", "is no name for a result"),
        ("C:\\up.safetensors", "is no name for a result"),
        ("..\\up.safetensors", "is no name for a result"),
        (".bashrc", "is no name for a result"),
        ("mix.ckpt", "is no name for a result"),
        (".safetensors", "is no name for an output"),
        ("first.safetensors", "is made twice"),
        ("x/../first.safetensors", "is no name for a result"),
        ("none/mix.safetensors", "does not exist; create it first"),
        ("x" * 300 + ".safetensors", "too long"),
    ],
)
def test_results_stay_below_their_folder_and_have_names_of_their_own(
    run: Run, models: Path, out: Path, tmp_path: Path, name: str, said: str
):
    code, statuses, error = queue(run, models, out, write(tmp_path / "q", f"{QUEUE}--- {name}\nmean(a, b)\n"))
    assert (code, statuses) == (2, []) and said in error
    assert files(out) == {} and not (tmp_path / "up.safetensors").exists()


def test_what_stands_above_the_first_opening_line_is_refused_unless_it_is_a_comment(tmp_path: Path):
    with pytest.raises(RecipeError, match="line 3, column 1: 'q': a recipe stands above the first '---' line"):
        read_queue([write(tmp_path / "q", "# note\n\nmean(a, b)\n--- x.safetensors\nmean(a, c)")], tmp_path)
    assert len(read_queue([write(tmp_path / "q", "\ufeff# note\r\n\r\n--- x.safetensors\r\nmean(a, c)")], tmp_path)) == 1


def test_file_that_is_no_text_or_too_large_or_missing_is_refused(run: Run, models: Path, out: Path, tmp_path: Path):
    (tmp_path / "large").write_bytes(b"#" * (5 << 20))
    for path, said in (
        (models / "a.safetensors", "is no UTF-8 text"),
        (tmp_path / "large", "too large"),
        (tmp_path / "missing", "cannot be read: No such file"),
        (tmp_path, "cannot be read"),
    ):
        code, statuses, error = queue(run, models, out, path)
        assert (code, statuses) == (2, []) and said in error


# ---- what fails midway ----


@pytest.fixture
def spoilt(models: Path) -> Path:
    """A folder in which c has NaN, which only the pass finds."""
    key = LANES["CLIP_L"][0]
    assert key.startswith(CLIP)
    write_file(models / "c.safetensors", model(3, extras={key: stored(np.full((24, 24), np.nan), "fp16")}))
    return models


def test_recipe_that_fails_midway_does_not_stop_the_others(run: Run, spoilt: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q", QUEUE + "--- fourth.safetensors\nmean(b, a)\n")
    code, statuses, error = queue(run, spoilt, out, path)
    assert (code, statuses) == (2, ["done", "failed", "failed", "done"])
    lines = error.splitlines()
    assert len(lines) == 3 and lines[0].startswith("chilly: 'second.safetensors' of 'q': ") and "NaN" in lines[0]
    assert lines[2] == "chilly: 2 of 4 recipes failed; the same command tries them again."
    assert list(files(out)) == ["first.safetensors", "fourth.safetensors"]
    write_file(spoilt / "c.safetensors", model(3))
    assert queue(run, spoilt, out, path)[:2] == (0, ["skipped", "done", "done", "skipped"])


def test_stop_leaves_the_others_for_the_next_run(run: Run, spoilt: Path, out: Path, tmp_path: Path):
    path = write(tmp_path / "q", QUEUE)
    code, statuses, _ = queue(run, spoilt, out, path, "--stop")
    assert (code, statuses) == (2, ["done", "failed", "waiting"])
    assert list(files(out)) == NAMES[:1]


def test_interrupted_queue_keeps_what_is_done_and_goes_on_from_there(run: Run, models: Path, out: Path, tmp_path: Path):
    large = {f"{CLIP}extra.{number}.weight": stored(np.zeros(1 << 20), "fp16") for number in range(24)}
    write_file(models / "a.safetensors", model(1, extras=large))
    path = write(tmp_path / "q")
    command = [sys.executable, "-m", "lib_chilly.cli", "queue", path, "--models", models, "--out", out, "--threads", "1"]
    environment = {**os.environ, "CHILLY_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / NAMES[0]).exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.fail("the queue was done before it could be interrupted; make its sources larger")
    assert process.returncode == 130 and "results are as their recipes say; the same command goes on." in error
    left = list(files(out))
    assert left and set(left) < set(NAMES)
    code, statuses, _ = queue(run, models, out, path)
    assert code == 0 and statuses == ["skipped"] * len(left) + ["done"] * (3 - len(left))
    assert [metadata_of(out / name)["modelspec.merged_from"] for name in NAMES] == ["a, b", "a, b, c", "a, b, c"]
