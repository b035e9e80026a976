"""Saving from the page: safe names, facts that come true, files that are checked, queued, stopped, and never half there."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import metadata_of, model, plan_in, tiny, write_models
from hypothesis import example, given
from hypothesis import strategies as st

from lib_chilly.errors import MergeError
from lib_chilly.history import History
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.notations import read_recipe
from lib_chilly.ui import save_progress
from lib_chilly.ui.questions import Page, Room
from lib_chilly.ui.save_names import fault_of, folded, names_in, proposed_name, safe, unique
from lib_chilly.ui.save_progress import SaveProgress, in_bytes
from lib_chilly.ui.saves import Saves
from lib_chilly.ui.saving import facts, name, save
from lib_chilly.ui.work import Work

ROOT = Path(__file__).parents[1]
TEXT = "MIX = weighted_sum(A, B, alpha=0.3)\nTOP = 0.5 * MIX + 0.5 * C\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    write_models(tmp_path / "models", A=model(1, size=64), B=model(2, size=64), C=model(3, "fp32", size=64))
    room = Room(StandaloneHost([tmp_path / "models"], tmp_path / "out"))
    yield Page("k3v9x0", room)
    room.close()


def folder(page: Page) -> Path:
    return page.host.output_folder()


def files(page: Page) -> list[str]:
    """All that lies in the output folder, hidden or not."""
    return sorted(path.name for path in folder(page).iterdir()) if folder(page).exists() else []


def ended(page: Page, started: dict[str, Any]) -> dict[str, Any]:
    """A save's job when it is over."""
    until = time.monotonic() + 120
    while True:
        (job,) = page.one(Work, Work).poll(page.name, [{"job": started["job"]["job"], "seen": 0}])
        if job["state"] in ("done", "stopped", "failed"):
            return job
        assert time.monotonic() < until
        time.sleep(0.02)


def on_bytes(monkeypatch: pytest.MonkeyPatch, what: str, then: Callable[[], object]) -> None:
    """Do something at the first bytes of "hash", "merge" or "check"."""
    done: list[object] = []
    advance = SaveProgress.advance

    def told(self: SaveProgress, now: str, count: int) -> None:
        if now == what and not done:
            done.append(1)
            then()
        advance(self, now, count)

    monkeypatch.setattr(SaveProgress, "advance", told)


# ---- names ----


@pytest.mark.parametrize(
    ("text", "proposed"),
    [
        ('V1 = mean(A, B)\nsave(title="chillyMix V1-NED")', "chillyMix V1-NED"),
        ("V1 = mean(A, B)", "V1"),
        ("0.7 * A + 0.3 * B", "A 0.70 + B 0.30"),
        ("A + 0.004 * (B - C)", "A + B 0.004 - C 0.004"),
        ("weighted_sum(A, B, alpha={IN00: 0.3})", "A + B"),
        ("A", "A"),
        ('V1 = A\nsave(title="../../etc/passwd")', "etc-passwd"),
        ('V1 = A\nsave(title="CON.txt")', "_CON.txt"),
        ('V1 = A\nsave(title="<b>: 100 %? *|* ...")', "b- 100 %"),
        (f"V1 = A\nsave(title={'long' * 50})", "long" * 20),
        ('V1 = A\nsave(title="foo.VAE")', "foo-VAE"),
    ],
)
def test_name_is_proposed_from_the_recipe(text: str, proposed: str, page: Page):
    assert name(page, text) == {"name": proposed}


def test_open_step_gives_its_own_name_and_not_the_results_title(page: Page):
    text = 'K = mean(A, B)\nM = mean(K, C)\nsave(title="best")'
    assert [name(page, text, step)["name"] for step in (None, "M", "K")] == ["best", "best", "K"]


def test_name_that_is_taken_gets_a_number(page: Page):
    folder(page).mkdir()
    for taken in ("V1.safetensors", "v1-2.SAFETENSORS", "V1-3"):
        (folder(page) / taken).touch()
    assert name(page, "V1 = A")["name"] == "V1-4"
    assert name(page, f"{'V' * 80} = A")["name"] == "V" * 80
    (folder(page) / f"{'V' * 80}.safetensors").touch()
    assert name(page, f"{'V' * 80} = A")["name"] == f"{'V' * 78}-2"


@given(st.text(max_size=200))
@example("\U0001f525" * 100)
@example("e\u0301" * 100)
@example(" . ")
@example("aux.\u202egpj")
@example("x" * 76 + ".vae.safetensors")
def test_safe_name_of_any_text_can_be_a_file_anywhere(tmp_path_factory: pytest.TempPathFactory, text: str):
    found = safe(text)
    assert len(found) <= 80
    if not found:
        return
    assert fault_of(found) is None and safe(found) == found
    again = unique(found, {folded(found)})
    assert folded(again) != folded(found) and len(again) <= 80 and fault_of(again) is None
    place = tmp_path_factory.getbasetemp() / f"{again}.safetensors"
    place.touch()
    assert place.parent == tmp_path_factory.getbasetemp() and place.resolve() == place.parent.resolve() / place.name
    place.unlink()


UP = ["../x", "a/../b", "a/..", "./a", "a//b", "a/", "/", "/etc/x", "//host/x", ".a/b", "a./b", "a/.b", "nul/x", "a/con.txt"]
BACK = ["a\\b", "C:x", "C:/x", "C:\\x", "\\\\host\\x"]


@pytest.mark.parametrize(
    "typed",
    [
        *(*UP, *BACK, "", " ", "..", ".", ".hidden", "x.", " x", "nul", "COM1.a", "a\nb", "a\0b", "a/b\0", "a/ b"),
        *("foo.vae", "mixes/foo.VAE", "foo.vae.safetensors"),
        *("x" * 81, "x" * 81 + "/b", "/".join(["x" * 50] * 5), "a\u202eb", "x\u200b", "\U0001f525" * 79, "<script>"),
    ],
)
def test_name_that_cannot_be_one_is_a_problem_of_its_field_and_writes_nothing(typed: str, page: Page):
    found = facts(page, TEXT, typed)["problem"]
    assert found["field"] == "name" and found["message"].endswith(".")
    with pytest.raises(MergeError):
        save(page, TEXT, typed)
    assert files(page) == []


@pytest.mark.parametrize("typed", ["out.safetensors", "out.SafeTensors"])
def test_suffix_that_was_typed_is_not_written_twice(typed: str, page: Page):
    assert (facts(page, TEXT, typed)["file"], facts(page, TEXT, typed)["problem"]) == ("out.safetensors", None)
    assert facts(page, TEXT, "x" * 80 + ".safetensors")["problem"] is None
    assert ended(page, save(page, TEXT, typed))["report"]["file"] == "out.safetensors"
    assert files(page) == ["out.safetensors"]
    assert "exists already" in facts(page, TEXT, typed)["problem"]["message"]
    assert "no name" in facts(page, TEXT, ".safetensors")["problem"]["message"]


def test_mixture_of_many_sources_is_cut(tmp_path: Path):
    names = [f"{letter * 9}" for letter in "abcdefghij"]
    where = write_models(tmp_path / "m", **{each: model(1) for each in names})
    plan = plan_in(where, f"mean({', '.join(names)})")
    found = proposed_name(read_recipe("mean(a, b)"), lambda: plan, set())
    assert len(found) <= 80 and found.startswith("aaaaaaaaa 0.10 + bbbbbbbbb 0.10 + ")


# ---- facts ----


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (None, {}),
        ("MIX", {}),
        (None, {"dtype": "fp32"}),
        (None, {"dtype": "source", "vae": "drop"}),
        (None, {"dtype": "bf16", "discard": "first_stage_model.*"}),
        (None, {"dtype": "fp8_scaled"}),
    ],
)
def test_facts_come_true_to_the_byte(step: str | None, options: dict[str, str], page: Page):
    said = facts(page, TEXT, "out", step, options)
    assert said["problem"] is None and said["file"] == "out.safetensors" and said["seconds"] > 0
    job = ended(page, save(page, TEXT, "out", step, options))
    assert job["state"] == "done", job["problem"]
    assert said["bytes"] == job["report"]["bytes"] == (folder(page) / said["file"]).stat().st_size


def test_too_little_room_is_said_before_the_click(page: Page, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage("/")
    needed = facts(page, TEXT, "out")["bytes"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    problem = facts(page, TEXT, "out")["problem"]
    assert problem == {"message": f"Needs {in_bytes(needed)}, {in_bytes(needed - 1)} free.", "field": None}
    with pytest.raises(MergeError, match="Needs"):
        save(page, TEXT, "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert facts(page, TEXT, "out")["problem"] is None


@pytest.mark.parametrize(
    ("count", "said"), [(2_130_000_000, "2.13 GB"), (999_600, "1 MB"), (12, "12 bytes"), (123_456_789, "123 MB")]
)
def test_sizes_are_said_with_three_figures(count: int, said: str):
    assert in_bytes(count) == said


def test_pace_of_the_machine_is_learnt_and_remembered(page: Page, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(save_progress, "_LEAST_BYTES", 1)
    assert facts(page, TEXT, "out")["says"].startswith("perhaps")
    assert ended(page, save(page, TEXT, "out"))["state"] == "done"
    said = facts(page, TEXT, "other")
    assert said["says"].startswith("about") and 0 < said["seconds"] < 60
    for lie in ({"hash": "x", "merge": -1}, {"hash": 1e300, "merge": None}, [], "x"):
        page.host.set_option("bytes_a_second", lie)
        assert 0 < facts(page, TEXT, "other")["seconds"] < 60


def test_option_that_cannot_be_is_said_at_its_field(page: Page):
    for option, value in (("dtype", "fp17"), ("vae", "nothing"), ("colour", "red"), ("step", "MIX"), ("title", 3)):
        with pytest.raises(MergeError) as caught:
            facts(page, TEXT, "out", None, {option: value})
        assert getattr(caught.value, "field", None) == option, str(caught.value)


# ---- files ----


def test_saved_file_is_checked_registered_and_remembered(page: Page):
    text = f'{TEXT}save(dtype=fp16, title="x")'
    job = ended(page, save(page, text, "out", "TOP", {"dtype": "bf16", "vae": "keep", "discard": ""}))
    report, path = job["report"], folder(page) / "out.safetensors"
    assert job["state"] == "done" and job["share"] == 1
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["short_hash"] == report["sha256"][:10] and report["checked"] is True
    recipe = read_recipe(json.loads(metadata_of(path)["chillymerge"])["recipe"])
    assert recipe == read_recipe(f'{TEXT}save(dtype=bf16, title="x")')
    (entry,) = History().rows()[0]
    assert entry.number == report["history"] and entry.kind == "file" and read_recipe(entry.recipe) == recipe
    assert entry.file == {"name": "out.safetensors", "bytes": report["bytes"], "sha256": report["sha256"]}
    assert entry.sources == ("A", "B", "C") and entry.architecture == "sd1"
    assert files(page) == ["out.safetensors"]


def as_shown_says(page: Page, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Path], bool]) -> dict[str, Any]:
    """A save of what a picture was made of, its comparison being `meanwhile` of the file."""
    monkeypatch.setattr(page.host, "was_shown", lambda plan: True)
    monkeypatch.setattr(page.host, "is_as_shown", lambda plan, path, sha256, progress: meanwhile(path))
    return ended(page, save(page, TEXT, "x"))


def test_file_is_saved_also_where_its_comparison_with_the_picture_fails(page: Page, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path) -> bool:
        raise RuntimeError("can't allocate memory")

    job = as_shown_says(page, monkeypatch, fail)
    assert (job["state"], job["report"]["file"], job["report"]["as_shown"]) == ("done", "x.safetensors", None)


def test_another_file_that_has_the_name_meanwhile_is_not_compared_in_its_place(page: Page, monkeypatch: pytest.MonkeyPatch):
    def replace(path: Path) -> bool:
        path.unlink()
        path.write_bytes(b"another")
        page.one(Saves).take("x", 7)
        return False

    job = as_shown_says(page, monkeypatch, replace)
    assert (job["state"], job["report"]["as_shown"], job["report"]["warnings"]) == ("done", None, [])
    assert page.one(Saves).names() == {"x"}, "the name is the other save's"


def test_file_that_is_not_what_the_picture_was_made_of_warns(page: Page, monkeypatch: pytest.MonkeyPatch):
    job = as_shown_says(page, monkeypatch, lambda path: False)
    assert job["report"]["as_shown"] is False and "memory of this machine" in job["report"]["warnings"][0]


def test_diffusers_folder_is_saved_and_checked(page: Page, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    (tmp_path / "models" / "whole.safetensors").symlink_to(tiny(tmp_path_factory, "sd1-a"))
    page.host.refresh_checkpoints()
    job = ended(page, save(page, "M = whole\nsave(format=diffusers)", "out"))
    assert job["state"] == "done", job["problem"]
    assert job["report"]["checked"] and (folder(page) / "out").is_dir() and files(page) == ["out"]


def test_existing_file_and_link_are_never_replaced(page: Page, tmp_path: Path):
    folder(page).mkdir()
    (folder(page) / "there.safetensors").write_text("mine")
    (folder(page) / "link.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    for typed in ("there", "THERE", "link"):
        assert "exists" in facts(page, TEXT, typed)["problem"]["message"]
        with pytest.raises(MergeError, match="exists"):
            save(page, TEXT, typed)
    assert (folder(page) / "there.safetensors").read_text() == "mine"
    assert not (tmp_path / "elsewhere.safetensors").exists()


def test_saves_of_all_pages_wait_in_one_row(page: Page):
    other = Page("another", page.room)
    jobs = [save(each, TEXT, f"out{number}") for number, each in enumerate((page, page, other, page))]
    assert "being saved" in facts(other, TEXT, "out3")["problem"]["message"]
    with pytest.raises(MergeError, match="being saved"):
        save(other, TEXT, "OUT3")
    assert name(other, "out3 = A")["name"] == "out3-2"
    done = [ended(each, job) for each, job in zip((page, page, other, page), jobs, strict=True)]
    assert [job["state"] for job in done] == ["done"] * 4
    assert [entry.title for entry in History().rows()[0]] == ["out3", "out2", "out1", "out0"]


def test_stopping_one_that_waits_gives_its_name_back(page: Page, monkeypatch: pytest.MonkeyPatch):
    work, stopped = page.one(Work, Work), list[str]()
    on_bytes(monkeypatch, "merge", lambda: stopped.append(work.stop(page.name, second["job"]["job"])["state"]))
    first = save(page, TEXT, "one")
    second = save(page, TEXT, "two")
    assert ended(page, second)["state"] == "stopped" and ended(page, first)["state"] == "done"
    assert files(page) == ["one.safetensors"]
    assert facts(page, TEXT, "two")["problem"] is None


# ---- folders ----


def below(page: Page) -> list[str]:
    """All files and empty folders below the output folder."""
    found = [path for path in folder(page).rglob("*") if not path.is_dir() or not any(path.iterdir())]
    return sorted(path.relative_to(folder(page)).as_posix() for path in found)


def test_name_with_folders_is_saved_below_the_output_folder(page: Page):
    (folder(page) / "there").mkdir(parents=True)
    for typed in ("mixes/2026/new", "there/new.safetensors", "new"):
        name = typed.removesuffix(".safetensors")
        said = facts(page, TEXT, typed)
        assert (said["file"], said["problem"]) == (f"{name}.safetensors", None)
        report = ended(page, save(page, TEXT, typed))["report"]
        assert (report["name"], report["file"]) == (name, f"{name}.safetensors")
        assert report["sha256"] == hashlib.sha256((folder(page) / report["file"]).read_bytes()).hexdigest()
        assert "exists already" in facts(page, TEXT, typed)["problem"]["message"]
    assert below(page) == ["mixes/2026/new.safetensors", "new.safetensors", "there/new.safetensors"]
    kept = [entry.file["name"] for entry in History().rows()[0]]
    assert kept == ["new.safetensors", "there/new.safetensors", "mixes/2026/new.safetensors"]
    if not (folder(page) / "Mixes").exists():  # a file system that takes both for one has no question
        assert "like Mixes in other letters" in facts(page, TEXT, "Mixes/other")["problem"]["message"]


def test_file_that_is_called_as_another_model_is_says_how_each_is_written_from_now_on(tmp_path: Path, page: Page):
    host = StandaloneHost([tmp_path / "models"])
    beside = Page("k3v9x0", Room(host))
    said = [ended(beside, save(beside, TEXT, typed))["report"]["warnings"] for typed in ("mixes/D", "mixes/A")]
    assert said[0] == [] and len(said[1]) == 1
    assert said[1][0].startswith("from now on 'A' fits 2 files: ") and said[1][0].endswith('Write "./A" or "mixes/A".')
    beside.room.close()


def test_folder_is_not_made_before_the_save_begins(page: Page):
    facts(page, TEXT, "mixes/new")
    on_disk: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        on_bytes(patch, "check", lambda: on_disk.append((folder(page) / "mixes").exists()))
        jobs = [save(page, TEXT, typed) for typed in ("first", "mixes/new")]
        assert [ended(page, job)["state"] for job in jobs] == ["done", "done"]
    assert on_disk == [False]


@pytest.mark.parametrize("what", ["hash", "merge", "check"])
def test_stopped_save_leaves_no_folder_and_no_config_that_it_has_made(
    what: str, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "models" / "A.yaml").write_text("model: {}\n")
    (folder(page) / "mine").mkdir(parents=True)
    work = page.one(Work, Work)
    on_bytes(monkeypatch, what, lambda: work.stop(page.name, 1))
    assert ended(page, save(page, TEXT, "mine/a/b/out"))["state"] == "stopped"
    assert below(page) == ["mine"]
    assert ended(page, save(page, TEXT, "mine/a/b/out"))["state"] == "done"
    assert below(page) == ["mine/a/b/out.safetensors", "mine/a/b/out.yaml"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("out/new", "is a link that leads out"),
        ("in/out/new", "in/out is a link that leads out"),
        ("file/new", "file is no folder"),
        ("broken/new", "broken is no folder"),
        ("loop/new", "loop is no folder"),
        ("model/new", "model is a model by itself"),
    ],
)
def test_folder_that_is_none_or_leads_out_is_a_problem_of_the_name(typed: str, said: str, page: Page, tmp_path: Path):
    there, elsewhere = folder(page), tmp_path / "elsewhere"
    for made in (there / "real", there / "model", elsewhere):
        made.mkdir(parents=True)
    (there / "file").write_text("mine")
    (there / "model" / "model_index.json").write_text("{}")
    links = {"out": elsewhere, "in": there / "real", "real/out": elsewhere, "broken": there / "none", "loop": there / "loop"}
    for link, target in links.items():
        (there / link).symlink_to(target)
    problem = facts(page, TEXT, typed)["problem"]
    assert problem["field"] == "name" and said in problem["message"]
    with pytest.raises(MergeError, match=said):
        save(page, TEXT, typed)
    assert list(elsewhere.iterdir()) == []
    assert facts(page, TEXT, "in/new")["problem"] is None


def test_link_that_is_put_there_while_a_save_waits_is_not_followed(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "elsewhere").mkdir()
    on_bytes(monkeypatch, "check", lambda: (folder(page) / "mixes").symlink_to(tmp_path / "elsewhere"))
    first, second = save(page, TEXT, "first"), save(page, TEXT, "mixes/new")
    assert ended(page, first)["state"] == "done"
    job = ended(page, second)
    assert job["state"] == "failed" and "leads out" in job["problem"]["message"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_folder_that_cannot_be_made_is_said(page: Page, tmp_path: Path):
    blocked = Page("blocked", Room(StandaloneHost([tmp_path / "models"], tmp_path / "models" / "A.safetensors" / "out")))
    job = ended(blocked, save(blocked, TEXT, "mixes/new"))
    assert job["state"] == "failed" and "cannot be made: Not a directory." in job["problem"]["message"]
    blocked.room.close()


# ---- faults ----


@pytest.mark.parametrize("what", ["hash", "merge", "check"])
def test_stopped_save_leaves_nothing_behind(what: str, page: Page, monkeypatch: pytest.MonkeyPatch):
    work = page.one(Work, Work)
    on_bytes(monkeypatch, what, lambda: work.stop(page.name, 1))
    job = ended(page, save(page, TEXT, "out"))
    assert (job["state"], job["report"], files(page)) == ("stopped", None, [])
    assert History().rows()[0] == [] and facts(page, TEXT, "out")["problem"] is None


def test_disk_that_becomes_full_is_said_and_leaves_nothing_behind(page: Page, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    on_bytes(monkeypatch, "hash", lambda: monkeypatch.setattr(os, "pwrite", full))
    job = ended(page, save(page, TEXT, "out"))
    assert job["state"] == "failed" and "became full" in job["problem"]["message"]
    assert files(page) == []


def test_file_that_reads_back_otherwise_is_removed(page: Page, monkeypatch: pytest.MonkeyPatch):
    def spoil() -> None:
        with (folder(page) / "out.safetensors").open("r+b") as file:
            file.seek(-3, os.SEEK_END)
            file.write(b"\xff\x00\xff")

    on_bytes(monkeypatch, "check", spoil)
    job = ended(page, save(page, TEXT, "out"))
    assert job["state"] == "failed" and "reads back otherwise" in job["problem"]["message"]
    assert files(page) == []


def test_source_that_is_gone_meanwhile_fails_that_save_alone(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    on_bytes(monkeypatch, "check", lambda: (tmp_path / "models" / "B.safetensors").unlink())
    first, second, third = save(page, TEXT, "one"), save(page, TEXT, "two"), save(page, "M = mean(A, C)", "three")
    assert [ended(page, job)["state"] for job in (first, second, third)] == ["done", "failed", "done"]
    assert files(page) == ["one.safetensors", "three.safetensors"]


def test_history_that_cannot_be_written_is_a_warning(page: Page, tmp_path: Path):
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "history.sqlite").mkdir()
    report = ended(page, save(page, TEXT, "out"))["report"]
    assert report["history"] is None and any("history" in warning for warning in report["warnings"])
    assert files(page) == ["out.safetensors"]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.ui.questions import Page, Room
from lib_chilly.ui.save_progress import SaveProgress
from lib_chilly.ui.saving import save

advance = SaveProgress.advance
def told(self, what, count):
    if what == "merge":
        os.kill(os.getpid(), signal.SIGKILL)
    advance(self, what, count)
SaveProgress.advance = told
folder = Path(sys.argv[1])
save(Page("x", Room(StandaloneHost([folder / "models"], folder / "out"))), sys.argv[2], "out")
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_killed_save_is_swept_up_by_the_next(page: Page, tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), TEXT]
    assert subprocess.run(command, cwd=ROOT, timeout=120, check=False).returncode == -signal.SIGKILL
    assert len(files(page)) == 1 and files(page)[0].startswith(".out")
    assert ended(page, save(page, TEXT, "out"))["state"] == "done"
    assert files(page) == ["out.safetensors"]


def test_names_of_a_folder_that_is_not_there_are_none(tmp_path: Path):
    assert names_in(tmp_path / "none") == set()


def test_entry_of_a_file_has_the_picture_that_was_made_of_it(page: Page):
    images = pytest.importorskip("PIL.Image")
    target = io.BytesIO()
    images.new("RGB", (64, 64), "red").save(target, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
    below = "a lighthouse\nSteps: 4, Sampler: Euler, CFG scale: 3, Seed: 11, Size: 64x64"
    other = {"id": "merged", "image": address, "infotext": "other\nSteps: 1", "recipe": "M = mean(A, C)"}
    same = {"id": "merged", "image": address, "infotext": below, "recipe": f"{TEXT}save(dtype=fp16)"}
    page.one(Work, Work).start(page.name, "preview", None, pictures=[same])
    page.one(Work, Work).start(page.name, "preview", None, pictures=[other, {**same, "id": "a", "infotext": "a\nSteps: 1"}])
    assert ended(page, save(page, TEXT, "out", "TOP", {"dtype": "fp32"}))["state"] == "done"
    (entry,) = History().rows()[0]
    assert entry.prompt == "a lighthouse" and entry.params is not None and entry.params["seed"] == 11 and entry.thumbnail
    assert ended(page, save(page, TEXT, "in", "MIX"))["state"] == "done"
    assert History().rows()[0][0].thumbnail is None


def test_facts_follow_a_source_that_is_replaced(page: Page, tmp_path: Path):
    before = facts(page, "M = A", "out")["bytes"]
    write_models(tmp_path / "models", A=model(1, size=80))
    assert facts(page, "M = A", "out")["bytes"] > before
