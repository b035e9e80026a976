"""Where a model card gives alpha and beta, and which of them a formula means."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import RecipeError
from .card_text import CardText
from .card_tokens import NUMBER, WEIGHTS, Token

_GIVEN = re.compile(
    rf"(?<![\w.\-])(?P<name>{'|'.join(WEIGHTS)})[ `]*={{1,2}}[\s`]*"
    rf"(?:(?P<number>[-−+]?{NUMBER})|[(\[](?P<list>[^()\[\]]*)[)\]])"
)
_SIGNED = re.compile(rf"[-−+]?{NUMBER}")
_WORD = re.compile(r"[-−+]?[\w.\-]*[\w]")
_GOES_ON = re.compile(r"[.,]?\d| *[%~*×+]| *[/−xX] *[\d(]| *- *[\w(]")


@dataclass(frozen=True)
class Given:
    """`alpha = 0.6` or `alpha == (1,1,...)` at `position` to `end` of the text, on `line` (from 0)."""

    name: str
    numbers: tuple[Token, ...]
    position: int
    end: int
    line: int

    @property
    def is_list(self) -> bool:
        return len(self.numbers) > 1

    @property
    def tokens(self) -> list[Token]:
        """The value in our own notation."""
        if not self.is_list:
            return list(self.numbers)
        listed = [token for number in self.numbers for token in (Token(",", ",", number.position), number)]
        return [Token("[", "[", self.position), *listed[1:], Token("]", "]", self.end)]

    def described(self) -> str:
        value = f"the list of {len(self.numbers)} numbers" if self.is_list else self.numbers[0].text
        return f"{value}, from line {self.line + 1}"


def find_given(text: str, card: CardText) -> list[Given]:
    """Every alpha and beta that is given, in the order of the text.

    Args:
        text: where to look: the card's, without what is none of the card's notation.

    Raises:
        RecipeError: what stands there is neither one number nor a list of numbers.
    """
    found = []
    for match in _GIVEN.finditer(text):
        if match["number"] is not None:
            numbers = [_number(match["number"], match.start("number"))]
            if _is_name(text, match):
                continue
            if _GOES_ON.match(text, match.end()):
                raise RecipeError(
                    f"{match['name']} is one number, or a list of numbers in parentheses.", card.original, match.start("number")
                )
        else:
            numbers = list(_listed(card.original, match))
        found.append(Given(match["name"], tuple(numbers), match.start(), match.end(), card.line(match.start())))
    return found


def _is_name(text: str, match: re.Match[str]) -> bool:
    """Whether it is a name that only begins with a number: `A (1-alpha) + B x alpha = 3DMix`."""
    word = _WORD.match(text, match.start("number"))
    return word is not None and not _SIGNED.fullmatch(word[0]) and any(character.isalpha() for character in word[0])


def _listed(text: str, match: re.Match[str]) -> Iterator[Token]:
    items = list(re.finditer(r"[^\s,;]+", match["list"]))
    if not items:
        raise RecipeError(f"the list of {match['name']} is empty.", text, match.start("list"))
    for item in items:
        position = match.start("list") + item.start()
        if not _SIGNED.fullmatch(item[0]):
            raise RecipeError(f"'{item[0]}' in the list of {match['name']} is no number.", text, position)
        yield _number(item[0], position)


def _number(text: str, position: int) -> Token:
    return Token("number", text.replace("−", "-").lstrip("+"), position)


class Chooser:
    """Which alpha a formula means: that of its own line, else the nearest above, else the nearest below.

    A text that gives alpha below its first formula goes on in that order: a later formula takes the one that follows it, too.
    """

    def __init__(self, given: Sequence[Given]):
        self.by_name = {name: [each for each in given if each.name == name] for name in WEIGHTS}
        self.used: set[int] = set()
        self._from_below = False

    def choose(self, name: str, start: int, lines: range, next_line: float) -> Given | None:
        """The value of `name` for the formula at offset `start`.

        Args:
            lines: the formula's own; two where its line ends in "with".
            next_line: where the next formula stands.
        """
        given = self.by_name[name]
        places = [each.line for each in given]
        above, below = bisect.bisect_left(places, lines.start), bisect.bisect_left(places, lines.stop)
        own = given[above:below]
        if own:
            chosen = min(own, key=lambda each: (each.position < start, abs(each.position - start)))
        elif below < len(given) and (not above or (self._from_below and given[below].line < next_line)):
            chosen, self._from_below = given[below], True
        elif above:
            chosen = given[above - 1]
        else:
            return None
        self.used.add(chosen.position)
        return chosen
