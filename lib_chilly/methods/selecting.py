"""Methods that take each weight from A or from B, by a rule, by its place, by its rank or by chance."""

from __future__ import annotations

from typing import Annotated, Any

from ..dot_products import norm, ratio, row_dots
from ..draws import uniforms
from ..registry import merge_method
from ..selection import smallest
from ..signature import Cost, Model, Param, Place, Reach, Seed, Weight

Edge = Annotated[float, Param(-1, 1, per_block=False)]
"""A cosine that is an edge of a range."""

_ENDS = {("alpha", 0.0): "a", ("alpha", 1.0): "b"}


@merge_method(
    title="Cosine A",
    formula="k * A + (1 - k) * B, k = min(1, max(0, (c - low) / (high - low) - |alpha|)), "
    "c the mean of the cosine of each column and that of all, all columns taken as long as each other",
    source="SuperMerger, cosineA",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=2,
)
def cosine_a(a: Model, b: Model, *, alpha: Weight = 0.5, low: Edge = 0.0, high: Edge = 1.0) -> Any:
    """Keep A where A and B point one way, and take B where they do not.

    By columns, the weights along the first dimension. B brings its own and leaves A what they share; the larger alpha, the more
    of B. alpha 0 is not A, in blocks without a weight neither: columns that are unlike are B's already. SuperMerger takes as low
    and high the cosines at 1 and 99 % of all keys but the VAE's: give them for its very numbers. A column that is all 0 has a
    cosine of 0.
    """
    if a.numel() == 0:
        return a
    cosines, own, other = _column_cosines(a, b)
    columns = (own != 0).sum() * (other != 0).sum()
    return _mixed(a, b, cosines, ratio(cosines.sum(), columns.double().sqrt()), (abs(alpha), low, high))


@merge_method(
    title="Cosine B",
    formula="k * A + (1 - k) * B, k = min(1, max(0, (c - low) / (high - low) - alpha)), "
    "c the mean of the cosine of each column and that of all",
    source="SuperMerger, cosineB",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=2,
)
def cosine_b(a: Model, b: Model, *, alpha: Weight = 0.5, low: Edge = 0.0, high: Edge = 1.0) -> Any:
    """Keep A where A and B point one way, counting long columns for more than short ones.

    As cosine_a, but the cosine of the whole tensor is that of the weights as they are, so that its large columns decide it.
    alpha 0 is not A, in blocks without a weight neither.
    """
    if a.numel() == 0:
        return a
    cosines, own, other = _column_cosines(a, b)
    products = (cosines * own * other).sum()
    return _mixed(a, b, cosines, ratio(products, norm(a) * norm(b)), (alpha, low, high))


def _column_cosines(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """[columns, 1] each: the cosines, and how long A's and B's columns are."""
    own, other = (each.reshape(each.shape[0] if each.dim() else 1, -1).t().contiguous() for each in (a, b))
    lengths = row_dots(own, own).sqrt_(), row_dots(other, other).sqrt_()
    return (ratio(row_dots(own, other), lengths[0] * lengths[1]), *lengths)


def _mixed(a: Any, b: Any, cosines: Any, whole: Any, given: tuple[float, float, float]) -> Any:
    less, low, high = given
    share = ((cosines + whole) / 2).sub_(low).div_(max(high - low, 1e-12)).sub_(less).clamp_(0, 1)
    share = share.to(a.dtype).view(a.shape[1:])
    return a.where(a == b, (a - b).mul_(share).add_(b))


@merge_method(
    title="Tensor sum",
    formula="B in the rows from beta * n to (alpha + beta) * n of the first dimension, beyond the last from the first on, else A",
    source="SuperMerger, tensor",
    reach=Reach.TENSOR,
    scratch=0,
    ends=_ENDS,
)
def tensor_sum(a: Model, b: Model, *, alpha: Weight = 0.5, beta: Weight = 0.0) -> Any:
    """Take a run of rows of each weight from B, and the others from A.

    Each output of a layer is A's or B's own, to the bit: nothing is averaged, so nothing is blurred, but halves that were never
    trained together may not fit. alpha is the share of rows that is B's, beta where they begin; both are cut to whole rows.
    """
    rows = a.shape[0] if a.dim() else 1
    start, end = (
        int(rows * place + 1e-9) for place in (beta % 1, min(max(alpha, 0), 1) + beta % 1)
    )  # 0.29 * 100 is less than 29
    result, taken = a.clone().view(rows, *a.shape[1:]), b.view(rows, *a.shape[1:])
    result[start:end] = taken[start:end]
    if end > rows:
        result[: end - rows] = taken[: end - rows]
    return result.view(a.shape)


@merge_method(
    title="Top-k tensor sum",
    formula="A's values in the order of B's, where A's lie between the shares beta and alpha + beta by size; else A",
    source="s1dlx/meh, merge_methods.py",
    reach=Reach.TENSOR,
    cost=Cost.SORTING,
    scratch=7,
    ends={("alpha", 0): "a"},
)
def top_k_tensor_sum(a: Model, b: Model, *, alpha: Weight = 0.5, beta: Weight = 0.0) -> Any:
    """Deal A's weights anew, in the order in which B's stand by size.

    Where B has its n-th largest weight of a tensor the result has A's n-th largest, for a share alpha of A's weights from the
    smallest magnitudes on, beta leaving out as many of the smallest; beyond the largest it begins with the smallest again. B
    decides what matters, A how much of it there is. Equal values go by their place.
    """
    values, places = a.reshape(-1), b.reshape(-1).argsort(stable=True)
    ordered, count = values.sort(stable=True).values, values.numel()
    start, end = round(count * (beta % 1)), round(count * (min(max(alpha, 0), 1) + beta % 1))
    band = _smallest(ordered, min(end, count)) & ~_smallest(ordered, start)
    if end > count:
        band |= _smallest(ordered, end - count)
    return values.new_empty(count).scatter_(0, places, ordered.where(band, values[places])).view(a.shape)


def _smallest(values: Any, count: int) -> Any:
    """Where the `count` elements of smallest magnitude stand."""
    import torch

    if not count:
        return torch.zeros_like(values, dtype=torch.bool)
    (mask,) = smallest([values], count).masks([values])
    return mask.bool()


@merge_method(
    title="Random mix",
    formula="B where a draw from 0 to 1 is below alpha, else A",
    source="ljleb/sd-mecha, dropout of two models",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=2,
    ends=_ENDS,
)
def random_mix(a: Model, b: Model, *, alpha: Weight = 0.5, seed: Seed = 0, place: Place) -> Any:
    """Take each weight from A or from B by chance, B with the chance alpha.

    On average the weighted sum, with the full contrast of both and their noise. Draws depend on the seed, the tensor and the
    element's number alone: other seeds are other mixes, and other block weights change no draw.
    """
    return b.where(uniforms(place, a.numel(), seed, 0, a.device) < alpha, a)
