"""All keys of a group in one launch of a Triton kernel, each tensor wherever it lies: on the GPU, or pinned on the host."""

import sys
from collections.abc import Iterator

import numpy as np
import torch
import triton
import triton.language as tl

from .passes import Group, Pass
from .resident_sources import FUSED_DTYPES

_TILE = 4096
_NEAR_TILES = 1 << 14
"""A launch takes as long as passing over so many tiles that are left alone."""
_MOST_SOURCES = 30
"""Kinds of sources and output are handed over in the bits of one number."""


@triton.jit
def _pointers(address, at, kind: tl.constexpr, tile: tl.constexpr):
    """Where the elements of a tile lie; `kind` is the dtype's place in FUSED_DTYPES."""
    if kind == 0:
        start = address.to(tl.pointer_type(tl.float16))
    elif kind == 1:
        start = address.to(tl.pointer_type(tl.bfloat16))
    elif kind == 2:
        start = address.to(tl.pointer_type(tl.float32))
    else:
        start = address.to(tl.pointer_type(tl.float64))
    return tl.multiple_of(start + at, 16) + tl.arange(0, tile)


@triton.jit
def _sum_tile(
    table,
    weights,
    at,
    left,
    sources: tl.constexpr,
    kinds: tl.constexpr,
    wide: tl.constexpr,
    tile: tl.constexpr,
    cut: tl.constexpr,
):
    """Sum one tile; `cut` where it ends after `left` elements."""
    inside = tl.arange(0, tile) < left
    # Adding to -0 changes nothing, not even a zero's sign; tl.full would make 0 of it.
    total = (tl.full([tile], -1.0, tl.float64) if wide else tl.full([tile], -1.0, tl.float32)) * 0.0
    for source in tl.static_range(sources):
        weight = tl.load(weights + source)
        is_read = weight != 0.0
        place = _pointers(tl.load(table + source), at, (kinds >> (2 * source)) & 3, tile)
        values = tl.load(place, mask=inside & is_read, other=0.0) if cut else tl.load(place, mask=is_read, other=0.0)
        total = tl.where(is_read, total + values.to(total.dtype) * weight.to(total.dtype), total)
    place = _pointers(tl.load(table + sources), at, (kinds >> (2 * sources)) & 3, tile)
    if cut:
        tl.store(place, total.to(place.dtype.element_ty), mask=inside)
    else:
        tl.store(place, total.to(place.dtype.element_ty))


@triton.jit(do_not_specialize=["first"])
def _sum_tiles(
    tables,
    weights,
    counts,
    keys,
    numbers,
    first,
    sources: tl.constexpr,
    kinds: tl.constexpr,
    wide: tl.constexpr,
    tile: tl.constexpr,
):
    """Sum the tile of a key that this program is given; a key has one row of addresses, and one of weights with a mark behind."""
    here = first + tl.program_id(0)
    key = tl.load(keys + here).to(tl.int64)
    row = key * (sources + 1)
    if tl.load(weights + row + sources) != 0.0:
        at = tl.load(numbers + here).to(tl.int64) * tile
        left = tl.load(counts + key) - at
        if left >= tile:
            _sum_tile(tables + row, weights + row, at, left, sources, kinds, wide, tile, False)
        else:
            _sum_tile(tables + row, weights + row, at, left, sources, kinds, wide, tile, True)


class TritonPass(Pass):
    """One launch for all that changed, or a few where changes lie far apart; allocates nothing after it was made."""

    name = "triton"

    def __init__(self, group: Group):
        super().__init__(group)
        signature, device = group.signature, group.device
        tiles = -(-group.counts // _TILE)
        self._first = np.concatenate([[0], np.cumsum(tiles)])
        numbers = np.concatenate([np.arange(count) for count in tiles])
        keys = np.repeat(np.arange(len(tiles)), tiles)
        self._keys, self._numbers = (torch.from_numpy(column.astype(np.int32)).to(device) for column in (keys, numbers))
        self._tables, self._counts = (torch.from_numpy(table).to(device) for table in (group.addresses, group.counts))
        self._sent = torch.zeros(group.addresses.shape, dtype=torch.float64, pin_memory=True)
        self._weights, self._arrived = torch.zeros_like(self._sent, device=device), torch.cuda.Event()
        kinds = [FUSED_DTYPES.index(name) for name in (*signature.sources, signature.output)]
        self._kinds = sum(kind << (2 * place) for place, kind in enumerate(kinds))
        self._warps = 4 if max(kinds) < FUSED_DTYPES.index("fp32") else 8

    @classmethod
    def fits(cls, group: Group) -> bool:
        reads_host = group.is_on_device or sys.platform == "linux"  # elsewhere pinned memory has another address on the GPU
        return group.device.type == "cuda" and reads_host and len(group.signature.sources) <= _MOST_SOURCES

    def run(self, coefficients: np.ndarray, todo: np.ndarray) -> None:
        self._arrived.synchronize()  # what the last call sent
        sent = self._sent.numpy()
        sent[:, :-1], sent[:, -1] = coefficients, todo
        self._weights.copy_(self._sent, non_blocking=True)
        self._arrived.record()
        sources, wide = len(self.group.signature.sources), self.group.signature.compute == "float64"
        for first, count in self._spans(todo):
            _sum_tiles[(count,)](
                *(self._tables, self._weights, self._counts, self._keys, self._numbers, first, sources, self._kinds, wide, _TILE),
                num_warps=self._warps,
                enable_fp_fusion=False,
            )

    def _spans(self, todo: np.ndarray) -> Iterator[tuple[int, int]]:
        """(first tile, tiles) of each launch: of changed keys, and of small gaps between them, whose programs end at once."""
        keys = np.flatnonzero(todo)
        starts, ends = self._first[keys], self._first[keys + 1]
        cuts = np.flatnonzero(starts[1:] - ends[:-1] > _NEAR_TILES) + 1
        for span in np.split(np.arange(len(keys)), cuts):
            yield int(starts[span[0]]), int(ends[span[-1]] - starts[span[0]])
