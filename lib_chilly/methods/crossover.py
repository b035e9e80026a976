"""Methods that take the coarse part of a tensor from A and the fine part from B."""

from __future__ import annotations

import math
from typing import Annotated, Any

from ..registry import merge_method
from ..signature import Cost, Model, Param, Reach, Weight

Ramp = Annotated[float, Param(0, 1)]
"""How wide the way from A's frequencies to B's is; 0 is a cut."""

_ENDS = {("alpha", 0.0): "a", ("alpha", 1.0): "b"}


@merge_method(
    title="FFT crossover",
    formula="the inverse transform of A's at low frequencies and of B's at the share alpha of the highest",
    source="ljleb/sd-mecha, crossover",
    reach=Reach.TENSOR,
    cost=Cost.SPECTRAL,
    scratch=9,
    is_bitwise=False,
    ends=_ENDS,
)
def fft_crossover(a: Model, b: Model, *, alpha: Weight = 0.5, beta: Ramp = 0.0) -> Any:
    """Take each tensor's slow changes from A and its fast ones from B, in all dimensions at once.

    A frequency's height is the root of the mean square of its share of the highest in each dimension. Keeps A's broad tendency
    and takes B's detail. beta makes the cut a ramp of that width, which differs
    from sd-mecha's: it is shifted so that alpha 0 is A and alpha 1 is B whatever beta. One element alone has no frequencies: it
    is the weighted sum.
    """
    import torch

    if a.numel() < 2 or a.equal(b):
        return _without_frequencies(a, b, alpha)
    if a.dim() > 4:  # no model has such weights, and not every library transforms them
        return fft_crossover(a.flatten(3), b.flatten(3), alpha=alpha, beta=beta).view(a.shape)
    one, other = torch.fft.rfftn(a), torch.fft.rfftn(b)
    height = torch.zeros((), dtype=a.dtype, device=a.device)
    for each, size in enumerate(a.shape):
        steps = torch.arange(one.shape[each], device=a.device)
        share = steps.minimum(size - steps).to(a.dtype) / max(size // 2, 1)
        height = height + share.square_().div_(a.dim()).view(-1, *(1 for _ in a.shape[each + 1 :]))
    height = height.sqrt_()
    lowest = round(height.numel() * (1 - min(max(alpha, 0), 1)))
    cut = height.view(-1).kthvalue(lowest + 1).values if lowest < height.numel() else math.inf
    return torch.fft.irfftn(_crossed(one, other, height - cut, alpha, beta), a.shape).to(a.dtype)


@merge_method(
    title="Distribution crossover",
    formula="FFT crossover of A and B, their elements in the order of C's values",
    source="s1dlx/meh, merge_methods.py",
    reach=Reach.TENSOR,
    cost=Cost.SPECTRAL,
    scratch=11,
    is_bitwise=False,
    ends=_ENDS,
)
def distribution_crossover(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5, beta: Ramp = 0.0) -> Any:
    """Take from A how weights follow C's order by and large, and from B how they stray from it.

    C is the ancestor. The order of its weights puts like beside like, so that slow changes are what a training did to all small
    or all large weights. alpha is the share of frequencies, the highest first, that is B's; meh's is 1 - alpha. beta makes the
    cut a ramp of that width. One element alone is the weighted sum; equal values of C go by their place.
    """
    import torch

    if a.numel() < 2 or a.equal(b):
        return _without_frequencies(a, b, alpha)
    order = c.reshape(-1).argsort(stable=True)
    one, other = (torch.fft.rfft(each.reshape(-1)[order]) for each in (a, b))
    height = torch.arange(one.numel(), device=a.device).to(a.dtype) / one.numel()
    crossed = torch.fft.irfft(_crossed(one, other, height - (1 - alpha), alpha, beta), a.numel()).to(a.dtype)
    return torch.empty_like(crossed).scatter_(0, order, crossed).view(a.shape)


def _crossed(one: Any, other: Any, above: Any, alpha: float, beta: float) -> Any:
    """Frequencies of A, and of B where they lie above the cut; at alpha 0 a ramp lies above all of them, at alpha 1 below."""
    share = (above / beta + alpha).clamp_(0, 1) if beta > 0 else (above >= 0).to(above.dtype)
    return one + share * (other - one)


def _without_frequencies(a: Any, b: Any, alpha: float) -> Any:
    return a.where(a == b, (b - a).mul_(alpha).add_(a))
