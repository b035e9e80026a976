"""Saving from the page: a name, what it will come to, and the job that writes the file, reads it back and remembers it."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoint import open_checkpoint
from ..console import free_bytes
from ..engine import merge
from ..errors import Interrupted, MergeError, OutputError, RecipeError
from ..hashes import hash_checkpoints
from ..history import Entry
from ..host.base import Host
from ..notations import read_recipe
from ..plan import Plan, make_plan
from ..plan_options import typed
from ..recipe import SAVE_OPTIONS, Recipe
from ..recipe_queue import SUFFIX
from ..report import Report, default_threads
from ..verdicts import WORDS
from .history_view import history_of, with_picture
from .job import Job
from .plans import Plans
from .problem import FieldError
from .questions import Page, question
from .save_names import fault_of, folded, names_in, proposed_name, twins_of
from .save_place import fault_of_folders, folders_for
from .save_progress import SaveProgress, in_bytes, in_words
from .saves import Saves
from .shown_file import compare, identity
from .work import COMPARISONS, SAVES, Work

_OPTION_SAID = re.compile(r"(?:save option|the option) '?(\w+)'?")
_SHORT_HASH = 10


@question
def name(page: Page, text: str, step: str | None = None) -> dict[str, Any]:
    """A name for the file, from the recipe; free in the output folder."""
    recipe, saves = _recipe(text, step, {}), page.one(Saves)
    taken = names_in(page.host.output_folder()) | saves.names()
    return {"name": proposed_name(recipe, lambda: page.one(Plans).of(recipe), taken)}


@question
def facts(page: Page, text: str, name: str, step: str | None = None, options: dict | None = None) -> dict[str, Any]:
    """What saving would come to, before the click."""
    saves, folder = page.one(Saves), page.host.output_folder()
    plan = plan_of(page, text, step, options or {})
    seconds, name = saves.clock.seconds(plan), _stem(plan, name)
    return {
        "file": _file(plan, name),
        "bytes": plan.writes_bytes,
        "seconds": round(seconds, 2),
        "says": in_words(seconds, saves.clock.is_known),
        "free_bytes": free_bytes(folder),
        "problem": _problem(page.host, saves, plan, name),
    }


@question
def save(page: Page, text: str, name: str, step: str | None = None, options: dict | None = None) -> dict[str, Any]:
    """Write the file, when those that wait before it are done."""
    plan = plan_of(page, text, step, options or {})
    saves, host, name = page.one(Saves), page.host, _stem(plan, name)
    if problem := _problem(host, saves, plan, name):
        raise FieldError(problem["message"], problem["field"] or "name")
    saves.take(name, plan.writes_bytes)
    give_back = functools.cache(lambda: saves.give_back(name))  # once: another save may have taken the name since
    work = page.one(Work, Work)

    def do(job: Job) -> Iterator[None]:
        saved, output = _saved(page, plan.recipe, name, job)
        give_back()  # the file has it now
        if not saved.is_folder and host.was_shown(saved):
            job.thread = COMPARISONS  # others are saved while this waits for the webui
            written = identity(output)
            yield
            compare(host, saved, output, written, job)

    try:
        return {"job": work.start(page.name, "save", do, thread=SAVES, at_end=give_back)}
    except BaseException:  # too much waits already
        give_back()
        raise


def _recipe(text: str, step: str | None, options: dict) -> Recipe:
    """The recipe that is saved: with the open step as its result, and the options of the form in its save(...)."""
    recipe = read_recipe(text)
    if step is not None and step != recipe.result:
        # The title is that of the result.
        recipe = recipe.with_options(step=step, title=None)
        _ = recipe.result
    for option, value in options.items():
        if option not in SAVE_OPTIONS or option == "step" or not isinstance(value, (str, type(None))):
            raise FieldError(f"save has no option '{option}' that takes this.", option)
    return recipe.with_options(**{option: value or None for option, value in options.items()})


def plan_of(page: Page, text: str, step: str | None, options: dict) -> Plan:
    """The plan; what an option of the form makes impossible is said at its field."""
    recipe = _recipe(text, step, options)
    try:
        typed(dict(recipe.save))
        return page.one(Plans).of(recipe)
    except MergeError as error:
        said = _OPTION_SAID.match(error.message if isinstance(error, RecipeError) else str(error))
        if said and said[1] in options:
            raise FieldError(str(error), said[1]) from None
        raise


def _stem(plan: Plan, name: str) -> str:
    """A name as it was typed, without the suffix that the file gets anyway."""
    is_whole = not plan.is_folder and name.lower().endswith(SUFFIX)
    return name[: -len(SUFFIX)] if is_whole else name


def _file(plan: Plan, name: str) -> str:
    """What the file is called below the output folder."""
    return name + ("" if plan.is_folder else SUFFIX)


def _problem(host: Host, saves: Saves, plan: Plan, name: str) -> dict[str, Any] | None:
    """Why it cannot be saved under this name, or at all."""
    folder = host.output_folder()
    file = _file(plan, name)
    output = folder / file
    if fault := fault_of(name) or fault_of_folders(folder, name):
        return {"message": fault, "field": "name"}
    if os.path.lexists(output) or folded(output.name) in names_in(output.parent, stems=False):
        return {"message": f"{file} exists already. Choose another name.", "field": "name"}
    if folded(name) in saves.names():
        return {"message": f"{file} is being saved already. Choose another name.", "field": "name"}
    free = free_bytes(folder) - saves.bytes()
    if free < plan.writes_bytes:
        waiting = " when those that wait are saved" if saves.bytes() else ""
        return {"message": f"Needs {in_bytes(plan.writes_bytes)}, {in_bytes(max(0, free))} free{waiting}.", "field": None}
    return None


def _saved(page: Page, recipe: Recipe, name: str, job: Job) -> tuple[Plan, Path]:
    """Plan again, as files may have changed while this waited; write, read back, and tell everybody: the plan and the file."""
    host = page.host
    plan = make_plan(recipe, host.library())
    file = _file(plan, name)
    output = host.output_folder() / file
    started = time.perf_counter()
    report = _written(page, plan, output, name, job)
    seconds = time.perf_counter() - started
    host.register_saved(output, report.sha256)
    warnings = [*report.warnings, *twins_of(name, host.library())]
    number = _remember(page, plan, name, {"name": file, "bytes": report.written_bytes, "sha256": report.sha256}, warnings)
    job.report = {
        "name": name,
        "file": file,
        "bytes": report.written_bytes,
        "seconds": round(seconds, 3),
        "sha256": report.sha256,
        "short_hash": report.sha256[:_SHORT_HASH],
        "checked": True,
        "history": number,
        "warnings": warnings,
        "as_shown": None,
        "health": {**report.health.result.facts(), "words": WORDS[report.health.result.verdict]},
        "notes": list(report.notes),
        "can_load": host.can_load and not plan.is_folder,
    }
    return plan, output


def _written(page: Page, plan: Plan, output: Path, name: str, job: Job) -> Report:
    """Write the file and read it back; how long each took is learnt."""
    folder, clock = page.host.output_folder(), page.one(Saves).clock
    progress = SaveProgress(plan, job.progress)
    job.progress.at(0.0, "starting")
    stop, threads = job.progress.is_cancelled, default_threads()
    if fault := fault_of_folders(folder, name):  # they may have become others while this waited
        raise OutputError(fault)
    with folders_for(output, folder):
        config = output.with_suffix(".yaml")
        is_own = plan.sidecar is not None and not os.path.lexists(config)
        report = merge(plan, output, threads=threads, on_progress=progress.advance, should_stop=stop)
        with _undone(output, plan, config if is_own else None):
            _check(output, report, progress)
    took, done = progress.seconds, progress.done
    clock.learn("merge", plan.reads_bytes + plan.writes_bytes, took.get("merge", 0) + took.get("measure", 0))
    clock.learn("hash", done["hash"] + done["check"], took.get("hash", 0) + took["check"])
    return report


def _check(output: Path, report: Report, progress: SaveProgress) -> None:
    """Read the file back: its header can be read, and every byte is the one that was written."""

    def on_bytes(count: int) -> None:
        progress.stop_if_cancelled()
        progress.advance("check", count)

    progress.advance("check", 0)
    if hash_checkpoints([open_checkpoint(output)], 1, on_bytes) != [report.sha256]:
        raise OutputError(
            f"'{output.name}' was written, but reads back otherwise: the disk or its cable may be failing. "
            + ("Delete the folder." if output.is_dir() else "It was removed.")
        )


@contextmanager
def _undone(output: Path, plan: Plan, config: Path | None) -> Iterator[None]:
    """What is wrong, or stopped, after the file got its name takes it away again, with the `config` that was written beside it; a
    folder stays."""
    written = output.stat()
    try:
        yield
    except (MergeError, Interrupted):
        if not plan.is_folder and (output.stat().st_ino, output.stat().st_dev) == (written.st_ino, written.st_dev):
            output.unlink()
            if config:
                config.unlink(missing_ok=True)
        raise


def _remember(page: Page, plan: Plan, name: str, facts: dict[str, Any], warnings: list[str]) -> int | None:
    """The entry's number in the history; a history that cannot be written is no reason to lose a file."""
    entry = Entry(
        "file",
        name,
        plan.recipe.canonical(),
        architecture=plan.architecture.name,
        file=facts,
        sources=tuple(source.name for source in plan.sources),
    )
    try:
        return history_of(page).add(with_picture(page, entry, page.one(Work, Work).newest_pictures(page.name))).number
    except MergeError as error:
        warnings.append(str(error))
        return None
