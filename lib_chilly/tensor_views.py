"""Other ways to see stored tensors, for formats that cut them otherwise: joined, cut, turned, reshaped. Headers only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from .header import TensorInfo

View = Callable[[TensorInfo], TensorInfo]


def joined(pieces: Sequence[TensorInfo]) -> TensorInfo | None:
    """The tensor that has these one below the other; None where they do not fit together, or are scaled."""
    first = pieces[0]
    if any(p.dtype != first.dtype or p.shape[1:] != first.shape[1:] or not p.shape or p.scale or p.transposed for p in pieces):
        return None
    rows = sum(piece.shape[0] for piece in pieces)
    size = sum(piece.size_bytes for piece in pieces)
    return dataclasses.replace(first, shape=(rows, *first.shape[1:]), size_bytes=size, pieces=tuple(pieces))


def third(number: int) -> View:
    """What cuts out one of three equal parts, one below the other."""

    def cut(info: TensorInfo) -> TensorInfo:
        size = info.size_bytes // 3
        shape = (info.shape[0] // 3, *info.shape[1:])
        found = tuple(
            dataclasses.replace(info, file=file, offset=offset, size_bytes=here, pieces=())
            for file, offset, here in _runs(info.pieces or (info,), number * size, size)
        )
        if len(found) == 1:
            return dataclasses.replace(found[0], shape=shape)
        return dataclasses.replace(info, shape=shape, size_bytes=size, pieces=found)

    return cut


def turned(info: TensorInfo) -> TensorInfo:
    """The matrix with rows and columns exchanged."""
    return dataclasses.replace(info, shape=info.shape[::-1], transposed=not info.transposed)


def squared(info: TensorInfo) -> TensorInfo:
    """A 1 x 1 convolution as the matrix that it is."""
    return dataclasses.replace(info, shape=info.shape[:2])


def windowed(info: TensorInfo) -> TensorInfo:
    """A matrix as a 1 x 1 convolution."""
    return dataclasses.replace(info, shape=(*info.shape, 1, 1))


def runs(info: TensorInfo, start: int, count: int) -> list[tuple[int, int, int]]:
    """(number of the file, first byte, bytes) of each run that holds `count` elements from `start`; of no turned tensor."""
    size = info.dtype.size_bytes
    if not info.pieces:
        here = min(count * size, info.size_bytes - start * size)
        return [(info.file, info.offset + start * size, here)] if here > 0 else []
    return list(_runs(info.pieces, start * size, count * size))


def _runs(pieces: Sequence[TensorInfo], start: int, size: int) -> Iterator[tuple[int, int, int]]:
    for piece in pieces:
        here = min(piece.size_bytes - start, size)
        if here > 0:
            yield piece.file, piece.offset + start, here
            size -= here
        start = max(0, start - piece.size_bytes)
