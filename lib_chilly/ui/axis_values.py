"""What stands in the field of an axis -> its values, and what a value says as a node of a recipe.

Values stand apart by semicolons or lines, and by commas where that cannot mean the numbers of one list. Numbers may be ranges as
the webui has them: `1-5`, `1-5 (+2)`, `0-1 [5]`; where steps do not meet the end, the last one lies beyond it there too.
"""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

from ..decimals import spell_number
from ..errors import RecipeError
from ..expression import Call, Node, PresetValue, shortened
from ..number_lists import presets
from ..recipe_check import Checker
from ..recipe_lines import clean_text, statements
from ..recipe_text import read_statement

MOST_VALUES = 1000
"""Of one axis."""
_NUMBER = r"[+-]?\s*(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*([+-]\s*\d*\.?\d*)\s*\)|\[\s*(\d{{1,4}})\s*\])?\s*")
_PLAIN = re.compile(rf"\s*{_NUMBER}\s*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')
_RULE = re.compile(r"([^:/]+)[:/]([^:]+):([^:]+)")
_OPEN, _CLOSED = "([{", ")]}"


def split_values(text: str) -> list[str]:
    """The values of an axis of block weights: `GRAD_V, FLAT_50`, `[0, 1], [1, 0]`, `0, 1, 0.5; 1, 1, 0`, `"0,1","1,0"`."""
    found = []
    for part in _parts(text, ";\n"):
        pieces = _parts(part, ",")
        one_list = all(_PLAIN.fullmatch(piece) for piece in pieces) or any(":" in piece and "{" not in piece for piece in pieces)
        found += [part] if one_list and len(pieces) > 1 else [_unquoted(piece) for piece in pieces]
    return _counted(found)


def split_recipes(text: str, known: Collection[str] = ()) -> list[str]:
    """The values of an axis of recipes: names apart by commas, texts by semicolons.

    Args:
        known: names, which may hold what else is a sign that something is a text.
    """

    def values(part: str) -> list[str]:
        is_text = any(sign in _STRING.sub("", part) for sign in "=(")
        return _listed(part, known) or ([part] if is_text else [_unquoted(each) for each in _parts(part, ",\n")])

    return _counted(_listed(text, known) or [value for part in _parts(text, ";") for value in values(part)])


def split_settings(text: str) -> list[str]:
    """The values of an axis of addresses: `M.alpha = 0-1 [3]` is `M.alpha = 0`, `M.alpha = 0.5`, `M.alpha = 1`.

    Raises:
        RecipeError: a part has no address.
    """
    found, address = list[str](), ""
    for part in _parts(text, ";\n"):
        named, sign, values = part.partition("=")
        if sign and "{" not in named and "[" not in named:
            address, part = named.strip(), values
        if not address:
            raise RecipeError(f"'{shortened(part)}' has no address. Write what is to be set, as in MIX.alpha.IN04 = 0-1 [5].")
        found += [f"{address} = {value}" for value in expanded(_unquoted(piece) for piece in _parts(part, ","))]
    return _counted(found)


def expanded(values: Iterator[str] | Sequence[str]) -> Iterator[str]:
    """The same values with those of a range in its place.

    Raises:
        RecipeError: a range that never ends.
    """
    for value in values:
        match = _RANGE.fullmatch(value)
        if match is None:
            yield value
            continue
        first, last = (_exact(match[number]) for number in (1, 2))
        if match[4] is not None:
            count = int(match[4])
            steps = [first + (last - first) * Fraction(index, max(1, count - 1)) for index in range(min(count, MOST_VALUES + 1))]
        else:
            steps = list(_steps(first, last, _exact(match[3]) if match[3] else Fraction(1), value))
        yield from (_decimal(step) for step in steps)


def read_value(text: str, checker: Checker) -> Node:
    """A number, a list, a preset by its name, or rules: in the notation of recipes, without its brackets, or a line for each
    rule as SuperMerger has them.

    Args:
        checker: has taken the constants that may stand in it.

    Raises:
        RecipeError: it is none of them.
    """
    plain = text.strip()
    if plain in presets():
        return PresetValue(plain)
    if not plain:
        raise RecipeError("a value of the axis is empty.")
    if plain[0] not in "[{" and ":" in plain:
        plain = "{" + ", ".join(_rule(rule) for rule in _parts(plain, ",")) + "}"
    elif plain[0] not in "[{" and len(_parts(plain, ",")) > 1 and not plain.startswith("preset"):
        plain = f"[{plain}]"
    # What is a sum stands in parentheses, so that it is one value.
    plain = plain if plain.startswith(("[", "{", "preset")) else f"({plain})"
    try:
        found = list(statements(clean_text(f"_ = _(_={plain})")))
        _, call = read_statement(*found[0], checker)
        if len(found) != 1 or not isinstance(call, Call) or call.operands or len(call.parameters) != 1:
            raise RecipeError("one value stands here.")
        ((_, value),) = call.parameters
        checker.weights(value)
    except RecursionError:
        raise RecipeError(f"'{shortened(text.strip())}' is no value: it is nested too deeply.") from None
    except RecipeError as error:
        names = f" Presets: {', '.join(presets())}." if re.fullmatch(r"\(\w+\)", plain) else ""
        raise RecipeError(f"'{shortened(text.strip())}' is no value: {error.message}{names}") from None
    return value


def exact_number(value: float) -> Fraction:
    """What a number of the webui's axis is taken as: what stands beside the cell, which has eight decimals."""
    return Fraction(repr(round(value, 8)))


def _parts(text: str, separators: str) -> list[str]:
    """A text at its separators outside of brackets and quotes; empty parts are left out."""
    depth, start, place, found = 0, 0, 0, []
    while place < len(text):
        sign = text[place]
        if sign == '"' and (match := _STRING.match(text, place)):
            place = match.end()
            continue
        depth += (sign in _OPEN) - (sign in _CLOSED and depth > 0)
        if sign in separators and not depth:
            found.append(text[start:place])
            start = place + 1
        place += 1
    return [part.strip() for part in (*found, text[start:]) if part.strip()]


def _listed(text: str, known: Collection[str]) -> list[str]:
    """Names as the webui writes the list of all; none where not every one is known."""
    names = list[str]()
    with contextlib.suppress(csv.Error):
        names = [name.strip() for row in csv.reader(text.splitlines(), skipinitialspace=True) for name in row]
    return names if all(name in known for name in names) else []


def _unquoted(value: str) -> str:
    """A value in quotes, as the webui's own axes take them where it has commas."""
    return value[1:-1].replace('""', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value


def _rule(text: str) -> str:
    """`IN04-IN08:attn2:0.6` as it stands in braces."""
    match = _RULE.fullmatch(text)
    return f"{match[1].strip()}/{match[2].strip()}: {match[3]}" if match else text


def _exact(text: str) -> Fraction:
    digits = re.sub(r"\s", "", text)
    if not any(sign.isdigit() for sign in digits):
        raise RecipeError(f"'{shortened(text)}' is no step of a range.")
    return Fraction(digits)


def _steps(first: Fraction, last: Fraction, step: Fraction, text: str) -> Iterator[Fraction]:
    """As many as the webui's axes of numbers have: it goes on until it is a step beyond the end, in floats."""
    start, end, width = map(float, (first, last, step))
    count = math.ceil((end + width - start) / width) if width else 0
    if count < 1:
        raise RecipeError(f"the range '{shortened(text)}' has no values: it goes from {first} to {last} in steps of {step}.")
    for index in range(min(MOST_VALUES + 1, count)):
        yield first + index * step


def _decimal(value: Fraction) -> str:
    """In as many decimals as a plan needs; one third is not written as a fraction beside a cell."""
    return spell_number(Fraction(round(value * 10**8), 10**8))


def _counted(values: list[str]) -> list[str]:
    if len(values) > MOST_VALUES:
        raise RecipeError(f"an axis has at most {MOST_VALUES} values; this one has more.")
    return values
