"""How alike the open step's A and B are, block by block."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..dendrogram import below_100
from ..host.base import Host
from ..notations import read_recipe
from ..plan import Plan, make_plan
from ..recipe import Recipe
from ..report import default_threads
from ..shared_layers import MEASURES, shared_layers, takes_deltas
from ..similarity import Question, Similarity, answers
from .job import Job
from .open_step import OpenStep, model_by_itself
from .picture_cache import weights_key
from .problem import FieldError
from .questions import Page, question
from .work import Work

_MOST_REPORTS = 200
_DECIMALS = 4
Report = dict[str, Any]


class Alike:
    """Compares, and remembers what was found; any thread may ask.

    Args:
        host: in which one thing at a time is merged.
    """

    def __init__(self, host: Host):
        self._host = host
        self._found: OrderedDict[tuple[object, ...], Report] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, lane: str, asked: Question, drawn: Sequence[str] = ()) -> Report | None:
        """What was found before."""
        with self._lock:
            return self._found.get(_key(lane, asked, drawn))

    def find(
        self,
        lane: str,
        asked: Question,
        report: Callable[[Sequence[Similarity]], Report],
        job: Job,
        drawn: Sequence[str] = (),
    ) -> Iterator[None]:
        """Compare now, with a turn for others between layers; the job tells how far it is, and reports what was found.

        Args:
            report: what there is to say of what was found.
            drawn: names that stand in the report itself.
        """
        if before := self.known(lane, asked, drawn):
            job.report = before
            return
        is_pair = len(asked.pairs) == 1
        steps = answers(asked, threads=default_threads(), should_stop=job.progress.is_cancelled, refuse_broken=is_pair)
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
        job.report = report(found)
        with self._lock:
            self._found[_key(lane, asked, drawn)] = job.report
            while len(self._found) > _MOST_REPORTS:
                self._found.popitem(last=False)


def _key(lane: str, asked: Question, drawn: Sequence[str]) -> tuple[object, ...]:
    plans = [*asked.plans, *([asked.ancestor] if asked.ancestor else [])]
    return lane, asked.measure, *drawn, *map(weights_key, plans)


@question
def alike(page: Page, text: str, step: str | None = None, measure: str = "asim", ancestor: str | None = None) -> dict[str, Any]:
    """A job that compares A and B. What cannot be compared is refused at once."""
    recipe = read_recipe(text)
    opened = OpenStep(recipe, step)
    library = page.host.library()
    plans = make_plan(opened.operand(0), library), make_plan(opened.operand(1), library)
    below = make_plan(named(recipe, ancestor), library) if ancestor and has_ancestor(measure) else None
    names = {"a": opened.operand_name(0), "b": opened.operand_name(1)}
    refuse_ancestor(below, plans, list(names.values()))
    shared_layers(*plans, measure, below)
    asked, finder = Question(plans, ((0, 1),), measure, below), page.one(Alike)

    def do(job: Job) -> Iterator[None]:
        yield from finder.find("alike", asked, _of_pair, job)
        job.report = {**names, **(job.report or {})}  # added to what was found before too: the same may be called otherwise now

    known = finder.known("alike", asked)
    done = None if known is None else {**names, **known}
    return {"job": page.one(Work, Work).start(page.name, "alike", None if done else do, lane="alike", report=done)}


def has_ancestor(measure: str) -> bool:
    """Whether a measure looks at one.

    Raises:
        FieldError: there is no such measure.
    """
    if measure not in MEASURES:
        raise FieldError(f"there is no measure '{measure[:40]}'. There are: {', '.join(MEASURES)}.", "measure")
    return takes_deltas(measure)


def refuse_ancestor(below: Plan | None, plans: Sequence[Plan], names: Sequence[str]) -> None:
    """FieldError where one of those that are compared is the ancestor, since which it has learned nothing."""
    own = below and weights_key(below)
    for name, plan in zip(names, plans, strict=True):
        if own and weights_key(plan) == own:
            raise FieldError(f"'{name}' is the ancestor itself, which has learned nothing since. Choose another one.", "ancestor")


def named(recipe: Recipe | None, name: str) -> Recipe:
    """A recipe of what a name means on the page: a step of the recipe, else a model as it is stored."""
    return recipe.with_options(step=name) if recipe and name in recipe.steps else model_by_itself(name)


def measures() -> list[dict[str, Any]]:
    """The measures for START: their names, what they say, from which figure on a block is as good as the other's."""
    return [
        {"name": each.name, "says": each.says, "near": each.near, "unit": each.unit, "ancestor": getattr(each, "of_deltas", "")}
        for each in MEASURES.values()
    ]


def figures(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Numbers as they are shown; what is less than 100 is never shown as 100."""
    return {name: None if value is None else float(below_100(value, _DECIMALS)) for name, value in values.items()}


def _of_pair(found: Sequence[Similarity]) -> Report:
    (pair,) = found
    return {
        "measure": pair.measure,
        "blocks": figures(pair.blocks),
        "totals": figures(pair.totals),
        "notes": list(pair.notes),
    }
