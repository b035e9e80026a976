"""Methods that drop elements of deltas at random and enlarge the rest; a draw belongs to seed, model, tensor and element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from ..bit_masks import below, only_where
from ..deltas import Deltas, added, agreed, merged, slabs
from ..dot_products import magnitude, ratio
from ..draws import uniforms
from ..registry import merge_method
from ..row_ranks import CELLS, row_ranks
from ..signature import Cost, Density, Model, Param, Place, Reach, Scale, Seed

Spread = Annotated[float, Param(0, 1)]
"""How far apart the chances of the smallest and the largest element of a row are."""

_LEAST = 2.0**-24
"""The least chance that a draw of 24 bits has; below it nothing is kept."""

_TO_BASE: Mapping[tuple[str, float], str] = {("density", 0): "base", ("scale", 0): "base"}
_DARE = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099"
_DELLA = "Deep et al. 2024, DELLA-Merging, arXiv:2406.11617"


@merge_method(
    title="DARE",
    formula="base + scale / density * sum(deltas where a draw is below density)",
    source=_DARE,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=6,
    ends=_TO_BASE,
)
def dare(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """Add up what models learned after dropping a random part of each change and enlarging the rest by 1 / density.

    What is kept is added in the models' order and multiplied once by scale / density, so each change keeps its mean, and models
    that learned the same need a scale below 1. Changes of several models get out of each other's way; the lower the density,
    the more pictures are left to chance: another seed gives another model of the same kind.
    """
    return merged(base, _enlarged(scale, density), _dropped(models, base, density, seed, place), added)


@merge_method(
    title="DARE, L1 restored",
    formula="base + scale * sum(kept deltas * L1(delta) / L1(kept delta))",
    source=f"mergekit 0.1.5, after {_DARE}",
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=2,
    ends=_TO_BASE,
)
def dare_l1(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """DARE that enlarges what it keeps of a tensor to the same sum of magnitudes, instead of by 1 / density.

    The draws are those of `dare`. In small tensors, where luck decides how much is kept, the change is as strong as it was; in
    large ones both are the same. Where all that was kept is 0 the delta is 0.
    """
    import torch

    chosen, result = (torch.zeros(base.shape, dtype=base.dtype, device=base.device) for _ in range(2))
    for model, dropped in zip(models, _dropped(models, base, density, seed, place), strict=True):
        whole, left = torch.zeros(2, dtype=torch.float64, device=base.device)
        for found, delta, part in zip(slabs(chosen), Deltas(model, base), dropped, strict=True):
            whole, left = whole + magnitude(delta), left + magnitude(part)
            found.copy_(part)
        factor = ratio(whole, left)
        for found, part in zip(slabs(result), slabs(chosen), strict=True):
            found += (part.to(torch.float64) * factor).to(part.dtype)  # a factor may be beyond float32
    return result.mul_(scale).add_(base)


@merge_method(
    title="DARE with TIES",
    formula="base + scale / density * mean(kept deltas of the elected sign)",
    source=_DARE,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=9,
    ends=_TO_BASE,
)
def dare_ties(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """TIES whose changes are dropped at random instead of trimmed by size.

    The draws are those of `dare`, the sign and the mean those of `ties` at density 1. As in the paper the mean is over what was
    kept, so an element that only one model kept is enlarged by the whole 1 / density: scales of 0.3 to 0.7 are usual.
    """
    return merged(base, _enlarged(scale, density), _dropped(models, base, density, seed, place), agreed)


@merge_method(
    title="DELLA",
    formula="base + scale * mean(kept deltas / chance, of the elected sign)",
    source=_DELLA,
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends=_TO_BASE,
)
def della(
    *models: Model,
    base: Model,
    density: Density = 0.5,
    epsilon: Spread = 0.2,
    scale: Scale = 1.0,
    seed: Seed = 0,
    place: Place,
) -> Any:
    """TIES whose changes are dropped at random, small ones more often than large ones.

    An element is kept with the chance density + epsilon * (rank - 1/2), its rank among the magnitudes of its row from 0 to 1 (a
    row is what one output is made of; a vector is one row; a row of one has rank 1/2), and divided by that chance; epsilon is
    no larger than leaves all chances between 0 and 1. Magnitudes whose leading 16 bits are equal share the mean of their ranks.
    It keeps what a model is known for more surely than `dare_ties`. epsilon is the whole width of the chances, from density -
    epsilon / 2 to density + epsilon / 2, as in the paper; mergekit's is half of it.
    """
    return _with_pruned(models, base, density, epsilon, scale, seed, place, agreed)


@merge_method(
    title="DELLA without election",
    formula="base + scale * sum(kept deltas / chance)",
    source=f"mergekit 0.1.5, after {_DELLA}",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends=_TO_BASE,
)
def della_linear(
    *models: Model,
    base: Model,
    density: Density = 0.5,
    epsilon: Spread = 0.2,
    scale: Scale = 1.0,
    seed: Seed = 0,
    place: Place,
) -> Any:
    """DARE that drops small changes more often than large ones.

    Chances and draws are those of `della`; what is kept is added in the models' order, as `dare` does.
    mergekit's epsilon is half of this one, and it enlarges what is kept to the delta's sum of magnitudes, not by the chance.
    """
    return _with_pruned(models, base, density, epsilon, scale, seed, place, added)


def _chance(density: float) -> float:
    return density if density >= _LEAST else 0.0


def _enlarged(scale: float, density: float) -> float:
    return scale / density if _LEAST <= density < 1 else scale


def _draws(delta: Any, stream: int, seed: float, place: Place, start: int) -> Any:
    return uniforms(Place(place.key, place.start + start), delta.numel(), seed, stream, delta.device)


def _dropped(models: tuple[Any, ...], base: Any, density: float, seed: float, place: Place) -> list[Iterator[Any]]:
    """Slabs of deltas with 0 where a draw is not below `density`."""

    def slabs_of(stream: int, model: Any) -> Iterator[Any]:
        start = 0
        for delta in Deltas(model, base):
            yield only_where(below(_draws(delta, stream, seed, place, start), _chance(density)), delta)
            start += delta.numel()

    return [slabs_of(stream, model) for stream, model in enumerate(models)]


def _with_pruned(
    models: tuple[Any, ...],
    base: Any,
    density: float,
    epsilon: float,
    scale: float,
    seed: float,
    place: Place,
    combine: Callable[[Sequence[Any]], Any],
) -> Any:
    """Slabs of whole rows, so that each has its ranks."""
    width = base.numel() // base.shape[0] if base.dim() > 1 and base.shape[0] else base.numel()
    size = max(1, CELLS // max(1, width)) * max(1, width)
    density = _chance(density)
    epsilon = max(min(epsilon, 2 * density, 2 * (1 - density)), 0)

    def slabs_of(stream: int, model: Any) -> Iterator[Any]:
        start = 0
        for delta in Deltas(model, base, size):
            chance = row_ranks(delta.view(-1, max(1, width))).view(-1).mul_(epsilon).add_(density - epsilon / 2).clamp_(0, 1)
            yield only_where(below(_draws(delta, stream, seed, place, start), chance), delta / chance)
            start += delta.numel()

    return merged(base, scale, [slabs_of(stream, model) for stream, model in enumerate(models)], combine, size)
