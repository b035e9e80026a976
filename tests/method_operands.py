"""Operands that merge methods stumble over, and the slow sums that they are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

SHAPES: Sequence[tuple[int, ...]] = ((), (0,), (1,), (7, 1), (1, 9), (5, 6), (4, 3, 3, 3), (6, 4, 1, 1), (0, 3), (3, 0))
KINDS = ("drawn", "zeros", "equal", "opposite", "constant", "holes", "one zero")
HARD_KINDS = ("subnormal", "huge", "one subnormal")
"""Of these a result is only asked to be finite: their sizes are nothing that a tolerance for weights fits."""


def operands(count: int, shape: Sequence[int], kind: str = "drawn", seed: int = 0, dtype: type = np.float32) -> list[np.ndarray]:
    """Values as fp16 has them.

    Args:
        kind: "holes" has elements that are 0, or equal in two of them; "one zero" a first operand that is all 0.
    """
    if kind in HARD_KINDS:
        return _hard(count, shape, kind, seed)
    return [np.asarray(each, dtype) for each in _drawn(count, shape, kind, seed)]


def _hard(count: int, shape: Sequence[int], kind: str, seed: int) -> list[np.ndarray]:
    """Float32 whose squares are 0 or beyond it."""
    drawn = [np.asarray(each, np.float32) for each in _drawn(count, shape, "drawn", seed)]
    sizes = {"subnormal": [1e-42] * count, "huge": [1e30] * count, "one subnormal": [1e-42, *[1.0] * (count - 1)]}[kind]
    return [np.asarray(each * np.float32(size)) for each, size in zip(drawn, sizes, strict=True)]


def _drawn(count: int, shape: Sequence[int], kind: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    drawn = [np.asarray(rng.normal(0, 0.05, shape)).astype(np.float16) for _ in range(count)]
    if kind == "zeros":
        return [each * 0 for each in drawn]
    if kind == "equal":
        return [drawn[0].copy() for _ in drawn]
    if kind == "opposite":
        return [drawn[0] * (-1) ** number for number in range(count)]
    if kind == "constant":
        return [each * 0 + (0.5, -0.25, 0.125)[number % 3] for number, each in enumerate(drawn)]
    if kind == "holes":
        for each in drawn:
            each[rng.random(shape) < 0.4] = 0
            each[...] = np.where(rng.random(shape) < 0.4, drawn[0], each)
    if kind == "one zero":
        drawn[0] *= 0
    return drawn


def tensors(arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(each)) for each in arrays]


def unlike(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest error, as a share of the largest value, or of 0.02 where operands of some 0.05 cancel out."""
    assert tuple(found.shape) == expected.shape
    if expected.size == 0:
        return 0.0
    return float(np.abs(found.double().numpy() - expected).max() / max(np.abs(expected).max(), 0.02))
