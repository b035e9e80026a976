"""Methods that weigh deltas by what several models changed and what only one did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from ..bit_masks import choose, only_where
from ..deltas import Deltas, added, merged
from ..dot_products import dot, ratio
from ..registry import merge_method
from ..selection import kept, largest
from ..signature import Cost, Density, Model, Param, Reach, Scale

Threshold = Annotated[float, Param(0, 0.1)]
"""A size of change."""
Gain = Annotated[float, Param(0, 1)]

_RAM = "Behavior knowledge merge in reinforced agentic models, 2026, arXiv:2601.13572"


@merge_method(
    title="SCE",
    formula="base + scale * sum(energy * delta) / sum(energy), over selected deltas of the elected sign",
    source="Wan et al. 2024, FuseChat, arXiv:2408.07990",
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    ends={("density", 0): "base", ("scale", 0): "base"},
)
def sce(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0) -> Any:
    """Merge where models differ most, each by how much it changed the tensor, and erase what the minority of signs says.

    Selected are the `density` elements whose changes vary most between the models (of equal ones the first); a model's weight
    in a tensor is the sum of squares of its selected changes, and the sign is that of the changes' sum, where that is 0 the
    base's value stays. A model that changed a layer much leads there, so each keeps the layers that it was trained in. Where
    all models changed a tensor alike, as one model alone does, the change is kept whole, whatever density above 0.
    """

    spread = _Spread([Deltas(model, base) for model in models])
    count = kept(density, base.numel())
    if not count:
        return base.clone()
    if all(part.equal(parts[0]) for parts in zip(*spread.deltas, strict=True) for part in parts[1:]):
        return merged(base, scale, spread.deltas[:1], added)
    selected = largest(spread, count, base.numel())
    energies: list[Any] = [0] * len(models)
    for mask, *deltas in zip(selected.masks(spread), *spread.deltas, strict=True):
        chosen = [only_where(mask, delta) for delta in deltas]
        energies = [energy + dot(delta, delta) for energy, delta in zip(energies, chosen, strict=True)]
    weights = [ratio(energy, sum(energies)).to(base.dtype) for energy in energies]

    def combine(parts: Sequence[Any]) -> Any:
        mask, *deltas = parts
        sign = only_where(mask, added([deltas[0].clone(), *deltas[1:]]).sign_())
        shares = [(delta * sign).sign_().clamp_(min=0).mul_(own) for own, delta in zip(weights, deltas, strict=True)]
        total = added([delta.mul_(share) for delta, share in zip(deltas, shares, strict=True)])
        weight = added(shares)
        return total.add_(0.0).div_(weight.add_(weight == 0))  # where no weight is, the total is 0, of either sign

    return merged(base, scale, [selected.masks(spread), *spread.deltas], combine)


class _Spread:
    """Slabs of how far deltas are from their mean: the sum of squares of the differences."""

    def __init__(self, deltas: Sequence[Deltas]):
        self.deltas = deltas

    def __iter__(self) -> Iterator[Any]:
        for parts in zip(*self.deltas, strict=True):
            middle = added([parts[0].clone(), *parts[1:]]).mul_(1 / len(parts))
            yield added([part.sub_(middle).square_() for part in parts])


@merge_method(
    title="RAM",
    formula="base + scale * sum(deltas above epsilon) / how many are",
    source=_RAM,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=5,
    ends={("scale", 0): "base"},
)
def ram(*models: Model, base: Model, epsilon: Threshold = 1e-5, scale: Scale = 1.0) -> Any:
    """Average what several models changed, and keep whole what only one did.

    A change counts where its magnitude is above epsilon; the changes are added in the models' order and divided by their
    number. What one model alone knows is not diluted as in a mean. For models that each changed a small part, such as merged
    LoRAs.
    """
    import torch

    total, count = torch.zeros_like(base), torch.zeros_like(base)
    for model in models:
        delta = model - base
        has_moved = delta.abs() > max(epsilon, 0)
        total += only_where(has_moved, delta)
        count += has_moved
    return base + scale * total.div_(count.clamp_(min=1))


@merge_method(
    title="RAM+",
    formula="as RAM, but what one model alone changed is multiplied by 1 + gain * min(shared / own, limit)",
    source=_RAM,
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    ends={("scale", 0): "base"},
)
def ram_plus(
    *models: Model, base: Model, epsilon: Threshold = 1e-5, gain: Gain = 0.1, limit: Gain = 0.2, scale: Scale = 1.0
) -> Any:
    """RAM that enlarges what a model alone changed, the more of its changes it shares with others.

    shared and own are how many elements of a tensor the model changed with others and alone. It makes up for what averaging takes
    from the shared changes, by gain * limit (2 %) at most as it stands.
    """
    import torch

    epsilon = max(epsilon, 0)
    own: list[Any] = [0] * len(models)
    shared: list[Any] = [0] * len(models)
    deltas = [Deltas(model, base) for model in models]
    for parts in zip(*deltas, strict=True):
        moved = [part.abs() > epsilon for part in parts]
        count = added([mask.to(torch.int16) for mask in moved])
        for number, mask in enumerate(moved):
            own[number] = own[number] + (mask & (count == 1)).sum()
            shared[number] = shared[number] + (mask & (count > 1)).sum()
    ratios = [of.to(torch.float64) / alone.clamp(min=1) for of, alone in zip(shared, own, strict=True)]
    factors = [(1 + gain * found.clamp(max=limit)).to(base.dtype) for found in ratios]

    def combine(parts: Sequence[Any]) -> Any:
        chosen = [only_where(part.abs() > epsilon, part) for part in parts]
        count = added([(part != 0).to(torch.int16) for part in chosen])
        alone = count == 1
        enlarged = [choose(alone, part * factor, part) for part, factor in zip(chosen, factors, strict=True)]
        return added(enlarged).div_(count.clamp_(min=1))

    return merged(base, scale, deltas, combine)
