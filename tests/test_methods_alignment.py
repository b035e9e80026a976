"""Rotation against numpy's decompositions: the nearest orthogonal matrix, and its powers from complex eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_operands import HARD_KINDS, KINDS, SHAPES, operands, tensors

from lib_chilly.methods.alignment import rotate

WIDE_AND_TALL = ((3, 20), (20, 3), (7, 9), (12, 12))


def rows_of(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(-1, 9) if weight.ndim == 4 and weight.shape[-1] == 3 else weight.reshape(len(weight), -1)


def rotated_slowly(a: np.ndarray, b: np.ndarray, alignment: float, alpha: float) -> np.ndarray:
    """Of matrices with no direction empty but one: the whole orthogonal matrix, its power by complex eigenvectors."""
    rows_a, rows_b = rows_of(a), rows_of(b)
    mean_a, mean_b = rows_a.mean(0), rows_b.mean(0)
    rows_a, rows_b = rows_a - mean_a, rows_b - mean_b
    product = rows_a.T @ rows_b
    left, _, right = np.linalg.svd(product + 1e-10 * np.linalg.norm(product) * np.eye(len(product)))
    rotation = left @ right
    sizes, vectors = np.linalg.eig(rotation)
    angles = np.angle(sizes)
    power = (vectors * np.exp(1j * alignment * angles)) @ np.linalg.inv(vectors)
    found = ((1 - alpha) * rows_a + alpha * rows_b @ rotation.T) @ power.real
    return (found + (1 - alignment) * mean_a + alignment * mean_b).reshape(a.shape)


@pytest.mark.parametrize("shape", [*WIDE_AND_TALL, (6, 4, 3, 3), (9, 8, 1, 1)])
@pytest.mark.parametrize(("alignment", "alpha"), [(1, 0), (1, 0.3), (0, 0.5), (0.4, 0), (0.7, 0.6)])
def test_rotation_is_that_of_whole_decompositions(shape: tuple[int, ...], alignment: float, alpha: float) -> None:
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 2e-6 if shape == (3, 20) else 1e-7)):
        a, b = operands(2, shape, "drawn", 3, dtype)
        found = rotate(*tensors([a, b]), alignment=alignment, alpha=alpha)
        expected = rotated_slowly(a.astype(np.float64), b.astype(np.float64), alignment, alpha)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)  # weights are some 0.05


@given(
    shape=st.sampled_from(SHAPES),
    kind=st.sampled_from((*KINDS, *HARD_KINDS)),
    seed=st.integers(0, 99),
    alignment=st.sampled_from((0.0, 0.3, 0.5, 1.0, -0.5, 1.7)),
    alpha=st.sampled_from((0.0, 0.4, 1.0)),
)
@settings(max_examples=80, deadline=None)
def test_rotation_of_anything_is_finite_and_never_longer_than_what_it_is_made_of(
    shape: tuple[int, ...], kind: str, seed: int, alignment: float, alpha: float
) -> None:
    a, b = tensors(operands(2, shape, kind, seed))
    found = rotate(a, b, alignment=alignment, alpha=alpha)
    assert found.shape == a.shape and bool(found.isfinite().all())
    if 0 <= alignment <= 1:
        assert found.double().norm() <= (a.double().norm() + b.double().norm()) * (1 + 1e-5)


@given(shape=st.sampled_from([shape for shape in SHAPES if len(shape) > 1]), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_rotation_keeps_what_rows_are_to_each_other(shape: tuple[int, ...], seed: int) -> None:
    a, b = operands(2, shape, "drawn", seed, np.float64)
    if a.size == 0:
        return
    found = rotate(*tensors([a, b]), alignment=1.0, alpha=0.0).numpy()
    before, after = (rows - rows.mean(0) for rows in map(rows_of, (a, found)))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-12)


def test_turned_copy_is_found_again_and_half_the_way_is_half_the_angle() -> None:
    a = tensors(operands(1, (30, 6), dtype=np.float64))[0]
    a -= a.mean(0)
    turn = torch.eye(6, dtype=torch.float64)
    angle = 2.5
    turn[:2, :2] = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    same = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(rotate(a, a @ turn, alignment=1.0, alpha=0.0), a @ turn, **same)
    torch.testing.assert_close(rotate(a, a @ turn, alignment=0.0, alpha=1.0), a, **same)
    half = rotate(a, a @ turn, alignment=0.5, alpha=0.0)
    turn[:2, :2] = torch.tensor([[np.cos(angle / 2), np.sin(angle / 2)], [-np.sin(angle / 2), np.cos(angle / 2)]])
    torch.testing.assert_close(half, a @ turn, **same)


def test_equal_models_and_both_ends_are_the_operands_themselves() -> None:
    a, b = tensors(operands(2, (5, 6)))
    assert rotate(a, a.clone(), alignment=0.3, alpha=0.3) is a
    assert rotate(a, b, alignment=0.0, alpha=0.0) is a and rotate(a, b, alignment=1.0, alpha=1.0) is b
    one, two = tensors(operands(2, (7,)))
    torch.testing.assert_close(rotate(one, two, alignment=1.0, alpha=0.25), one + 0.25 * (two - one))
