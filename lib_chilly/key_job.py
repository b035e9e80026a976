"""One job for each key of the output: what the planner says of a tensor, and the executors carry out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .architecture import NO_LANE, Architecture
from .dtypes import BY_NAME, DType
from .errors import ArchitectureError, RecipeError
from .header import quoted
from .method_nodes import NODES, MethodNode
from .registry import MergeMethod, get_method
from .rounding import to_float32, to_float64
from .signature import Orders, Place, Reach

Terms = tuple[tuple[int, float], ...]
"""(number of a source or a node, its coefficient rounded once to the compute type), in the order of the sum; no zeros."""


@dataclass(frozen=True)
class NodeJob:
    """A call that does not fold, in the keys of one row.

    Attributes:
        number: by which sums name it; what its operands are made of has smaller ones.
        operands: the weighted sum that each of them is.
        values: parameter to its value.
        where: as of MethodNode.
        call: which call of the recipe it is.
        orders: of the units in the key, where they were found.
    """

    number: int
    method: MergeMethod
    operands: tuple[Terms, ...]
    values: tuple[tuple[str, float], ...]
    where: Place | None
    call: int
    orders: Orders = field(default=(), compare=False)

    @property
    def identity(self) -> tuple[object, ...]:
        """What it computes, apart from what it is numbered."""
        return self.method.name, self.values, self.where


@dataclass(frozen=True)
class Row:
    """The weighted sum that keys of one kind share.

    Attributes:
        label: LANE, LANE/RULE, or either with |-NAME,... of the sources that lack these keys.
        lane: of its keys.
        exact: number of a source or a node to its coefficient, in the order of the sum.
        pick: the source that copied keys come from.
        nodes: number to node, of all that the sum is made of, each behind those that it is made of itself.
    """

    label: str
    lane: str
    exact: Mapping[int, Fraction]
    pick: int
    nodes: Mapping[int, MethodNode] = field(default_factory=dict)
    _rounded: dict[str, tuple[Terms, tuple[NodeJob, ...]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def named(self, names: Sequence[str]) -> list[tuple[str, Fraction]]:
        """The sum's terms with the sources' names, and the calls as they are written."""
        return [(names[number] if number < NODES else self.nodes[number].text, weight) for number, weight in self.exact.items()]

    def reads(self) -> set[int]:
        """Numbers of the sources that it is made of."""
        below = {number for node in self.nodes.values() for operand in node.operands for number, _ in operand}
        return {number for number in {*self.exact, *below} if number < NODES}

    def rounded(self, compute: str) -> tuple[Terms, tuple[NodeJob, ...]]:
        """The sum and its nodes with all numbers rounded to "float32" or "float64"; one object for all keys of the row.

        Raises:
            RecipeError: a number is too large for that.
        """
        if compute not in self._rounded:
            number = to_float32 if compute == "float32" else to_float64
            try:
                self._rounded[compute] = (
                    tuple((term, number(weight)) for term, weight in self.exact.items()),
                    tuple(_node_job(place, node, number) for place, node in self.nodes.items()),
                )
            except OverflowError:
                raise RecipeError(f"a coefficient in {self.label} is too large for {compute}: use smaller numbers.") from None
        return self._rounded[compute]


def _node_job(number: int, node: MethodNode, rounded: Callable[[Fraction], float]) -> NodeJob:
    operands = tuple(tuple((term, rounded(weight)) for term, weight in operand) for operand in node.operands)
    values = tuple((name, float(value)) for name, value in node.values)
    return NodeJob(number, get_method(node.method), operands, values, node.where, node.place[1])


@dataclass(frozen=True)
class ExtraChannels:
    """The input channels that only inpainting or pix2pix models have, in a first convolution merged with ordinary ones.

    Attributes:
        shared: channels that every model has; they come first.
        holders: numbers of the sources that have the extra ones.
        terms, nodes: the weighted sum in the extra ones.
    """

    shared: int
    holders: frozenset[int]
    terms: Terms
    nodes: tuple[NodeJob, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyJob:
    """One tensor of the output.

    Attributes:
        dtype, shape: of the output.
        lane: the key's lane, or NO_LANE.
        terms: the weighted sum over sources and nodes; without any the result is 0.
        nodes: the calls that do not fold, in the order in which they are made.
        compute: "float32" or "float64", the type in which the sum is taken.
        source: of a copied key; None where nothing is read: rebuilt position_ids, scales, markers (all 0).
        extra: what is done in input channels that not every source has; None where all have the same.
        row: label of its row; None for keys that are copied.
        is_scaled: whether it is written divided by its own scale, which is measured before.
        scale_of: the scaled key whose scale this tensor is.
    """

    key: str
    dtype: DType
    shape: tuple[int, ...]
    lane: str
    terms: Terms = ()
    nodes: tuple[NodeJob, ...] = ()
    compute: str = "float32"
    source: int | None = None
    extra: ExtraChannels | None = None
    row: str | None = None
    is_scaled: bool = False
    scale_of: str | None = None

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    @property
    def is_copied(self) -> bool:
        return self.row is None

    @property
    def is_position_ids(self) -> bool:
        return self.key.endswith("position_ids")

    @property
    def passes(self) -> int:
        """How often its sources are read: a scale is known only when the whole tensor was summed once."""
        return 2 if self.is_scaled else 1

    @property
    def is_companion(self) -> bool:
        """Whether it is a scale or a marker: no source has it."""
        return self.is_copied and self.source is None and not self.is_position_ids

    @property
    def taken(self) -> int | None:
        """The source whose values a sum is, as they are; None where it is more than that, or copied."""
        is_one = len(self.terms) == 1 and self.terms[0][1] == 1 and not self.nodes
        return self.terms[0][0] if is_one and not self.is_copied else None

    @property
    def is_whole(self) -> bool:
        """Whether it can only be made in one piece."""
        nodes = self.nodes + (self.extra.nodes if self.extra else ())
        return self.extra is not None or any(node.method.reach is Reach.TENSOR for node in nodes)

    def reads(self) -> set[int]:
        """Numbers of the sources that are read for this key."""
        found = leaves(self.terms, self.nodes) | (leaves(self.extra.terms, self.extra.nodes) if self.extra else set())
        return found | ({self.source} if self.source is not None else set())


def leaves(terms: Terms, nodes: Sequence[NodeJob]) -> set[int]:
    """Numbers of the sources that a sum and its nodes are made of."""
    sums = terms, *(operand for node in nodes for operand in node.operands)
    return {number for part in sums for number, _ in part if number < NODES}


def scale_jobs(jobs: Sequence[KeyJob], architecture: Architecture) -> list[KeyJob]:
    """What stands beside scaled fp8 weights: a scale for each, and the marker by which readers know to look for them.

    Raises:
        ArchitectureError: a source has another tensor under such a key.
    """
    weights = [job for job in jobs if job.is_scaled]
    if not weights:
        return []
    found = [
        KeyJob(job.key.removesuffix("weight") + "scale_weight", BY_NAME["fp32"], (), job.lane, scale_of=job.key)
        for job in weights
    ]
    # Of two elements: layers are computed in 16 bits, with their weights alone in fp8.
    found.append(KeyJob(architecture.components["unet"][0] + "scaled_fp8", BY_NAME["fp8_e4m3fn"], (2,), NO_LANE))
    for key in {job.key for job in jobs} & {job.key for job in found}:
        raise ArchitectureError(f"{quoted(key)} of a source stands where a scale is to be written. Use a whole release of it.")
    return found
