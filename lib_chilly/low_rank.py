"""The best product of two narrow matrices for a matrix: by singular values, all of them or the first of a seeded sketch.

The sketch is that of Halko, Martinsson and Tropp 2011, arXiv:0909.4061: the range of the matrix times random columns, turned
towards the largest singular values by power iterations. It depends on the seed and on the layer's name alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .draws import uniforms
from .extraction import Ranks
from .signature import Place

OVERSAMPLING, POWER_ITERATIONS = 16, 2
_SMALL = 128
"""Rows or columns of matrices that are decomposed whole."""


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
    width, short = most + OVERSAMPLING, min(matrix.shape)
    by_share = ranks.ratio is not None or ranks.quantile is not None  # which asks for all singular values
    if by_share or short <= _SMALL or 2 * width >= short:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        left, values, right = _sketched(matrix, width, ranks.seed, name)
    rank = min(most, _rank_of(values, ranks)) if by_share else most
    roots = values[:rank].sqrt()
    kept = values[:rank].square().sum().item()
    return Factors(left[:, :rank] * roots, roots[:, None] * right[:rank], kept, matrix.square().sum().item())


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
