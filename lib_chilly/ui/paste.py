"""What was pasted or dropped, for review: nothing is replaced before the user says so."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import Any

from ..errors import MergeError
from ..header import quoted
from ..host.base import GenParams
from .comes_to import Knowledge
from .pasted import LARGEST_HEAD, Pasted, Reader
from .problem import FieldError
from .questions import Page, question
from .recipe_edits import edited
from .recipe_view import look

_LONGEST_NAME = 300


@question
def paste(page: Page, text: str | None = None, file: dict | None = None, into: dict | None = None) -> dict[str, Any]:
    """What a text or a file is, as a recipe beside the one that is there."""
    reader = Reader(page.host.samplers(), page.room.params or GenParams(prompt=""), page.host.schedulers())
    if file is not None:
        name, head = _file(file)
        found = reader.file(name, head)
    elif text is not None:
        found = reader.text(text)
    else:
        raise FieldError("there is neither a text nor a file in it.", "text")
    recipe, step = found.text, None
    if found.numbers:
        recipe, step = _with_numbers(page, found, into)
    here = str((into or {}).get("text") or "")
    text = here if recipe is None else recipe  # the parameters of a picture alone change no recipe
    return {
        "kind": found.kind,
        "title": found.title[:1].upper() + found.title[1:],
        "text": text,
        "notes": list(found.notes),
        "view": look(page, text, step),
        "params": dataclasses.asdict(found.params) if found.params else None,
        "sources": [{"name": each.name, "bytes": each.size_bytes, "sha256": each.sha256} for each in found.sources],
    }


def _file(file: dict) -> tuple[str, bytes]:
    name, head = file.get("name"), file.get("head")
    if not isinstance(name, str) or not isinstance(head, str):
        raise FieldError("a file comes with its name and its first bytes.", "file")
    name = name[-_LONGEST_NAME:]
    if len(head) > LARGEST_HEAD * 4 // 3 + 4:
        raise FieldError(f"{quoted(name)}: more than the first {LARGEST_HEAD >> 20} MiB came. Load the page again.", "file")
    try:
        return name, base64.b64decode(head, validate=True)
    except (ValueError, binascii.Error):
        raise FieldError(f"{quoted(name)} did not come whole. Drop it again.", "file") from None


def _with_numbers(page: Page, found: Pasted, into: dict | None) -> tuple[str, str]:
    """The recipe that is there with numbers in its open step."""
    text, step = (into or {}).get("text"), (into or {}).get("step")
    if not isinstance(text, str) or not isinstance(step, str):
        raise MergeError(f"these are {found.title}, for a step. Open the step that they are meant for, then paste them again.")
    edit = {"do": "list", "step": step, "text": ", ".join(found.numbers)}
    return edited(text, step, edit, page.host.library(), page.one(Knowledge)).text, step
