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

_AT_LAST = 32
"""The share of a long row's elements that is left when rows are added up for all at once."""


def dot(left: Tensor, right: Tensor) -> Tensor:
    """The sum of the products of all elements: 0-d, float64."""
    return _whole(lambda one, other: [one * other], left, right).view(())


def norm(values: Tensor) -> Tensor:
    """The L2 norm: 0-d, float64."""
    return _whole(lambda each: [each * each], values).view(()).sqrt()


def magnitude(values: Tensor) -> Tensor:
    """The L1 norm, the sum of magnitudes: 0-d, float64."""
    return _whole(lambda each: [each.abs()], values).view(())


def row_dots(left: Tensor, right: Tensor) -> Tensor:
    """The dot product of each row of [N, K] tensors: [N, 1], float64."""
    return _rows(lambda one, other: [one * other], left, right)


def gaps(left: Tensor, right: Tensor, left_norm: Tensor, right_norm: Tensor) -> Tensor:
    """The norms of |right| left - |right| right and of their sum: [2], float64."""
    return _whole(lambda one, other: _gaps(one * right_norm, other * left_norm), left, right).view(2).sqrt()


def row_gaps(left: Tensor, right: Tensor, left_norm: Tensor, right_norm: Tensor) -> Tensor:
    """The same of each row of [N, K] tensors, whose norms are [N, 1]: [N, 2]."""
    return _rows(lambda *each: _gaps(each[0] * each[3], each[1] * each[2]), left, right, left_norm, right_norm).sqrt()


def gram(tensors: Sequence[Tensor], base: Tensor | None = None) -> list[list[float]]:
    """The dot products of all pairs, as they are or less `base`."""
    pairs = list(combinations_with_replacement(range(len(tensors)), 2))

    def products(*rows: Tensor) -> list[Tensor]:
        found = rows if base is None else [each - rows[-1] for each in rows[:-1]]
        return [found[one] * found[other] for one, other in pairs]

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


def _halved(values: Tensor, least: int) -> Tensor:
    """The rows of [N, K], which are used up, with their second half added to their first, until they are as short as `least`."""
    length = values.shape[1]
    if length == 0:
        return values.new_zeros((values.shape[0], 1))
    while length > least:
        half = 1 << (length - 1).bit_length() - 1
        values[:, : length - half] += values[:, half:length]
        length = half
    return values[:, :length].clone()


def _gaps(left: Tensor, right: Tensor) -> list[Tensor]:
    return [(left - right).square_(), (left + right).square_()]


def _whole(function: Callable[..., list[Tensor]], *tensors: Tensor) -> Tensor:
    """The sums, [K, 1], of the K things that a function makes of tensors, each of its blocks by itself first."""
    flat = [each.reshape(-1) for each in tensors]
    whole = flat[0].numel() // _BLOCK * _BLOCK
    blocks = _rows(function, *(each[:whole].view(-1, _BLOCK) for each in flat))
    rest = _rows(function, *(each[whole:].view(1, -1) for each in flat))
    return _halved(blocks.t().contiguous(), 1) + rest.t()


def _rows(function: Callable[..., list[Tensor]], *tensors: Tensor) -> Tensor:
    """The sums of the rows, [N, K], of the K new tensors that a function makes of rows in float64, some at a time.

    What is left of long rows after some halvings is added up for all at once: the sums are the same, the calls fewer.
    """
    import torch

    rows, length = tensors[0].shape
    most, least = max(1, _AT_ONCE // max(1, length)), max(1, length // _AT_LAST)
    found = []
    for start in range(0, max(rows, 1), most):
        made = function(*(each[start : start + most].double() for each in tensors))
        found.append([_halved(each, least) for each in made])
    return torch.cat([_halved(torch.cat(parts), 1) for parts in zip(*found, strict=True)], 1)
