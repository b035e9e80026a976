"""What each tensor of a result follows from: two results hold the same in a key where it follows from the same.

Known from headers alone: nothing is read for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

from .key_job import KeyJob, NodeJob, Terms
from .matchings import Matching, matchings
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
    found: dict[str, Hashable] = {}
    for job in plan.jobs:
        extra: Hashable = None
        if job.extra:
            holders = frozenset(sources[number] for number in job.extra.holders)
            extra = job.extra.shared, holders, _named(job.extra.terms, job.extra.nodes, sources)
        copied = None if job.source is None else sources[job.source]
        found[job.key] = (
            job.dtype,
            job.shape,
            job.compute,
            job.row is None,
            job.is_scaled,
            _named(job.terms, job.nodes, sources),
            copied,
            extra,
            on_nan,
        )
    for matching, identity in order_origins(plan):
        found |= {job.key: (found[job.key], identity) for job in matching.jobs}
    for job in plan.jobs:
        if job.scale_of:
            found[job.key] = "scale", found[job.scale_of]
    return found


def order_origins(plan: Plan) -> list[tuple[Matching, str]]:
    """All that is matched, and what its orders follow from."""
    sources = [source_identity(source) for source in plan.sources]
    on_nan = None if plan.on_nan is None else sources[plan.on_nan]
    found: list[tuple[Matching, str]] = []
    below: dict[str, tuple[str, ...]] = {}
    for each_round in matchings(plan.architecture, plan.jobs):
        here: dict[str, tuple[str, ...]] = {}
        for each in each_round:
            made_of = [(job.key, job.compute, _digest_of(job, each.call, sources), below.get(job.key)) for job in each.jobs]
            identity = hashlib.sha256(repr((made_of, on_nan)).encode()).hexdigest()
            found.append((each, identity))
            here |= {job.key: (*here.get(job.key, ()), identity) for job in each.jobs}
        below |= {key: below.get(key, ()) + identities for key, identities in here.items()}
    return found


def _digest_of(job: KeyJob, call: int, sources: Sequence[Hashable]) -> Hashable:
    """What a call is made of in a key."""
    known = _digests(job.nodes, sources)
    return next(known[node.number] for node in job.nodes if node.call == call and node.method.takes_orders)


def _named(terms: Terms, nodes: Sequence[NodeJob], sources: Sequence[Hashable]) -> Hashable:
    return _spelt(terms, _digests(nodes, sources))


def _digests(nodes: Sequence[NodeJob], sources: Sequence[Hashable]) -> dict[int, Hashable]:
    """Numbers of sources and nodes to what they are made of."""
    known: dict[int, Hashable] = dict(enumerate(sources))
    for node in nodes:  # as a digest: what is used twice would be spelt out twice, and what it is made of four times
        made_of = node.identity, tuple(_spelt(operand, known) for operand in node.operands)
        known[node.number] = hashlib.sha256(repr(made_of).encode()).hexdigest()
    return known


def _spelt(terms: Terms, known: Mapping[int, Hashable]) -> Hashable:
    return tuple((known[number], coefficient) for number, coefficient in terms)
