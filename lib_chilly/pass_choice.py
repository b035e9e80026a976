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
    rows, weights = _samples(signature)
    tried = [[part.to(device, copy=True) for part in row] for row in rows]
    everything = np.ones(len(rows), bool)
    PairwisePass(Group(signature, [tuple(row) for row in rows])).run(weights, everything)
    try:
        ways()[name](Group(signature, [tuple(row) for row in tried])).run(weights, everything)
        return all(
            torch.equal(there[-1].cpu().view(torch.uint8), here[-1].view(torch.uint8))
            for there, here in zip(tried, rows, strict=True)
        )
    except Exception:  # a compiler that fails, in any of its many ways, is one that is not there
        return False


def _samples(signature: Signature) -> tuple[list[list[torch.Tensor]], np.ndarray]:
    """Numbers that tell ways apart: large and tiny ones, few and many, and products that cancel but for what rounding took."""
    draw, sources = torch.Generator().manual_seed(0), len(signature.sources)
    kinds = [torch_dtype(BY_NAME[dtype]) for dtype in (*signature.sources, signature.output)]
    spread = torch.tensor([1.0, 1e-3, 1e-7, 1e4]).repeat(1 << 11)  # the third of fp16's numbers below the normal ones
    rows = [[(torch.randn(spread.numel(), generator=draw) * spread)[:count].to(kind) for kind in kinds] for count in (8192, 321)]
    equal = (torch.randn(4999, generator=draw) * 1000).round().bfloat16()  # which every dtype holds
    rows.append([equal.to(kind) for kind in kinds])
    weights = torch.rand(len(rows), sources, generator=draw) + 0.1
    weights[-1] = weights[-1, 0] * torch.tensor([1.0, -1.0]).repeat(sources)[:sources]
    return rows, weights.double().numpy()
