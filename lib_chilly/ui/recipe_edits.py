"""The question `edit`: what a gesture on the page changes in a recipe's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..architecture import load
from ..models import ModelLibrary
from . import likeness_edits, line_edits, step_edits, weight_edits
from .comes_to import Knowledge
from .draft import Draft, Written, read_draft
from .mixer_view import Mixed, mixed
from .problem import FieldError
from .questions import Page, question
from .recipe_view import USUAL, CurrentRecipe, view_of

Edit = Mapping[str, Any]


@dataclass(frozen=True)
class Edited:
    """A recipe after an edit.

    Attributes:
        step: the one to open.
        parameter: that the mixer shows.
    """

    text: str
    step: str | None
    parameter: str | None = None


@question
def edit(page: Page, text: str, edit: dict, step: str | None = None) -> dict[str, Any]:
    """Change a recipe's text, and what there is to show of it then."""
    library, knowledge = page.host.library(), page.one(Knowledge)
    done = edited(text, step, edit, library, knowledge)
    page.one(CurrentRecipe, CurrentRecipe).text = done.text
    return view_of(done.text, done.step, done.parameter, library, knowledge)


def edited(text: str, step: str | None, edit: Edit, library: ModelLibrary, knowledge: Knowledge) -> Edited:
    """Carry out one EDIT of docs/page-protocol.md.

    Args:
        step: the one that is open, meant where the edit names none.

    Raises:
        FieldError, RecipeError: it cannot be done, in one sentence; nothing is changed.
    """
    draft = read_draft(text)
    name = str(edit.get("do"))
    opened = edit.get("step") or step
    if name in _RECIPE_EDITS:
        return _RECIPE_EDITS[name](draft, opened, edit)
    written = draft.named(opened) if isinstance(opened, str) else None
    if written is None:
        raise FieldError(f"there is no step '{str(opened)[:60]}' that can be read.", "step")
    if name in _LINE_EDITS:
        return _LINE_EDITS[name](draft, written, edit)
    if name not in _WEIGHT_EDITS:
        raise FieldError(f"there is no edit '{name[:40]}'.", "do")
    architecture = load(knowledge.architecture(draft, library) or USUAL)
    shown = mixed(draft, written.line.name, edit.get("parameter"), architecture)
    if shown is None:
        raise FieldError(f"'{written.line.name}' has no block weights: choose a method that has.", "step")
    value = _WEIGHT_EDITS[name](shown, edit, draft)
    weight_edits.check_value(shown, value, draft, "text" if "text" in edit else name)
    after = step_edits.set_weights(draft, shown, value)
    if name == "below" and (donor := edit.get("donor")) is not None:
        after = likeness_edits.with_donor(after, written.line.name, donor)
    return Edited(after, written.line.name, shown.parameter)


def _given(edit: Edit, field: str, kind: type | tuple[type, ...]) -> Any:
    value = edit.get(field)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FieldError(f"the edit '{edit['do']}' lacks '{field}', or it is of the wrong kind.", field)
    return value


def _weights(shown: Mixed, edit: Edit, draft: Draft) -> Any:
    given = _given(edit, "values", dict)
    values = {name: None if value is None else weight_edits.exact(value, "values") for name, value in given.items()}
    return weight_edits.weights_value(shown, values, draft)


def _random(shown: Mixed, edit: Edit, draft: Draft) -> Any:
    low, high = (weight_edits.exact(edit.get(field), field) for field in ("low", "high"))
    seed = _given(edit, "seed", int)
    return weight_edits.random_value(shown, seed, low, high, _given(edit, "lanes", list), draft)


_WEIGHT_EDITS: Mapping[str, Callable[[Mixed, Edit, Draft], Any]] = {
    "weights": _weights,
    "list": lambda shown, edit, draft: weight_edits.list_value(shown, _given(edit, "text", str), draft),
    "preset": lambda shown, edit, draft: weight_edits.preset_value(shown, _given(edit, "name", str)),
    "rules": lambda shown, edit, draft: weight_edits.rules_value(shown, _given(edit, "text", str), draft),
    "curve": lambda shown, edit, draft: weight_edits.curve_value(
        shown, _given(edit, "curve", str), _given(edit, "lanes", list), draft
    ),
    "random": _random,
    "scale": lambda shown, edit, draft: weight_edits.scale_value(shown, weight_edits.exact(edit.get("factor"), "factor"), draft),
    "blocks": lambda shown, edit, draft: weight_edits.blocks_value(shown, _given(edit, "on", bool)),
    "below": lambda shown, edit, draft: likeness_edits.value_below(
        shown, edit.get("blocks"), weight_edits.exact(edit.get("limit"), "limit")
    ),
    "likeness": lambda shown, edit, draft: likeness_edits.value_by_likeness(shown, edit.get("blocks")),
}


def _set(draft: Draft, written: Written, edit: Edit) -> Edited:
    parameter = _given(edit, "parameter", str)
    text = _given(edit, "value", str)
    return Edited(step_edits.set_parameter(draft, written, parameter, text), written.line.name, parameter)


def _rename(draft: Draft, written: Written, edit: Edit) -> Edited:
    name = _given(edit, "name", str)
    return Edited(line_edits.rename(draft, written, name), name.strip())


def _remove(draft: Draft, written: Written, edit: Edit) -> Edited:
    text = line_edits.remove(draft, written)
    steps = [step.line.name for step in draft.steps]
    place = steps.index(written.line.name) if written.line.name in steps else 0
    return Edited(text, steps[place - 1] if place else None)


def _duplicate(draft: Draft, written: Written, edit: Edit) -> Edited:
    return Edited(*line_edits.duplicate(draft, written))


_LINE_EDITS: Mapping[str, Callable[[Draft, Written, Edit], Edited]] = {
    "set": _set,
    "operand": lambda draft, written, edit: Edited(
        step_edits.set_operand(draft, written, edit.get("index"), edit.get("name")), written.line.name
    ),
    "method": lambda draft, written, edit: Edited(step_edits.set_method(draft, written, edit.get("method")), written.line.name),
    "swap": lambda draft, written, edit: Edited(step_edits.swap(draft, written), written.line.name),
    "rename": _rename,
    "duplicate": _duplicate,
    "remove": _remove,
    "move": lambda draft, written, edit: Edited(line_edits.move(draft, written, _given(edit, "to", int)), written.line.name),
}


def _add(draft: Draft, step: str | None, edit: Edit) -> Edited:
    return Edited(*line_edits.add_step(draft, _given(edit, "a", str), _given(edit, "b", str)))


def _constant(draft: Draft, step: str | None, edit: Edit) -> Edited:
    return Edited(line_edits.set_constant(draft, _given(edit, "name", str), str(edit.get("value"))), step)


def _option(draft: Draft, step: str | None, edit: Edit) -> Edited:
    value = edit.get("value")
    return Edited(line_edits.set_option(draft, _given(edit, "name", str), None if value is None else str(value)), step)


_RECIPE_EDITS: Mapping[str, Callable[[Draft, str | None, Edit], Edited]] = {
    "add": _add,
    "constant": _constant,
    "option": _option,
}
