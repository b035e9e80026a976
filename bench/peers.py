"""`./chilly bench --peers`: the same merge by other programs and by ours, taking turns."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from bench.cases import Case, make
from bench.processes import floor, merge, prepare, run

PACKAGES = {"plain": "safetensors", "sd-mecha": "sd-mecha", "mergekit": "mergekit"}
"""Name of a peer to the package that it is."""


def measure_peers(case: Case, folder: Path, rounds: int) -> dict:
    """Runs by name, as bench.run's table shows them.

    Peers run in the Python that CHILLY_PEERS names, else in this one; `pip install -r requirements-peers.txt` makes it ready.
    Those that are not installed are listed under "absent".
    """
    sources = make(case, folder)
    size = sources[0].stat().st_size
    python = os.environ.get("CHILLY_PEERS", sys.executable)
    versions = {peer: _version(python, package) for peer, package in PACKAGES.items()}
    runs: dict[str, list[dict]] = {}
    for _ in range(rounds):
        prepare(sources, cold=False)
        runs.setdefault("floor 2", []).append(floor(sources, folder, size, 16 << 20, 2))
        prepare(sources, cold=False)
        runs.setdefault("ChillyMerge, 2 threads", []).append(merge(case.recipe, folder, 2))
        for peer, version in versions.items():
            if version:
                prepare(sources, cold=False)
                arguments = [peer, *(path.resolve() for path in sources), "--output", (folder / "peer.safetensors").resolve()]
                runs.setdefault(f"{peer}, {PACKAGES[peer]} {version}", []).append(run("bench.peer", arguments, python=python))
    absent = [peer for peer, version in versions.items() if not version]
    return {"case": f"{case.name}, peers", "cold": False, "runs": runs, "absent": absent}


def _version(python: str, package: str) -> str:
    """The package's version in that Python; empty where it is not installed."""
    if python == sys.executable:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return ""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()
