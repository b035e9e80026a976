"""Exact selection by magnitude: the largest, the smallest, or a range of ranks, without sorting.

A float's magnitude is ordered as its bits without the sign are, so that of a rank is found digit by digit of 16 bits, from the
top: how often each digit stands there is counted, and only what has the digit of the rank is looked at further. Float32 takes
two passes, float64 four, nothing is converted. Of equal magnitudes those of lower index come first, in either direction.

Values are given in flat slabs that can be gone through again, and masks are too: no scratch is as large as a tensor, but for
values whose first digit is that of the rank.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .bit_masks import bits_of, negative

if TYPE_CHECKING:
    import torch

_DIGIT = 0xFFFF


@dataclass(frozen=True)
class Selection:
    """Which elements are selected: those beyond a magnitude, and the first that have it.

    Attributes:
        bits: of that magnitude.
        is_largest: whether beyond is above.
        equal: how many have the magnitude in each slab.
        count: how many of these are selected, from the first on.
    """

    bits: int
    is_largest: bool
    equal: Sequence[int]
    count: int

    def masks(self, values: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Bit masks of the selected elements, slab by slab, of the values that were selected from."""
        lacking = self.count
        for part, equal in zip(values, self.equal, strict=True):
            magnitudes = _magnitudes(part)
            taken, lacking = min(lacking, equal), max(lacking - equal, 0)
            if 0 < taken < equal:
                first = (magnitudes == self.bits).nonzero()[:taken, 0]
                yield self._beyond(magnitudes, False).index_fill_(0, first, -1)
            else:
                yield self._beyond(magnitudes, taken == equal)

    def _beyond(self, magnitudes: torch.Tensor, is_itself: bool) -> torch.Tensor:
        """What lies beyond the magnitude, or has it; none is as large as the largest integer, which is NaN's."""
        if self.is_largest:
            return negative((self.bits - is_itself) - magnitudes)
        return negative(magnitudes - (self.bits + is_itself))


def kept(density: float, elements: int) -> int:
    """How many of `elements` a density keeps: the nearest number, at least one where the density is above 0."""
    least = 1 if density > 0 else 0
    return min(max(round(min(max(density, 0.0), 1.0) * elements), least), elements)


def largest(values: Iterable[torch.Tensor], count: int, elements: int) -> Selection:
    """The `count` of largest magnitude, from 1 to all."""
    bits, smaller, equal = _at(values, elements - count)
    return Selection(bits, True, equal, count - (elements - smaller - sum(equal)))


def smallest(values: Iterable[torch.Tensor], count: int) -> Selection:
    """The `count` of smallest magnitude, from 1 to all."""
    bits, smaller, equal = _at(values, count - 1)
    return Selection(bits, False, equal, count - smaller)


def magnitude_at(values: Iterable[torch.Tensor], place: int) -> torch.Tensor:
    """The magnitude at a place counted from the smallest, which has place 0: a tensor without dimensions."""
    import torch

    some = next(iter(values))
    return torch.tensor(_at(values, place)[0], dtype=bits_of(some).dtype, device=some.device).view(some.dtype)


def _at(values: Iterable[torch.Tensor], place: int) -> tuple[int, int, Sequence[int]]:
    """The bits of the magnitude at a place, how many are smaller, and how many in each slab are as large."""
    import torch

    bits = smaller = 0
    shifts = (48, 32, 16, 0) if next(iter(values)).element_size() == 8 else (16, 0)
    for shift in shifts:
        # One count of all that is left costs less than one for each slab's few.
        counted = values if shift == shifts[0] else [torch.cat(list(values))]
        counts = functools.reduce(torch.add, (torch.bincount(_digits(part, shift), minlength=_DIGIT + 1) for part in counted))
        up_to = counts.cumsum(0)
        digit = int(torch.searchsorted(up_to, place - smaller, right=True))
        smaller += int(up_to[digit] - counts[digit])
        bits = bits << 16 | digit
        values = [part[_digits(part, shift) == digit] for part in values]
    return bits, smaller, [part.numel() for part in values]


def _digits(part: torch.Tensor, shift: int) -> torch.Tensor:
    return _magnitudes(part).bitwise_right_shift_(shift).bitwise_and_(_DIGIT)


def _magnitudes(part: torch.Tensor) -> torch.Tensor:
    """The bits without the sign, as integers."""
    return bits_of(part) & (0x7FFFFFFFFFFFFFFF if part.element_size() == 8 else 0x7FFFFFFF)
