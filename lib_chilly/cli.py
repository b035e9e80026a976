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

from .arguments import make_parser
from .console import Progress, describe_plan, describe_report, printable, sentence, show
from .errors import Interrupted, MergeError, RecipeError
from .models import ModelLibrary, default_folders
from .notations import read_recipe
from .plan import Plan, make_plan
from .recipe import Recipe
from .report import default_threads, plan_facts

DONE, MISTAKE, INTERRUPTED = 0, 2, 130
_LARGEST_RECIPE_BYTES = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 2 the user's mistake or a bad file, said on stderr; 130 interrupted, nothing left behind.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        options = make_parser().parse_args(arguments)
        COMMANDS[options.command](options)
        sys.stdout.flush()
        return DONE
    except Interrupted as error:
        print(f"chilly: {sentence(error)}", file=sys.stderr)
        return INTERRUPTED
    except MergeError as error:
        print(f"chilly: {sentence(error)}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("chilly: stopped. Nothing was left behind.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:  # of the system's many refusals, one that no sentence was written for
        print(printable(f"chilly: {error.filename or 'the system'}: {error.strerror or error}."), file=sys.stderr)
        return MISTAKE


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
            show(describe_plan(plan, threads, options.output.parent, options.mmap))
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
        print(json.dumps({**plan_facts(plan, threads, options.mmap), **report.facts()}, allow_nan=False))
    else:
        show(describe_report(plan, report))


def _plan(options: argparse.Namespace) -> None:
    threads = options.threads or default_threads()
    plan = _make_plan(load_recipe(options.recipe), options)
    if options.json:
        print(json.dumps(plan_facts(plan, threads, options.mmap)))
    else:
        show(describe_plan(plan, threads, Path.cwd(), options.mmap))


def _inspect(options: argparse.Namespace) -> None:
    from .inspection import describe, inspect_file

    found = [inspect_file(path) for path in options.files]
    if options.json:
        print(json.dumps({"files": found} if len(found) > 1 else found[0]))
    else:
        for facts in found:
            show([*describe(facts), ""])


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
    show([f"wrote '{options.output}', {options.output.stat().st_size:,} bytes."])


def _bench(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from bench.run import run_bench

    run_bench(options.dir, options.rounds, options.only, options.slabs, options.json)


def _methods(_: argparse.Namespace) -> None:
    from .registry import methods_table

    print(methods_table())


def _test(_: argparse.Namespace) -> None:
    raise RecipeError("the launcher runs the tests: ./chilly test.")


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
        if Path(argument).stat().st_size > _LARGEST_RECIPE_BYTES:
            raise RecipeError(
                f"'{argument}' is too large for a recipe; is it a model? Write a recipe over models, such as 'A + B'."
            )
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


COMMANDS = {
    "demo": _demo,
    "merge": _merge,
    "plan": _plan,
    "inspect": _inspect,
    "synth": _synth,
    "bench": _bench,
    "methods": _methods,
    "test": _test,
}


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
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed once more, it would only spoil Python's own end
    sys.exit(code)
