"""Which weight the tensors of a LoRA's module make, after their shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Role of a tensor in its module to its shape."""


class Unfit(Exception):
    """The tensors of a module do not fit together; says which."""


class Size(NamedTuple):
    """Rows and columns of what a module makes, a kernel's window among the columns; its rank, None where it has none."""

    rows: int
    columns: int
    rank: int | None


def size_of(kind: str, shapes: Shapes) -> Size | None:
    """The size of what a module makes; None where it takes the weight's.

    Raises:
        Unfit: the shapes do not fit together.
    """
    if empty := next((role for role, shape in shapes.items() if 0 in shape), None):
        raise Unfit(f"{empty} is empty")
    return _SIZES[kind](shapes) if kind in _SIZES else None


def _lora(shapes: Shapes) -> Size:
    up, down, mid = _matrix(shapes, "up"), _matrix(shapes, "down"), shapes.get("mid")
    _no_window(shapes, "up")
    if mid is None:
        _equal(up[1], "columns of up", down[0], "rows of down")
        return Size(up[0], math.prod(down[1:]), down[0])
    return _with_core(shapes, "mid", up[1], up[0], "down")


def _loha(shapes: Shapes) -> Size:
    first, second = (_product(shapes, f"hada_w{number}", f"hada_t{number}") for number in (1, 2))
    _equal(first.rows, "rows of the first product", second.rows, "of the second")
    _equal(first.columns, "columns of the first product", second.columns, "of the second")
    return first


def _lokr(shapes: Shapes) -> Size:
    first, second = (_factor(shapes, f"lokr_w{number}", f"lokr_t{number}") for number in (1, 2))
    for role in ("lokr_w1", "lokr_w1_b"):
        if role in shapes:
            _no_window(shapes, role)
    # As at generation: the second factor's rank is the module's, where it has one.
    return Size(first.rows * second.rows, first.columns * second.columns, second.rank or first.rank)


def _factor(shapes: Shapes, name: str, core: str) -> Size:
    if name in shapes:
        whole = _matrix(shapes, name)
        return Size(whole[0], math.prod(whole[1:]), None)
    return _product(shapes, name, core)


def _product(shapes: Shapes, name: str, core: str) -> Size:
    left, right = _matrix(shapes, f"{name}_a"), _matrix(shapes, f"{name}_b")
    _no_window(shapes, f"{name}_a")
    if core in shapes:  # the rank stands first in both then
        return _with_core(shapes, core, left[0], left[1], f"{name}_b")
    _equal(left[1], f"columns of {name}_a", right[0], f"rows of {name}_b")
    return Size(left[0], math.prod(right[1:]), right[0])


def _with_core(shapes: Shapes, core: str, rank: int, rows: int, behind: str) -> Size:
    inner, down = _matrix(shapes, core), _matrix(shapes, behind)
    _no_window(shapes, behind)
    _equal(inner[0], f"rows of {core}", rank, "the rank of what stands before it")
    _equal(inner[1], f"columns of {core}", down[0], "the rank of what stands behind it")
    return Size(rows, down[1] * math.prod(inner[2:]), down[0])


def _diff(shapes: Shapes) -> Size:
    shape = shapes["diff"]
    if not shape:
        raise Unfit("diff is a single number")
    return Size(shape[0], math.prod(shape[1:]), None)


_SIZES = {"lora": _lora, "loha": _loha, "lokr": _lokr, "diff": _diff}


def _matrix(shapes: Shapes, role: str) -> Shape:
    if len(shapes[role]) < 2:
        raise Unfit(f"{role} has shape {list(shapes[role])}; a matrix or a kernel was expected")
    return shapes[role]


def _no_window(shapes: Shapes, role: str) -> None:
    if math.prod(shapes[role][2:]) != 1:
        raise Unfit(f"{role} has shape {list(shapes[role])}; only the tensor beside it may be a kernel larger than 1 x 1")


def _equal(found: int, what: str, expected: int, other: str) -> None:
    if found != expected:
        raise Unfit(f"{found} {what} do not fit {expected} {other}")
