"""The verdict on one lane of a model: its values, its matrices, its norms against the base's or those known to be good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .gains import FEWEST_MATRICES, factor, gain_of, times
from .header import counted, quoted
from .known_good import Norms, Release
from .known_lanes import FAR, MATRIX_TOO_FAR, TOO_FAR, judge_lane, judge_matrices, lane_against
from .tensor_statistics import Measured
from .verdicts import BROKEN, FINE, SUSPECT, worst

_ONE_DIRECTION = 1.02
"""Squared norm to squared spectral norm of a matrix that is of one direction."""


@dataclass
class LaneHealth:
    """What was found of one lane.

    Attributes:
        norm, against_base: root of the sum of squares; its ratio to the base's, over the tensors that both have.
        against_known_good: its ratio to the nearest of the releases known to be good, over the matrices that both have; 1 between
            two of them.
        gain: median over its matrices of how much they amplify noise; None where it has none that is not zero.
        spectral_norm: the largest of its matrices', as far as was seen.
        verdict: FINE, SUSPECT or BROKEN.
        says: what is wrong, in words.
    """

    tensors: int
    norm: float
    gain: float | None
    spectral_norm: float | None
    against_base: float | None = None
    against_known_good: float | None = None
    verdict: str = FINE
    says: list[str] = field(default_factory=list)

    def note(self, verdict: str, words: str) -> None:
        """Say one more thing that is wrong."""
        self.verdict = worst((self.verdict, verdict))
        self.says.append(words)


def lane_health(tensors: Mapping[str, Measured], known: Sequence[Release] = ()) -> LaneHealth:
    """The verdict on the tensors of one lane by themselves, against the base's, and against releases known to be good."""
    matrices = {key: each for key, each in tensors.items() if each.own.is_matrix}
    spectra = [each.own.spectral for each in matrices.values() if each.own.spectral is not None]
    found = LaneHealth(
        tensors=len(tensors),
        norm=math.sqrt(sum(each.own.squares for each in tensors.values())),
        gain=gain_of(None, (each.own.gain for each in matrices.values())).usual or None,
        spectral_norm=max(spectra, default=None),
    )
    _judge_values(found, tensors)
    _judge_matrices(found, matrices)
    _judge_against_base(found, tensors, matrices)
    _judge_against_known(found, norms_of(matrices), known)
    return found


def norms_of(tensors: Mapping[str, Measured]) -> dict[str, Norms]:
    """The matrices among some tensors, as tables of what is known to be good have them."""
    return {
        key: Norms(own.shape[0], own.elements, math.sqrt(own.squares), own.spectral)
        for key, own in ((key, each.own) for key, each in tensors.items())
        if own.is_matrix
    }


def _judge_values(found: LaneHealth, tensors: Mapping[str, Measured]) -> None:
    bad = {key: each.own.nans + each.own.infs for key, each in tensors.items() if each.own.nans + each.own.infs}
    if bad:
        found.note(BROKEN, f"{counted(sum(bad.values()), 'value')} of {_some(list(bad))} are NaN or Inf")
    large = {key: each.own.beyond_fp16 for key, each in tensors.items() if each.own.beyond_fp16}
    if large:
        found.note(SUSPECT, f"{counted(sum(large.values()), 'value')} of {_some(list(large))} are too large for fp16")


def _judge_matrices(found: LaneHealth, matrices: Mapping[str, Measured]) -> None:
    zero = [key for key, each in matrices.items() if each.own.squares == 0 and not each.own.nans + each.own.infs]
    if zero:
        every = len(zero) == len(matrices)
        found.note(BROKEN if every else SUSPECT, f"{'all' if every else len(zero)} of its matrices are zero ({_some(zero)})")
    constant = [key for key, each in matrices.items() if each.own.low == each.own.high != 0]
    if constant:
        found.note(SUSPECT, f"{_some(constant)} holds one number alone")
    wide = {key: each.own for key, each in matrices.items() if min(each.own.shape[0], each.own.width) >= 8}
    flat = [key for key, own in wide.items() if own.spectral and own.squares < _ONE_DIRECTION * own.spectral**2]
    if len(wide) >= FEWEST_MATRICES and 2 * len(flat) > len(wide):
        found.note(SUSPECT, f"the spectra of {len(flat)} of its {len(wide)} matrices have collapsed to one direction")


def _judge_against_base(found: LaneHealth, tensors: Mapping[str, Measured], matrices: Mapping[str, Measured]) -> None:
    both = [(each.own.squares, each.base.squares) for each in tensors.values() if each.base]
    theirs = sum(base for _, base in both)
    if not theirs:
        return
    found.against_base = math.sqrt(sum(own for own, _ in both) / theirs)
    away = factor(found.against_base)
    if away >= FAR:
        found.note(BROKEN if away >= TOO_FAR else SUSPECT, f"norms {times(found.against_base)} the base's")
        return
    for what, squared in (("norm", False), ("spectral norm", True)):
        far = {}
        for key, each in matrices.items():
            own = each.own.spectral if squared else math.sqrt(each.own.squares)
            base = each.base and (each.base.spectral if squared else math.sqrt(each.base.squares))
            if own is not None and base and factor(own / base) >= MATRIX_TOO_FAR:
                far[key] = own / base
        if far:
            key = max(far, key=lambda key: factor(far[key]))
            found.note(SUSPECT, f"the {what} of {quoted(key)} is {times(far[key])} the base's")
            return


def _judge_against_known(found: LaneHealth, matrices: Mapping[str, Norms], known: Sequence[Release]) -> None:
    if nearest := lane_against(matrices, known):
        found.against_known_good = nearest.ratio
        for verdict, words in list(judge_lane(nearest)) or judge_matrices(matrices, known):
            found.note(verdict, words)


def _some(keys: Sequence[str]) -> str:
    return quoted(keys[0]) + (f" and {counted(len(keys) - 1, 'other')}" if len(keys) > 1 else "")
