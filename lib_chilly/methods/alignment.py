"""Methods that turn or reorder the units of one model so that they fit another's."""

from __future__ import annotations

from typing import Any

from ..registry import merge_method
from ..signature import Cost, Model, Orders, Reach, Weight

_LEAST = 1e-10
"""What stands against turning directions that nothing is known of, as a share of all that speaks for it."""
_HALF_A_TURN = 1e-6
"""Sine of the angle below which a turn by half is taken for a mirror: which way it goes cannot be told."""


@merge_method(
    title="Rotate",
    formula="((1 - alpha) * A' + alpha * B' Q^-1) Q^alignment + (1 - alignment) * mean of A's rows + alignment * mean of B's, "
    "A' and B' the rows less their means, Q the orthogonal matrix with the least |A' Q - B'|",
    source="ljleb/sd-mecha, rotate; Schönemann 1966, A generalized solution of the orthogonal Procrustes problem",
    reach=Reach.TENSOR,
    cost=Cost.SPECTRAL,
    scratch=10,
    is_bitwise=False,
)
def rotate(a: Model, b: Model, *, alignment: Weight = 1.0, alpha: Weight = 0.0) -> Any:
    """Turn A's weights as a whole to where B's point, without taking B's weights over.

    What A's neurons are to each other stays: lengths of the rows of a weight, angles between them. B gives the directions that
    they read from: A's drawing stays, with a touch of B's light. alignment says how far they turn; alpha mixes in B's own rows,
    turned back to A's directions: with alignment 0 two models meet in A's frame, and at alpha 1 most of B's light and palette
    shows in A's drawing. alignment 0 and alpha 0 is A, both 1 is B. Models of one ancestor, whose rows point nearly the same way,
    turn little; it is for what was trained apart. Linear layers and 1x1 convolutions are matrices of a row for each output; of
    other convolutions each kernel is a row. Vectors are (1 - alpha) * A + alpha * B. Directions in which A or B has nothing turn
    as little as they can; one that is mirrored goes through 0 halfway. Where a result would be beyond the range of its type, it
    is A.
    """
    import torch

    if torch.equal(a, b) or (alignment == 0 and alpha == 0):
        return a
    if alignment == 1 and alpha == 1:
        return b
    if a.dim() < 2 or a.numel() == 0:
        return _mixed(a, b, alpha)
    is_kernel = a.dim() > 2 and a[0, 0].numel() > 1
    rows_a, rows_b = (each.reshape(-1, each[0, 0].numel()) if is_kernel else each.flatten(1) for each in (a, b))
    mean_a, mean_b = rows_a.double().mean(0), rows_b.double().mean(0)
    turned = _turned(rows_a.double() - mean_a, rows_b.double() - mean_b, alignment, alpha)
    found = (turned + _mixed(mean_a, mean_b, alignment)).to(a.dtype)
    return found.reshape(a.shape) if bool(found.isfinite().all()) else a


def _mixed(a: Any, b: Any, share: float) -> Any:
    """a + share (b - a), in operations that nothing contracts; b itself where all of it is taken."""
    return b if share == 1 else a + (b - a) * share


def _turned(a: Any, b: Any, alignment: float, alpha: float) -> Any:
    """((1 - alpha) a + alpha b Q^-1) Q^alignment for centred rows, in as many dimensions as they have."""
    import torch

    basis = torch.linalg.qr(torch.cat([a, b]).t()).Q if 2 * a.shape[0] < a.shape[1] else None
    if basis is not None:
        a, b = a @ basis, b @ basis
    rotation = _rotation(a, b)
    found = _mixed(a, b @ rotation.t(), alpha) if alpha else a
    if alignment:
        found = found @ (rotation if alignment == 1 else _power(rotation, alignment))
    return found if basis is None else found @ basis.t()


def _rotation(a: Any, b: Any) -> Any:
    """The orthogonal matrix that takes the rows of `a` nearest to those of `b`; among equal ones that which turns least."""
    import torch

    product = _of_size_one(a).t() @ _of_size_one(b)
    product.diagonal().add_(_LEAST * (product.norm().item() or 1))
    left, _, right = torch.linalg.svd(product)
    return left @ right


def _of_size_one(rows: Any) -> Any:
    """Rows whose largest element is 1, so that products neither overflow nor vanish; zeros stay."""
    return rows / (rows.abs().max().item() or 1)


def _power(rotation: Any, share: float) -> Any:
    """The part of a rotation that turns each plane by a share of its angle t.

    With c = cos t it is cos(share t) + sin(share t) / sin t * its skew part, both functions of its symmetric part, whose
    eigenvalues are c. A mirrored direction has no plane: it becomes cos(share pi).
    """
    import torch

    cosines, planes = torch.linalg.eigh((rotation + rotation.t()) / 2)
    angles = torch.arccos(cosines.clamp(-1, 1))
    sines = angles.sin()
    is_turn = sines > _HALF_A_TURN
    skew = torch.where(is_turn, (share * angles).sin() / torch.where(is_turn, sines, 1), torch.where(cosines > 0, share, 0.0))
    even, odd = ((planes * each) @ planes.t() for each in ((share * angles).cos(), skew))
    return even + odd @ (rotation - rotation.t()) / 2


@merge_method(
    title="Re-basin",
    formula="B with its units in the order in which the sum of A's times B's elements is the largest, over all tensors of a unit",
    source="Ainsworth et al. 2022, Git Re-Basin, arXiv:2209.04836, weight matching; for SD 1.x, SD 2.x, SDXL",
    reach=Reach.TENSOR,
    cost=Cost.MATCHING,
    scratch=0,
    is_bitwise=False,
)
def rebasin(a: Model, b: Model, *, orders: Orders) -> Any:
    """B, which computes what it did, with its units in the places where they fit A best.

    To be merged with A: weighted_sum(A, rebasin(A, B), alpha=0.5). By itself it is B, written otherwise. Models of one ancestor
    have their units in the same places already, and nothing moves; models that were trained apart have them anywhere, and their
    plain sum is mud. Units are the channels between the two convolutions of a residual block, inside the groups of its norm and
    with them; those inside feed-forward layers and the embeddings of time and labels; attention's heads, and in each what queries
    and keys, and what values share: in U-Net, text encoders and VAE, found by what the architecture's layers are called. What
    residual connections carry from block to block stays, and so do EMA copies. No tensor has units of two groups, so the best
    orders are found exactly, by linear assignment, from the tensors in which the call counts. They are found before the pass, for
    which these tensors are read once more. B counts alone where A lacks a key.
    """
    for axis, order in orders:
        b = b.index_select(axis, order.to(b.device))
    return b
