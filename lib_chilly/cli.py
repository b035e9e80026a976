"""The command line: arguments in, sentences or one JSON object out. Thin: everything it can do, the engine does."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from . import __version__
from .console import Progress, describe_plan, describe_report
from .errors import Interrupted, MergeError, RecipeError
from .models import ModelLibrary, default_folders
from .notations import read_recipe
from .plan import OUTPUT_DTYPES, Plan, make_plan
from .recipe import Recipe
from .report import default_threads, plan_facts

DONE, MISTAKE, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 2 the user's mistake or a bad file, said on stderr; 130 interrupted, nothing left behind.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
        return DONE
    except Interrupted as error:
        print(f"chilly: {error}", file=sys.stderr)
        return INTERRUPTED
    except MergeError as error:
        print(f"chilly: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("chilly: stopped. Nothing was left behind.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


class _Parser(argparse.ArgumentParser):
    """A mistake in the arguments is one line, as every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message}. See '{self.prog} --help'.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="chilly", description="Merge Stable Diffusion checkpoints from a recipe, in one exact pass.")
    parser.add_argument("--version", action="version", version=f"ChillyMerge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_demo(commands)
    _add_merge(commands)
    _add_plan(commands)
    _add_inspect(commands)
    _add_synth(commands)
    _add_bench(commands)
    _add_methods(commands)
    commands.add_parser("test", help="run the whole test suite: [--peers] [PYTEST ARGS]")
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="make nine checkpoints, merge them by a model card's recipe, show what was done")
    parser.add_argument("--dir", type=Path, default=Path("demo"), help="folder for sources and results (default: ./demo)")
    parser.add_argument("--full", action="store_true", help="true sizes: needs about 25 GB and some minutes")
    parser.add_argument("--no-page", action="store_true", help="do not open the page at the end (there is none yet)")
    parser.add_argument("--threads", type=_positive, default=None)
    parser.set_defaults(run=_demo)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's file, or its text")
    parser.add_argument("--models", type=Path, action="append", metavar="DIR", help="where models lie; may be repeated")
    parser.add_argument("--dtype", choices=OUTPUT_DTYPES, help="of the output (default: fp16)")
    parser.add_argument("--compute", choices=("float32", "float64"), help="type of the sums (default: by the output)")
    parser.add_argument("--on-nan", metavar="stop|take:MODEL", help="what to do where a source holds NaN or Inf (default: stop)")
    parser.add_argument("--step", metavar="NAME", help="save this step instead of the last one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--threads", type=_positive, help="workers (default: one a core, at most 4); the file does not depend on it"
    )
    parser.add_argument("--mmap", action="store_true", help="read sources through mapped files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("merge", help="carry out a recipe")
    _add_recipe(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--overwrite", action="store_true", help="OUT may exist")
    parser.add_argument("--no-source-hashes", action="store_true", help="do not put the sources' sha256 into the file")
    parser.set_defaults(run=_merge)


def _add_plan(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("plan", help="say what a recipe would do, from headers alone")
    _add_recipe(parser)
    parser.set_defaults(run=_plan)


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("inspect", help="say what checkpoints are")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_inspect)


def _add_synth(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("synth", help="make up a checkpoint with an architecture's true keys")
    parser.add_argument("--arch", choices=("sd1", "sd2", "sdxl", "sd3", "flux"))
    parser.add_argument("--size", choices=("full", "tiny"), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--near", type=Path, metavar="FILE", help="start from FILE instead")
    parser.add_argument("--drift", type=float, metavar="X", help="with --near: noise of X times each tensor's standard deviation")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16")
    parser.add_argument(
        "--without", action="append", default=[], metavar="COMPONENT", help="leave out, such as vae; may be repeated"
    )
    parser.add_argument("--inpainting", action="store_true", help="9 input channels")
    parser.add_argument("--format", choices=("safetensors", "ckpt"), default="safetensors")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="overwritten if it exists")
    parser.set_defaults(run=_synth)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("bench", help="measure against the copy floor, in one interleaved run")
    parser.add_argument("--dir", type=Path, default=Path("bench/work"), help="folder for the files (default: ./bench/work)")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--only", action="append", metavar="CASE", help="one of the cases; may be repeated")
    parser.add_argument("--slabs", action="store_true", help="compare slab sizes instead")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_bench)


def _add_methods(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("methods", help="list the merge methods")
    parser.set_defaults(run=_methods)


def _demo(options: argparse.Namespace) -> None:
    from .demo import run_demo

    with _stop_flag() as should_stop:
        run_demo(options.dir, options.full, options.threads or default_threads(), should_stop)


def _merge(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.recipe)
    threads = options.threads or default_threads()
    started = time.perf_counter()
    with _stop_flag() as should_stop:
        plan = _make_plan(recipe, options)
        planning_seconds = time.perf_counter() - started
        if not options.json:
            print("\n".join(describe_plan(plan, threads, options.mmap)))
        from .engine import merge

        with Progress(plan, not options.no_source_hashes) as progress:
            report = merge(
                plan,
                options.output,
                overwrite=options.overwrite,
                threads=threads,
                use_mmap=options.mmap,
                source_hashes=not options.no_source_hashes,
                want_data_hash=options.json,
                on_progress=progress.advance,
                should_stop=should_stop,
                planning_seconds=planning_seconds,
            )
    if options.json:
        print(json.dumps({**plan_facts(plan, threads, options.mmap), **report.facts()}))
    else:
        print("\n".join(describe_report(report)))


def _plan(options: argparse.Namespace) -> None:
    threads = options.threads or default_threads()
    plan = _make_plan(load_recipe(options.recipe), options)
    if options.json:
        print(json.dumps(plan_facts(plan, threads, options.mmap)))
    else:
        print("\n".join(describe_plan(plan, threads, options.mmap)))


def _inspect(options: argparse.Namespace) -> None:
    from .inspection import describe, inspect_file

    found = [inspect_file(path) for path in options.files]
    if options.json:
        print(json.dumps({"files": found} if len(found) > 1 else found[0]))
    else:
        print("\n\n".join("\n".join(describe(facts)) for facts in found))


def _synth(options: argparse.Namespace) -> None:
    if (options.near is None) == (options.arch is None):
        raise RecipeError("synth takes either --arch, or --near FILE with --drift X.")
    if (options.near is None) != (options.drift is None):
        raise RecipeError("--near FILE and --drift X go together.")
    if options.near and options.inpainting:
        raise RecipeError("--inpainting goes with --arch; a file made with --near has the channels of FILE.")
    from .synth import synthesise, synthesise_near

    common = {"seed": options.seed, "dtype": options.dtype, "without": tuple(options.without), "file_format": options.format}
    if options.near:
        synthesise_near(options.near, options.drift, options.output, **common)
    else:
        synthesise(options.arch, options.size, options.output, inpainting=options.inpainting, **common)
    print(f"wrote '{options.output}', {options.output.stat().st_size:,} bytes.")


def _bench(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from bench.run import run_bench

    run_bench(options.dir, options.rounds, options.only, options.slabs, options.json)


def _methods(_: argparse.Namespace) -> None:
    from .registry import methods_table

    print(methods_table())


def load_recipe(argument: str) -> Recipe:
    """The recipe that RECIPE means: an existing file's text, else the argument itself.

    Raises:
        RecipeError: it looks like a file's name and there is none, or the text is no recipe.
    """
    is_one_line = "\n" not in argument.strip()
    try:
        is_file = is_one_line and Path(argument).is_file()
    except (OSError, ValueError):  # too long for a name
        is_file = False
    if is_file:
        try:
            return read_recipe(Path(argument).read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"the recipe '{argument}' cannot be read as UTF-8 text: {error}.") from None
    if is_one_line and argument.strip().lower().endswith((".chilly", ".txt")):
        raise RecipeError(f"the recipe '{argument}' was not found.")
    return read_recipe(argument)


def _make_plan(recipe: Recipe, options: argparse.Namespace) -> Plan:
    if options.device != "cpu":
        raise RecipeError(f"--device {options.device} is not available yet; use cpu.")
    library = ModelLibrary(options.models or default_folders())
    return make_plan(recipe, library, dtype=options.dtype, compute=options.compute, on_nan=options.on_nan, step=options.step)


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 256:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 256")
    return number


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """A question whether the user has pressed Ctrl-C; a second time stops at once."""
    pressed = threading.Event()

    def stop(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
