"""`./chilly bench --peers`: the same merge by other programs and by ours, taking turns."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from bench.cases import Case, make
from bench.processes import floor, merge, prepare, run

PACKAGES = {"plain": "safetensors", "sd-mecha": "sd-mecha", "mergekit": "mergekit"}
"""Name of a peer to the package that it is."""
WEBUI = "webui"
OURS = "ChillyMerge, 2 threads"


def measure_peers(case: Case, folder: Path, rounds: int) -> dict:
    """Runs by name, as bench.run's table shows them; files in the page cache, but for one run of each more on cold files.

    Peers run in the Python that CHILLY_PEERS names, else in this one; `pip install -r requirements-peers.txt` makes it ready.
    The webui's merger is that of the checkout that CHILLY_WEBUI names, in the Python that CHILLY_WEBUI_PYTHON names. Those that
    are not there are listed under "absent".
    """
    sources = make(case, folder)
    size = sources[0].stat().st_size
    pythons = {peer: os.environ.get("CHILLY_PEERS", sys.executable) for peer in PACKAGES}
    titles = {peer: _packaged(pythons[peer], peer) for peer in PACKAGES} | {WEBUI: _webui()}
    pythons[WEBUI] = os.environ.get("CHILLY_WEBUI_PYTHON", sys.executable)
    runs: dict[str, list[dict]] = {}
    cold: dict[str, dict] = {}
    for turn in range(rounds + 1):
        prepare(sources, cold=False)
        if turn < rounds:
            runs.setdefault("floor 2", []).append(floor(sources, folder, size, 16 << 20, 2))
        for peer, title in {"": OURS, **titles}.items():
            if title:
                prepare(sources, cold=turn == rounds)
                found = _peer(peer, pythons[peer], sources, folder) if peer else merge(case.recipe, folder, 2)
                if turn < rounds:
                    runs.setdefault(title, []).append(found)
                else:
                    cold[title] = found
    absent = [peer for peer, title in titles.items() if not title]
    return {"case": f"{case.name}, peers", "cold": False, "runs": runs, "cold_runs": cold, "absent": absent}


def _peer(peer: str, python: str, sources: list[Path], folder: Path) -> dict:
    arguments = [peer, *(path.resolve() for path in sources), "--output", (folder / "peer.safetensors").resolve()]
    return run("bench.peer", arguments, python=python)


def _packaged(python: str, peer: str) -> str:
    """The peer with its package's version in that Python; empty where it is not installed."""
    package = PACKAGES[peer]
    if python == sys.executable:
        try:
            return f"{peer}, {package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            return ""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return f"{peer}, {package} {done.stdout.strip()}" if done.stdout.strip() else ""


def _webui() -> str:
    """The webui with the version that its change log begins with; empty where CHILLY_WEBUI names none."""
    log = Path(os.environ.get("CHILLY_WEBUI", "")) / "CHANGELOG.md"
    if not os.environ.get("CHILLY_WEBUI") or not log.is_file():
        return ""
    version = re.search(r"^## (\S+)", log.read_text("utf-8"), re.MULTILINE)
    return f"{WEBUI} {version[1] if version else 'of unknown version'}, its merger"
