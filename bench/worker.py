"""One merge in a process of its own: wall and CPU seconds without interpreter start and torch's import, and memory above them.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import lib_chilly.memory
from bench.counters import counters, since
from lib_chilly.placement import DEVICES, usable_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--hashes", action="store_true", help="hash the sources too")
    parser.add_argument("--slab", type=int, default=lib_chilly.memory.SLAB_ELEMENTS)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--keep", action="store_true", help="leave the output for a look at it")
    options = parser.parse_args()
    lib_chilly.memory.SLAB_ELEMENTS = options.slab
    torch.zeros(1)
    device = usable_device(options.device)  # begun, as torch itself

    from lib_chilly.report import peak_rss_bytes

    before = peak_rss_bytes() or 0

    from lib_chilly.engine import merge
    from lib_chilly.models import ModelLibrary
    from lib_chilly.plan import make_plan
    from lib_chilly.recipe_text import parse_recipe

    started = counters()
    plan = make_plan(parse_recipe(options.recipe), ModelLibrary([options.models]))
    report = merge(plan, options.output, overwrite=True, threads=options.threads, source_hashes=options.hashes, device=device)
    taken = since(started)
    peak = peak_rss_bytes() or 0
    if not options.keep:
        options.output.unlink()
    print(json.dumps({**taken, "rss_above_torch": peak - before, "peak_bytes": peak, "sha256": report.sha256}))


if __name__ == "__main__":
    main()
