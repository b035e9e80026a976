"""How the mixer draws a network, from the architecture's table and the keys of its release."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from ..architecture import Architecture, architecture_names, known_keys, load
from ..number_lists import Preset, numbers_for, presets
from .layers import layers_of
from .problem import FieldError
from .questions import Page, question

ATTENTION = (".attn", "_attn", ".linear1.")
"""Part of a key's name in a block that attends; Flux's single blocks have theirs in `linear1`."""
_DOWN = ".0.op."
"""In a U-Net, the convolution that halves the resolution."""
_SAYS = {
    "TIME": "time embedding",
    "LABEL": "size and crop embedding",
    "EMBED": "first layers",
    "FINAL": "last layers",
    "VAE": "picture decoder",
    "CLIP_L": "text encoder CLIP-L",
    "CLIP_G": "text encoder CLIP-G",
    "T5": "text encoder T5",
}
_KINDS = {"J": "joint block", "D": "double block: text and picture side by side", "S": "single block: one stream"}


@question
def net(page: Page, architecture: str) -> dict[str, Any]:
    """How the mixer is drawn for an architecture."""
    if architecture not in architecture_names():
        raise FieldError(f"there is no architecture '{architecture}'. Known: {', '.join(architecture_names())}.", "architecture")
    return net_of(architecture)


@functools.cache
def net_of(name: str) -> dict[str, Any]:
    """NET as docs/page-protocol.md has it, of a known architecture."""
    architecture = load(name)
    slots = architecture.slots
    attending = attending_lanes(architecture)
    rows = skip_pairs(architecture)
    drawn: dict[str, Any] = {
        "name": architecture.name,
        "title": architecture.title,
        "kind": "u" if rows else "rails",
        "slots": list(slots),
        "follows": {lane: slot for lane, slot in architecture.lanes.items() if lane != slot},
        "presets": {name: _numbers(name, architecture) for name in presets()},
    }
    levels = resolutions(architecture) if rows else []
    if rows:
        layers = {block: list(names) for block, names in layers_of(name).items()}
        drawn |= {"rows": [list(pair) for pair in rows], "resolutions": levels, "layers": layers}
        halves = ([pair[0] for pair in rows], [pair[1] for pair in reversed(rows)])
        attention = [slot for slot in slots if slot in attending]
        drawn["groups"] = {"IN": halves[0], "OUT": halves[1], "Attention": attention}
    else:
        rails = [list(group) for _, group in itertools.groupby(slots[1:], lambda slot: slot[0])]
        drawn |= {"rails": rails, "groups": _rail_groups(rails)}
    says = {lane: _says(lane, lane in attending, rows, levels) for lane in architecture.lanes}
    drawn["lanes"] = [
        {"name": lane, "slot": slot, "says": says[lane], "attention": lane in attending}
        for lane, slot in architecture.lanes.items()
    ]
    return drawn


def attending_lanes(architecture: Architecture) -> frozenset[str]:
    """The blocks that attend: those with keys of attention in the release's key set."""
    found = {architecture.lane_of(key) for key in known_keys(architecture.name) if any(part in key for part in ATTENTION)}
    return frozenset(lane for lane in architecture.slots if lane in found)


def skip_pairs(architecture: Architecture) -> list[tuple[str, str]]:
    """A U-Net's IN and OUT blocks that one skip joins, in the order of the data; empty for what has no skips."""
    if "M00" not in architecture.slots:
        return []
    inputs, outputs = ([slot for slot in architecture.slots if slot.startswith(arm)] for arm in ("IN", "OUT"))
    return list(zip(inputs, reversed(outputs), strict=True))


def resolutions(architecture: Architecture) -> list[dict[str, Any]]:
    """The rows of a U-Net above which the resolution changes, and to what."""
    size = architecture.latent_size or 0
    found = [{"after": 0, "text": _square(size)}]
    halving = {architecture.lane_of(key) for key in known_keys(architecture.name) if _DOWN in key}
    for row, (block, _) in enumerate(skip_pairs(architecture)):
        if block in halving:
            size //= 2
            found.append({"after": row, "text": _square(size)})
    return found


def _square(size: int) -> str:
    return f"{size} × {size}"


def _says(lane: str, attends: bool, rows: list[tuple[str, str]], levels: list[dict[str, Any]]) -> str:
    """What a block is, in a few words."""
    if lane in _SAYS:
        return _SAYS[lane]
    if not rows:
        return _KINDS[lane[0]]
    row = next((number for number, pair in enumerate(rows) if lane in pair), len(rows))
    level = [level for level in levels if level["after"] <= row][-1]
    return f"resolution {level['text'].split()[0]}, {'attention' if attends else 'no attention'}"


def _rail_groups(rails: list[list[str]]) -> dict[str, list[str]]:
    if len(rails) == 2:
        return {"Double": rails[0], "Single": rails[1]}
    blocks = [block for rail in rails for block in rail]
    half = len(blocks) // 2
    return {"First half": blocks[:half], "Second half": blocks[half:]} if half else {}


def _numbers(name: str, architecture: Architecture) -> list[float]:
    return [round(float(number), 10) for number in numbers_for(Preset(name), architecture)[0]]
