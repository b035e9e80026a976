"""Rank truncation: against numpy's decomposition, and the least error that there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_operands import KINDS, SHAPES, operands, tensors

from lib_chilly.methods.spectral import truncate_rank
from lib_chilly.signature import Place


def truncated_slowly(a: np.ndarray, base: np.ndarray, density: float) -> np.ndarray:
    if a.ndim < 2 or a.size == 0:
        return a
    left, sizes, right = np.linalg.svd((a - base).reshape(a.shape[0], -1), full_matrices=False)
    kept = max(1, round(len(sizes) * density))
    return base + ((left[:, :kept] * sizes[:kept]) @ right[:kept]).reshape(a.shape)


@given(shape=st.sampled_from(SHAPES), kind=st.sampled_from(KINDS), seed=st.integers(0, 99), density=st.sampled_from((0.1, 0.5)))
@settings(max_examples=25, deadline=None)
def test_truncation_is_that_of_the_singular_values(shape: tuple[int, ...], kind: str, seed: int, density: float) -> None:
    for dtype, tolerance in ((np.float32, 1e-7), (np.float64, 1e-12)):
        a, base = operands(2, shape, kind, seed, dtype)
        found = truncate_rank(*tensors([a]), base=tensors([base])[0], density=density, place=Place("key"))
        expected = truncated_slowly(a.astype(np.float64), base.astype(np.float64), density)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)  # weights are some 0.05


@pytest.mark.parametrize("shape", [(160, 200), (200, 20, 3, 3)])
def test_sketch_of_a_large_matrix_has_nearly_the_least_error(shape: tuple[int, ...]) -> None:
    a, base = operands(2, shape)
    delta = (a - base).reshape(shape[0], -1)
    left, sizes, right = np.linalg.svd(delta, full_matrices=False)
    falling = ((left * sizes / (1 + np.arange(len(sizes)))) @ right).reshape(shape).astype(np.float32)
    a = base + falling
    found = [
        truncate_rank(*tensors([a]), base=tensors([base])[0], density=0.06, seed=seed, place=Place("key")) for seed in (0, 0, 1)
    ]
    best = np.linalg.norm(a - truncated_slowly(a, base, 0.06))
    assert best <= np.linalg.norm(a - found[0].numpy()) * (1 + 1e-5) <= best * 1.001
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
