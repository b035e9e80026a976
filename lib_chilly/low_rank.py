"""The best product of two narrow matrices for a matrix: by singular values, all of them or the first of a seeded sketch.

The sketch is that of Halko, Martinsson and Tropp 2011, arXiv:0909.4061: the range of the matrix times random columns, turned
towards the largest singular values by power iterations. It depends on the seed and on the layer's name alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .draws import uniforms
from .extraction import OVERSAMPLING, Ranks
from .signature import Place

POWER_ITERATIONS = 2


class Factors(NamedTuple):
    """up @ down is nearest to a matrix.

    Attributes:
        up, down: float64; each has the square roots of the singular values in it.
        kept, whole: sums of squares of the product's and of the matrix's elements.
    """

    up: torch.Tensor
    down: torch.Tensor
    kept: float
    whole: float


def factors(matrix: torch.Tensor, ranks: Ranks, name: str) -> Factors:
    """A matrix's best factors.

    Args:
        matrix: 2-D, float64, finite, not all 0.
        name: what the draws are keyed by, beside the seed.
    """
    most = ranks.most(*matrix.shape)
    if ranks.is_sketched(*matrix.shape):
        left, values, right = _sketched(matrix, most + OVERSAMPLING, ranks.seed, name)
    else:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = min(most, _rank_of(values, ranks)) if ranks.ratio or ranks.quantile else most
    roots = values[:rank].sqrt()
    kept = values[:rank].square().sum().item()
    return Factors(left[:, :rank] * roots, roots[:, None] * right[:rank], kept, torch.linalg.vector_norm(matrix).square().item())


def _rank_of(values: torch.Tensor, ranks: Ranks) -> int:
    """The fewest ranks that keep the share."""
    share = ranks.ratio or ranks.quantile or 1.0
    sums = (values.square() if ranks.ratio else values).cumsum(0)
    return int(torch.searchsorted(sums, sums[-1] * share).item()) + 1


def _sketched(matrix: torch.Tensor, width: int, seed: int, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    columns = matrix.shape[1]
    draws = uniforms(Place(name), columns * width, seed, 0).double().sub_(0.5).view(columns, width)
    basis = torch.linalg.qr(matrix @ draws).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ left, values, right
