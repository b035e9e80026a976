"""Methods that weigh deltas by what several models changed and what only one did."""

from __future__ import annotations

from typing import Annotated, Any

from ..dot_products import dot, ratio
from ..registry import merge_method
from ..selection import kept, largest
from ..signature import Absence, Cost, Density, Model, Param, Reach, Scale

Threshold = Annotated[float, Param(0, 0.1)]
"""A size of change."""
Gain = Annotated[float, Param(0, 1)]

_RAM = "2026, Behavior knowledge merge in reinforced agentic models, arXiv:2601.13572"


@merge_method(
    title="SCE",
    formula="base + scale * sum(energy * delta) / sum(energy), over selected deltas of the elected sign",
    source="Wan et al. 2024, FuseChat, arXiv:2408.07990",
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.TENSOR,
    cost=Cost.SELECTION,
    scratch=7,
    ends={("density", 0): "base", ("scale", 0): "base"},
)
def sce(*models: Model, base: Model, density: Density = 0.5, scale: Scale = 1.0) -> Any:
    """Merge where models differ most, each by how much it changed the tensor, and erase what the minority of signs says.

    Selected are the `density` elements whose changes vary most between the models (of equal ones the first); a model's weight
    in a tensor is the sum of squares of its selected changes, and the sign is that of the changes' sum, where that is 0 the
    base's value stays. A model that changed a layer much leads there, so each keeps the layers that it was trained in.
    """
    import torch

    middle = _sum(model - base for model in models).mul_(1 / len(models))
    spread = _sum((model - base).sub_(middle).square_() for model in models)
    mask = largest(spread, kept(density, base.numel()))
    sign = _sum(model - base for model in models).sign_()
    chosen = (torch.where(mask, model - base, 0) for model in models)
    energies = torch.stack([dot(delta, delta) for delta in chosen])
    weights = ratio(energies, energies.sum()).to(base.dtype)
    merged, weight = torch.zeros_like(base), torch.zeros_like(base)
    for model, own in zip(models, weights, strict=True):
        delta = model - base
        share = torch.where(mask & (delta.sign() == sign) & (sign != 0), own, 0)
        weight += share
        merged += delta.mul_(share)
    return base + scale * torch.where(weight > 0, merged / weight, 0)


@merge_method(
    title="RAM",
    formula="base + scale * sum(deltas above epsilon) / how many are",
    source=_RAM,
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=4,
    ends={("scale", 0): "base"},
)
def ram(*models: Model, base: Model, epsilon: Threshold = 1e-5, scale: Scale = 1.0) -> Any:
    """Average what several models changed, and keep whole what only one did.

    A change counts where its magnitude is above epsilon; the changes are added in the models' order and divided by their
    number. What one model alone knows is not diluted as in a mean. For models that each changed a small part, such as merged
    LoRAs.
    """
    import torch

    added, count = torch.zeros_like(base), torch.zeros_like(base)
    for model in models:
        delta = model - base
        has_moved = delta.abs() > epsilon
        added += torch.where(has_moved, delta, 0)
        count += has_moved
    return base + scale * added.div_(count.clamp_(min=1))


@merge_method(
    title="RAM+",
    formula="as RAM, but what one model alone changed is multiplied by 1 + gain * min(shared / own, limit)",
    source=_RAM,
    absence=Absence.BASE_AND_DELTAS,
    reach=Reach.TENSOR,
    cost=Cost.DIVISION,
    scratch=4,
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

    count = torch.zeros_like(base)
    for model in models:
        count += (model - base).abs() > epsilon
    added = torch.zeros_like(base)
    for model in models:
        delta = model - base
        has_moved = delta.abs() > epsilon
        own = has_moved & (count == 1)
        alone = own.sum()
        ratio = (has_moved.sum() - alone) / alone.clamp(min=1)
        factor = (1 + gain * ratio.to(torch.float64).clamp(max=limit)).to(base.dtype)
        added += torch.where(own, delta * factor, torch.where(has_moved, delta, 0))
    return base + scale * added.div_(count.clamp_(min=1))


def _sum(deltas: Any) -> Any:
    found = next(deltas)
    for delta in deltas:
        found += delta
    return found
