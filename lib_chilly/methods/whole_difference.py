"""Methods that add a difference of two models, and have to see whole tensors to do so."""

from __future__ import annotations

from typing import Annotated, Any

from ..dot_products import dot, norm, ratio, row_dots, scaled
from ..registry import merge_method
from ..signature import Cost, Model, Param, Reach, Weight
from ..smoothing import smoothed

Steepness = Annotated[float, Param(0, 15, neutral=1)]
"""An exponent of what lies between 0 and 1; one below 0 counts as 0."""


@merge_method(
    title="Smooth add",
    formula="A + alpha * smoothed(B - C)",
    source="SuperMerger",
    reach=Reach.TENSOR,
    cost=Cost.NEIGHBOURS,
    scratch=5,
    ends={("alpha", 0): "a"},
)
def smooth_add(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add to A what B learned since C, with its sharp peaks taken off.

    The difference goes through a median over three neighbours and a Gaussian of width 1, both in every dimension of the weight,
    with mirrored edges, as scipy.ndimage does it. The broad tendency of a training stays, single weights that overshoot do not:
    less noise and contrast than add_difference, less detail too.
    """
    return a + smoothed(b - c).mul(alpha)


@merge_method(
    title="Euclidean add difference",
    formula="C + |m| * d / |d|, d = sqrt((1 - alpha) * u^2 + alpha * v^2) with the signs of m = (1 - alpha) * A + alpha * B - C; "
    "u, v = (A - C) / |A - C|, (B - C) / |B - C|",
    source="s1dlx/meh, merge_methods.py",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=3,
    ends={("alpha", 0): "a", ("alpha", 1): "b"},
)
def euclidean_add_difference(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5) -> Any:
    """Mix what A and B learned since C as the sides of a right triangle, as strongly as their weighted sum.

    What either has learned shows, also where a weighted sum would water it down; both count alike however much each moved. Use it
    for models of one ancestor with different themes. A difference that is all 0 takes no part; where both are, the result is C.
    """
    if a.equal(b):
        return a
    own, delta = a - c, b - c
    mean = (delta - own).mul_(alpha).add_(own)
    own, delta = (scaled(each, ratio(norm(each).new_ones(()), norm(each)), each) for each in (own, delta))
    way = own.square_().mul_(1 - alpha).add_(delta.square_().mul_(alpha)).clamp_(min=0).sqrt_().copysign_(mean)
    return scaled(way, ratio(norm(mean), norm(way)), way).add_(c)


@merge_method(
    title="Add perpendicular",
    formula="A + alpha * (d - (d . e) / |e|^2 * e), d = B - C, e = A - C",
    source="ljleb/sd-mecha",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=2,
    ends={("alpha", 0): "a"},
)
def add_perpendicular(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add to A what B learned since C, without what A learned already.

    In each tensor the part of B's difference that points along A's own is left out, so that what both were trained on is not
    doubled. Use it as add_difference where A and B share much. Where A is C, the whole difference is added.
    """
    own, delta = a - c, b - c
    along = ratio(dot(own, delta), dot(own, own))
    return delta.sub_(scaled(own, along, own)).mul_(alpha).add_(a)


@merge_method(
    title="Extract similar",
    formula="A + ((cos(B - A, C - A) + 1) / 2)^gamma * ((1 - alpha) * B + alpha * C - A), cos by rows",
    source="SuperMerger, extract with beta 0",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=5,
    is_bitwise=False,
)
def extract_similar(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5, gamma: Steepness = 1.0) -> Any:
    """Add to A what B and C learned alike since.

    A is the ancestor. Rows (of the last dimension) in which B and C went one way are added, those in which they went opposite
    ways are not; the larger gamma, the stricter. Use it for what two models have in common. A row that did not move has a cosine
    of 0. No alpha makes it A: blocks without a weight have alpha 0, and take what B has in common with C.
    """
    return _extract(a, b, c, alpha, gamma, False)


@merge_method(
    title="Extract dissimilar",
    formula="A + (1 - ((cos(B - A, C - A) + 1) / 2)^gamma) * ((1 - alpha) * B + alpha * C - A), cos by rows",
    source="SuperMerger, extract with beta 1",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=5,
    is_bitwise=False,
)
def extract_dissimilar(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5, gamma: Steepness = 1.0) -> Any:
    """Add to A what B or C learned since, and the other did not.

    A is the ancestor; alpha 0 takes what is B's own, alpha 1 what is C's own. SuperMerger's beta between 0 and 1 is the weighted
    sum of extract_similar and this. A row of the last dimension that did not move has a cosine of 0.
    No alpha makes it A: blocks without a weight have alpha 0, and take what is B's own.
    """
    return _extract(a, b, c, alpha, gamma, True)


def _extract(a: Any, b: Any, c: Any, alpha: float, gamma: float, is_opposite: bool) -> Any:
    length = a.shape[-1] if a.dim() else 1
    own, other = ((each - a).reshape(-1, length) if length else each.reshape(0, 0) for each in (b, c))
    cosine = ratio(row_dots(own, other), row_dots(own, own).sqrt_() * row_dots(other, other).sqrt_())
    share = cosine.clamp_(-1, 1).add_(1).div_(2).pow_(max(gamma, 0))
    share = (1 - share if is_opposite else share).to(a.dtype)
    return other.sub_(own).mul_(alpha).add_(own).mul_(share).reshape(a.shape).add_(a)
