"""Pasted lists and presets -> one number for each slot of an architecture, with words for what was cut or stretched."""

from __future__ import annotations

import difflib
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .architecture import Architecture, NumberList, known_keys, load
from .block_rules import listed, slot_runs
from .errors import Instead, RecipeError

Numbers = tuple[Fraction, ...]


@dataclass(frozen=True)
class Preset:
    """A named list of 26 numbers from presets.json."""

    name: str


@functools.cache
def presets() -> Mapping[str, Numbers]:
    """The named lists: 26 numbers each, BASE, IN00-IN11, M00, OUT00-OUT11."""
    rows = json.loads((Path(__file__).parent / "presets.json").read_text("utf-8"), parse_float=Fraction)
    return {name: tuple(Fraction(number) for number in numbers) for name, numbers in rows.items()}


def numbers_for(default: Numbers | Preset, architecture: Architecture) -> tuple[Numbers, str | None]:
    """The numbers for the architecture's slots, with or without BASE, and what was done to get them.

    Raises:
        RecipeError: a list of the wrong length, or an unknown preset.
    """
    slots, longest = architecture.slots, load("sd1").slots
    if isinstance(default, Preset):
        numbers = _preset(default.name)
        if len(slots) == len(numbers):
            return numbers, None
        said = f"preset {default.name} is resampled from 26 numbers to {architecture.title}'s {len(slots)}."
        return _resample(numbers, slots), said
    if len(default) in (len(slots), len(slots) - 1):
        return default, None
    if len(default) not in (len(longest), len(longest) - 1) or len(slots) == 1:
        raise _wrong_length(len(default), architecture)
    if "M00" in slots:
        given = dict(zip(longest[-len(default) :], default, strict=True))
        cut = [slot for slot in given if slot not in slots]
        kept = tuple(number for slot, number in given.items() if slot in slots)
        return kept, f"the numbers for {listed(cut)} are cut: {architecture.title} has no such blocks."
    stretched = _resample((Fraction(0), *default)[-len(longest) :], slots)[len(longest) - len(default) :]
    said = f"the {len(default)} numbers are resampled to {architecture.title}'s {len(stretched)}"
    return stretched, f"{said}: {longest[1]} to {longest[-1]} are stretched over {' and '.join(slot_runs(architecture)[1:])}."


def list_of_length(length: int, architecture: Architecture) -> NumberList | None:
    """Which of the architecture's other lists has as many numbers."""
    return next((each for each in architecture.lists if len(each.slots) == length), None)


@functools.cache
def slots_of_lanes(architecture: str, number_list: NumberList) -> Mapping[str, tuple[str, ...]]:
    """Lane to the names of the numbers that its keys take from another list: one, several, or none."""
    row = load(architecture)
    found: dict[str, dict[str, None]] = {lane: {} for lane in row.lanes}
    for key in known_keys(architecture):
        lane, slot = row.lane_of(key), number_list.slot_of(key)
        if lane and slot:
            found[lane][slot] = None
    return {lane: tuple(slots) for lane, slots in found.items()}


def _wrong_length(length: int, architecture: Architecture) -> RecipeError:
    count, longest = len(architecture.slots), len(load("sd1").slots)
    also = ""
    if count > 1 and count != longest:
        lengths = [number for number in (longest, longest - 1) if number not in (count, count - 1)]
        done = "cut to these" if "M00" in architecture.slots else "resampled to these"
        also = f" ({' or '.join(map(str, lengths))} {'are' if len(lengths) > 1 else 'is'} {done})"
    also += "".join(f", or the {len(each.slots)} of {each.title}" for each in architecture.lists)
    return RecipeError(
        f"a list for {architecture.title} has {count} number{'s' * (count > 1)} ({', '.join(slot_runs(architecture))}), "
        f"or {count - 1} without BASE{also}; this one has {length}."
    )


def _preset(name: str) -> Numbers:
    if name not in presets():
        near = difflib.get_close_matches(name.upper(), presets(), 1)
        hint = f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(presets())}."
        raise RecipeError(f"there is no preset '{name}'.{hint}", instead=tuple(Instead(name, each) for each in near))
    return presets()[name]


def _resample(numbers: Numbers, slots: Sequence[str]) -> Numbers:
    """Stretch or shrink 26 numbers linearly: a U-Net's IN and OUT halves apart, the blocks of others as one curve; BASE stays."""
    if "M00" not in slots:
        return (numbers[0], *_stretch(numbers[1:], len(slots) - 1))
    middle = len(numbers) // 2
    halves = (numbers[1:middle], numbers[middle + 1 :])
    down, up = (_stretch(half, (len(slots) - 2) // 2) for half in halves)
    return (numbers[0], *down, numbers[middle], *up)


def _stretch(numbers: Numbers, count: int) -> Numbers:
    if count < 2:
        return numbers[:count]
    places = (Fraction(index * (len(numbers) - 1), count - 1) for index in range(count))
    pairs = tuple(itertools.pairwise(numbers))
    return tuple(
        left + (place - number) * (right - left)
        for place in places
        for number in [min(int(place), len(pairs) - 1)]
        for left, right in [pairs[number]]
    )
