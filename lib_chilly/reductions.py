"""Sums of whole tensors in float64, in a tree that is the same on every machine, for any number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BLOCK = 1 << 16


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum of all elements: float64, without dimensions.

    Each block of 65536, the last filled up with zeros, is halved until one number is left, its upper half added to its lower;
    then the blocks' sums in the same way.
    """
    import torch

    sums = [_halved(part.to(torch.float64)) for part in values.reshape(-1).split(_BLOCK)]
    while len(sums) > 1:
        sums = [_halved(part) for part in torch.stack(sums).split(_BLOCK)]
    return sums[0]


def _halved(part: torch.Tensor) -> torch.Tensor:
    import torch

    size = 1 << max(part.numel() - 1, 0).bit_length()
    if part.numel() < size:
        part = torch.cat([part, part.new_zeros(size - part.numel())])
    while size > 1:
        size //= 2
        part = part[:size] + part[size:]
    return part[0]
