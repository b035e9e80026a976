"""What each tensor of a result follows from: two results hold the same in a key where it follows from the same.

Known from headers alone: nothing is read for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

from .key_job import NodeJob, Terms
from .plan import Plan
from .sources import Source


def source_identity(source: Source) -> Hashable:
    """What says that a source is still the same: its files, their header, and what is taken of it under which keys."""
    checkpoint = source.checkpoint
    return checkpoint.files, checkpoint.header_digest, source.architecture.name, len(source.tensors)


def digest(found: Mapping[str, Hashable]) -> int:
    """The same for results that are the same, in one process."""
    return hash(frozenset(found.items()))


def origins(plan: Plan) -> dict[str, Hashable]:
    """Key to all that its values follow from."""
    sources = [source_identity(source) for source in plan.sources]
    on_nan = None if plan.on_nan is None else sources[plan.on_nan]

    def named(terms: Terms, nodes: Sequence[NodeJob]) -> Hashable:
        known: dict[int, Hashable] = dict(enumerate(sources))
        for node in nodes:  # as a digest: what is used twice would be spelt out twice, and what it is made of four times
            made_of = node.identity, tuple(spelt(operand, known) for operand in node.operands)
            known[node.number] = hashlib.sha256(repr(made_of).encode()).hexdigest()
        return spelt(terms, known)

    def spelt(terms: Terms, known: Mapping[int, Hashable]) -> Hashable:
        return tuple((known[number], coefficient) for number, coefficient in terms)

    found: dict[str, Hashable] = {}
    for job in plan.jobs:
        extra: Hashable = None
        if job.extra:
            holders = frozenset(sources[number] for number in job.extra.holders)
            extra = job.extra.shared, holders, named(job.extra.terms, job.extra.nodes)
        copied = None if job.source is None else sources[job.source]
        found[job.key] = (
            job.dtype,
            job.shape,
            job.compute,
            job.row is None,
            job.is_scaled,
            named(job.terms, job.nodes),
            copied,
            extra,
            on_nan,
        )
    for job in plan.jobs:
        if job.scale_of:
            found[job.key] = "scale", found[job.scale_of]
    return found
