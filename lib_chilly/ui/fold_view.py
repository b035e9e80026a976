"""What a step comes to: the exact factor of every source file, and where it differs between lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..architecture import Architecture
from .lane_weights import shown_number

MINUS = "−"
Factors = tuple[tuple[str, Fraction], ...]
"""(name of a source, its factor), in the order of the sum; no zeros."""


def factors_view(name: str, factors: Factors, lanes: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """FOLD as docs/page-protocol.md has it."""
    return {
        "of": name,
        "rows": _rows(factors),
        "sum": _text(sum((factor for _, factor in factors), Fraction(0))) if factors else None,
        "formula": formula(factors),
        "lanes": lanes,
    }


def lane_groups(step: str, by_lane: Mapping[str, Factors], architecture: Architecture) -> list[dict[str, Any]]:
    """The lanes in runs of equal factors, in the order of the data."""
    order = [lane for lane in architecture.lanes if lane in by_lane]
    found: dict[Factors, list[str]] = {}
    for lane in order:
        found.setdefault(by_lane[lane], []).append(lane)
    return [{"lanes": _runs(lanes, order), "rows": _rows(factors)} for factors, lanes in found.items()]


def formula(factors: Factors) -> str:
    """Such as "0.6056 analogDiffusion_10 + 0.0534 pyAB − 0.7125 v1-5"."""
    text = ""
    for name, factor in factors:
        size = "" if abs(factor) == 1 else f"{shown_number(abs(factor))} "
        sign = (f" {MINUS} " if factor < 0 else " + ") if text else (MINUS if factor < 0 else "")
        text += f"{sign}{size}{name}"
    return text


def _rows(factors: Factors) -> list[dict[str, Any]]:
    """The largest first, as they are drawn."""
    return [
        {"name": name, "text": f"{'' if factor < 0 else '+'}{_text(factor)}", "value": float(factor)}
        for name, factor in sorted(factors, key=lambda each: -each[1])
    ]


def _text(number: Fraction) -> str:
    return shown_number(number).replace("-", MINUS)


def _runs(lanes: Sequence[str], order: Sequence[str]) -> str:
    """Lanes in the order's runs: "CLIP_L, IN00-M00"."""
    found: list[list[str]] = []
    for lane in lanes:
        if found and order.index(found[-1][-1]) + 1 == order.index(lane) and lane[-1].isdigit() and found[-1][-1][-1].isdigit():
            found[-1].append(lane)
        else:
            found.append([lane])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)
