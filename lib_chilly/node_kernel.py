"""The arithmetic of sums with calls that do not fold: the sources' values, then node after node, then the sum of all.

Every product and every addition of a sum is rounded in the compute type, in its order; between nodes nothing is rounded to the
output's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from .key_job import NodeJob, Terms, leaves
from .memory import SLAB_ELEMENTS
from .signature import Place, Reach
from .tally import NotFinite

Load = Callable[[int], torch.Tensor]
"""Number of a source -> its values in the compute type, a new tensor."""
LoadOn = Callable[[int, torch.Tensor], torch.Tensor]
"""(number of a LoRA, a whole weight) -> what it adds to the weight, in the compute type."""


@dataclass(frozen=True)
class Bent:
    """What a sum with nodes comes to.

    Attributes:
        result: the sum.
        first: the first source's values; None where it has no part in it.
        replaced: how many elements are the replacing source's.
        not_finite: number of a source to how many of its elements are NaN or Inf.
    """

    result: torch.Tensor
    first: torch.Tensor | None
    replaced: int
    not_finite: Mapping[int, int]

    def norm(self) -> float:
        """L2 of the result."""
        return math.sqrt(sum(torch.dot(part, part).item() for part in self.result.split(SLAB_ELEMENTS)))

    def change(self) -> tuple[float, float]:
        """Sums of squares of the result less the first source, and of that."""
        assert self.first is not None
        change = size = 0.0
        for result, first in zip(self.result.split(SLAB_ELEMENTS), self.first.split(SLAB_ELEMENTS), strict=True):
            difference = result - first
            change += torch.dot(difference, difference).item()
            size += torch.dot(first, first).item()
        return change, size


def sum_with_nodes(
    key: str,
    shape: Sequence[int],
    start: int,
    terms: Terms,
    nodes: Sequence[NodeJob],
    load: Load,
    load_on: LoadOn,
    zeros: Callable[[], torch.Tensor],
    on_nan: int | None,
) -> Bent:
    """Sum one slab, or a whole tensor where a node has to see it.

    Args:
        shape: of the whole tensor.
        start: number of the slab's first element.
        zeros: makes a slab of zeros, for operands that have no terms.
        on_nan: number of the source whose elements replace the result where any source's are not finite.

    Raises:
        NotFinite: a source holds NaN or Inf, and there is none to replace it.
    """
    values = {source: load(source) for source in sorted(leaves(terms, nodes) - _on_models(terms, nodes))}
    not_finite = {source: int((~torch.isfinite(found)).sum()) for source, found in values.items() if not _is_finite(found)}
    replacement, bad = _mend(key, values, list(not_finite), load, on_nan)
    first = values.get(0)
    for node in nodes:
        if node.method.takes_files:
            weight = _weighted(values, zeros, node.operands[1])
            operands = [load_on(node.operands[0][0][0], weight), weight]
        else:
            operands = [_weighted(values, zeros, operand) for operand in node.operands]
        values[node.number] = _called(node, operands, shape, Place(key, start))
    result = _weighted(values, zeros, terms)
    if replacement is not None:
        result = torch.where(bad, replacement, result)
    return Bent(result, first, int(bad.sum()) if replacement is not None else 0, not_finite)


def _on_models(terms: Terms, nodes: Sequence[NodeJob]) -> set[int]:
    """Numbers of the LoRAs that are only put on models: what they add is not known before."""
    put = {node.operands[0][0][0] for node in nodes if node.method.takes_files}
    return put - {number for number, _ in terms} - leaves((), [node for node in nodes if not node.method.takes_files])


def _called(node: NodeJob, operands: Sequence[torch.Tensor], shape: Sequence[int], place: Place) -> torch.Tensor:
    method = node.method
    if method.reach is Reach.TENSOR:
        operands = [operand.view(tuple(shape)) for operand in operands]
    plain = len(operands) - len(method.named)
    given: dict[str, object] = {**dict(zip(method.named, operands[plain:], strict=True)), **dict(node.values)}
    if method.takes_place:
        given["place"] = node.where or place
    if method.takes_orders:
        given["orders"] = node.orders
    return method.function(*operands[:plain], **given).reshape(-1)


def _weighted(values: Mapping[int, torch.Tensor], zeros: Callable[[], torch.Tensor], terms: Terms) -> torch.Tensor:
    """A sum; one value with coefficient 1 is that value itself."""
    if not terms:
        return zeros()
    (number, coefficient), *others = terms
    total, is_own = (values[number], False) if coefficient == 1 else (values[number] * coefficient, True)
    for number, coefficient in others:
        term = values[number] * coefficient
        total, is_own = total.add_(term) if is_own else term.add_(total), True
    return total


def _mend(
    key: str, values: dict[int, torch.Tensor], spoilt: Sequence[int], load: Load, on_nan: int | None
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Put the replacing source's values where any is not finite; (these values or None, where that is)."""
    nowhere = torch.zeros(0, dtype=torch.bool)
    if not spoilt:
        return None, nowhere
    if on_nan is None or on_nan in spoilt:
        raise NotFinite(spoilt[0], key)
    replacement = values[on_nan] if on_nan in values else load(on_nan)
    bad = ~torch.isfinite(values[spoilt[0]])
    for source in spoilt[1:]:
        bad |= ~torch.isfinite(values[source])
    if not bool(torch.isfinite(replacement[bad]).all()):
        raise NotFinite(on_nan, key)
    for source in spoilt:
        values[source] = torch.where(bad, replacement, values[source])
    return replacement, bad


def _is_finite(found: torch.Tensor) -> bool:
    """A sum of squares is finite only where every element is, and costs less than a look at each."""
    return math.isfinite(torch.dot(found, found).item()) or bool(torch.isfinite(found).all())
