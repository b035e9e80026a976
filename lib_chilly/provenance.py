"""What the output says of itself in its header's metadata, and reading it back; no date, no path, no host."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .claims import ancestors, claims_of, is_sha256, model_entry, parsed
from .errors import CheckpointError
from .header import quoted
from .modelspec import modelspec
from .recipe import Recipe
from .sources import Source

TYPE = "chillymerge"
"""The key of our own record, and what `sd_merge_recipe` says of its type."""
_LARGEST_RECIPE = 1 << 22
"""Characters of another merger's recipe that is looked into."""


@dataclass(frozen=True)
class RecordedSource:
    """A source as a header names it; `sha256` is None in a file that was made without hashes."""

    name: str
    size_bytes: int
    sha256: str | None
    is_lora: bool = False


@dataclass(frozen=True)
class Record:
    """What our own header says of how its file was made.

    Attributes:
        recipe: canonical text, with the options that were in effect.
        maths: number of the arithmetic.
    """

    recipe: str
    sources: tuple[RecordedSource, ...]
    maths: int


def provenance(
    recipe: Recipe,
    sources: Sequence[Source],
    hashes: Mapping[int, str],
    maths: int,
    keys: Collection[str],
    permissions: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """The output's metadata.

    Args:
        recipe: with the options in effect.
        hashes: number of each source to the sha256 of its file; empty leaves all of them out.
        maths: number of the arithmetic, raised whenever the same recipe gives other numbers.
        keys: of the output.
        permissions: what the sources allow together, where any of them says.
    """
    text = recipe.canonical()
    named = [
        {"name": source.name, "size": source.checkpoint.size_bytes}
        | ({"sha256": hashes[number]} if hashes else {})
        | ({"lora": True} if source.lora else {})
        for number, source in enumerate(sources)
    ]
    claims = [said for source in sources if (said := claims_of(source))]
    record = {"recipe": text, "sources": named, "maths": maths} | ({"claims": claims} if claims else {})
    record |= {"permissions": permissions} if permissions else {}
    # The space before our own record: the webui takes what starts as JSON for an object, which its merger then fails to copy.
    found = {"format": "pt", TYPE: " " + _json(record), "sd_merge_recipe": _json({"type": TYPE, "recipe": text, "maths": maths})}
    if hashes:
        found["sd_merge_models"] = _json(_models(sources, hashes))
    return found | modelspec(recipe.option("title") or recipe.result, sources, keys, recipe.option("prediction"))


def _recorded(said: Mapping[str, Any]) -> RecordedSource:
    return RecordedSource(said["name"], said["size"], said.get("sha256"), said.get("lora") is True)


def read_record(metadata: Mapping[str, str], file_name: str) -> Record | None:
    """What a file's metadata says of how it was made here; None where it was not made here, or merged again elsewhere.

    Raises:
        CheckpointError: there is a record, but not in its form.
    """
    if TYPE not in metadata or was_merged_elsewhere(metadata):
        return None
    try:
        said = json.loads(metadata[TYPE])
        recipe, sources, maths = said["recipe"], said["sources"], said["maths"]
        found = tuple(_recorded(source) for source in sources)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        found, recipe, maths = (), None, None
    in_form = all(
        isinstance(source.name, str) and type(source.size_bytes) is int and (source.sha256 is None or is_sha256(source.sha256))
        for source in found
    )
    if not (found and in_form and isinstance(recipe, str) and type(maths) is int):
        raise CheckpointError(f"{quoted(file_name)}: its '{TYPE}' metadata is damaged. Run the recipe itself: ./chilly inspect.")
    return Record(recipe, found, maths)


def was_merged_elsewhere(metadata: Mapping[str, str]) -> bool:
    """Whether another merger copied our record from one of its sources: then its own recipe is the file's."""
    other = parsed(metadata.get("sd_merge_recipe", ""), _LARGEST_RECIPE)
    return isinstance(other, dict) and other.get("type") != TYPE


def _models(sources: Sequence[Source], hashes: Mapping[int, str]) -> dict[str, dict[str, object]]:
    """`sd_merge_models` as the webui's merger writes it: every source by its sha256, then theirs."""
    own: dict[str, dict[str, object]] = {}
    for number, source in enumerate(sources):
        recipe = parsed(source.checkpoint.metadata.get("sd_merge_recipe", ""))
        own.setdefault(hashes[number], model_entry(source.name, recipe=recipe))
    return own | {sha256: entry for sha256, entry in ancestors(sources).items() if sha256 not in own}


def _json(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
