"""What a merge may be used for is what all of its sources allow; what nobody says is unknown; no stranger breaks or fools it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import metadata_of, model, write_file, write_models
from test_schemas import faults, schema

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.ledger import Ledger
from lib_chilly.licences import PERMISSIONS, Terms, terms_of
from lib_chilly.permissions import combine

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
    assert json.loads(run("ledger", "--json")[1]) == {"entries": []}


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


def test_ledger_is_asked_while_merging_where_a_source_was_never_hashed(run: Run, models: Path, tmp_path: Path):
    run("ledger", models / "a.safetensors", "--forbid", "share_merges")
    (tmp_path / "home" / "hashes.sqlite").unlink()
    options = ["1 * a", "--models", models, "--json"]
    assert json.loads(run("plan", *options)[1])["warnings"] == []
    said = json.loads(run("merge", *options, "-o", tmp_path / "out.safetensors")[1])["warnings"]
    assert "'a' does not allow sharing merges: keep the result to yourself." in said


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
    code, out, _ = run("plan", "1 * a", "--models", models, "--json")
    assert code == 0 and "the ledger was damaged." in json.loads(out)["warnings"][0]
    assert Ledger(tmp_path / "home" / "ledger.sqlite").entries() == []
