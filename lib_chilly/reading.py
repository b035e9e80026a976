"""Sources open for the pass: each thread reads their values into a buffer of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from .checkpoint import TensorInfo
from .dtypes import torch_dtype
from .errors import CheckpointError
from .fileio import SourceFile
from .memory import SLAB_ELEMENTS
from .sources import Source


class OpenSource:
    """A source's file and the scales of its fp8 tensors."""

    def __init__(self, source: Source, use_mmap: bool):
        self.source = source
        self.file = SourceFile(source.checkpoint.path)
        self.map = self.file.map() if use_mmap else None
        self.scales: dict[str, torch.Tensor] = {}

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
        if self.map is not None:
            with contextlib.suppress(BufferError):  # a tensor still looks into it; the system frees it with that
                self.map.close()
        self.file.close()

    def _scale(self, info: TensorInfo) -> torch.Tensor:
        data = bytearray(self.file.read(info.offset, info.size_bytes))
        return torch.frombuffer(data, dtype=torch_dtype(info.dtype)).to(torch.float32).reshape(())

    def check_unchanged(self) -> None:
        """CheckpointError when the file is no longer the one whose header was read."""
        self.file.check_unchanged(self.source.checkpoint.size_bytes, self.source.checkpoint.mtime_ns)


class Reader:
    """One thread's way to the sources; `read` is what the kernel calls."""

    def __init__(self, files: Sequence[OpenSource]):
        self.files = files
        self.read_bytes = 0
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._view = memoryview(b"")

    def read(self, number: int, key: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Stored values and scale; the values stand in a buffer that the next call reuses."""
        file = self.files[number]
        info = file.source.tensors.get(key)
        if info is None:
            raise CheckpointError(f"'{file.source.name}' has no '{key}' to replace what is not finite there. Name another model.")
        size = info.dtype.size_bytes
        dtype = torch_dtype(info.dtype)
        offset = info.offset + start * size
        if file.map is not None:
            values = torch.frombuffer(file.map, dtype=dtype, count=count, offset=offset)
        else:
            if self._buffer.numel() < count * size:
                self._buffer = torch.empty(count * size, dtype=torch.uint8)
                self._view = self._buffer.numpy().data
            file.file.read_into(self._view[: count * size], offset)
            values = self._buffer[: count * size].view(dtype)
        self.read_bytes += count * size
        return values, file.scales.get(key)


def not_finite(file: OpenSource, key: str) -> CheckpointError:
    """What is said of a tensor that holds NaN or Inf; counts them."""
    info = file.source.tensors[key]
    reader, count = Reader([file]), 0
    for start in range(0, info.elements, SLAB_ELEMENTS):
        values, scale = reader.read(0, key, start, min(SLAB_ELEMENTS, info.elements - start))
        count += int((~torch.isfinite(values.to(torch.float64) * (1 if scale is None else scale))).sum())
    return CheckpointError(
        f"'{file.source.checkpoint.path.name}' holds {count} values that are NaN or Inf in '{key}'. Repair or "
        "replace it, or pass --on-nan take:MODEL to take those values from another model of the recipe."
    )
