"""Merge methods as tables, and the page docs/methods.md: all that their signatures, decorators and docstrings say."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from itertools import groupby

from .registry import MergeMethod, all_methods
from .signature import Param

_HEAD = """# Merge methods

All merge methods, by family. `A`, `B`, `C` are models, steps or sums of them; `...` any number more. What a method sees decides
how it runs: weighted sums fold with those above and below to one sum; what sees one element at a time streams as they do; what
sees whole tensors holds one tensor of each model. Sources are read once, whatever the method, but for `rebasin`, which matches
units before. A parameter takes one number or [block weights](block-weights.md) where nothing else is said; its neutral value is
that of keys that no block weight speaks of.
A method of one's own: [add-a-method.md](add-a-method.md).

[images/methods.webp](images/methods.webp) shows all of them on three models of the [tiny family](tiny-models.md), at one seed,
from little to all of their first parameter.

This page is what `./chilly methods --page` prints."""


def methods_page() -> str:
    """Every method with its formula, source, parameters and what its docstring says, in Markdown."""
    parts = [_HEAD]
    for title, says, family in _families():
        parts += [f"## {title}", says, *(part for method in family for part in _described(method))]
    return "\n\n".join(parts) + "\n"


def methods_table() -> str:
    """All methods as a Markdown table, for the command line."""
    rows = ["| method | formula | what it does | source |", "|---|---|---|---|"]
    for method in all_methods().values():
        what = (inspect.getdoc(method.function) or "").splitlines()[0]
        formula = method.formula.replace("|", "\\|")  # a bar by itself would end the cell
        rows.append(f"| `{method.signature()}` | {formula} | {what} | {method.source} |")
    return "\n".join(rows)


def families_table() -> str:
    """The names of all methods as a Markdown table with a row for each family, for the README."""
    rows = ["| what they do | methods |", "|---|---|"]
    for _, says, family in _families():
        names = ", ".join(f"`{method.name}`" for method in family)
        rows.append(f"| {says.removeprefix('Methods that ').rstrip('.')} | {names} |")
    return "\n".join(rows)


def _families() -> Iterator[tuple[str, str, list[MergeMethod]]]:
    """Title of each family, what its module says of it, its methods."""
    for module, family in groupby(all_methods().values(), key=lambda method: method.function.__module__):
        title = module.rpartition(".")[2].replace("_", " ").capitalize()
        yield title, _flowed((sys.modules[module].__doc__ or "").splitlines()[0]), list(family)


def _described(method: MergeMethod) -> list[str]:
    what, _, more = (inspect.getdoc(method.function) or "").partition("\n\n")
    facts = [
        f"- formula: `{method.formula}`",
        f"- source: {method.source}",
        f"- sees: {method.reach.value}",
        f"- takes its time by: {method.cost.value}",
        *(f"- `{name}`: {_range(param, default)}" for name, (param, default) in method.parameters.items()),
        *(f"- with `{name}` {value:g} it is {operand.upper()}, bit for bit" for (name, value), operand in method.ends.items()),
    ]
    described = [f"### {method.title}", f"`{method.signature()}`", _flowed(what), "\n".join(facts)]
    return [*described, *([_flowed(more)] if more else [])]


def _range(param: Param, default: float) -> str:
    blocks = "" if param.per_block else ", one number for all blocks"
    neutral = f", neutral {param.neutral:g}" if param.per_block else ""
    return f"{param.low:g} to {param.high:g}, {default:g} where it is left out{neutral}{blocks}"


def _flowed(text: str) -> str:
    return " ".join(text.split())
