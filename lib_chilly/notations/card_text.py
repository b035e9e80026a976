"""A model card's text made ready for reading: odd characters and markup replaced one for one, so that every offset stays true."""

from __future__ import annotations

import bisect
import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..registry import all_methods
from .card_tokens import Token

_LONGEST_LABEL_WORDS = 3
_SPACES = {chr(code): " " for code in range(0x3001) if chr(code).isspace() and code != 10} | dict.fromkeys(
    "\u200b\u2060\ufeff", " "
)
_ALIKE = {"=": "＝", "+": "＋", "(": "（", ")": "）", ":": "：", ",": "，", ";": "；", "-": "‐‑", "'": "’‘ʼ", '"': "“”„‟«»"}
_ALIKE |= {"−": "‒–—―－", "×": "✕✖⨯∗⋅"}
_SAME = str.maketrans(_SPACES | {odd: plain for plain, odds in _ALIKE.items() for odd in odds})
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
_NOISE = re.compile(r"https?://\S+|</?[A-Za-z][^<>\n]*>|\*\*|~~")
_OPEN_END = re.compile(r"(?:(?<=[×(])|(?<=[^=]=)|(?<=[^+]\+)) *\n|\n(?= *(?:\+|=(?![=>])))")
_COLON = re.compile(r":(?=[\s`])")
_COMMENT = re.compile(r"\s#")
_MARKERS = re.compile(r"\s*(?:>|\||(?:[-−*•‣◦·]|\d{1,3}[.)])(?=\s)|\s)*")
_SPAN = re.compile(r'`([^`\n]+)`|"([^"\n]+)"')
_CODE_SIGN = re.compile(r"[=+*/×−(]|\s[-xX]\s")
_QUOTED_SIGN = re.compile(r"\s[=+xX×*−]\s")


@dataclass(frozen=True)
class Segment:
    """Where one formula may stand, and the name that `label:` gives it."""

    start: int
    end: int
    label: Token | None = None


class CardText:
    """The user's text, and the same cleaned.

    Attributes:
        original: what errors are shown in.
        plain: as long as the original; Unicode spaces, dashes, crosses, quotation marks and markup are plain ASCII, `−` or `×`,
            and a line that ends in an operator goes on in the next.
    """

    def __init__(self, text: str):
        self.original = unicodedata.normalize("NFC", text)
        plain = _LINK.sub(
            lambda match: f" {match[1]}".rjust(match.end(1) - match.start()).ljust(len(match[0])), self.original.translate(_SAME)
        )
        plain = _NOISE.sub(lambda match: " " * len(match[0]), plain)
        self.plain = _OPEN_END.sub(lambda match: " " * len(match[0]), plain)
        self._starts = [0, *(index + 1 for index, character in enumerate(self.original) if character == "\n")]

    def line(self, position: int) -> int:
        """Number of the line, from 0, in the original."""
        return bisect.bisect_right(self._starts, position) - 1

    def without(self, ranges: Iterable[tuple[int, int]]) -> str:
        """`plain` with some ranges blanked; line ends stay."""
        pieces, done = [], 0
        for start, end in ranges:
            pieces += [self.plain[done:start], re.sub(r"[^\n]", " ", self.plain[start:end])]
            done = end
        return "".join(pieces) + self.plain[done:]

    def goes_on(self, position: int) -> bool:
        """Whether the line of `position` ends in "with" or a comma, so that the next belongs to it."""
        return (
            self.plain[position : self._line_end(position)]
            .rstrip(" `")
            .endswith((" with", "`with", " where", " using", ",", ":"))
        )

    def excerpt(self, start: int, end: int) -> str:
        """A piece of the original, short enough for a note."""
        words = " ".join(self.original[start:end].split()).lstrip("`,.;:) ")
        return words if len(words) <= 60 else words[:57] + "..."

    def lines(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each line that is not empty, without list marks and comment; an own call runs to its last bracket."""
        start = 0
        while start < len(self.plain):
            end = self._line_end(start)
            while self.is_own(start, end) and end < len(self.plain) and self._is_open(start, end):
                end = self._line_end(end + 1)
            following = end + 1
            marks = _MARKERS.match(self.plain, start, end)
            first = marks.end() if marks else start
            comment = _COMMENT.search(self.plain, first, end)
            last = first + len(self.plain[first : comment.start() if comment else end].rstrip(" \n|"))
            if first < last:
                yield first, last
            start = following

    def is_own(self, start: int, end: int) -> bool:
        """Whether a line calls a merge method or save, as our own notation does."""
        return _own_call().search(self.plain, start, end) is not None

    def segments(self, start: int, end: int) -> list[Segment]:
        """Where formulas may stand in a line: in its code spans and quotations, else in the line itself."""
        spans = []
        for match in _SPAN.finditer(self.plain, start, end):
            group = 1 if match[1] else 2
            if (_CODE_SIGN if group == 1 else _QUOTED_SIGN).search(match[group]):
                spans.append((match.start(), match.start(group), match.end(group), match.end()))
        outside, before = [], start
        for opening, _, _, closing in spans:
            outside.append((before, opening))
            before = closing
        if not spans or any("=" in self.plain[first:last] for first, last in [*outside, (before, end)]):
            return [self._whole_line(start, end)]
        return [Segment(first, last, self._label(*prose)) for prose, (_, first, last, _) in zip(outside, spans, strict=True)]

    def _whole_line(self, start: int, end: int) -> Segment:
        """`label: formula`, `formula: prose` or the line."""
        colon = _COLON.search(self.plain, start, end)
        if not colon:
            return Segment(start, end)
        before, after = self.plain[start : colon.start()], self.plain[colon.end() : end]
        if "=" in before and "=" in after:
            return Segment(start, end)
        if "=" not in after and ("=" in before or ("+" in before and "+" not in after)):
            return Segment(start, colon.start())
        return Segment(colon.end(), end, self._label(start, colon.end())) if after.strip() else Segment(start, end)

    def _label(self, start: int, end: int) -> Token | None:
        prose = self.plain[start:end].rstrip(' `"')
        words = prose[:-1].strip(' `"*()[]|,.') if prose.endswith(":") else ""
        if not words or len(words.split()) > _LONGEST_LABEL_WORDS:
            return None
        return Token("quoted", " ".join(words.split()), start + prose.index(words))

    def _line_end(self, start: int) -> int:
        end = self.plain.find("\n", start)
        return len(self.plain) if end < 0 else end

    def _is_open(self, start: int, end: int) -> bool:
        line = self.plain[start:end]
        return sum(map(line.count, "([{")) > sum(map(line.count, ")]}"))


@functools.cache
def _own_call() -> re.Pattern[str]:
    return re.compile(rf"(?<![^\s`=+*/(,−-])(?:{'|'.join([*all_methods(), 'save', 'preset'])})\(|= ?\w+\((?=[^()\n]*[,=])")
