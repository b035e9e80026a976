"""Plan -> complete state dict on a device, at the speed of memory: the sources stay there, and one pass sums all that changed.

The keys, dtypes and bits are those of the file that would be written. What is no plain weighted sum, and what there is no room
for, is merged as `live.LiveWeights` does it and copied to the device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import operator
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from .dtypes import torch_dtype
from .errors import Interrupted, MergeError
from .key_job import KeyJob
from .live import LiveWeights
from .origins import source_identity
from .plan import Plan
from .resident_sources import ResidentSource, Shelves
from .resident_table import Table
from .room import Room
from .tally import Tally
from .weights import Change, Weights
from .workers import torch_threads

_FACTS = tuple(map(operator.attrgetter, ("key", "dtype", "shape", "compute")))
"""Of a job: with the sources, all that a table is made of. Where a sum gives way to anything else, it has no terms left."""


class ResidentWeights(Weights):
    """A result on a device that follows its recipe; sources are read once, when they are first needed.

    On a GPU an update may come back before the GPU is done; what is queued behind it on the same stream sees it done.

    Args:
        device: "cuda", "cuda:1", "cpu", ...
        threads: workers that read, and on the processor torch's threads; the numbers do not depend on it.
        into: tensors to write into, by the result's key, such as a model's own parameters: those of the result's dtype and
            shape that lie on the device in one piece. For the others, and without, the tensors are made here.
        device_bytes, host_bytes: the most that sources may take up; None for what the machine can spare.
        way: the only one of `pass_choice.ways()` to be used, to compare them.
    """

    def __init__(
        self,
        device: str | torch.device,
        threads: int = 1,
        into: Mapping[str, torch.Tensor] | None = None,
        *,
        device_bytes: int | None = None,
        host_bytes: int | None = None,
        way: str | None = None,
    ):
        super().__init__()
        self.device = torch.empty(0, device=device).device
        self.threads, self.into, self.way = threads, into or {}, way
        self._room = Room(self.device, device_bytes, host_bytes)
        self._others = LiveWeights(threads)
        self._sources: dict[Hashable, ResidentSource] = {}
        self._table: Table | None = None

    def update(
        self,
        plan: Plan,
        *,
        on_bytes: Callable[[int], None] = lambda count: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Change:
        """Bring the tensors to what `plan` says. What a stopped or failed update has left undone, the next one does.

        Args:
            on_bytes: told how many bytes of the result were finished, from any thread.
            should_stop: asked between tensors that are read, and before each pass.

        Returns:
            What has happened; its tally holds nothing of what was summed in one pass, see `overflow`.

        Raises:
            CheckpointError: NaN or Inf in a source, or a source that changed while it was read.
            Interrupted: `should_stop` said so, or Ctrl-C (as KeyboardInterrupt).
        """
        self._is_whole = False
        with _at_work(self.device, self.threads):
            table = self._arranged(plan)
            weights = table.weights(plan.jobs)
            table.load(weights, self.threads, should_stop)
            is_summed = table.is_summable(weights)
            tally = self._merge_others(plan, table, is_summed, on_bytes, should_stop)
            self._sum(table, weights, is_summed, on_bytes, should_stop)
        return self._finish(tally)

    def overflow(self) -> dict[str, int]:
        """Key to how many elements were too large for their dtype, but for fp8's, which stay finite. Waits for the device."""
        wide = {key: tensor for key, tensor in self.tensors.items() if tensor.is_floating_point() and tensor.element_size() > 1}
        bad = torch.stack([(~torch.isfinite(tensor)).sum() for tensor in wide.values()]).tolist()
        return {key: count for key, count in zip(wide, bad, strict=True) if count}

    def close(self) -> None:
        """Let go of sources and tensors; an update makes all anew."""
        self._table = None
        for source in self._sources.values():
            source.close()
        self._others.close()
        self._sources, self._tensors, self._is_whole = {}, {}, False

    def _arranged(self, plan: Plan) -> Table:
        """What is known of plans that differ from this one in nothing but coefficients."""
        identities = [source_identity(source) for source in plan.sources]
        structure = plan.bare_prefix, plan.on_nan, identities, *([*map(fact, plan.jobs)] for fact in _FACTS)
        before = self._table
        if before is not None and before.structure == structure:
            return before
        self._table = None
        self._make_tensors(plan)
        for gone in self._sources.keys() - set(identities):
            self._sources.pop(gone).close()
        for identity, source in zip(identities, plan.sources, strict=True):
            if identity not in self._sources:
                self._sources[identity] = ResidentSource(source, self._room)
        sources = [self._sources[identity] for identity in identities]
        table = Table(structure, plan, sources, self._tensors, self.way)
        if before is not None:
            table.take_over(before)
        self._table = table
        return table

    def _make_tensors(self, plan: Plan) -> None:
        """A tensor for every key of the result: that of the last one, where it has the dtype and the shape."""
        prefix = plan.bare_prefix
        jobs = {job.key.removeprefix(prefix): job for job in plan.jobs}
        self._removed = (self._removed | self._tensors.keys()) - jobs.keys()
        before, self._tensors = self._tensors, {}
        shelves = Shelves(
            {key: (job.lane, job.dtype, job.elements) for key, job in jobs.items()},
            self._buffer,
        )
        for key, job in jobs.items():
            held = before.get(key)
            if held is None or held.shape != job.shape or held.dtype != torch_dtype(job.dtype):
                given = self.into.get(key)
                held = given.detach() if given is not None and _fits(given, job, self.device) else shelves.flat(key)
                assert held is not None
                held = held.view(job.shape)
                self._changed.add(key)
            self._tensors[key] = held
        self._changed &= jobs.keys()

    def _buffer(self, size: int) -> torch.Tensor:
        try:
            return torch.empty(size, dtype=torch.uint8, device=self.device)
        except torch.cuda.OutOfMemoryError:
            raise MergeError("the GPU has no room for the result. Free some of its memory, or merge on the processor.") from None

    def _merge_others(
        self,
        plan: Plan,
        table: Table,
        is_summed: np.ndarray,
        on_bytes: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> Tally:
        jobs = table.others(plan.jobs, is_summed)
        if jobs == table.merged_others:
            return Tally()
        before, table.merged_others = table.merged_others, None
        change = self._others.update(dataclasses.replace(plan, jobs=jobs), on_bytes=on_bytes, should_stop=should_stop)
        for key in change.keys if before is not None else self._others.tensors:  # of a new table, some tensors may be new
            self._tensors[key].copy_(self._others.tensors[key])
        self._changed |= change.keys
        table.merged_others = jobs
        return change.tally

    def _sum(
        self,
        table: Table,
        weights: np.ndarray,
        is_summed: np.ndarray,
        on_bytes: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        todo = is_summed & table.differs(weights)
        table.mark(todo | ~is_summed)
        self._changed.update(itertools.compress(table.names, todo.tolist()))
        for start, end, one_pass in table.passes():
            if todo[start:end].any():
                if should_stop():
                    raise Interrupted("stopped. The weights are as far as they came; the next update finishes them.")
                one_pass.run(weights[start:end], todo[start:end])
                on_bytes(int(table.sizes[start:end][todo[start:end]].sum()))
        table.held[todo] = weights[todo]


def _fits(tensor: torch.Tensor, job: KeyJob, device: torch.device) -> bool:
    is_there = tensor.device == device and tensor.is_contiguous() and tensor.data_ptr() % 16 == 0
    return is_there and tensor.dtype == torch_dtype(job.dtype) and tensor.shape == job.shape


@contextmanager
def _at_work(device: torch.device, threads: int) -> Iterator[None]:
    """Whatever the caller's settings: tensors that may be written to, torch's threads, and the GPU that is meant."""
    chosen = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with torch.inference_mode(False), torch.no_grad(), torch_threads(threads), chosen:
        yield
