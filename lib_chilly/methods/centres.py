"""Methods that find a point in the middle of any number of models."""

from __future__ import annotations

from typing import Any

from ..barycentres import of_least_way
from ..dot_products import dot, gram
from ..registry import merge_method
from ..signature import Alike, Cost, Model, Reach
from .angular import combined, weights_of
from .linear import Factor


@merge_method(
    title="Geometric median",
    formula="the m with the least |m - A| + |m - B| + ...",
    source="Weiszfeld 1937; Pillutla et al. 2019, Robust aggregation, arXiv:1912.13445",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=2,
    weights=("alpha", "beta"),
)
def geometric_median(*models: Alike, alpha: Factor = 1.0, beta: Factor = 1.0) -> Any:
    """Take the point to which the distances from all models add to the least, tensor by tensor.

    A mean that one odd model among three or more hardly moves: use it where one of many may be overtrained. alpha weighs the
    first model, beta the second, all others weigh 1; what is below 0 counts as 0. Where one model pulls more than all others
    together, it is that model; of two of one weight it is the mean.
    """
    squares = [[0.0] * len(models) for _ in models]
    for one, model in enumerate(models):
        for other in range(one):
            gap = model - models[other]
            squares[one][other] = squares[other][one] = dot(gap, gap).item()
    return combined(models, of_least_way(squares, weights_of(len(models), alpha, beta)))


@merge_method(
    title="Model stock",
    formula="(1 - t) * base + t * mean(A, B, ...), t = n * c / (1 + (n - 1) * c), "
    "c the mean cosine of all pairs of differences from base",
    source="Jang et al. 2024, Model stock, arXiv:2403.19522",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
)
def model_stock(*models: Model, base: Model) -> Any:
    """Mix models evenly, and keep what they do not agree on near the base.

    Each tensor goes as far from the base to the mean as the models' differences point one way. Use it for fine-tunings of one
    base on the same theme: it nears the centre of many from a few. There is nothing to set. t is held between 0 and 1; a
    difference that is 0 has a cosine of 0; where the formula divides by 0 it is the base. One model alone is that model.
    """
    if all(each.equal(models[0]) for each in models):
        return models[0]
    share = _stock_share(gram(models, base))
    factors = [*(share / len(models) for _ in models), 1 - share]
    return combined([*models, base], factors)


def _stock_share(dots: list[list[float]]) -> float:
    """How far from the base the mean is taken."""
    count = len(dots)
    sizes = [row[number] ** 0.5 for number, row in enumerate(dots)]
    cosines = [
        dots[one][other] / sizes[one] / sizes[other] if sizes[one] and sizes[other] else 0.0
        for one in range(count)
        for other in range(one)
    ]
    mean = sum(cosines) / len(cosines)
    below = 1 + (count - 1) * mean
    return min(1.0, max(0.0, count * mean / below)) if below > 0 else 0.0
