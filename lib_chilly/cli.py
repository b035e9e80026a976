"""The command line: arguments in, sentences or one JSON object out. Thin: everything it can do, the engine does."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import make_parser
from .card_command import run_card
from .console import byte_bar, printable, sentence, show, stop_flag
from .errors import ArchitectureError, CheckpointError, Interrupted, MergeError, RecipeError
from .header import counted
from .ledger_command import run_ledger
from .merge_commands import run_merge, run_plan
from .queue_command import run_queue
from .report import default_threads
from .verify_command import run_verify

if TYPE_CHECKING:
    from .health import Health

DONE, MISTAKE, INTERRUPTED = 0, 2, 130


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
    from .demo import end_demo, run_demo

    with stop_flag() as should_stop:
        run_demo(options.dir, options.full, options.threads or default_threads(), should_stop, not options.no_pictures)
        end_demo(options.dir, not options.no_page, should_stop)


def _ui(options: argparse.Namespace) -> None:
    from .ui.page_server import run_page

    with stop_flag() as should_stop:
        run_page(options.recipe or "", options.models, options.out, options.port, not options.no_browser, should_stop)


def _inspect(options: argparse.Namespace) -> None:
    if options.base and not options.health:
        raise RecipeError("--base is what --health compares with; add --health, or leave it out.")
    with stop_flag() as should_stop, byte_bar("looking at the model") as shown:

        def on_bytes(count: int) -> None:
            if should_stop():
                raise Interrupted("stopped. Nothing was found out.")
            shown(count)

        _inspect_each(options, on_bytes, _examiner(options, should_stop, shown) if options.health else None)


def _examiner(
    options: argparse.Namespace, should_stop: Callable[[], bool], on_bytes: Callable[[int], None]
) -> Callable[[Path], Health]:
    from .health import health_of  # imports torch

    return lambda path: health_of(path, options.base, threads=default_threads(), should_stop=should_stop, on_bytes=on_bytes)


def _inspect_each(options: argparse.Namespace, on_bytes: Callable[[int], None], examine: Callable[[Path], Health] | None) -> None:
    from .inspection import describe, inspect_file

    found: list[dict[str, object]] = []
    for path in options.files:
        try:
            found.append(inspect_file(path, examine, on_bytes))
        except (CheckpointError, ArchitectureError) as error:
            if len(options.files) == 1:
                raise
            found.append({"file": str(path), "error": sentence(error)})
            print(f"chilly: {sentence(error)}", file=sys.stderr)
            continue
        if not options.json:
            show([*describe(found[-1]), ""])
    if options.json:
        print(json.dumps({"files": found} if len(found) > 1 else found[0]))
    if bad := sum("error" in facts for facts in found):
        raise CheckpointError(f"{counted(bad, 'file')} of {len(found)} cannot be read.")


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
    files = options.output.rglob("*") if options.output.is_dir() else (options.output,)
    show([f"wrote '{options.output}', {sum(path.stat().st_size for path in files if path.is_file()):,} bytes."])


def _similarity(options: argparse.Namespace) -> None:
    from .similarity_command import run_similarity

    run_similarity(options)


def _bench(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from bench.plans import run_memory, run_plans
    from bench.run import run_bench

    if options.what == "plans":
        run_plans(options.rounds, options.json)
    elif options.what == "previews":
        from bench.previews import run_previews

        run_previews(options.rounds, options.json)
    elif options.what == "live":
        from bench.live import run_live

        run_live(options.dir, options.rounds, options.device, options.only, options.json)
    elif options.what == "similarity":
        from bench.similarity import run_similarity_bench

        run_similarity_bench(options.dir, options.rounds, options.json)
    elif options.what in ("methods", "gpu"):
        from bench.methods import run_methods

        device = "cuda" if options.what == "gpu" else "cpu"
        run_methods(options.dir, options.rounds, options.only, options.json, device)
    elif options.what == "webui":
        from bench.webui import run_webui

        run_webui(options.rounds, options.json)
    elif options.what == "memory":
        run_memory(options.dir, options.rounds, options.json)
    else:
        run_bench(options.dir, options.rounds, options.only, options.what, options.json)


def _methods(options: argparse.Namespace) -> None:
    from .methods_page import methods_page
    from .registry import methods_table

    print(methods_page().rstrip() if options.page else methods_table())


def _test(_: argparse.Namespace) -> None:
    raise RecipeError("the launcher runs the tests: ./chilly test.")


COMMANDS = {
    "demo": _demo,
    "ui": _ui,
    "merge": run_merge,
    "plan": run_plan,
    "queue": run_queue,
    "inspect": _inspect,
    "similarity": _similarity,
    "verify": run_verify,
    "ledger": run_ledger,
    "card": run_card,
    "synth": _synth,
    "bench": _bench,
    "methods": _methods,
    "test": _test,
}


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed once more, it would only spoil Python's own end
    sys.exit(code)
