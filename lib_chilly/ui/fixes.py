"""One click on an error: whole new texts in which it is gone. Whatever is proposed is read again before it is offered."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import MergeError, RecipeError, UnseenText
from ..expression import shortened, spell_name
from ..notations import check_size, looks_like_card, read_recipe
from ..plan import make_plan
from ..recipe_lines import STRING, clean_text, statements
from .draft import read_draft
from .fix_order import order_fixes
from .fix_sums import sum_fixes
from .fix_syntax import syntax_fixes

if TYPE_CHECKING:
    from ..models import ModelLibrary

MOST_FIXES = 4
_MOST_TRIED = 16
_LONGEST_TEXT = 20_000
"""They come with every look at a text with an error; each fix is tried by reading all of it."""
_WORD_END = r"[\s!-,/:-@\[-^`{-~]"
"""What cannot stand in a bare word."""

Proposal = tuple[str, str]
"""(what a button says, whole new text)."""


def fixes_of(error: Exception, text: str, library: ModelLibrary) -> list[dict[str, str]]:
    """What one click can do about an error.

    Args:
        error: as reading or planning `text` raised it.
        text: the recipe, in whatever notation.

    Returns:
        `{"label", "text": whole new text}` for each fix, the likeliest first; without the error in any of them.
    """
    if not isinstance(error, RecipeError) or isinstance(error.text, UnseenText):
        return []
    try:
        base = error.text if error.text is not None else clean_text(text)
        if len(base) > _LONGEST_TEXT:
            return []
        check_size(base)
        is_read = any(str(error) == str(other) for other in problems(base, None))
    except (RecursionError, RecipeError):
        return []
    found: dict[str, str] = {}
    for label, new in itertools.islice(_proposals(error, base), _MOST_TRIED):
        if new not in found and new != base and _is_gone(error, base, new, None if is_read else library):
            found[new] = label
            if len(found) == MOST_FIXES:
                break
    return [{"label": label, "text": new} for new, label in found.items()]


def problems(text: str, library: ModelLibrary | None) -> Sequence[MergeError]:
    """What is wrong with a recipe: every mistake of its text, else with a library what cannot be planned."""
    is_card = looks_like_card(text)
    errors: Sequence[MergeError] = () if is_card else read_draft(text).errors
    if errors or not (is_card or library):
        return errors
    try:
        recipe = read_recipe(text)
        if library is not None:
            make_plan(recipe, library)
    except MergeError as error:
        return [error]
    return ()


def _proposals(error: RecipeError, text: str) -> Iterator[Proposal]:
    yield from _instead(error, text)
    if error.position is None or looks_like_card(text):
        return
    if error.fault in ("syntax", "bracket", "quotes"):
        yield from syntax_fixes(error, text)
    elif error.fault == "sum":
        yield from sum_fixes(text, error.position)
    elif error.fault in ("later", "twice", "nameless"):
        with contextlib.suppress(RecipeError):  # a bracket that does not close: that comes first
            yield from order_fixes(error, text)


def _is_gone(error: RecipeError, text: str, new: str, library: ModelLibrary | None) -> bool:
    """Whether no error of the new text is the old one, or stands in what was changed."""
    start = _common(text, new)
    after = _common(text[start:][::-1], new[start:][::-1])
    old = error.position or 0
    is_changed = start <= old < len(text) - after
    same = old if old < start else old + len(new) - len(text)
    try:
        found = problems(new, library)
    except RecursionError:
        return False
    for other in found:
        place = other.position if isinstance(other, RecipeError) else None
        if place is None:
            if str(other) == str(error):
                return False
        elif start <= place < len(new) - after or (place == same and (is_changed or _message(other) == error.message)):
            return False
    return True


def _message(error: MergeError) -> str:
    return error.message if isinstance(error, RecipeError) else str(error)


def _common(first: str, second: str) -> int:
    """How many characters two texts begin with alike."""
    return next(
        (count for count, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), min(len(first), len(second))
    )


def _instead(error: RecipeError, text: str) -> Iterator[Proposal]:
    """What the engine proposes, put in the place of the word that stands nearest to the error."""
    for each in error.instead:
        right = spell_name(each.right) if each.is_name else each.right
        for start, end in _places(each.wrong, text, error.position):
            quoted = text[start] == '"' and each.is_name
            put = '"' + each.right.replace("\\", "\\\\").replace('"', '\\"') + '"' if quoted else right
            yield f"Use {shortened(each.right)}", text[:start] + put + text[end:]


def _places(word: str, text: str, position: int | None) -> list[tuple[int, int]]:
    """Where a word stands, bare or in quotes, in the statement of a position, the nearest first."""
    start, statement = _statement_at(text, position)
    bare = re.compile(rf"(?:^|(?<={_WORD_END})){re.escape(word)}(?={_WORD_END}|$)")
    strings = [match.span() for match in STRING.finditer(statement)]
    masked = STRING.sub(lambda match: '"' * len(match[0]), statement)
    found = [match.span() for match in bare.finditer(masked)]
    found += [span for span in strings if re.sub(r"\\(.)", r"\1", statement[span[0] + 1 : span[1] - 1]) == word]
    near = (position or 0) - start
    return [(start + first, start + last) for first, last in sorted(found, key=lambda span: abs(span[0] - near))]


def _statement_at(text: str, position: int | None) -> tuple[int, str]:
    """(offset, statement) that holds a position, without its comments; all of the text where there is none."""
    if position is None:
        return 0, text
    try:
        for start, statement in statements(text):
            if start <= position <= start + len(statement):
                return start, statement
    except RecipeError:
        pass
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return start, text[start : len(text) if end < 0 else end]
