"""How the output is cut into pieces, and how much memory that takes; no tensors here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .key_job import KeyJob
from .plan import Plan

SLAB_ELEMENTS = 1 << 18
"""Elements that are summed at once.

Their scratch (3 MiB in float32) outgrows an L2 cache of 1 MiB and stays in L3; fewer calls outweighed that,
see docs/benchmarks.md.
"""

BLOCK_BYTES = 4 << 20
"""Output bytes that a thread takes at once: a multiple of fileio.PAGE_BYTES, so that blocks go past the page cache."""

_PROCESS_BYTES = 235 << 20
"""A Python that has imported torch and read the recipe, as measured on Linux."""

_THREAD_BYTES = 6 << 20
"""Stack, allocator and Python's own of one worker, as measured."""


KEPT_BYTES = 31 << 20
"""Once so much was freed at once, glibc keeps up to twice as much of what is freed: memory that is new costs more to get than
to fill."""


@dataclass(frozen=True)
class Slab:
    """Elements [start, start + count) of one output tensor, at byte `place` of their block."""

    job: KeyJob
    start: int
    count: int
    place: int


@dataclass(frozen=True)
class Block:
    """A run of the output: `size_bytes` from `offset` in the data section."""

    number: int
    offset: int
    size_bytes: int
    slabs: tuple[Slab, ...]


def blocks_of(jobs: Sequence[KeyJob]) -> list[Block]:
    """Cut the output at each multiple of BLOCK_BYTES, so that blocks are whole pages; what can
    only be made whole stays in one piece."""
    blocks: list[Block] = []
    slabs: list[Slab] = []
    offset = size = 0

    def close() -> None:
        nonlocal slabs, offset, size
        if slabs:
            blocks.append(Block(len(blocks), offset, size, tuple(slabs)))
        slabs, offset, size = [], offset + size, 0

    for job in jobs:
        start = 0
        while start < job.elements:
            room = BLOCK_BYTES - (offset + size) % BLOCK_BYTES
            count = job.elements if job.is_whole else min(job.elements - start, SLAB_ELEMENTS, room // job.dtype.size_bytes)
            slabs.append(Slab(job, start, count, size))
            start, size = start + count, size + count * job.dtype.size_bytes
            if count * job.dtype.size_bytes >= room:
                close()
    close()
    return blocks


def peak_memory_bytes(plan: Plan, threads: int, use_mmap: bool = False) -> int:
    """The most memory that the whole process is expected to have resident while it merges."""
    widest = max((info.dtype.size_bytes for source in plan.sources for info in source.tensors.values()), default=2)
    compute = max((8 if job.compute == "float64" else 4 for job in plan.jobs), default=4)
    buffers = 4 if any(job.is_scaled for job in plan.jobs) else 3
    scratch = SLAB_ELEMENTS * (buffers * compute + widest)
    mapped = plan.reads_bytes if use_mmap else 0
    busy = min(threads, len(blocks_of(plan.jobs)))
    bent = sorted((_node_bytes(job, widest) for job in plan.jobs if job.nodes), reverse=True)[:busy]
    loras = sorted((_lora_bytes(plan, job) for job in plan.jobs), reverse=True)[:busy]
    own = busy * (BLOCK_BYTES + scratch + _THREAD_BYTES)
    in_pass = own + sum(bent) + sum(loras) + plan.held_bytes(busy)
    return _PROCESS_BYTES + max(in_pass, busy * _THREAD_BYTES + plan.matching_bytes(threads)) + mapped


def _lora_bytes(plan: Plan, job: KeyJob) -> int:
    """What one thread holds of the LoRAs that a weight is changed by: their tensors, and as much again on the way to float64."""
    sources = [plan.sources[number] for number in job.reads()]
    return sum(2 * source.tensors[job.key].read_bytes for source in sources if source.lora)


def _node_bytes(job: KeyJob, widest: int) -> int:
    """What the calls that do not fold need in one thread where most is held at once, the sources' values included."""
    held, most, sums = len(job.reads()), 0, 0
    for node in job.nodes:
        sums = sum(len(operand) != 1 or operand[0][1] != 1 for operand in node.operands)
        most = max(most, held + sums + node.method.scratch + 1)
        held += 1
    is_node = len(job.terms) == 1 and job.terms[0][1] == 1
    most = max(most, held + sums + (0 if is_node else 2))
    compute = 8 if job.compute == "float64" else 4
    if not job.is_whole:
        return most * compute * min(job.elements, SLAB_ELEMENTS)
    return job.elements * (most * compute + widest + job.dtype.size_bytes) + min(2 * KEPT_BYTES, job.elements * compute)
