"""Deltas a slab at a time, made anew whenever they are gone through: memory of a tensor costs more to get than to fill."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SLAB = 1 << 18
"""Elements of a slab."""


class Deltas:
    """The slabs of a model less its base, flat; each a new tensor.

    Args:
        size: of a slab; None for the usual one.
    """

    def __init__(self, model: torch.Tensor, base: torch.Tensor, size: int | None = None):
        self._model, self._base, self._size = model, base, size

    def __iter__(self) -> Iterator[torch.Tensor]:
        for part, base in zip(slabs(self._model, self._size), slabs(self._base, self._size), strict=True):
            yield part - base


def slabs(values: torch.Tensor, size: int | None = None) -> Sequence[torch.Tensor]:
    """The values, flat, in parts; the last may be shorter, and without values it is one that is empty."""
    return values.reshape(-1).split(size or SLAB)


def merged(
    base: torch.Tensor,
    scale: float,
    deltas: Iterable[Iterable[torch.Tensor]],
    combine: Callable[[Sequence[torch.Tensor]], torch.Tensor],
    size: int | None = None,
) -> torch.Tensor:
    """base + scale * (what each slab's deltas combine to), of the base's shape.

    Args:
        deltas: slabs of each model's.
        combine: gives a new tensor, or one of its own.
    """
    import torch

    result = torch.empty(base.shape, dtype=base.dtype, device=base.device)
    for found, own, *parts in zip(slabs(result, size), slabs(base, size), *deltas, strict=True):
        torch.add(own, combine(parts).mul_(scale), out=found)
    return result


def added(deltas: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum in the order given, written into the first."""
    total = deltas[0]
    for delta in deltas[1:]:
        total += delta
    return total


def agreed(deltas: Sequence[torch.Tensor], by_count: bool = False) -> torch.Tensor:
    """The mean of the deltas that have the elected sign in an element; 0 where the vote is even.

    An element that is 0 has no part in the vote or in the mean. The sum of the positive ones is taken in the deltas' order, and
    so is that of the negative ones; the mean is the quotient of the elected sum and the number of its terms.

    Args:
        by_count: each delta has one vote; otherwise the larger sum wins.
    """
    import torch

    if by_count:
        elected = added([delta.sign() for delta in deltas]).sign_()
    elif len(deltas) < 3:
        elected = sum(deltas[1:], deltas[0]).sign()
    else:
        up, down = (added([delta.clamp(**bound) for delta in deltas]) for bound in ({"min": 0}, {"max": 0}))
        elected = up.add_(down).sign_()
    total, count = torch.zeros_like(elected), torch.zeros_like(elected)
    for delta in deltas:
        share = (delta * elected).clamp_(min=0)
        total += share
        count += share.sign_()
    return total.mul_(elected).div_(count.clamp_(min=1))
