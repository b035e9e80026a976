"""The fastest way to sum a group that gives the defined bits: each is tried on a few numbers before it is trusted."""

from __future__ import annotations

import functools

import numpy as np
import torch

from .dtypes import BY_NAME, torch_dtype
from .passes import Group, JiteratorPass, PairwisePass, Pass, Signature


def ways() -> dict[str, type[Pass]]:
    """Every way by name, the fastest first."""
    found: list[type[Pass]] = [JiteratorPass, PairwisePass]
    try:
        from .triton_pass import TritonPass

        found.insert(0, TritonPass)
    except ImportError:  # no Triton here, as on Windows
        pass
    return {way.name: way for way in found}


def make_pass(group: Group, only: str | None = None) -> Pass:
    """The fastest way to sum this group that gives the defined bits.

    Args:
        only: its name, to compare ways; where it does not fit, the last way is taken.
    """
    for name, way in ways().items():
        if only in (None, name) and way.fits(group) and _is_exact(name, group.signature, group.device):
            return way(group)
    return PairwisePass(group)


@functools.cache
def _is_exact(name: str, signature: Signature, device: torch.device) -> bool:
    """Whether a way gives the bits of torch's own operations: a compiler may fuse, flush or round as it likes."""
    if name == PairwisePass.name:
        return True
    draw = torch.Generator().manual_seed(0)
    kinds = [torch_dtype(BY_NAME[dtype]) for dtype in (*signature.sources, signature.output)]
    sizes = torch.tensor([1.0, 1e-3, 1e-7, 1e4]).repeat(1 << 11)  # the third of fp16's numbers below the normal ones
    counts = (sizes.numel(), 321)
    wanted = [[(torch.randn(sizes.numel(), generator=draw) * sizes)[:count].to(kind) for kind in kinds] for count in counts]
    weights = torch.rand(len(counts), len(signature.sources), generator=draw) + 0.1
    tried = [[part.clone().to(device) for part in row] for row in wanted]
    everything = np.ones(len(counts), bool)
    PairwisePass(Group(signature, [tuple(row) for row in wanted])).run(weights.double().numpy(), everything)
    try:
        ways()[name](Group(signature, [tuple(row) for row in tried])).run(weights.double().numpy(), everything)
        return all(
            torch.equal(there[-1].cpu().view(torch.uint8), here[-1].view(torch.uint8))
            for there, here in zip(tried, wanted, strict=True)
        )
    except Exception:  # a compiler that fails, in any of its many ways, is one that is not there
        return False
