"""What a merge did: keys and relative change per lane, hashes, bytes, warnings; as facts, as JSON and in words."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .expression import spell
from .header import counted
from .key_job import KeyJob
from .known_good import KnownGood
from .lane_changes import lanes_out_of_proportion
from .memory import peak_memory_bytes
from .pass_health import PassHealth, pass_health
from .placement import reproducible
from .plan import Plan
from .sources import shown_names
from .tally import Tally

if TYPE_CHECKING:
    from .stream import StreamResult


@dataclass(frozen=True)
class Report:
    """Facts of one finished merge.

    Attributes:
        seconds: from the first open to after the rename, without torch's import.
        keys: lane to how many of its keys are merged (computed) and copied (one source's values as they are).
        change: lane to the relative L2 change against the first source, before the last rounding; None where it was not read,
            or has no ratio because it is 0.
        overflow: key to how many of its values are too large for the output's dtype.
        health: the verdicts on sources and result.
    """

    output: Path
    sha256: str
    data_sha256: str | None
    seconds: float
    read_bytes: int
    written_bytes: int
    peak_rss_bytes: int | None
    keys: Mapping[str, Mapping[str, int]]
    change: Mapping[str, float | None]
    overflow: Mapping[str, int]
    health: PassHealth
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """The facts under the names of `merge --json`."""
        return {
            "output": str(self.output),
            "sha256": self.sha256,
            "data_sha256": self.data_sha256,
            "seconds": self.seconds,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "peak_rss_bytes": self.peak_rss_bytes,
            "keys": self.keys,
            "change": self.change,
            "overflow": self.overflow,
            "health": self.health.facts(),
            "warnings": [*self.warnings, *self.notes],
        }


def make_report(plan: Plan, output: Path, streamed: StreamResult, seconds: float, written_bytes: int) -> Report:
    """Sum up a pass."""
    tally = streamed.tally
    change = {lane: _relative(tally.change.get(lane)) for lane in dict.fromkeys(_lanes_in_order(plan))}
    health = pass_health(plan, tally, KnownGood())
    ill = [words for words in health.warnings if words not in plan.warnings]
    return Report(
        output=output,
        sha256=streamed.sha256,
        data_sha256=streamed.data_sha256,
        seconds=seconds,
        read_bytes=streamed.read_bytes,
        written_bytes=written_bytes,
        peak_rss_bytes=peak_rss_bytes(),
        keys=_count_keys(plan),
        change=change,
        overflow=dict(sorted(tally.overflow.items())),
        health=health,
        warnings=(*plan.warnings, *_seen(plan, tally), *ill, *lanes_out_of_proportion(plan, change, health)),
        notes=(*plan.notes, *health.notes),
    )


def is_merged(job: KeyJob) -> bool:
    """Whether a key is computed; one source's values with coefficient 1 count as copied."""
    return not job.is_copied and job.taken is None


def plan_facts(plan: Plan, threads: int, use_mmap: bool = False, device: str = "cpu") -> dict[str, object]:
    """The facts under the names of `plan --json`; notes stand among the warnings, so that nothing goes unsaid."""
    names = shown_names(plan.sources)
    return {
        "architecture": plan.architecture.name,
        "sources": [
            {"name": name, "file": str(s.checkpoint.path), "dtype": s.main_dtype(), "bytes": s.checkpoint.size_bytes}
            for name, s in zip(names, plan.sources, strict=True)
        ],
        "steps": [
            {"name": line.name, "text": spell(line.expression)} for line in plan.recipe.used_lines() if not line.is_constant
        ],
        "folded": {
            row.label: None if row.nodes else {names[number]: float(weight) for number, weight in row.exact.items()}
            for row in plan.ordered_rows()
        },
        "reads_bytes": plan.reads_bytes,
        "writes_bytes": plan.writes_bytes,
        "peak_memory_bytes": peak_memory_bytes(plan, threads, use_mmap),
        "reproducible": reproducible(plan, device),
        "warnings": [*plan.warnings, *plan.notes],
        "recipe": plan.recipe.canonical(),
    }


def default_threads() -> int:
    """One thread a core that this process may use, 4 at most: more only wait for memory and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def forget_peak_rss() -> None:
    """Let `peak_rss_bytes` count from now on, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_rss_bytes() -> int | None:
    """The most memory that was resident since `forget_peak_rss`, or since the start; None where nobody says (Windows)."""
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        # What getrusage says there is at least what the program that started this one had.
        with contextlib.suppress(OSError):
            if found := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii", "replace")):
                return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _count_keys(plan: Plan) -> dict[str, dict[str, int]]:
    counts = {lane: {"merged": 0, "copied": 0} for lane in _lanes_in_order(plan)}
    for job in plan.jobs:
        counts[job.lane]["merged" if is_merged(job) else "copied"] += 1
    return counts


def _lanes_in_order(plan: Plan) -> list[str]:
    present = {job.lane for job in plan.jobs}
    known = [lane for lane in plan.architecture.lanes if lane in present]
    return known + sorted(present - set(known))


def _relative(sums: list[float] | None) -> float | None:
    if sums is None:
        return None
    change, size = sums
    ratio = math.sqrt(change / size) if size else 0.0 if change == 0 else math.inf
    return ratio if math.isfinite(ratio) else None


def _seen(plan: Plan, tally: Tally) -> list[str]:
    found = []
    if tally.no_room:
        keys = counted(len(tally.no_room), "key")
        found.append(f"the GPU had no room for {keys}, such as '{min(tally.no_room)}': merged on the processor.")
    by_dtype: dict[str, dict[str, int]] = {}
    for job in plan.jobs:
        if count := tally.overflow.get(job.key):
            by_dtype.setdefault(job.dtype.name, {})[job.key] = count
    for dtype, counts in by_dtype.items():
        became = "448, its largest number" if dtype == "fp8_e4m3fn" else "Inf"
        found.append(
            f"{counted(sum(counts.values()), 'value')} in {counted(len(counts), 'key')}, too large for {dtype}, became {became}: "
            f"{_largest(counts)}."
        )
    if tally.replaced:
        total, keys = counted(sum(tally.replaced.values()), "value"), counted(len(tally.replaced), "key")
        found.append(f"NaN or Inf was replaced: {total} in {keys}, as in '{min(tally.replaced)}'.")
    for key in sorted(tally.faulty_positions):
        found.append(f"'{key}' is not 0, 1, 2, ...: tokens are read at wrong places. save(position_ids=rebuild) mends it.")
    return found


def _largest(counts: Mapping[str, int]) -> str:
    """The keys with the highest counts, in words."""
    ordered = sorted(counts, key=lambda key: (-counts[key], key))
    return ", ".join(f"{counts[key]} in '{key}'" for key in ordered[:6]) + (", ..." if len(ordered) > 6 else "")
