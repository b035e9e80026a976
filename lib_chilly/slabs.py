"""The weighted sum of long tensors, slab by slab, so that what is between one operation and the next stays in a cache.

Annotations here are evaluated, for TorchScript reads them.
"""

import functools
import warnings
from collections.abc import Callable

import torch


def sum_slabs(
    out: torch.Tensor, pieces: list[torch.Tensor], weights: list[float], total: torch.Tensor, term: torch.Tensor
) -> None:
    """Write the sum of `weights[n] * pieces[n]` into `out`, each product and each sum rounded in the scratch's type.

    Args:
        total, term: scratch of one slab, in the compute type.
    """
    slab = total.numel()
    for start in range(0, out.numel(), slab):
        count = min(slab, out.numel() - start)
        here, there = total.narrow(0, 0, count), term.narrow(0, 0, count)
        here.copy_(pieces[0].narrow(0, start, count), non_blocking=True)
        here.mul_(weights[0])
        for number in range(1, len(pieces)):
            there.copy_(pieces[number].narrow(0, start, count), non_blocking=True)
            there.mul_(weights[number])
            here.add_(there)
        out.narrow(0, start, count).copy_(here)


@functools.cache
def compiled_sum_slabs() -> Callable[..., None]:
    """The same without Python between the operations, which would make threads wait for each other; as it stands where torch
    compiles no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.jit.script(sum_slabs)
        except Exception:  # whatever a compiler does not like, the function itself does the same
            return sum_slabs
