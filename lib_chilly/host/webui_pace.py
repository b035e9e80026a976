"""How long a picture will take in this webui, from those that it has made."""

from __future__ import annotations

from ..plan import Plan
from .base import GenParams

_FIRST_SECONDS = 10.0


class Pace:
    """Seconds of pictures by architecture: each is thought to take what the last one took, by its pixels and steps."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def estimate(self, plan: Plan, params: GenParams) -> tuple[float, str]:
        """(seconds, a sentence that says so)."""
        known = self._known.get(plan.architecture.name)
        if known is None:
            return _FIRST_SECONDS, "how long it takes is known after the first picture."
        seconds = known * _work(params)
        return seconds, f"about {max(1, round(seconds))} s."

    def learn(self, plan: Plan, params: GenParams, seconds: float) -> None:
        """Take into account what a picture really took."""
        self._known[plan.architecture.name] = seconds / _work(params)


def _work(params: GenParams) -> float:
    """Of a picture: a constant part for loading and decoding beside its steps."""
    return params.width * params.height * (params.steps + 4)
