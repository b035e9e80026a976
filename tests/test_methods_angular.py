"""Arcs and centres: against float64 written from the papers, and what each of them promises of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import LANE_OF, merge_in, model, write_models
from hypothesis import example, given, settings
from hypothesis import strategies as st
from method_operands import KINDS, SHAPES, operands, tensors, unlike
from reference import read_file

from lib_chilly.dot_products import dot, gram, row_dots
from lib_chilly.methods.angular import karcher_mean, nuslerp, nuslerp_columns, nuslerp_rows, slerp
from lib_chilly.methods.centres import geometric_median, model_stock

Array = np.ndarray
cases = given(
    shape=st.sampled_from(SHAPES), kind=st.sampled_from(KINDS), seed=st.integers(0, 99), alpha=st.sampled_from((0.3, 0.9))
)
few = settings(max_examples=25, deadline=None)


def arc(a: Array, b: Array, alpha: float, keeps_lengths: bool) -> Array:
    """Of two vectors, in float64."""
    sizes = np.linalg.norm(a), np.linalg.norm(b)
    plain = (1 - alpha) * a + alpha * b
    if 0 in sizes:
        return plain
    angle = 2 * math.atan2(np.linalg.norm(a / sizes[0] - b / sizes[1]), np.linalg.norm(a / sizes[0] + b / sizes[1]))
    if angle > math.pi - 1e-4 or math.sin(angle) == 0:
        return plain
    factors = [math.sin(angle * share) / math.sin(angle) for share in (1 - alpha, alpha)]
    if not keeps_lengths:
        factors = [
            factor * ((1 - alpha) * sizes[0] + alpha * sizes[1]) / size for factor, size in zip(factors, sizes, strict=True)
        ]
    return factors[0] * a + factors[1] * b


@cases
@few
def test_slerp_is_the_arc_in_float64(shape: tuple[int, ...], kind: str, seed: int, alpha: float) -> None:
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-13)):
        a, b = operands(2, shape, kind, seed, dtype)
        expected = arc(a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1), alpha, False).reshape(shape)
        assert unlike(slerp(*tensors([a, b]), alpha=alpha), expected) < tolerance


@cases
@few
def test_nuslerp_is_the_arc_of_differences_whole_by_rows_and_by_columns(
    shape: tuple[int, ...], kind: str, seed: int, alpha: float
) -> None:
    a, b, base = operands(3, shape, kind, seed, np.float64)
    models = dict(zip(("a", "b", "base"), tensors([a, b, base]), strict=True))
    one, other = a - base, b - base
    whole = base + arc(one.reshape(-1), other.reshape(-1), alpha, True).reshape(shape)
    assert unlike(nuslerp(**models, alpha=alpha), whole) < 1e-13
    rows = columns = whole
    if len(shape) > 1 and a.size:
        one, other = one.reshape(shape[0], -1), other.reshape(shape[0], -1)
        rows = base + np.stack([arc(*each, alpha, True) for each in zip(one, other, strict=True)]).reshape(shape)
        columns = base + np.stack([arc(*each, alpha, True) for each in zip(one.T, other.T, strict=True)], 1).reshape(shape)
    assert unlike(nuslerp_rows(**models, alpha=alpha), rows) < 1e-13
    assert unlike(nuslerp_columns(**models, alpha=alpha), columns) < 1e-13


@pytest.mark.parametrize("angle", [1e-9, 1e-5, 0.5, math.pi - 0.01, math.pi - 2e-4])
def test_slerp_goes_the_stated_share_of_any_angle(angle: float) -> None:
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    found = slerp(a, b, alpha=0.25)
    assert math.atan2(found[1].item(), found[0].item()) == pytest.approx(angle / 4, rel=1e-6)
    assert found.norm().item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["opposite", "one zero"])
def test_slerp_without_an_arc_is_the_weighted_sum(kind: str) -> None:
    a, b = tensors(operands(2, (6, 7), kind))
    torch.testing.assert_close(slerp(a, b, alpha=0.3), 0.7 * a + 0.3 * b)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_karcher_mean_of_two_is_their_slerp(alpha: float) -> None:
    a, b = tensors(operands(2, (9, 8), dtype=np.float64))
    b = 2 * b + a
    torch.testing.assert_close(karcher_mean(a, b, alpha=1 - alpha, beta=alpha), slerp(a, b, alpha=alpha), rtol=1e-9, atol=1e-12)


def test_karcher_mean_is_where_the_weighted_arcs_add_to_nothing() -> None:
    models = operands(4, (5, 6), dtype=np.float64)
    models = [each + models[0] for each in models]
    found = karcher_mean(*tensors(models), alpha=0.5, beta=2.0).numpy().reshape(-1)
    weights = np.array((0.5, 2, 1, 1)) / 4.5
    assert np.linalg.norm(found) == pytest.approx(sum(w * np.linalg.norm(each) for w, each in zip(weights, models, strict=True)))
    here = found / np.linalg.norm(found)
    way = np.zeros_like(here)
    for weight, each in zip(weights, models, strict=True):
        unit = each.reshape(-1) / np.linalg.norm(each)
        side = unit - (unit @ here) * here
        way += weight * math.acos(unit @ here) * side / np.linalg.norm(side)
    assert np.linalg.norm(way) < 1e-9


def distances(point: Array, models: Sequence[Array], weights: Sequence[float]) -> float:
    return sum(weight * float(np.linalg.norm(point - each)) for weight, each in zip(weights, models, strict=True))


@given(seed=st.integers(0, 99), count=st.integers(2, 5), alpha=st.sampled_from((0.5, 1.0, 1.5)))
@example(seed=66, count=4, alpha=1.5)
@few
def test_no_point_near_the_geometric_median_has_less_way_to_the_models(seed: int, count: int, alpha: float) -> None:
    models = operands(count, (3, 4), "drawn", seed, np.float64)
    weights = [alpha, *(1.0 for _ in models[1:])]
    found = geometric_median(*tensors(models), alpha=alpha).numpy()
    least = distances(found, models, weights)
    rng = np.random.default_rng(seed)
    around = [found + step * (target - found) for step in (1e-3, 0.1, 1) for target in (*models, rng.normal(0, 0.05, (3, 4)))]
    assert all(distances(point, models, weights) > least * (1 - 1e-9) for point in around)


def test_geometric_median_is_hardly_moved_by_one_odd_model() -> None:
    base = operands(1, (20, 20), dtype=np.float64)[0]
    near = [base + 0.01 * each for each in operands(4, (20, 20), seed=1, dtype=np.float64)]
    found = geometric_median(*tensors([*near, base + 100]))
    assert np.abs(found.numpy() - np.mean(near, 0)).max() < 0.01
    assert torch.equal(geometric_median(*tensors([near[0], near[1], near[0]])), torch.from_numpy(near[0]))


@cases
@few
def test_model_stock_is_what_its_paper_says(shape: tuple[int, ...], kind: str, seed: int, alpha: float) -> None:
    *models, base = operands(4, shape, kind, seed, np.float64)
    found = model_stock(*tensors(models), base=torch.from_numpy(base))
    deltas = [(each - base).reshape(-1) for each in models]
    sizes = [np.linalg.norm(each) for each in deltas]
    pairs = [(0, 1), (0, 2), (1, 2)]
    cosine = np.mean([deltas[i] @ deltas[j] / (sizes[i] * sizes[j]) if sizes[i] * sizes[j] else 0 for i, j in pairs])
    share = float(np.clip(3 * cosine / (1 + 2 * cosine), 0, 1)) if 1 + 2 * cosine > 1e-9 else 0
    expected = models[0] if kind == "equal" else base + share * (np.mean(models, 0) - base)
    assert unlike(found, expected) < 1e-12


@pytest.mark.parametrize("method", [slerp, karcher_mean, geometric_median])
def test_model_with_itself_is_that_model_bit_for_bit(method: object) -> None:
    a = tensors(operands(1, (8, 9)))[0]
    a[0, 0] = -0.0
    assert method(a, a.clone()).numpy().tobytes() == a.numpy().tobytes()  # type: ignore[operator]


@pytest.mark.parametrize("method", [nuslerp, nuslerp_rows, nuslerp_columns, model_stock])
def test_model_with_itself_against_a_base_is_that_model_bit_for_bit(method: object) -> None:
    a, base = tensors(operands(2, (8, 9)))
    assert method(a, a.clone(), base=base).numpy().tobytes() == a.numpy().tobytes()  # type: ignore[operator]


@pytest.mark.parametrize("size", [0, 1, 5, 65536, 150_000])
def test_dot_products_are_those_of_float64_whatever_the_size(size: int) -> None:
    a, b = tensors(operands(2, (size,)))
    exact = math.fsum((a.double() * b.double()).tolist())
    assert dot(a, b).item() == pytest.approx(exact, rel=1e-12, abs=1e-12)
    assert gram([a, b])[1][0] == dot(a, b).item()
    assert row_dots(a.view(-1, 1), b.view(-1, 1)).view(-1).tolist() == (a.double() * b.double()).tolist()


def test_weights_stay_with_their_models_where_one_lacks_the_key(tmp_path: Path) -> None:
    folder = write_models(tmp_path / "models", a=model(1, without=("VAE",), size=8), b=model(2, size=8), c=model(3, size=8))
    texts = {"row": "X = karcher_mean(a, b, c, alpha=3, beta=0.25)", "two": "X = karcher_mean(b, c, alpha=0.25)"}
    row, two = (read_file(merged(folder, tmp_path / f"{name}.safetensors", text)) for name, text in texts.items())
    same = {LANE_OF[key] for key in row if row[key].data == two[key].data}
    assert same == {"VAE"}


def test_lane_with_another_weight_changes_no_other_lane(tmp_path: Path) -> None:
    folder = write_models(tmp_path / "models", a=model(1, size=8), b=model(2, size=8), c=model(3, size=8))
    texts = [f"X = nuslerp(a, b, base=c, alpha={{*: 0.5, IN04: {alpha}}})" for alpha in (0.5, 0.25, 0)]
    plain, other, end = (read_file(merged(folder, tmp_path / f"{number}.safetensors", text)) for number, text in enumerate(texts))
    assert {LANE_OF[key] for key in plain if plain[key].data != other[key].data} == {"IN04"}
    assert {LANE_OF[key] for key in plain if end[key].data == model(1, size=8)[key].data} == {"IN04"}


def merged(folder: Path, output: Path, text: str) -> Path:
    merge_in(folder, text, output)
    return output
