"""How long merging in memory takes on this machine, learnt from the merges before."""

from __future__ import annotations

import contextlib

from ..errors import OutputError
from .settings import keep_setting, read_setting

_SETTING = "live_bytes_a_second"
_FIRST_GUESS = 500e6
"""Bytes a second, read and written, of a processor of the middle sort; the first merge sets it right."""
_LEAST_BYTES = 1 << 20
"""Of a merge that says something of the pace."""
_LITTLE = 1.25
"""A ratio that is not worth being kept."""


def merging_seconds(moved_bytes: int) -> float:
    """What merges that read and write so much will take."""
    return moved_bytes / _known()


def learn_merging(moved_bytes: int, seconds: float) -> None:
    """Take into account what a merge really took."""
    if moved_bytes < _LEAST_BYTES or seconds <= 0:
        return
    known, seen = _known(), moved_bytes / seconds
    if not 1 / _LITTLE < seen / known < _LITTLE:
        with contextlib.suppress(OutputError):  # all but this works without it
            keep_setting(_SETTING, (known * seen) ** 0.5 if read_setting(_SETTING, None) else seen)


def _known() -> float:
    found = read_setting(_SETTING, None)
    return found if isinstance(found, float) and 1e6 < found < 1e13 else _FIRST_GUESS
