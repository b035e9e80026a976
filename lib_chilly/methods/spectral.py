"""Methods that take weights apart into matrices of few rows and columns."""

from __future__ import annotations

from typing import Any

from ..draws import uniforms
from ..registry import merge_method
from ..signature import Cost, Density, Model, Place, Reach, Seed

_MORE = 16
"""Columns that a sketch has beside those that are kept."""

_TURNS = 3
"""How often a sketch is multiplied by the matrix and back: small singular values die away."""


@merge_method(
    title="Truncate rank",
    formula="base + U * S * V of the largest singular values of A - base, a share density of them",
    source="ljleb/sd-mecha; Halko et al. 2011, Finding structure with randomness, arXiv:0909.4061",
    reach=Reach.TENSOR,
    cost=Cost.SPECTRAL,
    scratch=4,
    is_bitwise=False,
    ends={("density", 0): "base", ("density", 1): "a"},
)
def truncate_rank(a: Model, *, base: Model, density: Density = 0.25, seed: Seed = 0, place: Place) -> Any:
    """Keep the main directions of what A learned since the base, and drop the rest.

    What a LoRA of that rank would keep: the theme of a training stays, its noise goes. density is the share of the rank, rounded,
    at least 1. A convolution is a matrix of a row for each output; weights of one dimension are kept whole. Small shares of large
    matrices are found from a random sketch, drawn by the seed, with nearly the least error possible.
    A difference beyond the range of its type is kept whole.
    """
    rank = min(a.shape[0], a.numel() // max(a.shape[0], 1)) if a.dim() > 1 else 0
    kept = max(1, round(rank * min(density, 1)))
    if density <= 0:
        return base
    if kept >= rank:
        return a
    delta = (a - base).flatten(1)
    if not bool(delta.isfinite().all()):
        return a
    across = delta if delta.shape[0] <= delta.shape[1] else delta.t()
    if 4 * (kept + _MORE) < rank:
        basis = _sketch(across, kept + _MORE, seed, place)
        main = basis @ _directions(basis.t() @ across, kept)
    else:
        main = _directions(across, kept)
    found = main @ (main.t() @ across)
    return (found if across is delta else found.t()).reshape(a.shape).add_(base)


def _directions(matrix: Any, kept: int) -> Any:
    """The left singular vectors of its largest singular values."""
    import torch

    wide = matrix.double()
    return torch.linalg.eigh(wide @ wide.t()).eigenvectors[:, -kept:].to(matrix.dtype)


def _sketch(matrix: Any, width: int, seed: float, place: Place) -> Any:
    """Orthogonal vectors between which those of the largest singular values lie, nearly: what it makes of random ones."""
    import torch

    drawn = uniforms(place, matrix.shape[1] * width, seed, 0, matrix.device).to(matrix.dtype).sub_(0.5)
    basis = torch.linalg.qr(matrix @ drawn.view(-1, width)).Q
    for _ in range(_TURNS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis).Q).Q
    return basis
