"""Whether the models of a recipe are whole: the verdicts of health.py for a page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import Interrupted, MergeError
from ..health import health_of
from ..host.base import Host
from ..known_good import KnownGood
from ..notations import read_recipe
from ..report import default_threads
from ..verdicts import WORDS
from .job import Job
from .plans import Plans
from .questions import Page, question
from .shown_file import identity
from .work import LOOKS, Work

_MOST = 500
"""Verdicts that are remembered."""
_UNKNOWN = "cannot be looked at"


class Verdicts:
    """Looks at files, and remembers what was found of each as long as it is the same; any thread may ask.

    Args:
        host: whose models they are.
    """

    def __init__(self, host: Host):
        self._found: OrderedDict[tuple[object, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, path: Path) -> dict[str, Any] | None:
        with self._lock:
            return self._found.get(_key(path))

    def find(self, path: Path, job: Job) -> dict[str, Any]:
        """The verdict on a file, which is read where it is not known.

        Raises:
            Interrupted: the job was stopped.
        """
        if known := self.known(path):
            return known
        key = _key(path)
        try:
            health = health_of(path, known=KnownGood(), threads=default_threads(), should_stop=job.progress.is_cancelled)
        except Interrupted:
            raise
        except MergeError as error:
            return {"verdict": "unknown", "words": _UNKNOWN, "says": [str(error)], "notes": []}
        found = {
            "verdict": health.verdict,
            "words": WORDS[health.verdict],
            "says": health.sentences(),
            "notes": list(health.notes),
        }
        with self._lock:
            self._found[key] = found
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
        return found


@question
def health(page: Page, text: str) -> dict[str, Any]:
    """A job that looks at the models that a recipe's result is made of; at once where all are known. LoRAs are none."""
    sources = page.one(Plans).of(read_recipe(text)).sources
    files = [(source.name, source.checkpoint.path) for source in sources if not source.lora]
    verdicts = page.one(Verdicts)

    def do(job: Job) -> Iterator[None]:
        found = []
        for number, (model, path) in enumerate(files):
            job.progress.at(number / len(files), f"looking at {model}")
            found.append({"name": model, **verdicts.find(path, job)})
            yield
        job.report = {"files": found}

    report = _report(files, verdicts)
    work = page.one(Work, Work)
    return {"job": work.start(page.name, "health", None if report else do, lane="health", thread=LOOKS, report=report)}


def _report(files: Sequence[tuple[str, Path]], verdicts: Verdicts) -> dict[str, Any] | None:
    """What is known of all; None where one must be read."""
    found = []
    for name, path in files:
        if (known := verdicts.known(path)) is None:
            return None
        found.append({"name": name, **known})
    return {"files": found}


def _key(path: Path) -> tuple[object, ...]:
    """What says that a file, or all that lies in a folder's parts, is the same, and what it is compared with."""
    return path, *KnownGood().stated(), *(identity(each) for each in (sorted(path.glob("*/*")) if path.is_dir() else [path]))
