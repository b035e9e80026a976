"""Plan -> scales: the largest value of each scaled tensor, found by summing it once without writing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import torch

from .kernel import Kernel
from .key_job import KeyJob
from .memory import SLAB_ELEMENTS
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .rounding import to_float32
from .staging import Staging
from .tally import NotFinite
from .workers import Failures, work_together

LARGEST_FP8 = 448
"""The largest number of fp8_e4m3fn: what a tensor's largest value is stored as."""

_LARGEST_FLOAT32, _SMALLEST_FLOAT32 = float(torch.finfo(torch.float32).max), float(torch.finfo(torch.float32).tiny)


def measure_scales(
    plan: Plan,
    files: Sequence[OpenSource],
    threads: int,
    on_bytes: Callable[[int], None],
    should_stop: Callable[[], bool],
    device: torch.device | None = None,
) -> tuple[dict[str, float], int]:
    """Sum every scaled tensor of a plan; the result depends neither on threads nor on slabs.

    Args:
        on_bytes: told how many bytes of the output were measured, from any thread.
        device: as of `staging.Staging`.

    Returns:
        Scaled key to its scale, and how many bytes were read.
    """
    run = _Measuring(plan, files, on_bytes, device)
    tasks = [(job, start) for job in plan.jobs if job.is_scaled for start in range(0, job.elements, _step(job))]
    if tasks:
        work_together(threads, tasks, run.work, run.failures, should_stop)
    return {key: scale_of(largest) for key, largest in run.largest.items()}, run.read_bytes


def scale_of(largest: float) -> float:
    """The float32 nearest to `largest` / 448; 1 for a tensor of zeros, or of values that are nearly that."""
    scale = to_float32(Fraction(min(largest, _LARGEST_FLOAT32)) / LARGEST_FP8)
    return scale if scale >= _SMALLEST_FLOAT32 else 1.0


def _step(job: KeyJob) -> int:
    """Elements that are summed at once."""
    return job.elements if job.is_whole else SLAB_ELEMENTS


class _Measuring:
    """The state that the worker threads share."""

    def __init__(self, plan: Plan, files: Sequence[OpenSource], on_bytes: Callable[[int], None], device: torch.device | None):
        self.plan, self.files, self.on_bytes, self.device = plan, files, on_bytes, device
        self.largest = {job.key: 0.0 for job in plan.jobs if job.is_scaled}
        self.failures = Failures()
        self.read_bytes = 0

    def work(self, tasks: Iterator[tuple[KeyJob, int]]) -> None:
        """Measure some of the tensors' slabs."""
        staging = Staging(self.device)
        reader = Reader(self.files, staging)
        kernel = Kernel(reader, self.plan.on_nan, staging=staging)
        for job, start in tasks:
            try:
                self._measure(kernel, job, start)
            except NotFinite as error:
                raise not_finite(self.files[error.source], error.key) from None
        with self.failures.turn:
            self.read_bytes += reader.read_bytes

    def _measure(self, kernel: Kernel, job: KeyJob, start: int) -> None:
        count = min(_step(job), job.elements - start)
        largest = kernel.largest(job, start, count)
        with self.failures.turn:
            self.largest[job.key] = max(self.largest[job.key], largest)
        self.on_bytes(count * job.dtype.size_bytes)
