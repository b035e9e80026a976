"""Fixes of texts that the grammar refuses: a missing or a stray comma, bracket, quotation mark or sign."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from ..errors import RecipeError
from ..expression import NAME_CHARACTERS, spell_name
from ..recipe_check import Checker
from ..recipe_lines import STRING, statements
from ..recipe_text import parse_recipe, read_statement

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_SIGNS = {"×": "*", "−": "-", "–": "-", "—": "-"}
_TOKEN = re.compile(rf"{STRING.pattern}|{NAME_CHARACTERS}+|\S")
_MOST_COMMAS = 120
"""A list of SuperMerger's has 110 numbers."""
_LONGEST_LINE = 3_000
_MOST_ENDS = 12

Proposal = tuple[str, str]


def syntax_fixes(error: RecipeError, text: str) -> Iterator[Proposal]:
    """Texts that the grammar may take; where two of one kind do, neither is certain, and none is proposed."""
    position = error.position or 0
    if error.fault == "quotes":
        yield from _only(_closed_quotes(text, position), text, position)
    elif error.fault == "bracket":
        yield from _brackets(text, position)
    else:
        yield from _tokens(text, position)


def _only(proposals: Iterator[Proposal], old: str, position: int) -> Iterator[Proposal]:
    """The one of which the line of a position can be read; none where several are."""
    good = [proposal for proposal in proposals if _reads(proposal[1], old, position)]
    if len({new for _, new in good}) == 1:
        yield good[0]


def _reads(text: str, old: str, position: int) -> bool:
    """Whether nothing is wrong with a text up to the end of the line of a position in the old one."""
    end = old.find("\n", position)
    try:
        parse_recipe(text)
    except RecipeError as error:
        return error.position is None or (0 <= end < error.position)
    return True


def _closed_quotes(text: str, position: int) -> Iterator[Proposal]:
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    line = text[position:end]
    ends = [match.start() for match in re.finditer(r"\s*(?:[,)\]}+*/]|$)", line) if match.start() > 1]
    for offset in list(dict.fromkeys(ends))[:_MOST_ENDS]:
        yield "Close the quotes", text[: position + offset] + '"' + text[position + offset :]


def _brackets(text: str, position: int) -> Iterator[Proposal]:
    """Close what stands open, or take out or turn what closes nothing."""
    bracket = text[position]
    if bracket not in _PAIRS:
        opened = _still_open(text[text.rfind("\n", 0, position) + 1 : position])[:1]
        tried = [(f"Take out the {bracket}", text[:position] + text[position + 1 :])]
        if opened:
            tried = [(f"Put the {opened}", text[:position] + opened + text[position:])]
            tried += [(f"Write {opened} for {bracket}", text[:position] + opened + text[position + 1 :])]
        yield from _only(iter(tried), text, position)
        return
    end = text.find("\n", position)
    line = text[position : len(text) if end < 0 else end].partition("#")[0].rstrip()
    last = position + len(line)
    yield f"Close the {bracket}", text[:last] + _still_open(line) + text[last:]
    places = (position + match.start() for match in itertools.islice(re.finditer(r"\s*[,)\]}]", line), _MOST_ENDS))
    closed = ((f"Close the {bracket}", text[:place] + _PAIRS[bracket] + text[place:]) for place in places)
    yield from _only(closed, text, position)


def _still_open(text: str) -> str:
    """The brackets that a text leaves open, closed."""
    opened = ""
    for piece in re.findall(r'"(?:\\.|[^"\\\n])*"?|[][(){}]', text):
        if piece in _PAIRS:
            opened = _PAIRS[piece] + opened
        elif opened.startswith(piece):
            opened = opened[1:]
    return opened


def _tokens(text: str, position: int) -> Iterator[Proposal]:
    """Put something before the token that was not understood, or write it otherwise, or take it out."""
    token = match[0] if (match := _TOKEN.match(text, position)) else ""
    before, after = text[:position], text[position + len(token) :]
    for sign, plain in _SIGNS.items():
        if sign in token:
            spaced = re.sub(rf"\s*{sign}\s*", f" {plain} ", token)
            yield f"Write {plain} for {sign}", before.rstrip(" ") + f" {spaced.strip()} " + after.lstrip(" ")
            yield f"Write {plain} for {sign}", before + spaced + after
    left = re.search(rf"({NAME_CHARACTERS}+)-\s*$", before)
    if left and token:
        yield "Put a space before the minus", before[: left.end(1)] + " - " + text[position:]
        return
    if not token.strip():
        yield from _at_end(text, position)
        return
    if token.startswith('"') and len(token) > 2:
        yield "Take the quotes away", before + token[1:-1] + after
    spelled = spell_name(token)
    if spelled != token and token[0] not in '"()[]{},=+*/:#':
        yield "Put it in quotes", before + spelled + after
    if _is_operand(token) and re.search(r"(?:\d|\))\s*$", before) and re.search(r"(?:^|[\s(=+*/-])[\d.]+\s*$", before):
        yield "Multiply", before.rstrip() + " * " + text[position:]
    if commas := _with_commas(text, position):
        yield "Put the comma", commas
    if token in "+*/,:=)]}-":
        yield f"Take out the {token}", before.rstrip(" ") + " " + after.lstrip(" ")


def _at_end(text: str, position: int) -> Iterator[Proposal]:
    """A line that ends in an operator or a comma."""
    line = text.rfind("\n", 0, position) + 1
    if match := re.search(r"\s*([-+*/,=])\s*$", text[line:position]):
        yield f"Take out the {match[1]}", text[: line + match.start()] + text[position:]


def _is_operand(token: str) -> bool:
    return token[0] in '("' or re.match(NAME_CHARACTERS, token) is not None


def _with_commas(text: str, position: int) -> str | None:
    """The text with commas wherever the grammar wants one, from a position on; None where that does not help."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    before, line, after = text[:start], text[start : len(text) if end < 0 else end], text[len(text) if end < 0 else end :]
    place = position - start
    for _ in range(_MOST_COMMAS if len(line) < _LONGEST_LINE else 0):
        line = line[:place].rstrip(" ") + ", " + line[place:].lstrip(" ")
        error = _fault_of(line)
        if error is None or error.position is None or error.fault != "syntax":
            return before + line + after
        if error.position <= place + 1:
            return None
        place = error.position
    return None


def _fault_of(line: str) -> RecipeError | None:
    """What the grammar says of one line, whatever the names in it mean."""
    checker = Checker(line)
    try:
        for start, statement in statements(line):
            read_statement(start, statement, checker)
    except RecipeError as error:
        return error
    return None
