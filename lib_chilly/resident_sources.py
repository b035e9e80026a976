"""A source's tensors in memory that an update reads at its full speed, those of one lane side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch

from .architecture import NO_LANE
from .dtypes import DType, torch_dtype
from .header import TensorInfo
from .lora_source import LoraTensor
from .reading import OpenSource, Reader
from .room import Room
from .sources import Source
from .workers import Failures, work_together

FUSED_DTYPES = ("fp16", "bf16", "fp32", "fp64")
"""Of tensors that are summed in one pass; a pass knows each by its place in this list."""
_ALIGNED_ELEMENTS = 64
"""Tensors begin at multiples of so many elements: of any dtype, 16 bytes are read at a time."""


def padded(elements: int) -> int:
    """How many elements a tensor takes up on its shelf."""
    return -(-elements // _ALIGNED_ELEMENTS) * _ALIGNED_ELEMENTS


def is_plain(info: TensorInfo) -> bool:
    """Whether a stored tensor can be summed in one pass: not empty, and of values that need no scale."""
    is_stored = not isinstance(info, LoraTensor)
    return is_stored and info.dtype.name in FUSED_DTYPES and info.scale is None and info.elements > 0


class Shelves:
    """Flat tensors, those of one lane in one buffer: by dtype, then by key, so that models of one kind lie alike.

    Args:
        tensors: key to (lane, dtype, elements).
        take: gives a buffer of bytes, or None; asked when a lane is first wanted.
    """

    def __init__(self, tensors: Mapping[str, tuple[str, DType, int]], take: Callable[[int], torch.Tensor | None]):
        self.buffers: dict[str, torch.Tensor | None] = {}
        self._take, self._sizes = take, dict.fromkeys((lane for lane, _, _ in tensors.values()), 0)
        self._places: dict[str, tuple[str, int, DType, int]] = {}
        for key in sorted(tensors, key=lambda key: (tensors[key][1].name, key)):
            lane, dtype, elements = tensors[key]
            self._places[key] = lane, self._sizes[lane], dtype, elements
            self._sizes[lane] += padded(elements) * dtype.size_bytes

    def flat(self, key: str) -> torch.Tensor | None:
        """The tensor's elements; None where there is no room for its lane."""
        lane, offset, dtype, elements = self._places[key]
        if lane not in self.buffers:
            self.buffers[lane] = self._take(self._sizes[lane])
        buffer = self.buffers[lane]
        return None if buffer is None else buffer[offset : offset + elements * dtype.size_bytes].view(torch_dtype(dtype))


class ResidentSource:
    """One source; its tensors are read when they are first wanted.

    Attributes:
        loaded: key to its elements, of those that are here.
        spoilt: keys of tensors that hold NaN or Inf; they are not among the loaded.
    """

    def __init__(self, source: Source, room: Room):
        self.source, self.room = source, room
        lane_of = source.architecture.lane_of
        plain = {key: info for key, info in source.tensors.items() if is_plain(info)}
        self._shelves = Shelves(
            {key: (lane_of(key) or NO_LANE, info.dtype, info.elements) for key, info in plain.items()}, room.take
        )
        self.loaded: dict[str, torch.Tensor] = {}
        self.spoilt: set[str] = set()

    def load(self, keys: Iterable[str], threads: int, should_stop: Callable[[], bool]) -> None:
        """Read those tensors that are not here yet and for which there is room.

        Raises:
            CheckpointError: the file changed meanwhile.
            Interrupted: `should_stop` said so.
        """
        places = {key: self._shelves.flat(key) for key in keys if key not in self.loaded and key not in self.spoilt}
        wanted = [(key, place) for key, place in places.items() if place is not None]
        if not wanted:
            return
        lock, stopped = threading.Lock(), "stopped. The next update goes on from here."
        with OpenSource(self.source, use_mmap=False) as file:

            def work(tasks: Iterator[tuple[str, torch.Tensor]]) -> None:
                reader = Reader([file])
                for key, place in tasks:
                    place.copy_(reader.read(0, key, 0, place.numel())[0])
                    is_finite = bool(torch.isfinite(place).all())
                    with lock:
                        if is_finite:
                            self.loaded[key] = place
                        else:
                            self.spoilt.add(key)

            work_together(threads, wanted, work, Failures(), should_stop, stopped)
            file.check_unchanged()

    def close(self) -> None:
        """Give the memory back."""
        for buffer in self._shelves.buffers.values():
            if buffer is not None:
                self.room.give_back(buffer)
        self.loaded, self._shelves.buffers = {}, {}
