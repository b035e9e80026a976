"""Measures of whole matrices, none of which is ever held: products of a matrix with itself or another are summed piece by piece.

Each matrix counts alike, and a convolution is one; its rows are what its output channels see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from .compared import STOPPED, Broken, Compared, Pair, Values, is_finite
from .likeness import Weighed
from .summing import Sums
from .workers import Failures, work_together

PIECE_ELEMENTS = 1 << 20
"""Of a matrix, read at once; another number gives other last digits."""
_STEPS, _SETTLED = 300, 1e-10
"""Of the power iteration: how many at most, and how little a step may change for it to end."""

Pieces = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""The same piece of two matrices, one after the other."""


@dataclass(frozen=True, kw_only=True)
class OfMatrices(Weighed):
    """A measure of pairs of matrices.

    Attributes:
        figure: (pieces, size of the smaller side, whether it is the columns' and pieces are rows) -> the figure.
    """

    figure: Callable[[Pieces, int, bool], float]


def _mean(figures: float, count: float, _: float) -> float:
    return figures / count


def _cka(pieces: Pieces, side: int, is_tall: bool) -> float:
    """Linear CKA of two matrices, whose rows are what is compared; by the smaller of the two products there are."""
    of_a, of_b, both = (torch.zeros(side, side, dtype=torch.float64) for _ in range(3))
    is_same = True
    for a, b in pieces:
        is_same = is_same and torch.equal(a, b)
        of_a.addmm_(a.T, a) if is_tall else of_a.addmm_(a, a.T)
        of_b.addmm_(b.T, b) if is_tall else of_b.addmm_(b, b.T)
        if is_tall:
            both.addmm_(b.T, a)
    if is_same:
        return 100.0
    size = (of_a.norm() * of_b.norm()).item()
    shared = (both.norm() ** 2 if is_tall else torch.dot(of_a.view(-1), of_b.view(-1))).item()
    return 100.0 * min(1.0, shared / size) if size else 0.0


def _stable_rank(pieces: Pieces, side: int, is_tall: bool) -> float:
    """Of the difference: its squared Frobenius norm over its squared largest singular value; 0 where there is none."""
    gram = torch.zeros(side, side, dtype=torch.float64)
    for a, b in pieces:
        b.sub_(a)
        gram.addmm_(b.T, b) if is_tall else gram.addmm_(b, b.T)
    size = gram.trace().item()
    if not size:
        return 0.0
    vector = torch.randn(side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    largest = 0.0
    for _ in range(_STEPS):
        vector = gram @ (vector / vector.norm())
        before, largest = largest, vector.norm().item()
        if largest - before <= _SETTLED * largest:
            break
    return size / largest if largest else 0.0


OF_MATRICES: Mapping[str, OfMatrices] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            OfMatrices(
                "cka",
                "Linear CKA of the matrices' rows: blind to a rotation of what a layer is given, and to scale.",
                99.99,
                value=_mean,
                figure=_cka,
            ),
            OfMatrices(
                "stable_rank",
                "How many directions the difference has: its squared length over its squared largest singular value. "
                "No likeness: near 1 it is as a LoRA of rank 1, 0 where there is no difference.",
                0.0,
                "",
                value=_mean,
                figure=_stable_rank,
            ),
        )
    }
)


class Grams:
    """The pass. What two models have of a matrix is read for each pair anew.

    Args:
        models: what is compared, opened.
        pairs: which with which.
        shared: for each pair the keys in which it is compared.

    Attributes:
        broken: who holds NaN or Inf.
    """

    def __init__(self, models: Sequence[Compared], pairs: Sequence[Pair], shared: Sequence[frozenset[str]], measure: OfMatrices):
        self.models, self.pairs, self.shared, self.measure = models, pairs, shared, measure
        self.broken = Broken()

    def add(self, keys: Sequence[str], threads: int, should_stop: Callable[[], bool]) -> dict[str, Sums]:
        """Sums of some keys; errors as of `Summing.add`."""
        found = {key: Sums.of(1, len(self.models), len(self.pairs)) for key in keys}
        tasks = [(key, place) for key in keys for place, shared in enumerate(self.shared) if key in shared]

        def work(taken: Iterator[tuple[str, int]]) -> None:
            worker = _Worker(self)
            for key, place in taken:
                worker.compare(key, place, found[key])

        work_together(threads, tasks, work, Failures(), should_stop, STOPPED)
        return found


class _Worker:
    """One thread's buffers."""

    def __init__(self, run: Grams):
        self._run = run
        self._values = Values(run.models)
        self._buffers = torch.empty(2, PIECE_ELEMENTS, dtype=torch.float64)

    def compare(self, key: str, place: int, found: Sums) -> None:
        """Put a pair's figure in its place, and that both have the matrix."""
        jobs = [self._run.models[number].jobs[key] for number in self._run.pairs[place]]
        rows = jobs[0].shape[0]
        columns = math.prod(jobs[0].shape[1:])
        if not rows * columns:
            return
        # A first convolution with channels that not all sources have is made in one piece.
        most = rows * columns if any(job.extra for job in jobs) else PIECE_ELEMENTS
        pair, broken = self._run.pairs[place], self._run.broken
        pieces = self._pieces(key, pair, rows, columns, most)
        found.both[0, place] = self._run.measure.figure(pieces, min(rows, columns), rows >= columns)
        found.own[0, list(pair)] = [math.nan if broken.has(number, key) else 1.0 for number in pair]

    def _pieces(self, key: str, pair: Pair, rows: int, columns: int, most: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Some rows after others of tall matrices, some columns after others of wide ones, of both models."""
        is_tall = rows >= columns
        length, width = (rows, columns) if is_tall else (columns, rows)
        step = max(1, most // width)
        if step * width > self._buffers.shape[1]:
            self._buffers = torch.empty(2, step * width, dtype=torch.float64)
        for start in range(0, length, step):
            count = min(step, length - start)
            shape = (count, columns) if is_tall else (rows, count)
            both = [self._buffers[index, : count * width].view(shape) for index in range(2)]
            for number, piece in zip(pair, both, strict=True):
                self._fill(number, key, start, columns, piece)
                if not is_finite(piece):
                    self._run.broken.add(number, key)
            yield both[0], both[1]

    def _fill(self, number: int, key: str, start: int, columns: int, piece: torch.Tensor) -> None:
        """Read rows from `start`, or columns from `start` of all rows."""
        if piece.shape[1] == columns:
            self._values.fill(number, key, start * columns, piece.view(-1))
            return
        for row in range(piece.shape[0]):
            self._values.fill(number, key, row * columns + start, piece[row])
