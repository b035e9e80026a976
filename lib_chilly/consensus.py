"""What deltas agree on: the sign of each element is elected, and those that have it are averaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def agreed(deltas: Iterable[torch.Tensor], by_count: bool = False) -> torch.Tensor:
    """The mean of the deltas that have the elected sign in an element; 0 where the vote is even.

    An element that is 0 has no part in the vote or in the mean. The sum of the positive ones is taken in the deltas' order, and
    so is that of the negative ones; the mean is the quotient of the elected sum and the number of its terms.

    Args:
        by_count: each delta has one vote; otherwise the larger sum wins.
    """
    import torch

    rest = iter(deltas)
    first = next(rest)
    up, down = first.clamp(min=0), first.clamp(max=0)
    ups, downs = (first > 0).to(torch.int16), (first < 0).to(torch.int16)
    for delta in rest:
        up += delta.clamp(min=0)
        down += delta.clamp(max=0)
        ups += delta > 0
        downs += delta < 0
    is_up, is_down = (ups > downs, downs > ups) if by_count else (up > -down, up < -down)
    return torch.where(is_up, up, torch.where(is_down, down, 0)).div_(torch.where(is_up, ups, downs).clamp_(min=1))
