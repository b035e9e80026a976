"""The API: what the command line and the page do, over HTTP, behind the webui's own flags and password."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from asking import ask, begun, ended, saved
from house import Double, House
from PIL import Image
from samples import MIX, SMALL, of_users

from lib_chilly.engine import merge
from lib_chilly.inspection import inspect_file
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.registry import all_methods
from lib_chilly.report import default_threads, plan_facts

pytestmark = pytest.mark.timeout(600)


def test_methods_are_those_of_the_registry(webui: House):
    status, found = ask(webui.url, "GET", "methods")
    assert status == 200
    assert [method["name"] for method in found["methods"]] == list(all_methods())
    assert "fp16" in found["dtypes"] and "Euler" in found["samplers"]


def test_inspection_is_that_of_the_command_line(webui: House):
    status, found = ask(webui.url, "GET", "inspect", model="A")
    assert (status, found) == (200, {k: v for k, v in inspect_file(webui.models / "A.safetensors").items() if v is not None})


def test_plan_is_that_of_the_command_line(webui: House):
    facts = plan_facts(make_plan(parse_recipe(MIX), ModelLibrary([webui.models])), default_threads())
    assert ask(webui.url, "POST", "plan", {"recipe": MIX}) == (200, facts)
    status, bf16 = ask(webui.url, "POST", "plan", {"recipe": MIX, "options": {"dtype": "bf16"}})
    assert status == 200 and "dtype=bf16" in bf16["recipe"]


def test_merge_writes_what_the_command_line_writes_and_the_webui_lists_it_with_its_hash(webui: House, tmp_path: Path):
    found = saved(webui.url, MIX, "by api")
    try:
        report = merge(make_plan(parse_recipe(MIX), ModelLibrary([webui.models])), tmp_path / "M.safetensors")
        written = (webui.models / "by api.safetensors").read_bytes()
        assert hashlib.sha256(written).hexdigest() == found["sha256"] == report.sha256
        assert f"by api.safetensors [{found['sha256'][:10]}]" in webui.call("refresh")["listed"]
        status, again = ask(webui.url, "POST", "merge", {"recipe": MIX, "name": "by api"})
        assert (status, again) == (409, {"detail": "by api.safetensors exists already. Choose another name.", "field": "name"})
        status, row = ask(webui.url, "GET", f"history/{found['history']}")
        assert status == 200 and row["file"]["sha256"] == found["sha256"] and row["recipe"].startswith(MIX)
    finally:
        webui.call("remove", "by api")


def test_merge_of_the_last_picture_says_that_its_file_holds_the_very_numbers_and_another_one_does_not(webui: House):
    webui.call("preview", MIX)
    try:
        assert saved(webui.url, MIX, "shown")["as_shown"] is True
        assert "as_shown" not in saved(webui.url, "N = weighted_sum(A, B, alpha=0.7)", "not shown")
    finally:
        webui.call("remove", "shown")
        webui.call("remove", "not shown")


def test_merge_without_a_name_gets_one_from_its_recipe(webui: House):
    status, job = ask(webui.url, "POST", "merge", {"recipe": "halves = 0.5 * A + 0.5 * B"})
    assert status == 202
    assert ended(webui.url, job)["saved"]["file"] == "halves.safetensors"
    webui.call("remove", "halves")


def test_cancelled_merge_leaves_nothing(webui: House):
    webui.call("hold_saves")
    try:
        jobs = [ask(webui.url, "POST", "merge", {"recipe": MIX, "name": f"wait{number}"})[1] for number in range(3)]
        status, last = ask(webui.url, "POST", f"jobs/{jobs[-1]['job']}/cancel")
        assert status == 200 and ended(webui.url, last)["state"] == "stopped"
    finally:
        webui.call("let_saves_go")
    assert [ended(webui.url, job)["state"] for job in jobs[:2]] == ["done", "done"]
    left = sorted(path.stem for path in webui.models.iterdir() if "wait" in path.name and path.suffix == ".safetensors")
    assert left == ["wait0", "wait1"]
    assert jobs[2]["job"] in [job["job"] for job in ask(webui.url, "GET", "jobs")[1]["jobs"]]
    webui.call("remove", "wait0")
    webui.call("remove", "wait1")


def test_preview_is_the_picture_of_the_page_and_changes_nothing_of_the_user_s(webui: House):
    before = webui.call("state")
    status, job = ask(webui.url, "POST", "preview", {"recipe": MIX, "params": SMALL})
    assert status == 202
    job = ended(webui.url, job)
    assert job["state"] == "done", job
    (picture,) = job["pictures"]
    with Image.open(io.BytesIO(base64.b64decode(picture["image"].partition(",")[2]))) as image:
        digest = hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()
        assert image.text["parameters"] == picture["infotext"]
    assert "Model hash: recipe-" in picture["infotext"] and "ChillyMerge recipe: " in picture["infotext"]
    after = webui.call("state")
    assert of_users(after) == of_users(before)
    assert digest == webui.call("preview")["picture"]


def test_preview_of_strengths_and_operands_makes_each(webui: House):
    wants = [{"id": "a", "of": "a"}, {"id": "half", "strength": 0.5}, {"id": "one", "block": "IN04", "to": 1}]
    status, job = ask(webui.url, "POST", "preview", {"recipe": MIX, "params": SMALL, "pictures": wants})
    assert status == 202
    job = ended(webui.url, job)
    assert [picture["id"] for picture in job["pictures"]] == ["a", "one", "half"]
    assert len({picture["image"] for picture in job["pictures"]}) == 3
    status, rest = ask(webui.url, "GET", f"jobs/{job['job']}", seen=2)
    assert [picture["id"] for picture in rest["pictures"]] == ["half"]


def test_cancelled_preview_is_stopped_and_the_queue_is_free(webui: House):
    status, job = ask(webui.url, "POST", "preview", {"recipe": MIX, "params": {**SMALL, "steps": 1000}})
    assert status == 202
    assert begun(webui.url, job)["state"] == "working"
    assert ask(webui.url, "POST", f"jobs/{job['job']}/cancel")[0] == 200
    assert ended(webui.url, job)["state"] == "stopped"
    assert webui.call("state")["queue"]


def test_history_is_searched_changed_and_forgotten(webui: House):
    number = saved(webui.url, MIX, "remembered")["history"]
    webui.call("remove", "remembered")
    status, rows = ask(webui.url, "GET", "history", search="remembered", count=5)
    assert status == 200 and number in [row["id"] for row in rows["rows"]]
    status, row = ask(webui.url, "PATCH", f"history/{number}", {"note": "good", "pinned": True})
    assert (status, row["note"], row["pinned"]) == (200, "good", True)
    assert ask(webui.url, "DELETE", f"history/{number}") == (200, {"done": True})
    for method, body in (("GET", None), ("PATCH", {"note": "late"}), ("DELETE", None)):
        status, gone = ask(webui.url, method, f"history/{number}", body)
        assert (status, gone) == (404, {"detail": "this entry is no longer in the history: it was deleted meanwhile."})


# ---- the webui's flags ----


def test_without_api_there_are_no_routes(double: Double):
    url = f"http://127.0.0.1:{double.call('serve', api=False)}"
    assert ask(url, "GET", "methods") == (404, {"detail": "Not Found"})
    url = f"http://127.0.0.1:{double.call('serve', api=False, nowebui=True)}"
    assert ask(url, "GET", "methods")[0] == 200


def test_api_auth_is_wanted_for_every_route(double: Double):
    url = f"http://127.0.0.1:{double.call('serve', api_auth='ann:one,bob:two')}"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods if path.startswith("/chillymerge")]
    assert len(routes) == 12
    for method, path in routes:
        assert paths[path][method.lower()]["security"] == [{"HTTPBasic": []}]
        path = path.removeprefix("/chillymerge/v1/").replace("{number}", "1")
        for login in ("", "ann:two", "ann:", "eve:one", ":", "ann:oné"):
            status, said = ask(url, method, path, b"{}" if method != "GET" else None, login)
            assert status == 401 and set(said) == {"detail"}, (method, path, login)
    for login in ("ann:one", "bob:two"):
        assert ask(url, "GET", "methods", login=login)[0] == 200


def test_frozen_settings_are_a_conflict_for_pictures_alone(double: Double):
    double.call("fresh")
    double.call("flag", freeze_settings=True)
    try:
        status, said = ask(double.url, "POST", "preview", {"recipe": MIX, "params": SMALL})
        assert status == 409 and "--freeze-settings" in said["detail"]
        assert ended(double.url, ask(double.url, "POST", "merge", {"recipe": MIX, "name": "frozen"})[1])["state"] == "done"
    finally:
        double.call("flag", freeze_settings=False)
        double.call("remove", "frozen")
