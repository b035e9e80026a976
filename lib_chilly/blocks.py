"""Block weights: every way people write them, turned into one number for each key; knows no tensors and no models.

A number is a `fractions.Fraction`: what the user typed, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .architecture import Architecture, NumberList, known_keys
from .block_rules import KeyRule, key_glob, key_rule, listed, runs
from .errors import RecipeError
from .number_lists import Numbers, Preset, list_of_length, numbers_for, slots_of_lanes
from .number_lists import presets as presets

_UNET = "model.diffusion_model."

Default = Fraction | Numbers | Preset


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
class FineNumbers:
    """Numbers of a list that is finer than lanes: `split` lanes have keys with different ones."""

    number_list: NumberList
    numbers: Mapping[str, Fraction]
    split: frozenset[str]


@dataclass(frozen=True)
class KeyWeights:
    """Block weights of one parameter on one architecture.

    Attributes:
        lanes: the default, lane by lane.
        otherwise: the default of keys that have no lane.
        rules: to be tried from the last to the first.
        notes: sentences on what was cut, resampled or left at its neutral value.
        fine: the default of keys in lanes that a list splits.
    """

    lanes: Mapping[str, Fraction]
    otherwise: Fraction
    rules: tuple[KeyRule, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    fine: FineNumbers | None = None

    def of(self, key: str, lane: str | None) -> tuple[Fraction, str | None]:
        """(the key's number, the label of what set it apart from its lane or None)."""
        for rule in reversed(self.rules):
            if rule.matches(key, lane):
                return rule.value, rule.label
        if self.fine and lane in self.fine.split and (slot := self.fine.number_list.slot_of(key)):
            return self.fine.numbers[slot], slot
        return (self.otherwise if lane is None else self.lanes[lane]), None

    def numbers(self) -> tuple[Fraction, ...]:
        """Every number that is written down, some of which may belong to no key."""
        fine = self.fine.numbers.values() if self.fine else ()
        return (*self.lanes.values(), *(rule.value for rule in self.rules), *fine)


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
    if not isinstance(default, Preset) and (other := list_of_length(len(default), architecture)):
        return _from_other_list(default, other, architecture, neutral, rules)
    numbers, note = numbers_for(default, architecture)
    lanes = dict.fromkeys(architecture.lanes, neutral)
    for slot, number in zip(architecture.slots[-len(numbers) :], numbers, strict=True):
        lanes.update(dict.fromkeys(architecture.lanes_of_slot(slot), number))
    notes = [note] if note else []
    if len(numbers) < len(architecture.slots):
        notes.append(f"{listed(architecture.lanes_of_slot('BASE'))} keep {neutral}: the list has no number for BASE.")
    return KeyWeights(lanes, neutral, rules, tuple(notes))


def in_keys(weights: BlockWeights, keys: Sequence[str], architecture: Architecture, neutral: Fraction) -> KeyWeights:
    """One number for some keys, each set apart from its lane by the last parts of its name; all others have `neutral`.

    Raises:
        RecipeError: the architecture has no such key, and the number is not `neutral`.
    """
    assert isinstance(weights.default, Fraction)
    everywhere = dict.fromkeys(architecture.lanes, neutral)
    if weights.default == neutral:
        return KeyWeights(everywhere, neutral)
    if lacking := [key for key in keys if key not in known_keys(architecture.name)]:
        raise RecipeError(f"{architecture.title} has no key '{lacking[0]}', which this changes: leave it out.")
    rules = (KeyRule(None, key_glob(key), key.removeprefix(_UNET), weights.default) for key in keys)
    return KeyWeights(everywhere, neutral, tuple(rules))


def in_words(weights: KeyWeights, architecture: Architecture, first: str, second: str) -> str:
    """What a weighted sum's alpha does, such as "BASE and IN00 to M00 from NED, the rest from BASE_V0".

    Args:
        first, second: names of the models that 0 and 1 stand for.
    """
    return weights_in_words(weights, architecture, lambda alpha: _taken(alpha, first, second))


def weights_in_words(weights: KeyWeights, architecture: Architecture, say: Callable[[Fraction], str]) -> str:
    """Where which number is, such as "BASE {say(1)}, the rest {say(0)}"."""
    by_value: dict[Fraction, list[str]] = {}
    named = _fine_values(weights.fine, architecture) if weights.fine else _slot_values(weights, architecture)
    order = [name for name, _ in named]
    for name, value in named:
        by_value.setdefault(value, []).append(name)
    sentences = []
    for index, (value, slots) in enumerate(by_value.items()):
        if len(by_value) == 1:
            where = "everything"
        elif index == len(by_value) - 1:
            where = "the rest"
        else:
            where = runs(slots, order)
        sentences.append(f"{where} {say(value)}")
    for rule in weights.rules:
        lanes = [lane for lane in architecture.lanes if lane in (rule.lanes or ())]
        if rule.label is not None or weights.fine:
            where = " in ".join(filter(None, (rule.label, runs(lanes, tuple(architecture.lanes)) if lanes else None)))
            sentences.append(f"{where} {say(rule.value)}")
    return ", ".join(sentences)


def _slot_values(weights: KeyWeights, architecture: Architecture) -> list[tuple[str, Fraction]]:
    """What each slot has; one whose lanes were set apart by rules is said lane by lane."""
    found: list[tuple[str, Fraction]] = []
    for slot in architecture.slots:
        values = {lane: weights.of("", lane)[0] for lane in architecture.lanes_of_slot(slot)}
        found += values.items() if len(set(values.values())) > 1 else [(slot, next(iter(values.values())))]
    return found


def _fine_values(fine: FineNumbers, architecture: Architecture) -> list[tuple[str, Fraction]]:
    used = {slot for slots in slots_of_lanes(architecture.name, fine.number_list).values() for slot in slots}
    return [(slot, number) for slot, number in fine.numbers.items() if slot in used]


def _taken(alpha: Fraction, first: str, second: str) -> str:
    return f"from {first}" if alpha == 0 else f"from {second}" if alpha == 1 else f"{_decimal(alpha)} of {second}"


def _from_other_list(
    numbers: Numbers, other: NumberList, architecture: Architecture, neutral: Fraction, rules: tuple[KeyRule, ...]
) -> KeyWeights:
    """Each lane its one number; lanes whose keys take several are split."""
    by_slot = dict(zip(other.slots, numbers, strict=True))
    taken = slots_of_lanes(architecture.name, other)
    lanes = {lane: by_slot[slots[0]] if len(slots) == 1 else neutral for lane, slots in taken.items()}
    split = frozenset(lane for lane, slots in taken.items() if len(slots) > 1)
    notes = [f"the {len(numbers)} numbers are read as {other.title}."]
    if left := [lane for lane, slots in taken.items() if not slots]:
        keep, them = ("keeps", "it") if len(left) == 1 else ("keep", "them")
        notes.append(f"{listed(left)} {keep} {neutral}: {other.title} has no number for {them}.")
    if unused := [slot for slot in other.slots if not any(slot in slots for slots in taken.values())]:
        notes.append(f"the number for {listed(unused)} is left out: no key takes it.")
    return KeyWeights(lanes, neutral, rules, tuple(notes), FineNumbers(other, by_slot, split) if split else None)


def _without_default(rules: tuple[KeyRule, ...], architecture: Architecture, neutral: Fraction) -> KeyWeights:
    covered = frozenset().union(*(rule.lanes or () for rule in rules if rule.keys is None))
    left = [lane for lane in architecture.lanes if lane not in covered]
    note = f"{runs(left, tuple(architecture.lanes))} keep {_decimal(neutral)} where no rule matches."
    return KeyWeights(dict.fromkeys(architecture.lanes, neutral), neutral, rules, (note,) if left else ())


def _decimal(number: Fraction) -> str:
    return f"{float(number):g}"
