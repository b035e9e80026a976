"""A thread's memory on the host, and its way to a GPU and back: what is read, what travels and what is computed overlap."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .fileio import page_buffer
from .room import pinned

CPU = torch.device("cpu")


class Staging:
    """Where one thread's bytes stand between file, device and file.

    On a GPU the memory is pinned, and there are two buffers to read into: one is filled while the other's bytes travel. Work of
    one thread is queued on a stream of its own, so that a thread reads while others' tensors travel or are computed.

    Args:
        device: where calls that do not fold are computed; None for the processor, without any way there. Any kind of device will
            do; the processor's is for tests.
    """

    def __init__(self, device: torch.device | None = None):
        self.is_away = device is not None
        self.device = device or CPU
        self._stream = torch.cuda.Stream(device) if self.device.type == "cuda" else None
        self._buffers = [_Buffer(self._stream) for _ in range(2 if self.is_away else 1)]

    def take(self, size: int) -> tuple[torch.Tensor, memoryview]:
        """A buffer of bytes whose last values have arrived wherever they were sent; twice the same memory."""
        buffer = self._buffers.pop(0)
        self._buffers.append(buffer)
        return buffer.of(size)

    def pages(self, size: int) -> torch.Tensor:
        """Bytes that start on a page, to write files from."""
        found = pinned(size) if self._stream else None
        return torch.frombuffer(page_buffer(size), dtype=torch.uint8) if found is None else found

    def send(self, values: torch.Tensor) -> torch.Tensor:
        """Stored values on the device; those that were read last may still be on their way, and their buffer knows it."""
        there = values.to(self.device, non_blocking=True)
        self._buffers[-1].is_read_by_device()
        return there

    def bring(self, values: torch.Tensor, out: torch.Tensor) -> None:
        """Round values that stand anywhere into host memory; on a device they are rounded before they travel."""
        out.copy_(values.to(out.dtype) if self.is_away else values)

    @contextmanager
    def queue(self) -> Iterator[None]:
        """What is computed inside is queued on this thread's stream."""
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            yield


class _Buffer:
    """Memory that grows, and the mark behind the last copy from it."""

    def __init__(self, stream: torch.cuda.Stream | None):
        self._stream = stream
        self._sent = torch.cuda.Event(blocking=True) if stream else None
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._view = memoryview(b"")

    def of(self, size: int) -> tuple[torch.Tensor, memoryview]:
        if self._sent:
            self._sent.synchronize()
        if self._bytes.numel() < size:
            found = pinned(size) if self._stream else None
            self._bytes = torch.empty(size, dtype=torch.uint8) if found is None else found
            self._view = self._bytes.numpy().data
        return self._bytes[:size], self._view[:size]

    def is_read_by_device(self) -> None:
        if self._sent:
            self._sent.record(self._stream)
