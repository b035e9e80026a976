"""What browser tests stand on: a server process, Chromium, an audit of accessibility. Tools that are missing are said in a skip,
which CI takes for a failure."""

from __future__ import annotations

import importlib.resources
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CARD = ROOT / "recipes" / "chillymix-card.txt"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")
PATIENCE_SECONDS = 90
READY = "#chilly_page[data-state=ready]"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The browser: CHILLY_CHROMIUM, else the system's."""
    found = os.environ.get("CHILLY_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip("there is no Chromium; install it, or name one with CHILLY_CHROMIUM")
    return found


class Site:
    """`chilly ui` as a process; ended by Ctrl-C, which must end it well."""

    def __init__(self, python: str, models: list[Path], out: Path, home: Path, *more: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [python, "-m", "lib_chilly.cli", "ui", "--no-browser", "--port", str(port), "--out", str(out), *more]
        command += [part for folder in models for part in ("--models", str(folder))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHILLY_HOME": str(home), "TRANSFORMERS_VERBOSITY": "error"}
        self.models, self.out, self.home = models, out, home
        self.url = f"http://127.0.0.1:{port}"
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put("")

    def _wait(self) -> None:
        """Until it says where the page is."""
        while self.url not in (line := self._lines.get(timeout=PATIENCE_SECONDS)):
            assert line, f"the server ended: {''.join(self.said)}"

    def end(self) -> None:
        """Ctrl-C; fails where the server does not end well, or has ever met something unexpected."""
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
        self._reader.join(10)
        said = "".join(self.said)
        assert (code, "Traceback" in said) == (0, False), said


class Watch:
    """What must not happen while a page is open."""

    def __init__(self, context: Any, url: str):
        self.url = url
        self.outside: list[str] = []
        self.errors: list[str] = []
        context.route("**/*", self._let_through)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _let_through(self, route: Any) -> None:
        if route.request.url.startswith((self.url, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def check(self) -> None:
        """Fail when since the last look a script has failed, or something outside of this machine was asked for."""
        seen, self.errors, self.outside = (self.errors, self.outside), [], []
        assert seen == ([], [])


def open_page(context: Any, url: str) -> Any:
    """A new tab of the page, once it can be used; it makes those pictures alone that it is asked for."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(READY, timeout=PATIENCE_SECONDS * 1000)
    page.evaluate("chilly.preview.setFollow(false)")
    return page


def wait_for_view(page: Any, condition: str = "true") -> Any:
    """Wait until the last view fulfils a condition in JavaScript on `view`; gives the view."""
    page.wait_for_function(
        f"() => {{ const view = chilly.view; return view && ({condition}); }}", timeout=PATIENCE_SECONDS * 1000
    )
    return page.evaluate("chilly.view")


def check_accessibility(page: Any, within: str = "#chilly_page") -> None:
    """Fail on what axe-core calls serious or critical."""
    source = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    page.evaluate(f"() => {{ if (!window.axe) {{ {source} }} }}")
    found = page.evaluate("within => axe.run(within, {resultTypes: ['violations']})", within)["violations"]
    bad = [
        f"{one['id']} ({one['impact']}): {one['help']}\n" + "\n".join(f"    {node['html'][:160]}" for node in one["nodes"][:5])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, "\n".join(bad)
