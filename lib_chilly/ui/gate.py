"""What stands before gradio in the standalone page: it lets through what the page needs, and puts our files into the page.

Requests of other sites are refused by their Host and Origin (a name on the internet may point to this machine), and so is all
of gradio that hands out files or takes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .service import MOST_BYTES

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

ROOT = Path(__file__).parents[2]
PREFIX = "/chilly/"
"""Below it lie our own style and scripts."""
_OWN_NAMES = {"127.0.0.1", "localhost", "::1"}
_LET_THROUGH = re.compile(
    r"/(gradio_api/)?(assets/.*|static/.*|svelte/.*|config/?|theme\.css|info/?|run/[^/]*/?|api/[^/]*/?"
    r"|heartbeat/[^/]*|startup-events/?|queue/(join|data)/?|favicon\.ico|manifest\.json|app_id/?|user/?|token/?)?"
)
_OUTSIDE = re.compile(rb"<(script|link|meta)\b[^>]*\"(?:https?:)?//[^>]*>(?:\s*</script>)?")
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
_MOST_BYTES = 2 * MOST_BYTES
"""Of a request: a question with what gradio's JSON adds to it."""
_BODY = re.compile(rb"<body\b[^>]*>")
_BEFORE = b'<div id="chilly_before">ChillyMerge</div>'
"""Seen until gradio has drawn the page, which takes this away."""
_NO_ZOOM = b", maximum-scale=1"
_ALONE = (
    b"<style>.gradio-container{max-width:none!important;padding:0!important}footer{display:none!important}"
    b"#chilly_before{position:fixed;z-index:9;inset:0;padding:14px 16px;background:#fff;color:#1f2937;font:600 20px sans-serif}"
    b"@media(prefers-color-scheme:dark){#chilly_before{background:#0b0f19;color:#eef1f6}}</style>"
)


def own_files() -> dict[str, bytes]:
    """The style, and all scripts in one, in the order in which the webui loads them too: one request is quicker than forty."""
    scripts = sorted((ROOT / "javascript").glob("chilly_*.js"))
    joined = b"\n".join(b"// " + path.name.encode() + b"\n" + path.read_bytes() for path in scripts)
    return {"style.css": (ROOT / "style.css").read_bytes(), "page.js": joined}


class Gate:
    """An ASGI application in front of gradio's."""

    def __init__(self, app: App):
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Any, send: Send) -> None:
        path = scope["path"]
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_our_own(headers.get(b"host", ""), headers.get(b"origin")):
            await _send(send, 403, b"this page is for the browser of this machine only.", "text/plain")
        elif not is_taken(scope["method"], headers.get(b"content-length", "")):
            await _send(send, 413, b"this is too much at once.", "text/plain")
        elif path.startswith(PREFIX) and (content := own_files().get(path[len(PREFIX) :])):
            kind = "text/css" if path.endswith(".css") else "text/javascript"
            await _send(send, 200, content, kind, "max-age=31536000, immutable")  # its address has its digest
        elif not _LET_THROUGH.fullmatch(path):
            await _send(send, 404, b"there is nothing here.", "text/plain")
        elif path == "/":
            await self._send_page(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _send_page(self, scope: Scope, receive: Any, send: Send) -> None:
        """gradio's page with our files in its head and without what it would get from elsewhere."""
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        start: MutableMapping[str, Any] = {}
        body = bytearray()

        async def keep(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app({**scope, "headers": plain}, receive, keep)
        page = _OUTSIDE.sub(b"", bytes(body)).replace(_NO_ZOOM, b"").replace(b"</head>", b"".join(_head()) + b"</head>", 1)
        page = _BODY.sub(lambda tag: tag[0] + _BEFORE, page, count=1)
        await _send(send, start["status"], page, "text/html")


def is_our_own(host: str, origin: str | None) -> bool:
    """Whether a request is meant for this machine by its name, and comes from a page of the same server if from any."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in _OWN_NAMES and origin in (None, f"http://{host}")


def is_taken(method: str, length: str) -> bool:
    """Whether a request says that its body is no larger than a question may be; others have none."""
    return method in ("GET", "HEAD") or (length.isdecimal() and int(length[:12]) <= _MOST_BYTES)


def _head() -> Iterable[bytes]:
    yield _ALONE
    for name, content in own_files().items():
        url = f"{PREFIX}{name}?{hashlib.sha256(content).hexdigest()[:16]}"
        style = name.endswith(".css")
        yield (f'<link rel="stylesheet" href="{url}">' if style else f'<script defer src="{url}"></script>').encode()


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS.items()]}
        await send(message)

    return sent


async def _send(send: Send, status: int, body: bytes, kind: str, cache: str = "no-cache") -> None:
    said = {"content-type": f"{kind}; charset=utf-8", "content-length": str(len(body)), "cache-control": cache}
    headers = [(name.encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_HEADERS.items()]})
    await send({"type": "http.response.body", "body": body})
