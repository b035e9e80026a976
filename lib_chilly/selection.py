"""Exact selection by magnitude: the largest, the smallest, or a range of ranks, without sorting.

A float's magnitude is ordered as its bits without the sign are, so that of a rank is found digit by digit of 16 bits, from the
top: how often each digit stands there is counted, and only what has the digit of the rank is looked at further. Float32 takes
two passes, float64 four, nothing is converted. Of equal magnitudes those of lower index come first, in either direction.

Values are given in flat slabs that can be gone through again, and masks are too: no scratch is as large as a tensor, but for
values whose first digit is that of the rank.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_DIGIT = 0xFFFF


@dataclass(frozen=True)
class Selection:
    """Which elements are selected: those beyond a magnitude, and the first few that have it.

    Attributes:
        bits: of that magnitude.
        is_largest: whether beyond is above.
        count: how many have the magnitude and are selected.
        of: how many have it.
    """

    bits: int
    is_largest: bool
    count: int
    of: int

    def masks(self, values: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Where selected elements stand, slab by slab, of the values that were selected from."""
        lacking = self.count
        for part in values:
            bits = _bits(part)
            if self.count == self.of:
                yield bits >= self.bits if self.is_largest else bits <= self.bits
                continue
            mask = bits > self.bits if self.is_largest else bits < self.bits
            if lacking:
                first = (bits == self.bits).nonzero()[:lacking, 0]
                mask[first] = True
                lacking -= first.numel()
            yield mask


def kept(density: float, elements: int) -> int:
    """How many of `elements` a density keeps: the nearest number, at least one where the density is above 0."""
    least = 1 if density > 0 else 0
    return min(max(round(min(max(density, 0.0), 1.0) * elements), least), elements)


def largest(values: Iterable[torch.Tensor], count: int, elements: int) -> Selection:
    """The `count` of largest magnitude."""
    if not 0 < count < elements:
        return _all_or_none(count > 0)
    bits, smaller, equal = _at(values, elements - count)
    return Selection(bits, True, count - (elements - smaller - equal), equal)


def smallest(values: Iterable[torch.Tensor], count: int, elements: int) -> Selection:
    """The `count` of smallest magnitude."""
    if not 0 < count < elements:
        return _all_or_none(count > 0)
    bits, smaller, equal = _at(values, count - 1)
    return Selection(bits, False, count - smaller, equal)


def magnitude_at(values: Iterable[torch.Tensor], place: int) -> torch.Tensor:
    """The magnitude at a place counted from the smallest, which has place 0: a tensor without dimensions."""
    import torch

    some = next(iter(values))
    return torch.tensor(_at(values, place)[0], dtype=_bits(some[:0]).dtype, device=some.device).view(some.dtype)


def _all_or_none(is_all: bool) -> Selection:
    """By a magnitude below or above any."""
    return Selection(-1, is_all, 0, 0)


def _at(values: Iterable[torch.Tensor], place: int) -> tuple[int, int, int]:
    """The bits of the magnitude at a place, how many are smaller, and how many are as large."""
    import torch

    bits = smaller = equal = 0
    shifts = (48, 32, 16, 0) if next(iter(values)).element_size() == 8 else (16, 0)
    for shift in shifts:
        digits = ((_bits(part) >> shift) & _DIGIT for part in values)
        counts = functools.reduce(torch.add, (torch.bincount(part, minlength=_DIGIT + 1) for part in digits))
        up_to = counts.cumsum(0)
        digit = int(torch.searchsorted(up_to, place - smaller, right=True))
        equal = int(counts[digit])
        smaller += int(up_to[digit]) - equal
        bits = bits << 16 | digit
        if shift:
            values = [torch.cat([part[((_bits(part) >> shift) & _DIGIT) == digit] for part in values])]
    return bits, smaller, equal


def _bits(part: torch.Tensor) -> torch.Tensor:
    """The bits without the sign, as integers."""
    import torch

    if part.element_size() == 8:
        return part.view(torch.int64) & 0x7FFFFFFFFFFFFFFF
    return part.view(torch.int32) & 0x7FFFFFFF
