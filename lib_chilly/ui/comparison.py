"""Two recipes side by side: their canonical lines, and the coefficients that they fold to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..block_rules import runs
from ..errors import MergeError
from ..expression import spell
from ..notations import read_recipe
from ..plan import Plan, make_plan
from ..recipe import Recipe

if TYPE_CHECKING:
    from ..models import ModelLibrary

MOST_LINES = 400


def compared(left: str, right: str, library: ModelLibrary) -> dict[str, Any]:
    """`{"lines", "fold", "says"}` as docs/page-protocol.md has them; what a recipe without its models folds to is not known."""
    first, second = (_lines(text) for text in (left, right))
    lines = [
        {"name": name, "left": first.get(name), "right": second.get(name), "same": first.get(name) == second.get(name)}
        for name in _in_order(list(first), list(second))
    ]
    says, folds = list[str](), list[Mapping[str, str]]()
    for text in (left, right):
        try:
            folds.append(folded(make_plan(read_recipe(text), library)))
        except MergeError as error:
            folds.append({})
            says.append(str(error).split("\n", maxsplit=1)[0])
    names = _in_order(list(folds[0]), list(folds[1]))
    fold = [{"name": name, "left": folds[0].get(name), "right": folds[1].get(name)} for name in names]
    return {"lines": lines, "fold": fold, "says": list(dict.fromkeys(says))}


def folded(plan: Plan) -> dict[str, str]:
    """Each source's coefficient: one number, or the lanes of each number. Keys that a rule sets apart or some source lacks
    are left out."""
    lanes = [row for row in plan.ordered_rows() if row.label == row.lane and row.lane in plan.architecture.lanes]
    order = list(plan.architecture.lanes)
    found = {}
    for number, source in enumerate(plan.sources):
        by_value: dict[Fraction, list[str]] = {}
        for row in lanes:
            by_value.setdefault(row.exact.get(number, Fraction(0)), []).append(row.lane)
        if any(by_value):
            parts = [(_number(value), runs(named, order)) for value, named in by_value.items()]
            found[source.name] = parts[0][0] if len(parts) == 1 else ", ".join(f"{value} in {where}" for value, where in parts)
    return found


def _lines(text: str) -> dict[str, str]:
    """Name to right side of each line of the canonical text, and each save option."""
    try:
        recipe = read_recipe(text)
    except MergeError:
        return {f"line {number}": line for number, line in enumerate(text.splitlines()[:MOST_LINES], 1)}
    return _canonical(recipe)


def _canonical(recipe: Recipe) -> dict[str, str]:
    found = {line.name: spell(line.expression) for line in recipe.lines}
    return found | {f"save({name})": value for name, value in recipe.save}


def _in_order(first: list[str], second: list[str]) -> list[str]:
    """The names of both, each once, such that both orders show."""
    found: dict[str, None] = {}
    for kind, start, end, other, last in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        found |= dict.fromkeys(first[start:end])
        if kind != "equal":
            found |= dict.fromkeys(second[other:last])
    return list(found)


def _number(value: Fraction) -> str:
    return f"{float(value):.4g}"
