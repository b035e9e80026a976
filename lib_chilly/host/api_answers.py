"""What the API's routes do: the same functions as those of the page and the command line, of one page that no browser is."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..engine import check_known_titles
from ..errors import CheckpointError, MergeError, OutputError
from ..inspection import inspect_file
from ..output_dtypes import OUTPUT_DTYPES
from ..registry import all_methods
from ..report import default_threads, plan_facts
from ..ui import history_view, previews, saving, start
from ..ui.problem import FieldError, problem_of
from ..ui.questions import Page, Room
from ..ui.save_names import fault_of
from ..ui.work import Work

PAGE = "/api"
"""No browser's page can have this name, so its jobs are the API's alone."""
_MERGED = ({"id": "merged", "of": "merged"},)
_KINDS = {"save": "merge"}


class Missing(MergeError):
    """What a path or a name means is not there."""


class Conflict(FieldError):
    """It could be done, but not as things are now."""


def status_of(error: BaseException) -> int:
    """The HTTP status of something that cannot be done."""
    if isinstance(error, Missing):
        return 404
    if isinstance(error, (Conflict, OutputError)) or type(error) is MergeError:
        return 409
    return 422 if isinstance(error, MergeError) else 500


def problem_of_request(error: BaseException) -> tuple[str, str | None]:
    """(a sentence, what was sent that it is about); what no caller can have caused goes to the log."""
    said = problem_of(error, "request")
    return said["message"], said["field"]


class Answers:
    """The routes' functions.

    Args:
        room: what they share with the page.
    """

    def __init__(self, room: Room):
        self.room = room
        self.page = Page(PAGE, room)
        self.host = room.host

    def methods(self) -> dict[str, Any]:
        methods = [start.described(method) for method in all_methods().values()]
        host = self.host
        choices = {"samplers": host.samplers(), "schedulers": host.schedulers(), "styles": host.styles(), "dtypes": OUTPUT_DTYPES}
        return {"version": __version__, "methods": methods, **{name: list(values) for name, values in choices.items()}}

    def inspect(self, model: str) -> Mapping[str, Any]:
        """Only models that the host lists can be named."""
        library = self.host.library()
        if not library.knows(model):
            self.host.refresh_checkpoints()
            library = self.host.library()
        try:
            path = library.find(model)
        except MergeError as error:
            raise (Conflict(str(error), "model") if library.knows(model) else Missing(str(error))) from None
        try:
            return inspect_file(path)
        except CheckpointError as error:
            raise Conflict(str(error), "model") from None

    def plan(self, recipe: str, step: str | None, options: dict[str, Any]) -> dict[str, Any]:
        plan = saving.plan_of(self.page, recipe, step, options)
        plan = dataclasses.replace(plan, notes=(*plan.notes, *check_known_titles(plan)))
        return plan_facts(plan, default_threads())

    def merge(self, recipe: str, step: str | None, name: str | None, options: dict[str, Any]) -> dict[str, Any]:
        """Begin to write a file into the host's folder of models."""
        if name is None:
            name = saving.name(self.page, recipe, step)["name"]
        elif fault := fault_of(name):
            raise FieldError(fault, "name")
        saving.plan_of(self.page, recipe, step, options)  # what is wrong with it comes before what is wrong with the name
        try:
            return _job(saving.save(self.page, recipe, name, step, options)["job"])
        except FieldError as error:
            raise Conflict(str(error), error.field) from None

    def preview(
        self, recipe: str, step: str | None, parameter: str | None, params: dict[str, Any], pictures: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Begin to make pictures; nobody else's are stopped by that."""
        lane = secrets.token_hex(8)
        wanted = pictures or list(_MERGED)
        return _job(previews.preview(self.page, recipe, params, wanted, step, lane, parameter)["job"])

    def jobs(self) -> dict[str, Any]:
        return {"jobs": [_job(job) for job in self.room.one(Work, Work).jobs_of(PAGE)]}

    def job(self, number: int, seen: int) -> dict[str, Any]:
        """How far it is, with the pictures after the first `seen`."""
        return _known(self.room.one(Work, Work).poll(PAGE, [{"job": number, "seen": seen}])[0])

    def cancel(self, number: int) -> dict[str, Any]:
        return _known(self.room.one(Work, Work).stop(PAGE, number))

    def history(self, search: str, pinned: bool, before: int | None, count: int) -> dict[str, Any]:
        return history_view.history(self.page, search, pinned, before, count)

    def entry(self, number: int) -> dict[str, Any]:
        try:
            return history_view.row_of(history_view.history_of(self.page).get(number))
        except OutputError:
            raise
        except MergeError as error:
            raise Missing(str(error)) from None

    def change(self, number: int, note: str | None, pinned: bool | None) -> dict[str, Any]:
        self.entry(number)
        return history_view.history_change(self.page, number, note, pinned) or {}

    def delete(self, number: int) -> None:
        self.entry(number)
        history_view.history_change(self.page, number, delete=True)


def _known(job: dict[str, Any]) -> dict[str, Any]:
    if not job["kind"]:
        raise Missing(job["problem"]["message"])
    return _job(job)


def _job(job: dict[str, Any]) -> dict[str, Any]:
    """Job of api_forms from the page's."""
    trouble = job["problem"]
    said = {"detail": trouble["message"], "field": trouble["field"]} if trouble else None
    plain = {name: job[name] for name in ("job", "state", "text", "share", "pictures")}
    return {**plain, "kind": _KINDS.get(job["kind"], job["kind"]), "problem": said, "saved": job["report"]}
