"""The main job from nothing: checkpoints, the model card's recipe as its author wrote it, two merged files, what they paint."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .canvas import lacking_pillow
from .console import describe_plan, describe_report, free_bytes, show
from .demo_models import Manifest, make_models
from .engine import merge
from .errors import OutputError
from .host.parts import import_diffusers
from .models import ModelLibrary
from .notations import read_recipe
from .plan import make_plan

CARD = Path(__file__).parents[1] / "recipes" / "chillymix-card.txt"
RECIPE = CARD.with_name("chillymix-v1-ned.chilly")
"""The same in our own notation: the page begins with it."""
RESULTS = {"ChillyMixBaseV0": "ChillyMixBaseV0.safetensors", "ChillyMixBase_V1-NED": "ChillyMixBase_V1-NED.safetensors"}
"""Step of the card to the file it is saved as."""
STEPS = ("pyAB", "MERGE1", "MERGE1Fix", "MERGE2", "MERGE_BASE", "ChillyMixBase_V1-NED")
"""Of the card, as the contact sheet shows them."""
SHEET = "contact-sheet.png"

FULL_BYTES = 25_600_000_000


def run_demo(folder: Path, full: bool, threads: int, should_stop: Callable[[], bool], pictures: bool = True) -> None:
    """Make the sources in `folder`/models, merge them into `folder`/out, paint with them, print what was done.

    A second run reuses the sources and writes the results anew; files that it did not make itself are never overwritten.

    Args:
        full: made-up weights of true SD 1.5 size, of which no pictures are made, instead of the trained tiny family.
        pictures: paint the contact sheet, too; needs the packages that previews need.

    Raises:
        MergeError: not enough room, a package that is missing, or a file of somebody else's in the place of one to be written.
    """
    started = time.perf_counter()
    if pictures and not full:
        import_diffusers()  # what it lacks is better said before the work than after
        if lacking := lacking_pillow():
            raise OutputError(f"the contact sheet is drawn by {lacking}. Install that, or pass --no-pictures.")
    models, out = folder / "models", folder / "out"
    if full:
        print(f"--full makes nine checkpoints of true size and two results: about 25 GB in '{folder}', and some minutes.")
        _check_room(folder, models)
    for place in (models, out):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder '{place}' cannot be made: {error.strerror}.") from None
    manifest = Manifest(folder)
    make_models(models, full, manifest, should_stop)
    text = CARD.read_text("utf-8")
    print(f"\nThe recipe, as the card writes it ({CARD.name}):\n\n{text}")
    for step, name in RESULTS.items():
        _merge_step(text, step, models, out / name, manifest, threads, should_stop)
    if pictures and not full:
        _paint_sheet(text, models, out / SHEET, manifest, should_stop)
    print(f"\nDone in {time.perf_counter() - started:.1f} s. Sources: '{models}'. Results: '{out}'.")


def end_demo(folder: Path, wanted: bool, should_stop: Callable[[], bool]) -> None:
    """Open the page with the card's recipe where somebody sits at a desktop; else say how it is opened."""
    from .ui.page_server import has_desktop, run_page

    models, out = folder / "models", folder / "out"
    if wanted and has_desktop() and sys.stdout.isatty() and not os.environ.get("CI"):
        run_page(str(RECIPE), [models], out, None, True, should_stop)
    else:
        command = ["./chilly", "ui", "--models", str(models), "--out", str(out), os.path.relpath(RECIPE)]
        show([f"See and play with it: {shlex.join(command)}"])


def _merge_step(
    text: str, step: str, models: Path, output: Path, manifest: Manifest, threads: int, should_stop: Callable[[], bool]
) -> None:
    print(f"\n=== {step}\n")
    started = time.perf_counter()
    plan = make_plan(read_recipe(text), ModelLibrary([models]), step=step, title=step)
    planning_seconds = time.perf_counter() - started
    show(describe_plan(plan, threads, output.parent))
    sidecar = output.with_suffix(".yaml")
    manifest.refuse_stranger(output)
    manifest.refuse_stranger(sidecar, plan.sidecar.content if plan.sidecar else None)
    report = merge(
        plan,
        output,
        overwrite=True,
        threads=threads,
        should_stop=should_stop,
        planning_seconds=planning_seconds,
    )
    manifest.add(output, sidecar)
    show(describe_report(plan, report))


def _paint_sheet(text: str, models: Path, path: Path, manifest: Manifest, should_stop: Callable[[], bool]) -> None:
    from .contact_sheet import count_pictures
    from .demo_sheet import DemoSheet

    manifest.refuse_stranger(path)
    sheet = DemoSheet(models, text, STEPS)
    print(f"\n=== What they paint ({count_pictures(sheet.sections)} pictures, about a minute; --no-pictures leaves them out)\n")
    started = time.perf_counter()
    count = sheet.save(path, should_stop)
    manifest.add(path)
    print(f"{count} pictures of 64 x 64, each of a merge in memory, in {time.perf_counter() - started:.1f} s: '{path}'")


def _check_room(folder: Path, models: Path) -> None:
    present = sum(path.stat().st_size for path in models.glob("*.safetensors")) if models.is_dir() else 0
    needed, free = FULL_BYTES - present, free_bytes(folder)
    if free < needed:
        raise OutputError(
            f"the disk is too full for --full: {needed:,} bytes are needed in '{folder}', {free:,} are free. Nothing was written."
        )
