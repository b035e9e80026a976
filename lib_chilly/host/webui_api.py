"""The API in the webui: there with --api alone, and behind the same user and password as the webui's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules import shared

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

    from ..ui.questions import Room
    from .api_answers import Answers


def add_api(app: FastAPI, room: Callable[[], Room]) -> None:
    """Add the routes to the webui's application, where it has an API.

    Args:
        room: called at each request, never before the first.
    """
    if not getattr(shared.cmd_opts, "api", False) and not getattr(shared.cmd_opts, "nowebui", False):
        return
    from .api_routes import make_router

    def answers() -> Answers:
        from .api_answers import Answers

        return Answers(room())

    said = getattr(shared.cmd_opts, "api_auth", None)
    app.include_router(make_router(answers, _Passwords(said) if said else None, _veiled))


def _veiled(text: str) -> str:
    """What may be told of an answer: with --hide-ui-dir-config no folders."""
    if not getattr(shared.cmd_opts, "hide_ui_dir_config", False):
        return text
    from .hidden import without_folders
    from .webui_models import hidden_folders

    return without_folders(text, hidden_folders())


class _Passwords:
    """Lets through who knows a password of --api-auth, `user:password,user:password`, before what they send is read."""

    def __init__(self, said: str):
        from fastapi.security import HTTPBasic

        self.scheme = HTTPBasic()
        self._known = dict(each.split(":", 1) for each in said.split(",") if ":" in each)

    async def admit(self, request: Request) -> None:
        from fastapi import HTTPException

        given: Any = await self.scheme(request)
        password = self._known.get(given.username)
        is_right = secrets.compare_digest(given.password.encode(), (password or "").encode())
        if password is None or not is_right:
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})
