"""Sources open for the pass: each thread reads their values into a buffer of its own."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence

import torch

from .checkpoint import TensorInfo
from .dtypes import torch_dtype
from .errors import CheckpointError
from .fileio import SourceFile
from .header import counted
from .key_job import KeyJob
from .lora_delta import delta
from .lora_reading import module_tensors
from .lora_source import LoraTensor
from .lora_values import LoraValues
from .memory import SLAB_ELEMENTS
from .sources import Source
from .staging import Staging
from .tensor_views import runs


class OpenSource:
    """A source's files and the scales of its fp8 tensors."""

    def __init__(self, source: Source, use_mmap: bool):
        self.source = source
        self.scales: dict[str, torch.Tensor] = {}
        self.files: list[SourceFile] = []
        self.maps: list[mmap.mmap] = []
        try:
            for stored in source.checkpoint.files:
                self.files.append(SourceFile(stored.path))
            for file in self.files if use_mmap else ():
                self.maps.append(file.map())
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> OpenSource:
        try:
            return self._opened()
        except BaseException:
            self.__exit__()
            raise

    def _opened(self) -> OpenSource:
        self.check_unchanged()
        self.scales = {key: self._scale(info.scale) for key, info in self.source.tensors.items() if info.scale}
        return self

    def __exit__(self, *_: object) -> None:
        for mapped in self.maps:
            with contextlib.suppress(BufferError):  # a tensor still looks into it; the system frees it with that
                mapped.close()
        for file in self.files:
            file.close()

    def _scale(self, info: TensorInfo) -> torch.Tensor:
        data = bytearray(self.files[info.file].read(info.offset, info.size_bytes))
        return torch.frombuffer(data, dtype=torch_dtype(info.dtype)).to(torch.float32).reshape(())

    def check_unchanged(self) -> None:
        """CheckpointError when a file is no longer the one whose header was read."""
        for file, stored in zip(self.files, self.source.checkpoint.files, strict=True):
            file.check_unchanged(stored.size_bytes, stored.mtime_ns)


class Reader:
    """One thread's way to the sources; `read` is what the kernel calls.

    Args:
        staging: has the memory that is read into; None for one's own.
    """

    def __init__(self, sources: Sequence[OpenSource], staging: Staging | None = None):
        self.sources = sources
        self.read_bytes = 0
        self._staging = staging or Staging()
        self._loras = LoraValues()

    def read(self, number: int, key: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Stored values and scale; the values stand in a buffer that the next call reuses."""
        source = self.sources[number]
        info = source.source.tensors.get(key)
        if info is None:
            raise CheckpointError(
                f"'{source.source.name}' has no '{key}' to replace what is not finite there. Name another model."
            )
        if isinstance(info, LoraTensor):
            self.read_bytes += info.read_bytes * (start == 0)  # its small tensors are read once more by every thread
            return self._loras.read(source.files[0], info, (number, key), start, count), None
        scale = source.scales.get(key)
        if info.transposed:
            return self._turned(source, info, start, count), scale
        parts = runs(info, start, count)
        if source.maps and len(parts) == 1:
            file, offset, size = parts[0]
            self.read_bytes += size
            return torch.frombuffer(source.maps[file], dtype=torch_dtype(info.dtype), count=count, offset=offset), scale
        return self._gather(source, parts).view(torch_dtype(info.dtype)), scale

    def read_on(self, number: int, key: str, weight: torch.Tensor) -> torch.Tensor:
        """What a LoRA adds to a weight, which has its shape; in float64, a new tensor."""
        source = self.sources[number]
        info = source.source.tensors[key]
        assert isinstance(info, LoraTensor)
        self.read_bytes += info.read_bytes
        tensors = module_tensors(source.files[0], info.modules)
        return delta(tensors, info.modules, tuple(weight.shape), base=weight, dtype=torch.float64)

    def will_need(self, job: KeyJob, start: int, count: int) -> None:
        """Announce a later `read` of these elements from every source that the job takes them from."""
        for number in job.reads():
            source = self.sources[number]
            info = source.source.tensors[job.key]
            if isinstance(info, LoraTensor):
                continue
            for file, offset, size in runs(info, start, min(count, info.elements - start)):
                source.files[file].will_need(offset, size)

    def _gather(self, source: OpenSource, parts: Sequence[tuple[int, int, int]]) -> torch.Tensor:
        """The bytes of several runs, one behind the other."""
        size = sum(part[2] for part in parts)
        buffer, view = self._staging.take(size)
        end = 0
        for file, offset, here in parts:
            source.files[file].read_into(view[end : end + here], offset)
            end += here
        self.read_bytes += size
        return buffer

    def _turned(self, source: OpenSource, info: TensorInfo, start: int, count: int) -> torch.Tensor:
        """Elements of a matrix that is stored with rows and columns exchanged: what was stored as columns, out of every row."""
        columns, rows = info.shape
        first, last = start // rows, (start + count - 1) // rows + 1
        size = info.dtype.size_bytes
        width = (last - first) * size
        parts = [(info.file, info.offset + (row * columns + first) * size, width) for row in range(rows)]
        found = self._gather(source, parts).view(torch_dtype(info.dtype)).view(rows, last - first)
        return found.T.reshape(-1)[start - first * rows :][:count]


def not_finite(file: OpenSource, key: str) -> CheckpointError:
    """What is said of a tensor that holds NaN or Inf, and counts them; or else of one whose values are too large for a sum."""
    info = file.source.tensors[key]
    reader, count, largest = Reader([file]), 0, 0.0
    for start in range(0, info.elements, SLAB_ELEMENTS):
        values, scale = reader.read(0, key, start, min(SLAB_ELEMENTS, info.elements - start))
        wide = values.to(torch.float64) * (1 if scale is None else scale)
        count += int((~torch.isfinite(wide)).sum())
        largest = max(largest, wide.abs().max().item())
    name, does = f"'{file.source.checkpoint.path.name}'", "adds values" if file.source.lora else "holds values"
    if not count:
        return CheckpointError(
            f"{name} {does} as large as {largest:.2g} {'to' if file.source.lora else 'in'} '{key}', more than float32 holds. "
            "Use another release of it, or a merge in float64 (--compute float64)."
        )
    return CheckpointError(
        f"{name} holds NaN or Inf in {counted(count, 'value')} of '{key}'. Repair or "
        "replace it, or pass --on-nan take:MODEL to take those values from another model of the recipe."
    )
