"""Edits of block weights: each gives the parameter's new value, in the shortest form that says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..architecture import Architecture
from ..block_rules import key_rule
from ..errors import MergeError, RecipeError, nearest
from ..expression import (
    Call,
    ListValue,
    Node,
    PresetValue,
    Rules,
    children,
    number_node,
    spell,
    with_children,
)
from ..number_lists import presets
from ..random_weights import Draw
from .curves import CURVES
from .draft import Draft
from .lane_weights import (
    MOST_DECIMALS,
    LaneWeights,
    changed_weights,
    lane_weights,
    shown_number,
    whole_lanes,
    written_weights,
)
from .layers import keys_of_layers, with_layers
from .mixer_view import Mixed, has_blocks
from .problem import FieldError

Values = Mapping[str, Fraction | None]
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e-?\d{1,2})?(/[1-9]\d{0,8})?", re.IGNORECASE)
_LONGEST = 40


def exact(value: Any, field: str) -> Fraction:
    """A number as the page sends it or a person types it; a float is its shortest decimal text."""
    text = repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if isinstance(text, str):
        text = text.strip().replace("−", "-")
        if len(text) <= _LONGEST and _DECIMAL.fullmatch(text):
            whole, _, divisor = text.partition("/")
            return Fraction(whole) / int(divisor or 1)
    raise FieldError(f"'{str(value)[:_LONGEST]}' is no number.", field)


def weights_value(shown: Mixed, values: Values, draft: Draft) -> Node:
    """The parameter's value after some lanes, or transformer layers of blocks, were set.

    None links a lane or a layer again, and gives a block the single number.
    """
    layers = {name: value for name, value in values.items() if name in keys_of_layers(shown.architecture.name)}
    if not layers:
        return _lanes_value(shown, values, draft)
    lanes = {name: value for name, value in values.items() if name not in layers}
    base = _lanes_value(shown, lanes, draft) if lanes else shown.value
    return _shortest(with_layers(_entries(base), layers, shown.weights.slots))


def _lanes_value(shown: Mixed, values: Values, draft: Draft) -> Node:
    known = shown.weights.values
    for name in values:
        if name not in known:
            raise FieldError(f"{shown.architecture.title} has no lane '{str(name)[:_LONGEST]}'.", "values")
    if not shown.weights.is_plain:
        return _with_lane_rules(shown, values)
    wanted = changed_weights(shown.weights, shown.architecture, values)
    plain = written_weights(wanted)
    default = dict(shown.value.entries).get("*") if isinstance(shown.value, Rules) else shown.value
    if default is not None and isinstance(plain, Rules) and plain.entries[0] == ("*", default):
        plain = Rules((("*", default), *plain.entries[1:]))  # as it is spelled
    if not isinstance(default, PresetValue):
        return plain
    kept = _with_lane_rules(shown, values)
    with_preset = _read(shown, kept, draft)
    same = (with_preset.slots, with_preset.lanes, with_preset.apart) == (wanted.slots, wanted.lanes, wanted.apart)
    return kept if same and len(spell(kept)) < len(spell(plain)) else plain


def list_value(shown: Mixed, text: str, draft: Draft) -> Node:
    """A pasted list; lanes that stand apart and rules for parts of blocks stay."""
    numbers = [exact(part, "text") for part in re.split(r"[\s,;]+", text.strip(" \t\r\n[](),;")) if part]
    if len(numbers) == len(shown.architecture.slots) and shown.weights.is_plain:
        return weights_value(shown, dict(zip(shown.architecture.slots, numbers, strict=True)), draft)
    return _with_default(shown, ListValue(tuple(number_node(number) for number in numbers)))


def preset_value(shown: Mixed, name: str) -> Node:
    """A preset by its name; lanes that stand apart and rules for parts of blocks stay."""
    if name not in presets():
        raise FieldError(f"there is no preset '{name[:_LONGEST]}'.{nearest(name, presets())}", "name")
    return _with_default(shown, PresetValue(name))


def rules_value(shown: Mixed, text: str, draft: Draft) -> Node:
    """Lines such as `IN04-IN08:attn2:0.6` in the place of the rules for parts of blocks; a line for whole lanes sets these."""
    parts: list[tuple[str, Node]] = []
    values: dict[str, Fraction | None] = {}
    for line in filter(None, (line.strip().rstrip(",") for line in text.splitlines())):
        place, _, number = line.rpartition(":")
        pattern = place.strip().replace(":", "/", 1).replace(" ", "")
        if not pattern:
            raise FieldError(f"'{line[:_LONGEST]}' is no rule: write it as IN04-IN08:attn2:0.6.", "text")
        value = exact(number, "text")
        lanes = whole_lanes(pattern, shown.architecture)
        try:
            key_rule(pattern, value, shown.architecture)
        except RecipeError as error:
            raise FieldError(error.message, "text") from None
        if lanes is None:
            parts.append((pattern, number_node(value)))
        else:
            values |= dict.fromkeys(["BASE"] if pattern == "BASE" else sorted(lanes), value)
    base = weights_value(shown, values, draft) if values else shown.value
    kept = [(pattern, value) for pattern, value in _entries(base) if _is_whole(pattern, shown.architecture)]
    return _shortest([*kept, *parts])


def curve_value(shown: Mixed, curve: str, lanes: Sequence[str], draft: Draft) -> Node:
    """Some lanes' weights, in the order of the data, as a curve makes them; in hundredths."""
    if curve not in CURVES:
        raise FieldError(f"there is no curve '{str(curve)[:_LONGEST]}'. Known: {', '.join(CURVES)}.", "curve")
    order = _in_order(shown, lanes)
    values = shown.weights.values
    return weights_value(shown, dict(zip(order, CURVES[curve]([values[lane] for lane in order]), strict=True)), draft)


def random_value(shown: Mixed, seed: int, low: Fraction, high: Fraction, lanes: Sequence[str], draft: Draft) -> Node:
    """Numbers drawn for some lanes; each depends on the seed, the step, the parameter and its lane alone."""
    order = _in_order(shown, lanes)
    limits = (number_node(low), number_node(high))
    letters = Rules(tuple((lane, Call("X", limits, ())) for lane in order))
    call = Call(shown.reading.method, (), ((shown.parameter, letters),))
    try:
        drawn = Draw(seed)(shown.written.line.name, call, draft.checker)
    except MergeError as error:
        raise FieldError(getattr(error, "message", str(error)), "low") from None
    assert isinstance(drawn, Call)
    rules = drawn.parameters[0][1]
    assert isinstance(rules, Rules)
    return weights_value(shown, {lane: draft.checker.number(value) for lane, value in rules.entries}, draft)


def scale_value(shown: Mixed, factor: Fraction, draft: Draft) -> Node:
    """The same curve at another strength: every number times `factor`, in ten-thousandths."""

    def scaled(node: Node) -> Node:
        if isinstance(node, PresetValue):
            return ListValue(tuple(scaled(number_node(value)) for value in shown.weights.slots.values()))
        if isinstance(node, (ListValue, Rules)):
            return with_children(node, [scaled(child) for child in children(node)])
        return number_node(Fraction(shown_number(draft.checker.number(node) * factor, MOST_DECIMALS)))

    return scaled(shown.value)


def blocks_value(shown: Mixed, on: bool) -> Node:
    """Block weights turned on, all at the single number, or off."""
    alpha = number_node(shown.weights.alpha)
    if not on:
        return alpha
    return shown.value if has_blocks(shown.value) else ListValue((alpha,) * len(shown.architecture.slots))


def _in_order(shown: Mixed, lanes: Sequence[str]) -> list[str]:
    wanted = set(map(str, lanes))
    if strangers := wanted - set(shown.weights.values):
        raise FieldError(f"{shown.architecture.title} has no lane '{min(strangers)[:_LONGEST]}'.", "lanes")
    return [lane for lane in dict.fromkeys((*shown.architecture.slots, *shown.architecture.lanes)) if lane in wanted]


def _with_default(shown: Mixed, default: Node) -> Node:
    """Another default; of the rules for whole lanes those stay that set apart what is not in the list."""
    outside = {lane for lane, slot in shown.architecture.lanes.items() if lane != slot}
    entries = list(shown.value.entries) if isinstance(shown.value, Rules) else []
    kept = [each for each in entries if each[0] in outside or not _is_whole(each[0], shown.architecture)]
    return _shortest([("*", default), *kept])


def _with_lane_rules(shown: Mixed, values: Values) -> Node:
    """The value with rules for single lanes, each where it changes nothing but the lane: before later rules for parts of it."""
    entries = _entries(shown.value)
    for name, value in values.items():
        is_slot = name in shown.weights.slots
        covering = [index for index, (pattern, _) in enumerate(entries) if _covers(pattern, name, shown.architecture)]
        last = covering[-1] if covering else -1
        if value is None and not is_slot:
            entries = [entry for entry in entries if entry[0] != name]
            continue
        entry = (name, number_node(shown.weights.alpha if value is None else value))
        if covering and entries[last][0] == name:
            entries[last] = entry
        else:
            entries.insert(max(last + 1, int(entries[:1] != [] and entries[0][0] == "*")), entry)
    return _shortest(entries)


def _covers(pattern: str, name: str, architecture: Architecture) -> bool:
    if pattern == "*":
        return False
    lanes = whole_lanes(pattern, architecture) or frozenset()
    return name in lanes or pattern == name


def _is_whole(pattern: str, architecture: Architecture) -> bool:
    return pattern == "*" or whole_lanes(pattern, architecture) is not None


def _entries(value: Node) -> list[tuple[str, Node]]:
    return list(value.entries) if isinstance(value, Rules) else [("*", value)]


def _shortest(entries: Sequence[tuple[str, Node]]) -> Node:
    return entries[0][1] if len(entries) == 1 and entries[0][0] == "*" else Rules(tuple(entries))


def check_value(shown: Mixed, value: Node, draft: Draft, field: str) -> None:
    """FieldError where a value does not fit the architecture, such as a list of another length."""
    try:
        _read(shown, value, draft)
    except RecipeError as error:
        raise FieldError(error.message, field) from None


def _read(shown: Mixed, value: Node, draft: Draft) -> LaneWeights:
    """What another value would be on the architecture."""
    neutral = Fraction(str(shown.param.neutral))
    return lane_weights(draft.checker.weights(value), shown.architecture, neutral, shown.weights.alpha)
