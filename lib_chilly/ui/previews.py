"""Pictures of the step that is open: which are wanted, those that were made before, and the job that makes the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..host.base import RECIPE, GenParams, Host
from ..notations import read_recipe
from ..plan import Plan
from .job import Do, Job
from .open_step import OpenStep
from .picture_cache import Kept, PictureCache, picture_key
from .picture_params import read_params
from .picture_wants import Wanted, read_wanted
from .plans import Plans
from .png import AMPLIFIED, as_png, data_url, difference, with_parameters
from .problem import FieldError
from .questions import Page, question
from .work import Work

_LONGEST_LANE = 40
_MOST_AT_ONCE = 3
"""Pictures that are looked up before the question is answered; each is planned for that."""


class Pictures:
    """Makes pictures, or has them from before.

    Args:
        host: whose models they are of.
        plans: of their recipes.
    """

    def __init__(self, host: Host, plans: Plans):
        self.host, self.plans = host, plans
        self.cache = PictureCache()

    def ready(self, plan: Plan, params: GenParams) -> Kept | None:
        """The picture, if it was made before and is still kept."""
        return self.cache.get(picture_key(plan, params, self.host.picture_state()))

    def make(self, plan: Plan, params: GenParams, job: Job) -> Kept:
        """The picture, made now where it is not ready; the job tells how far it is."""
        key = picture_key(plan, params, self.host.picture_state())
        if (kept := self.cache.get(key)) is None:
            made = self.host.preview(plan, params, job.progress)
            facts = made.seed, made.notes, made.merge_seconds, made.seconds, made.blocks
            kept = Kept(as_png(made.image), made.infotext, *facts)
            if key == picture_key(plan, params, self.host.picture_state()):  # nothing was changed while this waited, or was made
                self.cache.put(key, kept)
        return kept


@question
def preview(
    page: Page,
    text: str,
    params: dict,
    pictures: list,
    step: str | None = None,
    lane: str = "main",
    parameter: str | None = None,
) -> dict[str, Any]:
    """A job that makes pictures of a step. What cannot be planned, or has no picture, is refused at once."""
    if not lane or len(lane) > _LONGEST_LANE:
        raise FieldError(f"a lane has 1 to {_LONGEST_LANE} letters.", "lane")
    maker = page.one(Pictures, lambda: Pictures(page.host, page.one(Plans)))
    taken, opened, plan = _read(page, text, params, step, parameter)
    page.host.estimate(plan, taken)
    todo = read_wanted(opened, pictures, plan.architecture)
    ready = []
    for wanted in todo[:_MOST_AT_ONCE]:
        own = plan if wanted.recipe is opened.recipe else maker.plans.of(wanted.recipe) if wanted.kind == "of" else None
        kept = maker.ready(own, taken) if own else None
        if kept is not None:
            ready.append(_described(wanted, kept))
            todo = [other for other in todo if other is not wanted]
    do = _making(maker, plan, taken, todo) if todo else None
    return {"job": page.one(Work, Work).start(page.name, "preview", do, lane=lane, pictures=ready)}


@question
def estimate(page: Page, text: str, params: dict, step: str | None = None) -> dict[str, Any]:
    """How long a picture of the step will take."""
    taken, _, plan = _read(page, text, params, step, None)
    seconds, says = page.host.estimate(plan, taken)
    return {"seconds": seconds, "says": says}


def _read(page: Page, text: str, params: dict, step: str | None, parameter: str | None) -> tuple[GenParams, OpenStep, Plan]:
    host = page.host
    taken = read_params(params, host.samplers(), host.schedulers(), host.styles())
    opened = OpenStep(read_recipe(text), step, parameter)
    return taken, opened, page.one(Plans).of(opened.recipe)


def _making(maker: Pictures, merge: Plan, params: GenParams, todo: list[Wanted]) -> Do:
    """The job: one picture after another, with a turn for others between them."""

    def do(job: Job) -> Iterator[None]:
        base: bytes | None = None
        job.parts = len(todo)
        if any(wanted.kind == "block" for wanted in todo):  # what they are compared with, which nobody asked for: not counted
            base = maker.make(merge, params, job).png
            yield
        for number, wanted in enumerate(todo):
            job.progress.share, job.part = 0.0, number
            job.progress.show = partial(job.show, wanted.id) if wanted.kind == "of" else None
            kept = maker.make(maker.plans.of(wanted.recipe), params, job)
            job.add(_described(wanted, kept, base if wanted.kind == "block" else None))
            yield

    return do


def _described(wanted: Wanted, kept: Kept, base: bytes | None = None) -> dict[str, Any]:
    """PICTURE as docs/page-protocol.md has it."""
    infotext = f"{kept.infotext}, {RECIPE}: {json.dumps(wanted.own_text, ensure_ascii=False)}"
    return {
        "id": wanted.id,
        "image": data_url(with_parameters(kept.png, infotext)),
        "infotext": infotext,
        "recipe": wanted.text,
        "seed": kept.seed,
        "says": list(kept.notes),
        "merge_seconds": kept.merge_seconds,
        "seconds": kept.seconds,
        "blocks": kept.blocks,
        "difference": None if base is None else data_url(difference(base, kept.png)),
        "amplified": None if base is None else AMPLIFIED,
    }
