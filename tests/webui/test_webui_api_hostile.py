"""The API with names that lead elsewhere, damaged models, and whatever its description allows or does not."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from asking import ask
from house import House
from hypothesis import HealthCheck, given, settings
from samples import MIX

pytestmark = pytest.mark.timeout(600)

NAMES = ["../out", "..", "a/../b", "a//b", "a/", "a\\b", "/tmp/out", ".hidden", "CON", "a\x00b", " ", "x" * 300, "C:out"]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leaves_the_folder_is_refused_and_nothing_is_written(webui: House, name: str):
    before = sorted(webui.models.parent.rglob("*.safetensors"))
    status, said = ask(webui.url, "POST", "merge", {"recipe": MIX, "name": name})
    assert (status, said["field"]) == (422, "name")
    assert sorted(webui.models.parent.rglob("*.safetensors")) == before


@pytest.mark.parametrize("model", ["../models/A", "/etc/passwd", "../webui.log", "A/../A", "", "\x00", "x" * 5000])
def test_what_is_no_model_of_the_webui_cannot_be_read(webui: House, model: str):
    status, said = ask(webui.url, "GET", "inspect", model=model)
    assert status == 404 and said["detail"].startswith("there is no model ")
    if model.isprintable():
        recipe = f"M = weighted_sum(A, {json.dumps(model)}, alpha=0.3)"
        assert ask(webui.url, "POST", "plan", {"recipe": recipe})[0] == 422
        assert ask(webui.url, "POST", "plan", {"recipe": MIX, "options": {"vae": model or "."}})[0] == 422


def test_damaged_model_is_a_sentence(webui: House):
    broken = webui.models / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    try:
        status, said = ask(webui.url, "GET", "inspect", model="broken")
        assert status == 409 and "broken.safetensors" in said["detail"] and "Traceback" not in said["detail"]
    finally:
        webui.call("remove", "broken")


HOSTILE = {
    "half a character": b'{"recipe": "M = \\ud800"}',
    "no number": b'{"recipe": "M = A", "options": {"dtype": NaN}}',
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "long": b'{"recipe": "' + b"x" * (3 << 20) + b'"}',
    "unknown field": b'{"recipe": "M = A", "path": "/etc/passwd"}',
    "wrong kind": b'{"recipe": 5}',
    "a mistake": b'{"recipe": "M = weighted_sum(A, B, alpha=)"}',
    "a picture": b'{"recipe": "M = A", "params": {"width": 1000000}}',
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("path", ["plan", "merge", "preview"])
def test_what_cannot_be_taken_is_a_sentence_with_status_422(webui: House, path: str, what: str):
    status, said = ask(webui.url, "POST", path, HOSTILE[what])
    assert status == 422 and said["detail"].strip() and "Traceback" not in said["detail"]
    assert set(said) <= {"detail", "field"}


def test_job_of_nobody_is_not_found(webui: House):
    for number in (999_999, 2**63 - 1):
        assert ask(webui.url, "GET", f"jobs/{number}")[0] == 404
        assert ask(webui.url, "POST", f"jobs/{number}/cancel")[0] == 404
    assert ask(webui.url, "GET", f"jobs/{10**30}")[0] == 422


def test_api_is_as_its_description_says_whatever_is_sent(webui: House):
    """Each operation with what its schema allows, and with what it does not: no 5xx, no status and no body that is not there."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # a recipe is more than any text

    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{webui.url}/openapi.json") as answer:
        described = json.load(answer)
    described["paths"] = {path: what for path, what in described["paths"].items() if path.startswith("/chillymerge/")}
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=webui.url)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 12
    for operation in operations:
        takes = bool(operation.definition.raw.get("parameters") or operation.definition.raw.get("requestBody"))
        for mode in list(schemathesis.GenerationMode) if takes else [schemathesis.GenerationMode.POSITIVE]:

            @settings(max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                case.call_and_validate(excluded_checks=[positive_data_acceptance], proxies={"http": ""})

            check()
