"""Results that are compared, opened: each gives its values, a file those it stores, a merge its sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from .dtypes import BY_NAME
from .errors import Interrupted
from .header import counted, quoted
from .kernel import Kernel
from .key_job import KeyJob
from .lora_source import LoraTensor
from .matching import match_units
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .tally import NotFinite
from .tensor_views import runs
from .workers import single_threaded_torch

Pair = tuple[int, int]
"""Numbers of two models, the smaller one first."""
Progress = tuple[int, int, str]
"""How many layers are done, of how many, and the block of the next one."""
STOPPED = "stopped. Nothing was found out."


def stop_if(should_stop: Callable[[], bool]) -> None:
    """Interrupted when the user says so."""
    if should_stop():
        raise Interrupted(STOPPED)


class Compared:
    """One result; its files are open from `__enter__` on.

    Attributes:
        jobs: key to how it is made, of all keys that are weights.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.jobs = _in_float32(plan)
        self.files: list[OpenSource] = []

    def __enter__(self) -> Compared:
        try:
            for source in self.plan.sources:
                self.files.append(OpenSource(source, use_mmap=False).__enter__())
            with single_threaded_torch():
                self.jobs = _in_float32(match_units(self.plan, self.files, threads=1)[0])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.__exit__()
        self.files = []

    def check_unchanged(self) -> None:
        """CheckpointError when a file is no longer the one whose header was read."""
        for file in self.files:
            file.check_unchanged()


def _in_float32(plan: Plan) -> dict[str, KeyJob]:
    return {job.key: replace(job, dtype=BY_NAME["fp32"], is_scaled=False) for job in plan.jobs if not job.is_copied}


class Values:
    """One thread's way to the values of all."""

    def __init__(self, models: Sequence[Compared]):
        self.models = models
        self._reader = Reader([file for model in models for file in model.files])
        self._scratch = torch.empty(0)
        self._first = [0]
        for model in models:
            self._first.append(self._first[-1] + len(model.files))
        self._parts = [_Part(self._reader, first) for first in self._first]
        self._kernel: Kernel | None = None

    def fill(self, number: int, key: str, start: int, out: torch.Tensor) -> None:
        """Put the elements from `start` of a model's tensor into `out`, 1-D; of a first convolution with extra channels all.

        Raises:
            CheckpointError: one of a merge's sources holds NaN or Inf there.
        """
        model = self.models[number]
        job = model.jobs[key]
        if model.plan.on_nan is not None or not _is_stored(job):
            try:
                self._kernel_of(number).run(job, start, out)
            except NotFinite as error:
                raise not_finite(self.models[number].files[error.source], key) from None
            return
        values, scale = self._reader.read(self._first[number] + job.terms[0][0], key, start, out.numel())
        # From 16 bits torch goes to float64 slowly, by way of float32 fast.
        through = out.dtype is torch.float64 and values.dtype is not torch.float64
        out.copy_(self._in_float32(values) if through else values)
        if scale is not None:
            out.mul_(scale)

    def whole(self, number: int, key: str) -> torch.Tensor:
        """A model's tensor."""
        job = self.models[number].jobs[key]
        found = torch.empty(job.shape)
        self.fill(number, key, 0, found.view(-1))
        return found

    def _kernel_of(self, number: int) -> Kernel:
        """One serves all merges: its scratch is of some MiB."""
        part, on_nan = self._parts[number], self.models[number].plan.on_nan
        if self._kernel is None:
            self._kernel = Kernel(part, on_nan)
        self._kernel.turn_to(part, on_nan)
        return self._kernel

    def _in_float32(self, values: torch.Tensor) -> torch.Tensor:
        if self._scratch.numel() < values.numel():
            self._scratch = torch.empty(values.numel())
        return self._scratch[: values.numel()].copy_(values)

    def will_need(self, number: int, key: str, start: int, count: int) -> None:
        """Announce a later `fill`."""
        for source in self.models[number].files:
            info = source.source.tensors.get(key)
            if info and not isinstance(info, LoraTensor):
                for file, offset, size in runs(info, start, min(count, info.elements - start)):
                    source.files[file].will_need(offset, size)


@dataclass(frozen=True)
class _Part:
    """One model's sources among those of all, from the number `first` on."""

    reader: Reader
    first: int

    def read(self, number: int, key: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.reader.read(self.first + number, key, start, count)

    def read_on(self, number: int, key: str, weight: torch.Tensor) -> torch.Tensor:
        return self.reader.read_on(self.first + number, key, weight)


def _is_stored(job: KeyJob) -> bool:
    """Whether a tensor is one file's as it stands."""
    return job.extra is None and job.taken is not None


class Broken:
    """Who holds NaN or Inf, and in which keys; any thread may add to it."""

    def __init__(self) -> None:
        self.keys: dict[int, set[str]] = {}

    def add(self, number: int, key: str) -> None:
        self.keys.setdefault(number, set()).add(key)

    def has(self, number: int, key: str) -> bool:
        """Whether a model's tensor is among them."""
        return key in self.keys.get(number, ())

    def look(self, number: int, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Add the keys of a model's tensors that are not finite."""
        for key, tensor in tensors:
            if not is_finite(tensor):
                self.add(number, key)

    def refuse(self, models: Sequence[Compared]) -> None:
        """CheckpointError that names a file and a key, if there is any."""
        for number, keys in sorted(self.keys.items()):
            key = min(keys)
            for file in models[number].files:
                if key in file.source.tensors:
                    raise not_finite(file, key)

    def notes(self, names: Sequence[str]) -> dict[int, str]:
        """Number of each model that holds some to a sentence.

        Args:
            names: what each is called there.
        """
        return {
            number: f"{names[number]} holds NaN, Inf or numbers too large for float32 in {counted(len(keys), 'tensor')}, "
            f"such as {quoted(min(keys))}: its blocks that have any are left out."
            for number, keys in self.keys.items()
        }


def is_finite(values: torch.Tensor) -> bool:
    """Whether no element is NaN or Inf."""
    return math.isfinite(values.sum(dtype=torch.float64).item())
