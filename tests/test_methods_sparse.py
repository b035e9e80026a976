"""The sparse methods against their references: to the bit where each element is arithmetic of its own, else within rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sparse
import torch
from checkpoints import KEYS, LANE_OF, LANES, merge_in, model, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lib_chilly.methods import agreement, dropping, nearness, trimming
from lib_chilly.row_ranks import row_ranks
from lib_chilly.signature import Place

SHAPES = st.sampled_from([(), (0,), (1,), (6, 1), (1, 6), (13,), (5, 7), (3, 2, 3, 3)])
SHARES = st.sampled_from([0.05, 0.3, 0.5, 0.77, 1.0])
KEY = "model.diffusion_model.out.0.weight"
EXAMPLES = settings(max_examples=15, deadline=None)


def values(seed: int, shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Weights of 16 bits; many of them of few sizes, 0 among these."""
    generator = np.random.default_rng(seed)
    fine, coarse = generator.normal(0, 0.05, shape), np.round(generator.normal(0, 2, shape)) / 64
    return np.asarray(np.where(generator.random(shape) < 0.5, fine, coarse), np.float16).astype(kind)


@st.composite
def models(draw: st.DrawFn, least: int = 1, most: int = 4) -> list[np.ndarray]:
    """A base and others, which hold some of its values."""
    shape, kind, seed = draw(SHAPES), draw(st.sampled_from([np.float32, np.float64])), draw(st.integers(0, 2**16))
    base, *others = (values(seed + index, shape, kind) for index in range(1 + draw(st.integers(least, most))))
    same = np.random.default_rng(seed).random(shape) < 0.3
    return [base, *(np.asarray(np.where(same, base, other)) for other in others)]


def call(method: object, given: list[np.ndarray], **parameters: object) -> np.ndarray:
    base, *others = (torch.from_numpy(each.copy()) for each in given)
    return method(*others, base=base, **parameters).numpy()  # type: ignore[operator]


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 if found.dtype == np.float32 else 1e-13)


def merged(base: np.ndarray, scale: float, delta: np.ndarray) -> np.ndarray:
    return base + base.dtype.type(scale) * delta


def deltas(given: list[np.ndarray]) -> list[np.ndarray]:
    return [other - given[0] for other in given[1:]]


@EXAMPLES
@given(models(), SHARES, st.booleans())
def test_ties_is_the_papers_to_the_bit(given: list[np.ndarray], density: float, by_count: bool):
    found = call(trimming.ties_count if by_count else trimming.ties, given, density=density, scale=0.7)
    same_bits(found, merged(given[0], 0.7, sparse.agreed(sparse.trimmed(deltas(given), density), by_count)))


def test_ties_elects_by_summed_magnitude_and_ties_count_by_heads():
    base, up, *down = (torch.tensor([0.0]), torch.tensor([5.0]), torch.tensor([-1.0]), torch.tensor([-2.0]))
    assert trimming.ties(up, *down, base=base, density=1.0, scale=1.0).item() == 5.0
    assert trimming.ties_count(up, *down, base=base, density=1.0, scale=1.0).item() == -1.5
    even = trimming.ties(torch.tensor([2.0]), torch.tensor([-2.0]), base=base, density=1.0, scale=1.0)
    assert even.item() == 0.0  # other tools count an even vote as one for more


@EXAMPLES
@given(models(), SHARES, st.sampled_from([0.0, 0.01, 0.1, 1.0]))
def test_breadcrumbs_is_the_papers_to_the_bit(given: list[np.ndarray], density: float, gamma: float):
    found = call(trimming.breadcrumbs, given, density=density, gamma=gamma, scale=0.7)
    same_bits(found, merged(given[0], 0.7, sparse.added(sparse.without_outliers(deltas(given), density, gamma))))


def test_breadcrumbs_of_a_tensor_too_small_for_outliers_keeps_the_rest():
    """A share of less than one element drops nothing; another merger gave the base back for such tensors."""
    base, model = torch.zeros(40), torch.arange(1.0, 41.0)
    assert int((trimming.breadcrumbs(model, base=base, density=0.9, gamma=0.01, scale=1.0) != 0).sum()) == 36


@EXAMPLES
@given(models(1, 1), SHARES, st.sampled_from([0.3, 1.0]))
def test_magnitude_mask_mixes_the_largest_differences_alone(given: list[np.ndarray], density: float, alpha: float):
    a, b = given
    found = trimming.magnitude_mask(torch.from_numpy(a), torch.from_numpy(b), density=density, alpha=alpha).numpy()
    mask = np.zeros(a.shape, bool)
    mask.ravel()[sparse.by_size(b - a)[: sparse.count_kept(density, a.size)]] = True
    kind = a.dtype.type
    same_bits(found, np.where(mask, kind(1 - alpha) * a + kind(alpha) * b, a))
    assert alpha < 1 or np.array_equal(found[mask], b[mask])


@EXAMPLES
@given(models(), SHARES, st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 2**40]))
def test_dare_is_the_papers_to_the_bit(given: list[np.ndarray], density: float, seed: int, start: int):
    given = [each.reshape(-1) for each in given]
    place, chosen = Place(KEY, start), sparse.dropped(deltas(given), density, KEY, start, seed)
    options = {"density": density, "scale": 0.7, "seed": float(seed), "place": place}
    same_bits(call(dropping.dare, given, **options), merged(given[0], 0.7 / density, sparse.added(chosen)))
    same_bits(call(dropping.dare_ties, given, **options), merged(given[0], 0.7 / density, sparse.agreed(chosen)))


def test_dare_keeps_the_mean_of_a_change():
    base, model = torch.zeros(200_000), torch.ones(200_000)
    found = dropping.dare(model, base=base, density=0.1, scale=1.0, seed=3, place=Place("k"))
    assert found.unique().tolist() == [0.0, 10.0] and abs(found.mean().item() - 1) < 0.03


@EXAMPLES
@given(models(), SHARES)
def test_dare_l1_keeps_the_sum_of_magnitudes_of_each_delta(given: list[np.ndarray], density: float):
    found = call(dropping.dare_l1, given, density=density, scale=0.7, seed=5, place=Place(KEY))
    chosen = sparse.dropped(deltas(given), density, KEY, 0, 5)
    parts = [sparse.restored(delta, kept) for delta, kept in zip(deltas(given), chosen, strict=True)]
    near(found, given[0] + 0.7 * sparse.added(parts))


def test_dare_l1_of_what_is_hardly_there_is_finite():
    base, model = torch.zeros(4096), torch.full((4096,), 1e-45)
    model[:64] = 1e3
    for seed in range(40):
        assert dropping.dare_l1(model, base=base, density=0.002, scale=1.0, seed=seed, place=Place("k")).isfinite().all()


@EXAMPLES
@given(models(), SHARES, st.sampled_from([0.0, 0.2, 1.0]))
def test_della_drops_by_rank_to_the_bit(given: list[np.ndarray], density: float, epsilon: float):
    options = {"density": density, "epsilon": epsilon, "scale": 0.7, "seed": 5, "place": Place(KEY)}
    parts = sparse.pruned(deltas(given), density, epsilon, KEY, 5)
    same_bits(call(dropping.della, given, **options), merged(given[0], 0.7, sparse.agreed(parts)))
    same_bits(call(dropping.della_linear, given, **options), merged(given[0], 0.7, sparse.added(parts)))


@pytest.mark.parametrize("shape", [(1, 2000), (40, 300), (2000,)])
def test_ranks_that_are_counted_are_those_of_sorting_within_a_hundredth(shape: tuple[int, ...]):
    drawn = np.random.default_rng(1).normal(0, 0.03, shape).astype(np.float32)
    assert np.abs(row_ranks(torch.from_numpy(drawn)).numpy() - sparse.ranks(drawn, None)).max() < 0.01


def test_ranks_of_many_rows_are_those_of_each():
    """More rows than are looked at at once."""
    drawn = torch.randn(1030, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(row_ranks(drawn), torch.stack([row_ranks(row) for row in drawn]))


@EXAMPLES
@given(models(), SHARES)
def test_sce_is_the_papers_within_rounding(given: list[np.ndarray], density: float):
    near(call(agreement.sce, given, density=density, scale=0.7), given[0] + 0.7 * sparse.sce(deltas(given), density))


@EXAMPLES
@given(models(), st.sampled_from([0.0, 1e-5, 0.02]))
def test_ram_is_the_papers_to_the_bit(given: list[np.ndarray], epsilon: float):
    same_bits(call(agreement.ram, given, epsilon=epsilon, scale=0.7), merged(given[0], 0.7, sparse.ram(deltas(given), epsilon)))
    found = call(agreement.ram_plus, given, epsilon=epsilon, gain=0.3, limit=0.5, scale=0.7)
    same_bits(found, merged(given[0], 0.7, sparse.ram(deltas(given), epsilon, 0.3, 0.5)))


@EXAMPLES
@given(models(1, 1), st.sampled_from([0.0, 0.001, 0.03, 9.0]))
def test_nearswap_moves_no_further_than_the_distance_to_the_bit(given: list[np.ndarray], distance: float):
    a, b = given
    found = nearness.nearswap(torch.from_numpy(a), torch.from_numpy(b), distance=distance).numpy()
    same_bits(found, sparse.nearswap(a, b, distance))
    assert distance < 9 or np.array_equal(found, b)


@EXAMPLES
@given(models(1, 1), st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_comparative_interpolation_weighs_by_likeness(given: list[np.ndarray], alpha: float, beta: float, gamma: float):
    a, b = given
    if not a.size:
        return
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    options = {"alpha": alpha, "beta": beta, "gamma": gamma, "seed": 5, "place": Place(KEY)}
    found = nearness.comparative_interpolation(*tensors, **options).numpy()
    weight = sparse.comparative(a, b, alpha, beta)
    luck = sparse.drawn(a, KEY, 0, 5, 0)
    sure = (gamma == 0) | (np.abs(luck - weight) > 1e-6)
    weight = (1 - gamma) * weight + gamma * (luck < weight)
    np.testing.assert_allclose(found[sure], (a + weight * (b - a))[sure], rtol=0, atol=1e-6)
    assert alpha < 1 or np.array_equal(found, b)


@EXAMPLES
@given(models(1, 1))
def test_arcee_fusion_takes_what_stands_out(given: list[np.ndarray]):
    a, b = given
    found = nearness.arcee_fusion(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert np.array_equal(found, a) or a.size > 1
    size = sparse.importance(a, b)
    if a.size:
        low, middle, high = (np.sort(size.ravel())[part * (a.size - 1) // 4] for part in (1, 2, 3))
        bar = middle + 1.5 * (high - low)
        sure = (np.abs(size - bar) > 1e-6 * bar + 1e-15) | (found == a) & (a == b)
        np.testing.assert_array_equal(found[sure], np.where(size >= bar, b, a)[sure])


SPARSE = (
    "ties(A, B, base=C, density={0}, scale={1})",
    "dare(A, B, base=C, density={0}, scale={1}, seed=7)",
    "della(A, B, base=C, density={0}, epsilon=0.3, scale={1}, seed=7)",
)


@pytest.mark.parametrize("text", SPARSE)
def test_merge_by_block_changes_no_other_lane(tmp_path: Path, text: str):
    """Three files on disk, an output of float32, one lane's weight changed, one and two threads."""
    folder = write_models(tmp_path / "models", A=model(1), B=model(2), C=model(3))
    outputs = []
    for name, threads, scale in (("one", 1, 0.5), ("two", 2, 0.5), ("other", 2, 0.25)):
        weights = f"{{*: 0.5, OUT03: {scale}}}"
        path = tmp_path / f"{name}.safetensors"
        merge_in(folder, "X = " + text.format("{*: 0.5, IN01: 0}", weights), path, threads, {"dtype": "fp32"})
        outputs.append(load_file(path))
    one, two, other = outputs
    assert all(torch.equal(one[key], two[key]) for key in one)
    changed = {LANE_OF[key] for key in KEYS if not torch.equal(one[key], other[key])}
    assert changed == {"OUT03"}
    for key in LANES["IN01"]:
        base = load_file(folder / "C.safetensors")[key]
        assert torch.equal(one[key], base.float())
    key = LANES["OUT03"][0]
    given = [load_file(folder / f"{name}.safetensors")[key].double().numpy() for name in "CAB"]
    if text.startswith("ties"):
        expected = merged(given[0], 0.5, sparse.agreed(sparse.trimmed(deltas(given), 0.5)))
        np.testing.assert_array_equal(one[key].numpy(), expected.astype(np.float32))


def test_tensor_of_several_slabs_is_merged_as_one():
    """The reference knows no slabs; what it sorts and draws is the whole tensor's."""
    given = [values(seed, (900, 300), np.float32) for seed in (1, 2)]
    change, place = deltas(given), Place(KEY)
    chosen = sparse.dropped(change, 0.3, KEY, 0, 5)
    expected = {
        trimming.breadcrumbs: sparse.without_outliers(change, 0.6, 0.01)[0],
        dropping.della_linear: sparse.pruned(change, 0.3, 0.2, KEY, 5)[0],
        agreement.ram_plus: sparse.ram(change, 0.02, 0.3, 0.5),
    }
    options = {
        trimming.breadcrumbs: {"density": 0.6, "gamma": 0.01},
        dropping.della_linear: {"density": 0.3, "epsilon": 0.2, "seed": 5, "place": place},
        agreement.ram_plus: {"epsilon": 0.02, "gain": 0.3, "limit": 0.5},
    }
    for method, delta in expected.items():
        same_bits(call(method, given, scale=0.7, **options[method]), merged(given[0], 0.7, delta))
    found = call(dropping.dare_l1, given, density=0.3, scale=0.7, seed=5, place=place)
    near(found, given[0] + 0.7 * sparse.restored(change[0], chosen[0]))
