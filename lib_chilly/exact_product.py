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
        bits = (52 - (left.shape[1] - 1).bit_length()) // 2
        self._left, low = _split(left.double(), 1, bits)
        self._right, far = _split(right.double(), 0, bits)
        # Of fp16 numbers below an eighth, which most files hold, nothing is left over at ranks up to 1024.
        self._rest = (torch.cat((self._left, low), 1), torch.cat((far, self._right))) if low.any() or far.any() else None

    def rows(self, first: int, end: int) -> torch.Tensor:
        """Rows [first, end) of the product: the same bits as in the whole of it."""
        found = self._left[first:end] @ self._right
        # Both products are exact, only their sum is rounded. A zero of either sign comes out as 0.
        return found.add_(0.0 if self._rest is None else self._rest[0][first:end] @ self._rest[1])


def _split(values: torch.Tensor, dimension: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`values` on a grid of 2^-bits of the largest of its row or column, and what is left on a finer one."""
    largest = values.abs().amax(dimension, keepdim=True)
    power = torch.where(largest > 0, largest / torch.frexp(largest).mantissa, 1.0)
    step = power * 2.0**-bits
    high = torch.round(values / step) * step
    finer = step * 2.0 ** -(bits + 1)
    return high, torch.round((values - high) / finer) * finer
