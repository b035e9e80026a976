"""Plans, progress and reports as people read them in a terminal."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from .errors import RecipeError
from .expression import spell
from .header import counted
from .key_job import Row
from .memory import peak_memory_bytes
from .output_dtypes import wanted_dtypes
from .plan import Plan
from .report import Report
from .sources import shown_names


class Progress:
    """A bar on stderr with rate and time left; quiet where stderr is no terminal."""

    def __init__(self, plan: Plan, with_hashes: bool):
        self._totals = {"merge": plan.data_bytes, "measure": plan.measured_bytes}
        if with_hashes:
            self._totals["hash"] = sum(source.checkpoint.size_bytes for source in plan.sources)
        self._bars: dict[str, object] = {}
        self._lock = threading.Lock()
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()  # type: ignore[attr-defined]

    def advance(self, what: str, count: int) -> None:
        """`count` more bytes of "hash", "measure" or "merge" are done."""
        if not self._is_shown:
            return
        with self._lock:
            if what not in self._bars:
                from tqdm import tqdm

                title = {"hash": "hashing sources", "measure": "measuring", "merge": "merging"}[what]
                self._bars[what] = tqdm(total=self._totals.get(what), desc=title, unit="B", unit_scale=True, leave=False)
            self._bars[what].update(count)  # type: ignore[attr-defined]


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr of how many bytes were read; quiet where stderr is no terminal. Any thread may call what is yielded."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(desc=title, unit="B", unit_scale=True, leave=False) as bar:

        def advance(count: int) -> None:
            with lock:
                bar.update(count)

        yield advance


class LateWarnings:
    """Warnings that come when the plan is shown already, and nothing is written yet: said at once, on stderr."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def add(self, said: Iterable[str]) -> None:
        for words in said:
            self._said.append(words)
            print(f"warning: {printable(words)}", file=sys.stderr, flush=True)

    def shown_in(self, plan: Plan) -> Plan:
        """The plan with all warnings that were shown, so that the report says none again."""
        return dataclasses.replace(plan, warnings=(*plan.warnings, *self._said))


def printable(text: str) -> str:
    """Text that may come from a file, on one line and without characters that would command the terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def sentence(error: Exception) -> str:
    """An error on one line; a mistake in a recipe has two more, which show its place."""
    if isinstance(error, RecipeError) and error.text is not None and error.position is not None:
        return "\n".join(map(printable, str(error).rsplit("\n", 2)))
    return printable(str(error))


def show(lines: Iterable[str]) -> None:
    """Print lines on stdout; a reader who has gone away (`| head`) does not stop the work."""
    try:
        print("\n".join(printable(line) for line in lines), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_plan(plan: Plan, threads: int, folder: Path, use_mmap: bool = False) -> list[str]:
    """What will be done, in lines; `folder` is where the output goes."""
    lines = [f"{plan.architecture.title}, {counted(len(plan.sources), 'source')}:"]
    lines += [
        f"  {source.name:<28} {source.main_dtype():<5} {source.checkpoint.size_bytes:>14,} bytes  {source.checkpoint.path}"
        for source in plan.sources
    ]
    lines.append("steps:")
    lines += [f"  {line.name} = {spell(line.expression)}" for line in plan.recipe.used_lines()]
    lines += ["folded to one weighted sum:", *describe_rows(plan)]
    lines += [f"note: {note}" for note in plan.notes]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    memory = peak_memory_bytes(plan, threads, use_mmap)
    dtype, *others = (f"{name.removesuffix('_dtype')} {value}" for name, value in wanted_dtypes(plan.recipe).items())
    dtypes = dtype.removeprefix("dtype ") + (f" ({', '.join(others).replace('_', ' ')})" if others else "")
    dtypes += " and small configs" if plan.is_folder else ""
    lines.append(
        f"reads {plan.reads_bytes:,} bytes, writes {plan.writes_bytes:,} bytes of {dtypes}, "
        f"needs about {memory >> 20:,} MiB of memory with {threads} threads; {free_bytes(folder):,} bytes are free in '{folder}'."
    )
    return lines


def describe_rows(plan: Plan) -> list[str]:
    """The folded coefficients; lanes that share them share a line."""
    order = [*plan.architecture.lanes]
    names = shown_names(plan.sources)
    by_sum: dict[tuple[tuple[str, Fraction], ...], list[Row]] = {}
    for row in plan.ordered_rows():
        by_sum.setdefault(tuple(row.named(names)), []).append(row)
    lines = []
    for terms, rows in by_sum.items():
        text = " + ".join(f"{float(weight):.10g} * {name}" for name, weight in terms) or "0"
        lines.append(f"  {_lane_runs(rows, order)}: {text.replace('+ -', '- ')}")
    return lines


def describe_report(plan: Plan, report: Report) -> list[str]:
    """What was done, in lines; what `describe_plan` has said is not said again."""
    lines = [f"lane      merged  copied    change (against {plan.sources[0].name})"]
    for lane, counts in report.keys.items():
        change = report.change[lane]
        shown = "-" if change is None else f"{change:.2%}"
        lines.append(f"{lane:<9} {counts['merged']:>6}  {counts['copied']:>6}  {shown:>8}")
    lines += report.health.lines()
    lines += [f"note: {note}" for note in report.notes if note not in plan.notes]
    lines += [f"warning: {warning}" for warning in report.warnings if warning not in plan.warnings]
    peak = f", peak memory {report.peak_rss_bytes >> 20:,} MiB" if report.peak_rss_bytes else ""
    lines.append(f"read {report.read_bytes:,} bytes, wrote {report.written_bytes:,} bytes in {report.seconds:.2f} s{peak}.")
    lines.append(f"sha256 {report.sha256}")
    lines.append(f"AutoV2 {report.sha256[:10]}  {report.output}")
    return lines


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that `folder`, or the nearest parent that exists, lies on."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _lane_runs(rows: Iterable[Row], order: list[str]) -> str:
    """Rows with neighbouring lanes and one rule drawn together: `IN00-M00, OUT00-OUT11/attn2`; `all lanes` where they are all."""
    runs: list[list[Row]] = []
    for row in rows:
        before = runs[-1][-1] if runs else None
        places = [order.index(one.lane) if one and one.lane in order else -2 for one in (before, row)]
        if before and places[1] == places[0] + 1 and _rule(before) == _rule(row):
            runs[-1].append(row)
        else:
            runs.append([row])
    return ", ".join(_lane_run([row.lane for row in run], order) + _rule(run[0]) for run in runs)


def _lane_run(lanes: list[str], order: list[str]) -> str:
    if lanes == order:
        return "all lanes"
    return lanes[0] if len(lanes) == 1 else f"{lanes[0]}-{lanes[-1]}"


def _rule(row: Row) -> str:
    """What sets a row apart from others of its lane: its rule, the sources that lack its keys."""
    return row.label.removeprefix(row.lane)


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
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
