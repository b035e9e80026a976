"""What the output says of itself in its header's metadata; no date, no path, no host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from .recipe import Recipe
from .sources import Source


def provenance(recipe: Recipe, sources: Sequence[Source], hashes: Mapping[int, str], maths: int) -> dict[str, str]:
    """The output's metadata.

    Args:
        recipe: with the options in effect.
        hashes: number of each source to the sha256 of its file; empty leaves all of them out.
        maths: number of the arithmetic, raised whenever the same recipe gives other numbers.
    """
    named = [
        {"name": source.name, "size": source.checkpoint.size_bytes} | ({"sha256": hashes[number]} if hashes else {})
        for number, source in enumerate(sources)
    ]
    facts = {"recipe": recipe.canonical(), "sources": named, "maths": maths}
    return {"format": "pt", "chillymerge": json.dumps(facts, ensure_ascii=False, separators=(",", ":"))}
