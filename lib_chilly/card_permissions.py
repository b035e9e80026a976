"""What a card says of licence and permissions: of the file, of its sources as its header has them, and what the ledger knows of
these by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .card_pages import Section
from .claims import parsed
from .errors import CheckpointError, OutputError
from .header import Checkpoint
from .ledger import Ledger
from .licences import PERMISSIONS, Terms, terms_of
from .provenance import TYPE, RecordedSource, read_record, was_merged_elsewhere

_MOST, _LONGEST, _LARGEST = 60, 200, 1 << 22
_WORDS = {True: "yes", False: "no", None: "unknown"}


def permissions(checkpoint: Checkpoint, sha256: str) -> Section:
    """The section of a file with that hash."""
    sources, notes = _sources(checkpoint), []
    stated: Mapping[str, Terms] = {}
    try:
        ledger = Ledger()
        stated = ledger.look_up([sha256, *(source.sha256 for source in sources)])
        notes += ledger.notices
    except (OutputError, RuntimeError) as error:
        notes.append(str(error))
    found = stated.get(sha256, Terms()).over(terms_of(checkpoint))
    forbidden = _forbidden(sources, stated)
    allowed = {name: False if name in forbidden else found.permissions.get(name) for name in PERMISSIONS}
    said = _said_of_sources(checkpoint.metadata)
    by = f"as said by {', '.join(found.said_by)}; nobody has checked it" if found.said_by else "nobody says"
    notes += [f"the ledger says by now: {PERMISSIONS[name]} is forbidden by {', '.join(who)}" for name, who in forbidden.items()]
    if unknown := _names(said.get("unknown")):
        notes.append(f"not all is known of {', '.join(unknown)}")
    rows = [["licence", found.licence or "unknown"], ["author", found.author or "unknown"]]
    rows += [[PERMISSIONS[name], _WORDS[value]] for name, value in allowed.items()]
    licences = said.get("licences")
    for name, licence in list(licences.items())[:_MOST] if isinstance(licences, dict) else ():
        if isinstance(licence, str):
            rows.append([f"licence of {name[:_LONGEST]}", licence[:_LONGEST]])
    return Section("Permissions", [by, *notes], [["", ""], *rows])


def _sources(checkpoint: Checkpoint) -> Sequence[RecordedSource]:
    try:
        record = read_record(checkpoint.metadata, checkpoint.path.name)
    except CheckpointError:  # said where the recipe is shown
        return ()
    return record.sources if record else ()


def _forbidden(sources: Sequence[RecordedSource], stated: Mapping[str, Terms]) -> dict[str, list[str]]:
    """Permission to the sources that the ledger forbids it of."""
    found: dict[str, list[str]] = {}
    for source in sources[:_MOST]:
        for name, is_allowed in stated.get(source.sha256 or "", Terms()).permissions.items():
            if not is_allowed:
                found.setdefault(name, []).append(source.name[:_LONGEST])
    return found


def _said_of_sources(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What our header has worked out of its sources; nothing where another merger has copied it."""
    record = None if was_merged_elsewhere(metadata) else parsed(metadata.get(TYPE, ""), _LARGEST)
    said = record.get("permissions") if isinstance(record, dict) else None
    return said if isinstance(said, dict) else {}


def _names(said: object) -> list[str]:
    names = [name[:_LONGEST] for name in said if isinstance(name, str)] if isinstance(said, list) else []
    return names[:_MOST] + ["others"] * (len(names) > _MOST)
