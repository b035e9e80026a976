"""The history: kept across processes, damage and full disks; searched, changed, compared, exported; pictures made small."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.errors import MergeError, OutputError
from lib_chilly.history import Entry, History
from lib_chilly.host.base import GenParams
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.models import ModelLibrary
from lib_chilly.ui.comparison import compared
from lib_chilly.ui.history_view import history, history_change, history_compare, history_export, keep
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.questions import Page, Room
from lib_chilly.ui.start import start
from lib_chilly.ui.work import PICTURES, Work

ROOT = Path(__file__).parents[1]
ENTRY = Entry(
    "file",
    "chillyMix",
    "M = mean(A, B)\n",
    "softer hair",
    prompt="a lighthouse",
    architecture="sd1",
    params={"seed": 3},
    file={"name": "M.safetensors", "bytes": 12, "sha256": "0" * 64},
    sources=("A", "B"),
    thumbnail=b"\x89PNG",
)
WRITE = """
import sys
from pathlib import Path
from lib_chilly.history import Entry, History
kept = History(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    kept.add(Entry("file", f"{sys.argv[2]}-{number}", "M = A"))
    print(number, flush=True)
"""


@pytest.fixture
def kept(tmp_path: Path) -> History:
    return History(tmp_path / "history.sqlite")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    write_models(tmp_path / "models", A=model(1), B=model(2))
    room = Room(StandaloneHost([tmp_path / "models"], tmp_path))
    yield Page("k3v9x0", room)
    room.close()


def titles(kept: History, **asked: object) -> list[str]:
    return [entry.title for entry in kept.rows(**asked)[0]]  # type: ignore[arg-type]


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


# ---- the store ----


def test_entry_comes_back_as_it_was_kept(kept: History, tmp_path: Path):
    added = kept.add(ENTRY)
    assert History(tmp_path / "history.sqlite").get(added.number) == added
    assert added.made > 0 and added.number == 1


def test_newest_come_first_and_pages_follow_each_other(kept: History):
    for number in range(7):
        kept.add(Entry("file", str(number), "M = A"))
    first, more = kept.rows(count=3)
    assert [entry.title for entry in first] == ["6", "5", "4"] and more
    assert titles(kept, before=first[-1].number, count=3) == ["3", "2", "1"]
    assert kept.rows(before=2, count=3)[1] is False


@pytest.mark.parametrize("search", ["chilly", "SOFTER", "mean(", "lighthouse", "b", "light soft", "  "])
def test_search_finds_words_anywhere_in_any_case(search: str, kept: History):
    kept.add(ENTRY)
    kept.add(Entry("picture", "other", "X = C", prompt="ÄRGER"))
    assert ENTRY.title in titles(kept, search=search)
    assert titles(kept, search="ärger") == ["other"]


@given(st.text(max_size=20))
@settings(deadline=None, max_examples=40)
def test_search_takes_any_text_for_what_it_is(tmp_path_factory: pytest.TempPathFactory, text: str):
    kept = History(tmp_path_factory.mktemp("history") / "h.sqlite")
    kept.add(Entry("file", "plain", "M = A", note=f"-{text.encode(errors='replace').decode()}-"))
    words = text.encode(errors="replace").decode().split()
    assert titles(kept, search=" ".join(words)) == ["plain"]
    assert titles(kept, search="%'\"_; DROP") == []


def test_note_and_pin_are_changed_and_an_entry_forgotten(kept: History):
    number = kept.add(ENTRY).number
    kept.add(Entry("file", "other", "M = A"))
    assert kept.change(number, note="<b>new</b>", pinned=True) == kept.get(number)
    assert (titles(kept, pinned=True), titles(kept, search="new")) == (["chillyMix"], ["chillyMix"])
    assert titles(kept, search="softer") == []
    kept.change(number, pinned=False)
    assert titles(kept, pinned=True) == []
    kept.delete(number)
    assert titles(kept) == ["other"]
    with pytest.raises(MergeError, match="no longer"):
        kept.change(number, note="x")


def test_pin_in_one_tab_does_not_take_back_the_note_of_another(kept: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    number, get = kept.add(ENTRY).number, kept.get
    meanwhile = [lambda: History(tmp_path / "history.sqlite").change(number, note="of the other tab")]

    def slow(asked: int) -> Entry:
        entry = get(asked)
        if meanwhile:
            meanwhile.pop()()
        return entry

    monkeypatch.setattr(kept, "get", slow)
    kept.change(number, pinned=True)
    assert (get(number).note, get(number).pinned) == ("of the other tab", True)


def test_numbers_of_forgotten_entries_are_not_used_again(kept: History):
    number = kept.add(ENTRY).number
    kept.delete(number)
    assert kept.add(ENTRY).number > number


# ---- several at once ----


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path):
    both = [writer(tmp_path / "h.sqlite", name, 40) for name in "ab"]
    assert [process.wait(120) for process in both] == [0, 0]
    assert sorted(titles(History(tmp_path / "h.sqlite"), count=200)) == sorted(f"{name}-{n}" for name in "ab" for n in range(40))


def test_threads_share_one_history(kept: History):
    def add() -> None:
        for _ in range(10):
            kept.add(ENTRY)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(titles(kept, count=200)) == 40


def test_writer_that_is_killed_leaves_what_it_had_said(tmp_path: Path):
    process = writer(tmp_path / "h.sqlite", "x", 100_000)
    assert process.stdout is not None
    done = [int(process.stdout.readline()) for _ in range(25)][-1]
    process.kill()
    process.wait()
    kept = History(tmp_path / "h.sqlite")
    assert {f"x-{number}" for number in range(done + 1)} <= set(titles(kept, count=200))
    assert kept.add(ENTRY).number and not kept.notices


# ---- faults ----


@pytest.mark.parametrize("damage", ["text", "zeros", "middle", "foreign"])
def test_damaged_file_is_moved_aside_and_a_new_history_begins(damage: str, tmp_path: Path):
    path = tmp_path / "history.sqlite"
    if damage == "foreign":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE others (x)")
            database.execute("PRAGMA user_version = 1")
        database.close()
    else:
        old = History(path)
        for _ in range(200):
            old.add(ENTRY)
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        content = path.read_bytes()
        ruin = {
            "text": b"hello" * 1000,
            "zeros": b"\0" * len(content),
            "middle": content[:4096] + b"\xa5" * (len(content) - 4096),
        }
        path.write_bytes(ruin[damage])
    before = path.read_bytes()
    kept = History(path)
    number = kept.add(ENTRY).number
    assert titles(kept) == [ENTRY.title] and kept.get(number).recipe == ENTRY.recipe
    (aside,) = tmp_path.glob("history.sqlite.damaged-?")
    assert aside.read_bytes() == before
    assert len(kept.notices) == 1 and str(aside) in kept.notices[0]


def test_history_of_a_newer_version_is_left_alone(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    History(path).add(ENTRY)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(OutputError, match="newer version"):
        History(path).rows()
    assert not list(tmp_path.glob("*damaged*"))


def test_full_disk_is_said_and_what_was_there_stays(kept: History, tmp_path: Path):
    kept.add(ENTRY)
    with sqlite3.connect(tmp_path / "history.sqlite") as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
    database.close()
    with pytest.raises(MergeError, match="full"):
        kept.add(ENTRY)
    assert titles(kept) == [ENTRY.title] and not list(tmp_path.glob("*damaged*"))


def test_locked_history_is_waited_for(kept: History, tmp_path: Path):
    kept.add(ENTRY)
    other = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    kept.add(ENTRY)
    assert len(titles(kept)) == 2
    other.close()


def test_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used"):
        History(tmp_path / "file" / "history.sqlite").rows()


def test_empty_file_of_a_process_that_died_at_once_becomes_a_history(tmp_path: Path):
    (tmp_path / "h.sqlite").touch()
    kept = History(tmp_path / "h.sqlite")
    assert kept.add(ENTRY).number == 1 and not kept.notices


# ---- comparing ----


def test_two_recipes_stand_side_by_side(tmp_path: Path):
    library = ModelLibrary([write_models(tmp_path / "models", A=model(1), B=model(2), C=model(3))])
    left = "r = 0.3\nM = (1 - r) * A + r * B\nsave(dtype=fp16)"
    blocks = ", ".join(["1"] * 14 + ["0"] * 12)
    right = f"K = mean(A, C)\nM = weighted_sum(K, B, alpha=[{blocks}])\nsave(dtype=bf16)"
    found = compared(left, right, library)
    assert found["lines"][:3] == [
        {"name": "r", "left": "0.3", "right": None, "same": False},
        {"name": "K", "left": None, "right": "mean(A, C)", "same": False},
        {"name": "M", "left": "(1 - r) * A + r * B", "right": f"weighted_sum(K, B, alpha=[{blocks}])", "same": False},
    ]
    assert found["lines"][3:] == [{"name": "save(dtype)", "left": "fp16", "right": "bf16", "same": False}]
    rows = {row["name"]: (row["left"], row["right"]) for row in found["fold"]}
    assert rows["A"][0] == "0.7" and rows["B"][0] == "0.3" and rows["C"][0] is None
    assert rows["B"][1].startswith("1 in ") and "0 in OUT00 to OUT11" in rows["B"][1] and found["says"] == []


def test_recipe_is_the_same_as_itself_however_it_is_typed(tmp_path: Path):
    library = ModelLibrary([write_models(tmp_path / "models", A=model(1), B=model(2))])
    found = compared("M = mean(A,B) # x", "M =   mean( A, B )\n", library)
    assert [row["same"] for row in found["lines"]] == [True]
    assert all(row["left"] == row["right"] == "0.5" for row in found["fold"])


def test_recipes_whose_models_are_gone_are_compared_by_their_lines(tmp_path: Path):
    library = ModelLibrary([write_models(tmp_path / "models", A=model(1))])
    found = compared("M = mean(A, gone)", "M = A +", library)
    assert found["lines"] and found["fold"] == [] and any("gone" in sentence for sentence in found["says"])


# ---- the page's questions ----


def kept_picture(page: Page, size: int = 512, step: str = "M", **given: object) -> dict:
    """Keep a picture that a job of the page has made, with some of its parameters."""
    images = pytest.importorskip("PIL.Image")
    target = io.BytesIO()
    images.effect_noise((size, size * 2), 90).save(target, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
    job = page.one(Work, Work).start(page.name, "preview", None, thread=PICTURES, pictures=[{"id": "merged", "image": address}])
    params = {"prompt": "<script>a lighthouse", "seed": 5, "sampler": page.host.samplers()[0], **given}
    return keep(page, "M = mean(A, B)\nN = mean(M, B)", step, params, {"job": job["job"], "id": "merged"})


def test_picture_is_kept_small_with_its_recipe_and_parameters(page: Page):
    row = kept_picture(page)
    images = pytest.importorskip("PIL.Image")
    kind, _, content = row["thumbnail"].partition(";base64,")
    with images.open(io.BytesIO(base64.b64decode(content))) as small:
        assert small.size == (64, 128) and kind in ("data:image/webp", "data:image/png")
    assert len(content) < 90_000
    assert (row["kind"], row["title"], row["architecture"], row["sources"]) == ("picture", "M", "sd1", ["A", "B"])
    assert row["recipe"] == "M = mean(A, B)\nN = mean(M, B)\nsave(step=M)\n"
    assert (row["params"]["prompt"], row["params"]["seed"]) == ("<script>a lighthouse", 5)
    assert row["prompt"] == "<script>a lighthouse" and set(row["params"]) == set(GenParams.__dataclass_fields__)
    assert history(page, "lighthouse")["rows"] == [row]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"other": "x"}, "params"),
        ({"seed": {"deep": [1] * 1000}}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"cfg": 10**400}, "cfg"),
        ({"prompt": "x" * 20_001}, "prompt"),
        ({"sampler": "none such"}, "sampler"),
        ({"step": "gone"}, "step"),
    ],
)
def test_picture_with_other_parameters_than_a_picture_has_is_refused(given: dict[str, object], field: str, page: Page):
    with pytest.raises(FieldError) as found:
        kept_picture(page, size=8, **given)  # type: ignore[arg-type]
    assert found.value.field == field and history(page)["rows"] == []


def test_picture_of_another_page_cannot_be_kept(page: Page):
    kept_picture(page)
    other = Page("other", page.room)
    with pytest.raises(MergeError, match="no longer here"):
        keep(other, "M = mean(A, B)", "M", {}, {"job": 1, "id": "merged"})


def test_entries_are_changed_compared_and_exported(page: Page):
    first, second = kept_picture(page), kept_picture(page)
    assert history_change(page, first["id"], note="n", pinned=True) == {**first, "note": "n", "pinned": True}
    assert [row["id"] for row in history(page, pinned=True)["rows"]] == [first["id"]]
    assert all(row["same"] for row in history_compare(page, [first["id"], second["id"]])["lines"])
    said = json.loads(history_export(page, [first["id"]])["text"])["entries"]
    assert [(row["note"], row["recipe"], row["thumbnail"]) for row in said] == [("n", first["recipe"], first["thumbnail"])]
    assert said[0]["when"].endswith("Z")
    assert len(json.loads(history_export(page)["text"])["entries"]) == 2
    assert history_change(page, first["id"], delete=True) is None
    assert [row["id"] for row in history(page)["rows"]] == [second["id"]]


@pytest.mark.parametrize("number", [2**63, 2**200, -(2**200)])
def test_number_that_no_entry_can_have_is_that_of_none(number: int, page: Page):
    row = kept_picture(page, size=8)
    assert history(page, before=number)["rows"] == ([row] if number > 0 else [])
    for asked in (
        lambda: history_change(page, number, note="n"),
        lambda: history_change(page, number, pinned=True),
        lambda: history_compare(page, [row["id"], number]),
        lambda: history_export(page, [number]),
    ):
        with pytest.raises(MergeError, match="no longer in the history"):
            asked()
    assert history_change(page, number, delete=True) is None and history(page)["rows"] == [row]


def test_page_is_told_how_long_a_note_may_be(page: Page):
    most = start(page)["longest_note"]
    assert len(history_change(page, kept_picture(page, size=8)["id"], note="n" * (most + 1))["note"]) == most


def test_damage_is_said_on_the_page(page: Page, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "history.sqlite").write_text("no database " * 100)
    found = history(page)
    assert found["rows"] == [] and "damaged" in found["says"][0]
