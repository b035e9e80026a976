"""Masks of whole bits, made and used without a comparison or a branch, which cost several times what arithmetic does.

A bit mask is an integer tensor of the values' width that is -1 (all bits) where something holds and 0 elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def below(left: torch.Tensor, right: torch.Tensor | float) -> torch.Tensor:
    """The bit mask of where finite `left` is below `right`, neither of them -0: the sign of their difference."""
    return negative(bits_of(left - right))


def negative(bits: torch.Tensor) -> torch.Tensor:
    """The bit mask of where an integer, or the float that it is the bits of, has a sign; written into it."""
    return bits.bitwise_right_shift_(8 * bits.element_size() - 1)


def only_where(mask: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values where the mask, of bits or bool, is, and 0 elsewhere: a new tensor; all of one shape."""
    bits = bits_of(values)
    return (_of_bits(mask, bits) & bits).view(values.dtype)


def choose(mask: torch.Tensor, values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The values where the mask, of bits or bool, is, and the others elsewhere: a new tensor; all of one shape."""
    one, other = bits_of(values), bits_of(others)
    return (one ^ other).bitwise_and_(_of_bits(mask, one)).bitwise_xor_(other).view(values.dtype)


def bits_of(values: torch.Tensor) -> torch.Tensor:
    """A float's bits as integers of the same width; the same memory."""
    import torch

    return values.view(torch.int64 if values.element_size() == 8 else torch.int32)


def _of_bits(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    import torch

    return mask.to(like.dtype).neg_() if mask.dtype is torch.bool else mask.to(like.dtype)
