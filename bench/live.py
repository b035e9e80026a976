"""What an update in memory takes, against a plain copy of the same bytes on the same device, in turns."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from bench.plans import write_sparse
from lib_chilly.architecture import load
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.engine import merge
from lib_chilly.errors import RecipeError
from lib_chilly.live import LiveWeights
from lib_chilly.models import ModelLibrary
from lib_chilly.pass_choice import ways
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.report import default_threads
from lib_chilly.resident import ResidentWeights
from lib_chilly.room import Room
from lib_chilly.workers import torch_threads

GIB = 1 << 30
UPDATES = 1000
LANES = ("M00", "IN01")
ALPHAS = ("0.3", "0.41", "0.52", "0.63")


@dataclass(frozen=True)
class LiveCase:
    """The U-Nets of so many models of one architecture."""

    architecture: str
    sources: int

    @property
    def name(self) -> str:
        return f"{self.architecture}-{self.sources}"

    def plans(self, folder: Path, lane: str = "") -> list[Plan]:
        """Recipes that differ in one alpha: everywhere, or in one lane."""
        first, second, *more = (f"{self.architecture}-unet-{number}" for number in range(self.sources))
        base = f"mean({', '.join([first, *more])})"
        values = [f"{{{lane}: {alpha}, *: 0.3}}" if lane else alpha for alpha in ALPHAS]
        texts = [f"X = weighted_sum({base}, {second}, alpha={value})" for value in values]
        return [make_plan(parse_recipe(text), ModelLibrary([folder])) for text in texts]


CASES = tuple(LiveCase(architecture, sources) for architecture in ("sd1", "sdxl") for sources in (2, 6))


def run_live(folder: Path, rounds: int, device: str | None, only: Sequence[str] | None, as_json: bool) -> None:
    """Measure and print.

    Args:
        folder: where the U-Nets are made: 2 GB each of SD 1.x, 5 GB each of SDXL.
        device: "cuda" or "cpu"; None for the GPU where there is one.
        only: names of cases; None for all.

    Raises:
        RecipeError: no case of that name, or no such device.
    """
    known = {case.name: case for case in CASES}
    for name in only or ():
        if name not in known:
            raise RecipeError(f"there is no live case '{name}'. Cases: {', '.join(known)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("there is no GPU that torch can use here. Take --device cpu.")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "the processor"
    results = []
    with torch_threads(default_threads()):
        for case in (known[name] for name in only or known):
            _make(case, folder)
            results.append({"case": case.name, "rows": _measure(case, folder, rounds, where)})
            if not as_json:
                print(_table(results[-1]), flush=True)
    if as_json:
        print(json.dumps({"device": name, "results": results}))
    else:
        print(f"\n{name}, torch {torch.__version__}, {default_threads()} threads")


def _make(case: LiveCase, folder: Path) -> None:
    """The case's files where they are missing: the true tensors, of one block of noise again and again."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = load(case.architecture).components["unet"][0]
    for number in range(case.sources):
        path = folder / f"{case.architecture}-unet-{number}.safetensors"
        if path.exists():
            continue
        noise = np.random.default_rng(number).standard_normal(10_000_019 + number, np.float32) * np.float32(0.05)
        block = noise.astype(np.float16).tobytes()
        unfinished = write_sparse(path.with_suffix(".partial"), case.architecture, prefix)
        left = sum(info.size_bytes for info in open_checkpoint(unfinished).tensors.values())
        with unfinished.open("r+b") as file:
            file.seek(-left, os.SEEK_END)
            while left > 0:
                left -= file.write(block[:left])
        unfinished.rename(path)


def _measure(case: LiveCase, folder: Path, rounds: int, device: torch.device) -> list[dict]:
    """One row for each thing that an update may be asked for."""
    clock, started = Clock(device, rounds), time.perf_counter()
    plans = case.plans(folder)
    planning = (time.perf_counter() - started) / len(plans)
    live = ResidentWeights(device, default_threads())
    rows = [clock.compare("all", live, plans) | {"planning": planning, "differ": _differing(live, plans[-1], folder)}]
    if device.type == "cuda":
        rows[0] |= _counts(live, plans)
    rows += [clock.compare(f"lane {lane}", live, case.plans(folder, lane)) for lane in LANES]
    live.close()
    if device.type == "cpu":
        rows.append(clock.compare("all, from the files", LiveWeights(default_threads()), plans))
        return rows
    for way in list(ways())[1:] if case.sources == 2 else ():
        live = ResidentWeights(device, default_threads(), way=way)
        rows.append(clock.compare(f"all, {way}", live, plans))
        live.close()
    live = ResidentWeights(device, default_threads(), device_bytes=0)
    rows.append(clock.compare("all, sources on the host", live, plans) | {"host_rate": clock.host_rate()})
    rows[-1]["rate"] = plans[0].reads_bytes / rows[-1]["device"]
    live.close()
    return rows


class Clock:
    """Times updates and copies in turns."""

    def __init__(self, device: torch.device, rounds: int):
        self.device, self.rounds = device, rounds

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def compare(self, what: str, live: ResidentWeights | LiveWeights, plans: Sequence[Plan]) -> dict:
        """Medians of an update, by the device's clock and by ours, and of a copy that moves as many bytes."""
        for plan in plans:
            live.update(plan)
        changed = live.update(plans[0]).keys
        size = sum(
            job.size_bytes + sum(plans[0].sources[n].tensors[job.key].size_bytes for n in job.reads())
            for job in plans[0].jobs
            if job.key.removeprefix(plans[0].bare_prefix) in changed
        )
        piece = min(size // 2, GIB)
        source, target = (torch.empty(piece, dtype=torch.uint8, device=self.device).random_() for _ in range(2))
        found: dict[str, list[float]] = {"copy": [], "device": [], "wall": []}
        for number in range(self.rounds * len(plans)):
            plan = plans[(number + 1) % len(plans)]
            found["copy"].append(self._copy(source, target, size // 2))
            found["device"].append(self._on_device(partial(live.update, plan)))
            found["wall"].append(self._wall(partial(live.update, plans[(number + 2) % len(plans)])))
            live.update(plan)
        return {"what": what, "bytes": size} | {name: statistics.median(times) for name, times in found.items()}

    def host_rate(self) -> float:
        """Bytes a second from pinned host memory to the device."""
        pinned = Room(self.device, device_bytes=0).take(GIB)
        assert pinned is not None
        target = torch.empty(GIB, dtype=torch.uint8, device=self.device)
        times = [self._on_device(lambda: target.copy_(pinned, non_blocking=True)) for _ in range(10)]
        return GIB / statistics.median(times)

    def _copy(self, source: torch.Tensor, target: torch.Tensor, size: int) -> float:
        pieces = [min(source.numel(), size - start) for start in range(0, size, source.numel())]
        return self._on_device(lambda: [target[:here].copy_(source[:here]) for here in pieces])

    def _on_device(self, run: Callable[[], object]) -> float:
        """Seconds by the device's clock; it is kept waiting meanwhile, so that what Python does before does not count."""
        if self.device.type != "cuda":
            return self._wall(run)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(20_000_000)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    def _wall(self, run: Callable[[], object]) -> float:
        self.wait()
        started = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - started


def _differing(live: ResidentWeights, plan: Plan, folder: Path) -> int:
    """How many elements differ from the file that the plan writes."""
    live.update(plan)
    output = folder / "live.safetensors"
    merge(plan, output, overwrite=True, threads=default_threads(), source_hashes=False)
    with safe_open(output, "pt") as file:
        keys = set(file.keys())
        assert keys == set(live.tensors)
        parts = ((live.tensors[key].view(torch.int16), file.get_tensor(key).view(torch.int16)) for key in keys)
        count = sum(int((here != there.to(here.device)).sum()) for here, there in parts)
    output.unlink()
    return count


def _counts(live: ResidentWeights, plans: Sequence[Plan]) -> dict:
    """Allocations of many updates, and what the GPU is given to do in one."""
    live.update(plans[0])
    before = torch.cuda.memory_stats()
    for number in range(UPDATES):
        live.update(plans[number % len(plans)])
    after = torch.cuda.memory_stats()
    allocated = after["allocation.all.allocated"] - before["allocation.all.allocated"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        live.update(plans[-2])
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    copies = sum("memcpy" in name.lower() for name in names)
    return {"allocations": allocated, "kernels": len(names) - copies, "copies": copies}


def _table(result: dict) -> str:
    lines = [
        f"\n## {result['case']}\n",
        "| update | GB moved | device ms | copy ms | ratio | with Python ms | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        device, copy, wall = (row[name] * 1000 for name in ("device", "copy", "wall"))
        facts = []
        if "differ" in row:
            facts += [f"planned in {row['planning'] * 1000:.0f} ms", f"{row['differ']} elements differ from the file"]
        if "kernels" in row:
            facts.append(f"{row['kernels']} kernel, {row['copies']} copy, {row['allocations']} allocations in {UPDATES} updates")
        if "host_rate" in row:
            facts.append(f"{row['rate'] / 1e9:.1f} of {row['host_rate'] / 1e9:.1f} GB/s: {row['rate'] / row['host_rate']:.0%}")
        shown = f"{device:.3f} | {copy:.3f} | {device / copy:.2f} | {wall:.3f} | {'; '.join(facts)}"
        lines.append(f"| {row['what']} | {row['bytes'] / 1e9:.2f} | {shown} |")
    return "\n".join(lines)
