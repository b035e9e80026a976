"""What planning takes, and that memory does not grow with models: on full-size files whose tensors are holes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from lib_chilly.architecture import architecture_names, detect, known_keys, load
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.dtypes import BY_NAME, BY_TORCH_NAME, DType
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.writer import build_header

MIB = 1 << 20
Tensors = Mapping[str, tuple[DType, tuple[int, ...]]]


def write_sparse(path: Path, architecture: str, prefix: str = "") -> Path:
    """A full-size fp16 checkpoint with a true header, whose tensors are one hole: zeros that take no room.

    Args:
        prefix: of a component's keys: that component by itself, without the prefix.
    """
    tensors = {
        key.removeprefix(prefix): (BY_NAME["fp16"] if BY_TORCH_NAME[dtype].is_floating else BY_TORCH_NAME[dtype], shape)
        for key, (dtype, shape) in known_keys(architecture).items()
        if key.startswith(prefix)
    }
    order = sorted(tensors, key=lambda key: (-tensors[key][0].size_bytes, key))
    header = build_header(((key, *tensors[key]) for key in order), {"format": "pt"})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(dtype.size_bytes * math.prod(shape) for dtype, shape in tensors.values()))
    return path


def run_plans(rounds: int, as_json: bool) -> None:
    """Detect and plan a merge of two full-size files of every architecture; print the slowest of the rounds."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for architecture in architecture_names():
            paths = [write_sparse(folder / f"{architecture}-{letter}.safetensors", architecture) for letter in "ab"]
            seconds = [_plan_once(folder, architecture) for _ in range(rounds)]
            detecting, planning = (max(each) for each in zip(*seconds, strict=True))
            results.append(
                {
                    "architecture": architecture,
                    "bytes": paths[0].stat().st_size,
                    "keys": len(known_keys(architecture)),
                    "detect_seconds": detecting,
                    "plan_seconds": planning,
                }
            )
    if as_json:
        print(json.dumps({"plans": results}))
        return
    print("| architecture | GB | keys | open and detect one file, s | plan two files, s |\n|---|---|---|---|---|")
    for row in results:
        print(
            f"| {load(str(row['architecture'])).title} | {row['bytes'] / 1e9:.2f} | {row['keys']} | "
            f"{row['detect_seconds']:.3f} | {row['plan_seconds']:.3f} |"
        )


def _plan_once(folder: Path, architecture: str) -> tuple[float, float]:
    started = time.perf_counter()
    checkpoint = open_checkpoint(folder / f"{architecture}-a.safetensors")
    detect({key: info.shape for key, info in checkpoint.tensors.items()}, checkpoint.path.name)
    detected = time.perf_counter()
    recipe = parse_recipe(f"X = weighted_sum({architecture}-a, {architecture}-b, alpha=0.3)")
    make_plan(recipe, ModelLibrary([folder])).header({})
    return detected - started, time.perf_counter() - detected


def run_memory(folder: Path, rounds: int, as_json: bool) -> None:
    """Merge two and twelve full-size SDXL files, each in a process of its own; print the most memory that either took."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, list[int]] = {2: [], 12: []}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        paths = [write_sparse(Path(name) / f"x{number}.safetensors", "sdxl") for number in range(12)]
        for _ in range(rounds):
            for count, peaks in found.items():
                recipe = f"X = mean({', '.join(path.stem for path in paths[:count])})"
                arguments = [recipe, "--models", name, "--output", str(Path(name) / "out.tmp"), "--threads", "2"]
                command = [sys.executable, "-m", "bench.worker", *arguments]
                done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
                peaks.append(json.loads(done.stdout)["rss_above_torch"])
    if as_json:
        print(json.dumps({"rss_above_torch": found}))
        return
    print("| SDXL sources | MiB above torch |\n|---|---|")
    for count, peaks in found.items():
        print(f"| {count} | {max(peaks) // MIB} |")
