"""Merge methods where a formula alone would say nothing: equal, opposite, tiny and huge models, and the ends of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from method_operands import operands, tensors

from lib_chilly.methods.agreement import sce
from lib_chilly.methods.angular import karcher_mean, nuslerp, nuslerp_rows, slerp
from lib_chilly.methods.crossover import distribution_crossover, fft_crossover
from lib_chilly.methods.dropping import dare, dare_ties, della, della_linear
from lib_chilly.methods.selecting import tensor_sum
from lib_chilly.methods.spectral import truncate_rank
from lib_chilly.methods.trimming import magnitude_mask
from lib_chilly.methods.whole_difference import add_perpendicular, euclidean_add_difference
from lib_chilly.signature import Place


@pytest.mark.parametrize("count", [1, 2, 3])
def test_sce_of_models_that_changed_alike_is_their_change_whole(count: int) -> None:
    model, base = tensors(operands(2, (5, 6)))
    found = sce(*[model] * count, base=base, density=0.3, scale=0.7)
    assert torch.equal(found, base + 0.7 * (model - base))
    assert torch.equal(sce(*[model] * count, base=base, density=0.0), base)


def nearly_alike(direction: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A model that is the least float32 there is, beside a plain one."""
    tiny = torch.zeros(6, 9)
    tiny[2, 3] = 1e-45
    return tiny, torch.tensor(direction).expand(6, 9).clone()


def test_one_subnormal_element_leaves_a_tensor_finite() -> None:
    tiny, plain = nearly_alike([0.5] * 9)
    base = torch.zeros(6, 9)
    found = {
        "slerp": slerp(tiny, plain, alpha=0.5),
        "nuslerp": nuslerp(tiny, plain, base=base, alpha=0.5),
        "rows": nuslerp_rows(tiny, plain, base=base, alpha=0.5),
        "karcher": karcher_mean(tiny, plain),
        "euclidean": euclidean_add_difference(tiny, plain, base),
        "perpendicular": add_perpendicular(tiny, plain, base),
    }
    assert {name for name, each in found.items() if not bool(each.isfinite().all())} == set()
    wide = slerp(tiny.double(), plain.double(), alpha=0.5)
    torch.testing.assert_close(found["slerp"], wide.float())
    assert found["slerp"][2, 3] > plain.norm() * 0.3  # the tiny model's direction counts like any other
    assert abs(found["perpendicular"][2, 3]) < 1e-44


@pytest.mark.parametrize("density", [1e-40, 2.0**-25])
@pytest.mark.parametrize("method", [dare, dare_ties, della, della_linear])
def test_density_below_any_draw_is_none(method: object, density: float) -> None:
    base, model = torch.zeros(64), torch.ones(64)
    found = method(model, base=base, density=density, seed=0, place=Place("key"))  # type: ignore[operator]
    assert torch.equal(found, base)


def test_rank_is_not_cut_where_a_difference_is_beyond_its_type() -> None:
    a, base = torch.full((6, 5), 3e38), torch.full((6, 5), -3e38)
    assert torch.equal(truncate_rank(a, base=base, density=0.5, place=Place("key")), a)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_crossover_with_any_ramp_goes_from_a_to_b(beta: float) -> None:
    a, b, c = tensors(operands(3, (6, 9), dtype=np.float64))
    for alpha, end in ((0.0, a), (1.0, b)):
        torch.testing.assert_close(fft_crossover(a, b, alpha=alpha, beta=beta), end)
        torch.testing.assert_close(distribution_crossover(a, b, c, alpha=alpha, beta=beta), end)


@pytest.mark.parametrize("angle", [0.0, 5e-5, 9.7e-5])
def test_karcher_mean_of_opposite_models_is_their_slerp(angle: float) -> None:
    a = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    b = -2 * torch.tensor([np.cos(angle), np.sin(angle), 0.0], dtype=torch.float64)
    for alpha in (0.1, 0.3, 0.5):
        found = karcher_mean(a, b, alpha=1 - alpha, beta=alpha)
        torch.testing.assert_close(found, slerp(a, b, alpha=alpha))
    assert karcher_mean(a, b, a, alpha=1.0, beta=0.1).isfinite().all()


def test_magnitude_mask_takes_even_the_sign_of_a_zero() -> None:
    a, b = torch.ones(4), torch.tensor([-0.0, 1.0, 1.0, -0.0])
    for density in (0.5, 1.0):
        assert magnitude_mask(a, b, density=density, alpha=1.0).numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("count", [29, 57, 58])
def test_tensor_sum_takes_all_rows_of_a_share(count: int) -> None:
    found = tensor_sum(torch.zeros(100, 2), torch.ones(100, 2), alpha=count / 100)
    assert int(found[:, 0].sum()) == count
    assert int(tensor_sum(torch.zeros(100, 2), torch.ones(100, 2), alpha=0.1, beta=count / 100)[count:, 0].sum()) == 10
