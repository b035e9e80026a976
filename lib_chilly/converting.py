"""Stored values into the compute type, and sums into the output's: each is rounded once."""

from __future__ import annotations

import torch

E4M3FN_LARGEST, E4M3FN_LIMIT = 448, 464
"""The largest number of fp8_e4m3fn, and of those that are rounded to it."""


def load(target: torch.Tensor, values: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """Convert stored values into `target`'s type, scaled fp8 with its scale, and return it."""
    target.copy_(values)
    return target if scale is None else target.mul_(scale)


def squares(values: torch.Tensor) -> float:
    """The sum of the squares."""
    wide = values.to(torch.float64)
    return torch.dot(wide, wide).item()


def too_large(values: torch.Tensor, dtype: torch.dtype) -> int:
    """How many of finite values a type has no number for."""
    if dtype is torch.float8_e4m3fn:
        fits = values.abs() <= E4M3FN_LIMIT
    else:
        fits = torch.isfinite(narrow(values, dtype).to(dtype).to(values.dtype))
    return int((~fits).sum())


def narrow(result: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`result` in a type from which torch rounds to `dtype` once.

    From float64 torch goes to 16 and 8 bits through float32, which would round twice; rounding to odd on the way keeps what the
    second rounding needs to know. What is too large for fp8_e4m3fn, which has no Inf, becomes its largest number;
    left to itself, torch does so in some versions and gives NaN in others.
    """
    if dtype is torch.float8_e4m3fn:
        result = result.clamp(-E4M3FN_LARGEST, E4M3FN_LARGEST)
    if result.dtype is not torch.float64 or dtype in (torch.float64, torch.float32):
        return result
    near = result.to(torch.float32)
    error = result - near.to(torch.float64)
    bits = near.view(torch.int32)
    is_even_and_inexact = (error != 0) & (bits % 2 == 0) & (near != 0) & torch.isfinite(near)
    away = torch.where((error > 0) == (near > 0), 1, -1)
    return torch.where(is_even_and_inexact, bits + away, bits).to(torch.int32).view(torch.float32)
