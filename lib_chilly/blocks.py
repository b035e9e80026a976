"""Block weights: every way people write them, turned into one number for each key; knows no tensors and no models.

A number is a `fractions.Fraction`: what the user typed, exactly.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from .architecture import Architecture, load
from .block_rules import KeyRule, key_rule, listed, runs
from .errors import RecipeError


@dataclass(frozen=True)
class Preset:
    """A named list of 26 numbers from presets.json."""

    name: str


Default = Fraction | tuple[Fraction, ...] | Preset


@dataclass(frozen=True)
class BlockWeights:
    """What the user wrote for one parameter.

    Attributes:
        default: for all keys: one number, a pasted list, a preset; None leaves the neutral value.
        rules: (pattern, number); of those that match a key the last one wins, and any of them wins over the default.
    """

    default: Default | None
    rules: tuple[tuple[str, Fraction], ...] = ()


@dataclass(frozen=True)
class KeyWeights:
    """Block weights of one parameter on one architecture.

    Attributes:
        lanes: the default, lane by lane.
        otherwise: the default of keys that have no lane.
        rules: to be tried from the last to the first.
        notes: sentences on what was cut, resampled or left at its neutral value.
    """

    lanes: Mapping[str, Fraction]
    otherwise: Fraction
    rules: tuple[KeyRule, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def of(self, key: str, lane: str | None) -> tuple[Fraction, str | None]:
        """(the key's number, the label of the rule that set it apart from its lane or None)."""
        for rule in reversed(self.rules):
            if rule.matches(key, lane):
                return rule.value, rule.label
        return (self.otherwise if lane is None else self.lanes[lane]), None


@functools.cache
def presets() -> Mapping[str, tuple[Fraction, ...]]:
    """The named lists: 26 numbers each, BASE, IN00-IN11, M00, OUT00-OUT11."""
    rows = json.loads((Path(__file__).parent / "presets.json").read_text("utf-8"), parse_float=Fraction)
    return {name: tuple(Fraction(number) for number in numbers) for name, numbers in rows.items()}


def resolve(weights: BlockWeights, architecture: Architecture, neutral: Fraction) -> KeyWeights:
    """Make `weights` ready for the keys of one architecture.

    Args:
        neutral: the value that leaves the operand as it is, for what `weights` does not speak of.

    Raises:
        RecipeError: a list of the wrong length, an unknown preset, a rule that matches nothing in the architecture.
    """
    rules = tuple(key_rule(pattern, value, architecture) for pattern, value in weights.rules)
    default = weights.default
    if isinstance(default, Fraction):
        return KeyWeights(dict.fromkeys(architecture.lanes, default), default, rules)
    if default is None:
        return _without_default(rules, architecture, neutral)
    numbers, note = _numbers_for(default, architecture)
    lanes = dict.fromkeys(architecture.lanes, neutral)
    for slot, number in zip(architecture.slots[-len(numbers) :], numbers, strict=True):
        lanes.update(dict.fromkeys(architecture.lanes_of_slot(slot), number))
    notes = [note] if note else []
    if len(numbers) < len(architecture.slots):
        notes.append(f"{listed(architecture.lanes_of_slot('BASE'))} keep {neutral}: the list has no number for BASE.")
    return KeyWeights(lanes, neutral, rules, tuple(notes))


def in_words(weights: KeyWeights, architecture: Architecture, first: str, second: str) -> str:
    """What a weighted sum's alpha does, such as "BASE and IN00 to M00 from NED, the rest from BASE_V0".

    Args:
        first, second: names of the models that 0 and 1 stand for.
    """
    by_value: dict[Fraction, list[str]] = {}
    order: list[str] = []
    for slot in architecture.slots:
        values = {lane: weights.of("", lane)[0] for lane in architecture.lanes_of_slot(slot)}
        # A slot whose lanes were set apart by rules is said lane by lane.
        for name, value in values.items() if len(set(values.values())) > 1 else [(slot, next(iter(values.values())))]:
            by_value.setdefault(value, []).append(name)
            order.append(name)
    sentences = []
    for index, (value, slots) in enumerate(by_value.items()):
        if len(by_value) == 1:
            where = "everything"
        elif index == len(by_value) - 1:
            where = "the rest"
        else:
            where = runs(slots, order)
        sentences.append(f"{where} {_taken(value, first, second)}")
    for rule in weights.rules:
        if rule.label is not None:
            lanes = [lane for lane in architecture.lanes if lane in (rule.lanes or ())]
            where = f" in {runs(lanes, tuple(architecture.lanes))}" if lanes else ""
            sentences.append(f"{rule.label}{where} {_taken(rule.value, first, second)}")
    return ", ".join(sentences)


def _taken(alpha: Fraction, first: str, second: str) -> str:
    return f"from {first}" if alpha == 0 else f"from {second}" if alpha == 1 else f"{_decimal(alpha)} of {second}"


def _without_default(rules: tuple[KeyRule, ...], architecture: Architecture, neutral: Fraction) -> KeyWeights:
    covered = frozenset().union(*(rule.lanes or () for rule in rules if rule.keys is None))
    left = [lane for lane in architecture.lanes if lane not in covered]
    note = f"{runs(left, tuple(architecture.lanes))} keep {_decimal(neutral)} where no rule matches."
    return KeyWeights(dict.fromkeys(architecture.lanes, neutral), neutral, rules, (note,) if left else ())


def _numbers_for(default: tuple[Fraction, ...] | Preset, architecture: Architecture) -> tuple[tuple[Fraction, ...], str | None]:
    """The numbers for the architecture's slots, with or without BASE, and what was done to get them."""
    slots = architecture.slots
    if isinstance(default, Preset):
        numbers = _preset(default.name)
        if len(slots) == len(numbers):
            return numbers, None
        return _resample(
            numbers, len(slots)
        ), f"preset {default.name} is resampled from 26 numbers to {architecture.title}'s {len(slots)}."
    if len(default) in (len(slots), len(slots) - 1):
        return default, None
    longest = load("sd1").slots
    if len(default) in (len(longest), len(longest) - 1) and len(slots) < len(longest):
        given = dict(zip(longest[-len(default) :], default, strict=True))
        cut = [slot for slot in given if slot not in slots]
        kept = tuple(number for slot, number in given.items() if slot in slots)
        return kept, f"the numbers for {listed(cut)} are cut: {architecture.title} has no such blocks."
    ins, outs = (runs([slot for slot in slots if slot.startswith(side)], slots) for side in ("IN", "OUT"))
    also = f" ({len(longest)} or {len(longest) - 1} are cut to these)" if len(slots) < len(longest) else ""
    raise RecipeError(
        f"a list for {architecture.title} has {len(slots)} numbers (BASE, {ins}, M00, {outs}), "
        f"or {len(slots) - 1} without BASE{also}; "
        f"this one has {len(default)}."
    )


def _preset(name: str) -> tuple[Fraction, ...]:
    if name not in presets():
        near = difflib.get_close_matches(name.upper(), presets(), 1)
        hint = f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(presets())}."
        raise RecipeError(f"there is no preset '{name}'.{hint}")
    return presets()[name]


def _resample(numbers: tuple[Fraction, ...], count: int) -> tuple[Fraction, ...]:
    """Stretch or shrink the IN and the OUT halves of 26 numbers linearly; BASE and M00 stay."""
    middle = len(numbers) // 2
    length = (count - 2) // 2
    half = [_stretch(part, length) for part in (numbers[1:middle], numbers[middle + 1 :])]
    return (numbers[0], *half[0], numbers[middle], *half[1])


def _stretch(numbers: tuple[Fraction, ...], count: int) -> list[Fraction]:
    stretched = []
    for index in range(count):
        place = Fraction(index * (len(numbers) - 1), count - 1)
        left = min(int(place), len(numbers) - 2)
        stretched.append(numbers[left] + (place - left) * (numbers[left + 1] - numbers[left]))
    return stretched


def _decimal(number: Fraction) -> str:
    return f"{float(number):g}"
