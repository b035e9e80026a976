"""Five full-size models ranked by cosine in one pass, and the same files merely read: what the arithmetic adds."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.asim import asim_table, measure_asim
from bench.cases import Case, make
from bench.processes import MIB, prepare, run

NAMES = ("v1-5-pruned-emaonly", "pyro_pov_a", "pyro_pov_b", "analogDiffusion_10", "r34_e4")
THREADS = 2


def run_similarity_bench(folder: Path, rounds: int, as_json: bool) -> None:
    """Measure and print; reading and ranking take turns, with files out of the page cache and in it. Where CHILLY_SUPERMERGER
    names a checkout, so do asim and its function."""
    from bench.run import machine

    files = make(Case("similarity", "", NAMES), folder)
    results = {}
    for is_cold in (True, False):
        runs: dict[str, list[dict]] = {"read": [], "rank": []}
        for _ in range(rounds):
            for what, measured in runs.items():
                prepare(files, is_cold)
                measured.append(run("bench.similarity", [what, *files]))
        results["cold" if is_cold else "warm"] = runs
    asim = measure_asim(folder, rounds) if "CHILLY_SUPERMERGER" in os.environ else None
    if as_json:
        print(json.dumps({"machine": machine(), "results": results, "asim": asim}))
        return
    print(machine())
    print("| files | read once, wall s | ranked by cosine, wall / CPU s | wall / read | MiB above torch |\n|---|---|---|---|---|")
    for state, runs in results.items():
        asked = (("read", "wall"), ("rank", "wall"), ("rank", "cpu"))
        read, wall, cpu = (statistics.median(each[key] for each in runs[what]) for what, key in asked)
        memory = max(each["above_torch"] for each in runs["rank"]) // MIB
        print(f"| {state} | {read:.2f} | {wall:.2f} / {cpu:.2f} | {wall / read:.2f} | {memory} |")
    if asim:
        print(f"\n{asim_table(asim)}")


def read_once(files: Sequence[Path]) -> None:
    """Read the files one after the other by positional reads into reused buffers, in as many threads as the ranking has."""
    pieces = iter([(path, start) for path in files for start in range(0, path.stat().st_size, 4 * MIB)])
    descriptors = {path: os.open(path, os.O_RDONLY) for path in files}
    turn = threading.Lock()

    def work() -> None:
        buffer = memoryview(mmap.mmap(-1, 4 * MIB))
        while True:
            with turn:
                piece = next(pieces, None)
            if piece is None:
                return
            os.preadv(descriptors[piece[0]], [buffer], piece[1])

    workers = [threading.Thread(target=work) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for descriptor in descriptors.values():
        os.close(descriptor)


def rank(files: Sequence[Path]) -> None:
    """The first against the others."""
    from lib_chilly.expression import spell_name
    from lib_chilly.models import ModelLibrary
    from lib_chilly.plan import make_plan
    from lib_chilly.recipe_text import parse_recipe
    from lib_chilly.similarity import Question, compare_all

    library = ModelLibrary([files[0].parent])
    plans = [make_plan(parse_recipe(spell_name(path.stem)), library) for path in files]
    compare_all(Question(plans, [(0, place) for place in range(1, len(plans))], "cosine"), threads=THREADS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("read", "rank"))
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    if options.what == "rank":
        import torch

        torch.zeros(1)
    from lib_chilly.report import peak_rss_bytes

    before = peak_rss_bytes() or 0
    wall, cpu = time.perf_counter(), time.process_time()
    {"read": read_once, "rank": rank}[options.what](options.files)
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    above = (peak_rss_bytes() or 0) - before
    print(json.dumps({**taken, "above_torch": above}))


if __name__ == "__main__":
    main()
