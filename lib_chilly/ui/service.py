"""Answers the page's questions: one JSON text in, one JSON text out, whatever was asked and whatever goes wrong."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ..errors import MergeError
from ..host.hidden import without_folders
from .problem import problem_of
from .questions import Page, Room, all_questions, check_arguments

MOST_BYTES = 16 << 20
"""Of one request: 8 MiB of a dropped file in base64, and some text."""
_PAGE = re.compile(r"[A-Za-z0-9]{1,32}")


class Service:
    """What stands behind the page, in the webui and alone."""

    def __init__(self, room: Room):
        self.room = room
        self._questions = all_questions()

    def answer(self, request: str) -> str:
        """The reply to one request; never raises. Called by many threads at once."""
        number = None
        try:
            number, reply = self._answer(request)
        except Exception as error:
            reply = _as_text({"id": _number_in(request, number), "problem": problem_of(error, "question")})
        return without_folders(reply, self.room.host.hidden_folders())

    def close(self) -> None:
        """Stop what is under way; nothing half done is left behind."""
        self.room.close()

    def _answer(self, request: str) -> tuple[int, str]:
        asked = _read(request)
        name, given = asked["ask"], asked.get("with") or {}
        answer = self._questions.get(name)
        if answer is None:
            raise MergeError(f"there is no question '{name}'. Load the page again: it may be older than the server.")
        check_arguments(name, answer, given)
        return asked["id"], _as_text({"id": asked["id"], "reply": answer(Page(asked["page"], self.room), **given)})


def _read(request: Any) -> dict[str, Any]:
    """A request in its form; MergeError for everything else."""
    if not isinstance(request, str):
        raise MergeError("the request is no text.")
    if len(request) > MOST_BYTES:
        raise MergeError(f"this is too much at once: {len(request):,} bytes; {MOST_BYTES:,} are taken.")
    try:
        asked = json.loads(request, parse_constant=_refuse_constant)
        json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise MergeError("the text holds half a character, which cannot be written to a file. Take it out.") from None
    except (ValueError, RecursionError):
        raise MergeError("the request is no JSON.") from None
    forms: dict[str, Any] = {"id": int, "page": str, "ask": str, "with": (dict, type(None))}
    if not isinstance(asked, dict) or any(not isinstance(asked.get(name), form) for name, form in forms.items()):
        raise MergeError("the request has not the form of docs/page-protocol.md.")
    if not _PAGE.fullmatch(asked["page"]):
        raise MergeError("the page's name is not of letters and digits.")
    return asked


def _number_in(request: Any, number: int | None) -> int | None:
    """The number of a request that was refused, as far as it can be read."""
    if number is None and isinstance(request, str):
        match = re.match(r'\{"id": ?(\d{1,15}),', request)
        return int(match[1]) if match else None
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _as_text(reply: dict[str, Any]) -> str:
    return json.dumps(reply, allow_nan=False, separators=(",", ":"))
