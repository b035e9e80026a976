"""The double's HTTP server, as the webui's at its start: an application, then the extensions' routes."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI
from modules import script_callbacks, shared


def serve(**flags: object) -> int:
    """Start with flags; the port. Each call starts another server."""
    before = dict(vars(shared.cmd_opts))
    vars(shared.cmd_opts).update(flags)
    app = FastAPI()
    script_callbacks.app_started_callback(None if shared.cmd_opts.nowebui else SimpleNamespace(), app)
    vars(shared.cmd_opts).update(before)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    threading.Thread(target=server.run, args=([listener],), daemon=True).start()
    while not server.started:
        time.sleep(0.02)
    return listener.getsockname()[1]
