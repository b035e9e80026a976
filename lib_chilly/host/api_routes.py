"""The API as routes of any FastAPI application: what is sent is checked, and what cannot be done is a sentence with a status."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from . import api_forms as forms

if TYPE_CHECKING:
    from .api_answers import Answers


class Guard(Protocol):
    """Who may ask.

    Attributes:
        scheme: of the password, as FastAPI describes it.
    """

    scheme: Any

    async def admit(self, request: Request) -> None:
        """HTTPException for who may not."""


PREFIX = "/chillymerge/v1"
LARGEST_REQUEST = 4 << 20
_LONGEST_WAIT = 30
_LOOK_SECONDS = 0.1
_MOST = 2**63 - 1
_SAYS = {
    401: "user and password of --api-auth are wanted",
    404: "nothing has that name or number",
    409: "not as things are: a name that is taken, a full disk, a damaged file, a flag of the webui's",
    422: "what was sent cannot be taken",
}
_NUMBER = Path(..., ge=0, le=_MOST)


async def _everybody(request: Request) -> None:
    """No password is asked for."""


class SaidRoute(APIRoute):
    """A route whose mistakes are told as Problem, whatever the application around it does with errors.

    What is not known is left out: pydantic 1 cannot say of a value that it may be null.
    """

    admit = staticmethod(_everybody)
    """Called before anything of a request is read but its headers; HTTPException where it may not be made."""
    veiled = staticmethod(str)
    """Called with the text of each answer: what may be told of it."""

    def __init__(self, *args: Any, **given: Any):
        super().__init__(*args, **{**given, "response_model_exclude_none": True})

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            answer = await said(request)
            answer.body = self.veiled(bytes(answer.body).decode()).encode()
            answer.headers["content-length"] = str(len(answer.body))
            return answer

        async def said(request: Request) -> Response:
            try:
                await self.admit(request)
                if self.body_field is not None:
                    request = Request(request.scope, _limited(request))
                    _check_text(await request.body())
                return await handle(request)
            except HTTPException as error:
                return _problem(error.status_code, str(error.detail), headers=error.headers)
            except RequestValidationError as error:
                first = error.errors()[0]
                place = [str(part) for part in first["loc"][1:] if not isinstance(part, int)]
                return _problem(422, f"{'.'.join(place) or 'the request'}: {first['msg']}.", place[-1] if place else None)
            except Exception as error:
                from .api_answers import problem_of_request, status_of

                return _problem(status_of(error), *problem_of_request(error))

        return told


def make_router(answers: Callable[[], Answers], guard: Guard | None = None, veiled: Callable[[str], str] = str) -> APIRouter:
    """All routes.

    Args:
        answers: called at each request, never before the first.
        guard: wants a password.
        veiled: the text of an answer to what may be told of it.
    """
    wanted = (401, 409, 422) if guard else (409, 422)
    responses = {status: _response(status) for status in wanted}
    about: dict[str, Any] = {"prefix": PREFIX, "tags": ["ChillyMerge"], "responses": responses}
    own = {"veiled": staticmethod(veiled), **({"admit": staticmethod(guard.admit)} if guard else {})}
    kind = type("Route", (SaidRoute,), own)
    router = APIRouter(**about, route_class=kind, dependencies=[Security(guard.scheme)] if guard else [])
    _add_models(router, answers)
    _add_jobs(router, answers)
    _add_history(router, answers)
    return router


def _add_models(router: APIRouter, answers: Callable[[], Answers]) -> None:
    @router.get("/methods", response_model=forms.Methods, summary="The merge methods, dtypes and samplers that there are")
    def methods() -> Any:
        return answers().methods()

    @router.get("/inspect", response_model=forms.Inspection, responses=_GONE, summary="What a model is")
    def inspect(model: str = Query(..., description="its name or title in the webui's list")) -> Any:
        return answers().inspect(model)

    @router.post("/plan", response_model=forms.PlanFacts, summary="What a recipe would do, from headers alone")
    def plan(form: forms.PlanForm) -> Any:
        return answers().plan(form.recipe, form.step, _options(form))


def _add_jobs(router: APIRouter, answers: Callable[[], Answers]) -> None:
    @router.post("/merge", response_model=forms.Job, status_code=202, summary="Begin to save a recipe's result among the models")
    def merge(form: forms.MergeForm) -> Any:
        return answers().merge(form.recipe, form.step, form.name, _options(form))

    @router.post("/preview", response_model=forms.Job, status_code=202, summary="Begin to make pictures of a merge")
    def preview(form: forms.PreviewForm) -> Any:
        params = _sent(form.params) if form.params else {}
        pictures = [
            {name: value for name, value in _sent(each, True).items() if value is not None} for each in form.pictures or []
        ]
        return answers().preview(form.recipe, form.step, form.parameter, params, pictures)

    @router.get("/jobs", response_model=forms.Jobs, summary="Merges and previews, without their pictures")
    def jobs() -> Any:
        return answers().jobs()

    @router.get("/jobs/{number}", response_model=forms.Job, responses=_GONE, summary="How far one is, and what it has made")
    async def job(
        number: int = _NUMBER,
        seen: int = Query(0, ge=0, le=_MOST, description="how many of its pictures are known already"),
        wait: float = Query(0, ge=0, le=_LONGEST_WAIT, description="seconds to wait for its end before answering"),
    ) -> Any:
        until = time.monotonic() + wait
        while True:
            found = await run_in_threadpool(lambda: answers().job(number, seen))
            if found["state"] in ("done", "stopped", "failed") or time.monotonic() >= until:
                return found
            await asyncio.sleep(_LOOK_SECONDS)

    @router.post("/jobs/{number}/cancel", response_model=forms.Job, responses=_GONE, summary="Stop one")
    def cancel(number: int = _NUMBER) -> Any:
        return answers().cancel(number)


def _add_history(router: APIRouter, answers: Callable[[], Answers]) -> None:
    @router.get("/history", response_model=forms.Rows, summary="What was saved and kept, the newest first")
    def history(
        search: str = Query("", description="words that stand in it"),
        pinned: bool = Query(False, description="only what is pinned"),
        before: int | None = Query(None, ge=0, le=_MOST, description="only what is older than this entry"),
        count: int = Query(30, ge=1, le=200),
    ) -> Any:
        return answers().history(search, pinned, before, count)

    @router.get("/history/{number}", response_model=forms.Row, responses=_GONE, summary="One entry")
    def entry(number: int = _NUMBER) -> Any:
        return answers().entry(number)

    @router.patch("/history/{number}", response_model=forms.Row, responses=_GONE, summary="Write a note, or pin")
    def change(form: forms.ChangeForm, number: int = _NUMBER) -> Any:
        return answers().change(number, form.note, form.pinned)

    @router.delete("/history/{number}", response_model=forms.Done, responses=_GONE, summary="Forget an entry; its file stays")
    def delete(number: int = _NUMBER) -> Any:
        answers().delete(number)
        return {"done": True}


def _response(status: int) -> dict[str, Any]:
    return {"model": forms.Problem, "description": _SAYS[status]}


_GONE: dict[int | str, dict[str, Any]] = {404: _response(404)}


def _problem(status: int, detail: str, field: str | None = None, headers: Any = None) -> JSONResponse:
    return JSONResponse({"detail": detail, **({"field": field} if field else {})}, status, headers=headers)


def _limited(request: Request) -> Callable[[], Awaitable[Any]]:
    """What a request's body comes from; HTTPException as soon as it is, or says that it will be, too large."""
    said = request.headers.get("content-length", "")
    _check_size(int(said) if said.isdecimal() else 0)
    size = 0

    async def receive() -> Any:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body") or b"")
        _check_size(size)
        return message

    return receive


def _check_size(size: int) -> None:
    if size > LARGEST_REQUEST:
        raise HTTPException(422, f"this is too much at once: {size:,} bytes; {LARGEST_REQUEST:,} are taken.")


def _check_text(body: bytes) -> None:
    """HTTPException where a body holds what no file and no reply can hold."""
    try:
        json.dumps(json.loads(body, parse_constant=_refuse_constant), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise HTTPException(422, "the text holds half a character, which cannot be written to a file. Take it out.") from None
    except (ValueError, RecursionError):
        raise HTTPException(422, "the request is no JSON.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _options(form: forms.PlanForm) -> dict[str, Any]:
    return _sent(form.options) if form.options else {}


def _sent(form: Any, with_defaults: bool = False) -> dict[str, Any]:
    """What was sent, as either pydantic gives it."""
    as_dict = getattr(form, "model_dump", None) or form.dict
    return as_dict(exclude_none=True) if with_defaults else as_dict(exclude_unset=True)
