"""Block weights: every way people write them, turned into one number for each key; knows no tensors and no models.

A number is a `fractions.Fraction`: what the user typed, exactly.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from .architecture import Architecture, known_keys, load
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
class KeyRule:
    """One rule made ready for an architecture; `label` is None where whole lanes are meant."""

    lanes: frozenset[str] | None
    keys: re.Pattern[str] | None
    label: str | None
    value: Fraction

    def matches(self, key: str, lane: str | None) -> bool:
        return (self.lanes is None or lane in self.lanes) and (self.keys is None or self.keys.fullmatch(key) is not None)


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
    rules = tuple(_key_rule(pattern, value, architecture) for pattern, value in weights.rules)
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
        notes.append(f"{_listed(architecture.lanes_of_slot('BASE'))} keep {neutral}: the list has no number for BASE.")
    return KeyWeights(lanes, neutral, rules, tuple(notes))


def in_words(weights: KeyWeights, architecture: Architecture, first: str, second: str) -> str:
    """What a weighted sum's alpha does, such as "BASE and IN00 to M00 from NED, the rest from BASE_V0".

    Args:
        first, second: names of the models that 0 and 1 stand for.
    """
    by_value: dict[Fraction, list[str]] = {}
    for slot in architecture.slots:
        by_value.setdefault(weights.lanes[architecture.lanes_of_slot(slot)[-1]], []).append(slot)
    sentences = []
    for index, (value, slots) in enumerate(by_value.items()):
        if len(by_value) == 1:
            where = "everything"
        elif index == len(by_value) - 1:
            where = "the rest"
        else:
            where = _runs(slots, architecture.slots)
        what = f"from {first}" if value == 0 else f"from {second}" if value == 1 else f"{_decimal(value)} of {second}"
        sentences.append(f"{where} {what}")
    for rule in weights.rules:
        if rule.label is not None:
            sentences.append(f"{rule.label} {_decimal(rule.value)} of {second}")
    return ", ".join(sentences)


def _without_default(rules: tuple[KeyRule, ...], architecture: Architecture, neutral: Fraction) -> KeyWeights:
    covered = frozenset().union(*(rule.lanes or () for rule in rules if rule.keys is None))
    left = [lane for lane in architecture.lanes if lane not in covered]
    note = f"{_runs(left, tuple(architecture.lanes))} keep {_decimal(neutral)} where no rule matches."
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
        return kept, f"the numbers for {_listed(cut)} are cut: {architecture.title} has no such blocks."
    ins, outs = (_runs([slot for slot in slots if slot.startswith(side)], slots) for side in ("IN", "OUT"))
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


def _key_rule(pattern: str, value: Fraction, architecture: Architecture) -> KeyRule:
    if "." in pattern:
        return _glob_rule(pattern, value, architecture)
    where, _, kind = pattern.partition("/")
    lanes = _lanes_of(where, architecture)
    if not kind and lanes is not None:
        return KeyRule(lanes, None, None, value)
    keys = architecture.classes.get(kind or where)
    if keys is None or (kind and lanes is None):
        raise _no_such(kind if kind and lanes is not None else where, architecture)
    if not any(
        keys.fullmatch(key) and (lanes is None or architecture.lane_of(key) in lanes) for key in known_keys(architecture.name)
    ):
        raise RecipeError(f"'{pattern}' matches no key of {architecture.title}.")
    return KeyRule(lanes, keys, kind or where, value)


def _glob_rule(pattern: str, value: Fraction, architecture: Architecture) -> KeyRule:
    keys = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    if not any(keys.fullmatch(key) for key in known_keys(architecture.name)):
        near = difflib.get_close_matches(pattern, known_keys(architecture.name), 1, 0.7)
        hint = f" Did you mean '{near[0]}'?" if near else " Parts between dots may be '*'."
        raise RecipeError(f"'{pattern}' matches no key of {architecture.title}.{hint}")
    return KeyRule(None, keys, pattern, value)


def _lanes_of(text: str, architecture: Architecture) -> frozenset[str] | None:
    """The lanes that a name, a range or a glob means; None when it means none."""
    order = tuple(architecture.lanes)
    if text == "BASE":
        return frozenset(architecture.lanes_of_slot("BASE"))
    first, dash, last = text.partition("-")
    if dash and first in order and last in order and order.index(first) <= order.index(last):
        return frozenset(order[order.index(first) : order.index(last) + 1])
    if text in order:
        return frozenset((text,))
    if "*" in text or "?" in text:
        matches: Callable[[str], object] = re.compile(re.escape(text).replace(r"\*", r"\d*").replace(r"\?", ".")).fullmatch
        return frozenset(lane for lane in order if matches(lane)) or None
    return None


def _no_such(text: str, architecture: Architecture) -> RecipeError:
    slots = architecture.slots
    ins, outs = (_runs([slot for slot in slots if slot.startswith(side)], slots) for side in ("IN", "OUT"))
    others = [lane for lane in architecture.lanes if lane not in slots]
    near = difflib.get_close_matches(text.upper(), architecture.lanes, 1) or difflib.get_close_matches(
        text, architecture.classes, 1
    )
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return RecipeError(
        f"'{text}' is not in {architecture.title}, which has BASE, {ins}, M00, {outs}, {_listed(others)}, "
        f"and the key classes {_listed(architecture.classes)}.{hint}"
    )


def _runs(names: list[str], order: tuple[str, ...]) -> str:
    """Names in the order's runs: "BASE and IN00 to M00". BASE stands alone, since it is no block."""
    runs: list[list[str]] = []
    for name in names:
        follows = runs and order.index(name) == order.index(runs[-1][-1]) + 1 and "BASE" not in (name, runs[-1][-1])
        if follows:
            runs[-1].append(name)
        else:
            runs.append([name])
    return _listed([run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs])


def _listed(names: object) -> str:
    words = [str(name) for name in names]  # type: ignore[attr-defined]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nothing"


def _decimal(number: Fraction) -> str:
    return f"{float(number):g}"
