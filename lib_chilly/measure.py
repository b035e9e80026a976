"""Plan -> scales: the largest value of each scaled tensor, found by summing it once without writing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch

from .errors import Interrupted
from .kernel import Kernel
from .key_job import KeyJob
from .memory import SLAB_ELEMENTS
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .rounding import to_float32
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
) -> tuple[dict[str, float], int]:
    """Sum every scaled tensor of a plan; the result depends neither on threads nor on slabs.

    Args:
        on_bytes: told how many bytes of the output were measured, from any thread.

    Returns:
        Scaled key to its scale, and how many bytes were read.
    """
    run = _Measuring(plan, files, on_bytes, should_stop)
    if run.tasks:
        work_together(threads, run.work, run.failures)
    return {key: scale_of(largest) for key, largest in run.largest.items()}, run.read_bytes


def scale_of(largest: float) -> float:
    """The float32 nearest to `largest` / 448; 1 for a tensor of zeros, or of values that are nearly that."""
    scale = to_float32(Fraction(min(largest, _LARGEST_FLOAT32)) / LARGEST_FP8)
    return scale if scale >= _SMALLEST_FLOAT32 else 1.0


class _Measuring:
    """The state that the worker threads share."""

    def __init__(
        self,
        plan: Plan,
        files: Sequence[OpenSource],
        on_bytes: Callable[[int], None],
        should_stop: Callable[[], bool],
    ):
        self.plan, self.files, self.on_bytes, self.should_stop = plan, files, on_bytes, should_stop
        self.tasks: list[tuple[KeyJob, int]] = [
            (job, start) for job in plan.jobs if job.is_scaled for start in range(0, job.elements, SLAB_ELEMENTS)
        ]
        self.largest = {job.key: 0.0 for job in plan.jobs if job.is_scaled}
        self.failures = Failures()
        self.next_task = self.read_bytes = 0

    def work(self) -> None:
        """Take tasks until there are none, or one fails."""
        number = -1
        try:
            torch.set_num_threads(1)
            reader = Reader(self.files)
            kernel = Kernel(reader.read, self.plan.on_nan)
            while (number := self._take()) >= 0:
                self._measure(kernel, *self.tasks[number])
            with self.failures.turn:
                self.read_bytes += reader.read_bytes
        except NotFinite as error:
            self.failures.add(number, not_finite(self.files[error.source], error.key))
        except BaseException as error:
            self.failures.add(number, error)

    def _take(self) -> int:
        """The number of the next task, or -1."""
        if self.should_stop():
            raise Interrupted("stopped. Nothing was left behind.")
        with self.failures.turn:
            if self.failures or self.next_task == len(self.tasks):
                return -1
            self.next_task += 1
            return self.next_task - 1

    def _measure(self, kernel: Kernel, job: KeyJob, start: int) -> None:
        count = min(SLAB_ELEMENTS, job.elements - start)
        largest = kernel.largest(job, start, count)
        with self.failures.turn:
            self.largest[job.key] = max(self.largest[job.key], largest)
        self.on_bytes(count * job.dtype.size_bytes)
