"""What the page may ask, by name: one decorator, and the function's signature says what goes with a question.

The first parameter is the Page that asks; those after it are the question's arguments, checked against their annotations.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..host.base import GenParams, Host
from .problem import FieldError

Thing = TypeVar("Thing")
Answer = Callable[..., "dict[str, Any] | None"]
Asked = TypeVar("Asked", bound=Answer)

_NOT_QUESTIONS = {"tab", "page_server", "service"}
_QUESTIONS: dict[str, Answer] = {}


class Room:
    """What all pages of one server share: the host, and what is made once and lives as long as the server.

    Args:
        recipe, params: what a new page begins with; parameters that are None are chosen by the models.
        warm_up: loads what the first picture needs, as soon as there is a page; None where nothing is to be loaded.
    """

    def __init__(
        self, host: Host, recipe: str = "", params: GenParams | None = None, warm_up: Callable[[], object] | None = None
    ):
        self.host = host
        self.recipe = recipe
        self.params = params
        self.warm_up = warm_up
        self._things: dict[type, Any] = {}
        self._lock = threading.RLock()

    def one(self, kind: type[Thing], make: Callable[[], Thing] | None = None) -> Thing:
        """The only `kind` of this server, made when first asked for: by `make`, else from the host."""
        with self._lock:
            if kind not in self._things:
                self._things[kind] = make() if make else kind(self.host)  # type: ignore[call-arg]
            return self._things[kind]

    def close(self) -> None:
        """End what was made here, the newest first: all that has `close`."""
        with self._lock:
            things, self._things = list(self._things.values()), {}
        for thing in reversed(things):
            if hasattr(thing, "close"):
                thing.close()


@dataclass(frozen=True)
class Page:
    """Who asks: one tab of a browser, by the random name that it gave itself."""

    name: str
    room: Room

    @property
    def host(self) -> Host:
        return self.room.host

    def one(self, kind: type[Thing], make: Callable[[], Thing] | None = None) -> Thing:
        """The server's only `kind`; see Room.one."""
        return self.room.one(kind, make)


def question(answer: Asked) -> Asked:
    """Register a function as the answer to the question of its name."""
    name = answer.__name__
    if name in _QUESTIONS:
        raise ValueError(f"the question '{name}' is answered twice.")
    _QUESTIONS[name] = answer
    return answer


def all_questions() -> Mapping[str, Answer]:
    """Every question by name."""
    from .. import ui

    for module in pkgutil.iter_modules(ui.__path__):
        if module.name not in _NOT_QUESTIONS:
            importlib.import_module(f"{ui.__name__}.{module.name}")
    return _QUESTIONS


def check_arguments(name: str, answer: Answer, given: Mapping[str, Any]) -> None:
    """FieldError when the arguments that came with a question are not those that its answer takes."""
    parameters = dict(list(inspect.signature(answer).parameters.items())[1:])
    hints = typing.get_type_hints(answer)
    for argument in given:
        if argument not in parameters:
            raise FieldError(f"the question '{name}' has no argument '{argument}'.", argument)
    for argument, parameter in parameters.items():
        if argument not in given:
            if parameter.default is parameter.empty:
                raise FieldError(f"the question '{name}' lacks its argument '{argument}'.", argument)
        elif not _fits(given[argument], hints.get(argument, Any)):
            raise FieldError(f"'{argument}' of the question '{name}' is of the wrong kind.", argument)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the kind that an annotation says; what lists and objects hold is not looked at."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    if kind is Any:
        return True
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)
