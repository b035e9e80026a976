"""The commands that make a plan and carry it out: merge, of a recipe, of its variants, or of what made a file; and plan."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import open_checkpoint
from .console import LateWarnings, Progress, describe_plan, describe_report, show, stop_flag
from .engine import check_known_titles, check_output, merge
from .errors import CheckpointError, OutputError, RecipeError
from .header import quoted
from .lora_plan import plan_output
from .models import ModelLibrary, default_folders
from .notations import read_recipe, recipe_from_metadata
from .notations.preset_files import read_preset_files, with_presets
from .placement import placement_note, usable_device
from .plan import MATHS, Plan
from .provenance import read_record
from .random_weights import Draw
from .recipe import SAVE_OPTIONS, Recipe
from .recipe_argument import load_recipe
from .recipe_queue import SUFFIX
from .recorded_library import RecordedLibrary
from .report import default_threads, plan_facts

_ACCEPT = ", or pass --accept-other-sources to merge what is there"

ShouldStop = Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Job:
    """One merge of a command.

    Attributes:
        plan: makes its plan, anew each time, so that the plans of many merges need not be kept.
        source_hashes: whether its header has the sources' sha256.
    """

    output: Path
    plan: Callable[[], Plan]
    source_hashes: bool


def run_merge(options: argparse.Namespace) -> None:
    """Carry out a recipe, or all variants of it."""
    with stop_flag() as should_stop:
        jobs = _jobs(options, should_stop)
        for job in jobs if len(jobs) > 1 else ():  # what would stop a later one is said before the first
            check_named_output(job.plan(), job.output, options.overwrite)
        facts = [carry_out(job, options, should_stop) for job in jobs]
    if options.json:
        print_json({"variants": facts} if options.variants else facts[0])


def run_plan(options: argparse.Namespace) -> None:
    """Say what a recipe would do."""
    threads = options.threads or default_threads()
    with stop_flag() as should_stop:
        (job,) = _jobs(options, should_stop)
        plan = job.plan()
        plan = dataclasses.replace(plan, notes=(*plan.notes, *check_known_titles(plan)))
    if options.json:
        print_json(plan_facts(plan, threads, options.mmap, options.device))
    else:
        show(describe_plan(plan, threads, Path.cwd(), options.mmap))


def print_json(facts: object) -> None:
    """The one object that --json prints."""
    sys.stdout.write(json.dumps(facts, allow_nan=False) + "\n")


def _jobs(options: argparse.Namespace, should_stop: ShouldStop) -> list[Job]:
    """The merge of a recipe, or one for each variant, or the one that made a file."""
    if options.merged:
        return [_recorded_job(options, should_stop)]
    if options.accept_other_sources:
        raise RecipeError("--accept-other-sources is about the sources that --from FILE names; add --from, or leave it out.")
    if options.variants and options.seed is None:
        raise RecipeError("--variants draws random weights; say --seed N too.")
    library, source_hashes = library_of(options), not options.no_source_hashes

    def job(output: Path, variant: int) -> Job:
        recipe = _read(options, variant)
        return Job(output, lambda: plan_for(recipe, library, options), source_hashes)

    if not options.variants:
        return [job(options.output, 1)]
    return [job(_variant_of(options.output, variant), variant) for variant in range(1, options.variants + 1)]


def _recorded_job(options: argparse.Namespace, should_stop: ShouldStop) -> Job:
    """The merge that made a file, from the same sources."""
    if options.recipe or options.seed is not None or options.variants or options.presets:
        raise RecipeError(
            "--from takes the recipe with all its numbers out of FILE; leave out RECIPE, --seed, --variants and --presets."
        )
    metadata = open_checkpoint(options.merged).metadata
    record = read_record(metadata, options.merged.name)
    if record is None:
        with _said_of(options.merged):
            imported = recipe_from_metadata(metadata)
        if imported is None:
            raise CheckpointError(f"'{options.merged}' does not say how it was made: no recipe that is known is in its header.")
        if options.accept_other_sources:
            raise RecipeError(
                f"'{options.merged}' was made by another merger; --accept-other-sources is for files that were made here. "
                "Leave it out, or write the recipe with the names of other models."
            )
        others = library_of(options)

        def imported_plan() -> Plan:
            return plan_for(imported.recipe, others, options)

        return Job(options.output, imported_plan, not options.no_source_hashes)
    if not options.json:
        show([f"looking for the sources of '{options.merged.name}'"])
    accepts = options.accept_other_sources
    with _said_of(options.merged):
        library = RecordedLibrary(options.models or default_folders(), record, accepts, should_stop, _ACCEPT, options.loras)
        recipe = read_recipe(record.recipe)
    hashed = all(source.sha256 for source in record.sources) and not options.no_source_hashes

    def plan() -> Plan:
        made = plan_for(recipe, library, options)
        notes = list(library.notes)
        if record.maths != MATHS:
            notes.append(f"the file was made with arithmetic {record.maths}, this is {MATHS}: its numbers may differ.")
        return dataclasses.replace(made, notes=(*made.notes, *notes))

    return Job(options.output, plan, hashed)


@contextmanager
def _said_of(file: Path) -> Iterator[None]:
    """What is wrong with a recipe is said of the file that holds it."""
    try:
        yield
    except RecipeError as error:
        named = RecipeError(f"{quoted(file.name)}: {error.message}")
        raise named if error.text is None else named.at(error.text, error.position) from None


def plan_for(recipe: Recipe, library: ModelLibrary, options: argparse.Namespace) -> Plan:
    """The plan of a recipe with the command line's options."""
    device = usable_device(options.device)
    recipe = with_presets(recipe, read_preset_files(options.presets or ()))
    plan = plan_output(recipe, library, **{name: getattr(options, name) for name in SAVE_OPTIONS})
    return dataclasses.replace(plan, notes=(*plan.notes, placement_note(plan))) if device else plan


def library_of(options: argparse.Namespace) -> ModelLibrary:
    return ModelLibrary(options.models or default_folders(), options.loras)


def carry_out(job: Job, options: argparse.Namespace, should_stop: ShouldStop) -> dict[str, object]:
    """Plan, merge and say so; the facts of `merge --json`."""
    threads = options.threads or default_threads()
    started = time.perf_counter()
    plan = job.plan()
    planning_seconds = time.perf_counter() - started
    check_named_output(plan, job.output, options.overwrite)
    if not options.json:
        show(describe_plan(plan, threads, job.output.parent, options.mmap))
    late = LateWarnings()
    with Progress(plan, job.source_hashes) as progress:
        report = merge(
            plan,
            job.output,
            overwrite=options.overwrite,
            threads=threads,
            use_mmap=options.mmap,
            source_hashes=job.source_hashes,
            want_data_hash=options.json,
            on_progress=progress.advance,
            on_warnings=late.add,
            should_stop=should_stop,
            planning_seconds=planning_seconds,
            device=usable_device(options.device),
        )
    if not options.json:
        show(describe_report(late.shown_in(plan), report))
    return {**plan_facts(plan, threads, options.mmap, options.device), **report.facts()}


def check_named_output(plan: Plan, output: Path, overwrite: bool) -> None:
    """`engine.check_output`, and a file is called what it is: by another name no program would find it."""
    check_output(plan, output, overwrite)
    if not plan.is_folder and output.suffix.lower() != SUFFIX:
        raise OutputError(f"the output is a safetensors file; name it '{output}{SUFFIX}', not '{output.name}'.")


def _read(options: argparse.Namespace, variant: int = 1) -> Recipe:
    """The recipe of the command line, with numbers in the places of random weights."""
    if not options.recipe:
        raise RecipeError("there is no RECIPE; give a recipe's file or its text.")
    if options.seed is None:
        if options.limits:
            raise RecipeError("--limits bounds random weights; say --seed N too.")
        return load_recipe(options.recipe)
    draw = Draw(options.seed, variant, options.limits)
    recipe = load_recipe(options.recipe, draw)
    if not draw.count:
        raise RecipeError("--seed has nothing to draw: no block weight of the recipe is R, U or X.")
    return recipe


def _variant_of(output: Path, variant: int) -> Path:
    if "{variant}" in output.name:
        return output.with_name(output.name.replace("{variant}", str(variant)))
    suffix = SUFFIX if output.name.lower().endswith(SUFFIX) else ""
    name = output.name
    return output.with_name(f"{name[: len(name) - len(suffix)]}-v{variant}{name[len(name) - len(suffix) :]}")
