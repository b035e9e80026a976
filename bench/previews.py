"""What a preview takes without a webui: the first picture, the next, one after a changed block; printed, nothing is asserted."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from lib_chilly.family import MEMBERS, build_family
from lib_chilly.host.base import GenParams
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

STEPS, PIXELS = 10, 64
PAIR = ("v1-5-pruned-emaonly", "chilloutmix")


def run_previews(rounds: int, as_json: bool) -> None:
    """Measure with two of the tiny family; the first picture counts the import of diffusers and the building of its modules."""
    with tempfile.TemporaryDirectory() as name:
        list(build_family(Path(name), tuple(member for member in MEMBERS if member.name in PAIR)))
        host = StandaloneHost([Path(name)])
        runs = {"first picture": [_picture(host, "0.3", 0)]}
        for number in range(rounds):
            runs.setdefault("another seed", []).append(_picture(host, "0.3", number + 1))
            block = f"{{M00: {number % 7 / 10 + 0.31:.2f}, *: 0.3}}"
            runs.setdefault("a changed block", []).append(_picture(host, block, 0))
            runs.setdefault("another alpha", []).append(_picture(host, f"{number % 7 / 10 + 0.05:.2f}", 0))
            runs.setdefault("alpha taken back", []).append(_picture(host, "0.3", 0))
    if as_json:
        print(json.dumps({"previews": runs}))
        return
    print(f"| {PIXELS} pixels, {STEPS} steps | merge s | all s |\n|---|---|---|")
    for what, measured in runs.items():
        merging, everything = (statistics.median(each) for each in zip(*measured, strict=True))
        print(f"| {what} | {merging:.2f} | {everything:.2f} |")


def _picture(host: StandaloneHost, alpha: str, seed: int) -> tuple[float, float]:
    """(seconds of merging, seconds from the recipe's text to the picture)."""
    started = time.perf_counter()
    plan = make_plan(parse_recipe(f"weighted_sum({', '.join(PAIR)}, alpha={alpha})"), host.library())
    params = GenParams("a red circle on blue", seed=seed, steps=STEPS, cfg=4, width=PIXELS, height=PIXELS)
    merging = host.preview(plan, params).merge_seconds
    return merging, time.perf_counter() - started
