"""What a step comes to: the exact factor of every source file, and where it differs between lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def lane_groups(by_label: Mapping[str, Factors], architecture: Architecture) -> list[dict[str, Any]]:
    """Labels of rows in runs of equal factors, in the order of the data; what some sources lack is said."""
    order = list(architecture.lanes)
    found: dict[tuple[Factors, str], list[str]] = {}
    for label, factors in by_label.items():
        place, _, lacking = label.partition("|-")
        found.setdefault((factors, lacking), []).append(place)
    return [
        {"lanes": _runs(places, by_label, order) + (f" (not in {lacking})" if lacking else ""), "rows": _rows(factors)}
        for (factors, lacking), places in found.items()
    ]


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


def _runs(places: Sequence[str], labels: Iterable[str], order: Sequence[str]) -> str:
    """Lanes in runs: "CLIP_L, IN00-M00", "IN01-OUT11/attn2"; `labels` are all that there are."""
    rank = {lane: number for number, lane in enumerate(order) if lane[-2:].isdigit()}
    known = sorted({label.partition("|")[0] for label in labels}, key=lambda label: rank.get(label.partition("/")[0], -1))
    found: dict[str, list[list[str]]] = {}
    for label in places:
        lane, _, part = label.partition("/")
        beside = [each.partition("/")[0] for each in known if each.partition("/")[2] == part]
        place = {each: number for number, each in enumerate(beside) if each in rank}
        runs = found.setdefault(part, [])
        if runs and place.get(runs[-1][-1], -2) + 1 == place.get(lane):
            runs[-1].append(lane)
        else:
            runs.append([lane])
    return ", ".join(
        (run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}") + (f"/{part}" if part else "")
        for part, runs in found.items()
        for run in runs
    )
