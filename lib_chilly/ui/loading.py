"""A saved model, or a merge in memory, made the current one of the program that the page runs in."""

from __future__ import annotations

from typing import Any

from ..errors import MergeError
from ..notations import read_recipe
from ..plan import make_plan
from .job import Job
from .open_step import OpenStep
from .questions import Page, question
from .save_place import saved_file
from .work import PICTURES, Work


@question
def load(page: Page, name: str) -> dict[str, Any]:
    """A job that loads a file of the output folder; its report has the title that the program gives it."""
    host = page.host
    if not host.can_load:
        raise MergeError("no model can be loaded here.")
    path = saved_file(host.output_folder(), name)

    def do(job: Job) -> None:
        job.progress.at(0.0, "loading")
        job.report = {"title": host.load(path, job.progress)}

    return {"job": page.one(Work, Work).start(page.name, "load", do, thread=PICTURES)}


@question
def use(page: Page, text: str, step: str | None = None) -> dict[str, Any]:
    """A job that makes a step's merge the current model without saving it; its report has the title."""
    host = page.host
    plan = make_plan(OpenStep(read_recipe(text), step, None).recipe, host.library())

    def do(job: Job) -> None:
        job.report = {"title": host.keep(plan, job.progress)}

    return {"job": page.one(Work, Work).start(page.name, "load", do, thread=PICTURES)}
