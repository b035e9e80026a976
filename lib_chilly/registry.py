"""Merge methods by name: one decorator, and the function's signature is the schema that everything else derives from.

The decorator returns the function unchanged, so tests call it directly. Positional parameters are the models, annotated with what
they may be; keyword-only ones are the parameters, annotated with `Param`.
"""

from __future__ import annotations

import difflib
import enum
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from .errors import Instead, RecipeError


class Kind(enum.Enum):
    """What an operand may be, by its exact coefficient sum."""

    MODEL = "a model"
    ALIKE = "a model or a delta, the same for all operands"
    ANY = "anything"


class Absence(enum.Enum):
    """What happens in a key that an operand lacks; see docs/recipes.md."""

    SHARE = "those that hold the key share the weight"
    BASE_AND_DELTAS = "positive weights share, a delta with a missing side is 0"
    ZERO = "a missing operand counts 0"


@dataclass(frozen=True)
class Param:
    """A method's parameter: its usual range, and whether it may differ between blocks.

    Attributes:
        low, high: values outside are allowed and warned of.
        per_block: whether block weights are accepted, or one number only.
        neutral: the value of keys that no block weight speaks of.
    """

    low: float
    high: float
    per_block: bool = True
    neutral: float = 0.0


@dataclass(frozen=True)
class MergeMethod:
    """One row of the registry, all of it read off the decorated function.

    Attributes:
        operands: names of the positional models; with `takes_any_number` the one name stands for one or more.
        kinds: what each operand may be.
        parameters: name to (Param, default).
        absence: rule for keys that an operand lacks.
        keeps_sum: whether the result is what its operands are; only free_sum breaks the rule.
    """

    name: str
    title: str
    formula: str
    source: str
    function: Callable[..., Any]
    operands: tuple[str, ...]
    kinds: tuple[Kind, ...]
    takes_any_number: bool
    parameters: Mapping[str, tuple[Param, float]]
    absence: Absence
    keeps_sum: bool

    def kind_of(self, index: int) -> Kind:
        return self.kinds[min(index, len(self.kinds) - 1)]

    def check_count(self, count: int) -> None:
        """RecipeError when the method cannot take `count` operands."""
        if self.takes_any_number:
            if count < 1:
                raise RecipeError(f"{self.name} takes one or more models, here are none: {self.signature()}.")
        elif count != len(self.operands):
            raise RecipeError(f"{self.name} takes {len(self.operands)} models, here are {count}: {self.signature()}.")

    def signature(self) -> str:
        """How a call looks, such as `weighted_sum(A, B, alpha=0.5)`."""
        models = ["A", "B", "..."] if self.takes_any_number else [name.upper() for name in self.operands]
        return f"{self.name}({', '.join(models + [f'{name}={default:g}' for name, (_, default) in self.parameters.items()])})"


Model = Annotated[Any, Kind.MODEL]
Alike = Annotated[Any, Kind.ALIKE]
Anything = Annotated[Any, Kind.ANY]
Weight = Annotated[float, Param(0, 1)]

_METHODS: dict[str, MergeMethod] = {}


def merge_method(
    *, title: str, formula: str, source: str, absence: Absence, keeps_sum: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a merge method under its function's name.

    The function is called with tensors or, to fold a recipe, with linear forms: it may only use + - * / on its models.

    Args:
        title: for people, in a list.
        formula: in A, B, C and the parameters' names.
        source: who defined it.
        absence: rule for keys that an operand lacks.
        keeps_sum: whether the result is what its operands are (a model of models, a delta of deltas).

    Raises:
        ValueError: the name is taken, or an operand or a parameter lacks its annotation.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        if name in _METHODS:
            raise ValueError(f"merge method '{name}' is defined twice.")
        hints = typing.get_type_hints(function, include_extras=True)
        signature = inspect.signature(function).parameters.values()
        operands = [parameter for parameter in signature if parameter.kind is not parameter.KEYWORD_ONLY]
        options = [parameter for parameter in signature if parameter.kind is parameter.KEYWORD_ONLY]
        _METHODS[name] = MergeMethod(
            name=name,
            title=title,
            formula=formula,
            source=source,
            function=function,
            operands=tuple(parameter.name for parameter in operands),
            kinds=tuple(_annotation(hints, name, parameter.name, Kind) for parameter in operands),
            takes_any_number=any(parameter.kind is parameter.VAR_POSITIONAL for parameter in operands),
            parameters={
                parameter.name: (_annotation(hints, name, parameter.name, Param), parameter.default) for parameter in options
            },
            absence=absence,
            keeps_sum=keeps_sum,
        )
        return function

    return register


def all_methods() -> Mapping[str, MergeMethod]:
    """Every method by name, in the order of definition."""
    _load_methods()
    return _METHODS


@functools.cache
def _load_methods() -> None:
    from . import methods

    for module in pkgutil.iter_modules(methods.__path__):
        importlib.import_module(f"{methods.__name__}.{module.name}")


def get_method(name: str) -> MergeMethod:
    """The method of that name.

    Raises:
        RecipeError: there is none; the nearest name is proposed.
    """
    known = all_methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(known)}."
        instead = tuple(Instead(name, each) for each in near)
        raise RecipeError(f"there is no merge method '{name}'. {hint}", instead=instead)
    return known[name]


def methods_table() -> str:
    """All methods as a Markdown table, for the README and the command line's help."""
    rows = ["| method | formula | what it does | source |", "|---|---|---|---|"]
    for method in all_methods().values():
        what = (inspect.getdoc(method.function) or "").splitlines()[0]
        rows.append(f"| `{method.signature()}` | {method.formula} | {what} | {method.source} |")
    return "\n".join(rows)


def coefficients(method: MergeMethod, operands: Sequence[Any], values: Mapping[str, Fraction]) -> Any:
    """Call a method on anything that adds and scales; ZeroDivisionError becomes a RecipeError."""
    try:
        return method.function(*operands, **values)
    except ZeroDivisionError:
        given = ", ".join(f"{name} = {float(value):g}" for name, value in values.items())
        raise RecipeError(f"{method.name} divides by zero with {given}: {method.formula}.") from None


def _annotation(hints: Mapping[str, Any], method: str, name: str, kind: type) -> Any:
    for extra in getattr(hints.get(name), "__metadata__", ()):
        if isinstance(extra, kind):
            return extra
    raise ValueError(f"merge method '{method}': '{name}' has no {kind.__name__} annotation.")
