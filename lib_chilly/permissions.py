"""What a merge may be used for: what all of its sources allow. One that forbids forbids it for all; unknown stays unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import OutputError
from .hashes import known_hashes
from .header import quoted
from .ledger import Ledger
from .licences import PERMISSIONS, Terms, terms_of
from .sources import Source


@dataclass(frozen=True)
class Combined:
    """The permissions of several models together.

    Attributes:
        allowed: permission to True, False, or None where nobody forbids it and not all are known to allow it.
        forbidding, unknown: permission to the names of the models that forbid it, and that do not say.
    """

    names: tuple[str, ...] = ()
    terms: tuple[Terms, ...] = ()
    allowed: dict[str, bool | None] = field(default_factory=dict)
    forbidding: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)

    def is_known(self) -> bool:
        """Whether any of them says what it allows."""
        return any(each.permissions for each in self.terms)

    def record(self) -> dict[str, object]:
        """What the header says: permissions, licences, and who does not say."""
        licences = {name: each.licence for name, each in zip(self.names, self.terms, strict=True) if each.licence}
        silent = [name for name in self.names if any(name in names for names in self.unknown.values())]
        return {**self.allowed, "licences": licences, "unknown": silent}

    def conflicts(self) -> list[str]:
        """Sentences on what stands against the merge, or against sharing it."""
        found = []
        if names := self.forbidding.get("share_merges"):
            found.append(f"{_names(names)} {_do(names)} not allow sharing merges: keep the result to yourself.")
        for keeper in self.forbidding.get("other_permissions", ()):
            own = self.terms[self.names.index(keeper)]
            for name, terms in zip(self.names, self.terms, strict=True):
                stricter = [PERMISSIONS[p] for p, allowed in terms.permissions.items() if not allowed and own.permissions.get(p)]
                if name != keeper and stricter:
                    found.append(
                        f"merges of {quoted(keeper)} must keep its permissions, which allow {', '.join(stricter)}; "
                        f"{quoted(name)} forbids that: both cannot be kept."
                    )
        return found

    def notes(self) -> list[str]:
        """Sentences on what the result is not allowed to be used for, and on what is unknown."""
        found = []
        for permission, names in self.forbidding.items():
            if permission != "share_merges":
                found.append(
                    f"not allowed: {PERMISSIONS[permission]}, which {_names(names)} {'forbids' if len(names) == 1 else 'forbid'}."
                )
        silent: dict[tuple[str, ...], list[str]] = {}
        for permission, unsaid in self.unknown.items():
            silent.setdefault(tuple(unsaid), []).append(PERMISSIONS[permission])
        for who, permissions in silent.items():
            what = "all permissions" if len(permissions) == len(PERMISSIONS) else ", ".join(permissions)
            found.append(f"unknown: {what} of {_names(who)}. './chilly ledger FILE' takes what you know.")
        return found


def combine(names: Sequence[str], terms: Sequence[Terms]) -> Combined:
    """The intersection of what models allow."""
    allowed: dict[str, bool | None] = {}
    forbidding: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for permission in PERMISSIONS:
        said = [each.permissions.get(permission) for each in terms]
        forbids = [name for name, one in zip(names, said, strict=True) if one is False]
        unsaid = [name for name, one in zip(names, said, strict=True) if one is None]
        allowed[permission] = False if forbids else None if unsaid else True
        if forbids:
            forbidding[permission] = forbids
        if unsaid:
            unknown[permission] = unsaid
    return Combined(tuple(names), tuple(terms), allowed, forbidding, unknown)


def permissions_of(sources: Sequence[Source], hashes: Sequence[str | None]) -> tuple[Combined | None, list[str], list[str]]:
    """What the sources of a merge allow together, None where nobody says; sentences on why the ledger could not be used or asked;
    sentences on what became of it.

    Args:
        hashes: of the sources, None of those that were never read for it; empty where there is no ledger to ask.
    """
    unasked: list[str] = []
    notices: list[str] = []
    stated: dict[str, Terms] = {}
    if hashes:
        try:
            ledger = Ledger()
            stated = ledger.look_up(hashes)
            notices, unasked = ledger.notices, _unasked(sources, hashes)
        except RuntimeError:  # there is no home folder, hence no ledger
            pass
        except OutputError as error:
            unasked.append(str(error))
    terms = [terms_of(source.checkpoint) for source in sources]
    for number, sha256 in enumerate(hashes):
        terms[number] = stated.get(sha256 or "", Terms()).over(terms[number])
    combined = combine([source.name for source in sources], terms)
    return (combined if combined.is_known() else None), unasked, notices


def _unasked(sources: Sequence[Source], hashes: Sequence[str | None]) -> list[str]:
    """A sentence on those that the ledger cannot be asked about."""
    unread = [source.name for source, sha256 in zip(sources, hashes, strict=True) if sha256 is None]
    if not unread:
        return []
    whose = "its sha256 is" if len(unread) == 1 else "their sha256 are"
    return [f"what the ledger says of {_names(unread)} is not known yet, as {whose} not: it is asked before the merge writes."]


def hashes_for_ledger(sources: Sequence[Source]) -> list[str | None]:
    """The sources' hashes as far as they are known without reading; none where there is no ledger to look them up in."""
    return known_hashes([source.checkpoint for source in sources]) if is_there_a_ledger() else []


def is_there_a_ledger() -> bool:
    """Whether there is something to look hashes up in, usable or not."""
    try:
        return Ledger().exists()
    except RuntimeError:  # there is no home folder
        return False
    except OutputError:
        return True


def _do(names: Sequence[str]) -> str:
    return "does" if len(names) == 1 else "do"


def _names(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
