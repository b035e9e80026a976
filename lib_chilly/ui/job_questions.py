"""What a page asks of its jobs."""

from __future__ import annotations

from typing import Any

from .questions import Page, question
from .work import Work


@question
def poll(page: Page, jobs: list) -> dict[str, Any]:
    """How far jobs are, and what of them the page has not seen."""
    return {"jobs": page.one(Work, Work).poll(page.name, jobs)}


@question
def stop(page: Page, job: int) -> dict[str, Any]:
    """Stop a job."""
    return {"job": page.one(Work, Work).stop(page.name, job)}


@question
def dismiss(page: Page, job: int) -> None:
    """Let go of a job that is over: a page that is loaded again does not show it."""
    page.one(Work, Work).dismiss(page.name, job)
