"""Methods that drop elements of deltas at random and enlarge the rest; a draw belongs to seed, model, tensor and element."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from ..consensus import agreed
from ..dot_products import dot, ratio
from ..draws import uniforms
from ..registry import merge_method
from ..row_ranks import row_ranks
from ..signature import Absence, Cost, Density, Model, Param, Place, Reach, Scale, Seed

Spread = Annotated[float, Param(0, 1)]
"""How far apart the chances of the smallest and the largest element of a row are."""

_TO_BASE: Mapping[tuple[str, float], str] = {("density", 0): "base", ("scale", 0): "base"}
_DARE = "Yu et al. 2023, Language models are super Mario, arXiv:2311.03099"
_DELLA = "Deep et al. 2024, DELLA-Merging, arXiv:2406.11617"


@merge_method(
    title="DARE",
    formula="base + scale / density * sum(deltas where a draw is below density)",
    source=_DARE,
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=4,
    ends=_TO_BASE,
)
def dare(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """Add up what models learned after dropping a random part of each change and enlarging the rest by 1 / density.

    What is kept is added in the models' order and multiplied once by scale / density, so each change keeps its mean, and models
    that learned the same need a scale below 1. Changes of several models get out of each other's way; the lower the density,
    the more pictures are left to chance: another seed gives another model of the same kind.
    """
    added = _added(_dropped(models, base, density, seed, place))
    return base + (scale / density if 0 < density < 1 else scale) * added


@merge_method(
    title="DARE, L1 restored",
    formula="base + scale * sum(kept deltas * L1(delta) / L1(kept delta))",
    source=f"mergekit 0.1.5, after {_DARE}",
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=6,
    ends=_TO_BASE,
)
def dare_l1(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """DARE that enlarges what it keeps of a tensor to the same sum of magnitudes, instead of by 1 / density.

    The draws are those of `dare`. In small tensors, where luck decides how much is kept, the change is as strong as it was; in
    large ones both are the same. Where all that was kept is 0 the delta is 0.
    """
    return base + scale * _added(_restored(models, base, density, seed, place))


@merge_method(
    title="DARE with TIES",
    formula="base + scale / density * mean(kept deltas of the elected sign)",
    source=_DARE,
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=6,
    ends=_TO_BASE,
)
def dare_ties(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0, seed: Seed = 0, place: Place) -> Any:
    """TIES whose changes are dropped at random instead of trimmed by size.

    The draws are those of `dare`, the sign and the mean those of `ties` at density 1. As in the paper the mean is over what was
    kept, so an element that only one model kept is enlarged by the whole 1 / density: scales of 0.3 to 0.7 are usual.
    """
    merged = agreed(_dropped(models, base, density, seed, place))
    return base + (scale / density if 0 < density < 1 else scale) * merged


@merge_method(
    title="DELLA",
    formula="base + scale * mean(kept deltas / chance, of the elected sign)",
    source=_DELLA,
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    scratch=8,
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
    It keeps what a model is known for more surely than `dare_ties`.
    """
    return base + scale * agreed(_pruned(models, base, density, epsilon, seed, place))


@merge_method(
    title="DELLA without election",
    formula="base + scale * sum(kept deltas / chance)",
    source=f"mergekit 0.1.5, after {_DELLA}",
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    scratch=7,
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
    """
    return base + scale * _added(_pruned(models, base, density, epsilon, seed, place))


def _added(deltas: Iterable[Any]) -> Any:
    rest = iter(deltas)
    first = next(rest)
    for delta in rest:
        first += delta
    return first


def _draws(delta: Any, stream: int, seed: float, place: Place) -> Any:
    return uniforms(place, delta.numel(), seed, stream, delta.device).view(delta.shape)


def _dropped(models: tuple[Any, ...], base: Any, density: float, seed: float, place: Place) -> Iterator[Any]:
    """Deltas with 0 where a draw is not below `density`; each a new tensor."""
    import torch

    for stream, model in enumerate(models):
        delta = model - base
        yield torch.where(_draws(delta, stream, seed, place) < density, delta, 0)


def _restored(models: tuple[Any, ...], base: Any, density: float, seed: float, place: Place) -> Iterator[Any]:
    import torch

    for model, chosen in zip(models, _dropped(models, base, density, seed, place), strict=True):
        delta = model - base
        factor = ratio(dot(delta, delta.sign()), dot(chosen, chosen.sign()))
        yield (chosen.to(torch.float64) * factor).to(chosen.dtype)  # a factor may be beyond float32


def _pruned(models: tuple[Any, ...], base: Any, density: float, epsilon: float, seed: float, place: Place) -> Iterator[Any]:
    import torch

    epsilon = max(min(epsilon, 2 * density, 2 * (1 - density)), 0)
    for stream, model in enumerate(models):
        delta = model - base
        chance = row_ranks(delta).mul_(epsilon).add_(density - epsilon / 2).clamp_(0, 1)
        is_kept = _draws(delta, stream, seed, place) < chance
        yield torch.where(is_kept, delta / chance, 0)
