"""How alike the open step's A and B are, block by block."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ..dendrogram import below_100
from ..host.base import Host
from ..notations import read_recipe
from ..plan import Plan, make_plan
from ..report import default_threads
from ..similarity import layer_by_layer, shared_layers
from .job import Job
from .open_step import OpenStep
from .picture_cache import weights_key
from .questions import Page, question
from .work import Work

_MOST_REPORTS = 200
_DECIMALS = 4


class Alike:
    """Compares, and remembers what was found; any thread may ask.

    Args:
        host: in which one thing at a time is merged.
    """

    def __init__(self, host: Host):
        self._host = host
        self._found: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, key: tuple[str, ...]) -> dict[str, Any] | None:
        """What was found before."""
        with self._lock:
            return self._found.get(key)

    def find(self, key: tuple[str, ...], plans: tuple[Plan, Plan], measure: str, job: Job) -> Iterator[None]:
        """Compare now, with a turn for others between layers; the job tells how far it is, and reports what was found."""
        steps = layer_by_layer(*plans, measure, threads=default_threads(), should_stop=job.progress.is_cancelled)
        found = None
        with contextlib.closing(steps):
            while found is None:
                with self._host.exclusive(job.progress):
                    try:
                        done, count, block = next(steps)
                    except StopIteration as ended:
                        found = ended.value
                job.progress.at(done / count, f"comparing {block}, layer {done + 1} of {count}")
                yield
        job.report = {
            "measure": measure,
            "blocks": {block: _rounded(value) for block, value in found.blocks.items()},
            "totals": {name: None if value is None else _rounded(value) for name, value in found.totals.items()},
            "notes": list(found.notes),
        }
        with self._lock:
            self._found[key] = job.report
            while len(self._found) > _MOST_REPORTS:
                self._found.popitem(last=False)


def _rounded(value: float) -> float:
    return float(below_100(value, _DECIMALS))


@question
def alike(page: Page, text: str, step: str | None = None, measure: str = "asim") -> dict[str, Any]:
    """A job that compares A and B. What cannot be compared is refused at once."""
    opened = OpenStep(read_recipe(text), step)
    library = page.host.library()
    plans = make_plan(opened.operand(0), library), make_plan(opened.operand(1), library)
    shared_layers(*plans, measure)
    names = {"a": opened.operand_name(0), "b": opened.operand_name(1)}
    maker, key = page.one(Alike), (measure, *map(weights_key, plans))
    known = maker.known(key)

    def do(job: Job) -> Iterator[None]:
        yield from maker.find(key, plans, measure, job)
        job.report = {**names, **(job.report or {})}

    report = None if known is None else {**names, **known}
    work = page.one(Work, Work)
    return {"job": work.start(page.name, "alike", None if report else do, lane="alike", report=report)}
