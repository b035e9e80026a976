"""Dot products of whole tensors and of their rows, in float64, summed in a tree that nothing but their length decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1 << 16
"""Elements that are summed by themselves first."""

_AT_ONCE = 1 << 18
"""Elements that are widened at once."""


def dot(left: Tensor, right: Tensor) -> Tensor:
    """The sum of the products of all elements: 0-d, float64."""
    whole = left.numel() // _BLOCK * _BLOCK
    one, other = left.reshape(-1), right.reshape(-1)
    sums = row_dots(one[:whole].view(-1, _BLOCK), other[:whole].view(-1, _BLOCK))
    rest = row_dots(one[whole:].view(1, -1), other[whole:].view(1, -1))
    return (_summed(sums.view(1, -1)) + rest).view(())


def norm(values: Tensor) -> Tensor:
    """The L2 norm: 0-d, float64."""
    return dot(values, values).sqrt()


def total(values: Tensor) -> Tensor:
    """The sum of all elements, which are widened at once: 0-d, float64."""
    return _summed(values.reshape(1, -1).double()).view(())


def row_dots(left: Tensor, right: Tensor) -> Tensor:
    """The dot product of each row of [N, K] tensors: [N, 1], float64."""
    import torch

    rows, length = left.shape
    most = max(1, _AT_ONCE // max(1, length))
    found = [
        _summed(left[start : start + most].double() * right[start : start + most].double()) for start in range(0, rows, most)
    ]
    return torch.cat(found) if found else left.new_zeros((0, 1), dtype=torch.float64)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """A quotient that is 0 where it would be divided by 0."""
    return (above / below).masked_fill(below == 0, 0)


def _summed(values: Tensor) -> Tensor:
    """The sum of each row: its second half is added to its first, again and again; what lacks to a power of two counts 0."""
    length = values.shape[1]
    if length == 0:
        return values.new_zeros((values.shape[0], 1))
    size = 1 << (length - 1).bit_length()
    if size > length:
        size //= 2
        head = values[:, :size].clone()
        head[:, : length - size] += values[:, size:]
        values = head
    while size > 1:
        size //= 2
        values = values[:, :size] + values[:, size:]
    return values
