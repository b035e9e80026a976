"""What the command `grid` understands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .argument_types import positive

_SIZE = re.compile(r"(\d{2,4})[xX](\d{2,4})")


def add_grid(commands: argparse._SubParsersAction) -> None:
    """Add it to the command line."""
    parser = commands.add_parser("grid", help="paint a grid: what one or two parameters of a recipe do to pictures")
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", default="", help="a recipe's file, or its text")
    parser.add_argument("--x", required=True, metavar="'NAME = VALUES'", help="what changes by column: 'alpha = 0-1 [5]'")
    parser.add_argument("--y", metavar="'NAME = VALUES'", help="what changes by row (default: the prompts)")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="what is painted; may be repeated")
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what is not to be painted")
    parser.add_argument("--picture-seed", type=int, default=0, metavar="N", help="of the noise in all cells (default: 0)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--cfg", type=float, default=7.0, metavar="X", help="weight of the prompt (default: 7)")
    parser.add_argument("--size", type=_size, default=(256, 256), metavar="WxH", help="of a picture in pixels (default: 256x256)")
    parser.add_argument("--sampler", default=None, metavar="NAME", help="(default: Euler a)")
    parser.add_argument("--clip-skip", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="the sheet, .png or .webp")
    parser.add_argument("--overwrite", action="store_true", help="the sheet may replace a file that exists")
    parser.add_argument("--plan", action="store_true", help="only say the order of the merges, and how long it takes")
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where models lie; may be repeated")
    parser.add_argument("--loras", type=Path, action="append", metavar="DIR", help="where LoRAs lie (default: beside the models)")
    parser.add_argument("--threads", type=positive, help="workers (default: one a core, at most 4)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="grid")


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text[:20]}' is no size; write it as 512x768")
    return int(match[1]), int(match[2])
