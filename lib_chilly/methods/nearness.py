"""Methods that take more or less of B in each element, by how far A and B are apart there."""

from __future__ import annotations

from typing import Annotated, Any

from ..bit_masks import choose
from ..deltas import slabs
from ..draws import uniforms
from ..registry import merge_method
from ..selection import magnitude_at
from ..signature import Cost, Model, Param, Place, Reach, Seed, Weight

Distance = Annotated[float, Param(0, 0.1)]
"""A difference of weights; most of two models' are below 0.01."""

_CELLS = 1 << 18
"""Elements of rows that are compared at once."""


@merge_method(
    title="Near swap",
    formula="B where abs(B - A) <= distance, else A + distance * sign(B - A)",
    source="Alchemonaut, QuartetAnemoi; mergekit",
    reach=Reach.ELEMENT,
    cost=Cost.ARITHMETIC,
    scratch=3,
    ends={("distance", 0): "a"},
)
def nearswap(a: Model, b: Model, *, distance: Distance = 0.001) -> Any:
    """Take B where it is near A, and go no further than `distance` towards it anywhere else.

    B's own value to the bit where it is near. B's fine grain comes over, its large changes hardly: a careful way to bring in a
    model that would overpower A. `distance` is in units of the weights.
    """
    step = (b - a).clamp_(-max(distance, 0), max(distance, 0))
    return choose((b - a).abs_() <= distance, b, step.add_(a))


@merge_method(
    title="Comparative interpolation",
    formula="A + w * (B - A), w = ((1 - beta) * (1 - s) + beta * s) ** (1 / alpha - 1), s = abs(B - A) / its maximum",
    source="untitled merger",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=6,
    is_bitwise=False,
    ends={("alpha", 0): "a", ("alpha", 1): "b"},
)
def comparative_interpolation(
    a: Model, b: Model, *, alpha: Weight = 0.5, beta: Weight = 0.0, gamma: Weight = 0.0, seed: Seed = 0, place: Place
) -> Any:
    """Mix B into A by how alike they are in each element: beta 0 takes most where they agree, beta 1 where they differ.

    The largest difference is that of the tensor; where there is none s is 0. gamma mixes in a draw: w becomes (1 - gamma) * w,
    and gamma more where a draw is below w, so that gamma 1 takes each element whole from A or B. With beta 0 B's light touch
    comes over and A's composition stays; with beta 1 B's strongest traits. Parameters beyond 0 and 1 count as these.
    Another kind of processor may differ in the last bit of a power.
    """
    import torch

    alpha, beta, gamma = (min(max(value, 0.0), 1.0) for value in (alpha, beta, gamma))
    if a.numel() == 0 or alpha == 0:
        return a.clone()
    apart = (b - a).abs_()
    most = apart.amax()
    weight = torch.where(most > 0, apart / most, 0)
    weight = weight.mul_(2 * beta - 1).add_(1 - beta).clamp_(0, 1).pow_(1 / alpha - 1)
    if gamma > 0:
        drawn = uniforms(place, a.numel(), seed, 0, a.device).view(a.shape) < weight
        weight = weight.mul_(1 - gamma).add_(drawn.to(weight.dtype).mul_(gamma))
    return choose(weight < 0.5, a + weight * (b - a), b - (1 - weight) * (b - a))


@merge_method(
    title="Arcee fusion",
    formula="B where abs(B - A) * KL(row of B, row of A) >= median + 1.5 * (upper quartile - lower quartile), else A",
    source="Arcee; mergekit",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    scratch=3,
    is_bitwise=False,
)
def arcee_fusion(a: Model, b: Model) -> Any:
    """Take over only B's outstanding changes: those far above the middle of their tensor in size, in rows that changed much.

    A row is what one output is made of, a vector is one; KL is the divergence of both rows' softmax, in float64. The quartiles
    and the median are elements of the tensor, those at the whole part of 1/4, 1/2 and 3/4 of the last place. What has
    importance 0 stays A's. Little of B comes over: A's style stays, and B's strongest concepts arrive. Another kind of
    processor may differ in the last bit of an importance, and so in an element that is at the bar itself.
    """
    if a.numel() == 0:
        return a.clone()
    importance = (b - a).abs_().mul_(_divergence(a, b))
    low, middle, high = (magnitude_at(slabs(importance), part * (a.numel() - 1) // 4) for part in (1, 2, 3))
    return choose((importance >= middle + 1.5 * (high - low)) & (importance > 0), b, a)


def _divergence(a: Any, b: Any) -> Any:
    """KL(softmax of b's row, softmax of a's row) in a's type, of a shape that multiplies it."""
    import torch

    rows = a.shape[0] if a.dim() > 1 else 1
    found = torch.empty(rows, dtype=a.dtype, device=a.device)
    at_once = max(1, _CELLS * rows // a.numel())
    parts = (each.reshape(rows, -1).split(at_once) for each in (a, b))
    for part, one, two in zip(found.split(at_once), *parts, strict=True):
        p, q = (torch.log_softmax(each.to(torch.float64), 1) for each in (two, one))
        part.copy_((p.exp() * (p - q)).sum(1).clamp_(min=0))
    return found.view(-1, *[1] * (a.dim() - 1)) if a.dim() else found[0]
