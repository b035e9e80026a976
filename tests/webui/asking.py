"""The API over HTTP, as a program of somebody's asks it."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


def ask(url: str, method: str, path: str, body: Any = None, login: str = "", **query: object) -> tuple[int, Any]:
    """(status, what was answered); a body of bytes is sent as it is."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    full = f"{url}/chillymerge/v1/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    headers = {"Content-Type": "application/json"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(full, data, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=100) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ended(url: str, job: dict, login: str = "") -> dict:
    """A job when it is over."""
    for _ in range(20):
        status, job = ask(url, "GET", f"jobs/{job['job']}", login=login, wait=10)
        assert status == 200
        if job["state"] in ("done", "stopped", "failed"):
            return job
    raise AssertionError(job)


def begun(url: str, job: dict) -> dict:
    """A job that has left the row of those that wait."""
    while job["state"] == "waiting":
        _, job = ask(url, "GET", f"jobs/{job['job']}")
    return job


def saved(url: str, recipe: str, name: str) -> dict:
    """What is said of a merge that is saved."""
    status, job = ask(url, "POST", "merge", {"recipe": recipe, "name": name})
    assert status == 202, job
    job = ended(url, job)
    assert (job["kind"], job["state"]) == ("merge", "done"), job
    return job["saved"]
