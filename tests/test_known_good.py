"""Releases that the user knows to be good: what is compared with them, how the table is kept, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import merge_in, stored, tiny, trained_family, write_file
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_health import BASE, BROKEN_MEMBER, NAMES, changed
from test_schemas import faults, schema

from lib_chilly.architecture import known_keys, load
from lib_chilly.gains import factor
from lib_chilly.health import health_of
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.known_good import FILE, KnownGood, Norms, Release
from lib_chilly.known_lanes import judge_lane, judge_matrices, lane_against
from lib_chilly.synth import _make
from lib_chilly.ui.health_view import Verdicts
from lib_chilly.ui.job import Job

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_family(tmp_path_factory)


@pytest.fixture(scope="module")
def stated(family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, in which the family's base is known to be good."""
    folder = tmp_path_factory.mktemp("stated")
    matrices = health_of(family / f"{BASE}.safetensors").matrices
    KnownGood(folder / FILE).state(Release("a" * 64, f"{BASE}.safetensors", "sd1", matrices))
    return folder


def lane(*norms: float) -> dict[str, Norms]:
    return {str(number): Norms(8, 64, norm, norm / 2) for number, norm in enumerate(norms)}


def released(*norms: float, name: str = "x.safetensors") -> Release:
    return Release("0" * 64, name, "sd1", lane(*norms))


def test_known_good_base_finds_what_is_broken_and_no_healthy_member(family: Path, stated: Path):
    known = KnownGood(stated / FILE)
    for name in NAMES:
        health = health_of(family / f"{name}.safetensors", known=known)
        assert health.known_good == (BASE,) and (health.sentences() == []) == (name != BROKEN_MEMBER)
    assert health_of(family / f"{BROKEN_MEMBER}.safetensors", known=known).sentences() == [
        f"M00: norms 14x those known to be good ({BASE}): likely broken"
    ]
    assert health_of(family / "NED.safetensors", family / f"{BASE}.safetensors", known=known).known_good == ()


@pytest.mark.parametrize(
    ("part", "lane", "factor", "verdict"),
    [
        ("input_blocks__4.", "IN04", 5, "broken"),
        ("output_blocks__7.", "OUT07", 0.2, "broken"),
        ("first_stage_model", "VAE", 3, "suspect"),
    ],
)
def test_lane_that_no_rule_without_a_base_finds_is_found_with_one_that_is_known_and_in_a_merge(
    family: Path, stated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, lane: str, factor: float, verdict: str
):
    scaled = changed(family / "NED.safetensors", tmp_path / "scaled.safetensors", **{part: lambda t: t.float() * factor})
    assert health_of(scaled).sentences() == []
    monkeypatch.setenv("CHILLY_HOME", str(stated))
    health = health_of(scaled, known=KnownGood())
    assert {name: found.verdict for name, found in health.lanes.items() if found.verdict != "fine"} == {lane: verdict}
    assert health.lanes[lane].against_known_good == pytest.approx(factor, rel=0.2)
    shutil.copy(family / "NED.safetensors", tmp_path / "NED.safetensors")
    for output, options in (("out.safetensors", {}), ("out", {"format": "diffusers"})):
        seen = merge_in(tmp_path, "0.99 * NED + 0.01 * scaled", tmp_path / output, options=options).health
        assert (seen.known_good, seen.sources["NED"].says, seen.result.says) == ((BASE,), (), ())
        (words,) = seen.sources["scaled"].says
        assert words.startswith(f"{lane}: norms ") and f"those known to be good ({BASE})" in words


def test_inspect_card_page_and_merge_name_what_they_compare_with(
    family: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    scaled = changed(family / "NED.safetensors", tmp_path / "scaled.safetensors", input_blocks__4__=lambda t: t.float() * 5)
    page, job = Verdicts(StandaloneHost([tmp_path])), Job(1, "tab", "health", None, None)
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    assert page.find(scaled, job)["verdict"] == "fine"
    code, out, _ = run("known-good", family / f"{BASE}.safetensors", "--json")
    assert code == 0 and list(faults(json.loads(out), schema("known-good"))) == []
    assert page.find(scaled, job)["verdict"] == "broken"
    words = f"IN04: norms 5x those known to be good ({BASE}): likely broken"
    heading = f"  health: likely broken, against what is known to be good: {BASE}\n    {words}\n"
    assert heading in run("inspect", "--health", scaled)[1]
    facts = json.loads(run("inspect", "--health", scaled, "--json")[1])
    assert facts["health"]["known_good"] == [BASE] and list(faults(facts, schema("inspect"))) == []
    assert words in run("card", scaled, "--html")[1]
    options = ["merge", "0.99 * NED + 0.01 * scaled", "--models", family, "--models", tmp_path, "-o", tmp_path / "x.safetensors"]
    out = run(*options)[1]
    assert f", the result healthy, against what is known to be good: {BASE}\n  scaled: IN04: norms " in out
    facts = json.loads(run(*options, "--overwrite", "--json")[1])
    assert facts["health"]["known_good"] == [BASE] and list(faults(facts, schema("merge"))) == []
    assert [said for said in facts["warnings"] if said.startswith("'scaled': IN04: norms ") and BASE in said]


def test_merge_of_three_blames_the_one_that_is_broken_alone(
    family: Path, stated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for home in (tmp_path, stated):  # with nothing known to be good, and with the base
        monkeypatch.setenv("CHILLY_HOME", str(home))
        sources = merge_in(family, f"mean(NED, {BROKEN_MEMBER}, chilloutmix)", tmp_path / "x.safetensors").health.sources
        assert {name: seen.verdict for name, seen in sources.items()} == {
            "NED": "fine",
            BROKEN_MEMBER: "broken",
            "chilloutmix": "fine",
        }


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_made_up_models_of_full_size_are_alike_and_their_table_is_small(architecture: str, tmp_path: Path):
    row, found = load(architecture), []
    for seed in (1, 2):
        matrices: dict[str, dict[str, Norms]] = {}
        for key, (_, shape) in known_keys(architecture).items():
            if len(shape) >= 2 and not key.endswith("position_ids") and (name := row.lane_of(key)):
                rows = _make(key, (4, *shape[1:]), seed)  # of which a model has more, all alike
                norm = float(rows.square().sum().mul(shape[0] / 4).sqrt())
                matrices.setdefault(name, {})[key] = Norms(shape[0], rows.numel() * shape[0] // 4, norm, norm / 7)
        found.append(matrices)
    every = {key: each for matrices in found[0].values() for key, each in matrices.items()}
    known = KnownGood(tmp_path / FILE)
    known.state(Release("b" * 64, "full.safetensors", architecture, every))
    assert (tmp_path / FILE).stat().st_size < 100_000
    for matrices in found[1].values():
        nearest = lane_against(matrices, known.releases(architecture))
        assert nearest and [*judge_lane(nearest), *judge_matrices(matrices, known.releases())] == []


def test_models_of_other_widths_are_compared_with_nothing(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    path = tiny(tmp_path_factory, "healthy", seed=3)
    known = KnownGood(tmp_path / FILE)
    known.state(Release("c" * 64, "full.safetensors", "sd1", {key: Norms(1280, 1, 9.0) for key in load_file(path)}))
    health = health_of(path, known=known)
    assert (health.known_good, health.lanes["M00"].against_known_good) == ((), None)


@given(st.floats(0.01, 100), st.floats(0.1, 10), st.floats(0.1, 10))
def test_size_between_two_releases_is_as_good_as_theirs_and_others_are_measured_by_the_nearer(
    own: float, one: float, other: float
):
    near = lane_against(lane(own), [released(one, name="one.ckpt"), released(other, name="other.ckpt")])
    assert near is not None
    if min(one, other) <= own <= max(one, other):
        assert near.ratio == 1 and list(judge_lane(near)) == []
    else:
        assert near.ratio == pytest.approx(own / (max if own > one else min)(one, other))
        assert factor(near.ratio) == pytest.approx(min(factor(own / one), factor(own / other)))


def test_matrix_that_is_far_away_inside_a_lane_that_is_not_is_told_by_its_norm_or_its_spectral_norm():
    known = [released(1, 100, name="x.ckpt")]
    assert list(judge_matrices(lane(1, 100), known)) == []
    ((verdict, words),) = judge_matrices(lane(10, 100), known)
    assert (verdict, words) == ("suspect", "the norm of '0' is 10x that known to be good (x)")
    ((_, words),) = judge_matrices({"0": Norms(8, 64, 1.0, 0.01)}, known)
    assert words == "the spectral norm of '0' is 0.02x that known to be good (x)"
    assert lane_against(lane(0, 0), known) is None  # which is said without them


def test_what_is_stated_outlives_the_process_is_listed_and_forgotten(family: Path, run: Run, tmp_path: Path):
    home = {**os.environ, "CHILLY_HOME": str(tmp_path / "home")}
    base = family / f"{BASE}.safetensors"
    command = [sys.executable, "-m", "lib_chilly.cli", "known-good", str(base)]
    subprocess.run(command, env=home, check=True, cwd=Path(__file__).parents[1], capture_output=True)
    assert run("known-good", family / "NED.safetensors")[0] == 0
    code, out, _ = run("known-good")
    assert code == 0 and [line.split(" (")[0] for line in out.splitlines()] == ["NED.safetensors", base.name]
    sha256 = out.splitlines()[0].split("(")[1][:64]
    assert run("known-good", sha256, "--forget")[1].startswith(base.name)
    assert "nothing is known to be good yet" in run("known-good", base, "--forget")[1]
    code, _, error = run("known-good", base, "--forget")
    assert code == 2 and "is not among what is known to be good" in error
    assert run("known-good", "--forget")[0] == 2


def test_release_that_is_broken_or_unknown_is_refused(family: Path, run: Run, tmp_path: Path):
    code, _, error = run("known-good", family / f"{BROKEN_MEMBER}.safetensors")
    assert code == 2 and error.startswith(f"chilly: '{BROKEN_MEMBER}.safetensors' is not taken for good: M00: norms ")
    write_file(tmp_path / "other.safetensors", {"key": stored([1.0], "fp16")})
    assert run("known-good", tmp_path / "other.safetensors")[0] == 2
    assert json.loads(run("known-good", "--json")[1])["releases"] == []


def test_damaged_table_is_a_sentence_and_stops_nothing(family: Path, run: Run, tmp_path: Path):
    table = tmp_path / "home" / FILE
    assert run("known-good", family / f"{BASE}.safetensors")[0] == 0
    for packed in (b"", b"x", zlib.compress(b"[" * 9999), zlib.compress(b'{"k": [1, 2, NaN, 3]}'), zlib.compress(bytes(1 << 25))):
        with contextlib.closing(sqlite3.connect(table)) as database, database:
            database.execute("UPDATE releases SET matrices = ?", (packed,))
        code, out, _ = run("inspect", "--health", family / "NED.safetensors")
        assert code == 0 and "  health: healthy\n    note: what is known of 'v1-5-pruned-emaonly.safetensors' is damaged" in out
    for tail in ("", "-wal", "-shm"):
        table.with_name(FILE + tail).unlink(missing_ok=True)
    table.write_bytes(b"no database" * 1000)
    out = run("merge", "1 * NED", "--models", family, "-o", tmp_path / "x.safetensors")[1]
    assert "note: the table of what is known to be good was damaged. It was moved to " in out
    table.unlink()
    table.mkdir()
    code, out, _ = run("merge", "1 * NED", "--models", family, "-o", tmp_path / "y.safetensors")
    assert code == 0 and "the table of what is known to be good '" in out and "cannot be used" in out
    code, _, error = run("known-good")
    assert code == 2 and "cannot be used" in error


def test_hostile_name_stays_text(family: Path, run: Run, tmp_path: Path):
    name = "<b>\x1b[31m|`x`\n# \udcff" + "y" * 150
    shutil.copy(family / f"{BASE}.safetensors", tmp_path / f"{name}.safetensors")
    assert run("known-good", tmp_path / f"{name}.safetensors")[0] == 0
    found = [run("known-good")[1], *(run("card", family / "NED.safetensors", *more)[1] for more in ([], ["--html"]))]
    assert not any("\x1b" in out or "\n# \udcff" in out for out in found)
    assert "<b>" not in found[1] + found[2] and len(found[0].splitlines()) == 1
    assert "against what is known to be good: &lt;b&gt;" in found[2]
