"""The command that carries out the recipes of some files, one after another, and goes on where it was stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from .console import printable, sentence, show, stop_flag
from .engine import check_output, is_finished
from .errors import Interrupted, MergeError, RecipeError
from .merge_commands import Job, ShouldStop, carry_out, library_of, plan_for, print_json
from .models import ModelLibrary
from .plan_options import FOLDER
from .recipe_queue import QueuedRecipe, read_queue
from .report import default_threads

Jobs = dict[QueuedRecipe, Job]


def run_queue(options: argparse.Namespace) -> None:
    """Carry out those recipes whose results are not there yet; all are planned before the first is carried out.

    Raises:
        MergeError: a recipe cannot be carried out, said before anything is written; or some failed midway.
    """
    queue = read_queue(options.files, options.out)
    library = library_of(options)
    with stop_flag() as should_stop:
        jobs = {queued: _job(queued, library, options) for queued in queue}
        facts = _carry_out_all(jobs, _waiting(jobs, options, should_stop), options, should_stop)
    counts = {status: sum(fact["status"] == status for fact in facts) for status in ("done", "skipped", "failed", "waiting")}
    if options.json:
        print_json({"merges": facts})
    else:
        show([f"queue: {', '.join(f'{count} {status}' for status, count in counts.items() if count)}."])
    if counts["failed"]:
        raise MergeError(f"{counts['failed']} of {len(facts)} recipes failed; the same command tries them again.")


def _job(queued: QueuedRecipe, library: ModelLibrary, options: argparse.Namespace) -> Job:
    """The merge of one recipe; a folder is called as a file would be, without the suffix."""
    try:
        recipe = queued.read()
    except MergeError as error:
        raise queued.placed(error) from None
    is_folder = (options.format or recipe.option("format")) == FOLDER
    output = queued.output.with_suffix("") if is_folder else queued.output
    return Job(output, lambda: plan_for(recipe, library, options), not options.no_source_hashes)


def _waiting(jobs: Jobs, options: argparse.Namespace, should_stop: ShouldStop) -> Collection[QueuedRecipe]:
    """The recipes whose results are not there yet.

    Raises:
        MergeError: one of them cannot be carried out.
    """
    threads = options.threads or default_threads()
    waiting: dict[Path, QueuedRecipe] = {}
    for queued, job in jobs.items():
        try:
            plan = job.plan()
            if is_finished(plan, job.output, job.source_hashes, threads, should_stop):
                continue
            check_output(plan, job.output, options.overwrite)
            if early := next((source for source in plan.sources if source.checkpoint.path.resolve() in waiting), None):
                raise RecipeError(f"it reads '{early.name}', which this queue is about to make. Make them steps of one recipe.")
        except Interrupted:
            raise
        except MergeError as error:
            raise queued.placed(error) from None
        waiting[job.output.resolve()] = queued
    return waiting.values()


def _carry_out_all(
    jobs: Jobs, waiting: Collection[QueuedRecipe], options: argparse.Namespace, should_stop: ShouldStop
) -> list[dict[str, object]]:
    """What became of each recipe, by its `status`: done, skipped (it was there), failed, or waiting (for the next run)."""
    facts: list[dict[str, object]] = []
    stopped = False
    for queued, job in jobs.items():
        fact: dict[str, object] = {"output": str(job.output)}
        if queued not in waiting or stopped:
            facts.append({**fact, "status": "waiting" if queued in waiting else "skipped"})
            continue
        try:
            facts.append({**fact, "status": "done", **carry_out(job, options, should_stop)})
        except Interrupted:
            done = sum(fact["status"] != "failed" for fact in facts)
            raise Interrupted(
                f"stopped; {done} of {len(jobs)} results are as their recipes say; the same command goes on."
            ) from None
        except (MergeError, OSError) as error:
            said = queued.placed(error) if isinstance(error, MergeError) else error
            facts.append({**fact, "status": "failed", "error": printable(str(said))})
            print(f"chilly: {sentence(said)}", file=sys.stderr)
            stopped = options.stop
    return facts
