"""What is measured: the files, made once, and the recipes over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_chilly.synth import synthesise, synthesise_near

SIX_SOURCES = """\
pyAB = mean(pyro_pov_a, pyro_pov_b)
MERGE1 = 0.85 * analogDiffusion_10 + 0.15 * pyAB
MERGE1Fix = 0.95 * MERGE1 + 0.05 * v1-5-pruned-emaonly
MERGE2 = MERGE1Fix + 1 * (F222_v1 - v1-5-pruned-emaonly)
BASE_V0 = 0.75 * MERGE2 + 0.25 * r34_e4
"""


@dataclass(frozen=True)
class Case:
    """One recipe over full-size files.

    Attributes:
        files: names of its sources, as made by `make`.
    """

    name: str
    recipe: str
    files: tuple[str, ...]
    architecture: str = "sd1"


CASES = (
    Case("sd1-pair", "X = weighted_sum(v1-5-pruned-emaonly, r34_e4, alpha=0.3)", ("v1-5-pruned-emaonly", "r34_e4")),
    Case("sd1-fp32-source", "X = weighted_sum(v1-5-pruned-emaonly, F222_v1, alpha=0.3)", ("v1-5-pruned-emaonly", "F222_v1")),
    Case(
        "sd1-six-sources",
        SIX_SOURCES,
        ("pyro_pov_a", "pyro_pov_b", "analogDiffusion_10", "v1-5-pruned-emaonly", "F222_v1", "r34_e4"),
    ),
    Case("sdxl-pair", "X = weighted_sum(xl_a, xl_b, alpha=0.3)", ("xl_a", "xl_b"), "sdxl"),
)


def make(case: Case, folder: Path) -> list[Path]:
    """The case's files, made where they are missing: the first from nothing, the others near it."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / ("xl_a.safetensors" if case.architecture == "sdxl" else "v1-5-pruned-emaonly.safetensors")
    if not base.exists():
        print(f"make {base}", flush=True)
        synthesise(case.architecture, "full", base, seed=1)
    for seed, name in enumerate(case.files, start=2):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            print(f"make {path}", flush=True)
            synthesise_near(base, 0.1, path, seed=seed, dtype="fp32" if name == "F222_v1" else "fp16")
    return [folder / f"{name}.safetensors" for name in case.files]
