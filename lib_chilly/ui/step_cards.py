"""A recipe's steps as cards: the method that each is, its operands and parameters, its formula on one line."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ..architecture import Architecture
from ..errors import RecipeError
from ..expression import Constant, ModelRef, Node, StepRef, spell, walk
from ..models import ModelLibrary
from .draft import Draft, Written
from .lane_weights import shown_number
from .mixer_view import has_blocks, mixed, plain_name
from .step_reading import EXPRESSION, Reading, read_step
from .text_offsets import Offsets

Piece = list[Any]
"""[text, whether it is a name]."""

_OPERAND_KINDS = {StepRef: "step", ModelRef: "model"}


def step_card(
    written: Written, draft: Draft, offsets: Offsets, used: set[str], library: ModelLibrary, architecture: Architecture
) -> dict[str, Any]:
    """STEP as docs/page-protocol.md has it."""
    name = written.line.name
    reading = read_step(written.line.expression, draft.checker)
    method = reading.registered
    return {
        "name": name,
        "line": draft.text.count("\n", 0, written.start) + 1,
        "start": offsets(written.start),
        "end": offsets(written.end),
        "expression": draft.text[slice(*written.body)],
        "method": reading.method,
        "title": method.title.lower() if method else EXPRESSION,
        "formula": _formula(reading, written, draft),
        "operands": _operands(reading, draft, library),
        "parameters": _parameters(reading, draft),
        "share": _share(reading, written, draft, architecture),
        "whole": reading.method == "add_difference",
        "used": name in used,
    }


def number_of(node: Node, draft: Draft) -> Fraction | None:
    """What a parameter's value comes to where it is one number; None for block weights and what is no number."""
    if has_blocks(node):
        return None
    try:
        return draft.checker.number(node)
    except (RecipeError, KeyError):
        return None


def used_names(draft: Draft) -> set[str]:
    """The lines that the result needs, as far as that can be told."""
    result = draft.result()
    todo, found = [result.line.name] if result else [], set()
    while todo:
        name = todo.pop()
        written = draft.named(name)
        if written is not None and name not in found:
            found.add(name)
            todo += [node.name for node in walk(written.line.expression) if isinstance(node, (StepRef, Constant))]
    return found


def _operands(reading: Reading, draft: Draft, library: ModelLibrary) -> list[dict[str, Any]]:
    method = reading.registered
    if method is None:
        return []
    many = method.takes_any_number
    roles = [f"Model {number + 1}" if many else "ABCDEFGH"[number] for number in range(len(reading.operands) - reading.named)]
    roles += [name.capitalize() for name in method.named]
    if reading.method == "add_difference":
        roles[2] = "minus C"
    return [
        {
            "role": role,
            "text": node.name if isinstance(node, (StepRef, ModelRef)) else draft.source(node) or spell(node),
            "kind": _OPERAND_KINDS.get(type(node), EXPRESSION),
            "missing": isinstance(node, ModelRef) and not library.knows(node.name),
        }
        for role, node in zip(roles, reading.operands, strict=True)
    ]


def _parameters(reading: Reading, draft: Draft) -> list[dict[str, Any]]:
    method = reading.registered
    found = []
    for name, (param, _) in method.parameters.items() if method else ():
        node = reading.value(name)
        number = number_of(node, draft)
        found.append(
            {
                "name": name,
                "text": draft.source(node) or spell(node),
                "value": None if number is None else float(number),
                "low": param.low,
                "high": param.high,
                "per_block": param.per_block,
                "blocks": has_blocks(node),
            }
        )
    return found


def _share(reading: Reading, written: Written, draft: Draft, architecture: Architecture) -> float | None:
    """B's share of the line under the card; with block weights their mean."""
    if reading.method == "mean":
        return 1 - 1 / len(reading.operands)
    if reading.method not in ("weighted_sum", "add_difference"):
        return None
    number = number_of(reading.value("alpha"), draft)
    if number is None:
        try:
            shown = mixed(draft, written.line.name, "alpha", architecture)
        except RecipeError:
            return None
        values = list(shown.weights.slots.values()) if shown else []
        number = sum(values, Fraction(0)) / len(values) if values else None
    return None if number is None else float(number)


def _formula(reading: Reading, written: Written, draft: Draft) -> list[Piece]:
    method = reading.registered
    if method is None:
        return _as_written(written, draft)
    names: list[Piece] = [[plain_name(operand), True] for operand in reading.operands]
    alpha = reading.value("alpha") if "alpha" in method.parameters else None
    number = number_of(alpha, draft) if alpha else None
    if reading.method == "weighted_sum":
        a, b = names
        if number is None:
            return [["block weights from ", False], a, [" to ", False], b]
        return [[f"{_shown(1 - number)} ", False], a, [f" {_signed(number)} ", False], b]
    if reading.method == "add_difference":
        a, b, c = names
        times = " + block weights (" if number is None else f" {_signed(number)} ("
        return [a, [times, False], b, [" − ", False], c, [")", False]]
    pieces: list[Piece] = [["mean of " if reading.method == "mean" else f"{method.title.lower()} of ", False]]
    for number_, piece in enumerate(names):
        pieces += [[", ", False], piece] if number_ else [piece]
    for name, (param, _) in method.parameters.items():
        value = number_of(reading.value(name), draft)
        if param.keys and value == 0:  # it has many of these, and changes nothing
            continue
        pieces.append([f", {name} {'by blocks' if value is None else _shown(value)}", False])
    return pieces


def _as_written(written: Written, draft: Draft) -> list[Piece]:
    """An expression as it stands, its names told apart."""
    places = sorted(
        draft.spans[id(node)]
        for node in walk(written.line.expression)
        if isinstance(node, (StepRef, ModelRef, Constant)) and id(node) in draft.spans
    )
    pieces: list[Piece] = []
    at = written.body[0]
    for start, end in places:
        pieces += [[draft.text[at:start], False], [draft.text[start:end], True]]
        at = end
    pieces.append([draft.text[at : written.body[1]], False])
    return [[" ".join(text.split()) if "\n" in text else text, is_name] for text, is_name in pieces if text]


def _shown(number: Fraction) -> str:
    return shown_number(number).replace("-", "−")


def _signed(number: Fraction) -> str:
    return f"− {_shown(-number)}" if number < 0 else f"+ {_shown(number)}"
