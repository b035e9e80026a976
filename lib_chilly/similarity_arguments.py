"""What the command `similarity` understands."""

from __future__ import annotations

import argparse
from pathlib import Path

from .argument_types import percent, positive

MEASURE_NAMES = ("asim", "cosine", "l2", "delta", "sign", "equal", "cka", "stable_rank")
"""Of similarity.MEASURES, which imports torch."""


def add_similarity(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("similarity", help="say how alike models are, block by block")
    parser.add_argument("base", metavar="BASE", help="a model, or a recipe")
    parser.add_argument("others", metavar="OTHER", nargs="+", help="a model, a recipe, or a folder of models")
    parser.add_argument("--measure", default="asim", metavar="NAME", help=f"{', '.join(MEASURE_NAMES)} (default: asim)")
    parser.add_argument("--ancestor", metavar="MODEL", help="of all of them; delta and sign look at what was learned since")
    parser.add_argument("--stream", choices=("supermerger", "original"), default="supermerger", help="asim's random numbers")
    parser.add_argument("--by", choices=("lane", "key", "component"), default="lane", help="figures of these too")
    parser.add_argument("--rank", choices=("all", "input", "output"), default="all", help="the total that models are ranked by")
    parser.add_argument("--matrix", action="store_true", help="each against each, how they group, and a guess at ancestry")
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where models lie; may be repeated")
    parser.add_argument("--loras", type=Path, action="append", metavar="DIR", help="where LoRAs lie (default: beside the models)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it too, as .svg or .png")
    parser.add_argument("--replace-below", type=percent, metavar="X", help="print OTHER's recipe, its blocks below X %% replaced")
    parser.add_argument("--with", dest="donor", metavar="MODEL", help="with --replace-below: whose blocks come in")
    parser.add_argument("--as-weights", action="store_true", help="print a recipe that weighs each block by its figure")
    parser.add_argument("--threads", type=positive, help="workers (default: one a core, at most 4)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="similarity")
