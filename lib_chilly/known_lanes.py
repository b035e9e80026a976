"""A lane's norms against those of the releases that are known to be good: of several, against the range that they span."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .gains import factor, times
from .header import quoted
from .known_good import Norms, Release
from .verdicts import BROKEN, SUSPECT

FAR, TOO_FAR = 2.0, 4.0
"""Factors between a lane's norm and a healthy model's from which on it is suspect, and broken; fine-tuning gives some percent."""
MATRIX_TOO_FAR = 8.0
"""The same for one matrix, and for its spectral norm."""


@dataclass(frozen=True)
class Nearest:
    """How a size compares with the release that comes nearest to it.

    Attributes:
        ratio: to that release's; 1 between two releases.
        name: of the release.
    """

    ratio: float
    name: str

    def words(self) -> str:
        """The ratio and what it is to, as it stands behind "norms"."""
        return f"{times(self.ratio)} those known to be good ({self.name})"


def compared(matrices: Mapping[str, Norms], releases: Sequence[Release]) -> list[Release]:
    """The releases that have a matrix of the same key and shape."""
    return [release for release in releases if _alike(matrices, release)]


def lane_against(matrices: Mapping[str, Norms], releases: Sequence[Release]) -> Nearest | None:
    """How the norm of a lane compares, over the matrices that both have; None where there is nothing to compare, or to say."""
    ratios = []
    for release in releases:
        shared = [(matrices[key], release.matrices[key]) for key in _alike(matrices, release)]
        own, known = sum(each.norm**2 for each, _ in shared), sum(each.norm**2 for _, each in shared)
        ratios.append((math.sqrt(_ratio(own, known)), release))
    return _nearest(ratios)


def judge_lane(nearest: Nearest) -> Iterator[tuple[str, str]]:
    """(verdict, words) where a lane's norm is far from all that is known to be good."""
    if (away := factor(nearest.ratio)) >= FAR:
        yield (BROKEN if away >= TOO_FAR else SUSPECT), f"norms {nearest.words()}"


def judge_matrices(matrices: Mapping[str, Norms], releases: Sequence[Release]) -> Iterator[tuple[str, str]]:
    """(verdict, words) on the matrix whose norm, or else whose spectral norm, is farthest from all that is known to be good."""
    sizes: tuple[tuple[str, Callable[[Norms], float]], ...]
    sizes = ("norm", lambda each: each.norm), ("spectral norm", lambda each: each.spectral or 0.0)
    for what, size in sizes:
        far: dict[str, Nearest] = {}
        for key, own in matrices.items():
            alike = [release for release in releases if _alike({key: own}, release)]
            found = _nearest((_ratio(size(own), size(release.matrices[key])), release) for release in alike)
            if found and factor(found.ratio) >= MATRIX_TOO_FAR:
                far[key] = found
        if far:
            key = max(far, key=lambda key: factor(far[key].ratio))
            yield SUSPECT, f"the {what} of {quoted(key)} is {times(far[key].ratio)} that known to be good ({far[key].name})"
            return


def _alike(matrices: Mapping[str, Norms], release: Release) -> list[str]:
    """The keys under which a release has matrices of the same shape."""
    known = release.matrices
    return [key for key, own in matrices.items() if key in known and own.is_like(known[key])]


def _ratio(own: float, known: float) -> float:
    """0 where one of them is: zeros are said by themselves."""
    return own / known if known else 0.0


def _nearest(ratios: Iterable[tuple[float, Release]]) -> Nearest | None:
    """The one that is nearest to 1."""
    found = [(ratio, release) for ratio, release in ratios if ratio > 0]
    if not found:
        return None
    ratio, release = min(found, key=lambda each: factor(each[0]))
    is_between = min(each for each, _ in found) <= 1 <= max(each for each, _ in found)
    return Nearest(1.0 if is_between else ratio, release.shown)
