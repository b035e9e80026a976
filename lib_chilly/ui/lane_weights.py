"""Block weights as the mixer has them: a number for each slot, lanes that follow or stand apart, rules for parts of blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..architecture import Architecture
from ..block_rules import lanes_of
from ..blocks import BlockWeights, KeyWeights, resolve
from ..decimals import is_decimal, spell_number
from ..expression import ListValue, Node, Rules, number_node
from ..number_lists import slots_of_lanes
from .layers import layers_apart

MOST_DECIMALS = 4
"""Of a weight that is shown."""

Entries = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True)
class LaneWeights:
    """What the mixer shows of a parameter.

    Attributes:
        slots: in the order of a list of numbers.
        lanes: of every lane.
        apart: lanes outside of the list that do not follow their slot.
        parts: rules for parts of blocks, in their order.
        layers: transformer layers that do not have their block's number.
        alpha: the single number where there is one, else the method's default.
        is_plain: whether a list, lanes apart and then `parts` say all of it.
    """

    slots: Mapping[str, Fraction]
    lanes: Mapping[str, Fraction]
    apart: frozenset[str]
    parts: Entries
    layers: Mapping[str, Fraction]
    alpha: Fraction
    is_plain: bool

    @property
    def values(self) -> dict[str, Fraction]:
        """Of every lane and slot."""
        return {**self.lanes, **self.slots}


def lane_weights(weights: BlockWeights, architecture: Architecture, neutral: Fraction, default: Fraction) -> LaneWeights:
    """Block weights on an architecture, as the engine resolves them.

    Args:
        neutral: as of `resolve`.
        default: what the parameter is where nothing is given.

    Raises:
        RecipeError: the weights do not fit the architecture.
    """
    resolved = resolve(weights, architecture, neutral)
    lanes = _by_lane(resolved, architecture)
    outside = [lane for lane, slot in architecture.lanes.items() if lane != slot]
    named = {pattern for pattern, _ in weights.rules if pattern in outside}
    rest = dataclasses.replace(weights, rules=tuple(rule for rule in weights.rules if rule[0] not in named))
    followed = _by_lane(resolve(rest, architecture, neutral), architecture)
    slots = {slot: lanes[slot] if slot in lanes else followed[_leader(slot, architecture)] for slot in architecture.slots}
    apart = {lane for lane in outside if lane in named or lanes[lane] != slots[architecture.lanes[lane]]}
    whole = [rule.label is None for rule in resolved.rules]
    return LaneWeights(
        slots=slots,
        lanes=lanes,
        apart=frozenset(apart),
        parts=tuple(rule for rule, is_whole in zip(weights.rules, whole, strict=True) if not is_whole),
        layers=layers_apart(resolved, (pattern for pattern, _ in weights.rules), architecture, slots),
        alpha=weights.default if isinstance(weights.default, Fraction) else default,
        is_plain=whole == sorted(whole, reverse=True) and resolved.fine is None,
    )


def written_weights(weights: LaneWeights) -> Node:
    """The shortest value that says these weights: one number, a list, or one of them with rules."""
    numbers = list(weights.slots.values())
    default = number_node(numbers[0]) if len(set(numbers)) == 1 else ListValue(tuple(number_node(each) for each in numbers))
    rules = [(lane, weights.lanes[lane]) for lane in weights.lanes if lane in weights.apart]
    entries = [(pattern, number_node(value)) for pattern, value in (*rules, *weights.parts)]
    return Rules((("*", default), *entries)) if entries else default


def changed_weights(weights: LaneWeights, architecture: Architecture, values: Mapping[str, Fraction | None]) -> LaneWeights:
    """The weights with other values; None lets a lane follow its slot again, and a block have the single number."""
    slots, lanes, apart = dict(weights.slots), dict(weights.lanes), set(weights.apart)
    for name, value in values.items():
        if name in slots:
            slots[name] = weights.alpha if value is None else value
        elif value is None:
            apart.discard(name)
        else:
            apart.add(name)
            lanes[name] = value
    for lane, slot in architecture.lanes.items():
        if lane not in apart:
            lanes[lane] = slots[slot]
    return dataclasses.replace(weights, slots=slots, lanes=lanes, apart=frozenset(apart))


def whole_lanes(pattern: str, architecture: Architecture) -> frozenset[str] | None:
    """The lanes that a rule means as wholes; None for rules of parts of blocks."""
    return None if "." in pattern or "/" in pattern else lanes_of(pattern, architecture)


def shown_number(value: Fraction, decimals: int = MOST_DECIMALS) -> str:
    """A number in as few decimals as say it exactly, at most `decimals`."""
    rounded = Fraction(round(value * 10**decimals), 10**decimals)
    return spell_number(value if is_decimal(value) and rounded == value else rounded)


def _by_lane(resolved: KeyWeights, architecture: Architecture) -> dict[str, Fraction]:
    """A number for each lane; where a list has several for the keys of a lane, their mean."""
    found = {lane: resolved.of("", lane)[0] for lane in architecture.lanes}
    if resolved.fine is None:
        return found
    taken = slots_of_lanes(architecture.name, resolved.fine.number_list)
    whole = {lane for rule in resolved.rules if rule.keys is None for lane in rule.lanes or ()}
    for lane in resolved.fine.split - whole:
        numbers = [resolved.fine.numbers[slot] for slot in taken[lane]]
        found[lane] = sum(numbers, Fraction(0)) / len(numbers)
    return found


def _leader(slot: str, architecture: Architecture) -> str:
    """The lane that stands for BASE: the first text encoder, else the VAE."""
    return architecture.lanes_of_slot(slot)[0]
