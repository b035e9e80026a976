"""The model card of a saved file, for a page: its sections, and both forms to keep."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..architecture import detect
from ..card import make_card
from ..card_pages import Section, html_page, markdown
from ..checkpoint import open_checkpoint
from ..header import Checkpoint
from ..health import refuse_other_kind
from ..report import default_threads
from .job import Job
from .questions import Page, question
from .save_place import saved_file
from .work import LOOKS, Work

_READS = 2
"""Times that a file is read: for its hashes, and for its health."""


@question
def card(page: Page, name: str, base: str | None = None) -> dict[str, Any]:
    """A job that makes the card of a file of the output folder, and the file's architecture; with a base, how alike they are
    stands in it.

    Args:
        base: a model's name.
    """
    path = saved_file(page.host.output_folder(), name)
    checkpoint = open_checkpoint(path)
    architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, path.name)
    other = page.host.library().find(base) if base else None
    if other:
        refuse_other_kind(other, architecture, path.name)

    def do(job: Job) -> None:
        job.report = _report(job, checkpoint, other)

    started = page.one(Work, Work).start(page.name, "card", do, lane="card", thread=LOOKS)
    return {"job": started, "architecture": architecture.name}


def _report(job: Job, checkpoint: Checkpoint, base: Path | None) -> dict[str, Any]:
    read, total = [0], _READS * checkpoint.size_bytes + (open_checkpoint(base).size_bytes if base else 0)

    def on_bytes(count: int) -> None:
        read[0] += count  # from any thread: a figure that is lost is one step of a bar
        job.progress.at(min(1.0, read[0] / total), "reading the file")

    title, sections = make_card(checkpoint.path, base, default_threads(), job.progress.is_cancelled, on_bytes)
    made = {"markdown": markdown(title, sections), "html": html_page(title, sections)}
    return {"title": title, "sections": [_section(section) for section in sections], **made}


def _section(section: Section) -> dict[str, Any]:
    pictures = [{"address": each.address, "caption": each.caption} for each in section.pictures]
    return {**dataclasses.asdict(dataclasses.replace(section, pictures=())), "pictures": pictures}
