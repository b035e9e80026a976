"""What the page shows of the history, and what its buttons there do."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from ..errors import MergeError
from ..history import Entry, History
from ..host.base import GenParams
from ..models import without_suffix
from ..notations import read_recipe
from ..plan import make_plan
from ..recipe import Line, Recipe
from .comparison import compared
from .infotext import read_infotext
from .open_step import OpenStep
from .picture_params import read_params
from .problem import FieldError
from .questions import Page, question
from .thumbnails import as_address, thumbnail
from .work import Work

EXPORT = "chillymerge-history.json"
_LONGEST_TITLE = 120
_MOST_LOOKED_AT = 40
"""Pictures of a page among which a saved file's is looked for."""


def history_of(page: Page) -> History:
    """The server's history."""
    return page.one(History, History)


@question
def history(page: Page, search: str = "", pinned: bool = False, before: int | None = None, count: int = 30) -> dict[str, Any]:
    """The newest entries that fit."""
    kept = history_of(page)
    found, more = kept.rows(search[:1000], pinned, before, count)
    return {"rows": [row_of(entry) for entry in found], "more": more, "says": list(kept.notices)}


@question
def keep(page: Page, text: str, step: str, params: dict, image: dict) -> dict[str, Any]:
    """Keep a picture that was made here, with its recipe."""
    picture = page.one(Work, Work).picture(page.name, image.get("job"), image.get("id"))
    if picture is None:
        raise FieldError("this picture is no longer here; make it again, then keep it.", "image")
    host = page.host
    taken = read_params(params, host.samplers(), host.schedulers(), host.styles())
    entry = entry_of(page, OpenStep(read_recipe(text), step).recipe, kind="picture")
    small = thumbnail(str(picture.get("image", "")))
    kept = dataclasses.replace(entry, prompt=taken.prompt, params=dataclasses.asdict(taken), thumbnail=small)
    return row_of(history_of(page).add(kept))


@question
def history_change(
    page: Page, id: int, note: str | None = None, pinned: bool | None = None, delete: bool = False
) -> dict[str, Any] | None:
    """Write a note, pin, or forget an entry."""
    kept = history_of(page)
    if delete:
        kept.delete(id)
        return None
    return row_of(kept.change(id, note, pinned))


@question
def history_compare(page: Page, ids: list) -> dict[str, Any]:
    """Two entries' recipes side by side."""
    if len(ids) != 2 or not all(type(number) is int for number in ids):
        raise FieldError("two entries are compared; choose two.", "ids")
    left, right = (history_of(page).get(number) for number in ids)
    return compared(left.recipe, right.recipe, page.host.library())


@question
def history_export(page: Page, ids: list | None = None) -> dict[str, Any]:
    """Entries as a JSON text: recipes, notes, parameters, thumbnails."""
    if ids is not None and not all(type(number) is int for number in ids):
        raise FieldError("the entries to export are named by their numbers.", "ids")
    rows = [{**row_of(entry), "when": _when(entry.made, utc=True)} for entry in history_of(page).every(ids)]
    return {"name": EXPORT, "text": json.dumps({"chillymerge_history": 1, "entries": rows}, ensure_ascii=False, indent=1)}


def row_of(entry: Entry) -> dict[str, Any]:
    """ROW as docs/page-protocol.md has it."""
    return {
        "id": entry.number,
        "when": _when(entry.made),
        **{name: getattr(entry, name) for name in ("title", "kind", "recipe", "note", "pinned", "prompt", "architecture")},
        "thumbnail": as_address(entry.thumbnail),
        "params": entry.params,
        "file": entry.file,
        "sources": list(entry.sources),
    }


def with_picture(page: Page, entry: Entry, pictures: list[dict[str, Any]]) -> Entry:
    """An entry with the newest of some pictures that shows its recipe, however it would be saved; else as it is."""
    steps = _steps(entry.recipe)
    for picture in pictures[:_MOST_LOOKED_AT]:
        if picture.get("id") == "merged" and _steps(picture["recipe"]) == steps:
            base, host = page.room.params or GenParams(""), page.host
            params = read_infotext(picture["infotext"], host.samplers(), base, host.schedulers()).params
            small = thumbnail(picture["image"])
            return dataclasses.replace(entry, prompt=params.prompt, params=dataclasses.asdict(params), thumbnail=small)
    return entry


def _steps(text: str) -> tuple[Line, ...] | None:
    try:
        return read_recipe(text).used_lines()
    except MergeError:
        return None


def entry_of(page: Page, recipe: Recipe, kind: str) -> Entry:
    """An entry about a recipe, with what its models say of it as far as they are there."""
    try:
        plan = make_plan(recipe, page.host.library())
        architecture, sources = plan.architecture.name, [source.name for source in plan.sources]
    except MergeError:
        architecture, sources = None, list(dict.fromkeys(without_suffix(model.name) for model in recipe.models()))
    title = (recipe.option("title") or recipe.result)[:_LONGEST_TITLE]
    return Entry(kind, title, recipe.canonical(), architecture=architecture, sources=tuple(sources))


def _when(made: float, utc: bool = False) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)) if utc else time.strftime("%Y-%m-%d %H:%M", time.localtime(made))
    )
