"""The page without a webui: a server for this machine's browser alone."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..console import show
from ..errors import OutputError, RecipeError
from ..host.parts import load_modules
from ..host.standalone import StandaloneHost
from ..recipe_argument import load_recipe
from ..recipe_text import parse_recipe
from .gate import Gate
from .questions import Room
from .service import Service

ADDRESS = "127.0.0.1"
FIRST_PORT = 7860
_PORTS_TRIED = 100
_WAIT_SECONDS = 0.2


def run_page(
    recipe: str,
    models: Sequence[Path] | None,
    out: Path | None,
    port: int | None,
    browser: bool,
    should_stop: Callable[[], bool],
) -> None:
    """Serve the page until the user stops it, and show it where there is a desktop.

    Args:
        recipe: a recipe's file or its text, to begin with; may be empty.
        models, out: None for the usual folders.
        port: None for the first that is free, from 7860 on.

    Raises:
        MergeError: gradio is missing, the port is taken, or there is no such folder.
    """
    host = StandaloneHost(models, out)
    host.checkpoints()  # a folder that is not there is said now

    def on_ready(address: str) -> None:
        show([f"The page is at {address}  (Ctrl-C ends it)"])
        if browser and has_desktop():
            _open_browser(address)

    serve(Room(host, beginning(recipe), warm_up=load_modules), port, on_ready, should_stop)
    show(["The page has ended."])


def beginning(argument: str) -> str:
    """The text that a page begins with: a recipe in our notation as it is written, any other translated."""
    if not argument.strip():
        return ""
    recipe = load_recipe(argument)
    with contextlib.suppress(RecipeError):
        return parse_recipe(recipe.text).text
    return recipe.canonical()


def serve(room: Room, port: int | None, on_ready: Callable[[str], None], should_stop: Callable[[], bool]) -> None:
    """Answer this machine's browser until `should_stop`; what is under way then is stopped.

    Args:
        port: None for the first that is free.
        on_ready: called with the page's address once it can be opened.

    Raises:
        MergeError: gradio is missing, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import uvicorn

        from .tab import build_app
    except ImportError as error:
        raise RecipeError(
            f"the page needs the package {error.name}, which this Python lacks. Start it as './chilly ui' without "
            "CHILLY_PYTHON, or install requirements-page.txt."
        ) from None
    with _bound(port) as bound:
        service = Service(room)
        config = uvicorn.Config(Gate(build_app(service.answer)), log_level="warning", timeout_graceful_shutdown=1, ws="none")
        try:
            _run(uvicorn.Server(config), bound, on_ready, should_stop)
        finally:
            service.close()


def has_desktop() -> bool:
    """Whether a browser that is opened here is seen by somebody."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(address: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(address)


def _bound(port: int | None) -> socket.socket:
    """A socket on the wanted port, or on the first one that is free."""
    ports = range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED) if port is None else (port,)
    for one in ports:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere the option would let two servers have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((ADDRESS, one))
            bound.listen(64)
        except OSError:
            bound.close()
            continue
        return bound
    said = f"port {port} is" if port is not None else f"the ports {ports[0]} to {ports[-1]} are"
    raise OutputError(f"{said} in use, or not to be had. Name another one with --port.")


def _run(server: Any, bound: socket.socket, on_ready: Callable[[str], None], should_stop: Callable[[], bool]) -> None:
    """Run a server in a thread of its own, so that signals stay with this one."""
    thread = threading.Thread(target=server.run, args=([bound],), name="chilly-page")
    thread.start()
    shown = False
    while thread.is_alive() and not should_stop():
        thread.join(_WAIT_SECONDS)
        if server.started and not shown:
            on_ready(f"http://{ADDRESS}:{bound.getsockname()[1]}")
            shown = True
    server.should_exit = True
    thread.join()
