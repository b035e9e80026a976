"""`./chilly bench`: the part that is asked for, or with --all one after the other, and a report of them in Markdown."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import CASES
from bench.live import run_live
from bench.methods import run_methods
from bench.peers import OURS, measure_peers
from bench.plans import run_memory, run_plans
from bench.previews import run_previews
from bench.run import machine, run_bench, table
from bench.similarity import run_similarity_bench
from bench.webui import run_webui
from lib_chilly.canvas import INK, LINES, PALE, Box, Canvas, Words, fitted
from lib_chilly.errors import MergeError, RecipeError

_REPORT, _CHART = "report.md", "peers.svg"
_ROW, _LEFT, _BAR, _MARGIN = 26, 330, 420, 24
_MEASURES = (
    ("wall", "wall seconds", 1.0),
    ("cpu", "CPU seconds", 1.0),
    ("rss_above_torch", "memory above torch, MiB", 1 / (1 << 20)),
)


def run_chosen(what: str, options: argparse.Namespace) -> None:
    """What the command line asks for: one part, or all.

    Args:
        what: a part's name, or "slabs".
    """
    if options.all:
        run_everything(options)
    else:
        _parts(options, options.only, options.json)[what]()


def _parts(options: argparse.Namespace, only: Sequence[str] | None, as_json: bool) -> dict[str, Callable[[], None]]:
    """Name to what it runs; `only` names cases of a part."""
    folder, rounds = options.dir, options.rounds
    return {
        "plans": lambda: run_plans(rounds, as_json),
        "memory": lambda: run_memory(folder, rounds, as_json),
        "previews": lambda: run_previews(rounds, as_json),
        "floor": lambda: run_bench(folder, rounds, only, "floor", as_json),
        "peers": lambda: run_bench(folder, rounds, only, "peers", as_json),
        "methods": lambda: run_methods(folder, rounds, only, as_json, "cpu"),
        "gpu": lambda: run_methods(folder, rounds, only, as_json, "cuda"),
        "similarity": lambda: run_similarity_bench(folder, rounds, as_json),
        "live": lambda: run_live(folder, rounds, options.device, only, as_json),
        "webui": lambda: run_webui(rounds, as_json),
        "slabs": lambda: run_bench(folder, rounds, only, "slabs", as_json),
    }


def run_everything(options: argparse.Namespace) -> None:
    """Measure all parts, or those that `only` names, and write `report.md`: anew after each part, so that what was measured
    stays when a later one fails.

    Raises:
        RecipeError: no part of that name.
    """
    folder, rounds = options.dir, options.rounds
    parts = _parts(options, None, False) | {"peers": lambda: _run_peers(folder, rounds)}
    for name in options.only or ():
        if name not in parts:
            raise RecipeError(f"there is no part '{name}'. Parts: {', '.join(parts)}.")
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Measured", "", f"{machine()}. What is compared takes turns, --rounds {rounds}.", ""]
    for name in options.only or (name for name in parts if name != "gpu"):
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        lines += [f"## {name}", "", f"`./chilly bench --all --only {name} --rounds {rounds}`", "", _said_by(parts[name]), ""]
        if name == "peers" and (folder / _CHART).exists():
            lines += [f"![by program]({_CHART})", ""]
        (folder / _REPORT).write_text("\n".join(lines), "utf-8")
    print(f"wrote '{folder / _REPORT}'.")


def _said_by(part: Callable[[], None]) -> str:
    """What a part prints, or why it could not be measured."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            part()
    except (MergeError, OSError, subprocess.CalledProcessError) as error:
        said.write(f"\nNot measured: {error}\n")
    # A part's own headings stand below that of the part.
    return "\n".join(f"#{line}" if line.startswith("##") else line for line in said.getvalue().strip().splitlines())


def _run_peers(folder: Path, rounds: int) -> None:
    result = measure_peers(CASES[0], folder, rounds)
    print(table(result))
    (folder / "peers.json").write_text(json.dumps(result), "utf-8")
    peers_picture(result["runs"]).save(folder / _CHART)
    if not os.environ.get("CHILLY_WEBUI"):
        print("\nThe webui's merger is measured where CHILLY_WEBUI names a checkout.")


def peers_picture(runs: dict[str, list[dict]]) -> Canvas:
    """A bar for each program in each measure: medians, ours in a colour of its own."""
    panels = []
    for key, title, factor in _MEASURES:
        found = {name: statistics.median(run[key] for run in each) * factor for name, each in runs.items() if key in each[0]}
        panels.append((title, found))
    height = sum(len(found) * _ROW + 2 * _MARGIN for _, found in panels) + _MARGIN
    canvas, top = Canvas(_LEFT + _BAR + 110, height), float(_MARGIN)
    for title, found in panels:
        canvas.shapes.append(Words(_MARGIN, top + 6, title, 14))
        top += 16
        longest = max(found.values(), default=0) or 1
        for name, value in found.items():
            width = max(1.0, _BAR * value / longest)
            said = f"{value:.3g}" if value < 100 else f"{value:,.0f}"
            canvas.shapes += [
                Words(_LEFT - 8, top + 16, fitted(name, _LEFT - 8 - _MARGIN, 12), 12, "end", INK if name == OURS else PALE),
                Box(_LEFT, top + 4, width, _ROW - 8, LINES[0] if name == OURS else LINES[7]),
                Words(_LEFT + width + 6, top + 16, said, 12),
            ]
            top += _ROW
        top += 2 * _MARGIN - 16
    return canvas
