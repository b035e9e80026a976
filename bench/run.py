"""`./chilly bench`: floor and merge take turns, so that a busy machine slows both; medians and their ratios are printed."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.cases import CASES, SIX_SOURCES, Case, make
from bench.exactness import compare
from bench.peers import measure_peers
from bench.processes import MIB, floor, merge, prepare
from lib_chilly.errors import RecipeError
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

BLOCKS = (1 * MIB, 4 * MIB, 16 * MIB)
_BYTES = " GB read by calls | GB from the disk, cold | GB written |"
SLABS = (1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18)


def run_bench(folder: Path, rounds: int, only: Sequence[str] | None, what: str, as_json: bool) -> None:
    """Measure and print.

    Args:
        folder: where the files are made; about 40 GB for all cases.
        rounds: how often each thing is measured.
        only: names of cases; None for all.
        what: "floor", or to compare "slabs" or "peers" on the first case instead.

    Raises:
        RecipeError: no case of that name.
    """
    known = {case.name: case for case in CASES}
    for name in only or ():
        if name not in known:
            raise RecipeError(f"there is no case '{name}'. Cases: {', '.join(known)}.")
    chosen = [known[name] for name in only] if only else list(CASES)
    if not as_json:
        print(machine(), flush=True)
    measures = {"floor": _measure, "slabs": _measure_slabs, "peers": measure_peers}
    results = [measures[what](case, folder, rounds) for case in (chosen if what == "floor" else chosen[:1])]
    print(json.dumps({"machine": machine(), "results": results}) if as_json else "\n\n".join(table(result) for result in results))


def _measure(case: Case, folder: Path, rounds: int) -> dict:
    sources = make(case, folder)
    plan = make_plan(parse_recipe(case.recipe), ModelLibrary([folder]))
    size = plan.writes_bytes
    cold = sum(path.stat().st_size for path in sources) + size > _memory_bytes() // 2
    runs: dict[str, list[dict]] = {}
    for _ in range(rounds):
        for threads in (1, 2):
            for block in BLOCKS if not cold else BLOCKS[1:2]:
                prepare(sources, cold)
                runs.setdefault(f"floor {threads} {block}", []).append(floor(sources, folder, size, block, threads))
            prepare(sources, cold)
            runs.setdefault(f"direct floor {threads}", []).append(floor(sources, folder, size, BLOCKS[1], threads, "--direct"))
            prepare(sources, cold)
            runs.setdefault(f"merge {threads}", []).append(merge(case.recipe, folder, threads))
        if not cold:
            runs.setdefault("merge with source hashes 2", []).append(merge(case.recipe, folder, 2, "--hashes"))
    result = {"case": case.name, "cold": cold, "sources": len(sources), "bytes": plan.reads_bytes + size, "runs": runs}
    if case.recipe == SIX_SOURCES or case.name == "sd1-pair":
        merge(case.recipe, folder, 2, "--keep")
        terms = [(sources[number], float(weight)) for number, weight in sorted(plan.rows["IN00"].exact.items())]
        result["exactness"] = compare(folder / "out.safetensors", terms)
        (folder / "out.safetensors").unlink()
    return result


def _measure_slabs(case: Case, folder: Path, rounds: int) -> dict:
    make(case, folder)
    runs: dict[str, list[dict]] = {}
    for _ in range(rounds):
        for slab in SLABS:
            runs.setdefault(f"merge 2, slabs of {slab}", []).append(merge(case.recipe, folder, 2, "--slab", str(slab)))
    return {"case": case.name, "cold": False, "runs": runs}


def table(result: dict) -> str:
    """Medians, and their ratios to the best floor at the same number of threads."""
    runs, cold_runs = result["runs"], result.get("cold_runs", {})
    lines = [
        f"## {result['case']}{', cold' if result['cold'] else ''}",
        "",
        "| run | wall s | CPU s | wall / floor | CPU / floor | MiB above torch |" + (_BYTES if cold_runs else ""),
    ]
    lines.append("|---|---|---|---|---|---|" + ("---|---|---|" if cold_runs else ""))
    for name, measured in runs.items():
        wall, cpu = (_median(measured, key) for key in ("wall", "cpu"))
        ratios = _ratios(runs, name)
        memory = max((run["rss_above_torch"] // MIB for run in measured if "rss_above_torch" in run), default="-")
        shown = " | ".join(f"{ratio:.2f}" if ratio else "-" for ratio in ratios)
        more = _bytes(measured[0], cold_runs.get(name)) if cold_runs else ""
        lines.append(f"| {name} | {wall:.2f} | {cpu:.2f} | {shown} | {memory} |{more}")
    if result.get("absent"):
        lines += ["", f"Not there: {', '.join(result['absent'])}. See requirements-peers.txt, CHILLY_PEERS and CHILLY_WEBUI."]
    if "bytes" in result:
        best = min(
            statistics.median(run["wall"] for run in measured) for name, measured in runs.items() if name.startswith("floor")
        )
        lines += ["", f"Floor: {result['bytes'] / best / 1e9:.2f} GB/s read and written."]
    if "exactness" in result:
        facts = result["exactness"]
        lines.append(
            f"{facts['differ']} of {facts['elements']:,} elements differ from the defined arithmetic; "
            f"{facts['share_off_float64']:.3%} from float64 rounded once."
        )
    return "\n".join(lines)


def _bytes(measured: dict, cold: dict | None) -> str:
    """Three columns: read by calls, fetched from the disk by the run on cold files, written."""
    if cold is None:
        return " - | - | - |"
    found = (measured["read_bytes"], cold["fetched_bytes"], measured["written_bytes"])
    return "".join(f" {count / 1e9:.2f} |" for count in found)


def _ratios(runs: dict[str, list[dict]], name: str) -> tuple[float | None, float | None]:
    """Median over the least of the floors' medians, at the same number of threads; wall, then CPU."""
    floors = [measured for other, measured in runs.items() if other.startswith(f"floor {name.split()[-1]} ")]
    if "floor" in name or not floors:
        return None, None
    wall, cpu = (_median(runs[name], key) / min(_median(floor, key) for floor in floors) for key in ("wall", "cpu"))
    return wall, cpu


def _median(measured: Sequence[dict], key: str) -> float:
    return statistics.median(run[key] for run in measured)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine() -> str:
    import torch

    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        "",
    )
    return (
        f"{platform.system()} {platform.machine()}, {model or 'unknown processor'}, {os.cpu_count()} cores, "
        f"{_memory_bytes() / 2**30:.0f} GiB, Python {platform.python_version()}, torch {torch.__version__}"
    )
