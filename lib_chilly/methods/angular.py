"""Methods that mix models along the arc between them, so that what they share is not watered down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..barycentres import on_sphere, shares
from ..dot_products import gaps, gram, norm, ratio, row_dots, row_gaps, scaled
from ..registry import merge_method
from ..signature import Alike, Cost, Model, Reach, Weight
from .linear import Factor

_OPPOSITE = 1e-4
"""Vectors that are nearer than that, in radians, to being opposite: the arcs between them go every way."""

_ENDS = {("alpha", 0.0): "a", ("alpha", 1.0): "b"}


@merge_method(
    title="Slerp",
    formula="|m| * (sin((1 - alpha) * w) * A / |A| + sin(alpha * w) * B / |B|) / sin(w), "
    "w the angle between A and B, |m| = (1 - alpha) * |A| + alpha * |B|",
    source="Shoemake 1985, Animating rotation with quaternion curves",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    is_bitwise=False,
    ends=_ENDS,
)
def slerp(a: Alike, b: Alike, *, alpha: Weight = 0.5) -> Any:
    """Mix B into A along the arc between them, each tensor as one vector.

    A weighted sum of two models that differ much is shorter than both, and its pictures flat; this one is as long as they are.
    For models of one ancestor it is nearly a weighted sum: take deltas, as in C + slerp(A - C, B - C). The weighted sum is
    taken where a tensor is all 0, and where A and B are opposite.
    """
    if a.equal(b):
        return a
    return _by_factors(a, b, _whole_factors(a, b, alpha, True))


@merge_method(
    title="Nuslerp",
    formula="base + (sin((1 - alpha) * w) * (A - base) + sin(alpha * w) * (B - base)) / sin(w), "
    "w the angle between A - base and B - base",
    source="mergekit, nuslerp",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=3,
    is_bitwise=False,
    ends=_ENDS,
)
def nuslerp(a: Model, b: Model, *, base: Model, alpha: Weight = 0.5) -> Any:
    """Mix what A and B learned since the base along the arc between these differences, each tensor as one vector.

    Differences of trainings on other themes stand nearly at right angles, and their weighted sum is some 30 % shorter than they
    are: this one keeps the strength of both. Each keeps its own length. The weighted sum is taken where one is 0, or both are
    opposite.
    """
    if a.equal(b):
        return a
    own, delta = a - base, b - base
    return _by_factors(own, delta, _whole_factors(own, delta, alpha, False)).add_(base)


@merge_method(
    title="Nuslerp by rows",
    formula="as nuslerp, for each row of the first dimension",
    source="mergekit, nuslerp",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=3,
    is_bitwise=False,
    ends=_ENDS,
)
def nuslerp_rows(a: Model, b: Model, *, base: Model, alpha: Weight = 0.5) -> Any:
    """Mix what A and B learned since the base along arcs, each output's weights as one vector.

    As nuslerp, but what one output learned does not turn another's: finer where A changed some outputs and B others. Tensors of
    one dimension are one vector.
    """
    return _by_rows(a, b, base, alpha) if a.dim() > 1 else nuslerp(a, b, base=base, alpha=alpha)


@merge_method(
    title="Nuslerp by columns",
    formula="as nuslerp, along the first dimension",
    source="mergekit, nuslerp",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=7,
    is_bitwise=False,
    ends=_ENDS,
)
def nuslerp_columns(a: Model, b: Model, *, base: Model, alpha: Weight = 0.5) -> Any:
    """Mix what A and B learned since the base along arcs, each input's weights as one vector.

    As nuslerp_rows, for what each input gives to all outputs. Tensors of one dimension are one vector.
    """
    if a.dim() < 2:
        return nuslerp(a, b, base=base, alpha=alpha)
    one, other, origin = (each.flatten(1).t().contiguous() for each in (a, b, base))
    return _by_rows(one, other, origin, alpha).t().reshape(a.shape)


@merge_method(
    title="Karcher mean",
    formula="the direction x at which the weighted arcs to A, B, ... add to 0, at their mean length",
    source="Karcher 1977, Riemannian center of mass; mergekit, karcher",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    weights=("alpha", "beta"),
)
def karcher_mean(*models: Alike, alpha: Factor = 1.0, beta: Factor = 1.0) -> Any:
    """Mix any number of models along the arcs between them: slerp for more than two.

    alpha weighs the first model, beta the second, all others weigh 1; what is below 0 counts as 0. Of two models it is their
    slerp. Use it in the place of mean for models that differ much, or on deltas. A tensor that is all 0 counts by its length
    alone; where models have no direction in common it is the weighted mean.
    """
    if all(each.equal(models[0]) for each in models):
        return models[0]
    return combined(models, on_sphere(gram(models), weights_of(len(models), alpha, beta)))


def weights_of(count: int, alpha: float, beta: float) -> list[float]:
    """The shares of models of which the first two have weights of their own."""
    return shares([alpha, beta, *(1.0 for _ in range(count))][:count])


def combined(models: Any, factors: Any) -> Any:
    """A weighted sum; what has the whole weight is that model itself."""
    import torch

    if 1.0 in factors and sum(factor != 0 for factor in factors) == 1:
        return models[factors.index(1.0)]
    wide = models[0].new_tensor(factors, dtype=torch.float64)
    total = scaled(models[0], wide[0])
    for model, factor in zip(models[1:], wide[1:], strict=True):
        total.add_(scaled(model, factor))
    return total


def _by_rows(a: Any, b: Any, base: Any, alpha: float) -> Any:
    own, delta = ((each - base).flatten(1) for each in (a, b))
    sizes = row_dots(own, own).sqrt_(), row_dots(delta, delta).sqrt_()
    factors = _factors(sizes, row_gaps(own, delta, *sizes).split(1, 1), alpha, False)
    same = (own == delta).all(1, keepdim=True)
    return a.where(same.view(-1, *(1 for _ in a.shape[1:])), _by_factors(own, delta, factors).view(a.shape).add_(base))


def _whole_factors(a: Any, b: Any, alpha: float, is_mean_length: bool) -> tuple[Any, Any]:
    sizes = norm(a), norm(b)
    return _factors(sizes, gaps(a, b, *sizes).unbind(), alpha, is_mean_length)


def _factors(sizes: Sequence[Any], ways: Sequence[Any], alpha: float, is_mean_length: bool) -> tuple[Any, Any]:
    """What A and B are multiplied with.

    Args:
        ways: lengths of the unit vectors' difference and of their sum: by both, the angle is exact near 0 and near a half turn.
    """
    (a_size, b_size), (gap, sum_size) = sizes, ways
    angle = gap.atan2(sum_size).mul(2)
    sine = angle.sin()
    is_plain = (a_size == 0) | (b_size == 0) | (angle > math.pi - _OPPOSITE) | (sine == 0)
    a_factor, b_factor = (ratio((angle * share).sin(), sine) for share in (1 - alpha, alpha))
    if is_mean_length:
        length = a_size * (1 - alpha) + b_size * alpha
        a_factor, b_factor = a_factor * ratio(length, a_size), b_factor * ratio(length, b_size)
    return a_factor.masked_fill(is_plain, 1 - alpha), b_factor.masked_fill(is_plain, alpha)


def _by_factors(a: Any, b: Any, factors: tuple[Any, Any]) -> Any:
    return scaled(a, factors[0]).add_(scaled(b, factors[1]))
