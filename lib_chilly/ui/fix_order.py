"""Fixes of lines that stand at the wrong place or have the wrong name: a later step, a name twice, none at all."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Iterator

from ..errors import RecipeError
from ..expression import NAME_CHARACTERS, is_number, spell_name
from ..recipe_lines import STRING, statements
from ..recipe_text import parse_recipe

_WORD = re.compile(rf"{STRING.pattern}|{NAME_CHARACTERS}+")
_TARGET = re.compile(rf"\s*({STRING.pattern}|{NAME_CHARACTERS}+)\s*=")
_MOST_MOVES = 50

Proposal = tuple[str, str]


def order_fixes(error: RecipeError, text: str) -> Iterator[Proposal]:
    """Texts whose lines stand in order, each with a name of its own."""
    position = error.position or 0
    names = {name for _, _, name in _lines(text)}
    if error.fault == "nameless":
        name = _free("MIX", names)
        yield f"Call it {name}", f"{text[:position]}{name} = {text[position:]}"
    elif error.fault == "twice":
        yield from _renamed(text, position, names)
    elif moved := _moved_up(error, text):
        yield f"Move {_name_at(text, position)} up", moved


def _lines(text: str) -> list[tuple[int, str, str]]:
    """(offset, statement, name that it defines or "") of each statement."""
    found = []
    for start, statement in statements(text):
        match = _TARGET.match(statement)
        found.append((start, statement, _plain(match[1]) if match else ""))
    return found


def _plain(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _name_at(text: str, position: int) -> str:
    match = _WORD.match(text, position)
    return _plain(match[0]) if match else ""


def _free(name: str, taken: Container[str]) -> str:
    """A name that nothing has yet: as it is, else with a number."""
    return next(each for number in itertools.count(1) if (each := f"{name}_{number}" if number > 1 else name) not in taken)


def _moved_up(error: RecipeError, text: str) -> str | None:
    """The text with the lines that a line needs moved above it."""
    for _ in range(_MOST_MOVES):
        position = error.position or 0
        name, lines = _name_at(text, position), _lines(text)
        use = next((start for start, statement, _ in lines if start <= position <= start + len(statement)), None)
        found = next((each for each in lines if each[2] == name and each[0] > position), None)
        if use is None or found is None:
            return None
        start, end = found[0], found[0] + len(found[1])
        line = text[start:end].strip("\n")
        rest = text[:start] + text[end:].removeprefix("\n")
        use += len(text[use:]) - len(text[use:].lstrip("\n"))
        text = f"{rest[:use]}{line}\n{rest[use:]}"
        try:
            parse_recipe(text)
        except RecipeError as another:
            if another.fault != "later":
                return text
            error = another
        else:
            return text
    return None


def _renamed(text: str, position: int, names: Container[str]) -> Iterator[Proposal]:
    """The second of two lines of one name under another, as are its uses below, up to a third."""
    old = _name_at(text, position)
    new = _free(f"{old}_2", names)
    lines = _lines(text)
    below = [(start, statement, name) for start, statement, name in lines if start > position]
    third = next((start for start, _, name in below if name == old), len(text))
    places = [(position, position + len(_WORD.match(text, position)[0]))]  # type: ignore[index]
    for start, statement, _ in below:
        if start < third:
            places += [(start + first, start + last) for first, last in _uses(statement, old)]
    for first, last in reversed(places):
        text = text[:first] + spell_name(new) + text[last:]
    yield f"Call it {new}", text


def _uses(statement: str, name: str) -> Iterator[tuple[int, int]]:
    """Where a statement speaks of a step: not as a method, a parameter or a preset."""
    for match in _WORD.finditer(statement):
        follows = statement[match.end() :].lstrip()[:1]
        is_preset = re.search(r"preset\s*\(\s*$", statement[: match.start()])
        if _plain(match[0]) == name and not is_number(match[0]) and follows not in ("(", "=") and not is_preset:
            yield match.span()
