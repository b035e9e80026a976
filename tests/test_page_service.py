"""Questions of the page: whatever is asked, one JSON text is the answer, and a problem is a sentence."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.errors import MergeError, RecipeError
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.ui import questions, warm_up
from lib_chilly.ui.gate import is_our_own, is_taken
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.questions import Page, Room
from lib_chilly.ui.service import MOST_BYTES, Service


def echo(page: Page, text: str, count: int = 0, share: float | None = None, more: list[int] | None = None) -> dict[str, Any]:
    return {"page": page.name, "text": text, "count": count, "share": share, "more": more}


def fail(page: Page, how: str) -> dict[str, Any]:
    if how == "field":
        raise FieldError("alpha is no number.", "alpha")
    if how == "recipe":
        raise RecipeError("there is no model 'X'.", "A = X\n", 4)
    if how == "system":
        raise FileNotFoundError(2, "No such file or directory", "/there")
    if how == "nan":
        return {"value": float("nan")}
    raise ZeroDivisionError(f"secret {how}")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(questions, "_QUESTIONS", {**questions.all_questions(), "echo": echo, "fail": fail})
    return Service(Room(StandaloneHost([tmp_path])))


def ask(service: Service, name: str, given: Any = None, **more: Any) -> Any:
    reply = json.loads(service.answer(json.dumps({"id": 7, "page": "k3", "ask": name, "with": given} | more)))
    assert reply.pop("id") == 7
    return reply


def test_question_has_the_reply_of_the_function_of_its_name(service):
    reply = ask(service, "echo", {"text": "×\n", "count": 3, "share": 1, "more": [1]})
    assert reply == {"reply": {"page": "k3", "text": "×\n", "count": 3, "share": 1, "more": [1]}}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "text"),
        ({"text": 1}, "text"),
        ({"text": None}, "text"),
        ({"text": "", "count": True}, "count"),
        ({"text": "", "count": 1.5}, "count"),
        ({"text": "", "share": "1"}, "share"),
        ({"text": "", "more": {}}, "more"),
        ({"text": "", "page": "other"}, "page"),
        ({"text": "", "x": 1}, "x"),
    ],
)
def test_wrong_argument_is_a_problem_of_its_field(service, given, field):
    problem = ask(service, "echo", given)["problem"]
    assert problem["field"] == field and f"'{field}'" in problem["message"]


def test_errors_are_the_engine_s_sentences_with_the_field_where_it_is_known(service):
    assert ask(service, "fail", {"how": "field"}) == {"problem": {"message": "alpha is no number.", "field": "alpha"}}
    said = ask(service, "fail", {"how": "recipe"})["problem"]["message"]
    assert said == "line 1, column 5: there is no model 'X'."
    assert ask(service, "fail", {"how": "system"})["problem"]["message"] == "/there: No such file or directory."


@pytest.mark.parametrize("how", ["nan", "other"])
def test_unexpected_error_is_told_to_the_log_and_not_to_the_page(service, caplog, how):
    with caplog.at_level(logging.ERROR):
        problem = ask(service, "fail", {"how": how})["problem"]
    assert "secret" not in problem["message"] and "log" in problem["message"]
    assert "Traceback" in caplog.text


def test_request_that_is_none_is_a_problem(service):
    for request in (
        "",
        "x",
        "[]",
        "{}",
        '{"id": 1}',
        '{"id": 1, "page": "../x", "ask": "models"}',
        '{"id":1,"page":"a","ask":"models","with":[]}',
    ):
        assert json.loads(service.answer(request))["problem"]["message"]
    nan = '{"id": 1, "page": "a", "ask": "echo", "with": {"text": "", "share": NaN}}'
    assert json.loads(service.answer(nan))["problem"]["message"] == "the request is no JSON."
    vast = nan.replace("NaN", "1e999")
    assert json.loads(service.answer(vast))["problem"]["message"] == "the request is no JSON."
    half = '{"id": 1, "page": "a", "ask": "echo", "with": {"text": "\\ud800"}}'
    assert "half a character" in json.loads(service.answer(half))["problem"]["message"]
    assert "too much" in json.loads(service.answer(" " * (MOST_BYTES + 1)))["problem"]["message"]
    assert json.loads(service.answer("[" * 100_000))["problem"]["message"] == "the request is no JSON."


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(questions.all_questions())), given=st.dictionaries(st.text(max_size=8), _json, max_size=3))
def test_no_question_takes_what_it_does_not_know(name, given):
    service = Service(Room(StandaloneHost([Path(__file__).parent])))
    reply = json.loads(service.answer(json.dumps({"id": 1, "page": "a", "ask": name, "with": {**given, "no such thing": 1}})))
    assert reply["problem"]["field"] is not None


def test_things_of_a_server_are_made_once_and_ended_in_turn(tmp_path):
    ended = []

    class Thing:
        def __init__(self, host: Any = None):
            self.host = host

        def close(self) -> None:
            ended.append(type(self))

    class Other(Thing):
        pass

    room = Room(StandaloneHost([tmp_path]))
    assert room.one(Thing) is room.one(Thing) and room.one(Thing).host is room.host
    assert room.one(Other, Other).host is None
    room.close()
    assert ended == [Other, Thing]


def test_question_is_answered_by_one_function_only():
    def models(page: Page) -> dict[str, Any]:
        return {}

    with pytest.raises(ValueError, match="answered twice"):
        questions.question(models)


@pytest.mark.parametrize(
    ("host", "origin", "is_ours"),
    [
        ("127.0.0.1:7860", None, True),
        ("localhost:7860", "http://localhost:7860", True),
        ("[::1]:7860", None, True),
        ("localhost", "http://localhost", True),
        ("127.0.0.1:7860", "http://localhost:7860", False),
        ("127.0.0.1:7860", "https://127.0.0.1:7860", False),
        ("127.0.0.1:7860", "null", False),
        ("127.0.0.1.evil.example", None, False),
        ("evil.example:7860", None, False),
        ("user@evil.example", None, False),
        ("[", None, False),
        ("", None, False),
    ],
)
def test_requests_by_other_names_and_of_other_sites_are_refused(host, origin, is_ours):
    assert is_our_own(host, origin) is is_ours


def test_models_facts_are_read_again_where_a_file_has_changed(tmp_path):
    from lib_chilly.synth import synthesise

    path = tmp_path / "a.safetensors"
    synthesise("sd1", "tiny", path)
    (tmp_path / "broken.safetensors").write_bytes(b"not a model")
    service = Service(Room(StandaloneHost([tmp_path])))
    (good, bad) = ask(service, "models")["reply"]["models"]
    assert (good["architecture"], good["dtype"], good["bytes"]) == ("sd1", "fp16", path.stat().st_size)
    assert (bad["architecture"], bad["dtype"], bad["bytes"]) == (None, None, 11)
    synthesise("sdxl", "tiny", path)
    assert ask(service, "models", {"again": True})["reply"]["models"][0]["architecture"] == "sdxl"


def test_folder_of_models_that_is_not_there_is_a_problem(tmp_path):
    service = Service(Room(StandaloneHost([tmp_path / "none"])))
    assert "does not exist" in ask(service, "models")["problem"]["message"]
    assert issubclass(FieldError, MergeError)


def test_page_that_is_loaded_again_has_the_models_that_were_put_there_meanwhile(tmp_path):
    from lib_chilly.synth import synthesise

    service = Service(Room(StandaloneHost([tmp_path])))
    assert ask(service, "start")["reply"]["models"] == []
    synthesise("sd1", "tiny", tmp_path / "new.safetensors")
    assert [model["name"] for model in ask(service, "start")["reply"]["models"]] == ["new"]
    assert ask(service, "look", {"text": "A = new\n"})["reply"]["ok"]


@pytest.mark.parametrize(
    ("method", "length", "taken"),
    [("GET", "", True), ("POST", "9", True), ("POST", "", False), ("POST", "-1", False), ("PUT", "9" * 5000, False)],
)
def test_body_that_is_too_large_or_does_not_say_how_large_it_is_goes_nowhere(method, length, taken):
    assert is_taken(method, length) is taken
    assert is_taken("POST", str(MOST_BYTES)) and not is_taken("POST", str(3 * MOST_BYTES))


def test_headers_of_many_models_are_read_while_the_page_begins(tmp_path, monkeypatch):
    from lib_chilly.synth import synthesise
    from lib_chilly.ui import start

    for name in ("a", "b"):
        synthesise("sd1", "tiny", tmp_path / f"{name}.safetensors")
    service = Service(Room(StandaloneHost([tmp_path])))
    monkeypatch.setattr(start, "_PATIENCE_SECONDS", -1)
    first = ask(service, "start")["reply"]
    assert ([model["architecture"] for model in first["models"]], first["more"]) == ([None, None], True)
    assert all(model["bytes"] > 0 for model in first["models"])
    until = time.monotonic() + 60
    while (later := ask(service, "models")["reply"])["more"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert [model["architecture"] for model in later["models"]] == ["sd1", "sd1"]
    service.close()


@pytest.mark.parametrize("error", [None, RuntimeError("no such package")])
def test_what_the_first_picture_needs_is_loaded_once_when_a_page_has_begun(tmp_path, monkeypatch, error):
    loaded = threading.Semaphore(0)

    def load() -> None:
        loaded.release()
        if error:
            raise error

    monkeypatch.setattr(warm_up, "PAUSE_SECONDS", 0.05)
    service = Service(Room(StandaloneHost([tmp_path]), warm_up=load))
    ask(service, "models")
    assert not loaded.acquire(timeout=0.2)
    for _ in range(2):
        ask(service, "start")
    assert loaded.acquire(timeout=60) and not loaded.acquire(timeout=0.2)
    service.close()


def test_page_that_is_closed_at_once_loads_nothing(tmp_path):
    loaded = threading.Semaphore(0)
    service = Service(Room(StandaloneHost([tmp_path]), warm_up=loaded.release))
    ask(service, "start")
    service.close()
    assert not loaded.acquire(timeout=warm_up.PAUSE_SECONDS + 0.3)
