"""Other mergers' arithmetic, where it is right: sd-mecha 1.1.8 and mergekit 0.1.5 on the same tensors."""

from __future__ import annotations

import pytest
import torch

from lib_chilly.methods.angular import karcher_mean, nuslerp, nuslerp_columns, nuslerp_rows, slerp
from lib_chilly.methods.centres import geometric_median
from lib_chilly.methods.difference import add_opposite, add_strict_opposite, train_difference
from lib_chilly.methods.selecting import top_k_tensor_sum
from lib_chilly.methods.whole_difference import add_perpendicular

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
