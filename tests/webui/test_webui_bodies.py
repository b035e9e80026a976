"""Whoever may not ask, or sends too much, is answered before what they send is taken in."""

from __future__ import annotations

import http.client
import json
import urllib.parse

import pytest
from house import Double, House

pytestmark = pytest.mark.timeout(300)

HUGE = 1 << 40
PATIENCE_SECONDS = 20
"""A server that waits for all of a body never answers; nothing is sent of it."""


def answer_to(url: str, headers: dict[str, str], chunks: tuple[bytes, ...] = ()) -> tuple[int, dict]:
    """(status, what was answered) to a request of which no more is sent than its headers, and chunks without an end."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    connection.putrequest("POST", "/chillymerge/v1/plan")
    for name, value in {"Content-Type": "application/json", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        for chunk in chunks:
            connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        found = connection.getresponse()
        return found.status, json.loads(found.read())
    finally:
        connection.close()


def test_body_that_says_it_is_too_large_is_refused_before_it_comes(webui: House):
    status, said = answer_to(webui.url, {"Content-Length": str(HUGE)})
    assert status == 422 and f"{HUGE:,} bytes" in said["detail"] and "4,194,304 are taken" in said["detail"]


def test_body_without_an_end_is_refused_as_soon_as_it_is_too_large(webui: House):
    status, said = answer_to(webui.url, {"Transfer-Encoding": "chunked"}, (b"[" * (1 << 20),) * 4 + (b"[",))
    assert status == 422 and "too much at once" in said["detail"]


def test_password_is_asked_for_before_a_body_is_read(double: Double):
    url = f"http://127.0.0.1:{double.call('serve', api_auth='ann:one')}"
    for length in ("100", str(HUGE)):
        assert answer_to(url, {"Content-Length": length}) == (401, {"detail": "Not authenticated"})
        assert answer_to(url, {"Content-Length": length, "Authorization": "Basic YW5uOnR3bw=="})[0] == 401
