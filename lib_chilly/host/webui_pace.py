"""How long a picture will take in this webui, from those that it has made."""

from __future__ import annotations

from ..plan import Plan
from .base import GenParams

_QUICK_SECONDS, _SLOW_SECONDS = 4.0, 30.0
_SMALL_BYTES = 200_000_000


class Pace:
    """Seconds of pictures by architecture: each is thought to take what the last one took, by its pixels and steps.

    Args:
        on_processor: whether they are made without a graphics card.
    """

    def __init__(self, on_processor: bool) -> None:
        self._on_processor = on_processor
        self._known: dict[str, float] = {}

    def estimate(self, plan: Plan, params: GenParams) -> tuple[float, str]:
        """(seconds, a sentence that says so)."""
        known = self._known.get(plan.architecture.name)
        if known is None:
            is_slow = self._on_processor and plan.data_bytes > _SMALL_BYTES
            return _SLOW_SECONDS if is_slow else _QUICK_SECONDS, "a while; how long is known after the first."
        seconds = known * _work(params)
        return seconds, f"about {max(1, round(seconds))} s."

    def learn(self, plan: Plan, params: GenParams, seconds: float) -> None:
        """Take into account what a picture really took."""
        self._known[plan.architecture.name] = seconds / _work(params)


def _work(params: GenParams) -> float:
    """Of a picture: a constant part for loading and decoding beside its steps."""
    return params.width * params.height * (params.steps + 4)
