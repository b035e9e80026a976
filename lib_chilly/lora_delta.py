"""What a LoRA adds to one weight, from the tensors of its modules: in float64, rounded once.

Sums of products are exact and all others run in a fixed order, so that threads, slabs and devices change no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from .errors import CheckpointError
from .header import counted, quoted
from .lora_change import change_of
from .lora_keys import Place
from .lora_kinds import BLOCK_ELEMENTS, Tensors
from .lora_module import Module


def delta(
    tensors: Mapping[str, torch.Tensor],
    modules: Sequence[Module],
    shape: Sequence[int],
    strength: float = 1.0,
    base: torch.Tensor | None = None,
    *,
    rows: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    were_checked: bool = False,
) -> torch.Tensor:
    """What the modules add to one weight of a checkpoint.

    Args:
        tensors: the file's, by their keys; all on one device.
        modules: all that the file has for this weight (LoraFile.modules), one at least.
        shape: of the weight.
        strength: factor on all of it, as at generation time.
        base: the weight, of any dtype; needed where a module says `needs_base`. With `rows` only these.
        rows: (first, end) of those that are wanted, where all modules have `rows_apart`.
        dtype: of the result, float32 or float64.
        were_checked: whether `refuse_not_finite` has seen the tensors.

    Returns:
        (*shape), or the rows of it: a new tensor, 0 where no module has a part.

    Raises:
        CheckpointError: NaN or Inf in the tensors, too large a result, sizes that do not fit.
    """
    for module in modules:
        module.check(shape)
        if module.needs_base and base is None:
            raise ValueError(f"{module.layer} changes a weight that is not given")
        if rows is not None and not module.rows_apart(shape):
            raise ValueError(f"{module.layer} has no rows apart")
    if not were_checked:
        refuse_not_finite(tensors, modules)
    first, end = rows or (0, shape[0])
    device = next(iter(tensors.values())).device
    found = torch.zeros((end - first, *shape[1:]), dtype=dtype, device=device)
    for module in modules:
        _write(found, module, _own(tensors, module), shape, strength, base, first)
    if not torch.isfinite(found).all():
        raise CheckpointError(
            f"{quoted(modules[0].file_name)} adds more to '{modules[0].place.key}' than {str(dtype)[6:]} holds. "
            "Use another release of it."
        )
    return found


def refuse_not_finite(tensors: Mapping[str, torch.Tensor], modules: Sequence[Module]) -> None:
    """CheckpointError where a module's tensor holds NaN or Inf."""
    for module in modules:
        for key in module.keys.values():
            parts = tensors[key].reshape(-1).split(BLOCK_ELEMENTS)
            if count := sum(int((~torch.isfinite(part.double())).sum()) for part in parts):
                raise CheckpointError(
                    f"{quoted(module.file_name)} holds NaN or Inf in {counted(count, 'value')} of {quoted(key)}. "
                    "Use another release of it."
                )


def _own(tensors: Mapping[str, torch.Tensor], module: Module) -> Tensors:
    """The module's tensors by their roles."""
    return {role: tensors[key] for role, key in module.keys.items()}


def _write(
    found: torch.Tensor,
    module: Module,
    tensors: Tensors,
    shape: Sequence[int],
    strength: float,
    base: torch.Tensor | None,
    offset: int,
) -> None:
    """Put what one module adds into its rows of `found`, which starts with row `offset` of the weight."""
    out = _as_matrix(found, module.place)
    old = _as_matrix(base, module.place) if module.needs_base and base is not None else None
    places = list(_places(module.place, shape, offset, offset + len(out)))

    def blocks() -> Iterator[tuple[int, int, torch.Tensor | None]]:
        return ((first, end, None if old is None else old[there].double()) for first, end, there in places)

    change = change_of(module, tensors, shape, strength, blocks())
    for (first, end, old_rows), (_, _, there) in zip(blocks(), places, strict=True):
        out[there] = change(first, end, old_rows)


def _as_matrix(values: torch.Tensor, place: Place) -> torch.Tensor:
    """The weight as the layer has it, rows by columns; looks into `values`."""
    return values.T if place.is_turned else values.reshape(len(values), -1)


def _places(place: Place, shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int, slice]]:
    """(first, end) of a module's rows and where they are among rows [start, stop) of the weight, in blocks."""
    first, _, of = place.share
    rows, columns = place.size_in(shape)
    begin = place.as_layer(shape)[0] * first // of
    half = rows // 2
    # What is added to a row's number in the module gives its number in the weight.
    runs = [(0, half, begin + half), (half, rows, begin - half)] if place.is_swapped else [(0, rows, begin)]
    step = max(1, BLOCK_ELEMENTS // columns)
    for low, high, shift in runs:
        last = min(high, stop - shift)
        for row in range(max(low, start - shift), last, step):
            end = min(row + step, last)
            yield row, end, slice(row + shift - start, end + shift - start)
