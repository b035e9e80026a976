"""Merge methods by name: one decorator, and the function's signature is the schema that everything else derives from.

The decorator returns the function unchanged, so tests call it directly. Positional parameters are the models, annotated with what
they may be; keyword-only ones are the parameters, annotated with `Param`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from .errors import Instead, RecipeError
from .signature import Absence, Cost, Kind, Param, Reach

Operand = TypeVar("Operand")


@dataclass(frozen=True)
class MergeMethod:
    """One row of the registry, all of it read off the decorated function and its decorator.

    Attributes:
        operands: names of the positional models; with `takes_any_number` the one name stands for one or more.
        named: operands that are written with their name, such as `base=C`; they stand behind the others.
        kinds: what each operand may be, those with a name last.
        parameters: name to (Param, default).
        absence: rule for keys that an operand lacks.
        keeps_sum: whether the result is what its operands are; only free_sum breaks the rule.
        reach: what it has to see; all but weighted sums stay nodes of the plan.
        cost: what takes its time.
        scratch: tensors of the operands' size and type that it needs at once, beside operands and result.
        is_bitwise: whether every machine makes the same bytes; powers, angles and decompositions differ in last bits.
        ends: (parameter, value) to the operand that the result then is, bit for bit.
        weights: parameters that weigh the first models of a row of any number; the others weigh 1.
        takes_place, takes_orders: whether it asks for the place of its values, as it draws or does something of its own in some
            keys; for orders found before the pass.
    """

    name: str
    title: str
    formula: str
    source: str
    function: Callable[..., Any]
    operands: tuple[str, ...]
    named: tuple[str, ...]
    kinds: tuple[Kind, ...]
    takes_any_number: bool
    parameters: Mapping[str, tuple[Param, float]]
    absence: Absence
    keeps_sum: bool
    reach: Reach
    cost: Cost
    scratch: int
    is_bitwise: bool
    ends: Mapping[tuple[str, float], str]
    weights: tuple[str, ...]
    takes_place: bool
    takes_orders: bool

    @functools.cached_property
    def keys(self) -> frozenset[str]:
        """The keys in which some parameter counts that does not count in all; elsewhere such a method is its first operand."""
        return frozenset(key for param, _ in self.parameters.values() for key in param.keys)

    @property
    def takes_files(self) -> bool:
        """Whether its operands are files of their own kind, which no model can take the place of."""
        return Kind.LORA in self.kinds

    @property
    def is_sum(self) -> bool:
        """Whether it folds."""
        return self.reach is Reach.SUM

    def kind_of(self, index: int, count: int) -> Kind:
        """What operand `index` of `count` may be."""
        plain = count - len(self.named)
        return self.kinds[min(index, len(self.operands) - 1) if index < plain else index - plain + len(self.operands)]

    def operand_names(self, count: int) -> tuple[str, ...]:
        """A name for each of `count` operands; those of a row of any number are numbered."""
        plain = count - len(self.named)
        many = tuple(f"{self.operands[0]} {number + 1}" for number in range(plain))
        return (many if self.takes_any_number else self.operands) + self.named

    def bind(self, operands: Sequence[Operand], parameters: Sequence[tuple[str, Operand]]) -> tuple[Operand, ...]:
        """All operands of a call in the order of `kinds`.

        Raises:
            RecipeError: there are too many or too few of them.
        """
        given = dict(parameters)
        lacking = [name for name in self.named if name not in given]
        if lacking:
            raise RecipeError(f"{self.name} needs {lacking[0]}=MODEL: {self.signature()}.")
        count = len(operands)
        if self.takes_any_number and count < 1:
            raise RecipeError(f"{self.name} takes one or more models, here are none: {self.signature()}.")
        if not self.takes_any_number and count != len(self.operands):
            raise RecipeError(f"{self.name} takes {len(self.operands)} models, here are {count}: {self.signature()}.")
        return (*operands, *(given[name] for name in self.named))

    def signature(self) -> str:
        """How a call looks, such as `weighted_sum(A, B, alpha=0.5)`."""
        models = ["A", "B", "..."] if self.takes_any_number else [name.upper() for name in self.operands]
        named = [f"{name}={name.upper()}" for name in self.named]
        values = [f"{name}={default:g}" for name, (_, default) in self.parameters.items()]
        return f"{self.name}({', '.join(models + named + values)})"


_METHODS: dict[str, MergeMethod] = {}


def merge_method(
    *,
    title: str,
    formula: str,
    source: str,
    absence: Absence = Absence.FIRST,
    keeps_sum: bool = True,
    reach: Reach = Reach.SUM,
    cost: Cost = Cost.ARITHMETIC,
    scratch: int = 1,
    is_bitwise: bool = True,
    ends: Mapping[tuple[str, float], str] | None = None,
    weights: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a merge method under its function's name.

    A weighted sum is called with linear forms to fold a recipe: it may only use + - * / on its models. Any other method is called
    with tensors of float32 or float64, one type for all, which it must not write into: flat ones of one length with
    Reach.ELEMENT, of the weight's shape with Reach.TENSOR. Its parameters are floats. What it returns has the operands' shape
    and type, and is finite where they are.

    Args:
        title: for people, in a list.
        formula: in A, B, C and the parameters' names.
        source: who defined it.
        absence, keeps_sum, reach, cost, scratch, is_bitwise, ends, weights: as of MergeMethod.

    Raises:
        ValueError: the name is taken, or an operand or a parameter lacks its annotation.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if function.__name__ in _METHODS:
            raise ValueError(f"merge method '{function.__name__}' is defined twice.")
        _METHODS[function.__name__] = MergeMethod(
            title=title,
            formula=formula,
            source=source,
            absence=absence,
            keeps_sum=keeps_sum,
            reach=reach,
            cost=cost,
            scratch=scratch,
            is_bitwise=is_bitwise,
            ends=ends or {},
            weights=weights,
            **_signature_of(function),
        )
        return function

    return register


def _signature_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The fields of MergeMethod that stand in the function's own signature."""
    name = function.__name__
    hints = typing.get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters
    operands = [each for each in signature.values() if each.kind is not each.KEYWORD_ONLY]
    options = [each for each in signature.values() if each.kind is each.KEYWORD_ONLY and each.name not in ("place", "orders")]
    named = [each for each in options if each.default is each.empty]
    return {
        "name": name,
        "function": function,
        "operands": tuple(each.name for each in operands),
        "named": tuple(each.name for each in named),
        "kinds": tuple(_annotation(hints, name, each.name, Kind) for each in (*operands, *named)),
        "takes_any_number": any(each.kind is each.VAR_POSITIONAL for each in operands),
        "parameters": {
            each.name: (_annotation(hints, name, each.name, Param), each.default) for each in options if each not in named
        },
        "takes_place": "place" in signature,
        "takes_orders": "orders" in signature,
    }


def all_methods() -> Mapping[str, MergeMethod]:
    """Every method by name: families with weighted sums, then the others, each in the order of definition."""
    _load_methods()
    return _METHODS


@functools.cache
def _load_methods() -> None:
    from . import methods

    for module in pkgutil.iter_modules(methods.__path__):
        importlib.import_module(f"{methods.__name__}.{module.name}")
    # Whichever family was imported by itself before, the order is the same.
    sums = {method.function.__module__ for method in _METHODS.values() if method.is_sum}
    families = {name: method.function.__module__ for name, method in _METHODS.items()}
    found = sorted(_METHODS.items(), key=lambda item: (families[item[0]] not in sums, families[item[0]]))
    _METHODS.clear()
    _METHODS.update(found)


def get_method(name: str) -> MergeMethod:
    """The method of that name.

    Raises:
        RecipeError: there is none; the nearest name is proposed.
    """
    known = all_methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f". Did you mean '{near[0]}'?" if near else f", and models take no brackets. Known: {', '.join(known)}."
        instead = tuple(Instead(name, each) for each in near)
        raise RecipeError(f"there is no merge method '{name}'{hint}", instead=instead)
    return known[name]


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
