"""The command line as other programs call it: exit codes, JSON, files that depend on nothing but recipe, options and sources."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import math
import os
import platform
import re
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CLIP, KEYS, LANE_OF, POSITION_IDS, UNET, VAE, model, stored, tiny, write_file, write_models
from reference import read_file
from safetensors import safe_open

import lib_chilly
from lib_chilly import hashes, writer
from lib_chilly.architecture import load
from lib_chilly.methods_page import methods_table
from lib_chilly.registry import all_methods

ROOT = Path(__file__).parents[1]
RECIPE = "MIX = 0.3 * a + 0.7 * b"
OLD = b"what stood here before"
PLAN_NAMES = [
    "architecture",
    "sources",
    "steps",
    "folded",
    "reads_bytes",
    "writes_bytes",
    "peak_memory_bytes",
    "reproducible",
    "warnings",
    "recipe",
]
MERGE_NAMES = [
    "output",
    "sha256",
    "data_sha256",
    "seconds",
    "read_bytes",
    "written_bytes",
    "peak_rss_bytes",
    "keys",
    "change",
    "overflow",
    "health",
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHILLY_MODELS", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "models"
    return write_models(folder, a=model(1), b=model(2, "fp32"), c=model(3, without=["VAE"]))


def facts_of(done: tuple[int, str, str]) -> dict:
    """The one JSON object of a command that went well and said nothing else."""
    code, out, error = done
    assert (code, error) == (0, "")
    assert out.endswith("}\n") and out.count("\n") == 1

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    return json.loads(out, parse_constant=refuse)


def merged(run: Run, models: Path, output: Path, recipe: str = RECIPE, *more: object) -> dict:
    """The facts of a merge; its file may replace another."""
    return facts_of(run("merge", recipe, "-o", output, "--models", models, "--json", "--overwrite", *more))


def header_of(path: Path) -> dict:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


# ---- facts ----


def test_plan_prints_one_object_with_exactly_the_documented_names(run: Run, models: Path):
    facts = facts_of(run("plan", RECIPE, "--models", models, "--json"))
    assert list(facts) == PLAN_NAMES
    assert facts["architecture"] == "sd1"
    assert facts["sources"] == [
        {"name": name, "file": str(models / f"{name}.safetensors"), "dtype": dtype, "bytes": size}
        for name, dtype in (("a", "fp16"), ("b", "fp32"))
        for size in [(models / f"{name}.safetensors").stat().st_size]
    ]
    assert facts["steps"] == [{"name": "MIX", "text": "0.3 * a + 0.7 * b"}]
    assert facts["folded"] == {lane: {"a": 0.3, "b": 0.7} for lane in dict.fromkeys(LANE_OF.values())}
    assert facts["reproducible"] == "bitwise"
    assert facts["warnings"] == []
    assert facts["recipe"] == "MIX = 0.3 * a + 0.7 * b\nsave(dtype=fp16)\n"


def test_merge_prints_one_object_with_the_plan_s_names_and_its_own(run: Run, models: Path, tmp_path: Path):
    output = tmp_path / "mix.safetensors"
    facts = merged(run, models, output)
    assert set(facts) == {*PLAN_NAMES, *MERGE_NAMES} and len(facts) == len(PLAN_NAMES) + len(MERGE_NAMES)
    content = output.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert facts["output"] == str(output)
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["data_sha256"] == hashlib.sha256(content[start:]).hexdigest()
    assert facts["written_bytes"] == facts["writes_bytes"] == len(content)
    assert facts["read_bytes"] == facts["reads_bytes"]
    assert 0 < facts["seconds"] < 60
    assert facts["peak_rss_bytes"] > 50_000_000
    assert {lane: counts["merged"] for lane, counts in facts["keys"].items()} == {
        lane: sum(other == lane for other in LANE_OF.values()) for lane in dict.fromkeys(LANE_OF.values())
    }
    plan = facts_of(run("plan", RECIPE, "--models", models, "--json"))
    assert {name: facts[name] for name in PLAN_NAMES} == plan


def test_plan_of_bytes_without_hashes_is_not_smaller_than_the_file(run: Run, models: Path, tmp_path: Path):
    facts = merged(run, models, tmp_path / "mix.safetensors", RECIPE, "--no-source-hashes")
    assert facts["written_bytes"] == (tmp_path / "mix.safetensors").stat().st_size <= facts["writes_bytes"]


CARD_TABLE = {
    "pyro_pov_a": 0.0534375,
    "pyro_pov_b": 0.0534375,
    "analogDiffusion_10": 0.605625,
    "v1-5-pruned-emaonly": -0.7125,
    "F222_v1": 0.75,
    "r34_e4": 0.25,
}


@pytest.mark.parametrize(
    ("recipe", "lines"),
    [
        ("0.5 * a + 0.5 * b", ["all lanes: 0.5 * a + 0.5 * b"]),
        (
            "M = weighted_sum(a, b, alpha={IN04-OUT05/attn2: 0.5, OUT08: 1, *: 0})",
            [
                "CLIP_L-OUT07, OUT09-VAE: 1 * a",
                "IN04-IN05/attn2, IN07-IN08/attn2, M00/attn2, OUT03-OUT05/attn2: 0.5 * a + 0.5 * b",
                "OUT08: 1 * b",
            ],
        ),
    ],
)
def test_plan_draws_neighbouring_lanes_of_one_sum_and_one_rule_together(run: Run, models: Path, recipe: str, lines: list[str]):
    said = run("plan", recipe, "--models", str(models))[1].splitlines()
    first = said.index("folded to one weighted sum:") + 1
    assert [line.strip() for line in said[first : first + len(lines)]] == lines
    assert said[first + len(lines)].startswith(("note:", "reads"))


@pytest.fixture(scope="module")
def card_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(
        tmp_path_factory.mktemp("card") / "models",
        **{name: model(seed) for seed, name in enumerate([*CARD_TABLE, "NED"])},
    )


@pytest.mark.parametrize(("recipe", "step"), [("chillymix-v1-ned.chilly", "BASE_V0"), ("chillymix-card.txt", "ChillyMixBaseV0")])
def test_card_s_recipe_folds_to_the_card_s_table(run: Run, card_models: Path, recipe: str, step: str):
    facts = facts_of(run("plan", ROOT / "recipes" / recipe, "--models", card_models, "--step", step, "--json"))
    assert [source["name"] for source in facts["sources"]] == list(CARD_TABLE)
    assert facts["folded"] and all(row == CARD_TABLE for row in facts["folded"].values())
    assert len(facts["steps"]) == (5 if recipe.endswith(".chilly") else 6)


def test_card_s_block_merge_takes_ned_in_the_lanes_of_its_numbers(run: Run, card_models: Path):
    facts = facts_of(run("plan", ROOT / "recipes" / "chillymix-v1-ned.chilly", "--models", card_models, "--json"))
    ned = {lane for lane, row in facts["folded"].items() if row == {"NED": 1}}
    assert ned == {"CLIP_L", "VAE", "TIME", "M00", *(f"IN{i:02}" for i in range(12))}
    assert all(facts["folded"][lane] == CARD_TABLE for lane in set(facts["folded"]) - ned)


def test_keys_and_change_of_each_lane_are_those_of_a_case_worked_out_by_hand(run: Run, tmp_path: Path):
    positions = {POSITION_IDS: stored(np.arange(77).reshape(1, 77), "I64")}
    a, b = model(1, "fp32", extras=positions), model(2, "fp32", extras=positions)
    models = write_models(tmp_path / "models", a=a, b=b)
    alpha = {"IN01": 0.25, "M00": 1, "OUT05": 0}
    rules = ", ".join(f"{lane}: {value}" for lane, value in alpha.items())
    facts = merged(
        run, models, tmp_path / "mix.safetensors", f"MIX = weighted_sum(a, b, alpha={{{rules}, *: 0.5}})", "--dtype", "fp32"
    )
    for lane in dict.fromkeys(LANE_OF.values()):
        keys = [key for key in KEYS if LANE_OF[key] == lane]
        share = alpha.get(lane, 0.5)
        is_copied = share in (0, 1)
        assert facts["keys"][lane] == {
            "merged": 0 if is_copied else len(keys),
            "copied": (len(keys) if is_copied else 0) + (lane == "CLIP_L"),
        }
        first = np.concatenate([a[key].values.reshape(-1) for key in keys])
        other = np.concatenate([b[key].values.reshape(-1) for key in keys])
        expected = np.linalg.norm(share * (other - first)) / np.linalg.norm(first)
        if share == 1:
            assert facts["change"][lane] is None
        else:
            assert facts["change"][lane] == pytest.approx(expected, rel=1e-4)
    assert set(facts["keys"]) == set(facts["change"]) == set(LANE_OF.values())


def test_change_against_nothing_but_zeros_is_null_and_no_infinity(run: Run, tmp_path: Path):
    keys = [key for key in KEYS if LANE_OF[key] == "TIME"]
    zeros = {key: stored(np.zeros(model(1)[key].shape), "fp16") for key in keys}
    models = write_models(tmp_path / "models", a=model(1, extras=zeros), b=model(2))
    assert merged(run, models, tmp_path / "mix.safetensors")["change"]["TIME"] is None
    assert merged(run, models, tmp_path / "mix.safetensors", "MIX = a + 0 * b")["change"]["TIME"] == 0


def test_change_of_a_sum_that_overflows_is_null_and_no_infinity(run: Run, tmp_path: Path):
    keys = [key for key in KEYS if LANE_OF[key] == "TIME"]
    huge = {key: stored(np.full(model(1)[key].shape, 3e38), "fp32") for key in keys}
    models = write_models(tmp_path / "models", a=model(1), b=model(2, extras=huge))
    facts = merged(run, models, tmp_path / "mix.safetensors", "free_sum(a, b, beta=2)", "--compute", "float32")
    assert facts["change"]["TIME"] is None
    assert facts["overflow"] == {key: math.prod(model(1)[key].shape) for key in keys}
    assert any("too large for fp16, became Inf" in warning for warning in facts["warnings"])


def test_merge_without_json_tells_people_the_same(run: Run, models: Path, tmp_path: Path):
    output = tmp_path / "mix.safetensors"
    code, out, error = run("merge", RECIPE, "-o", output, "--models", models)
    assert (code, error) == (0, "")
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    for words in ("SD 1.x, 2 sources:", "0.3 * a + 0.7 * b", f"sha256 {digest}", f"AutoV2 {digest[:10]}", str(output)):
        assert words in out


# ---- recipes and options ----


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(RECIPE, "utf-8"), (f"{RECIPE}\r\n# done\r\n", "utf-8"), (RECIPE, "utf-8-sig")],
    ids=["plain", "windows", "byte order mark"],
)
def test_recipe_in_a_file_is_the_recipe_in_the_text(run: Run, models: Path, tmp_path: Path, content: str, encoding: str):
    path = tmp_path / "mix.chilly"
    path.write_bytes(content.encode(encoding))
    by_text, by_file = (merged(run, models, tmp_path / "mix.safetensors", recipe) for recipe in (RECIPE, path))
    assert by_text["sha256"] == by_file["sha256"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("missing.chilly", "the recipe 'missing.chilly' was not found."),
        ("a/b/missing.TXT", "the recipe 'a/b/missing.TXT' was not found."),
    ],
)
def test_recipe_file_that_is_missing_is_not_read_as_text(run: Run, models: Path, recipe: str, said: str):
    assert run("plan", recipe, "--models", models) == (2, "", f"chilly: {said}\n")


def test_recipe_file_that_is_no_text_is_refused_in_a_sentence(run: Run, models: Path, tmp_path: Path):
    path = tmp_path / "a.chilly"
    path.write_bytes(b"M = a\xff")
    code, out, error = run("plan", path, "--models", models)
    assert (code, out) == (2, "") and error.count("\n") == 1 and "is no UTF-8 text" in error


def test_text_of_several_lines_may_end_like_a_file_s_name(run: Run, models: Path):
    facts = facts_of(run("plan", f"{RECIPE}\n# from mix.txt", "--models", models, "--json"))
    assert facts["steps"][0]["name"] == "MIX"


def test_step_saves_an_earlier_line_and_stands_in_the_recipe(run: Run, models: Path, tmp_path: Path):
    recipe = "FIRST = 0.3 * a + 0.7 * b\nMIX = 0.5 * FIRST + 0.5 * c"
    by_option = merged(run, models, tmp_path / "1.safetensors", recipe, "--step", "FIRST")
    by_save = merged(run, models, tmp_path / "2.safetensors", f"{recipe}\nsave(step=FIRST)")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    assert "step=FIRST" in by_option["recipe"] and by_option["recipe"] == by_save["recipe"]
    assert by_option["data_sha256"] == merged(run, models, tmp_path / "3.safetensors", RECIPE)["data_sha256"]
    last = merged(run, models, tmp_path / "4.safetensors", recipe, "--step", "MIX")
    assert last["sha256"] == merged(run, models, tmp_path / "5.safetensors", recipe)["sha256"] != by_option["sha256"]


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        (["--dtype", "bf16"], "dtype=bf16"),
        (["--dtype", "source"], "dtype=source"),
        (["--dtype", "fp16"], ""),
        (["--compute", "float64"], "compute=float64"),
        (["--compute", "float32"], ""),
        (["--on-nan", "stop"], ""),
        (["--on-nan", "take:a"], 'on_nan="take:a"'),
        (["--dtype", "fp8_scaled", "--vae-dtype", "fp32"], "dtype=fp8_scaled, vae_dtype=fp32"),
        (["--unet-dtype", "fp8_e4m3fn", "--text-encoder-dtype", "bf16"], "unet_dtype=fp8_e4m3fn, text_encoder_dtype=bf16"),
        (["--vae", "b"], "vae=b"),
        (["--vae", "drop", "--ema", "keep", "--position-ids", "rebuild"], "vae=drop, ema=keep, position_ids=rebuild"),
        (["--discard", "*.attn1.*, *.ff.*"], 'discard="*.attn1.*,*.ff.*"'),
        (["--title", 'my "mix" cafe\u0301', "--yaml", "drop"], 'title="my \\"mix\\" caf\u00e9", yaml=drop'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_option_gives_the_same_file_as_the_same_words_in_save(
    run: Run, models: Path, tmp_path: Path, options: list[str], saved: str
):
    merged(run, models, tmp_path / "1.safetensors", RECIPE, *options)
    merged(run, models, tmp_path / "2.safetensors", f"{RECIPE}\nsave({saved})" if saved else RECIPE)
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_option_wins_over_save(run: Run, models: Path, tmp_path: Path):
    facts = merged(run, models, tmp_path / "1.safetensors", f"{RECIPE}\nsave(dtype=fp32, title=Mine)", "--dtype", "bf16")
    assert facts["recipe"].endswith("save(dtype=bf16, title=Mine)\n")
    assert {tensor.tag for tensor in read_file(tmp_path / "1.safetensors").values()} == {"BF16"}


def test_file_and_header_are_the_same_for_any_threads_and_way_of_reading(run: Run, models: Path, tmp_path: Path):
    ways = [["--threads", "1"], ["--threads", "4"], ["--mmap"], ["--threads", "3", "--mmap"], []]
    for number, way in enumerate(ways):
        merged(run, models, tmp_path / f"{number}.safetensors", RECIPE, *way)
    assert len({(tmp_path / f"{number}.safetensors").read_bytes() for number in range(len(ways))}) == 1


def test_header_holds_recipe_sources_and_maths_and_nothing_else(run: Run, models: Path, tmp_path: Path):
    output = tmp_path / "somewhere" / "mix.safetensors"
    output.parent.mkdir()
    facts = merged(run, models, output, RECIPE, "--threads", "3")
    metadata = header_of(output).pop("__metadata__")
    spec = "sai_model_spec architecture implementation title resolution merged_from"
    assert set(metadata) == {
        *("format", "chillymerge", "sd_merge_recipe", "sd_merge_models"),
        *(f"modelspec.{name}" for name in spec.split()),
    }
    assert metadata["format"] == "pt"
    assert json.loads(metadata["chillymerge"]) == {
        "recipe": facts["recipe"],
        "sources": [
            {"name": name, "size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in (("a", models / "a.safetensors"), ("b", models / "b.safetensors"))
        ],
        "maths": 1,
    }
    said = json.dumps(metadata)
    places = (str(tmp_path), str(models), "mix", platform.node(), getpass.getuser())
    assert [word for word in (*places, lib_chilly.__version__, torch.__version__) if word in said] == []


def test_no_source_hashes_leaves_out_all_of_them(run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hashes, "hash_file", lambda *_: pytest.fail("a source was hashed"))
    merged(run, models, tmp_path / "mix.safetensors", RECIPE, "--no-source-hashes")
    sources = json.loads(header_of(tmp_path / "mix.safetensors")["__metadata__"]["chillymerge"])["sources"]
    assert [sorted(source) for source in sources] == [["name", "size"]] * 2


# ---- remembered hashes ----


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for their hashes."""
    names: list[str] = []
    real = hashes.hash_file

    def hash_file(path: Path, *more: object) -> str:
        names.append(path.name)
        return real(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(hashes, "hash_file", hash_file)
    return names


def hashes_in(path: Path) -> list[str]:
    return [source["sha256"] for source in json.loads(header_of(path)["__metadata__"]["chillymerge"])["sources"]]


def test_source_is_read_for_its_hash_once_and_again_only_when_it_changed(run: Run, tmp_path: Path, hashed: list[str]):
    models = write_models(tmp_path / "models", a=model(1), b=model(2))
    a, b = models / "a.safetensors", models / "b.safetensors"
    output = tmp_path / "mix.safetensors"

    def check(expected: list[str]) -> None:
        hashed.clear()
        merged(run, models, output)
        assert sorted(hashed) == expected
        assert hashes_in(output) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in (a, b)]

    check([a.name, b.name])
    check([])
    b.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(b)
    check([])
    os.utime(b, ns=(1, 2))
    check([b.name])
    check([])
    write_file(b, model(2), {"note": "one"})
    os.utime(b, ns=(1, 2))
    check([b.name])
    write_file(b, model(2), {"note": "two"})  # as many bytes, the same time, another header
    os.utime(b, ns=(1, 2))
    check([b.name])
    write_file(a, model(1), pad=3)
    check([a.name])


def a_file(home: Path) -> None:
    home.write_text("no folder")


def noise(home: Path) -> None:
    home.mkdir()
    (home / "hashes.sqlite").write_bytes(b"no database" * 500)


def a_folder(home: Path) -> None:
    (home / "hashes.sqlite").mkdir(parents=True)


def newer(home: Path) -> None:
    home.mkdir()
    database = sqlite3.connect(home / "hashes.sqlite")
    database.execute("CREATE TABLE hashes (other TEXT)")
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()


def locked(home: Path) -> None:
    home.mkdir()
    (home / "hashes.sqlite").symlink_to("/proc/1/mem/hashes")


@pytest.mark.parametrize("spoil", [a_file, noise, a_folder, newer, locked])
def test_merge_works_without_a_home_that_can_be_used(
    run: Run, models: Path, tmp_path: Path, home: Path, hashed: list[str], spoil: Callable[[Path], None]
):
    spoil(home)
    for _ in range(2):
        hashed.clear()
        merged(run, models, tmp_path / "mix.safetensors")
        assert sorted(hashed) == ["a.safetensors", "b.safetensors"]
    assert all(hashes_in(tmp_path / "mix.safetensors"))
    if spoil is newer:
        with closing(sqlite3.connect(home / "hashes.sqlite")) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (99,)


def test_merge_works_for_a_user_without_a_home(
    run: Run, models: Path, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CHILLY_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    merged(run, models, tmp_path / "mix.safetensors")
    assert sorted(hashed) == ["a.safetensors", "b.safetensors"]


# ---- interruption ----

INTERRUPTED = """
import json, os, runpy, sys, time
import torch
from lib_chilly import fileio, hashes, memory, stream

def slowed(function, pipe):
    def call(*arguments, **options):
        os.write(pipe, b"x")
        time.sleep(0.02)
        return function(*arguments, **options)
    return call

def run(place, arguments, pipe, said):
    if place == "writing":
        stream.BLOCK_BYTES = memory.BLOCK_BYTES = 4096
        fileio.TargetFile.write_at = slowed(fileio.TargetFile.write_at, pipe)
    else:
        hashes._CHUNK_BYTES = 1024
        fileio.SourceFile.read_into = slowed(fileio.SourceFile.read_into, pipe)
    for number in (1, 2):
        os.dup2(os.open(f"{said}{number}", os.O_WRONLY | os.O_CREAT), number)
    sys.argv[1:] = arguments
    runpy.run_module("lib_chilly.cli", run_name="__main__")

for place, number, times, arguments, said in json.loads(sys.argv[1]):
    reached, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        run(place, arguments, pipe, said)
    os.close(pipe)
    for _ in range(8):
        os.read(reached, 1)
    for _ in range(times):
        os.kill(child, number)
        time.sleep(0.05)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.close(reached)
"""

STOPS = {
    "Ctrl-C": ("writing", signal.SIGINT, 1),
    "SIGTERM": ("writing", signal.SIGTERM, 1),
    "Ctrl-C twice": ("writing", signal.SIGINT, 2),
    "Ctrl-C while hashing": ("hashing", signal.SIGINT, 1),
}
"""Where a merge is stopped, by what signal, how often."""


@pytest.fixture(scope="module")
def stopped(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """For each way of stopping: (exit code, target); what was said stands beside the target's folder."""
    cases, targets = [], []
    for place, number, times in STOPS.values():
        folder = tmp_path_factory.mktemp("stopped")
        targets.append(folder / "out" / "mix.safetensors")
        targets[-1].parent.mkdir()
        targets[-1].write_bytes(OLD)
        arguments = ["merge", RECIPE, "-o", str(targets[-1]), "--models", str(models), "--overwrite", "--json"]
        arguments += ["--no-source-hashes"] if place == "writing" else []
        cases.append((place, int(number), times, arguments, str(folder / "said")))
    home = {"CHILLY_HOME": str(tmp_path_factory.mktemp("home"))}
    command = [sys.executable, "-c", INTERRUPTED, json.dumps(cases)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **home}, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return dict(zip(STOPS, zip(done.stdout.split(), targets, strict=True), strict=True))


@pytest.mark.parametrize("how", STOPS)
def test_merge_that_is_stopped_exits_with_130_and_leaves_nothing_behind(stopped: dict[str, tuple[str, Path]], how: str):
    code, target = stopped[how]
    assert code == "130"
    assert [(target.parents[1] / f"said{number}").read_text() for number in (1, 2)] == [
        "",
        "chilly: stopped. Nothing was left behind.\n",
    ]
    assert list(target.parent.iterdir()) == [target] and target.read_bytes() == OLD


# ---- memory and start-up ----


def large_model(path: Path, elements: int) -> Path:
    """A model with one large tensor of zeros, of which the disk holds nothing."""
    write_file(path, model(1, only=[]))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    key = UNET + "input_blocks.1.1.transformer_blocks.0.ff.net.2.weight"
    header[key] = {"dtype": "F16", "shape": [elements // 1000, 1000], "data_offsets": [len(data), len(data) + 2 * elements]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    os.truncate(path, 8 + len(text) + len(data) + 2 * elements)
    return path


@pytest.mark.parametrize(
    ("size", "more"),
    [
        ("tiny", ["--threads", "16"]),
        ("large", ["--threads", "4", "--dtype", "fp32"]),
        ("large", ["--threads", "4", "--dtype", "fp8_scaled", "--compute", "float64"]),
    ],
)
def test_memory_that_the_plan_says_is_what_the_merge_takes(models: Path, tmp_path: Path, size: str, more: list[str]):
    if size == "large":
        models = tmp_path / "models"
        models.mkdir()
        for name in "ab":
            large_model(models / f"{name}.safetensors", 20_000_000)
    command = [
        "-m",
        "lib_chilly.cli",
        "merge",
        RECIPE,
        "-o",
        tmp_path / "mix.safetensors",
        "--models",
        models,
        "--json",
        "--no-source-hashes",
    ]
    done = subprocess.run(
        [sys.executable, *map(str, command), *more], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    facts = json.loads(done.stdout)
    assert facts["peak_memory_bytes"] == pytest.approx(facts["peak_rss_bytes"], rel=0.25)


def test_memory_of_a_merge_does_not_count_that_of_the_program_which_started_it():
    inner = "import lib_chilly.report; print(lib_chilly.report.peak_rss_bytes())"
    outer = f"import subprocess, sys; x = b'x' * (1 << 29); subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", outer], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert 5_000_000 < int(done.stdout) < 1 << 28


def test_memory_of_a_merge_does_not_count_what_was_done_before_it():
    code = (
        "import lib_chilly.report as report; x = b'x' * (1 << 29); before = report.peak_rss_bytes(); del x\n"
        "report.forget_peak_rss(); print(before, report.peak_rss_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    before, after = map(int, done.stdout.split())
    assert after < 1 << 28 < 1 << 29 < before


def test_plan_never_imports_torch_or_numpy(models: Path):
    command = ["-X", "importtime", "-m", "lib_chilly.cli", "plan", RECIPE, "--models", str(models)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "lib_chilly" in imported and "lark" in imported
    assert not imported & {"torch", "numpy", "safetensors", "gradio", "tqdm"}


# ---- inspect ----


def test_inspect_says_what_a_file_is(run: Run, models: Path, tmp_path: Path):
    output = tmp_path / "mix.safetensors"
    merged(run, models, output, f'{RECIPE}\nsave(title="A & B")', "--dtype", "bf16")
    facts = facts_of(run("inspect", output, "--json"))
    content = output.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert facts["file"] == str(output) and facts["format"] == "safetensors" and facts["bytes"] == len(content)
    assert facts["architecture"] == "sd1" and facts["title"] == "SD 1.x" and facts["keys"] == len(KEYS)
    assert facts["components"] == {"unet": len(KEYS) - 4, "text_encoder": 2, "vae": 2}
    assert facts["dtypes"] == {"bf16": len(KEYS)}
    assert facts["missing"] == facts["flags"] == facts["unknown_keys"] == []
    assert facts["hashes"] == {
        "sha256": hashlib.sha256(content).hexdigest(),
        "AutoV2": hashlib.sha256(content).hexdigest()[:10],
        "data_sha256": hashlib.sha256(data).hexdigest(),
        "AutoV3": hashlib.sha256(data).hexdigest()[:12],
    }
    assert facts["recipe"] == f'{RECIPE}\nsave(dtype=bf16, title="A & B")\n'
    code, out, error = run("inspect", output)
    assert (code, error) == (0, "")
    for words in ("SD 1.x, safetensors", facts["hashes"]["sha256"], "recipe:\n    MIX = 0.3 * a + 0.7 * b\n"):
        assert words in out


def test_inspect_of_several_files_lists_them(run: Run, models: Path):
    files = [models / "a.safetensors", models / "c.safetensors"]
    facts = facts_of(run("inspect", *files, "--json"))
    assert [found["file"] for found in facts["files"]] == list(map(str, files))
    assert [found["missing"] for found in facts["files"]] == [[], ["vae"]]


def test_inspect_of_several_files_says_what_can_be_read_and_refuses_the_others(run: Run, models: Path, tmp_path: Path):
    bad, missing = tmp_path / "bad.safetensors", tmp_path / "missing.safetensors"
    bad.write_bytes(b"no checkpoint")
    files = [models / "a.safetensors", bad, missing, models / "c.safetensors"]
    code, out, error = run("inspect", *files, "--json")
    first, *refused, last = json.loads(out)["files"]
    assert code == 2 and [first["file"], last["file"]] == [str(files[0]), str(files[3])] and "hashes" in last
    assert [list(found) for found in refused] == [["file", "error"]] * 2
    said = [*(f"chilly: {found['error']}" for found in refused), "chilly: 2 files of 4 cannot be read."]
    assert error.splitlines() == said and "'bad.safetensors'" in said[0] and "missing.safetensors" in said[1]
    code, out, error = run("inspect", *files)
    assert (code, error.splitlines()) == (2, said) and out.count("SD 1.x, safetensors") == 2


def test_inspect_describes_a_file_of_no_known_architecture(run: Run, tmp_path: Path):
    path = write_file(tmp_path / "lora.safetensors", {"lora_up.weight": stored([1.0, 2.0], "fp16")}, {"ss_tag": "cat"})
    facts = facts_of(run("inspect", path, "--json"))
    assert facts["architecture"] is None and facts["components"] == {"other": 1} and facts["metadata"] == {"ss_tag": "cat"}
    assert "no known architecture" in run("inspect", path)[1]


@pytest.mark.parametrize(
    "lie", ["no JSON", "[1]", '{"recipe": 5}', '{"other": ""}', "[" * 100_000], ids=["text", "list", "number", "other", "deep"]
)
def test_inspect_shows_no_recipe_where_the_header_lies(run: Run, tmp_path: Path, lie: str):
    path = write_file(tmp_path / "liar.safetensors", model(1, only=[]), {"chillymerge": lie})
    assert facts_of(run("inspect", path, "--json"))["recipe"] is None


@pytest.mark.parametrize("value", ["evil\x1b[31m", '{"recipe": "M = 1 * a"}', "[" * 100_000], ids=["escape", "half", "deep"])
def test_inspect_shows_a_damaged_record_shortened_and_escaped(run: Run, tmp_path: Path, value: str):
    path = write_file(tmp_path / "liar.safetensors", model(1, only=[]), {"chillymerge": value})
    said = run("inspect", path)[1]
    assert "metadata 'chillymerge', which is damaged: '" in said and value[:4] in said
    assert "\x1b" not in said and len(said) < 2000


def test_inspect_does_not_call_a_record_of_ours_damaged(run: Run, models: Path, tmp_path: Path):
    merged(run, models, tmp_path / "mix.safetensors")
    assert "damaged" not in run("inspect", tmp_path / "mix.safetensors")[1]


@pytest.mark.parametrize("title", ["", "  "])
def test_empty_title_is_said(run: Run, models: Path, title: str):
    code, out, error = run("plan", RECIPE, "--models", models, "--title", title)
    assert (code, out, error) == (2, "", "chilly: the option title is empty. Give it a text, or leave it out.\n")


def test_one_of_a_thing_is_counted_without_an_s(run: Run, models: Path):
    assert "SD 1.x, 1 source:" in run("plan", "1 * a", "--models", models)[1]


def test_inspect_says_flags(run: Run, tmp_path: Path):
    old = {key.replace(CLIP, CLIP.replace("text_model.", "")): tensor for key, tensor in model(1, channels=9).items()}
    extras = {"model_ema.decay": stored(np.float32(1), "fp32"), "v_pred": stored([], "fp32"), "stray": stored([1.0], "fp16")}
    facts = facts_of(run("inspect", write_file(tmp_path / "old.safetensors", {**old, **extras}), "--json"))
    assert set(facts["flags"]) == {"v-prediction", "inpainting", "EMA copies", "old spelling of keys"}
    assert facts["unknown_keys"] == ["stray"] and facts["components"]["ema"] == 1


# ---- synth ----


def test_synth_makes_the_same_bytes_of_the_same_seed(run: Run, tmp_path: Path):
    for name, seed in (("1", 5), ("2", 5), ("3", 6)):
        assert run("synth", "--arch", "sd1", "--seed", seed, "-o", tmp_path / name)[::2] == (0, "")
    first, second, third = ((tmp_path / name).read_bytes() for name in "123")
    assert first == second != third and len(first) == len(third)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl", "sd3", "flux"])
def test_synth_makes_every_architecture_with_its_true_keys(run: Run, tmp_path: Path, architecture: str):
    path = tmp_path / "made.safetensors"
    assert run("synth", "--arch", architecture, "--size", "tiny", "--dtype", "bf16", "-o", path)[::2] == (0, "")
    keys = json.loads((ROOT / "lib_chilly" / "architectures" / "keys" / f"{architecture}.json").read_text())
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(keys)
        assert {str(file.get_slice(key).get_dtype()) for key in file.keys() if not key.endswith("position_ids")} == {"BF16"}  # noqa: SIM118
    if (ROOT / "lib_chilly" / "architectures" / f"{architecture}.json").exists():
        assert facts_of(run("inspect", path, "--json"))["architecture"] == architecture


def test_synth_near_drifts_as_far_as_it_is_told(run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    base = tiny(tmp_path_factory, "base", seed=1)
    path = tmp_path / "near.safetensors"
    assert run("synth", "--near", base, "--drift", "0.25", "--seed", "3", "--dtype", "fp32", "-o", path)[::2] == (0, "")
    near, far = read_file(path), read_file(base)
    assert list(near) and near.keys() == far.keys()
    ratios = []
    for key, tensor in far.items():
        if tensor.tag == "F16" and tensor.values.size > 500:
            ratios.append(np.std(near[key].values - tensor.values) / np.std(tensor.values))
    assert len(ratios) > 20 and min(ratios) > 0.2 and max(ratios) < 0.3
    assert np.mean(ratios) == pytest.approx(0.25, rel=0.02)
    assert run("synth", "--near", base, "--drift", "0", "-o", path)[0] == 0
    assert read_file(path) == far


def test_synth_without_a_component_and_with_nine_channels(run: Run, tmp_path: Path):
    path = tmp_path / "made.safetensors"
    assert run("synth", "--arch", "sd1", "--inpainting", "--without", "vae", "-o", path)[::2] == (0, "")
    facts = facts_of(run("inspect", path, "--json"))
    assert facts["missing"] == ["vae"] and facts["flags"] == ["inpainting"]
    assert not any(key.startswith(VAE) for key in read_file(path))
    assert read_file(path)[load("sd1").conv_in.key].shape[1] == 9


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_synth_writes_a_diffusers_folder_of_the_same_tensors(run: Run, tmp_path: Path, architecture: str):
    for name, form in (("file.safetensors", "safetensors"), ("folder", "diffusers"), ("folder", "diffusers")):
        common = ["--arch", architecture, "--seed", "4", "--dtype", "bf16", "--format", form]
        assert run("synth", *common, "-o", tmp_path / name)[::2] == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.safetensors", "folder"]
    assert run("merge", "folder", "--dtype", "source", "--models", tmp_path, "-o", tmp_path / "back.safetensors")[::2] == (0, "")
    assert read_file(tmp_path / "back.safetensors") == read_file(tmp_path / "file.safetensors")


def test_synth_of_a_folder_that_cannot_be_leaves_nothing(run: Run, tmp_path: Path):
    code, out, error = run("synth", "--arch", "flux", "--size", "full", "--format", "diffusers", "-o", tmp_path / "m")
    assert (code, out) == (2, "") and "Flux.1 is not written as a diffusers folder" in error
    assert list(tmp_path.glob("*m*")) == list(tmp_path.glob(".*")) == []


def test_synth_writes_a_torch_file_that_opens_and_merges(run: Run, tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    for name, form in (("a", "ckpt"), ("b", "safetensors")):
        suffix = f".{form}"
        assert run("synth", "--arch", "sd1", "--seed", "4", "--format", form, "-o", models / f"{name}{suffix}")[::2] == (0, "")
    weights = torch.load(models / "a.ckpt", weights_only=True)["state_dict"]
    same = read_file(models / "b.safetensors")
    assert {key: tuple(tensor.shape) for key, tensor in weights.items()} == {key: tensor.shape for key, tensor in same.items()}
    facts = merged(run, models, tmp_path / "mix.safetensors", RECIPE)
    assert facts["data_sha256"] == merged(run, models, tmp_path / "mix.safetensors", "1 * a + 0 * b")["data_sha256"]
    assert sorted(path.name for path in models.iterdir()) == ["a.ckpt", "b.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "sd1", "--without", "text_encoder_2"], "has no component 'text_encoder_2'"),
        (["--drift", "0.1"], "synth takes either --arch, or --near FILE with --drift X."),
        (["--arch", "sd1", "--drift", "0.1"], "--near FILE and --drift X go together."),
        (["--near", "nowhere.safetensors", "--drift", "0.1"], "'nowhere.safetensors' cannot be read: No such file"),
    ],
)
def test_synth_that_cannot_be_is_refused_in_a_sentence(run: Run, tmp_path: Path, arguments: list[str], said: str):
    code, out, error = run("synth", *arguments, "-o", tmp_path / "made")
    assert (code, out) == (2, "") and said in error and error.count("\n") == 1
    assert not (tmp_path / "made").exists()


# ---- words ----


def test_methods_are_listed_as_the_registry_has_them(run: Run):
    assert run("methods") == (0, methods_table() + "\n", "")
    assert {"weighted_sum", "add_difference", "free_sum"} <= set(all_methods())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["plan"],
        ["merge", RECIPE],
        ["test"],
        ["test", "--peers"],
        ["plan", RECIPE, "--threads", "0"],
        ["plan", RECIPE, "--threads", "many"],
        ["plan", RECIPE, "--threads", "9" * 5000],
        ["plan", RECIPE, "--dtype", "fp8"],
        ["plan", RECIPE, "--models", "m" * 300],
        ["inspect", "f" * 300],
        ["inspect", "no\nfile"],
        ["plan", "x" * 5000],
        ["plan", ""],
        ["plan", "\0"],
    ],
    ids=lambda arguments: " ".join(arguments)[:24].replace("\n", " ").replace("\0", "nul"),
)
def test_arguments_that_mean_nothing_are_refused_without_a_traceback(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
):
    monkeypatch.chdir(tmp_path)
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("chilly: ") and len(error.splitlines()) in (1, 3)
    assert "_positive" not in error and "Traceback" not in error


@pytest.mark.parametrize("arguments", [["--help"], ["merge", "--help"], ["--version"]])
def test_help_and_version_end_well(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 0
    assert re.search(r"usage: chilly|ChillyMerge \d", capsys.readouterr().out)


def test_models_folders_are_read_from_the_environment_and_the_working_folder(
    run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = (write_models(tmp_path / name) for name in ("first", "second"))
    (first / "a.safetensors").symlink_to(models / "a.safetensors")
    (second / "b.safetensors").symlink_to(models / "b.safetensors")
    monkeypatch.setenv("CHILLY_MODELS", f"{first}{os.pathsep}{second}")
    facts = facts_of(run("plan", RECIPE, "--json"))
    assert [source["file"] for source in facts["sources"]] == [str(first / "a.safetensors"), str(second / "b.safetensors")]
    monkeypatch.delenv("CHILLY_MODELS")
    monkeypatch.chdir(models.parent)
    assert facts_of(run("plan", RECIPE, "--json"))["sources"][0]["file"] == str(Path("models") / "a.safetensors")
    assert facts_of(run("plan", RECIPE, "--json", "--models", first, "--models", second))["folded"] == facts["folded"]


HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\u202e\u009b2J"
"""Sets a terminal's title and colour, goes back on the line, turns the writing round, and clears the screen in 8 bits."""


def assert_harmless(text: str) -> None:
    assert text and all(character.isprintable() or character == "\n" for character in text), ascii(text)


def test_control_characters_from_files_never_reach_the_terminal(run: Run, tmp_path: Path):
    models = tmp_path / f"models{HOSTILE}"
    name = f"b{HOSTILE}"
    extras = {f"stray{HOSTILE}": stored([1.0], "fp16")}
    metadata = {f"note{HOSTILE}": f"text{HOSTILE}\n", "chillymerge": json.dumps({"recipe": f"M = a{HOSTILE}\n"})}
    write_models(models, a=model(1))
    write_file(models / f"{name}.safetensors", model(2, extras=extras), metadata)
    (models / f"bad{HOSTILE}.safetensors").write_bytes(b"<html>")
    (models / f"line\nbreak{HOSTILE}.safetensors").write_bytes(b"")

    done = run("inspect", *sorted(models.iterdir())[:2])
    assert done[::2] == (0, "")
    assert_harmless(done[1])
    recipe = f'MIX = 0.5 * a + 0.5 * "{name}"'
    for arguments in (
        ["plan", recipe, "--models", models],
        ["merge", recipe, "--models", models, "-o", tmp_path / f"out{HOSTILE}.safetensors"],
        ["plan", f'MIX = 0.5 * a + 0.5 * "bad{HOSTILE}"', "--models", models],
        ["plan", f'MIX = 0.5 * a + 0.5 * "nobody{HOSTILE}"', "--models", models],
        ["plan", f"MIX = {HOSTILE}", "--models", models],
        ["plan", RECIPE, "--models", tmp_path / f"none{HOSTILE}\n"],
        ["inspect", models / f"bad{HOSTILE}.safetensors"],
        ["inspect", models / f"line\nbreak{HOSTILE}.safetensors"],
        ["inspect", tmp_path / f"none{HOSTILE}\n"],
        ["synth", "--arch", "sd1", "-o", tmp_path / f"made{HOSTILE}"],
        ["plan", RECIPE, "--dtype", HOSTILE],
    ):
        _, out, error = run(*arguments)
        assert_harmless(out + error)
        assert len(error.splitlines()) in (0, 1, 3)


def test_progress_is_shown_where_stderr_is_a_terminal(models: Path, tmp_path: Path):
    """Everywhere else in this file it is none, and stays empty."""
    command = [
        sys.executable,
        "-m",
        "lib_chilly.cli",
        "merge",
        RECIPE,
        "--models",
        models,
        "--json",
        "-o",
        tmp_path / "mix.safetensors",
    ]
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    done = subprocess.run(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=True)
    shown = os.read(controller, 100_000) if select.select([controller], [], [], 1)[0] else b""
    os.close(controller)
    os.close(terminal)
    assert b"hashing sources:" in shown and b"merging:" in shown
    assert json.loads(done.stdout)["output"] == str(tmp_path / "mix.safetensors")


def test_name_of_a_temporary_is_what_git_ignores():
    assert f"*{writer.TEMPORARY_SUFFIX}" in (ROOT / ".gitignore").read_text().split()
