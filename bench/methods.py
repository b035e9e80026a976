"""What each merge method that does not fold takes, against the weighted sum of the same sources; memory against the plan's."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.processes import MIB, merge
from lib_chilly.architecture import known_keys, load
from lib_chilly.dtypes import BY_NAME
from lib_chilly.errors import RecipeError
from lib_chilly.memory import peak_memory_bytes
from lib_chilly.models import ModelLibrary
from lib_chilly.placement import usable_device
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.registry import MergeMethod, all_methods, get_method
from lib_chilly.signature import Cost, Kind
from lib_chilly.synth import synthesise_near, write_made

BARS = {Cost.ARITHMETIC: 2, Cost.DIVISION: 8, Cost.SELECTION: 12}
"""How often the weighted sum's time a method may take."""

LANES = ("IN00", "IN01", "IN04", "IN07", "IN11", "OUT11", "FINAL")
"""The lanes of SD 1.5 that the files have, at full size: linear layers, convolutions, norms and biases of all its widths."""
_KNOWN_BY = "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.k_proj.weight"

SUMS = {2: "X = weighted_sum(a, b, alpha=0.3)", 3: "X = triple_sum(a, b, c)"}
THREADS = 1


def measured_methods(only: Sequence[str] | None = None) -> list[MergeMethod]:
    """The methods that are measured: all that take models alone and fold in no key, or those of the names given.

    Raises:
        RecipeError: there is no method of a name, or it is not measured.
    """
    bending = (method for method in all_methods().values() if not method.is_sum and not method.keys)
    fitting = [method for method in bending if Kind.LORA not in method.kinds]
    for name in only or ():
        if get_method(name) not in fitting:
            raise RecipeError(f"'{name}' is not measured: it is a weighted sum, if only in most keys, or takes more than models.")
    return [method for method in fitting if not only or method.name in only]


def recipe_of(method: MergeMethod) -> str:
    """Its call over two models, or two and a base, with the parameters' defaults."""
    plain = ["a", "b"] if method.takes_any_number else list("abc"[: len(method.operands)])
    named = [f"{name}=c" for name in method.named]
    return f"X = {method.name}({', '.join(plain + named)})"


def make_files(folder: Path) -> None:
    """The three files, where they are missing: the second and third near the first."""
    folder.mkdir(parents=True, exist_ok=True)
    row = load("sd1")
    shapes = {
        key: (BY_NAME["fp16"], shape)
        for key, (_, shape) in known_keys("sd1").items()
        if row.lane_of(key) in LANES or key == _KNOWN_BY
    }
    generator = torch.Generator().manual_seed(1)
    base = folder / "a.safetensors"
    if not base.exists():
        write_made(shapes, lambda key: torch.randn(shapes[key][1], generator=generator).mul_(0.03), base)
    for seed, name in enumerate("bc"):
        if not (folder / f"{name}.safetensors").exists():
            synthesise_near(base, 0.1, folder / f"{name}.safetensors", seed=seed)


def run_methods(folder: Path, rounds: int, only: Sequence[str] | None, as_json: bool, device: str = "cpu") -> None:
    """Measure in turns, so that a busy machine slows all alike, and print; the sums are the processor's on every device.

    Raises:
        RecipeError: the device is not there, or as of `measured_methods`.
    """
    usable_device(device)
    methods, folder = measured_methods(only), folder / "methods"
    make_files(folder)
    recipes = {f"sum of {count}": text for count, text in SUMS.items()} | {each.name: recipe_of(each) for each in methods}
    runs: dict[str, list[dict]] = {name: [] for name in recipes}
    for _ in range(rounds):
        for name, recipe in recipes.items():
            runs[name].append(merge(recipe, folder, THREADS, "--device", device))
    rows = [_row(method, recipes[method.name], runs, folder) for method in methods]
    elements = sum(math.prod(job.shape) for job in _plan(SUMS[2], folder).jobs)
    facts = {"device": device, "elements": elements, "rounds": rounds, "rows": rows}
    print(json.dumps(facts) if as_json else table(facts))


def _plan(recipe: str, folder: Path) -> Plan:
    return make_plan(parse_recipe(recipe), ModelLibrary([folder]))


def _row(method: MergeMethod, recipe: str, runs: dict[str, list[dict]], folder: Path) -> dict:
    plan = _plan(recipe, folder)
    sums, own = runs[f"sum of {len(plan.sources)}"], runs[method.name]

    def median(measured: Sequence[dict], what: str) -> float:
        return statistics.median(run[what] for run in measured)

    return {
        "method": method.name,
        "cost": method.cost.name.lower(),
        "bar": BARS.get(method.cost),
        **{what: median(own, what) for what in ("wall", "cpu")},
        **{f"{what}_ratio": median(own, what) / median(sums, what) for what in ("wall", "cpu")},
        "peak_bytes": max(run["peak_bytes"] for run in own),
        "planned_bytes": peak_memory_bytes(plan, THREADS),
    }


def table(facts: dict) -> str:
    """The figures as a table; a ratio of CPU seconds beyond its bar is in bold."""
    measured = f"{THREADS} thread, device {facts['device']}, medians of {facts['rounds']}"
    lines = [
        f"{facts['elements']:,} elements of fp16, {measured}; sum: that of the same sources",
        "",
        "| method | takes its time by | wall s | wall / sum | CPU / sum | bar | peak MiB | planned MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in facts["rows"]:
        ratio = f"{row['cpu_ratio']:.1f}"
        shown = f"**{ratio}**" if row["bar"] and row["cpu_ratio"] > row["bar"] else ratio
        memory = f"{row['peak_bytes'] // MIB} | {row['planned_bytes'] // MIB}"
        times = f"{row['wall']:.2f} | {row['wall_ratio']:.1f} | {shown} | {row['bar'] or '-'}"
        lines.append(f"| `{row['method']}` | {row['cost']} | {times} | {memory} |")
    return "\n".join(lines)
