"""The three verdicts on a model's health."""

from __future__ import annotations

from collections.abc import Sequence

FINE, SUSPECT, BROKEN = "fine", "suspect", "broken"
WORDS = {FINE: "healthy", SUSPECT: "worth a look", BROKEN: "likely broken"}
"""What they are called before people; from best to worst."""


def worst(verdicts: Sequence[str]) -> str:
    """The worst of some verdicts; FINE of none."""
    return max(verdicts, key=list(WORDS).index, default=FINE)
