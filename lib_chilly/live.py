"""Plan -> complete state dict in memory: the keys, dtypes and bits of the file that would be written, in buffers that are reused.

The next plan is merged into the same tensors, and only those keys are merged again whose sum, or whose sources, are others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import torch

from .dtypes import torch_dtype
from .kernel import Kernel
from .key_job import KeyJob
from .matching import Found, match_units
from .measure import measure_scales
from .memory import Block, blocks_of
from .origins import digest, order_origins, origins, source_identity
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .tally import NotFinite, Tally
from .weights import Change, Weights
from .workers import Failures, single_threaded_torch, work_together


class LiveWeights(Weights):
    """A result in memory that follows its recipe.

    Sources stay open between updates. They are read, not mapped: mapped files were at most a fifth faster, and one that is cut
    short by another program would end this process, which lives as long as its page.

    Args:
        threads: workers, 1 or more; the numbers do not depend on it.

    Attributes:
        overflow: key to how many elements of its tensor, as it is now, were too large for the output's dtype.
    """

    def __init__(self, threads: int = 1):
        super().__init__()
        self.threads = threads
        self._sources: dict[Hashable, OpenSource] = {}
        self._origins: dict[str, Hashable] = {}
        self.overflow: dict[str, int] = {}
        self._seen: set[int] = set()
        self._orders: dict[str, Found] = {}

    def update(
        self,
        plan: Plan,
        *,
        on_stale: Callable[[Sequence[KeyJob]], None] = lambda jobs: None,
        on_bytes: Callable[[int], None] = lambda count: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Change:
        """Bring the tensors to what `plan` says. What a stopped or failed update has left undone, the next one does.

        Args:
            on_stale: told what is to be merged again, before anything is.
            on_bytes: told how many bytes of the result were finished, from any thread.
            should_stop: asked between blocks of a few MiB.

        Raises:
            CheckpointError: NaN or Inf in a source, or a source that changed while it was read.
            Interrupted: `should_stop` said so, or Ctrl-C (as KeyboardInterrupt).
        """
        self._is_whole = False
        now = origins(plan)
        stale = [job for job in plan.jobs if self._origins.get(job.key) != now[job.key]]
        on_stale(stale)
        self._make_room(plan, stale)
        files = self._open(plan)
        with single_threaded_torch():
            part = self._matched(plan, stale, files, should_stop)
            scales, _ = measure_scales(part, files, self.threads, lambda count: None, should_stop)
            run = _Update(part, files, scales, self._tensors, on_bytes)
            stopped = "stopped. The weights are as far as they came; the next update finishes them."
            work_together(self.threads, blocks_of(part.jobs), run.work, run.failures, should_stop, stopped)
        for file in files:
            file.check_unchanged()
        self._origins.update((job.key, now[job.key]) for job in stale)
        merged_now = {job.key for job in stale}
        self.overflow = {key: count for key, count in self.overflow.items() if key in now and key not in merged_now}
        self.overflow.update(run.tally.overflow)
        self._seen.add(digest(now))
        return self._finish(run.tally)

    def were_of(self, plan: Plan) -> bool:
        """Whether these were the tensors of a plan's result since the last `close`, or are still; any thread may ask."""
        return digest(origins(plan)) in self._seen

    def file_sha256(self, plan: Plan, header: bytes) -> str | None:
        """sha256 in hex of the file that would hold these tensors behind `header`; None where they are not those of `plan`."""
        if not self._is_whole or self._origins != origins(plan):
            return None
        digest = hashlib.sha256(header)
        for job in plan.jobs:
            tensor = self._tensors[job.key.removeprefix(plan.bare_prefix)]
            if tensor.numel():
                digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def close(self) -> None:
        """Close the sources and let go of the tensors; an update makes all anew."""
        for source in self._sources.values():
            source.__exit__()
        self._sources, self._tensors, self._origins, self._is_whole = {}, {}, {}, False
        self.overflow, self._seen, self._orders = {}, set(), {}

    def _matched(self, plan: Plan, stale: Sequence[KeyJob], files: Sequence[OpenSource], should_stop: Callable[[], bool]) -> Plan:
        """What is to be merged again, with the orders of its units; what the last updates have found is not found again."""
        keys = {job.key for job in stale}
        identities = {matching.identity: identity for matching, identity in order_origins(plan)}
        known = {each: self._orders[identity] for each, identity in identities.items() if identity in self._orders}
        try:
            matched, _ = match_units(plan, files, self.threads, should_stop=should_stop, only=keys, known=known)
        finally:
            self._orders = {identities[each]: orders for each, orders in known.items()}
        return dataclasses.replace(matched, jobs=tuple(job for job in matched.jobs if job.key in keys))

    def _make_room(self, plan: Plan, stale: Sequence[KeyJob]) -> None:
        """A tensor for every key that is to be merged; those of keys that the result no longer has are let go."""
        prefix = plan.bare_prefix
        kept = {job.key.removeprefix(prefix) for job in plan.jobs}
        gone = self._tensors.keys() - kept
        self._removed = (self._removed | gone) - kept
        self._changed &= kept
        self._origins = {key: origin for key, origin in self._origins.items() if key.removeprefix(prefix) in kept}
        for key in gone:
            del self._tensors[key]
        for job in stale:
            key, dtype = job.key.removeprefix(prefix), torch_dtype(job.dtype)
            self._origins.pop(job.key, None)
            self._changed.add(key)
            held = self._tensors.get(key)
            if held is None or held.shape != job.shape or held.dtype != dtype:
                with torch.inference_mode(False):  # a caller's would forbid our threads to write
                    self._tensors[key] = torch.empty(job.shape, dtype=dtype)

    def _open(self, plan: Plan) -> list[OpenSource]:
        """The plan's sources, those of the last plan as they are; what is no longer needed is closed."""
        before, self._sources = self._sources, {}
        try:
            for source in plan.sources:
                identity = source_identity(source)
                kept = before.pop(identity, None)
                self._sources[identity] = kept or OpenSource(source, use_mmap=False).__enter__()
        finally:
            for file in before.values():
                file.__exit__()
        return [self._sources[source_identity(source)] for source in plan.sources]


class _Update:
    """The state that the worker threads share."""

    def __init__(
        self,
        plan: Plan,
        files: Sequence[OpenSource],
        scales: Mapping[str, float],
        tensors: Mapping[str, torch.Tensor],
        on_bytes: Callable[[int], None],
    ):
        self.plan, self.files, self.scales, self.on_bytes = plan, files, scales, on_bytes
        self.flat = {job.key: tensors[job.key.removeprefix(plan.bare_prefix)].view(-1) for job in plan.jobs}
        self.failures = Failures()
        self.tally = Tally()

    def work(self, blocks: Iterator[Block]) -> None:
        """Merge some of the blocks."""
        kernel = Kernel(Reader(self.files), self.plan.on_nan, self.scales)
        for block in blocks:
            for slab in block.slabs:
                try:
                    kernel.run(slab.job, slab.start, self.flat[slab.job.key][slab.start : slab.start + slab.count])
                except NotFinite as error:
                    raise not_finite(self.files[error.source], error.key) from None
            self.on_bytes(block.size_bytes)
        with self.failures.turn:
            self.tally.merge(kernel.tally)
