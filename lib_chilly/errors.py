"""What can go wrong through a user's mistake or a bad file; every text is shown to users as it stands."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_EXCERPT_WIDTH = 160


class MergeError(Exception):
    """Base of all errors whose text is written for the user: which thing, found, expected, what to do."""


class CheckpointError(MergeError):
    """A source file is damaged, hostile, unreadable or of a kind that cannot be merged."""


class ArchitectureError(MergeError):
    """A key set fits no known architecture, or two sources do not fit together."""


class OutputError(MergeError):
    """The result cannot be written: the target exists, its folder or its disk does not allow it."""


class Interrupted(MergeError):
    """The user stopped the merge; nothing was left behind."""


class UnseenText(str):
    """A recipe's text that was made from something else: its lines and columns would tell the user nothing.

    Args:
        places: offset to what stands from there on, in words of what the user knows.
    """

    places: tuple[tuple[int, str], ...]

    def __new__(cls, text: str, places: Mapping[int, str]) -> UnseenText:
        made = super().__new__(cls, text)
        made.places = tuple(sorted(places.items()))
        return made

    def words_at(self, position: int) -> str:
        """What stands at an offset."""
        index = bisect.bisect_right(self.places, position, key=lambda place: place[0])
        return self.places[max(0, index - 1)][1] if self.places else ""


@dataclass(frozen=True)
class Instead:
    """What was meant by a word of a recipe.

    Attributes:
        wrong: the word, without quotes.
        right: the word that was meant, or a text of several.
        is_name: whether `right` is a name, to be put in quotes where it needs them.
    """

    wrong: str
    right: str
    is_name: bool = True


class RecipeError(MergeError):
    """A recipe says something that cannot be done.

    With `text` and `position` (an offset into it) the message names line and column and shows the place
    with a caret; in an UnseenText it names what the place was made from.

    Args:
        fault: one word for what is wrong, where a program can mend it: "syntax", "bracket", "quotes", "nameless", "twice",
            "later" or "sum".
        instead: what the user may have meant.
    """

    def __init__(
        self,
        message: str,
        text: str | None = None,
        position: int | None = None,
        *,
        fault: str = "",
        instead: tuple[Instead, ...] = (),
    ):
        self.message = message
        self.text = text
        self.position = position
        self.fault, self.instead = fault, instead
        super().__init__(message if text is None or position is None else self._with_excerpt())

    def at(self, text: str, position: int | None) -> RecipeError:
        """The same error, shown at a place in `text`."""
        return RecipeError(self.message, text, position, fault=self.fault, instead=self.instead)

    def _with_excerpt(self) -> str:
        assert self.text is not None and self.position is not None
        if isinstance(self.text, UnseenText):
            return f"{self.text.words_at(self.position)}: {self.message}"
        position = min(self.position, len(self.text))
        start = self.text.rfind("\n", 0, position) + 1
        end = self.text.find("\n", position)
        line_text = self.text[start : end if end >= 0 else len(self.text)].replace("\t", " ").rstrip("\r")
        line = self.text.count("\n", 0, position) + 1
        column = position - start + 1
        hidden = max(0, column - _EXCERPT_WIDTH // 2)
        shown = line_text[hidden : hidden + _EXCERPT_WIDTH]
        return f"line {line}, column {column}: {self.message}\n  {shown}\n  {' ' * (column - 1 - hidden)}^"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that proposes the known name nearest to `name`, with a space before it; empty where none is near."""
    return "".join(f" Did you mean '{each.right}'?" for each in meant(name, known))


def meant(name: str, known: Iterable[str]) -> tuple[Instead, ...]:
    """The known name nearest to `name`, as one thing to write instead; none where none is near."""
    names = list(known)
    near = [each for each in names if each.casefold() == name.casefold()] or difflib.get_close_matches(name, names, 1)
    return tuple(Instead(name, each) for each in near[:1])
