"""What a merge may be used for is what all of its sources allow; what nobody says is unknown; no stranger breaks or fools it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from checkpoints import metadata_of, model, plan_in, tiny, write_file, write_models
from test_schemas import faults, schema

from lib_chilly import ledger as ledger_module
from lib_chilly import licences
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.engine import merge
from lib_chilly.errors import Interrupted
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.ledger import Ledger
from lib_chilly.ledger_command import _lines
from lib_chilly.licences import PERMISSIONS, Terms, terms_of
from lib_chilly.permissions import combine
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.plans import Plans

Run = Callable[..., tuple[int, str, str]]
FLAGS = {"allowNoCredit": True, "allowCommercialUse": ["Image", "Rent"], "allowDerivatives": True, "allowDifferentLicense": False}
KNOWN = {
    **{"no_credit": True, "sell_pictures": True, "services": True},
    **{"share_merges": True, "sell_merges": False, "other_permissions": False},
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path / "models", a=model(1), b=model(2))


def beside(models: Path, name: str, said: object) -> None:
    (models / name).write_text(said if isinstance(said, str) else json.dumps(said), "utf-8")


def known(models: Path, name: str = "a") -> Terms:
    return terms_of(open_checkpoint(models / f"{name}.safetensors"))


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        ("a.civitai.info", lambda flags: {"modelId": 5, "model": {**flags, "name": "x"}, "creator": {"username": "me"}}),
        ("a.json", lambda flags: {**flags, "modelId": 5, "creator": {"username": "me"}}),
        ("a.metadata.json", lambda flags: {"civitai": {"modelId": 5, "model": flags, "creator": {"username": "me"}}}),
    ],
)
def test_flags_are_found_where_the_usual_helpers_put_them(models: Path, name: str, wrapped: Callable[[dict], dict]):
    beside(models, name, wrapped(FLAGS))
    assert known(models) == Terms("", "me", "https://civitai.com/models/5", KNOWN, (name,))
    assert not known(models, "b")


@pytest.mark.parametrize(
    ("said", "sells"),
    [
        ("Sell", (True, True, True)), ("Rent", (True, True, False)), ("Image", (True, False, False)), ("None", (False,) * 3),
        ("{Image,Sell}", (True, False, True)), (["Sell"], (False, False, True)), ([], (False,) * 3),
        (["what"], None), ("what", None), (True, None), (3, None), (["Image", 3], None), ({"Image": 1}, None),
        ("No Sell", None), ("do not sell", None), (["None", "Sell"], None), (["Image", "no Sell"], None), ("Sell?", None),
        ("{}", (False,) * 3), ("{None}", (False,) * 3), ("", None), (["None"], (False,) * 3),
        ("{Image, Rent}", (True, True, False)),
    ],
)  # fmt: skip
def test_every_form_of_allow_commercial_use_is_read_and_others_say_nothing(models: Path, said: object, sells: tuple | None):
    beside(models, "a.json", {"allowCommercialUse": said})
    names = ("sell_pictures", "services", "sell_merges")
    assert known(models).permissions == (dict(zip(names, sells, strict=True)) if sells else {})


def test_front_matter_and_metadata_name_the_licence(models: Path):
    write_file(models / "b.safetensors", model(2), {"modelspec.license": "MIT", "modelspec.author": "you"})
    assert known(models, "b") == Terms("MIT", "you", "", {}, ("metadata",))
    beside(models, "b.md", "---\nlicense: creativeml-openrail-m\ntags:\n- x\n---\nlicense: no")
    assert known(models, "b").licence == "creativeml-openrail-m"
    beside(models, "b.md", "---\nlicense: other\nlicense_name: 'my own'\n---\n")
    assert known(models, "b").licence == "my own"
    beside(models, "b.md", "license: none, as there is no front matter")
    assert known(models, "b").licence == "MIT"


def test_of_several_companions_the_strictest_counts_and_the_ledger_beats_all(run: Run, models: Path):
    beside(models, "a.civitai.info", {"model": {**FLAGS, "allowNoCredit": True}})
    beside(models, "a.json", {"allowNoCredit": False})
    assert known(models).permissions == {**KNOWN, "no_credit": False}
    path = models / "a.safetensors"
    code, out, _ = run("ledger", path, "--licence", "mine", "--allow", "no_credit", "--forbid", "share_merges,services", "--json")
    facts = json.loads(out)
    assert (code, facts["licence"], facts["said_by"]) == (0, "mine", ["ledger", "a.civitai.info", "a.json"])
    assert facts["permissions"] == {**KNOWN, "no_credit": True, "share_merges": False, "services": False}
    run("ledger", path, "--author", "me")  # what was stated before stays
    assert json.loads(run("ledger", facts["sha256"], "--json")[1])["permissions"]["services"] is False
    assert len(json.loads(run("ledger", "--json")[1])["entries"]) == 1
    assert run("ledger", path, "--forget")[0] == 0 and run("ledger", path, "--forget")[0] == 2
    assert json.loads(run("ledger", "--json")[1]) == {"entries": [], "notes": []}


@pytest.mark.parametrize(
    "options", [["--allow", "fun"], ["--allow", "services", "--forbid", "services"]], ids=["unknown", "contradiction"]
)
def test_wrong_words_are_refused(run: Run, models: Path, options: list[str]):
    assert run("ledger", models / "a.safetensors", *options)[0] == 2
    assert run("ledger", *options)[0] == 2


def test_combination_is_the_intersection_and_names_who_forbids_and_who_is_silent():
    everything = dict.fromkeys(PERMISSIONS, True)
    free, strict = Terms(permissions=everything), Terms("x", permissions={**everything, "services": False})
    assert combine(["a", "b"], [free, free]).record() == {**everything, "licences": {}, "unknown": []}
    both = combine(["a", "b", "c"], [free, strict, Terms(permissions={"no_credit": True})])
    assert both.allowed == {**dict.fromkeys(PERMISSIONS), "no_credit": True, "services": False}
    assert both.forbidding == {"services": ["b"]} and both.record()["unknown"] == ["c"]
    assert not combine(["a"], [Terms("MIT")]).is_known()


def test_conflicts_are_said_by_plan_and_the_header_carries_what_is_known(run: Run, models: Path, tmp_path: Path):
    beside(models, "a.civitai.info", {"model": FLAGS})
    options = ["0.5 * a + 0.5 * b", "--models", models, "--json"]
    said = json.loads(run("plan", *options)[1])["warnings"]
    assert any(words.startswith("not allowed: selling the model or merges, which 'a' forbids") for words in said)
    assert any(words.startswith("unknown: all permissions of 'b'.") for words in said)
    run("ledger", models / "b.safetensors", "--allow", "all", "--forbid", "share_merges,sell_pictures")
    run("ledger", models / "a.safetensors")  # its hash is known from now on
    said = json.loads(run("plan", *options)[1])["warnings"]
    assert "'b' does not allow sharing merges: keep the result to yourself." in said
    assert any(
        words.startswith("merges of 'a' must keep its permissions, which allow selling pictures, sharing") for words in said
    )
    facts = json.loads(run("merge", *options, "-o", tmp_path / "out.safetensors")[1])
    assert len(facts["warnings"]) == len(set(facts["warnings"])) and set(said) <= set(facts["warnings"])
    record = json.loads(metadata_of(tmp_path / "out.safetensors")["chillymerge"])
    assert list(faults(record, schema("chillymerge"))) == []
    wanted = {**KNOWN, "share_merges": False, "sell_pictures": False, "licences": {}, "unknown": []}
    assert record["permissions"] == wanted
    assert terms_of(open_checkpoint(tmp_path / "out.safetensors")).permissions == {name: wanted[name] for name in PERMISSIONS}


SHARED = "'a' does not allow sharing merges: keep the result to yourself."


def test_ledger_is_asked_while_merging_where_a_source_was_never_hashed(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--forbid", "share_merges")
    (tmp_path / "home" / "hashes.sqlite").unlink()
    options = ["1 * a", "--models", models]
    (words,) = json.loads(run("plan", *options, "--json")[1])["warnings"]
    assert words.startswith("what the ledger says of 'a' is not known yet")
    code, out, error = run("merge", *options, "-o", tmp_path / "out.safetensors", "--json")
    assert code == 0 and SHARED in json.loads(out)["warnings"] and words not in json.loads(out)["warnings"]
    assert error == f"warning: {SHARED}\n"
    assert SHARED in run("plan", *options)[1]  # now its hash is known


def test_conflict_that_only_a_hash_brings_is_said_before_anything_is_written(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--forbid", "share_merges")
    (tmp_path / "home" / "hashes.sqlite").unlink()
    said: list[str] = []

    def stop(words: Sequence[str]) -> None:
        said.extend(words)
        raise Interrupted("stopped.")

    with pytest.raises(Interrupted):
        merge(plan_in(models, "1 * a"), tmp_path / "out.safetensors", on_warnings=stop)
    assert said == [SHARED] and not (tmp_path / "out.safetensors").exists()
    out = run("merge", "1 * a", "--models", models, "-o", tmp_path / "out.safetensors")[1]
    assert out.count(SHARED) == 1


def test_header_without_hashes_does_not_hang_on_what_was_hashed_before(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--forbid", "share_merges")
    found = []
    for name in ("1", "2"):
        (tmp_path / "home" / "hashes.sqlite").unlink(missing_ok=True)
        options = ["1 * a", "--models", models, "-o", tmp_path / f"{name}.safetensors", "--no-source-hashes"]
        assert name == "1" or run("plan", "1 * a", "--models", models)[0] == 0
        if name == "1":
            run("ledger", models / "a.safetensors")  # which hashes it
        assert run("merge", *options)[0] == 0
        found.append((tmp_path / f"{name}.safetensors").read_bytes())
    assert found[0] == found[1] and b'"share_merges":false' in found[0].replace(b"\\", b"")
    assert b"sha256" not in found[0]


def test_plans_of_the_page_know_what_was_stated_since(run: Run, models: Path):
    plans, recipe = Plans(StandaloneHost([models])), parse_recipe("M = 1 * a")
    first = plans.of(recipe)
    assert plans.of(recipe) is first and first.warnings == ()
    run("ledger", models / "a.safetensors", "--forbid", "share_merges")
    second = plans.of(recipe)
    assert second.warnings == (SHARED,) and plans.of(recipe) is second
    beside(models, "a.json", {"allowCommercialUse": "None"})
    assert any("selling pictures" in words for words in plans.of(recipe).notes)


def test_permissions_that_another_merger_copied_from_one_of_its_sources_are_not_believed(models: Path):
    record = {"recipe": "M = 1 * a", "sources": [], "maths": 1, "permissions": dict.fromkeys(PERMISSIONS, True)}
    ours = {"chillymerge": json.dumps(record), "sd_merge_recipe": json.dumps({"type": "chillymerge"})}
    write_file(models / "b.safetensors", model(2), ours)
    assert known(models, "b").permissions == dict.fromkeys(PERMISSIONS, True)
    for theirs in ({"type": "webui"}, {"type": "webui", "custom_name": "x" * 100_000}):
        write_file(models / "b.safetensors", model(2), {**ours, "sd_merge_recipe": json.dumps(theirs)})
        assert not known(models, "b").permissions


def test_companion_is_read_once_until_it_is_another(models: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    monkeypatch.setattr(licences, "parsed", lambda text, largest: read.append(text) or json.loads(text or "{}"))
    beside(models, "a.json", FLAGS)
    assert (
        known(models).permissions == known(models).permissions == KNOWN and len([text for text in read if "Image" in text]) == 1
    )
    beside(models, "a.json", {**FLAGS, "allowNoCredit": False})
    assert known(models).permissions == {**KNOWN, "no_credit": False}


def test_several_who_forbid_do_so_in_the_plural():
    strict = Terms(permissions=dict.fromkeys(PERMISSIONS, False))
    both = combine(["a", "b"], [strict, strict])
    assert both.conflicts()[0].startswith("'a', 'b' do not allow sharing merges")
    assert all("which 'a', 'b' forbid." in words for words in both.notes())


def test_home_that_cannot_be_entered_stops_no_plan(run: Run, models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHILLY_HOME", "x" * 5000)
    plan = plan_in(models, "1 * a")
    (words,) = plan.notes
    assert words.startswith("the ledger 'xxx") and "cannot be used: File name too long" in words
    assert plan.with_terms([None]).notes == plan.notes  # not twice


def test_names_and_texts_that_are_no_characters_are_answered(run: Run, models: Path):
    broken = "no\udcffname"
    code, _, error = run("ledger", models / "a.safetensors", "--licence", broken)
    assert code == 2 and "is no text" in error
    (models / f"{broken}.safetensors").write_bytes((models / "b.safetensors").read_bytes())
    assert run("ledger", models / f"{broken}.safetensors", "--allow", "all")[0] == 0
    assert "no?name" in run("ledger")[1]


def test_two_who_state_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ledger, sha256 = Ledger(tmp_path / "ledger.sqlite"), "a" * 64
    ledger.state(sha256, "a", Terms("MIT"))
    terms_in = ledger_module._terms

    def meanwhile(row: object) -> Terms:
        monkeypatch.setattr(ledger_module, "_terms", terms_in)
        with contextlib.closing(sqlite3.connect(ledger.path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("UPDATE entries SET author = 'me'")  # it has to wait, and finds what is written here
        return terms_in(row)

    monkeypatch.setattr(ledger_module, "_terms", meanwhile)
    ledger.state(sha256, "", Terms(origin="there"))
    assert [entry[2].licence for entry in ledger.entries()] == ["MIT"]


def test_forget_and_stating_do_not_go_together(run: Run, models: Path):
    code, _, error = run("ledger", models / "a.safetensors", "--forget", "--licence", "MIT")
    assert code == 2 and "--forget takes back what is stated" in error


def test_json_of_the_ledger_has_its_schema_s_form(run: Run, models: Path):
    for options in ([models / "a.safetensors", "--allow", "all", "--licence", "MIT"], [models / "b.safetensors"], []):
        code, out, _ = run("ledger", *options, "--json")
        assert code == 0 and list(faults(json.loads(out), schema("ledger"))) == []


def test_number_is_read_of_the_helper_that_writes_large_letters(tmp_path: Path):
    (tmp_path / "a.cm-info.json").write_text(json.dumps({"ModelId": 12, "ModelName": "a"}))
    found = terms_of(open_checkpoint(write_file(tmp_path / "a.safetensors", model(1))))
    assert (found.origin, found.said_by) == ("https://civitai.com/models/12", ("a.cm-info.json",))


def test_two_who_say_it_say_it():
    assert _lines(Terms("x", said_by=("ledger", "a.json")))[-1] == "  as ledger, a.json say"
    assert _lines(Terms("x", said_by=("ledger",)))[-1] == "  as ledger says"


def test_where_nobody_says_what_is_allowed_the_header_and_the_words_are_as_ever(run: Run, models: Path, tmp_path: Path):
    options = ["0.5 * a + 0.5 * b", "--models", models, "--json"]
    before = json.loads(run("merge", *options, "-o", tmp_path / "1.safetensors")[1])
    beside(models, "a.json", {"description": "nice", "sd version": "SD1"})
    after = json.loads(run("merge", *options, "-o", tmp_path / "2.safetensors")[1])
    assert before["warnings"] == after["warnings"] == []
    assert before["sha256"] == after["sha256"] and "permissions" not in metadata_of(tmp_path / "1.safetensors")["chillymerge"]


HOSTILE = [
    "", "{", "[" * 100_000, '{"model":' * 5_000, '{"allowNoCredit": NaN}', '"text"', "null", "[]", "\ufeff{}",
    {"allowNoCredit": "yes", "allowDerivatives": 1, "allowDifferentLicense": None, "model": [], "civitai": "x", "creator": 5},
    {"modelId": "<script>", "license": ["MIT"], "creator": {"username": {"x": 1}}},
    {"model": {"model": {"allowNoCredit": True}}}, {"description": "x" * 10_000_000, "allowNoCredit": True},
]  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_companions_say_nothing(models: Path, said: object):
    for name in ("a.civitai.info", "a.md"):
        beside(models, name, said)
    assert known(models) == Terms()


def test_hostile_names_are_cut_and_put_on_one_line(models: Path):
    write_file(models / "b.safetensors", model(2), {"license": "MIT\x1b[31m\n" + "x" * 10_000_000, "chillymerge": "{" * 99_999})
    licence = known(models, "b").licence
    assert licence.startswith("MIT [31m x") and len(licence) <= 300
    (models / "a.json").mkdir()
    (models / "a.md").symlink_to("/etc/passwd")
    (models / "a.civitai.info").write_bytes(b"\xff\xfe")
    assert not known(models)


def test_damaged_ledger_is_moved_aside_and_stops_no_plan(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--allow", "all")
    (tmp_path / "home" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    for tail in ("-wal", "-shm"):
        (tmp_path / "home" / f"ledger.sqlite{tail}").unlink(missing_ok=True)
    code, out, _ = run("merge", "1 * a", "--models", models, "--json", "-o", tmp_path / "out.safetensors")
    assert code == 0 and "the ledger was damaged." in json.loads(out)["warnings"][0]
    assert len(list((tmp_path / "home").glob("ledger.sqlite.damaged-*"))) == 1
    assert Ledger(tmp_path / "home" / "ledger.sqlite").entries() == []


@pytest.mark.parametrize("command", [["ledger"], ["ledger", "--json"], ["ledger", "a"], ["ledger", "a", "--json"], ["card", "a"]])
def test_damaged_ledger_is_said_by_whoever_finds_it(
    run: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, command: list[str]
):
    path = tiny(tmp_path_factory, "card-a", seed=0)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    code, out, _ = run(*(path if word == "a" else word for word in command))
    assert code == 0 and "the ledger was damaged." in out
