"""The model card of a saved file, for a page: its sections, and both forms to keep."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..card import make_card
from ..card_pages import html_page, markdown
from ..report import default_threads
from .job import Job
from .questions import Page, question
from .save_place import saved_file
from .work import LOOKS, Work


@question
def card(page: Page, name: str, base: str | None = None) -> dict[str, Any]:
    """A job that makes the card of a file of the output folder; with a base, how alike they are stands in it.

    Args:
        base: a model's name.
    """
    path = saved_file(page.host.output_folder(), name)
    other = page.host.library().find(base) if base else None

    def do(job: Job) -> None:
        job.progress.at(0.0, "reading the file")
        title, sections = make_card(path, other, default_threads(), job.progress.is_cancelled)
        job.report = {
            "title": title,
            "sections": [dataclasses.asdict(section) for section in sections],
            "markdown": markdown(title, sections),
            "html": html_page(title, sections),
        }

    return {"job": page.one(Work, Work).start(page.name, "card", do, lane="card", thread=LOOKS)}
