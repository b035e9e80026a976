"""How a module changes rows of a weight: by what it makes, scaled, or by what IA3 and DoRA make of the weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from .errors import CheckpointError
from .header import quoted
from .lora_kinds import ROWS, Rows, Tensors
from .lora_module import Module
from .lora_roles import MAGNITUDES

Base = torch.Tensor | None
Change = Callable[[int, int, Base], torch.Tensor]
"""(first, end, these rows of the weight in float64) of a module's rows to what is added to them."""
Block = tuple[int, int, Base]


def change_of(module: Module, tensors: Tensors, shape: Sequence[int], strength: float, blocks: Iterable[Block]) -> Change:
    """What a module adds.

    Args:
        tensors: its own, by role.
        shape: of the whole weight.
        strength: factor on all of it.
        blocks: all rows of the module, for magnitudes of columns; not looked at otherwise.
    """
    if not module.needs_base:
        plain, factor = ROWS[module.kind](tensors), scale_of(module, tensors) * strength
        return lambda first, end, base: plain(first, end) * factor
    full = _ia3(module, tensors, shape) if module.kind == "ia3" else _dora(module, tensors, shape, blocks)
    return lambda first, end, base: full(first, end, base) * strength


def scale_of(module: Module, tensors: Tensors) -> float:
    """What its product is multiplied by: alpha over rank, as at generation; 1 where one is missing, `scale` where it has that."""
    if "scale" in tensors:
        return float(tensors["scale"])
    return float(tensors["alpha"]) / module.rank if "alpha" in tensors and module.rank else 1.0


def _ia3(module: Module, tensors: Tensors, shape: Sequence[int]) -> Change:
    """The weight times factors less one, of its rows or of its input channels; PEFT stores them with that one."""
    role = "factors" if "factors" in tensors else "factors_less_one"
    stored = tensors[role]
    factors = (stored.double().reshape(-1) - (1 if role == "factors" else 0)) * scale_of(module, tensors)
    rows, columns = module.place.size_in(shape)
    channels = module.place.as_layer(shape)[1] if len(shape) > 1 else 1
    lies = stored.dim() > 1 and len(stored) == 1 and len(factors) == channels
    if bool(tensors["on_input"]) if "on_input" in tensors else lies:
        if len(factors) == channels:
            wide = factors.repeat_interleave(columns // channels)
            return lambda first, end, base: _given(base) * wide
    elif len(factors) == rows:
        return lambda first, end, base: _given(base) * factors[first:end, None]
    raise CheckpointError(
        f"{quoted(module.file_name)}: {quoted(module.keys[role])} has {len(factors)} factors; its place in "
        f"'{module.place.key}' has {rows} rows and {channels} input channels. It belongs to a model of other sizes."
    )


def _dora(module: Module, tensors: Tensors, shape: Sequence[int], blocks: Iterable[Block]) -> Change:
    """The weight with what is added, brought to magnitudes, less the weight."""
    plain, scale = ROWS[module.kind](tensors), scale_of(module, tensors)
    magnitudes = tensors[next(iter(MAGNITUDES & module.keys.keys()))].double().reshape(-1)

    def scaled(first: int, end: int) -> torch.Tensor:
        return plain(first, end) * scale

    return _with_column_norms(scaled, magnitudes, blocks) if module.norms_columns(shape) else _with_row_norms(scaled, magnitudes)


def _with_row_norms(scaled: Rows, magnitudes: torch.Tensor) -> Change:
    """DoRA as it was published: every row is given its own length."""

    def change(first: int, end: int, base: Base) -> torch.Tensor:
        old = _given(base)
        new = scaled(first, end) + old
        return new * _ratio(magnitudes[first:end], _sum((new * new).T))[:, None] - old

    return change


def _with_column_norms(scaled: Rows, magnitudes: torch.Tensor, blocks: Iterable[Block]) -> Change:
    """DoRA as LyCORIS, kohya's scripts and the webui have it: every input channel is given its own length."""
    total: torch.Tensor | None = None
    for first, end, base in blocks:
        new = scaled(first, end) + _given(base)
        here = _sum(new * new)
        total = here if total is None else total + here
    assert total is not None
    window = len(total) // len(magnitudes)
    ratio = _ratio(magnitudes, _sum(total.reshape(-1, window).T)).repeat_interleave(window)
    return lambda first, end, base: (scaled(first, end) + _given(base)) * ratio - _given(base)


def _given(base: Base) -> torch.Tensor:
    assert base is not None
    return base


def _ratio(magnitudes: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """What brings lengths to magnitudes; what has no length keeps none."""
    lengths = squares.sqrt()
    return torch.where(lengths > 0, magnitudes / lengths, torch.zeros_like(lengths))


def _sum(values: torch.Tensor) -> torch.Tensor:
    """The sum over the first dimension: halves are added, and their halves, which is the same for any number of threads."""
    while (count := len(values)) > 1:
        half = count // 2
        folded = values[:half] + values[half : 2 * half]
        values = torch.cat((folded, values[2 * half :])) if count % 2 else folded
    return values[0]
