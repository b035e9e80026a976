"""What the extension takes of the real webui that CHILLY_WEBUI names: at its start, in memory, for a moved block. Nothing is
asserted; the suite on the webui promises what is right, this prints what it takes."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib_chilly.errors import RecipeError
from lib_chilly.family_config import configuration, tokenizer_files
from lib_chilly.synth import synthesise

ROOT = Path(__file__).parents[1]
PREVIEWS, RECIPES, EVERY = 200, 50, 10
UNET = {"model_channels": 320, "channel_mult": (1, 2, 4, 4), "context_dim": 768}
VAE = {"ch": 128, "ch_mult": (1, 2, 4, 4)}
TEXT_ENCODER = {"hidden_size": 768, "intermediate_size": 3072, "vocab_size": 49408}
NAN = "--disable-nan-check"
"""Models of random numbers paint nothing that could be looked at."""


def run_webui(rounds: int, as_json: bool) -> None:
    """Measure; `rounds` is the number of starts and of moved blocks.

    Raises:
        RecipeError: there is no webui to measure in.
    """
    checkout = os.environ.get("CHILLY_WEBUI")
    if not checkout:
        raise RecipeError("set CHILLY_WEBUI to a checkout of the webui, and CHILLY_WEBUI_PYTHON to a Python with its packages.")
    with tempfile.TemporaryDirectory() as name:
        found = _measure(Path(checkout), Path(name), rounds)
    if as_json:
        print(json.dumps({"webui": found}))
        return
    for what, each in found.items():
        print(f"\n{what}: " + (_said(each) if isinstance(each, Mapping) else json.dumps(each)))


def _said(measured: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{name} {statistics.median(values):.3f}" for name, values in measured.items())


def _measure(checkout: Path, folder: Path, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"install.py, s": {"wall": _installer(rounds)}}
    starts = [_start(checkout, folder / f"start{number}") for number in range(rounds)]
    steps = sorted({step for start in starts for step in start})
    for which, what in enumerate(("start, wall s", "start, processor s")):
        found[what] = {step: [start.get(step, (0.0, 0.0))[which] for start in starts] for step in steps}
        found[what]["all"] = [sum(taken[which] for taken in start.values()) for start in starts]
    with _Booted(checkout, folder / "previews") as house:
        many = house.call("measuring.many_previews", PREVIEWS, RECIPES, EVERY)
        found["MiB after each ten previews"] = many["memory"]
        found["previews that failed, of which wrongly"] = [len(many["failed"]), len(many["wrong"])]
    with _Booted(checkout, folder / "plain") as house:
        found["MiB after each ten pictures of two files"] = house.call("measuring.many_plain", PREVIEWS)["memory"]
    with _Booted(checkout, folder / "full", NAN, build=_full_size) as house:
        found["SD1, full size, s"] = times = house.call("measuring.moved_block", rounds)
    moved = [moved - stays for moved, stays in zip(times["block moved"], times["merge stays"], strict=True)]
    own = [turns - stays for turns, stays in zip(times["files in turns"], times["file stays"], strict=True)]
    bound = [merge + load for merge, load in zip(times["its merge"], own, strict=True)]
    found["a moved block, s"] = {"beside the picture": moved, "its merge and the webui's own load": bound}
    return found


def _installer(rounds: int) -> list[float]:
    """Seconds of install.py, which the webui runs by a Python of its own."""
    python, seconds = os.environ.get("CHILLY_WEBUI_PYTHON", sys.executable), []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([python, str(ROOT / "install.py")], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return seconds


def _start(checkout: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """(seconds of the wall, of the processor) of each step of a start that is ours."""
    out = folder.with_suffix(".json")
    clock = (ROOT / "bench" / "webui_clock.py").read_text("utf-8").replace("@OUT@", out.as_posix())
    with _Booted(checkout, folder, scripts={"a-clock": clock}):
        taken: dict[str, tuple[float, float]] = json.loads(out.read_text())
    return taken


def _full_size(models: Path) -> None:
    """Two models of SD 1.5's widths, with what the webui needs beside them where it cannot fetch a tokenizer."""
    tokenizer = models / "tokenizer"
    tokenizer.mkdir()
    for name, text in tokenizer_files().items():
        (tokenizer / name).write_text(text, "utf-8")
    (tokenizer / "config.json").write_text(json.dumps({**json.loads(tokenizer_files()["config.json"]), **TEXT_ENCODER}))
    config = json.loads(configuration(tokenizer, 4))
    parts = config["model"]["params"]
    parts["unet_config"]["params"].update(UNET)
    parts["first_stage_config"]["params"]["ddconfig"].update(VAE)
    for seed, name in enumerate("AB"):
        synthesise("sd1", "full", models / f"{name}.safetensors", seed=seed)
        (models / f"{name}.yaml").write_text(json.dumps(config), "utf-8")


class _Booted:
    """The tests' webui, ended when it is left."""

    def __init__(self, checkout: Path, folder: Path, *flags: str, **given: Mapping[str, str] | Callable[[Path], None]):
        tests = ROOT / "tests"
        sys.path[:0] = [str(path) for path in (tests, tests / "webui") if str(path) not in sys.path]
        webuis = importlib.import_module("webuis")
        self._webui = webuis.Webui(checkout, webuis.webui_python(), folder, *flags, **given)

    def __enter__(self) -> Any:
        return self._webui

    def __exit__(self, *_: object) -> None:
        self._webui.close()
