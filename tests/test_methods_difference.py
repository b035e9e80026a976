"""Methods that add differences: to the bit where the arithmetic is defined, else against float64 written from the formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import LANE_OF, merge_in, model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from method_operands import KINDS, SHAPES, operands, tensors, unlike
from reference import read_file

from lib_chilly.methods import difference as element
from lib_chilly.methods import whole_difference as whole
from lib_chilly.smoothing import smoothed

Array = np.ndarray
cases = given(
    shape=st.sampled_from(SHAPES), kind=st.sampled_from(KINDS), seed=st.integers(0, 99), alpha=st.sampled_from((0.3, 1.5))
)
few = settings(max_examples=25, deadline=None)


def quotient(above: Array, below: Array, otherwise: float = 0) -> Array:
    with np.errstate(all="ignore"):
        return np.where(below == 0, above.dtype.type(otherwise), above / below)


def train_difference(a: Array, b: Array, c: Array, alpha: float) -> Array:
    missing = abs(b - a)
    return a + quotient(missing, missing + abs(b - c)) * (b - c) * a.dtype.type(1.8 * alpha)


def add_opposite(a: Array, b: Array, c: Array, alpha: float) -> Array:
    own, delta = a - c, b - c
    apart = abs(own - delta)
    return a + quotient(apart, abs(own + delta) + apart) * delta * a.dtype.type(2 * alpha)


def add_strict_opposite(a: Array, b: Array, c: Array, alpha: float) -> Array:
    own, delta = a - c, b - c
    largest = np.maximum(abs(own), abs(delta))
    return a + np.maximum(-(quotient(own, largest) * quotient(delta, largest)), 0) * delta * a.dtype.type(2 * alpha)


def similarity_add_difference(a: Array, b: Array, c: Array, alpha: float) -> Array:
    one, largest = a.dtype.type, np.maximum(abs(a), abs(b))
    share = (quotient(a, largest, 1) * quotient(b, largest, 1) + one(1)) * one(0.7 / 2)
    return ((b - a) * one(0.5) * share + (b - c) * (one(1) - share)) * one(alpha) + a


def multiply_difference(a: Array, b: Array, c: Array, alpha: float) -> Array:
    def power(values: Array, exponent: float) -> Array:
        return np.where(values == 0, 0, np.where(values == 0, 1, abs(values).astype(np.float64)) ** exponent)

    size = (power(a - c, 1 - alpha) * power(b - c, alpha)).astype(a.dtype)
    return np.where(a == b, a, np.copysign(size, (b - a) * a.dtype.type(0.7) + (a - c)) + c)


def clamp_to_envelope(a: Array, b: Array, c: Array, alpha: float) -> Array:
    held = np.maximum(np.minimum(a, np.maximum(b, c)), np.minimum(b, c))
    return np.where(held == a, a, (held - a) * a.dtype.type(alpha) + a)


@pytest.mark.parametrize(
    "reference",
    [train_difference, add_opposite, add_strict_opposite, similarity_add_difference, multiply_difference, clamp_to_envelope],
    ids=lambda reference: reference.__name__,
)
@cases
@few
def test_element_is_the_defined_arithmetic_to_the_bit(
    reference: Callable[..., Array], shape: tuple[int, ...], kind: str, seed: int, alpha: float
) -> None:
    a, b, c = (each.reshape(-1) for each in operands(3, shape, kind, seed))
    takes_beta = reference in (similarity_add_difference, multiply_difference)
    found = getattr(element, reference.__name__)(*tensors([a, b, c]), alpha=alpha, **({"beta": 0.7} if takes_beta else {}))
    expected = reference(a, b, c, alpha)
    assert expected.dtype == np.float32
    # Of zeros the sign is left open; of powers numpy's last bit in float64, which is seldom one of float32.
    if reference is multiply_difference:
        assert unlike(found, expected) < 1e-7
    else:
        assert np.array_equal(found.numpy(), expected)
    exact = reference(*(each.astype(np.float64) for each in (a, b, c)), alpha)
    assert unlike(found, exact) < 1e-5


def smoothed_slowly(values: Array) -> Array:
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, "symmetric"), (3,) * values.ndim)
    found = np.median(windows.reshape(*values.shape, -1), -1)
    for each in range(values.ndim):
        wide = np.pad(found, [(4, 4) if each == other else (0, 0) for other in range(values.ndim)], "symmetric")
        found = np.lib.stride_tricks.sliding_window_view(wide, 9, each) @ (weights / weights.sum())
    return found


@pytest.mark.parametrize(
    "shape", [(1,), (5,), (40,), (1, 9), (9, 1), (2, 3), (33, 20), (12, 10, 3, 3), (2, 3, 3, 3), (9, 4, 1, 1), (3, 10, 2)]
)
def test_smoothing_is_a_median_and_a_gaussian_in_every_dimension(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib_chilly.smoothing._BLOCK", 1 << 7)  # pieces of eight rows
    [values] = operands(1, shape)
    assert unlike(smoothed(torch.from_numpy(values)), smoothed_slowly(values)) < 1e-6
    wide = values.astype(np.float64)
    assert unlike(smoothed(torch.from_numpy(wide)), smoothed_slowly(wide)) < 1e-14


def test_smoothing_of_many_dimensions_takes_the_last_as_one() -> None:
    [values] = operands(1, (2,) * 12)
    assert unlike(smoothed(torch.from_numpy(values)).view(2, 2, 2, -1), smoothed_slowly(values.reshape(2, 2, 2, -1))) < 1e-6


def smooth_add(a: Array, b: Array, c: Array, alpha: float) -> Array:
    return a + alpha * (smoothed_slowly(b - c) if a.ndim and a.size else b - c)


def euclidean_add_difference(a: Array, b: Array, c: Array, alpha: float) -> Array:
    if np.array_equal(a, b):
        return a
    own, delta = (each / (np.linalg.norm(each) or 1) for each in (a - c, b - c))
    mean = (1 - alpha) * a + alpha * b - c
    way = np.copysign(np.sqrt(np.maximum((1 - alpha) * own**2 + alpha * delta**2, 0)), mean)
    return c + way * np.linalg.norm(mean) / (np.linalg.norm(way) or 1)


def add_perpendicular(a: Array, b: Array, c: Array, alpha: float) -> Array:
    own, delta = a - c, b - c
    return a + alpha * (delta - own * (np.sum(own * delta) / (np.sum(own * own) or 1)))


def extract_similar(a: Array, b: Array, c: Array, alpha: float, is_opposite: bool = False) -> Array:
    one, other = np.atleast_1d(b - a), np.atleast_1d(c - a)
    sizes = np.linalg.norm(one, axis=-1, keepdims=True) * np.linalg.norm(other, axis=-1, keepdims=True)
    share = ((np.clip(quotient((one * other).sum(-1, keepdims=True), sizes), -1, 1) + 1) / 2) ** 3
    return a + ((1 - share if is_opposite else share) * ((1 - alpha) * one + alpha * other)).reshape(a.shape)


def extract_dissimilar(a: Array, b: Array, c: Array, alpha: float) -> Array:
    return extract_similar(a, b, c, alpha, True)


@pytest.mark.parametrize(
    "reference",
    [smooth_add, euclidean_add_difference, add_perpendicular, extract_similar, extract_dissimilar],
    ids=lambda reference: reference.__name__,
)
@cases
@few
def test_whole_tensor_is_what_the_formula_says_in_float64(
    reference: Callable[..., Array], shape: tuple[int, ...], kind: str, seed: int, alpha: float
) -> None:
    for dtype, tolerance in ((np.float32, 3e-6), (np.float64, 1e-13)):
        models = operands(3, shape, kind, seed, dtype)
        options = {"gamma": 3.0} if "extract" in reference.__name__ else {}
        found = getattr(whole, reference.__name__)(*tensors(models), alpha=alpha, **options)
        assert unlike(found, reference(*(each.astype(np.float64) for each in models), alpha)) < tolerance


def test_train_difference_of_what_a_has_already_is_a() -> None:
    a, c = tensors(operands(2, (50,)))
    assert torch.equal(element.train_difference(a, a, c), a)


def test_strict_opposite_adds_where_signs_differ_alone() -> None:
    a, b, c = (torch.tensor(each) for each in ([1.0, 1.0, 0.0], [2.0, -2.0, 3.0], [0.0, 0.0, 0.0]))
    assert torch.equal(element.add_strict_opposite(a, b, c), torch.tensor([1.0, -1.0, 0.0]))


def test_perpendicular_of_a_multiple_of_a_adds_nothing() -> None:
    a, c = tensors(operands(2, (6, 5), dtype=np.float64))
    torch.testing.assert_close(whole.add_perpendicular(a, c + 3 * (a - c), c), a)


def test_extracts_of_both_kinds_add_to_the_mean_difference() -> None:
    a, b, c = tensors(operands(3, (6, 5), dtype=np.float64))
    both = whole.extract_similar(a, b, c, alpha=0.25, gamma=2.0) + whole.extract_dissimilar(a, b, c, alpha=0.25, gamma=2.0)
    torch.testing.assert_close(both, a + 0.75 * b + 0.25 * c)


@pytest.mark.parametrize("method", ["multiply_difference", "clamp_to_envelope", "euclidean_add_difference"])
def test_model_with_itself_is_that_model_bit_for_bit(method: str) -> None:
    a, c = tensors(operands(2, (8, 9)))
    a[0, :3] = torch.tensor([0.0, -0.0, 1.0])
    found = getattr(element, method, None) or getattr(whole, method)
    assert found(a, a, a if method == "clamp_to_envelope" else c).numpy().tobytes() == a.numpy().tobytes()


@pytest.mark.parametrize("method", ["train_difference", "smooth_add"])
def test_lane_with_another_weight_changes_no_other_lane(method: str, tmp_path: Path) -> None:
    folder = write_models(tmp_path / "models", a=model(1, size=8), b=model(2, size=8), c=model(3, size=8))
    files = []
    for number, text in enumerate(("{*: 0.5}", "{*: 0.5, IN04: 0.25}", "0")):
        files.append(tmp_path / f"{number}.safetensors")
        merge_in(folder, f"X = {method}(a, b, c, alpha={text})", files[-1])
    plain, other, nothing = (read_file(path) for path in files)
    changed = {LANE_OF[key] for key in LANE_OF if plain[key].data != other[key].data}
    assert changed == {"IN04"}
    assert {key: each.data for key, each in nothing.items()} == {key: each.data for key, each in model(1, size=8).items()}
