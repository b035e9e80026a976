"""Exact selection by magnitude: the largest, the smallest, or a range of ranks, without sorting.

A float's magnitude is ordered as its bits without the sign are, so its rank is found digit by digit of 16 bits, from the top: how
often each digit stands there is counted, and only what has the digit at the rank is looked at further. Float32 takes two passes,
float64 four, nothing is converted. Of equal magnitudes those of lower index come first, in either direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

_DIGIT = 0xFFFF
_SLAB = 1 << 20
"""Elements that are looked at at once; none of the scratch is longer, but for values that share a digit with the rank."""


def kept(density: float, elements: int) -> int:
    """How many of `elements` a density keeps: the nearest number, at least one where the density is above 0."""
    least = 1 if density > 0 else 0
    return min(max(round(min(max(density, 0.0), 1.0) * elements), least), elements)


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Where the `count` elements of largest magnitude stand: a mask of the values' shape."""
    return _extreme(values, count, True)


def smallest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Where the `count` elements of smallest magnitude stand: a mask of the values' shape."""
    return _extreme(values, count, False)


def ranked(values: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """Where the elements of rank `start` to `stop`, without that, stand; the largest has rank 0."""
    return largest(values, stop) if start == 0 else largest(values, stop) & ~largest(values, start)


def magnitude_at(values: torch.Tensor, rank: int) -> torch.Tensor:
    """The magnitude of that rank, the largest has rank 0: a tensor without dimensions."""
    import torch

    flat = values.reshape(-1)
    bits = _at(flat, flat.numel() - 1 - rank).bits
    return torch.tensor(bits, dtype=_bits(flat[:0]).dtype, device=values.device).view(values.dtype)


class _Element(NamedTuple):
    """Bits without the sign, how many are smaller, and how many are as large, itself included."""

    bits: int
    smaller: int
    equal: int


def _extreme(values: torch.Tensor, count: int, is_largest: bool) -> torch.Tensor:
    import torch

    flat = values.reshape(-1)
    elements = flat.numel()
    if not 0 < count < elements:
        return torch.full(values.shape, count > 0, dtype=torch.bool, device=values.device)
    last = _at(flat, elements - count if is_largest else count - 1)
    lacking = count - (elements - last.smaller - last.equal if is_largest else last.smaller)
    are_all = lacking == last.equal
    compare = (torch.ge if are_all else torch.gt) if is_largest else (torch.le if are_all else torch.lt)
    mask = torch.empty(elements, dtype=torch.bool, device=values.device)
    for part, found in zip(flat.split(_SLAB), mask.split(_SLAB), strict=True):
        bits = _bits(part)
        compare(bits, last.bits, out=found)
        if lacking and not are_all:
            first = (bits == last.bits).nonzero()[:lacking, 0]
            found[first] = True
            lacking -= first.numel()
    return mask.view(values.shape)


def _at(flat: torch.Tensor, place: int) -> _Element:
    """The element at a place counted from the smallest, which has place 0."""
    import torch

    bits = smaller = equal = 0
    parts = flat.split(_SLAB)
    for shift in (48, 32, 16, 0) if flat.element_size() == 8 else (16, 0):
        counts = torch.zeros(_DIGIT + 1, dtype=torch.int64, device=flat.device)
        for part in parts:
            counts += torch.bincount((_bits(part) >> shift) & _DIGIT, minlength=_DIGIT + 1)
        up_to = counts.cumsum(0)
        digit = int(torch.searchsorted(up_to, place - smaller, right=True))
        equal = int(counts[digit])
        smaller += int(up_to[digit]) - equal
        bits = bits << 16 | digit
        parts = torch.cat([part[((_bits(part) >> shift) & _DIGIT) == digit] for part in parts]).split(_SLAB)
    return _Element(bits, smaller, equal)


def _bits(part: torch.Tensor) -> torch.Tensor:
    """The bits without the sign, as integers."""
    import torch

    if part.element_size() == 8:
        return part.view(torch.int64) & 0x7FFFFFFFFFFFFFFF
    return part.view(torch.int32) & 0x7FFFFFFF
