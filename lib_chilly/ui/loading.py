"""A saved model, made the current one of the program that the page runs in."""

from __future__ import annotations

from typing import Any

from ..errors import MergeError
from ..recipe_queue import SUFFIX
from .job import Job
from .questions import Page, question
from .save_names import fault_of
from .work import SAVES, Work


@question
def load(page: Page, name: str) -> dict[str, Any]:
    """A job that loads a file of the output folder; its report has the title that the program gives it."""
    host = page.host
    path = host.output_folder() / f"{name}{SUFFIX}"
    if not host.can_load:
        raise MergeError("no model can be loaded here.")
    if fault := fault_of(name):
        raise MergeError(fault)
    if not path.is_file():
        raise MergeError(f"there is no {path.name} in the folder any more.")

    def do(job: Job) -> None:
        job.progress.at(0.0, "loading")
        job.report = {"title": host.load(path)}

    return {"job": page.one(Work, Work).start(page.name, "load", do, thread=SAVES)}
