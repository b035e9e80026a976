"""The three verdicts on a model's health, and how what led to them is put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FINE, SUSPECT, BROKEN = "fine", "suspect", "broken"
WORDS = {FINE: "healthy", SUSPECT: "worth a look", BROKEN: "likely broken"}
"""What they are called before people; from best to worst."""
_MOST_WARNED, _MOST_NAMED = 8, 3

Said = tuple[str, str, str]
"""A lane, or "" for the whole; a verdict, and words."""


@dataclass(frozen=True)
class Seen:
    """The verdict on one model.

    Attributes:
        says: what is wrong, a line for each lane, and for the whole.
    """

    verdict: str = FINE
    says: tuple[str, ...] = ()

    def facts(self) -> dict[str, object]:
        """The facts as JSON has them."""
        return {"verdict": self.verdict, "says": list(self.says)}

    def warnings(self, name: str) -> list[str]:
        """Sentences on what is likely broken in the model of that name."""
        broken = [words for words in self.says if words.endswith(WORDS[BROKEN])]
        more = len(broken) - _MOST_WARNED
        return [f"{name}: {words}." for words in broken[:_MOST_WARNED]] + (
            [f"{name}: {more} more such findings."] if more > 0 else []
        )


def seen(said: Iterable[Said]) -> Seen:
    """What was found, lane by lane, in one verdict."""
    lanes: dict[str, list[tuple[str, str]]] = {}
    for lane, verdict, words in said:
        lanes.setdefault(lane, []).append((verdict, words))
    lines = [
        written(worst([verdict for verdict, _ in found]), [words for _, words in found], lane) for lane, found in lanes.items()
    ]
    return Seen(worst([verdict for found in lanes.values() for verdict, _ in found]), tuple(lines))


def written(verdict: str, says: Sequence[str], lane: str = "") -> str:
    """What is wrong with a lane, or with the whole, on one line."""
    return f"{f'{lane}: ' if lane else ''}{'; '.join(says)}: {WORDS[verdict]}"


def against_words(base: str | None, known_good: Sequence[str]) -> str:
    """What a model was compared with, as it stands behind a verdict; empty where with nothing."""
    if base or not known_good:
        return f", against {base}" if base else ""
    more = len(known_good) - _MOST_NAMED
    return f", against what is known to be good: {', '.join(known_good[:_MOST_NAMED])}" + (
        f" and {more} more" if more > 0 else ""
    )


def worst(verdicts: Sequence[str]) -> str:
    """The worst of some verdicts; FINE of none."""
    return max(verdicts, key=list(WORDS).index, default=FINE)
