"""One streaming pass over a model's tensors, and a base's beside them: norms, extremes, what is not finite, spectral norms.

Each tensor is read once, slab by slab, by one thread: the numbers depend neither on threads nor on the tensors' order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from .header import TensorInfo
from .memory import SLAB_ELEMENTS
from .reading import OpenSource, Reader
from .sources import Source
from .workers import Failures, single_threaded_torch, work_together

LARGEST_FP16 = 65520.0
"""What is not below it becomes Inf in fp16."""
_DIRECTIONS = 8
"""Vectors that a spectral norm is looked for with."""
_ROUNDING = 1e-6
"""Of what float32 sums up to."""


@dataclass
class TensorStatistics:
    """What was seen of one tensor; sums and extremes are of its finite values.

    Attributes:
        spectral: spectral norm of the matrix (a convolution's with its window flat), from below; None of what is no matrix.
        is_counting: whether the values are 0, 1, 2, ...
    """

    shape: tuple[int, ...]
    elements: int
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    nans: int = 0
    infs: int = 0
    beyond_fp16: int = 0
    spectral: float | None = None
    is_counting: bool = True

    @property
    def width(self) -> int:
        """How many values a row has."""
        return self.elements // self.shape[0] if self.shape and self.shape[0] else 0

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) >= 2 and self.elements > 1

    @property
    def gain(self) -> float:
        """Root of the mean squared length of its rows: how much it amplifies noise."""
        return math.sqrt(self.squares / self.shape[0]) if self.shape and self.shape[0] else 0.0

    def add(self, values: torch.Tensor) -> torch.Tensor:
        """Count some more values; gives them back with 0 in the place of those that are not finite."""
        squares = torch.dot(values, values).item()
        if not math.isfinite(squares):
            self.nans += int(torch.isnan(values).sum())
            self.infs += int(torch.isinf(values).sum())
            values = torch.nan_to_num(values, 0.0, 0.0, 0.0)
            wide = values.to(torch.float64)
            squares = torch.dot(wide, wide).item()
        self.squares += squares
        low, high = (each.item() for each in torch.aminmax(values))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if max(-low, high) >= LARGEST_FP16:
            self.beyond_fp16 += int((values.abs() >= LARGEST_FP16).sum())
        return values

    def check_counting(self, values: torch.Tensor, start: int) -> None:
        """Look whether stored position_ids go on as 0, 1, 2, ..."""
        expected = torch.arange(start, start + values.numel(), dtype=torch.float64)
        self.is_counting = self.is_counting and bool((values.to(torch.float64) == expected).all())


@dataclass
class Measured:
    """A tensor, the base's where that has one of the same shape, and the sum of their products."""

    own: TensorStatistics
    base: TensorStatistics | None = None
    product: float = 0.0


def measure_tensors(
    source: Source,
    base: Source | None,
    keys: Sequence[str],
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> dict[str, Measured]:
    """Statistics of some of a source's tensors, in their order.

    Args:
        on_bytes: told how many more bytes were read, from any thread.

    Raises:
        CheckpointError: a file changed or cannot be read.
        Interrupted: `should_stop` said so.
    """
    with ExitStack() as stack, single_threaded_torch():
        files = [stack.enter_context(OpenSource(each, use_mmap=False)) for each in (source, base) if each]
        run = _Measuring(source, base, files, on_bytes)
        work_together(threads, list(keys), run.work, run.failures, should_stop, "stopped. Nothing was found out.")
        for file in files:
            file.check_unchanged()
    return {key: run.found[key] for key in keys}


@dataclass
class _Measuring:
    """The state that the worker threads share."""

    source: Source
    base: Source | None
    files: Sequence[OpenSource]
    on_bytes: Callable[[int], None]
    failures: Failures = field(default_factory=Failures)
    found: dict[str, Measured] = field(default_factory=dict)

    def work(self, keys: Iterator[str]) -> None:
        """Measure some of the tensors."""
        reader = Reader(self.files)
        for key in keys:
            before = reader.read_bytes
            with torch.inference_mode():
                found = self._measured(reader, key)
            with self.failures.turn:
                self.found[key] = found
            self.on_bytes(reader.read_bytes - before)

    def _measured(self, reader: Reader, key: str) -> Measured:
        info = self.source.tensors[key]
        other = self.base.tensors.get(key) if self.base else None
        if other is not None and (other.shape != info.shape or other.dtype.is_floating != info.dtype.is_floating):
            other = None
        found = Measured(_begun(info), _begun(other) if other else None)
        sketches = [_Sketch(each.width) if each and _is_sketched(each) else None for each in (found.own, found.base)]
        for start, count in _slabs(found.own):
            sides = []
            for number, statistics in enumerate((found.own, found.base)):
                if statistics is None:
                    continue
                values = _wide(*reader.read(number, key, start, count))
                if key.endswith("position_ids"):
                    statistics.check_counting(values, start)
                values = statistics.add(values)
                if sketch := sketches[number]:
                    sketch.add(values.view(-1, statistics.width))
                sides.append(values)
            if len(sides) == 2:
                found.product += torch.dot(*(side.to(torch.float32) for side in sides)).item()
        for statistics, sketch in zip((found.own, found.base), sketches, strict=True):
            if statistics and sketch:
                statistics.spectral = sketch.spectral_norm()
        return found


class _Sketch:
    """W^T W times a few random vectors, summed up as W's rows go by: what one pass tells of a spectrum.

    The vectors are the same for all matrices of one width, so that two models are compared by the same yardstick.
    """

    def __init__(self, width: int):
        generator = torch.Generator().manual_seed(width)
        vectors = torch.randn(width, min(width, _DIRECTIONS), generator=generator, dtype=torch.float64)
        self._vectors = torch.linalg.qr(vectors)[0].to(torch.float32)
        self._images = torch.zeros_like(self._vectors)

    def add(self, rows: torch.Tensor) -> None:
        rows = rows.to(torch.float32)
        self._images += rows.T @ (rows @ self._vectors)

    def spectral_norm(self) -> float | None:
        """The largest of Nystrom's approximation of W^T W, which is never above the truth but for rounding; exact for a
        matrix of few directions. None where the sums overflowed.

        Source: Tropp, Yurtsever, Udell, Cevher, "Fixed-rank approximation of a positive-semidefinite matrix from streaming data".
        """
        vectors, images = self._vectors.to(torch.float64), self._images.to(torch.float64)
        size = float(images.norm())
        if not math.isfinite(size) or size == 0:
            return 0.0 if size == 0 else None
        shift = _ROUNDING * size
        images = images + shift * vectors
        core = vectors.T @ images
        triangle, failed = torch.linalg.cholesky_ex((core + core.T) / 2)
        if bool(failed):
            return None
        half = torch.linalg.solve_triangular(triangle.T, images, upper=True, left=False)
        return math.sqrt(max(0.0, float(torch.linalg.matrix_norm(half, 2)) ** 2 - shift))


def _begun(info: TensorInfo) -> TensorStatistics:
    return TensorStatistics(info.shape, info.elements)


def _is_sketched(statistics: TensorStatistics) -> bool:
    return statistics.is_matrix and 1 < statistics.width <= SLAB_ELEMENTS and statistics.shape[0] > 1


def _slabs(statistics: TensorStatistics) -> Iterator[tuple[int, int]]:
    """(first element, count) of whole rows, where a row is no longer than a slab."""
    width = statistics.width if _is_sketched(statistics) else 1
    step = max(1, SLAB_ELEMENTS // width) * width
    for start in range(0, statistics.elements, step):
        yield start, min(step, statistics.elements - start)


def _wide(values: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """Stored values as numbers that can be summed; a copy, since the reader's buffer is used again."""
    wide = values.to(torch.float64 if values.dtype in (torch.float64, torch.int64) else torch.float32, copy=True)
    return wide if scale is None else wide.mul_(scale)
