"""Rules of block weights in braces: which keys a pattern means on an architecture; block names as people say them."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .architecture import Architecture, known_keys
from .errors import Instead, RecipeError


@dataclass(frozen=True)
class KeyRule:
    """One rule made ready for an architecture; `label` is None where whole lanes are meant."""

    lanes: frozenset[str] | None
    keys: re.Pattern[str] | None
    label: str | None
    value: Fraction

    def matches(self, key: str, lane: str | None) -> bool:
        return (self.lanes is None or lane in self.lanes) and (self.keys is None or self.keys.fullmatch(key) is not None)


def key_rule(pattern: str, value: Fraction, architecture: Architecture) -> KeyRule:
    where, _, kind = pattern.partition("/")
    if "." in where:
        return _glob_rule(pattern, value, architecture)
    lanes = lanes_of(where, architecture)
    if not kind and lanes is not None:
        return KeyRule(lanes, None, None, value)
    keys = key_glob(kind) if "*" in kind or "." in kind else architecture.classes.get(kind or where)
    if keys is None or (kind and lanes is None):
        raise _no_such(kind if kind and lanes is not None else where, architecture)
    if not any(
        keys.fullmatch(key) and (lanes is None or architecture.lane_of(key) in lanes) for key in known_keys(architecture.name)
    ):
        raise RecipeError(f"'{pattern}' matches no key of {architecture.title}.")
    return KeyRule(lanes, keys, kind or where, value)


def _glob_rule(pattern: str, value: Fraction, architecture: Architecture) -> KeyRule:
    keys = key_glob(pattern)
    if not any(keys.fullmatch(key) for key in known_keys(architecture.name)):
        near = difflib.get_close_matches(pattern, known_keys(architecture.name), 1, 0.7)
        hint = f" Did you mean '{near[0]}'?" if near else " Parts between dots may be '*'."
        instead = tuple(Instead(pattern, each, False) for each in near)
        raise RecipeError(f"'{pattern}' matches no key of {architecture.title}.{hint}", instead=instead)
    return KeyRule(None, keys, pattern, value)


def lanes_of(text: str, architecture: Architecture) -> frozenset[str] | None:
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
        return frozenset(filter(key_glob(text).fullmatch, order)) or None
    return None


def key_glob(pattern: str) -> re.Pattern[str]:
    """A glob over keys: `*` and `?` as an expression that never goes back, however many stars there are; no sets."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _no_such(text: str, architecture: Architecture) -> RecipeError:
    others = [lane for lane in architecture.lanes if lane not in architecture.slots]
    padded = re.sub(r"(?<=[A-Z])(\d)(?!\d)", r"0\1", text.upper())  # IN4 is IN04
    near = (
        [padded]
        if lanes_of(padded, architecture)
        else difflib.get_close_matches(text.upper(), architecture.lanes, 1)
        or difflib.get_close_matches(text, architecture.classes, 1)
    )
    more = f", {listed(others)}, and the key classes {listed(architecture.classes)}."
    said = f". Did you mean '{near[0]}'?" if near else more
    return RecipeError(
        f"'{text}' is not in {architecture.title}, which has {', '.join(slot_runs(architecture))}{said}",
        instead=tuple(Instead(text, each, False) for each in near),
    )


def slot_runs(architecture: Architecture) -> list[str]:
    """An architecture's slots in short: BASE, IN00 to IN11, M00, OUT00 to OUT11."""
    groups = [list(group) for _, group in itertools.groupby(architecture.slots, lambda slot: slot.rstrip("0123456789"))]
    return [group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups]


def runs(names: Sequence[str], order: Sequence[str]) -> str:
    """Names in the order's runs: "BASE and IN00 to M00". What has no number, such as BASE or TIME, stands alone."""
    found: list[list[str]] = []
    for name in names:
        before = found[-1][-1] if found else ""
        if name[-2:].isdigit() and before[-2:].isdigit() and order.index(name) == order.index(before) + 1:
            found[-1].append(name)
        else:
            found.append([name])
    return listed(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in found)


def listed(names: Iterable[str]) -> str:
    """Names as people say them: "A, B and C"."""
    *others, last = list(names) or ["nothing"]
    return f"{', '.join(others)} and {last}" if others else last
