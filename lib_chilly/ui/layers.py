"""The transformer layers of a block, as the mixer has them: `IN07.3` is layer 3 of IN07. In recipes each is a rule for a part of
its block, and what no rule sets apart has its block's number."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from ..architecture import Architecture, known_keys, load
from ..block_rules import KeyRule
from ..blocks import KeyWeights
from ..expression import Node, number_node

_LAYER = re.compile(r"\.transformer_blocks\.(\d+)\.")

Entries = Sequence[tuple[str, Node]]


@functools.cache
def layers_of(name: str) -> Mapping[str, tuple[str, ...]]:
    """An architecture's blocks that have several transformer layers, to the names of these, in the order of the data."""
    found: dict[str, set[int]] = {}
    for lane, number, _ in _layer_keys(name):
        found.setdefault(lane, set()).add(number)
    slots = [slot for slot in load(name).slots if len(found.get(slot, ())) > 1]
    return {slot: tuple(f"{slot}.{number}" for number in sorted(found[slot])) for slot in slots}


@functools.cache
def keys_of_layers(name: str) -> Mapping[str, tuple[str, ...]]:
    """The layers of an architecture's blocks to their keys."""
    known = {layer for layers in layers_of(name).values() for layer in layers}
    found: dict[str, list[str]] = {layer: [] for layers in layers_of(name).values() for layer in layers}
    for lane, number, key in _layer_keys(name):
        if (layer := f"{lane}.{number}") in known:
            found[layer].append(key)
    return {layer: tuple(keys) for layer, keys in found.items()}


def layers_apart(
    resolved: KeyWeights, patterns: Iterable[str], architecture: Architecture, blocks: Mapping[str, Fraction]
) -> dict[str, Fraction]:
    """The layers that do not follow their block, with their numbers; rules for parts of layers, such as `attn2`, say nothing.

    Args:
        patterns: of the rules; a layer that has one of its own does not follow, whatever its number.
        blocks: the number that each block is shown with.
    """
    if not resolved.fine and all(rule.keys is None for rule in resolved.rules):
        return {}
    numbers = {layer: _number(resolved, keys, layer) for layer, keys in keys_of_layers(architecture.name).items()}
    named = set(patterns)
    return {layer: number for layer, number in numbers.items() if number != blocks[block_of(layer)] or _pattern(layer) in named}


def with_layers(entries: Entries, changes: Mapping[str, Fraction | None], blocks: Mapping[str, Fraction]) -> Entries:
    """Rules with other numbers of layers, which come last, so that they hold.

    Args:
        changes: None takes a layer's rule away; where it has none, it gets its block's number.
        blocks: the number of each block.
    """
    rules = {_pattern(layer): layer for layer in changes}
    had = {pattern for pattern, _ in entries}
    kept = [entry for entry in entries if entry[0] not in rules]
    for pattern, layer in rules.items():
        number = changes[layer]
        if number is not None or pattern not in had:
            kept.append((pattern, number_node(blocks[block_of(layer)] if number is None else number)))
    return kept


def block_of(layer: str) -> str:
    """The block that a layer is of."""
    return layer.partition(".")[0]


def _pattern(layer: str) -> str:
    block, _, number = layer.partition(".")
    return f"{block}/*.transformer_blocks.{number}.*"


def _layer_keys(name: str) -> list[tuple[str, int, str]]:
    """(lane, number of the layer, key) of every key of a transformer layer in a block."""
    architecture = load(name)
    keys = ((key, _LAYER.search(key)) for key in known_keys(name))
    found = [(architecture.lane_of(key), int(match[1]), key) for key, match in keys if match]
    return [(lane, number, key) for lane, number, key in found if lane in architecture.slots]


def _number(resolved: KeyWeights, keys: Sequence[str], layer: str) -> Fraction:
    """What all of a layer's keys have: the last rule's that means all of them, else the list's."""
    block = block_of(layer)

    def means_all(rule: KeyRule) -> bool:
        return all(rule.matches(key, block) for key in keys)

    if (rule := next(filter(means_all, reversed(resolved.rules)), None)) is not None:
        return rule.value
    if resolved.fine and block in resolved.fine.split and (slot := resolved.fine.number_list.slot_of(keys[0])):
        return resolved.fine.numbers[slot]
    return resolved.lanes[block]
