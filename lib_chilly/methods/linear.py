"""Methods that are weighted sums of their models; a recipe made of them folds to one sum."""

from __future__ import annotations

from typing import Annotated, Any

from ..registry import merge_method
from ..signature import Absence, Alike, Anything, Model, Param, Weight

Factor = Annotated[float, Param(0, 1, neutral=1)]
"""A weight whose neutral value leaves its operand as it is."""


@merge_method(
    title="Weighted sum", formula="(1 - alpha) * A + alpha * B", source="A1111 webui, modules/extras.py", absence=Absence.SHARE
)
def weighted_sum(a: Alike, b: Alike, *, alpha: Weight = 0.5) -> Any:
    """Mix B into A."""
    return (1 - alpha) * a + alpha * b


@merge_method(
    title="Mean", formula="(A + B + ...) / n", source="Wortsman et al. 2022, Model soups, arXiv:2203.05482", absence=Absence.SHARE
)
def mean(*models: Alike) -> Any:
    """Mix any number of models evenly."""
    return sum(models) / len(models)


@merge_method(
    title="Add difference",
    formula="A + alpha * (B - C)",
    source="A1111 webui, modules/extras.py",
    absence=Absence.BASE_AND_DELTAS,
)
def add_difference(a: Model, b: Model, c: Model, *, alpha: Weight = 1.0) -> Any:
    """Add what B learned since C to A."""
    return a + alpha * (b - c)


@merge_method(
    title="Sum twice",
    formula="(1 - beta) * ((1 - alpha) * A + alpha * B) + beta * C",
    source="SuperMerger",
    absence=Absence.BASE_AND_DELTAS,
)
def sum_twice(a: Alike, b: Alike, c: Alike, *, alpha: Weight = 0.5, beta: Weight = 0.5) -> Any:
    """Mix B into A, then C into the result."""
    return (1 - beta) * ((1 - alpha) * a + alpha * b) + beta * c


@merge_method(
    title="Triple sum",
    formula="(1 - alpha - beta) * A + alpha * B + beta * C",
    source="SuperMerger",
    absence=Absence.BASE_AND_DELTAS,
)
def triple_sum(a: Alike, b: Alike, c: Alike, *, alpha: Weight = 0.25, beta: Weight = 0.25) -> Any:
    """Mix B and C into A at once."""
    return (1 - alpha - beta) * a + alpha * b + beta * c


@merge_method(
    title="Weighted subtraction",
    formula="(A - alpha * beta * B) / (1 - alpha * beta)",
    source="s1dlx/meh, merge_methods.py",
    absence=Absence.BASE_AND_DELTAS,
)
def weighted_subtraction(a: Model, b: Model, *, alpha: Weight = 0.5, beta: Weight = 0.5) -> Any:
    """Take B out of A again: the inverse of a weighted sum of share alpha * beta."""
    return (a - alpha * beta * b) / (1 - alpha * beta)


@merge_method(
    title="Free sum",
    formula="alpha * A + beta * B + ...",
    source="bbc-mc/sdweb-merge-block-weighted-gui, MBW Each",
    absence=Absence.ZERO,
    keeps_sum=False,
)
def free_sum(*models: Anything, alpha: Factor = 1.0, beta: Factor = 1.0) -> Any:
    """Add what is given, whether or not the weights add to 1.

    Of one model it is that model times a number, block by block: `free_sum(A, alpha={OUT*: 1.02})`.
    """
    weights = (alpha, beta, *(1 for _ in models))
    return sum(weight * model for weight, model in zip(weights, models, strict=False))
