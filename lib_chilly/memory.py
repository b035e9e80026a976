"""How the output is cut into pieces, and how much memory that takes; no tensors here."""

from __future__ import annotations

from .plan import Plan

SLAB_ELEMENTS = 1 << 18
"""Elements that are summed at once: their scratch stays in a core's cache; measured by `./chilly bench --slabs`."""

BLOCK_BYTES = 4 << 20
"""Output bytes that a thread takes at once."""

_PROCESS_BYTES = 235 << 20
"""A Python that has imported torch and read the recipe, as measured on Linux."""

_THREAD_BYTES = 6 << 20
"""Stack, allocator and Python's own of one worker, as measured."""


def peak_memory_bytes(plan: Plan, threads: int, use_mmap: bool = False) -> int:
    """The most memory that the whole process is expected to have resident while it merges."""
    widest = max((info.dtype.size_bytes for source in plan.sources for info in source.tensors.values()), default=2)
    compute = max((8 if job.compute == "float64" else 4 for job in plan.jobs), default=4)
    scratch = SLAB_ELEMENTS * (3 * compute + widest)
    mapped = plan.reads_bytes if use_mmap else 0
    return _PROCESS_BYTES + threads * (BLOCK_BYTES + scratch + _THREAD_BYTES) + mapped
