"""The API in the webui: there with --api alone, and behind the same user and password as the webui's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules import shared

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..ui.questions import Room
    from .api_answers import Answers


def add_api(app: FastAPI, room: Callable[[], Room]) -> None:
    """Add the routes to the webui's application, where it has an API.

    Args:
        room: called at each request, never before the first.
    """
    if not getattr(shared.cmd_opts, "api", False) and not getattr(shared.cmd_opts, "nowebui", False):
        return
    from fastapi import Depends

    from .api_routes import make_router

    def answers() -> Answers:
        from .api_answers import Answers

        return Answers(room())

    said = getattr(shared.cmd_opts, "api_auth", None)
    app.include_router(make_router(answers, [Depends(_guard(said))] if said else []))


def _guard(said: str) -> Any:
    """A dependency that lets through who knows a password of --api-auth, `user:password,user:password`."""
    from fastapi import HTTPException, Security
    from fastapi.security import HTTPBasic

    known = dict(each.split(":", 1) for each in said.split(",") if ":" in each)
    asked = Security(HTTPBasic())

    def check(given: Any = asked) -> None:
        password = known.get(given.username)
        is_right = secrets.compare_digest(given.password.encode(), (password or "").encode())
        if password is None or not is_right:
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    return check
