"""Memory for tensors that stay: on the device while there is room, else on the host, pinned where a GPU is to read it."""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref

import torch

_KEPT_FREE = 0.25
"""Share of a GPU's memory that is left to whoever uses the model."""
_HOST_SHARE, _UNKNOWN_HOST_BYTES = 0.5, 16 << 30


class Room:
    """Hands out memory until none is left.

    Args:
        device: a GPU, or the processor, which has the host's memory alone.
        device_bytes, host_bytes: the most of each kind; None for what the machine can spare.
    """

    def __init__(self, device: torch.device, device_bytes: int | None = None, host_bytes: int | None = None):
        self.device, self.device_bytes = device, device_bytes
        self.host_bytes = spare_host_bytes() if host_bytes is None else host_bytes
        self._on_device = self._on_host = 0

    def take(self, size: int) -> torch.Tensor | None:
        """A buffer of bytes with anything in them; None where there is no room."""
        if size <= self._device_left():
            with contextlib.suppress(torch.cuda.OutOfMemoryError):  # what is left may be in pieces
                buffer = torch.empty(size, dtype=torch.uint8, device=self.device)
                self._on_device += size
                return buffer
        if size > self.host_bytes - self._on_host:
            return None
        found = pinned(size) if self.device.type == "cuda" else torch.empty(size, dtype=torch.uint8)
        self._on_host += 0 if found is None else size
        return found

    def give_back(self, buffer: torch.Tensor) -> None:
        """Count a buffer as free; its memory goes when nothing looks into it any more."""
        if buffer.device.type == "cpu":
            self._on_host -= buffer.numel()
        else:
            self._on_device -= buffer.numel()

    def _device_left(self) -> int:
        if self.device.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        spare = free - int(total * _KEPT_FREE)
        return spare if self.device_bytes is None else min(spare, self.device_bytes - self._on_device)


def pinned(size: int) -> torch.Tensor | None:
    """Host memory that a GPU can read; None where the system refuses.

    torch's own pinned memory comes in powers of two, up to twice of what was asked for.
    """
    runtime = torch.cuda.cudart()
    try:
        memory = mmap.mmap(-1, size)
    except OSError:
        return None
    buffer = torch.frombuffer(memory, dtype=torch.uint8)
    address = buffer.data_ptr()
    if int(runtime.cudaHostRegister(address, size, 0)):
        return None

    def unpin() -> None:
        torch.cuda.synchronize()  # something may still be reading
        runtime.cudaHostUnregister(address)

    weakref.finalize(memory, unpin).atexit = False
    return buffer


def spare_host_bytes() -> int:
    """Of this machine's memory, what may be taken for tensors."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not say
        total = _UNKNOWN_HOST_BYTES
    return int(total * _HOST_SHARE)
