"""Recipe text in any notation -> Recipe: our own, another merger's, else a model card's."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Callable

from ..errors import RecipeError
from ..recipe import Recipe
from ..recipe_text import Draw, parse_recipe
from . import element_lines, mecha, model_mixer, prompt_tags, supermerger_history
from .card_text import CardText
from .draft import Imported as Imported
from .metadata import read_json
from .metadata import recipe_from_metadata as recipe_from_metadata
from .model_card import read_card

LONGEST_TEXT, LONGEST_LINE, LONGEST_WORD, MOST_LINES = 65_536, 5_000, 500, 2_000
"""Larger than any recipe or card; they bound the time that a hostile text can take."""

_BLANK = " \t\r\n\ufeff"
_MERGERS: tuple[tuple[Callable[[str], bool], Callable[[str], Imported]], ...] = (
    (mecha.is_mecha, mecha.read),
    (supermerger_history.is_history, supermerger_history.read),
    (model_mixer.is_infotext, model_mixer.read_infotext),
    (prompt_tags.has_tags, prompt_tags.read),
)

_QUOTED_FORMULA = re.compile(r'\s*"[^"\n]*[ ][+=xX*][ ][^"\n]*"\s*')
"""A formula copied with its quotation marks would be the name of one model in our own notation."""
_COMMENT = re.compile(r"(^|\s)#.*", re.MULTILINE)
_STRING = re.compile(r'"[^"\n]*"')
_OWN_MARKS = re.compile(r"\{|(?<![^\s=])\w+\((?:[^()\n]*\w=|[^()\n,]*,)")
_CARD_MARKS = re.compile(
    r"==|[`×−]"
    r"|^[ ]*(?:[-*•‣◦]|\d{1,3}[.)])[ ]"  # a list
    r"|[ )][xX][ ]+[\w(.\"]|[ ][xX][\d(]|\d[xX][ ]"  # x multiplies
    r"|\w[ ]?\([ ]*1[ ]*-",  # A (1 - alpha)
    re.MULTILINE,
)
_PROSE = re.compile(r"[^\W\d_]{2,}[ ][^\W\d_]+[ ][^\W\d_]{2,}|\w:[ ]|:[ ]*$|\b(?:alpha|beta)\b(?! *=)", re.MULTILINE)


def read_recipe(text: str, draw: Draw | None = None) -> Recipe:
    """Read a recipe in whatever notation it is written.

    Other mergers' notations are known by how they begin. Else our own notation is tried first. A text that is not in it but looks
    like a model card's is read as one; the recipe's notes then say what was skipped, which `+` is a mean and where each alpha was
    found. Those of another merger's recipe say what that merger would have computed otherwise.

    Args:
        text: a recipe, or a model card or part of one as it was copied.
        draw: see `parse_recipe`; other notations have no random weights.

    Returns:
        The recipe; its `canonical()` is our own notation, its positions belong to `text` as `recipe.text` holds it (NFC).

    Raises:
        RecipeError: of the notation that the text looks like, with line, column and caret in the user's text.
    """
    if imported := read_merger(text):
        return imported.recipe
    check_size(text)
    try:
        recipe = _read(text, draw)
        recipe.canonical()
    except OverflowError:
        raise RecipeError("a number in the recipe is too large. Use coefficients near 1.") from None
    except RecursionError:
        raise RecipeError("the recipe is nested too deeply. Give parts of it names of their own, one step a line.") from None
    return recipe


def read_merger(text: str) -> Imported | None:
    """What another merger wrote; None where the text does not look like it.

    Raises:
        RecipeError: it looks like it, but cannot be read.
    """
    before, brace, after = text.partition("{")
    if brace and not before.strip(_BLANK):
        return read_json(before.replace("\ufeff", " ") + brace + after.rstrip(_BLANK))
    for is_known, read in _MERGERS:
        if is_known(text):
            return read(text)
    if error := element_lines.translation(text):
        raise error
    return None


def _read(text: str, draw: Draw | None) -> Recipe:
    try:
        recipe = parse_recipe(text, draw)
    except RecipeError:
        if not looks_like_card(text):
            raise
        return read_card(text)
    if _QUOTED_FORMULA.fullmatch(text):
        with contextlib.suppress(RecipeError):
            return read_card(text)
    return recipe


def looks_like_card(text: str) -> bool:
    """Whether a text that our own notation cannot read has the marks of a model card.

    Lists, code spans, `x` as a sign, typographic dashes and a result on the right are marks; prose and alpha in a sum are marks
    only where no method is called, so that a slip in our own notation is never skipped as prose.
    """
    plain = _COMMENT.sub("", CardText(text).plain)
    if "**" in text or _CARD_MARKS.search(plain) or any(_names_right(line) for line in plain.split("\n")):
        return True
    return not _OWN_MARKS.search(plain) and _PROSE.search(plain) is not None


def _names_right(line: str) -> bool:
    left, sign, _ = _STRING.sub("", line).partition("=")
    return bool(sign) and any(operator in left for operator in "+*/") and left.count("(") == left.count(")")


def check_size(text: str) -> None:
    """Refuse what is no recipe before anything looks at it closely."""
    if len(text) > LONGEST_TEXT:
        raise RecipeError(
            f"the text has {len(text)} characters; a recipe has at most {LONGEST_TEXT}. Paste only the part with the formulas."
        )
    lines = unicodedata.normalize("NFC", text).split("\n")
    if len(lines) > MOST_LINES:
        raise RecipeError(
            f"the text has {len(lines)} lines; a recipe has at most {MOST_LINES}. Paste only the part with the formulas."
        )
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise RecipeError(f"line {number} has {len(line)} characters; a line has at most {LONGEST_LINE}. Break it.")
        if (longest := max(map(len, re.split(r"[\s,]+", line)))) > LONGEST_WORD:
            raise RecipeError(f"line {number} has a word of {longest} characters; a word has at most {LONGEST_WORD}.")
