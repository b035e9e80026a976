"""Where each element stands among the magnitudes of its row, counted and not sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BUCKETS = 2048
"""Magnitudes of a row that are told apart: 128 in each halving from its largest one down; the last has all that are smaller."""
CELLS = 1 << 18
"""Elements, or buckets of rows, that are best looked at at once."""


def row_ranks(values: torch.Tensor) -> torch.Tensor:
    """The share of an element's row that has a smaller magnitude, and half the share that has the same one: above 0 and below 1.

    A row is values[i], a vector is one. Magnitudes are the same when the leading 16 bits of their float32 are (within 0.8 %),
    or when both are 2^-16 of their row's largest or less, or as near above that.
    """
    import torch

    if values.numel() == 0:
        return torch.empty_like(values)
    rows = values.reshape(values.shape[0] if values.dim() > 1 else 1, -1)
    ranks = torch.empty(rows.shape, dtype=values.dtype, device=values.device)
    at_once = max(1, CELLS // max(_BUCKETS, rows.shape[1]))
    for part, found in zip(rows.split(at_once), ranks.split(at_once), strict=True):
        found.copy_(_ranks(part))
    return ranks.view(values.shape)


def _ranks(rows: torch.Tensor) -> torch.Tensor:
    import torch

    count, width = rows.shape
    leading = rows.to(torch.float32).contiguous().view(torch.int32).bitwise_and(0x7FFFFFFF).bitwise_right_shift_(16)
    bucket = (leading - leading.amax(1, keepdim=True)).add_(_BUCKETS - 1).clamp_(min=0)
    bucket += torch.arange(0, count * _BUCKETS, _BUCKETS, dtype=torch.int32, device=rows.device)[:, None]
    found = torch.bincount(bucket.view(-1), minlength=count * _BUCKETS).view(count, _BUCKETS)
    twice = found.cumsum(1).mul_(2).sub_(found)
    # Both are exact in float32 up to that width, so that their quotient is the nearest number in either type.
    kind = rows.dtype if width < 1 << 23 else torch.float64
    count_twice = torch.tensor(2 * width, dtype=kind, device=rows.device)  # by a plain number, CUDA multiplies by 1 / number
    return twice.to(kind).div_(count_twice).view(-1).index_select(0, bucket.view(-1)).view(count, width)
