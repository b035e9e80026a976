"""Methods that take each weight from one model: against numpy written from their sources' formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import LANE_OF, merge_in, model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from method_operands import KINDS, SHAPES, operands, tensors, unlike
from reference import read_file

from lib_chilly.draws import uniforms
from lib_chilly.methods.crossover import distribution_crossover, fft_crossover
from lib_chilly.methods.selecting import cosine_a, cosine_b, random_mix, tensor_sum, top_k_tensor_sum
from lib_chilly.signature import Place

Array = np.ndarray
shapes, kinds, seeds = st.sampled_from(SHAPES), st.sampled_from(KINDS), st.integers(0, 99)
few = settings(max_examples=25, deadline=None)


def cosine(a: Array, b: Array, axis: int | None) -> Array:
    sizes = np.linalg.norm(a, axis=axis) * np.linalg.norm(b, axis=axis)
    return np.where(sizes > 0, (a * b).sum(axis) / np.where(sizes > 0, sizes, 1), 0)


def cosine_slowly(a: Array, b: Array, alpha: float, low: float, high: float, is_a: bool) -> Array:
    """As SuperMerger does: for A the columns are made equally long before the cosine of all is taken."""
    one, other = (np.atleast_1d(each).astype(np.float64) for each in (a, b))
    columns = cosine(one, other, 0)
    if is_a:
        one, other = (each / np.maximum(np.linalg.norm(each, axis=0), 1e-30) for each in (one, other))
    mean = (columns + cosine(one.reshape(-1), other.reshape(-1), 0)) / 2
    share = np.clip((mean - low) / (high - low) - (abs(alpha) if is_a else alpha), 0, 1)
    return (share * a.astype(np.float64) + (1 - share) * b).reshape(a.shape)


@given(shape=shapes, kind=kinds, seed=seeds, alpha=st.sampled_from((0.0, 0.3, -0.3)))
@few
def test_cosines_are_those_of_supermerger(shape: tuple[int, ...], kind: str, seed: int, alpha: float) -> None:
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-13)):
        a, b = operands(2, shape, kind, seed, dtype)
        for method in (cosine_a, cosine_b):
            found = method(*tensors([a, b]), alpha=alpha, low=-0.2, high=0.4)
            if a.size:
                assert unlike(found, cosine_slowly(a, b, alpha, -0.2, 0.4, method is cosine_a)) < tolerance


@pytest.mark.parametrize("method", [cosine_a, cosine_b])
def test_cosine_keeps_a_bit_for_bit_where_b_is_the_same(method: object) -> None:
    a = tensors(operands(1, (8, 9)))[0]
    assert method(a, a.clone(), alpha=0.4).numpy().tobytes() == a.numpy().tobytes()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("alpha", "beta", "from_b"),
    [
        (
            0.5,
            0.0,
            "11111.....",
        ),
        (0.3, 0.2, "..111....."),
        (0.5, 0.7, "11.....111"),
        (1.0, 0.4, "1111111111"),
        (0.0, 0.4, ".........."),
        (0.25, 1.1, ".11......."),
    ],
)
def test_tensor_sum_takes_a_run_of_rows(alpha: float, beta: float, from_b: str) -> None:
    a, b = tensors(operands(2, (10, 3)))
    kept = a.clone()
    expected = torch.stack([(b if mark == "1" else a)[row] for row, mark in enumerate(from_b)])
    assert torch.equal(tensor_sum(a, b, alpha=alpha, beta=beta), expected)
    assert torch.equal(a, kept)


def top_k_slowly(a: Array, b: Array, alpha: float, beta: float) -> Array:
    """One element after another."""
    values = a.reshape(-1)
    ordered = values[np.argsort(values, kind="stable")]
    by_size = np.argsort(abs(ordered), kind="stable")
    start, end = round(len(values) * beta), round(len(values) * (alpha + beta))
    band = {int(by_size[rank % len(values)]) for rank in range(start, end)}
    result = values.copy()
    for rank, place in enumerate(np.argsort(b.reshape(-1), kind="stable")):
        if rank in band:
            result[place] = ordered[rank]
    return result.reshape(a.shape)


@given(shape=shapes, kind=kinds, seed=seeds, alpha=st.sampled_from((0.3, 1.0)), beta=st.sampled_from((0.0, 0.25, 0.8)))
@few
def test_top_k_tensor_sum_deals_a_in_the_order_of_b(
    shape: tuple[int, ...], kind: str, seed: int, alpha: float, beta: float
) -> None:
    a, b = operands(2, shape, kind, seed)
    assert np.array_equal(top_k_tensor_sum(*tensors([a, b]), alpha=alpha, beta=beta).numpy(), top_k_slowly(a, b, alpha, beta))


def crossed_slowly(a: Array, b: Array, alpha: float, beta: float) -> Array:
    """With the frequencies of both signs, in float64."""
    one, other = np.fft.fftn(a.astype(np.float64)), np.fft.fftn(b.astype(np.float64))
    axes = [abs(np.fft.fftfreq(size)) * size / max(size // 2, 1) for size in a.shape]
    height = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) / a.ndim)
    half = np.sort(height[..., : a.shape[-1] // 2 + 1].reshape(-1))
    lowest = round(len(half) * (1 - alpha))
    above = height - half[lowest]
    share = np.clip(above / beta + 0.4, 0, 1) if beta else (above >= -1e-9)
    return np.fft.ifftn(one + share * (other - one)).real


@pytest.mark.parametrize("shape", [(8,), (9,), (1, 9), (7, 1), (6, 9), (4, 3, 3, 3), (5, 2, 1, 1)])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_fft_crossover_takes_high_frequencies_from_b(shape: tuple[int, ...], beta: float) -> None:
    a, b = operands(2, shape, dtype=np.float64)
    assert unlike(fft_crossover(*tensors([a, b]), alpha=0.4, beta=beta), crossed_slowly(a, b, 0.4, beta)) < 1e-12
    a, b = operands(2, shape)
    assert unlike(fft_crossover(*tensors([a, b]), alpha=0.4, beta=beta), crossed_slowly(a, b, 0.4, beta)) < 1e-5


def test_fft_crossover_of_many_dimensions_takes_the_last_as_one() -> None:
    a, b = tensors(operands(2, (2,) * 12))
    whole = fft_crossover(a.view(2, 2, 2, -1), b.view(2, 2, 2, -1), alpha=0.4)
    assert torch.equal(fft_crossover(a, b, alpha=0.4).view(whole.shape), whole)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_distribution_crossover_is_one_in_the_order_of_c(beta: float) -> None:
    a, b, c = operands(3, (6, 9), dtype=np.float64)
    order = np.argsort(c.reshape(-1), kind="stable")
    one, other = (np.fft.rfft(each.reshape(-1)[order]) for each in (a, b))
    above = np.arange(len(one)) / len(one) - 0.6
    share = np.clip(above / beta + 0.4, 0, 1) if beta else above >= 0
    expected = np.empty(54)
    expected[order] = np.fft.irfft(one + share * (other - one), 54)
    found = distribution_crossover(*tensors([a, b, c]), alpha=0.4, beta=beta)
    assert unlike(found, expected.reshape(6, 9)) < 1e-12


def test_random_mix_takes_b_with_its_chance_and_by_the_draws_alone() -> None:
    a, b = torch.zeros(40_000), torch.ones(40_000)
    found = random_mix(a, b, alpha=0.3, seed=7, place=Place("key"))
    assert torch.equal(found, (uniforms(Place("key"), 40_000, 7, 0) < 0.3).float())
    assert found.mean().item() == pytest.approx(0.3, abs=0.01)
    more = random_mix(a, b, alpha=0.5, seed=7, place=Place("key"))
    assert bool((more >= found).all())  # a draw is a draw, whatever alpha is
    assert not torch.equal(found, random_mix(a, b, alpha=0.3, seed=8, place=Place("key")))


@pytest.mark.parametrize("method", ["random_mix", "tensor_sum"])
def test_lane_with_another_weight_changes_no_other_lane(method: str, tmp_path: Path) -> None:
    folder = write_models(tmp_path / "models", a=model(1, size=8), b=model(2, size=8))
    files = []
    for alpha in (0.5, 0.25, 1):
        files.append(tmp_path / f"{alpha}.safetensors")
        merge_in(folder, f"X = {method}(a, b, alpha={{*: 0.5, IN04: {alpha}}})", files[-1])
    plain, other, all_of_it = (read_file(path) for path in files)
    assert {LANE_OF[key] for key in plain if plain[key].data != other[key].data} == {"IN04"}
    assert {LANE_OF[key] for key in plain if all_of_it[key].data == model(2, size=8)[key].data} >= {"IN04"}
