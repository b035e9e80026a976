"""What is known of a model's licence and permissions: what its user has stated, what lies beside it, what it says of itself.

Nothing is looked up anywhere else, and nothing is guessed: what nobody says is unknown. Metadata and companions are a stranger's:
bounded, and only what has the right type counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .claims import parsed
from .header import Checkpoint
from .own_files import is_own
from .provenance import TYPE, was_merged_elsewhere

PERMISSIONS: Mapping[str, str] = {
    "no_credit": "use without credit",
    "sell_pictures": "selling pictures",
    "services": "services that make pictures for money",
    "share_merges": "sharing merges",
    "sell_merges": "selling the model or merges",
    "other_permissions": "other permissions for merges",
}
"""What may be allowed, to how people call it."""

_COMMERCIAL = ("image", "rentcivit", "rent", "sell")
"""Words of Civitai's allowCommercialUse; one word by itself includes those before it."""
_WORDS = re.compile(r"(\{?)([A-Za-z, ]*)\}?")
"""How a text holds them: one word, or several between braces."""
_LARGEST_BYTES = 1 << 22
_LONGEST = 300
"""Characters of a licence's or an author's name."""
_COMPANIONS = (".civitai.info", ".metadata.json", ".json", ".cm-info.json")
_CARDS = (".md", ".README.md")
_MOST_REMEMBERED = 256
"""Companions whose words are kept."""
_FRONT_LINE = re.compile(r"(license|license_name|license_link|author)\s*:\s*(\S.*)")


@dataclass(frozen=True)
class Terms:
    """What is known of one model.

    Attributes:
        permissions: of PERMISSIONS those that are known, to whether it is allowed.
        said_by: where that stands: "ledger", "metadata", names of files; in the order of their weight.
    """

    licence: str = ""
    author: str = ""
    origin: str = ""
    permissions: Mapping[str, bool] = field(default_factory=dict)
    said_by: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.licence or self.author or self.origin or self.permissions)

    def over(self, other: Terms) -> Terms:
        """Both together; what this one says wins."""
        if not other:
            return self
        return Terms(
            self.licence or other.licence,
            self.author or other.author,
            self.origin or other.origin,
            {**other.permissions, **self.permissions},
            self.said_by + other.said_by,
        )


def terms_of(checkpoint: Checkpoint) -> Terms:
    """What the companions of a checkpoint say, then what its own metadata say; the strictest of all companions counts."""
    beside = Terms()
    for path in _companions(checkpoint):
        if found := _companion_terms(path, *_identity(path)):
            both = beside.permissions.keys() & found.permissions.keys()
            strict = {name: beside.permissions[name] and found.permissions[name] for name in both}
            beside = beside.over(found)
            beside = Terms(beside.licence, beside.author, beside.origin, {**beside.permissions, **strict}, beside.said_by)
    return beside.over(_metadata_terms(checkpoint.metadata))


def _companions(checkpoint: Checkpoint) -> Iterator[Path]:
    """Small regular files under the model's name, or a diffusers folder's README.md."""
    if checkpoint.parts:
        candidates = [checkpoint.path / "README.md"]
    else:
        stem = checkpoint.path.with_suffix("")
        candidates = [stem.with_name(stem.name + ending) for ending in (*_COMPANIONS, *_CARDS)]
    for path in candidates:
        try:
            if path.is_file() and is_own(path.parent, path) and path.stat().st_size <= _LARGEST_BYTES:
                yield path
        except OSError:
            continue


def _identity(path: Path) -> tuple[int, ...]:
    """What tells that a companion is the one that was read."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _companion_terms(path: Path, *identity: int) -> Terms:
    """What a companion says; read once, as plans ask for it again and again."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return Terms()
    if path.suffix == ".md":
        return _card_terms(text, path.name)
    said = parsed(text, _LARGEST_BYTES)
    return _civitai_terms(said, path.name) if isinstance(said, dict) else Terms()


def _civitai_terms(said: Mapping[str, Any], name: str) -> Terms:
    """Civitai's flags, wherever the usual helpers put them."""
    civitai = _object(said, "civitai")
    places = [said, _object(said, "model"), civitai, _object(civitai, "model")]
    permissions: dict[str, bool] = {}
    for place in places:
        permissions = {**_flags(place), **permissions}
    numbers = (place.get(name) for place in places for name in ("modelId", "ModelId"))
    number = next((number for number in numbers if type(number) is int), None)
    found = Terms(
        next((text for place in places if (text := _text(place.get("license")))), ""),
        next((text for place in places if (text := _text(_object(place, "creator").get("username")))), ""),
        f"https://civitai.com/models/{number}" if number else "",
        permissions,
    )
    return Terms(found.licence, found.author, found.origin, found.permissions, (name,)) if found else found


def _flags(said: Mapping[str, Any]) -> dict[str, bool]:
    found = {
        ours: said[theirs]
        for theirs, ours in (
            ("allowNoCredit", "no_credit"),
            ("allowDerivatives", "share_merges"),
            ("allowDifferentLicense", "other_permissions"),
        )
        if isinstance(said.get(theirs), bool)
    }
    commercial = _commercial(said.get("allowCommercialUse"))
    if commercial is not None:
        found["sell_pictures"] = "image" in commercial
        found["services"] = "rent" in commercial or "rentcivit" in commercial
        found["sell_merges"] = "sell" in commercial
    return found


def _commercial(said: object) -> set[str] | None:
    """The words of allowCommercialUse; None where it is none of the forms that there were, or any word is another."""
    if isinstance(said, str):
        match = _WORDS.fullmatch(said)
        words = match[2].lower().replace(",", " ").split() if match else []
        if match is None or not (words or match[1]):
            return None
        if not match[1] and len(words) == 1 and words[0] in _COMMERCIAL:
            words = list(_COMMERCIAL[: _COMMERCIAL.index(words[0]) + 1])
    elif isinstance(said, list) and all(isinstance(word, str) for word in said):
        words = [word.lower() for word in said]
    else:
        return None
    found = set(words)
    return found - {"none"} if found <= set(_COMMERCIAL) or found <= {"none"} else None


def _card_terms(text: str, name: str) -> Terms:
    """A model card's front matter: the lines between the first two of three dashes."""
    lines = text[: 1 << 16].splitlines()
    if not lines or lines[0].strip() != "---":
        return Terms()
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            licence = found.get("license_name") if found.get("license") == "other" else found.get("license")
            terms = Terms(_text(licence), _text(found.get("author")), _text(found.get("license_link")))
            return Terms(terms.licence, terms.author, terms.origin, {}, (name,)) if terms else terms
        if match := _FRONT_LINE.fullmatch(line.rstrip()):
            found.setdefault(match[1], match[2].strip("'\""))
    return Terms()


def _metadata_terms(metadata: Mapping[str, str]) -> Terms:
    """What a header says: ModelSpec's words, those of others, and what a merge of ours has worked out of its sources; another
    merger that copied our record from one of its sources knows nothing of the others."""
    licence = next((text for key in ("modelspec.license", "license", "licence") if (text := _text(metadata.get(key)))), "")
    record = "" if was_merged_elsewhere(metadata) else parsed(metadata.get(TYPE, ""), _LARGEST_BYTES)
    said = _object(record, "permissions") if isinstance(record, dict) else {}
    permissions = {name: said[name] for name in PERMISSIONS if isinstance(said.get(name), bool)}
    found = Terms(licence, _text(metadata.get("modelspec.author")) or _text(metadata.get("author")), "", permissions)
    return Terms(found.licence, found.author, "", found.permissions, ("metadata",)) if found else found


def _object(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = said.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    """A name on one line; empty where it is none."""
    if not isinstance(value, str):
        return ""
    return "".join(each if each.isprintable() else " " for each in value[:_LONGEST]).strip()
