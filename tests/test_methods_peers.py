"""Other mergers' arithmetic, where it is right: sd-mecha 1.1.8, mergekit 0.1.5 and SuperMerger on the same tensors."""

from __future__ import annotations

from typing import Optional

import numpy as np
import pytest
import torch
from supermergers import NEEDED

from bench.supermerger import supermerger_s_own
from lib_chilly.methods.agreement import ram, ram_plus, sce
from lib_chilly.methods.angular import karcher_mean, nuslerp, nuslerp_columns, nuslerp_rows, slerp
from lib_chilly.methods.centres import geometric_median, model_stock
from lib_chilly.methods.difference import add_opposite, add_strict_opposite, clamp_to_envelope, train_difference
from lib_chilly.methods.dropping import dare, dare_l1, dare_ties, della, della_linear
from lib_chilly.methods.nearness import arcee_fusion, nearswap
from lib_chilly.methods.selecting import cosine_a, cosine_b, tensor_sum, top_k_tensor_sum
from lib_chilly.methods.spectral import truncate_rank
from lib_chilly.methods.trimming import breadcrumbs, ties, ties_count
from lib_chilly.methods.whole_difference import add_perpendicular, extract_dissimilar, extract_similar
from lib_chilly.signature import Place

pytestmark = pytest.mark.peers


@pytest.fixture
def models() -> list[torch.Tensor]:
    """A model and two of which it is a part."""
    generator = torch.Generator().manual_seed(0)
    first, *others = (torch.randn(24, 40, dtype=torch.float64, generator=generator) for _ in range(3))
    return [first, *(first + 0.5 * each for each in others)]


def same(found: torch.Tensor, expected: torch.Tensor, error: float = 1e-13) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=error)


def test_differences_and_slerp_are_those_of_sd_mecha(models: list[torch.Tensor]) -> None:
    mecha = pytest.importorskip("sd_mecha")
    a, b, c = models
    masks = {
        train_difference: mecha.train_difference_mask,
        add_opposite: mecha.add_opposite_mask,
        add_strict_opposite: mecha.add_strict_opposite_mask,
    }
    for method, mask in masks.items():
        same(method(a, b, c, alpha=0.7), a + mask.__wrapped__(a, b, c, 0.7) * (b - c))
    same(add_perpendicular(a, b, c, alpha=0.7), a + 0.7 * mecha.perpendicular_component.__wrapped__(a - c, b - c))
    same(slerp(a, b, alpha=0.3), mecha.slerp.__wrapped__(a, b, 0.3))
    same(geometric_median(a, b, c), mecha.geometric_median.__wrapped__(a, b, c), 1e-6)


def test_rows_bounds_and_main_directions_are_those_of_sd_mecha(models: list[torch.Tensor]) -> None:
    mecha = pytest.importorskip("sd_mecha")
    a, b, c = models
    rows = mecha.extensions.merge_methods.resolve("tensor_sum").__wrapped__
    for alpha, beta in ((0.25, 0.5), (0.5, 0.75)):  # it writes into its operands
        same(tensor_sum(a, b, alpha=alpha, beta=beta), rows(a.clone(), b.clone(), alpha, beta))
    same(clamp_to_envelope(a, b, c), mecha.clamp.__wrapped__(a, b, c))
    found = truncate_rank(b, base=a, density=0.25, place=Place("key"))
    same(found, a + mecha.truncate_rank.__wrapped__(b - a, 6, False), 1e-12)


@pytest.mark.parametrize(("method", "by_sum"), [(ties, True), (ties_count, False)])
def test_ties_is_that_of_sd_mecha_but_for_the_element_at_the_edge_of_each_delta(models, method, by_sum) -> None:
    mecha = pytest.importorskip("sd_mecha")
    base, *others = models
    others.append(base + 0.3 * torch.randn(base.shape, dtype=base.dtype, generator=torch.Generator().manual_seed(1)))
    for density in (0.25, 1.0):  # it keeps one more than the share, and finds the edge in float32
        expected = base + mecha.ties_sum.__wrapped__(*(each - base for each in others), k=density, vote_sgn=by_sum)
        apart = (method(*others, base=base, density=density) - expected).abs() > 1e-12
        assert int(apart.sum()) <= len(others)


def test_top_k_tensor_sum_is_that_of_sd_mecha_but_for_one_value_more_there(models: list[torch.Tensor]) -> None:
    mecha = pytest.importorskip("sd_mecha")
    a, b, _ = models
    found = top_k_tensor_sum(a, b, alpha=0.3, beta=0.2) != mecha.top_k_tensor_sum.__wrapped__(a, b, 0.3, 0.2)
    assert int(found.sum()) <= 2  # its band has the value before it too, which takes another's place


def test_arcs_are_those_of_mergekit(models: list[torch.Tensor]) -> None:
    methods = pytest.importorskip("mergekit.merge_methods")
    a, b, c = models
    nothing = torch.zeros_like(a)
    same(nuslerp(a, b, base=nothing, alpha=0.3), methods.nuslerp.nuslerp(0.3, a, b, flatten=True))
    same(nuslerp_rows(a, b, base=nothing, alpha=0.3), methods.nuslerp.nuslerp(0.3, a, b, dim=-1, flatten=False))
    same(nuslerp_columns(a, b, base=nothing, alpha=0.3), methods.nuslerp.nuslerp(0.3, a, b, dim=0, flatten=False))
    found = methods.karcher.karcher_merge_tensors([a, b, c], [1 / 3] * 3, max_iter=200, tol=1e-12)
    same(karcher_mean(a, b, c), found)


def of_mergekit(name: str, base: torch.Tensor, *models: torch.Tensor, **values: object) -> torch.Tensor:
    """Its method on tensors; a number for each model where `values` has a list."""
    methods = pytest.importorskip("mergekit.merge_methods")
    group = methods.base.TensorGroup.from_tensors([base, *models], base_index=0)
    given = {key: dict(enumerate(value, 1)) if isinstance(value, list) else value for key, value in values.items()}
    return methods.get(name).merge_group(group, **given)


@pytest.fixture
def learned(models: list[torch.Tensor]) -> list[torch.Tensor]:
    """A base, and three models of which each changed its own half of it."""
    base = models[0]
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randn(base.shape, dtype=base.dtype, generator=generator) for _ in range(6)]
    return [base, *(base + 0.1 * change * (place > 0) for change, place in zip(drawn[:3], drawn[3:], strict=True))]


def test_trimmed_and_weighed_deltas_are_those_of_mergekit(learned: list[torch.Tensor]) -> None:
    base, *models = learned
    plain = {"weight": [1.0] * 3, "int8_mask": False, "lambda": 1.0, "rescale": False}
    expected = of_mergekit("ties", base, *models, density=[0.25] * 3, normalize=True, **plain)
    same(ties(*models, base=base, density=0.25), expected)
    expected = of_mergekit("breadcrumbs", base, *models, density=[0.25] * 3, gamma=[0.05] * 3, normalize=False, **plain)
    same(breadcrumbs(*models, base=base, density=0.25, gamma=0.05), expected)
    same(ram(*models, base=base), of_mergekit("ram", base, *models, epsilon=1e-5))
    found = ram_plus(*models, base=base, gain=0.1, limit=0.2)
    same(found, of_mergekit("ramplus_tl", base, *models, r=0.1, alpha=0.2, epsilon=1e-5), 1e-7)  # its factors are float32
    same(sce(*models, base=base, density=1.0), of_mergekit("sce", base, *models, int8_mask=False, select_topk=1.0))


def test_sce_selects_a_share_of_all_elements_where_mergekit_takes_it_of_those_that_vary(learned: list[torch.Tensor]) -> None:
    base, *models = learned
    vary = int((torch.stack(models) - base).var(0, unbiased=False).count_nonzero())
    assert vary < base.numel()
    expected = of_mergekit("sce", base, *models, int8_mask=False, select_topk=0.5)
    same(sce(*models, base=base, density=int(vary * 0.5) / base.numel()), expected)


def test_nearness_and_model_stock_are_those_of_mergekit(learned: list[torch.Tensor]) -> None:
    base, *models = learned
    same(nearswap(base, models[0], distance=0.05), of_mergekit("nearswap", base, models[0], t=0.05))
    same(arcee_fusion(base, models[0]), of_mergekit("arcee_fusion", base, models[0]))
    alike = [model + 0.1 * models[0] for model in models]  # where the cosines are above 0: below, ours is the base
    same(model_stock(*alike, base=base), of_mergekit("model_stock", base, *alike, filter_wise=False))


@pytest.mark.parametrize(
    ("method", "name", "normalize", "rescale"),
    # mergekit adds where dare_ties takes a mean, unless it is told to normalize.
    [
        (dare, "dare_linear", False, False),
        (dare_l1, "dare_linear", False, True),
        (dare_ties, "dare_ties", True, False),
        (della, "della", True, False),
        (della_linear, "della_linear", False, False),
    ],
)
def test_without_draws_the_random_ones_are_those_of_mergekit(learned, method, name, normalize, rescale) -> None:
    base, *models = learned
    given = {"weight": [1.0] * 3, "density": [1.0] * 3, "int8_mask": False, "lambda": 0.5}
    given |= {"normalize": normalize, "rescale": rescale} | ({"epsilon": [0.0] * 3} if "della" in name else {})
    same(method(*models, base=base, density=1.0, scale=0.5, place=Place("key")), of_mergekit(name, base, *models, **given))


@NEEDED
def test_cosines_differences_and_rows_are_those_of_supermerger_in_float32(models: list[torch.Tensor]) -> None:
    names = {"torch": torch, "nn": torch.nn, "lerp": torch.lerp, "caster": lambda *said: None, "hear": False}
    names |= {"cosine_similarity": torch.cosine_similarity, "Tensor": torch.Tensor, "Optional": Optional}
    wanted = "cosine", "traindiff", "extract_super", "tensormerge"
    own = supermerger_s_own("mergers/mergers.py", *wanted, **names)
    key, range_ = "model.x", np.array([-0.2, 0.4])

    def given() -> list[dict[str, torch.Tensor]]:
        return [{key: model.clone()} for model in models]

    for letter, method in (("A", cosine_a), ("B", cosine_b)):
        a, b, _ = given()
        own["cosine"](letter, key, torch.nn.CosineSimilarity(dim=0), range_, 0.3, a, b, 0, "", True)
        same(method(*models[:2], alpha=0.3, low=-0.2, high=0.4), a[key], 1e-5)
    tensors = given()
    own["traindiff"](key, 0.7, *tensors)
    same(train_difference(*models, alpha=0.7), tensors[0][key], 1e-5)
    for beta, method in ((0.0, extract_similar), (1.0, extract_dissimilar)):
        same(method(*models, alpha=0.3, gamma=2.0), own["extract_super"](*models, 0.3, beta, 2.0), 1e-5)
    for alpha, beta in ((0.25, 0.5), (0.5, 0.75)):
        a, b, _ = given()
        own["tensormerge"](True, key, 2, a, b, alpha, beta)
        same(tensor_sum(*models[:2], alpha=alpha, beta=beta), a[key])
