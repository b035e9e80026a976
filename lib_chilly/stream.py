"""Plan -> file: each needed byte of the sources is read once, the output is hashed as it is written, in its own order.

Only tensors that get a scale of their own are read twice: first they are measured, see measure.py.

Threads take blocks of the output in turn. A block is read and summed slab by slab by one thread; then, when all before it are
hashed, it is hashed and written. So memory is threads times a block, whatever the number and the size of the sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import torch

from .dtypes import torch_dtype
from .kernel import Kernel
from .matching import match_units
from .measure import measure_scales
from .memory import BLOCK_BYTES, Block, blocks_of
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .staging import Staging
from .tally import NotFinite, Tally
from .workers import Failures, single_threaded_torch, work_together


class Target(Protocol):
    """Where the bytes go."""

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Take some bytes of the output; called from many threads."""


@dataclass
class StreamResult:
    """What the pass saw; hashes in hex, `data_sha256` only where it was asked for."""

    sha256: str = ""
    data_sha256: str | None = None
    read_bytes: int = 0
    tally: Tally = field(default_factory=Tally)


def stream(
    plan: Plan,
    header: bytes,
    writer: Target,
    *,
    threads: int,
    use_mmap: bool = False,
    want_data_hash: bool = False,
    on_bytes: Callable[[int], None] = lambda count: None,
    on_measured: Callable[[int], None] = lambda count: None,
    should_stop: Callable[[], bool] = lambda: False,
    device: torch.device | None = None,
) -> StreamResult:
    """Merge into an open writer.

    Args:
        header: the output's first bytes; tensors follow it.
        threads: workers, 1 or more; the file does not depend on it.
        use_mmap: read through mapped files, for local disks; a file cut short meanwhile then kills the process.
        want_data_hash: hash the data section apart from the file, which costs a second hash.
        on_bytes: told how many output bytes were finished, from any thread.
        on_measured: told how many output bytes were measured before, for scales and orders of units, from any thread.
        should_stop: asked between blocks.
        device: as of `staging.Staging`.

    Raises:
        CheckpointError: NaN or Inf in a source, or a source that changed while it was read.
        Interrupted: `should_stop` said so, or Ctrl-C (as KeyboardInterrupt).
        OutputError: the disk does not take it.
    """
    with ExitStack() as stack, single_threaded_torch():
        files = [stack.enter_context(OpenSource(source, use_mmap)) for source in plan.sources]
        plan, matched_bytes = match_units(plan, files, threads, on_measured, should_stop)
        scales, measured_bytes = measure_scales(plan, files, threads, on_measured, should_stop, device)
        run = _Pass(plan, header, writer, files, scales, want_data_hash, on_bytes, should_stop, device)
        run.result.read_bytes = matched_bytes + measured_bytes
        run.work(threads)
        for file in files:
            file.check_unchanged()
    return run.finish()


class _Pass:
    """The state that the worker threads share."""

    def __init__(
        self,
        plan: Plan,
        header: bytes,
        writer: Target,
        files: Sequence[OpenSource],
        scales: Mapping[str, float],
        want_data_hash: bool,
        on_bytes: Callable[[int], None],
        should_stop: Callable[[], bool],
        device: torch.device | None,
    ):
        self.plan, self.header, self.writer, self.files = plan, header, writer, files
        self.scales, self.on_bytes, self.should_stop, self.device = scales, on_bytes, should_stop, device
        self.blocks = blocks_of(plan.jobs)
        self.file_hash = hashlib.sha256(header)
        self.data_hash = hashlib.sha256() if want_data_hash else None
        self.next_hash = 0
        self.threads = 1
        self.failures = Failures()
        self.turn = self.failures.turn
        self.result = StreamResult()

    def work(self, threads: int) -> None:
        """Write the header and all blocks; raises the failure of the earliest block."""
        self.writer.write_at(self.header, 0)
        self.threads = threads
        work_together(threads, self.blocks, self._work, self.failures, self.should_stop)

    def finish(self) -> StreamResult:
        self.result.sha256 = self.file_hash.hexdigest()
        self.result.data_sha256 = self.data_hash.hexdigest() if self.data_hash else None
        return self.result

    def _work(self, blocks: Iterator[Block]) -> None:
        """Merge some of the blocks."""
        staging = Staging(self.device)
        reader = Reader(self.files, staging)
        kernel = Kernel(reader, self.plan.on_nan, self.scales, weighs=True, staging=staging)
        buffer = staging.pages(BLOCK_BYTES)
        for block in blocks:
            if buffer.numel() < block.size_bytes:
                buffer = staging.pages(block.size_bytes)
            self._announce(block.number + self.threads, reader)
            self._fill(block, kernel, buffer)
            self._emit(block, buffer.numpy().data[: block.size_bytes])
        with self.turn:
            self.result.tally.merge(kernel.tally)
            self.result.read_bytes += reader.read_bytes

    def _announce(self, number: int, reader: Reader) -> None:
        """Let the system fetch what a later block reads while this one is summed."""
        for slab in self.blocks[number].slabs if number < len(self.blocks) else ():
            reader.will_need(slab.job, slab.start, slab.count)

    def _fill(self, block: Block, kernel: Kernel, buffer: torch.Tensor) -> None:
        for slab in block.slabs:
            size = slab.count * slab.job.dtype.size_bytes
            out = buffer[slab.place : slab.place + size].view(torch_dtype(slab.job.dtype))
            try:
                kernel.run(slab.job, slab.start, out)
            except NotFinite as error:
                raise not_finite(self.files[error.source], error.key) from None

    def _emit(self, block: Block, data: memoryview) -> None:
        """Hash a block when its turn has come, then write it."""
        with self.turn:
            self.turn.wait_for(lambda: self.failures or self.next_hash == block.number)
            if self.failures:
                return
        self.file_hash.update(data)
        if self.data_hash:
            self.data_hash.update(data)
        with self.turn:
            self.next_hash += 1
            self.turn.notify_all()
        self.writer.write_at(data, len(self.header) + block.offset)
        self.on_bytes(block.size_bytes)
