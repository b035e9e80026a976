"""The command `grid`: pictures of a recipe over the values of one or two of its parameters, on one labelled sheet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .console import show, stop_flag
from .contact_sheet import FORMATS, save_sheet
from .errors import OutputError, RecipeError
from .grid_sheet import GridSheet
from .host.base import DEFAULT_SAMPLER, GenParams
from .host.sampling import check_params
from .host.schedulers import SAMPLERS
from .host.standalone import StandaloneHost
from .merge_commands import library_of, print_json
from .models import default_folders
from .recipe_argument import recipe_text
from .ui.grid_axes import read_axis


def run_grid(options: argparse.Namespace) -> None:
    """Say how long the grid takes, and paint it."""
    output, params = _output_of(options), _params_of(options)
    if not options.prompt:
        raise RecipeError("there is nothing to paint; say what with --prompt TEXT.")
    x, y = read_axis(options.x), read_axis(options.y) if options.y else None
    text = recipe_text(options.recipe) if options.recipe else ""
    host = StandaloneHost(options.models or default_folders(), threads=options.threads)
    sheet = GridSheet(host, library_of(options), text, x, y, options.prompt, params)
    with stop_flag() as should_stop:
        order = sheet.plan(should_stop)
        facts: dict[str, object] = {"cells": sheet.cells, "pictures": sheet.pictures, "merges": len(order.merges)}
        facts |= {"moved_bytes": order.moved_bytes, "given_bytes": order.given_bytes}
        facts |= dict(zip(("merging_seconds", "picture_seconds"), sheet.seconds, strict=True))
        if not options.json:
            show([*sheet.words(), *(["The merges, in their order:", *sheet.order_in_words()] if options.plan else [])])
        if output is None:
            if options.json:
                print_json({**facts, "order": sheet.order_in_words()})
            return
        started = time.perf_counter()
        _paint(sheet, output, should_stop)
        seconds = time.perf_counter() - started
    if options.json:
        print_json({**facts, "output": str(output), "seconds": seconds})
    else:
        show([f"painted '{output}' in {seconds:.0f} s."])


def _paint(sheet: GridSheet, output: Path, should_stop: Callable[[], bool]) -> None:
    from tqdm import tqdm

    with tqdm(total=sheet.pictures, desc="painting", unit="picture", leave=False, disable=not sys.stderr.isatty()) as bar:
        save_sheet(sheet.paint(bar.update, should_stop), output)


def _output_of(options: argparse.Namespace) -> Path | None:
    """Where the sheet goes, if there will be one; what would stop it is said before hours are spent on it."""
    output: Path | None = options.output
    if options.plan:
        return None
    if output is None:
        raise RecipeError("a sheet needs a place: add -o sheet.webp, or --plan to know only how long it takes.")
    if output.suffix.lower() not in FORMATS:
        raise OutputError(f"'{output}' is no name of a sheet: it ends with {' or '.join(FORMATS)}.")
    if output.exists() and not options.overwrite:
        raise OutputError(f"'{output}' exists already. Choose another name, or add --overwrite.")
    if not output.parent.is_dir():
        raise OutputError(f"'{output}' cannot be written: there is no folder '{output.parent}'.")
    return output


def _params_of(options: argparse.Namespace) -> GenParams:
    sampler = options.sampler or DEFAULT_SAMPLER
    if sampler not in SAMPLERS:
        raise RecipeError(f"there is no sampler '{sampler}' here. There are {', '.join(SAMPLERS)}.")
    width, height = options.size
    params = GenParams(
        "",
        options.negative_prompt,
        options.picture_seed,
        options.steps,
        options.cfg,
        width,
        height,
        sampler,
        options.clip_skip,
    )
    check_params(params)
    return params
