"""asim of two full-size models beside SuperMerger's own function, loading included; CHILLY_SUPERMERGER names its checkout."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import Case, make
from bench.processes import prepare, run
from bench.supermerger import supermerger_s_own

NAMES = ("v1-5-pruned-emaonly", "r34_e4")
THREADS = 2


def measure_asim(folder: Path, rounds: int) -> dict[str, dict[str, list[dict]]]:
    """Cold and warm, what both said and took; they take turns."""
    files = make(Case("asim", "", NAMES), folder)
    results = {}
    for is_cold in (True, False):
        runs: dict[str, list[dict]] = {"ours": [], "theirs": []}
        for _ in range(rounds):
            for who, measured in runs.items():
                prepare(files, is_cold)
                measured.append(run("bench.asim", [who, *files]))
        results["cold" if is_cold else "warm"] = runs
    return results


def asim_table(results: dict[str, dict[str, list[dict]]]) -> str:
    """Medians, of ratios those of the rounds."""
    lines = [
        "| files | asim, wall / CPU s | SuperMerger's, wall / CPU s | wall / theirs | CPU / theirs | apart |",
        "|---" * 6 + "|",
    ]
    for state, runs in results.items():
        wall, cpu = ([statistics.median(each[what] for each in runs[who]) for who in runs] for what in ("wall", "cpu"))
        rounds = list(zip(runs["ours"], runs["theirs"], strict=True))
        ratios = [statistics.median(one[what] / other[what] for one, other in rounds) for what in ("wall", "cpu")]
        apart = max(abs(one - other) for one, other in zip(rounds[0][0]["figures"], rounds[0][1]["figures"], strict=True))
        lines.append(
            f"| {state} | {wall[0]:.2f} / {cpu[0]:.2f} | {wall[1]:.2f} / {cpu[1]:.2f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {apart:.4f} |"
        )
    return "\n".join(lines)


def asimilarity() -> Callable[..., list]:
    """SuperMerger's own function."""
    import torch

    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "tqdm": lambda each, desc: each}
    wanted = "cal_cross_attn", "eval", "asimilarity", "ATTN1BLOCKS"
    return supermerger_s_own("supermerger.py", *wanted, **names, blockfromkey=lambda key, kind: key)["asimilarity"]


def theirs(files: Sequence[Path]) -> list[float]:
    """As the webui loads and SuperMerger asks."""
    from safetensors.torch import load_file

    return [figure for _, _, figure in asimilarity()(*map(load_file, files), False)]


def ours(files: Sequence[Path]) -> list[float]:
    from lib_chilly.expression import spell_name
    from lib_chilly.models import ModelLibrary
    from lib_chilly.plan import make_plan
    from lib_chilly.recipe_text import parse_recipe
    from lib_chilly.similarity import compare

    library = ModelLibrary([files[0].parent])
    plans = [make_plan(parse_recipe(spell_name(path.stem)), library) for path in files]
    return list(compare(plans[0], plans[1], threads=THREADS).blocks.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=("ours", "theirs"))
    parser.add_argument("files", nargs=2, type=Path)
    options = parser.parse_args()
    import torch

    torch.zeros(1)
    wall, cpu = time.perf_counter(), time.process_time()
    figures = {"ours": ours, "theirs": theirs}[options.who](options.files)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "figures": figures}))


if __name__ == "__main__":
    main()
