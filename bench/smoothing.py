"""smooth_add's filters beside scipy.ndimage's, one thread each: `python -m bench.smoothing`, with scipy installed.

Prints a Markdown table: the least of three rounds that take turns, on tensors of SD 1.5's U-Net.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

import torch

from lib_chilly.smoothing import smoothed

SHAPES = ((320, 4, 3, 3), (320, 320), (1280, 1280), (10240, 1280), (320, 320, 3, 3), (1280, 640, 3, 3))
ROUNDS = 3


def main() -> None:
    ndimage = importlib.import_module("scipy.ndimage")
    torch.set_num_threads(1)
    print("| shape | ours: CPU ms | scipy: CPU ms | CPU | wall |\n|---|---|---|---|---|")
    for shape in SHAPES:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        array = values.numpy()
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_seconds(lambda values=values: smoothed(values)))
            theirs.append(_seconds(lambda array=array: ndimage.gaussian_filter(ndimage.median_filter(array, size=3), sigma=1)))
        (wall, cpu), (their_wall, their_cpu) = (map(min, zip(*runs, strict=True)) for runs in (ours, theirs))
        times = f"{cpu * 1e3:.1f} | {their_cpu * 1e3:.1f} | {their_cpu / cpu:.1f} | {their_wall / wall:.1f}"
        print(f"| {' x '.join(map(str, shape))} | {times} |", flush=True)


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
