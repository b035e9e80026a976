"""What sources say of themselves - their recipes, sources and licences - carried into the output as claims, never as facts.

A source's metadata may be anything: dicts in texts, numbers, lies, ten megabytes. What is carried is bounded, and what is cut
is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NoReturn

from .header import is_text
from .sources import Source

CLAIMED = (
    "license",
    "licence",
    "modelspec.license",
    "modelspec.author",
    "modelspec.title",
    "modelspec.merged_from",
    "chillymerge",
    "sd_merge_recipe",
    "mecha_recipe",
    "sd_merge_models",
)
"""Keys of metadata that are carried, the weightiest first."""

LARGEST_BYTES = 1 << 15
"""Of what is carried of one source, in UTF-8; a larger value is not even parsed."""

_LARGEST_RECORD = 1 << 20
"""Characters of our own record of a source: it may hold the claims of many sources, and is worth parsing to shorten it."""

_DEEPEST = 50
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(value: object) -> bool:
    """Whether a value out of somebody's JSON is a sha256 in hex."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def claims_of(source: Source) -> dict[str, object] | None:
    """What a source's own metadata says, as far as there is room: {"model", "says", "cut"}; None where it says nothing.

    `cut` names what is left out, with its size in bytes.
    """
    says: dict[str, object] = {}
    cut: dict[str, int] = {}
    room = LARGEST_BYTES
    for key in CLAIMED:
        text = source.checkpoint.metadata.get(key)
        if not text:
            continue
        if key == "chillymerge":
            text = _without_its_own_claims(text, room, cut)
        size = len(text.encode())
        if size > room:
            cut[key] = size
        else:
            says[key] = parsed(text)
            room -= size
    claims: dict[str, object] = {"model": source.name, "says": says}
    if cut:
        claims["cut"] = cut
    return claims if says or cut else None


def ancestors(sources: Sequence[Source]) -> dict[str, dict[str, object]]:
    """The `sd_merge_models` of all sources in one, as far as they have the webui's form; the first to name a hash wins."""
    found: dict[str, dict[str, object]] = {}
    for source in sources:
        table = parsed(source.checkpoint.metadata.get("sd_merge_models", ""))
        for sha256, entry in table.items() if isinstance(table, dict) else ():
            if is_sha256(sha256) and isinstance(entry, dict):
                found.setdefault(sha256, model_entry(entry.get("name"), entry.get("legacy_hash"), entry.get("sd_merge_recipe")))
    return found


def model_entry(name: object, legacy_hash: object = None, recipe: object = None) -> dict[str, object]:
    """One model of `sd_merge_models`, with what it claims in the form that readers expect."""
    return {
        "name": name if isinstance(name, str) else "",
        "legacy_hash": legacy_hash if isinstance(legacy_hash, str) else None,
        "sd_merge_recipe": recipe if isinstance(recipe, dict) else None,
    }


def parsed(text: str, largest: int = LARGEST_BYTES) -> dict[str, object] | str:
    """The object that a text holds, where it is not too large and can be written again as JSON; else the text itself."""
    if not text.lstrip().startswith("{") or len(text) > largest or _depth(text) > _DEEPEST:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
        again = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return text
    return value if is_text(again) else text


def _without_its_own_claims(text: str, room: int, cut: dict[str, int]) -> str:
    """Our own record of a source with claims of its own; these go first where there is not room for all."""
    if len(text.encode()) <= room:
        return text
    record = parsed(text, _LARGEST_RECORD)
    if isinstance(record, str) or "claims" not in record:
        return text
    shorter = json.dumps({name: value for name, value in record.items() if name != "claims"}, ensure_ascii=False)
    cut["chillymerge.claims"] = len(text.encode()) - len(shorter.encode())
    return shorter


def _depth(text: str) -> int:
    """At least how deep the brackets of a JSON text are nested; those inside strings are counted too."""
    deepest = depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
