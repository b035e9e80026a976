"""Dot products of whole tensors and of their rows, in float64, summed in a tree that nothing but their length decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1 << 16
"""Elements of a whole tensor that are summed by themselves first."""

_AT_ONCE = 1 << 17
"""Elements that are widened at once."""


def dot(left: Tensor, right: Tensor) -> Tensor:
    """The sum of the products of all elements: 0-d, float64."""
    return _whole(lambda one, other: summed_rows(one * other), left, right).view(())


def norm(values: Tensor) -> Tensor:
    """The L2 norm: 0-d, float64."""
    return _whole(lambda each: summed_rows(each * each), values).view(()).sqrt()


def magnitude(values: Tensor) -> Tensor:
    """The L1 norm, the sum of magnitudes: 0-d, float64."""
    return _whole(lambda each: summed_rows(each.abs()), values).view(())


def row_dots(left: Tensor, right: Tensor) -> Tensor:
    """The dot product of each row of [N, K] tensors: [N, 1], float64."""
    return _rows(lambda one, other: summed_rows(one * other), left, right)


def gaps(left: Tensor, right: Tensor, left_norm: Tensor, right_norm: Tensor) -> Tensor:
    """The norms of |right| left - |right| right and of their sum: [2], float64."""
    return _whole(lambda one, other: _gaps(one * right_norm, other * left_norm), left, right).view(2).sqrt()


def row_gaps(left: Tensor, right: Tensor, left_norm: Tensor, right_norm: Tensor) -> Tensor:
    """The same of each row of [N, K] tensors, whose norms are [N, 1]: [N, 2]."""
    return _rows(lambda *each: _gaps(each[0] * each[3], each[1] * each[2]), left, right, left_norm, right_norm).sqrt()


def gram(tensors: Sequence[Tensor], base: Tensor | None = None) -> list[list[float]]:
    """The dot products of all pairs, as they are or less `base`."""
    pairs = list(combinations_with_replacement(range(len(tensors)), 2))

    def products(*rows: Tensor) -> Tensor:
        import torch

        found = rows if base is None else [each - rows[-1] for each in rows[:-1]]
        return torch.cat([summed_rows(found[one] * found[other]) for one, other in pairs], 1)

    sums = _whole(products, *tensors, *([] if base is None else [base])).view(-1).tolist()
    table = dict(zip(pairs, sums, strict=True))
    numbers = range(len(tensors))
    return [[table[min(one, other), max(one, other)] for other in numbers] for one in numbers]


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """A quotient that is 0 where it would be divided by 0."""
    return (above / below).masked_fill(below == 0, 0)


def scaled(values: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """The values times a float64 factor, one for all or [N, 1] for the rows of [N, K].

    A factor beyond the values' type, which makes much of what is hardly there, is multiplied with in float64.
    """
    import torch

    narrow = factor.to(values.dtype)
    if bool(narrow.isfinite().all()):
        return torch.mul(values, narrow, out=out)
    found = torch.empty_like(values, memory_format=torch.contiguous_format) if out is None else out
    rows = factor.double().view(-1, 1)
    most = max(1, _AT_ONCE // rows.numel())
    parts = (each.view(rows.numel(), -1).split(most, 1) for each in (found, values.contiguous()))
    for target, part in zip(*parts, strict=True):
        target.copy_(part * rows)
    return found


def summed_rows(values: Tensor) -> Tensor:
    """The sum of each row of [N, K], which is used up: its second half is added to its first, again and again."""
    length = values.shape[1]
    if length == 0:
        return values.new_zeros((values.shape[0], 1))
    while length > 1:
        half = 1 << (length - 1).bit_length() - 1
        values[:, : length - half] += values[:, half:length]
        length = half
    return values[:, :1].clone()


def _gaps(left: Tensor, right: Tensor) -> Tensor:
    import torch

    return torch.cat([summed_rows(each.square_()) for each in (left - right, left + right)], 1)


def _whole(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """The sum, [K, 1], of what a function makes of each block of tensors: [N, K] of [N, elements]."""
    flat = [each.reshape(-1) for each in tensors]
    whole = flat[0].numel() // _BLOCK * _BLOCK
    blocks = _rows(function, *(each[:whole].view(-1, _BLOCK) for each in flat))
    return summed_rows(blocks.t().contiguous()) + function(*(each[whole:].view(1, -1).double() for each in flat)).t()


def _rows(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """What a function makes of rows of tensors in float64, some at a time."""
    import torch

    rows, length = tensors[0].shape
    most = max(1, _AT_ONCE // max(1, length))
    starts = range(0, max(rows, 1), most)
    return torch.cat([function(*(each[start : start + most].double() for each in tensors)) for start in starts])
