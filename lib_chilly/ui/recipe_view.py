"""Everything that the page shows of a recipe, from its text and headers alone: cards, mixer, fold, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..architecture import Architecture, load
from ..errors import MergeError, RecipeError
from ..models import ModelLibrary
from ..notations import read_recipe
from .comes_to import Knowledge
from .draft import Draft, place_of, read_draft
from .fixes import fixes_of
from .mixer_view import Mixed, mixed, mixer_view, shortened, words_of
from .questions import Page, question
from .step_cards import number_of, step_card, used_names
from .text_offsets import Offsets

USUAL = "sd1"
"""The architecture whose blocks are shown where no file tells."""
WITHOUT_BLOCKS = "A VAE by itself has no blocks to weigh: its one weight stands in the step's card."
_MOST_FIXED = 2
"""Mistakes that fixes are looked for, since that takes its time."""


class CurrentRecipe:
    """What stands on the page that was changed last; grids of the webui act on it.

    Attributes:
        text: empty until a page was opened.
    """

    text = ""


@question
def look(page: Page, text: str, step: str | None = None, parameter: str | None = None, current: bool = False) -> dict[str, Any]:
    """What there is to show of a text; `current` says that it stands on the page from now on."""
    if current:
        page.one(CurrentRecipe, CurrentRecipe).text = text
    return view_of(text, step, parameter, page.host.library(), page.one(Knowledge))


def view_of(text: str, step: str | None, parameter: str | None, library: ModelLibrary, knowledge: Knowledge) -> dict[str, Any]:
    """VIEW as docs/page-protocol.md has it.

    Args:
        step: the one to open; where there is no such step, the result is.
        parameter: that the mixer shows; None for the step's first.
    """
    draft = read_draft(text)
    if draft.errors and step is None and (own := _in_our_notation(text)):
        draft = read_draft(own)
    offsets = Offsets(draft.text)
    result = draft.result()
    opened = draft.named(step)
    if opened is None or opened.line.is_constant:
        opened = result
    name = opened.line.name if opened else None
    errors: list[Exception] = list(draft.errors)
    known = knowledge.architecture(draft, library)
    architecture = load(known or USUAL)
    unmixed = _unmixed(draft, known, library, knowledge)
    shown = _mixed(draft, name, parameter, architecture, errors)
    found = knowledge.comes_to(draft, name, library, errors)
    used = used_names(draft)
    words = words_of(shown, draft) if shown else ""
    return {
        "text": draft.text,
        "ok": draft.recipe is not None and not errors,
        "errors": _errors(errors, draft, offsets, library),
        "warnings": list(found.warnings),
        "notes": _notes(found.notes, words, None if known or unmixed or not draft.steps else architecture),
        "constants": _constants(draft),
        "steps": [step_card(written, draft, offsets, used, library, architecture) for written in draft.steps],
        "result": result.line.name if result else None,
        "step": name,
        "architecture": known,
        "mixer": mixer_view(shown, draft) if shown and not unmixed else None,
        "unmixed": unmixed,
        "fold": found.fold,
        "words": shortened(words, shown, draft) if shown else "",
        "plan": found.plan and {**found.plan, "checks_bytes": knowledge.checks_bytes(draft.recipe, library)},
        "save": {option: value for option, (value, _) in draft.save[2].items()} if draft.save else {},
    }


def _in_our_notation(text: str) -> str | None:
    """A model card's or another merger's recipe as ours, where a page begins with one; None where it is none."""
    try:
        return read_recipe(text).canonical()
    except (MergeError, RecursionError):
        return None


def _mixed(
    draft: Draft, step: str | None, parameter: str | None, architecture: Architecture, errors: list[Exception]
) -> Mixed | None:
    try:
        return mixed(draft, step, parameter, architecture) if step else None
    except RecipeError as error:
        errors.append(error)
        return None
    except KeyError:  # a constant that cannot be read
        return None


def _notes(found: Sequence[str], words: str, guessed: Architecture | None) -> list[str]:
    """The notes but those that the words say already, and that the architecture is a guess."""
    notes = [note for note in found if not (words and note.endswith(f": {words}"))]
    if guessed:
        notes.append(f"No file of this recipe is here to tell its architecture: the blocks shown are those of {guessed.title}.")
    return notes


def _unmixed(draft: Draft, known: str | None, library: ModelLibrary, knowledge: Knowledge) -> str | None:
    """Why the files that are there have no mixer: it is not known what their blocks are, or they have none."""
    if known:
        return None if len(load(known).slots) > 1 else WITHOUT_BLOCKS
    strangers = [name for name, kind in knowledge.kinds(draft, library).items() if kind == ""]
    return f"'{strangers[0]}' is of no architecture that is known here, so it has no blocks to weigh." if strangers else None


def _constants(draft: Draft) -> list[dict[str, Any]]:
    found = []
    for written in draft.lines:
        if written.line.is_constant:
            number = number_of(written.line.expression, draft)
            value = None if number is None else float(number)
            found.append({"name": written.line.name, "text": draft.text[slice(*written.body)], "value": value})
    return found


def _errors(errors: list[Exception], draft: Draft, offsets: Offsets, library: ModelLibrary) -> list[dict[str, Any]]:
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for error in errors:
        start, end = place_of(error, draft.text) if isinstance(error, RecipeError) else (0, 0)
        message = error.message if isinstance(error, RecipeError) else str(error)
        if (start, message) in found:
            continue
        line = draft.text.count("\n", 0, start) + 1
        found[start, message] = {
            "message": f"Line {line}: {message}" if end else message,
            "line": line,
            "column": start - draft.text.rfind("\n", 0, start),
            "start": offsets(start),
            "end": offsets(end),
            "fixes": fixes_of(error, draft.text, library) if len(found) < _MOST_FIXED else [],
        }
    return list(found.values())
