"""What the mixer shows of a step: the weights of one of its parameters on the architecture's lanes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..architecture import Architecture
from ..blocks import in_words, resolve, weights_in_words
from ..errors import RecipeError
from ..expression import ListValue, Node, PresetValue, Rules, spell
from ..signature import Param
from .draft import Draft, Written
from .lane_weights import LaneWeights, lane_weights, shown_number
from .step_reading import Reading, read_step

MOST_NUMBERS = 6
"""Of different weights that are said one by one."""
_FROM_A = ("weighted_sum", "add_difference", "weighted_subtraction")
"""Methods that leave A as it is where a parameter of theirs is 0."""
_LITTLE, _HALF, _MOST = Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)


@dataclass(frozen=True)
class Mixed:
    """A parameter that the mixer can show, and what its value is on an architecture."""

    written: Written
    reading: Reading
    parameter: str
    architecture: Architecture
    weights: LaneWeights

    @property
    def param(self) -> Param:
        assert self.reading.registered is not None
        return self.reading.registered.parameters[self.parameter][0]

    @property
    def value(self) -> Node:
        return self.reading.value(self.parameter)


def block_parameters(reading: Reading) -> list[str]:
    """The parameters that may differ between blocks."""
    method = reading.registered
    return [name for name, (param, _) in method.parameters.items() if param.per_block] if method else []


def mixed(draft: Draft, step: str, parameter: str | None, architecture: Architecture) -> Mixed | None:
    """What the mixer has to do with a step; None where nothing of it may differ between blocks.

    Args:
        parameter: None for the first.

    Raises:
        RecipeError: the weights do not fit the architecture.
    """
    written = draft.named(step)
    if written is None or written.line.is_constant:
        return None
    reading = read_step(written.line.expression, draft.checker)
    names = block_parameters(reading)
    if not names:
        return None
    name = parameter if parameter in names else names[0]
    method = reading.registered
    assert method is not None
    param, default = method.parameters[name]
    value = reading.value(name)
    try:
        weights = lane_weights(draft.checker.weights(value), architecture, Fraction(str(param.neutral)), Fraction(str(default)))
    except RecipeError as error:
        raise (error if error.position is not None else error.at(draft.text, value.position or written.start)) from None
    return Mixed(written, reading, name, architecture, weights)


def mixer_view(shown: Mixed, draft: Draft) -> dict[str, Any]:
    """MIXER as docs/page-protocol.md has it."""
    weights, method = shown.weights, shown.reading.registered
    assert method is not None
    a, b = _sides(shown)
    numbers = list(weights.slots.values())
    return {
        "step": shown.written.line.name,
        "parameter": shown.parameter,
        "net": shown.architecture.name,
        "a": a,
        "b": b,
        "pair": [plain_name(operand) for operand in shown.reading.operands[:2]],
        "from_a": method.name in _FROM_A or method.ends.get((shown.parameter, 0)) == method.operands[0],
        "whole": method.name in ("add_difference", "free_sum"),
        "on": has_blocks(shown.value),
        "alpha": float(weights.alpha),
        "values": {name: float(value) for name, value in weights.values.items()},
        "layers": {name: float(value) for name, value in weights.layers.items()},
        "linked": [lane for lane, slot in shown.architecture.lanes.items() if lane != slot and lane not in weights.apart],
        "list": [float(number) for number in numbers],
        "list_text": ", ".join(shown_number(number) for number in numbers),
        "rules": "\n".join(_rule_line(pattern, value) for pattern, value in weights.parts),
        "outside": _outside(shown),
        "addresses": _addresses(draft),
    }


def words_of(shown: Mixed, draft: Draft) -> str:
    """What the weights do, in words."""
    first, second = _sides(shown)
    param = shown.param
    resolved = resolve(draft.checker.weights(shown.value), shown.architecture, Fraction(str(param.neutral)))
    if shown.reading.method == "weighted_sum":
        return in_words(resolved, shown.architecture, first, second)
    if shown.reading.method == "add_difference":
        return weights_in_words(
            resolved,
            shown.architecture,
            lambda value: f"{first} alone" if value == 0 else f"{first} + {shown_number(value)} ({second})",
        )
    return weights_in_words(resolved, shown.architecture, lambda value: f"{shown.parameter} {shown_number(value)}")


def shortened(words: str, shown: Mixed, draft: Draft) -> str:
    """The words; of a weighted sum with many different numbers, which model each block is mostly from."""
    if shown.reading.method != "weighted_sum" or len(set(shown.weights.slots.values())) <= MOST_NUMBERS:
        return words
    first, second = _sides(shown)
    resolved = resolve(draft.checker.weights(shown.value), shown.architecture, Fraction(str(shown.param.neutral)))
    says = {Fraction(0): f"from {first}", _LITTLE: f"mostly {first}", _HALF: "about half", _MOST: f"mostly {second}"}
    says[Fraction(1)] = f"from {second}"
    rough = replace(resolved, lanes={lane: _rough(value) for lane, value in shown.weights.lanes.items()}, fine=None)
    return weights_in_words(rough, shown.architecture, lambda value: says.get(value, f"{shown_number(value)} of {second}"))


def _rough(value: Fraction) -> Fraction:
    if not 0 < value < 1:
        return value
    return _LITTLE if value < Fraction(35, 100) else _MOST if value > Fraction(65, 100) else _HALF


def has_blocks(value: Node) -> bool:
    """Whether a parameter's value says block weights."""
    return isinstance(value, (ListValue, PresetValue, Rules))


def plain_name(node: Node) -> str:
    """An operand as people say it: a name without quotes."""
    return getattr(node, "name", None) or spell(node)


def _sides(shown: Mixed) -> tuple[str, str]:
    """What 0 and 1 stand for."""
    names = [plain_name(operand) for operand in shown.reading.operands]
    method, parameter = shown.reading.method, shown.parameter
    if method == "add_difference":
        return names[0], f"{names[1]} − {names[2]}"
    if method == "free_sum":
        return "nothing", names[0 if parameter == "alpha" else min(1, len(names) - 1)]
    if parameter == "beta" and len(names) > 2:
        return (f"{names[0]} and {names[1]}" if method == "sum_twice" else names[0]), names[2]
    return names[0], names[1] if len(names) > 1 else names[0]


def _rule_line(pattern: str, value: Fraction) -> str:
    return f"{pattern.replace('/', ':', 1)}:{shown_number(value, 10)}"


def _outside(shown: Mixed) -> list[str]:
    param, parameter = shown.param, shown.parameter
    found: dict[Fraction, str] = {}
    for name, value in {**shown.weights.values, **dict(shown.weights.parts)}.items():
        if not param.low <= value <= param.high:
            found.setdefault(value, name)
    whole = len(set(shown.weights.values.values())) == 1
    return [
        f"{parameter}{'' if whole else f' of {name}'} is {shown_number(value)}, outside {param.low:g} to {param.high:g}"
        for value, name in found.items()
    ]


def _addresses(draft: Draft) -> list[dict[str, str]]:
    """All that the mixer can show."""
    return [
        {"step": written.line.name, "parameter": name}
        for written in draft.steps
        for name in block_parameters(read_step(written.line.expression, draft.checker))
    ]
