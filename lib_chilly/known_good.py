"""What the user has said is known to be good: norms of releases' matrices, by sha256, in SQLite in the user's folder."""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .database import Database
from .errors import OutputError
from .hashes import user_folder
from .header import quoted
from .models import without_suffix

FILE = "known_good.sqlite"
_WHAT = "table of what is known to be good"
_MOST_BYTES = 1 << 24
"""Of one release's table, unpacked; that of the largest architecture has some 100 KiB."""

_MIGRATIONS = (
    """
    CREATE TABLE releases (
        sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, architecture TEXT NOT NULL, matrices BLOB NOT NULL
    );
    """,
)
"""To each schema from the one before it."""


@dataclass(frozen=True)
class Norms:
    """One matrix, a convolution's with its window flat.

    Attributes:
        norm: root of the sum of squares; of the finite values, or of a part of them made up to the whole.
        spectral: the spectral norm, from below; None where it was not looked for.
    """

    rows: int
    elements: int
    norm: float
    spectral: float | None = None

    def is_like(self, other: Norms) -> bool:
        """Whether both are of one shape, so that their sizes compare."""
        return (self.rows, self.elements) == (other.rows, other.elements)


@dataclass(frozen=True)
class Release:
    """A model that the user knows to be good.

    Attributes:
        name: of its file.
        matrices: canonical key to norms.
    """

    sha256: str
    name: str
    architecture: str
    matrices: Mapping[str, Norms] = field(repr=False)

    @property
    def shown(self) -> str:
        """The name without its suffix, fit for a sentence."""
        return quoted(without_suffix(self.name))[1:-1]


class KnownGood:
    """The releases.

    Args:
        path: of the database; None for the usual one.

    Attributes:
        faults: sentences on why the table could not be used, or a part of it.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self.faults: list[str] = []

    @functools.cached_property
    def _database(self) -> Database:
        try:
            path = self._path or user_folder() / FILE
        except RuntimeError as error:
            raise OutputError(f"the {_WHAT} cannot be used: {error}") from None
        return Database(path, _WHAT, _MIGRATIONS)

    @property
    def notices(self) -> list[str]:
        """Sentences on what was found and done, such as a damaged file that was moved aside, and on faults."""
        return [*(self._database.notices if "_database" in self.__dict__ else ()), *self.faults]

    def state(self, release: Release) -> None:
        """Take a release among those that are known to be good; OutputError where the disk is full, or does not allow it."""
        packed = zlib.compress(json.dumps({key: _row(each) for key, each in release.matrices.items()}, allow_nan=False).encode())
        name = release.name.encode(errors="replace").decode()  # names of files need not be text
        values = (release.sha256, name, release.architecture, packed)
        self._database.do(lambda database: database.execute("INSERT OR REPLACE INTO releases VALUES (?, ?, ?, ?)", values))

    def forget(self, sha256: str) -> bool:
        """Whether there was anything to forget; OutputError as of `state`."""
        return self._database.do(lambda db: db.execute("DELETE FROM releases WHERE sha256 = ?", (sha256,)).rowcount) > 0

    def releases(self, architecture: str | None = None) -> list[Release]:
        """Those of an architecture, or all, by name; what is damaged is left out, and said. OutputError as of `state`."""
        if not self._database.exists():
            return []
        question = "SELECT * FROM releases WHERE architecture = coalesce(?, architecture) ORDER BY name, sha256"
        rows = self._database.do(lambda database: database.execute(question, (architecture,)).fetchall())
        found = []
        for row in rows:
            try:
                matrices = _unpacked(row["matrices"])
            except (zlib.error, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
                self.faults.append(
                    f"what is known of {quoted(str(row['name']))} is damaged: './chilly known-good {row['sha256']} --forget', "
                    "and state it again."
                )
                continue
            found.append(Release(row["sha256"], str(row["name"]), str(row["architecture"]), matrices))
        return found

    def stated(self) -> list[str]:
        """sha256 of all of them; of none where the table cannot be used."""
        try:
            if not self._database.exists():
                return []
            return [row["sha256"] for row in self._database.do(lambda db: db.execute("SELECT sha256 FROM releases").fetchall())]
        except OutputError:
            return []

    def usable(self, architecture: str) -> list[Release]:
        """Those of an architecture; where the table cannot be used there are none, and `faults` says why."""
        try:
            return self.releases(architecture)
        except OutputError as error:
            self.faults.append(str(error))
            return []


def _row(norms: Norms) -> list[float | None]:
    return [norms.rows, norms.elements, float(f"{norms.norm:.6g}"), norms.spectral and float(f"{norms.spectral:.6g}")]


def _unpacked(packed: bytes) -> dict[str, Norms]:
    """ValueError, TypeError and others where it is not what `_row` makes."""
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(packed, _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("it is too long, or cut")
    return {key: _norms(*row) for key, row in json.loads(text).items()}


def _norms(rows: Any, elements: Any, norm: Any, spectral: Any) -> Norms:
    sizes = [norm] if spectral is None else [norm, spectral]
    if not (
        type(rows) is type(elements) is int
        and rows > 0
        and elements > 0
        and all(math.isfinite(each) and each >= 0 for each in sizes)
    ):
        raise ValueError("no norms")
    return Norms(rows, elements, norm, spectral)
