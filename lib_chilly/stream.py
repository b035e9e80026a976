"""Plan -> file: each needed byte of the sources is read once, the output is hashed as it is written, in its own order.

Threads take blocks of the output in turn. A block is read and summed slab by slab by one thread; then, when all before it are
hashed, it is hashed and written. So memory is threads times a block, whatever the number and the size of the sources.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

from .dtypes import torch_dtype
from .errors import CheckpointError, Interrupted, MergeError
from .fileio import page_buffer
from .kernel import Kernel, NotFinite, Tally
from .memory import BLOCK_BYTES, SLAB_ELEMENTS, Block, blocks_of
from .plan import Plan
from .reading import OpenSource, Reader
from .writer import CheckpointWriter


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
    writer: CheckpointWriter,
    *,
    threads: int,
    use_mmap: bool = False,
    want_data_hash: bool = False,
    on_bytes: Callable[[int], None] = lambda count: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StreamResult:
    """Merge into an open writer.

    Args:
        header: the output's first bytes; tensors follow it.
        threads: workers, 1 or more; the file does not depend on it.
        use_mmap: read through mapped files, for local disks; a file cut short meanwhile then kills the process.
        want_data_hash: hash the data section apart from the file, which costs a second hash.
        on_bytes: told how many output bytes were finished, from any thread.
        should_stop: asked between blocks.

    Raises:
        CheckpointError: NaN or Inf in a source, or a source that changed while it was read.
        Interrupted: `should_stop` said so, or Ctrl-C (as KeyboardInterrupt).
        OutputError: the disk does not take it.
    """
    with ExitStack() as stack, _single_threaded_torch():
        files = [stack.enter_context(OpenSource(source, use_mmap)) for source in plan.sources]
        run = _Pass(plan, header, writer, files, want_data_hash, on_bytes, should_stop)
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
        writer: CheckpointWriter,
        files: Sequence[OpenSource],
        want_data_hash: bool,
        on_bytes: Callable[[int], None],
        should_stop: Callable[[], bool],
    ):
        self.plan, self.header, self.writer, self.files = plan, header, writer, files
        self.on_bytes, self.should_stop = on_bytes, should_stop
        self.blocks = blocks_of(plan.jobs)
        self.file_hash = hashlib.sha256(header)
        self.data_hash = hashlib.sha256() if want_data_hash else None
        self.turn = threading.Condition()
        self.next_block = self.next_hash = 0
        self.failures: list[tuple[int, BaseException]] = []
        self.result = StreamResult()

    def work(self, threads: int) -> None:
        """Write the header and all blocks; raises the failure of the earliest block."""
        self.writer.write_at(self.header, 0)
        workers = [threading.Thread(target=self._worker, daemon=True) for _ in range(max(1, threads))]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)  # a wait without end would hold back Ctrl-C on Windows
        except BaseException as error:
            self._fail(-1, error)
            for worker in workers:
                if worker.ident is not None:
                    worker.join()
        if self.failures:
            raise min(self.failures, key=lambda failure: failure[0])[1]

    def finish(self) -> StreamResult:
        self.result.sha256 = self.file_hash.hexdigest()
        self.result.data_sha256 = self.data_hash.hexdigest() if self.data_hash else None
        return self.result

    def _worker(self) -> None:
        """Take blocks until there are none, or one fails; whatever fails here must stop the pass, or blocks would stay empty."""
        number = -1
        try:
            torch.set_num_threads(1)
            reader = Reader(self.files)
            kernel = Kernel(reader.read, self.plan.on_nan)
            buffer = _page_buffer(BLOCK_BYTES)
            while (block := self._take()) is not None:
                number = block.number
                if buffer.numel() < block.size_bytes:
                    buffer = _page_buffer(block.size_bytes)
                self._fill(block, kernel, buffer)
                self._emit(block, buffer.numpy().data[: block.size_bytes])
            with self.turn:
                self.result.tally.merge(kernel.tally)
                self.result.read_bytes += reader.read_bytes
        except BaseException as error:
            self._fail(number, error)

    def _take(self) -> Block | None:
        with self.turn:
            if self.failures or self.next_block == len(self.blocks):
                return None
            self.next_block += 1
            block = self.blocks[self.next_block - 1]
        if self.should_stop():
            self._fail(block.number, Interrupted("stopped. Nothing was left behind."))
            return None
        return block

    def _fill(self, block: Block, kernel: Kernel, buffer: torch.Tensor) -> None:
        for slab in block.slabs:
            size = slab.count * slab.job.dtype.size_bytes
            out = buffer[slab.place : slab.place + size].view(torch_dtype(slab.job.dtype))
            try:
                kernel.run(slab.job, slab.start, out)
            except NotFinite as error:
                raise self._not_finite(error) from None

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

    def _fail(self, number: int, error: BaseException) -> None:
        with self.turn:
            self.failures.append((number, error))
            self.turn.notify_all()

    def _not_finite(self, error: NotFinite) -> MergeError:
        file = self.files[error.source]
        info = file.source.tensors[error.key]
        reader, count = Reader([file]), 0
        for start in range(0, info.elements, SLAB_ELEMENTS):
            values, scale = reader.read(0, error.key, start, min(SLAB_ELEMENTS, info.elements - start))
            count += int((~torch.isfinite(values.to(torch.float64) * (1 if scale is None else scale))).sum())
        return CheckpointError(
            f"'{file.source.checkpoint.path.name}' holds {count} values that are NaN or Inf in '{error.key}'. Repair or "
            "replace it, or pass --on-nan take:MODEL to take those values from another model of the recipe."
        )


def _page_buffer(size_bytes: int) -> torch.Tensor:
    return torch.frombuffer(page_buffer(size_bytes), dtype=torch.uint8)


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Our threads share the cores already; torch's own would get in their way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
