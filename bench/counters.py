"""What the system counts of a process: no torch, and nothing of ours, so that every peer's Python can import it."""

from __future__ import annotations

import time
from pathlib import Path

_NAMES = {"rchar": "read_bytes", "wchar": "written_bytes", "read_bytes": "fetched_bytes"}


def counters() -> dict[str, float]:
    """Wall and CPU seconds, and bytes of this process and its threads so far; differences of two are what happened between.

    `read_bytes` and `written_bytes` were handed over by calls, from the page cache or past it: what a program maps into memory
    is not among them. `fetched_bytes` came from the disk for this process, by calls or by touching mapped pages, read ahead
    included: where the files were not in the page cache before, that is what it read of them.
    """
    rows = (line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    found: dict[str, float] = {_NAMES[name]: int(value) for name, value in rows if name in _NAMES}
    return found | {"wall": time.perf_counter(), "cpu": time.process_time()}


def since(before: dict[str, float]) -> dict[str, float]:
    """What happened since `before` was taken."""
    now = counters()
    return {name: now[name] - value for name, value in before.items()}
