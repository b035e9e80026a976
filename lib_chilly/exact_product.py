"""Products of matrices whose bits do not depend on the order of their sums: not on threads, blocks, libraries or devices.

Each factor is split into two parts of few bits on a fixed grid, so that every product of parts and every sum of these is a whole
number of steps of at most 2^53: float64 holds it exactly, whoever adds. What is left out is about 2^-44 of the largest products.
"""

from __future__ import annotations

import torch


class ExactProduct:
    """left @ right in float64, some rows at a time.

    Args:
        left: (m, r), finite, of any floating-point type.
        right: (r, n), the same, on the same device.
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor):
        bits = (53 - (left.shape[1] - 1).bit_length()) // 2
        self._left = _split(left.double(), 1, bits)
        self._right = _split(right.double(), 0, bits)

    def rows(self, first: int, end: int) -> torch.Tensor:
        """Rows [first, end) of the product: the same bits as in the whole of it."""
        high, low = (part[first:end] for part in self._left)
        near, far = self._right
        # Three exact products; only these two sums are rounded.
        return high @ near + (high @ far + low @ near)


def _split(values: torch.Tensor, dimension: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`values` on a grid of 2^-bits of the largest of its row or column, and what is left on a finer one."""
    largest = values.abs().amax(dimension, keepdim=True)
    power = torch.where(largest > 0, largest / torch.frexp(largest).mantissa, 1.0)
    step = power * 2.0**-bits
    high = torch.round(values / step) * step
    finer = step * 2.0 ** -(bits + 1)
    return high, torch.round((values - high) / finer) * finer
