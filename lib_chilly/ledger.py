"""What the user has stated of models - source, author, licence, permissions - by sha256, in SQLite in the user's folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .database import Database
from .hashes import user_folder
from .licences import PERMISSIONS, Terms

FILE = "ledger.sqlite"
SAID_BY = "ledger"

_MIGRATIONS = (
    """
    CREATE TABLE entries (
        sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, licence TEXT NOT NULL, author TEXT NOT NULL, origin TEXT NOT NULL,
        permissions TEXT NOT NULL
    );
    """,
)
"""To each schema from the one before it."""


class Ledger:
    """The statements.

    Args:
        path: of the database; None for the usual one.
    """

    def __init__(self, path: Path | None = None):
        self.path = path or user_folder() / FILE
        self._database = Database(self.path, "ledger", _MIGRATIONS)

    @property
    def notices(self) -> list[str]:
        """Sentences on what was found and done, such as a damaged file that was moved aside."""
        return self._database.notices

    def exists(self) -> bool:
        """Whether anything was ever stated.

        Raises:
            OutputError: the system does not even say that.
        """
        return self._database.exists()

    def state(self, sha256: str, name: str, terms: Terms) -> Terms:
        """Write down what is known of a model over what was; gives what stands there then.

        Args:
            name: to be shown; empty leaves the one that stands there.

        Raises:
            OutputError: the disk is full, or does not allow it; as of all that follow.
        """

        def write(database: sqlite3.Connection) -> Terms:
            database.execute("BEGIN IMMEDIATE")  # what another process states meanwhile is not lost
            row = database.execute("SELECT * FROM entries WHERE sha256 = ?", (sha256,)).fetchone()
            old, before = (row["name"], _terms(row)) if row else ("", Terms())
            now = replace(terms.over(before), said_by=(SAID_BY,))
            values = (_text(name or old), *map(_text, (now.licence, now.author, now.origin)), json.dumps(dict(now.permissions)))
            database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", (sha256, *values))
            return now

        return self._database.do(write)

    def forget(self, sha256: str) -> bool:
        """Whether there was anything to forget."""
        return self._database.do(lambda db: db.execute("DELETE FROM entries WHERE sha256 = ?", (sha256,)).rowcount) > 0

    def look_up(self, hashes: Sequence[str | None]) -> dict[str, Terms]:
        """What is stated of those models that stand here."""
        if not self.exists():
            return {}
        wanted = {sha256 for sha256 in hashes if sha256}
        return {sha256: terms for sha256, _, terms in self.entries() if sha256 in wanted}

    def entries(self) -> list[tuple[str, str, Terms]]:
        """(sha256, name, terms) of every model, by name."""
        if not self.exists():
            return []
        rows = self._database.do(lambda database: database.execute("SELECT * FROM entries ORDER BY name, sha256").fetchall())
        return [(row["sha256"], row["name"], _terms(row)) for row in rows]


def _text(text: str) -> str:
    """A text that a database takes; names of files need not be text."""
    return text.encode(errors="replace").decode()


def _terms(row: sqlite3.Row) -> Terms:
    try:
        said = json.loads(row["permissions"])
    except ValueError:
        said = {}
    known: Mapping[str, object] = said if isinstance(said, dict) else {}
    permissions = {name: value for name in PERMISSIONS if isinstance(value := known.get(name), bool)}
    return Terms(row["licence"], row["author"], row["origin"], permissions, (SAID_BY,))
