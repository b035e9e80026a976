"""The arithmetic of sums with calls that do not fold: the sources' values, then node after node, then the sum of all.

Every product and every addition of a sum is rounded in the compute type, in its order; between nodes nothing is rounded to the
output's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from .converting import load
from .key_job import KeyJob, NodeJob, Terms, leaves
from .memory import SLAB_ELEMENTS
from .signature import Place, Reach
from .staging import Staging
from .tally import NotFinite

Fetch = Callable[[int], tuple[torch.Tensor, torch.Tensor | None]]
"""For the slab in hand: source -> (the stored values, the scale of scaled fp8 or None)."""
ReadOn = Callable[[int, str, torch.Tensor], torch.Tensor]
"""(number of a LoRA, a key, a whole weight) -> what it adds to the weight, in float64."""
RoomOf = Callable[[int, torch.dtype, int], torch.Tensor]
"""(number of a source, dtype, elements) -> memory of the processor for its values."""


@dataclass(frozen=True)
class NodeSum:
    """A sum with calls that do not fold, of one slab, or of a whole tensor where a node has to see it.

    Attributes:
        shape: of the whole tensor.
        start, count: the slab's elements.
    """

    job: KeyJob
    terms: Terms
    nodes: Sequence[NodeJob]
    fetch: Fetch
    shape: Sequence[int]
    start: int
    count: int

    def loaded(self, source: int, place: Staging, room_of: RoomOf) -> torch.Tensor:
        """A source's values in the compute type."""
        stored, scale = self.fetch(source)
        room = self.made(torch.empty, place) if place.is_away else room_of(source, self.dtype, self.count)
        return load(room, place.send(stored), scale)

    @property
    def dtype(self) -> torch.dtype:
        """The compute type."""
        return getattr(torch, self.job.compute)

    def made(self, make: Callable[..., torch.Tensor], place: Staging) -> torch.Tensor:
        """A slab of the compute type, by torch.empty or torch.zeros."""
        return make(self.count, dtype=self.dtype, device=place.device)


@dataclass(frozen=True)
class Bent:
    """What a sum with nodes comes to.

    Attributes:
        result: the sum.
        first: the first source's values; None where it has no part in it.
        replaced: how many elements are the replacing source's.
        not_finite: number of a source to how many of its elements are NaN or Inf.
        loaded: number of a source to its values, before any was replaced.
    """

    result: torch.Tensor
    first: torch.Tensor | None
    replaced: int
    not_finite: Mapping[int, int]
    loaded: dict[int, torch.Tensor]

    def norm(self) -> float:
        """L2 of the result."""
        return math.sqrt(_summed([torch.dot(part, part) for part in self.result.split(SLAB_ELEMENTS)]))

    def change(self) -> tuple[float, float]:
        """Sums of squares of the result less the first source, and of that."""
        assert self.first is not None
        changes, sizes = [], []
        for result, first in zip(self.result.split(SLAB_ELEMENTS), self.first.split(SLAB_ELEMENTS), strict=True):
            difference = result - first
            changes.append(torch.dot(difference, difference))
            sizes.append(torch.dot(first, first))
        return _summed(changes), _summed(sizes)


def sum_with_nodes(what: NodeSum, read_on: ReadOn, place: Staging, room_of: RoomOf, on_nan: int | None) -> Bent:
    """Sum it.

    Args:
        place: where it is computed, and where the result is.
        room_of: on the processor, memory that is used again by the next sum.
        on_nan: number of the source whose elements replace the result where any source's are not finite.

    Raises:
        NotFinite: a source holds NaN or Inf, and there is none to replace it.
    """
    job, terms, nodes = what.job, what.terms, what.nodes

    def zeros() -> torch.Tensor:
        return what.made(torch.zeros, place)

    read = sorted(leaves(terms, nodes) - _on_models(terms, nodes))
    values = {source: what.loaded(source, place, room_of) for source in read}
    loaded = dict(values)
    not_finite = {source: int((~torch.isfinite(found)).sum()) for source, found in values.items() if not _is_finite(found)}
    replacement, bad = _mend(what, values, list(not_finite), lambda source: what.loaded(source, place, room_of), on_nan)
    first = values.get(0)
    for node in nodes:
        if node.method.takes_files:
            weight = _weighted(values, zeros, node.operands[1])
            added = read_on(node.operands[0][0][0], job.key, weight.cpu().view(*what.shape)).reshape(-1)
            operands = [added.to(weight.device, weight.dtype), weight]
        else:
            operands = [_weighted(values, zeros, operand) for operand in node.operands]
        values[node.number] = _called(node, operands, what.shape, Place(job.key, what.start))
    result = _weighted(values, zeros, terms)
    if replacement is not None:
        result = torch.where(bad, replacement, result)
    return Bent(result, first, int(bad.sum()) if replacement is not None else 0, not_finite, loaded)


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
        given["place"] = replace(node.where, start=place.start) if node.where else place
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
    what: NodeSum,
    values: dict[int, torch.Tensor],
    spoilt: Sequence[int],
    load_again: Callable[[int], torch.Tensor],
    on_nan: int | None,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Put the replacing source's values where any is not finite; (these values or None, where that is)."""
    nowhere = torch.zeros(0, dtype=torch.bool)
    if not spoilt:
        return None, nowhere
    if on_nan is None or on_nan in spoilt:
        raise NotFinite(spoilt[0], what.job.key)
    replacement = values[on_nan] if on_nan in values else load_again(on_nan)
    bad = ~torch.isfinite(values[spoilt[0]])
    for source in spoilt[1:]:
        bad |= ~torch.isfinite(values[source])
    if not bool(torch.isfinite(replacement[bad]).all()):
        raise NotFinite(on_nan, what.job.key)
    for source in spoilt:
        values[source] = torch.where(bad, replacement, values[source])
    return replacement, bad


def _summed(numbers: Sequence[torch.Tensor]) -> float:
    """The sum of tensors without dimensions, for which a GPU is waited for once."""
    return sum(torch.stack(list(numbers)).tolist())


def _is_finite(found: torch.Tensor) -> bool:
    """A sum of squares is finite only where every element is, and costs less than a look at each."""
    return math.isfinite(torch.dot(found, found).item()) or bool(torch.isfinite(found).all())
