"""Plan -> what has to be matched before its pass: the groups of units of each call that asks for orders. Reads no tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .architecture import Architecture
from .errors import ArchitectureError
from .key_job import KeyJob, NodeJob, leaves
from .method_nodes import NODES
from .unit_groups import UnitGroup, has_units, unit_groups


@dataclass(frozen=True)
class Matching:
    """One group of units for one call.

    Attributes:
        call: as of NodeJob.
        jobs: of those of the group's tensors in which the call counts.
    """

    call: int
    group: UnitGroup
    jobs: tuple[KeyJob, ...]

    @property
    def identity(self) -> tuple[int, str]:
        """What no two of a plan have in common."""
        return self.call, self.group.name

    @property
    def size_bytes(self) -> int:
        """Of the output's tensors."""
        return sum(job.size_bytes for job in self.jobs)

    def reads(self) -> Iterator[tuple[str, int]]:
        """(key, number of the source) of all that is read for it."""
        for job in self.jobs:
            for side in (0, 1):
                yield from ((job.key, number) for number in operand_of(job, self.call, side).reads())

    def needs_bytes(self, stored: int) -> int:
        """What one thread holds for it: a tensor of both models and what it is made of, and the scores of all pairs of units.

        Args:
            stored: bytes of an element of the sources, at most.
        """
        width = 8 if any(job.compute == "float64" for job in self.jobs) else 4
        largest = max(job.elements * (width * (5 + len(leaves(job.terms, job.nodes))) + stored) for job in self.jobs)
        return largest + len(self.group.sets) * width * self.group.units**2


def asks_for_orders(jobs: Sequence[KeyJob]) -> bool:
    """Whether there is anything to be matched."""
    return any(node.method.takes_orders for nodes in {id(job.nodes): job.nodes for job in jobs}.values() for node in nodes)


def check_units(architecture: Architecture, jobs: Sequence[KeyJob]) -> None:
    """ArchitectureError where something is to be matched, and nothing is known of the model's units."""
    if asks_for_orders(jobs) and not has_units(architecture):
        raise ArchitectureError(
            f"rebasin does not know which units of {architecture.title} may change places; of SD 1.x, SD 2.x and SDXL it does. "
            "Take it out of the recipe."
        )


def matchings(architecture: Architecture, jobs: Sequence[KeyJob]) -> list[list[Matching]]:
    """All of them: each list needs the orders of those before it, where a call is an operand of another."""
    if not asks_for_orders(jobs):
        return []
    merged = {job.key: job for job in jobs if not job.is_copied}
    depths: dict[int, int] = {}
    for nodes in {id(job.nodes): job.nodes for job in merged.values()}.values():
        for call, depth in _depths(nodes).items():
            depths[call] = max(depth, depths.get(call, 0))
    found: list[list[Matching]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for group in unit_groups(architecture, {key: job.shape for key, job in merged.items()}):
        for call, depth in depths.items():
            counting = tuple(merged[key] for key in group.keys if node_of(merged[key], call))
            if counting:
                found[depth].append(Matching(call, group, counting))
    return found


def node_of(job: KeyJob, call: int) -> NodeJob | None:
    """The node that a call is in a key; None where it does not count."""
    return next((node for node in job.nodes if node.call == call and node.method.takes_orders), None)


def operand_of(job: KeyJob, call: int, side: int) -> KeyJob:
    """The job of a call's first (0) or second operand (1)."""
    node = node_of(job, call)
    assert node is not None
    terms = node.operands[side]
    return replace(job, terms=terms, nodes=_below(terms, job.nodes), is_scaled=False)


def _below(terms: Sequence[tuple[int, float]], nodes: Sequence[NodeJob]) -> tuple[NodeJob, ...]:
    """The nodes that a sum is made of, in their order."""
    needed = {number for number, _ in terms if number >= NODES}
    for node in reversed(nodes):  # what one is made of stands before it
        if node.number in needed:
            needed |= {number for operand in node.operands for number, _ in operand if number >= NODES}
    return tuple(node for node in nodes if node.number in needed)


def _depths(nodes: Sequence[NodeJob]) -> dict[int, int]:
    """Call that asks for orders to how many such calls stand one in the other below it."""
    of_node: dict[int, int] = {}
    found: dict[int, int] = {}
    for node in nodes:
        below = max((of_node[number] for operand in node.operands for number, _ in operand if number >= NODES), default=0)
        if node.method.takes_orders:
            found[node.call] = max(below, found.get(node.call, 0))
        of_node[node.number] = below + node.method.takes_orders
    return found
