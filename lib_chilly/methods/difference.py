"""Methods that add a difference of two models to a third, or take from it only what a rule lets through."""

from __future__ import annotations

from typing import Any

from ..bit_masks import choose
from ..registry import merge_method
from ..signature import Cost, Model, Reach, Weight


@merge_method(
    title="Train difference",
    formula="A + 1.8 * alpha * |B - A| / (|B - A| + |B - C|) * (B - C)",
    source="SuperMerger",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=3,
    ends={("alpha", 0): "a"},
)
def train_difference(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add to A what B learned since C, most where A does not have it yet.

    What A already shares with B is hardly touched, so that a style can be added twice, or to a model that was trained on the same
    pictures, with less burnt contrast than by a plain difference. Use it as add_difference, with alpha of 0.5 to 1. Where B is
    both A and C nothing is added.
    """
    delta = b - c
    missing = (b - a).abs_()
    share = (missing / (missing + delta.abs())).masked_fill_(missing == 0, 0)
    return a + share.mul_(delta).mul_(1.8 * alpha)


@merge_method(
    title="Add opposite",
    formula="A + 2 * alpha * |A - B| / (|A - B| + |A + B - 2 * C|) * (B - C)",
    source="ljleb/sd-mecha",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=4,
    ends={("alpha", 0): "a"},
)
def add_opposite(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add to A what B learned since C, most where A and B went opposite ways.

    Where both moved alike little is added, so that what they have in common is not doubled. Softer than add_strict_opposite; use
    it to join two models of one ancestor that each have a style of their own. Where A, B and C are equal nothing is added.
    """
    own, delta = a - c, b - c
    apart = (own - delta).abs_()
    share = (apart / (own + delta).abs_().add_(apart)).masked_fill_(apart == 0, 0)
    return a + share.mul_(delta).mul_(2 * alpha)


@merge_method(
    title="Add strict opposite",
    formula="A + 2 * alpha * max(0, (C - A) * (B - C)) / max(|A - C|, |B - C|)^2 * (B - C)",
    source="ljleb/sd-mecha",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=4,
    ends={("alpha", 0): "a"},
)
def add_strict_opposite(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add to A what B learned since C, only where A and B went opposite ways from C.

    A keeps all that B agrees with or does not speak of; only where the two contradict each other is B followed. A small change:
    use it to settle what two models fight over. Where A, B and C are equal nothing is added.
    """
    own, delta = a - c, b - c
    largest = own.abs().maximum(delta.abs())
    share = (own / largest).mul_(delta / largest).clamp_(max=0).abs_().masked_fill_(largest == 0, 0)
    return a + share.mul_(delta).mul_(2 * alpha)


@merge_method(
    title="Similarity add difference",
    formula="(1 - s) * (A + alpha * (B - C)) + s * ((1 - alpha / 2) * A + alpha / 2 * B), "
    "s = beta * (A * B / max(|A|, |B|)^2 + 1) / 2",
    source="s1dlx/meh, merge_methods.py",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=3,
    ends={("alpha", 0): "a"},
)
def similarity_add_difference(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5, beta: Weight = 0.5) -> Any:
    """Add what B learned since C where A and B differ, and mix B in where they are alike.

    With beta 0 it is add_difference; the larger beta, the more it is a weighted sum where weights have one sign and size. Calmer
    than add_difference at the same alpha. Where A and B are both 0 they count as alike.
    """
    largest = a.abs().maximum(b.abs())
    alike = (a / largest).mul_(b / largest).masked_fill_(largest == 0, 1)
    share = alike.add_(1).mul_(beta / 2)
    mixed = (b - a).mul_(0.5).mul_(share)
    return mixed.add_((b - c).mul_(share.neg_().add_(1))).mul_(alpha).add_(a)


@merge_method(
    title="Multiply difference",
    formula="C + |A - C|^(1 - alpha) * |B - C|^alpha, with the sign of (1 - beta) * A + beta * B - C",
    source="s1dlx/meh, merge_methods.py",
    reach=Reach.ELEMENT,
    cost=Cost.DIVISION,
    scratch=7,
    is_bitwise=False,
)
def multiply_difference(a: Model, b: Model, c: Model, *, alpha: Weight = 0.5, beta: Weight = 0.5) -> Any:
    """Give C the geometric mean of what A and B learned since.

    Only what both changed stays: where one of them is still C, the result is C. Use it to keep the common part of two models of
    one ancestor. beta says whose direction counts where they went opposite ways. 0^0 is 1, 0 to any other power is 0, powers are
    taken in float64; where A and B are equal the result is A.
    alpha 0, which blocks without a weight have, is A with beta 0 alone; any other beta gives A's changes other signs.
    """
    own, delta = a - c, b - c
    size = _power(own, 1 - alpha).mul_(_power(delta, alpha)).to(a.dtype)
    way = (b - a).mul_(beta).add_(own)
    return choose(a == b, a, size.copysign_(way).add_(c))


def _power(values: Any, exponent: float) -> Any:
    """|values| to a power, float64.

    The last few elements of an array are computed in another way than the others, a bit apart: the array is made longer, so that
    an element's power does not depend on where a slab ends.
    """
    import torch

    count = values.numel()
    wide = values.new_zeros(count + -count % 64, dtype=torch.float64)
    wide[:count] = values.reshape(-1)
    powers = wide.abs_() ** exponent
    if exponent < 0:
        powers.masked_fill_(wide == 0, 0)
    return powers[:count].view(values.shape)


@merge_method(
    title="Clamp to envelope",
    formula="(1 - alpha) * A + alpha * max(min(A, max(B, C)), min(B, C))",
    source="s1dlx/meh, weights clip",
    reach=Reach.ELEMENT,
    scratch=3,
    ends={("alpha", 0): "a"},
)
def clamp_to_envelope(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Hold every weight of A between those of B and C.

    Takes the burnt colours off a merge that added differences: what went beyond both parents is brought back to the nearer one.
    Use it last, with the merge as A and the models that it was made of as B and C. What lies between them keeps its bits.
    """
    held = a.minimum(b.maximum(c)).maximum(b.minimum(c))
    inside = a == held
    return choose(inside, a, (held.sub_(a).mul_(alpha).add_(a) if alpha != 1 else held).add_(0.0))  # no sign of a 0 is left open
