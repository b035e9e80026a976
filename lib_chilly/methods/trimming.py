"""Methods that keep the elements of a delta whose magnitude has a certain rank in its tensor."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from ..bit_masks import choose, only_where
from ..deltas import Deltas, added, agreed, merged, slabs
from ..registry import merge_method
from ..selection import kept, largest
from ..signature import Cost, Density, Model, Param, Reach, Scale, Weight

Outliers = Annotated[float, Param(0, 0.1)]
"""The share of elements that is dropped for being the largest."""

_TO_BASE: Mapping[tuple[str, float], str] = {("density", 0): "base", ("scale", 0): "base"}


@merge_method(
    title="TIES",
    formula="base + scale * mean(trimmed deltas of the elected sign)",
    source="Yadav et al. 2023, arXiv:2306.01708",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends=_TO_BASE,
)
def ties(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0) -> Any:
    """Combine what models learned: keep the largest changes, elect a sign, average those that agree.

    Of each model's delta the `density` largest elements of a tensor are kept (of equal ones the first). The sign is that of
    their sum, so a large change outvotes several small ones; where the sums of both signs are equal the base stays. Several
    styles in one model stay sharper than in a mean; with a low density little but what each model is known for is left. 0.3 to
    0.5 is usual.
    """
    return merged(base, scale, _trimmed(models, base, density), agreed)


@merge_method(
    title="TIES by count",
    formula="base + scale * mean(trimmed deltas of the sign that more of them have)",
    source="s1dlx/meh; ljleb/sd-mecha",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends=_TO_BASE,
)
def ties_count(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0) -> Any:
    """TIES in which each model has one vote on the sign, however large its change.

    As the SD mergers before computed it. With two models an element in which they differ in sign stays the base's; with three and
    more, one strongly trained model cannot outvote the others. Use it where `ties` lets one model win everywhere.
    """
    return merged(base, scale, _trimmed(models, base, density), functools.partial(agreed, by_count=True))


def _trimmed(models: tuple[Any, ...], base: Any, density: float) -> list[Iterator[Any]]:
    return [_ranked(Deltas(model, base), 0, kept(density, base.numel()), base.numel()) for model in models]


def _ranked(deltas: Deltas, start: int, stop: int, elements: int) -> Iterator[Any]:
    """Slabs of a delta with 0 where an element's rank is not from `start` to `stop`; the largest has rank 0."""
    if stop <= start:
        yield from (delta.zero_() for delta in deltas)
        return
    beyond = largest(deltas, start, elements).masks(deltas) if start else itertools.repeat(None)
    within = largest(deltas, stop, elements).masks(deltas) if stop < elements else itertools.repeat(None)
    for delta, is_beyond, is_within in zip(deltas, beyond, within, strict=False):
        chosen = delta if is_within is None else only_where(is_within, delta)
        yield chosen if is_beyond is None else only_where(is_beyond.bitwise_not_(), chosen)


@merge_method(
    title="Breadcrumbs",
    formula="base + scale * sum(deltas without their largest and their smallest elements)",
    source="Davari, Belilovsky 2023, Model breadcrumbs, arXiv:2312.06795",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends=_TO_BASE,
)
def breadcrumbs(*models: Model, base: Model, density: Density = 0.9, gamma: Outliers = 0.01, scale: Scale = 1.0) -> Any:
    """Add up what models learned without their outliers and without their noise.

    Of each delta the `gamma` largest elements of a tensor are dropped, then the `density` next largest kept (of equal ones the
    first; the counts are rounded, and something is kept of any tensor that density is above 0 for). What is kept is added in
    the models' order, so models that learned the same need a scale below 1. Use it where a model is overtrained: burnt contrast
    often sits in few, very large changes.
    """
    elements = base.numel()
    start = min(round(max(gamma, 0) * elements), max(elements - 1, 0))
    stop = min(start + kept(density, elements), elements)
    return merged(base, scale, [_ranked(Deltas(model, base), start, stop, elements) for model in models], added)


@merge_method(
    title="Magnitude mask",
    formula="(1 - alpha) * A + alpha * B where abs(B - A) is among the largest, else A",
    source="model-mixer, as its Ties-Fixed",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    scratch=2,
    ends={("alpha", 0): "a", ("density", 0): "a"},
)
def magnitude_mask(a: Model, b: Model, *, density: Density = 0.5, alpha: Weight = 1.0) -> Any:
    """Take B only where it differs most from A.

    The `density` elements of a tensor that differ most (of equal ones the first) become the weighted sum of both, with alpha 1
    B's own value to the bit; all others stay A's to the bit. A small density brings B's strongest traits without the drift of a
    weighted sum.
    """
    import torch

    count = kept(density, a.numel())
    if not 0 < count < a.numel():
        return _mixed(a, b, alpha).clone() if count else a.clone()
    deltas = Deltas(b, a)
    masks = largest(deltas, count, a.numel()).masks(deltas)
    parts = zip(masks, slabs(a), slabs(b), strict=True)
    return torch.cat([choose(mask, _mixed(one, two, alpha), one) for mask, one, two in parts]).view(a.shape)


def _mixed(a: Any, b: Any, alpha: float) -> Any:
    return b if alpha == 1 else (1 - alpha) * a + alpha * b
