"""Recipe text -> statements: which characters may stand in it, comments, quotes, and lines joined inside brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .errors import RecipeError

STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')

_PIECES = re.compile(r'"(?:\\.|[^"\\\n])*"?|#[^\n]*|[][(){}\n]')
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_MOST_MARKS = 30
"""Combining marks in a row, as in Unicode's stream-safe text: NFC's work grows with the square of their number."""


def clean_text(text: str) -> str:
    """The text in NFC, its lines ended by newlines and without a byte order mark; all else stays at its place.

    Raises:
        RecipeError: a control character, half of a surrogate pair, or a long run of combining marks.
    """
    text = re.sub(r"\r(?!\n)", "\n", " " + text[1:] if text.startswith("\ufeff") else text)
    if bad := _FORBIDDEN.search(text):
        shown = _FORBIDDEN.sub("\ufffd", text)
        raise RecipeError(f"the character U+{ord(bad[0]):04X} cannot stand in a recipe. Take it out.", shown, bad.start())
    if text.isascii():
        return text
    marks = 0
    for index, character in enumerate(text):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            raise RecipeError(f"more than {_MOST_MARKS} combining marks in a row are no text. Take them out.", text, index)
    return unicodedata.normalize("NFC", text)


def statements(text: str) -> Iterator[tuple[int, str]]:
    """(offset, statement): comments blanked out, lines inside brackets joined.

    Raises:
        RecipeError: quotes or brackets do not close.
    """
    blanked = _PIECES.sub(lambda piece: " " * len(piece[0]) if piece[0].startswith("#") else piece[0], text)
    start, opened = 0, []
    for match in _PIECES.finditer(blanked + "\n"):
        piece, index = match[0], match.start()
        if piece.startswith('"'):
            if not STRING.fullmatch(piece):
                raise RecipeError(
                    "these quotes are never closed; '\\\"' inside quotes is a quote itself.", text, index, fault="quotes"
                )
        elif piece in _BRACKETS.values():
            opened.append((piece, index))
        elif piece in _BRACKETS:
            if not opened or opened.pop()[0] != _BRACKETS[piece]:
                raise RecipeError(f"'{piece}' closes nothing that stands open here.", text, index, fault="bracket")
        elif not opened:
            if blanked[start:index].strip():
                yield start, blanked[start:index]
            start = index + 1
    if opened:
        raise RecipeError(f"'{opened[-1][0]}' is never closed.", text, opened[-1][1], fault="bracket")
