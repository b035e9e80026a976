"""Places in a text as JavaScript counts them: in UTF-16 code units."""

from __future__ import annotations

import bisect


class Offsets:
    """Turns places of one text, counted in characters, into places in UTF-16 code units."""

    def __init__(self, text: str):
        self._wide = [place for place, character in enumerate(text) if ord(character) > 0xFFFF] if not text.isascii() else []

    def __call__(self, place: int) -> int:
        return place + bisect.bisect_left(self._wide, place)
