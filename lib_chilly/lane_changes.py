"""What the pass has seen anyway says of health: blocks that a merge changes out of all proportion."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from .pass_health import PassHealth
from .plan import Plan

_LARGEST_CHANGE, _OTHERS_TOO_FAR = 3.0, 5.0
"""A block's relative change, and its ratio to that of the blocks in the middle, from which on both together are said.

Between healthy models of one kind a block changes by less than its own size, with all but absurd numbers.
"""
_FEWEST_BLOCKS = 5


def lanes_out_of_proportion(plan: Plan, change: Mapping[str, float | None], health: PassHealth) -> list[str]:
    """Sentences on blocks of the U-Net that a merge changes far more than the others.

    Args:
        change: lane to its relative change against the first source.
        health: of sources and result; what that says already is not said again.
    """
    known = tuple(words.partition(": ")[0] for each in (*health.sources.values(), health.result) for words in each.says)
    prefixes = plan.architecture.components.get("unet", ())
    blocks = dict.fromkeys(job.lane for job in plan.jobs if job.key.startswith(prefixes) and not job.is_copied)
    found = {lane: seen for lane in blocks if (seen := change.get(lane)) is not None}
    if len(found) < _FEWEST_BLOCKS:
        return []
    usual = statistics.median(found.values())
    return [
        f"{lane} is changed by {seen:.0%}, the other blocks by about {usual:.0%}: a source is likely broken there, or the recipe "
        "meant otherwise. './chilly inspect --health' of the sources says more."
        for lane, seen in found.items()
        if seen >= _LARGEST_CHANGE and seen >= _OTHERS_TOO_FAR * usual and lane not in known
    ]
