"""The matrix that a module's tensors make, for every kind that adds one: rows of it, in float64, whoever asks for how many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from .exact_product import ExactProduct

BLOCK_ELEMENTS = 1 << 17
"""Elements that are worked on at once: each step between takes 1 MiB for them, and caches hold some of these."""

Tensors = Mapping[str, torch.Tensor]
"""A module's tensors, by their roles."""
Rows = Callable[[int, int], torch.Tensor]
"""Rows [first, end) of a matrix, in float64; a kernel's window is among its columns."""


def _lora(tensors: Tensors) -> Rows:
    """up @ down; with a core, LoCon's mid, between them."""
    up, down = tensors["up"].flatten(1), tensors["down"].flatten(1)
    return _with_core(up, tensors["mid"], down) if "mid" in tensors else ExactProduct(up, down).rows


def _loha(tensors: Tensors) -> Rows:
    """The product of two such products, element by element."""
    one, other = (_product(tensors, f"hada_w{number}", f"hada_t{number}") for number in (1, 2))
    return lambda first, end: one(first, end) * other(first, end)


def _lokr(tensors: Tensors) -> Rows:
    """Kronecker's product of two matrices, each whole or a product itself."""
    one, other = (_factor(tensors, f"lokr_w{number}", f"lokr_t{number}") for number in (1, 2))

    def rows(first: int, end: int) -> torch.Tensor:
        numbers = torch.arange(first, end, device=one.device)
        outer = one[torch.div(numbers, len(other), rounding_mode="floor")]
        return (outer[:, :, None] * other[numbers % len(other)][:, None, :]).flatten(1)

    return rows


def _diff(tensors: Tensors) -> Rows:
    """The difference itself."""
    values = tensors["diff"].reshape(len(tensors["diff"]), -1)
    return lambda first, end: values[first:end].double()


ROWS: Mapping[str, Callable[[Tensors], Rows]] = {"lora": _lora, "loha": _loha, "lokr": _lokr, "diff": _diff}


def _product(tensors: Tensors, name: str, core: str) -> Rows:
    left, right = tensors[f"{name}_a"].flatten(1), tensors[f"{name}_b"].flatten(1)
    return _with_core(left.T, tensors[core], right) if core in tensors else ExactProduct(left, right).rows


def _factor(tensors: Tensors, name: str, core: str) -> torch.Tensor:
    if name in tensors:
        return tensors[name].flatten(1).double()
    left = tensors[f"{name}_a"]
    return _product(tensors, name, core)(0, left.shape[1] if core in tensors else left.shape[0])


def _with_core(left: torch.Tensor, core: torch.Tensor, right: torch.Tensor) -> Rows:
    """The kernel whose [o, i, k, l] is the sum of left[o, a] core[a, b, k, l] right[b, i]."""
    through = ExactProduct(left, core.flatten(1))
    step = max(1, BLOCK_ELEMENTS * core.shape[0] // core.numel())

    def some(first: int, end: int) -> torch.Tensor:
        inner = through.rows(first, end).reshape(end - first, core.shape[1], -1).transpose(1, 2)
        kernels = ExactProduct(inner.flatten(0, 1), right).rows(0, inner.shape[0] * inner.shape[1])
        return kernels.reshape(*inner.shape[:2], -1).transpose(1, 2).flatten(1)

    return lambda first, end: torch.cat([some(row, min(row + step, end)) for row in range(first, end, step)])
