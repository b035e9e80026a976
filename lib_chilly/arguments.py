"""What the command line understands; what its commands do stands in cli.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from . import __version__
from .architecture import architecture_names
from .argument_types import limits, port, positive
from .errors import RecipeError
from .grid_arguments import add_grid
from .looking_arguments import add_looking_commands
from .placement import DEVICES
from .plan_options import CHOICES
from .similarity_arguments import add_similarity


class Parser(argparse.ArgumentParser):
    """A mistake in the arguments is one line, as every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message}. See '{self.prog} --help'.")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; `command` of what it parses names what is to be done."""
    parser = Parser(prog="chilly", description="Merge Stable Diffusion checkpoints from a recipe, in one exact pass.")
    parser.add_argument("--version", action="version", version=f"ChillyMerge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_demo(commands)
    _add_ui(commands)
    _add_merge(commands)
    _add_plan(commands)
    _add_queue(commands)
    add_grid(commands)
    _add_inspect(commands)
    add_similarity(commands)
    add_looking_commands(commands)
    _add_synth(commands)
    _add_bench(commands)
    _add_methods(commands)
    tests = commands.add_parser("test", help="run the whole test suite: [--peers] [PYTEST ARGS]")
    tests.set_defaults(command="test")
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="build the tiny models, merge them by a model card's recipe, paint with all")
    parser.add_argument("--dir", type=Path, default=Path("demo"), help="folder for sources and results (default: ./demo)")
    parser.add_argument("--full", action="store_true", help="true sizes: needs about 25 GB and some minutes")
    parser.add_argument("--no-page", action="store_true", help="do not open the page at the end")
    parser.add_argument("--threads", type=positive, default=None)
    parser.add_argument("--no-pictures", action="store_true", help="leave out the contact sheet")
    parser.set_defaults(command="demo")


def _add_ui(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("ui", help="open the page, in this machine's browser alone")
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a recipe's file, or its text, to begin with")
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where models lie; may be repeated")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: the first models folder)")
    parser.add_argument("--port", type=port, metavar="N", help="(default: the first that is free, from 7860 on)")
    parser.add_argument("--no-browser", action="store_true", help="only say the page's address")
    parser.set_defaults(command="ui")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a recipe's file, or its text")
    parser.add_argument(
        "--from", dest="merged", type=Path, metavar="FILE", help="take the recipe and the sources of a merged file"
    )
    parser.add_argument("--accept-other-sources", action="store_true", help="with --from: sources may be other files")
    parser.add_argument("--step", metavar="NAME", help="save this step instead of the last one")
    parser.add_argument("--seed", type=int, metavar="N", help="draw the block weights that are R, U or X")
    parser.add_argument("--limits", type=limits, metavar="LOW,HIGH", help="of each X that has none, such as 0.2,0.6")
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where models lie; may be repeated")
    parser.add_argument("--loras", type=Path, action="append", metavar="DIR", help="where LoRAs lie (default: beside the models)")
    parser.add_argument(
        "--presets", type=Path, action="append", metavar="FILE", help='block weights that preset("NAME") finds; may be repeated'
    )
    _add_save_options(parser)
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="where costly methods are computed (default: cpu)")
    parser.add_argument(
        "--threads", type=positive, help="workers (default: one a core, at most 4); the file does not depend on it"
    )
    parser.add_argument("--mmap", action="store_true", help="read sources through mapped files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_save_options(parser: argparse.ArgumentParser) -> None:
    """The options of `save(...)`, over which they win; each has the name that it has there."""
    group = parser.add_argument_group("what is saved, instead of what save(...) says")
    for option, said in (
        ("format", "a file, or a diffusers folder (default: safetensors)"),
        ("dtype", "of the output (default: fp16)"),
        ("unet_dtype", "of the UNet (default: as --dtype)"),
        ("text_encoder_dtype", "of the text encoders (default: as --dtype, fp16 beside fp8)"),
        ("vae_dtype", "of the VAE (default: as --dtype, fp16 beside fp8)"),
        ("compute", "type of the sums (default: by the output)"),
        ("position_ids", "write them as they are, or as 0, 1, 2, ... (default: keep)"),
        ("ema", "leave EMA copies out, or merge them too (default: drop)"),
        ("prediction", "what the result is meant to predict; allows a mix of models that differ"),
    ):
        group.add_argument(f"--{option.replace('_', '-')}", choices=CHOICES[option], help=said)
    group.add_argument("--vae", metavar="keep|drop|FILE", help="the VAE: as merged, none, or that of a file (default: keep)")
    group.add_argument("--discard", metavar="GLOB,...", help="keys that are left out, such as 'cond_stage_model.*'")
    group.add_argument("--yaml", metavar="copy|drop|MODEL", help="whose .yaml goes beside OUT (default: the first there is)")
    group.add_argument("--title", metavar="TEXT", help="of the output")
    group.add_argument("--on-nan", metavar="stop|take:MODEL", help="what to do where a source holds NaN or Inf (default: stop)")


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("merge", help="carry out a recipe")
    _add_recipe(parser)
    parser.add_argument("--variants", type=positive, metavar="N", help="with --seed: draw N times, into OUT-v1 to OUT-vN")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="{variant} in it is the variant's number")
    _add_writing(parser)
    parser.set_defaults(command="merge")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="results may replace files that exist")
    parser.add_argument("--no-source-hashes", action="store_true", help="do not put the sources' sha256 into the file")


def _add_plan(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("plan", help="say what a recipe would do, from headers alone")
    _add_recipe(parser)
    parser.set_defaults(command="plan", variants=None, output=Path(), no_source_hashes=False)


def _add_queue(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("queue", help="carry out the recipes of some files, those that are not done yet")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recipes, each after a line '--- NAME.safetensors'")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where results go (default: here)")
    parser.add_argument("--stop", action="store_true", help="stop at the first recipe that fails")
    _add_options(parser)
    _add_writing(parser)
    parser.set_defaults(command="queue", step=None)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("inspect", help="say what checkpoints are")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--health", action="store_true", help="read all tensors, and say which blocks are likely broken")
    parser.add_argument(
        "--base", type=Path, metavar="FILE", help="a healthy model of the same kind to compare with, for --health"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(command="inspect")


def _add_synth(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("synth", help="make up a checkpoint with an architecture's true keys")
    parser.add_argument("--arch", choices=architecture_names())
    parser.add_argument("--size", choices=("full", "tiny"), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--near", type=Path, metavar="FILE", help="start from FILE instead")
    parser.add_argument("--drift", type=float, metavar="X", help="with --near: noise of X times each tensor's standard deviation")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16")
    parser.add_argument(
        "--without", action="append", default=[], metavar="COMPONENT", help="leave out, such as vae; may be repeated"
    )
    parser.add_argument("--inpainting", action="store_true", help="9 input channels")
    parser.add_argument("--format", choices=("safetensors", "ckpt", "diffusers"), default="safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="overwritten if it exists")
    parser.set_defaults(command="synth")


def _add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("bench", help="measure against the copy floor, in one interleaved run")
    parser.add_argument("--dir", type=Path, default=Path("bench/work"), help="folder for the files (default: ./bench/work)")
    parser.add_argument("--all", action="store_true", help="every part below too, one by one, into DIR/report.md (100 GB)")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--only", action="append", metavar="CASE", help="a case, or with --all a part; may be repeated")
    what = parser.add_mutually_exclusive_group()
    for name, said in (
        ("slabs", "compare slab sizes instead"),
        ("peers", "compare with other mergers instead"),
        ("plans", "time planning every architecture instead"),
        ("memory", "compare two and twelve SDXL sources instead (7 GB)"),
        ("previews", "time pictures instead"),
        ("webui", "measure in the webui that CHILLY_WEBUI names instead"),
        ("live", "compare updates in memory with a copy instead (45 GB)"),
        ("similarity", "rank five models, against a mere read (11 GB)"),
        ("methods", "merge methods against the weighted sum instead; --only takes their names (0.5 GB)"),
        ("gpu", "as --methods, computed where --device cuda does"),
    ):
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=said)
    parser.add_argument("--device", choices=DEVICES, help="with --live (default: the GPU where there is one)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command="bench", what="floor")


def _add_methods(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("methods", help="list the merge methods")
    parser.add_argument("--page", action="store_true", help="print all that is known of each, in Markdown")
    parser.set_defaults(command="methods")
