"""What was made - pictures that were kept, files that were saved - in SQLite in the user's folder.

Several processes and threads may use it at once.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .database import Database
from .errors import MergeError
from .hashes import user_folder

FILE = "history.sqlite"
LONGEST_NOTE = 2_000
MOST_ROWS = 200
"""Of one answer."""

_MIGRATIONS = (
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, made REAL NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, recipe TEXT NOT NULL,
        note TEXT NOT NULL, pinned INTEGER NOT NULL, prompt TEXT NOT NULL, architecture TEXT, params TEXT, file TEXT,
        sources TEXT NOT NULL, thumbnail BLOB, words TEXT NOT NULL
    );
    CREATE INDEX by_pin ON entries (pinned, id);
    """,
)
"""To each schema from the one before it; the number of a database's schema is how many of them were carried out."""


@dataclass(frozen=True)
class Entry:
    """One thing that was made.

    Attributes:
        number: its own, given by the history; later ones are larger.
        made: seconds since 1970, UTC.
        kind: "picture" or "file".
        params: of the picture, as they stand in host.base.GenParams.
        file: {"name", "bytes", "sha256"} of a file.
        sources: names of the recipe's models.
        thumbnail: of an image, in a format that browsers know.
    """

    kind: str
    title: str
    recipe: str
    note: str = ""
    pinned: bool = False
    prompt: str = ""
    architecture: str | None = None
    params: Mapping[str, Any] | None = None
    file: Mapping[str, Any] | None = None
    sources: tuple[str, ...] = ()
    thumbnail: bytes | None = field(default=None, repr=False)
    made: float = 0.0
    number: int = 0


class History:
    """The entries.

    Args:
        path: of the database; None for the usual one.
    """

    def __init__(self, path: Path | None = None):
        self._database = Database(path or user_folder() / FILE, "history", _MIGRATIONS)

    @property
    def notices(self) -> list[str]:
        """Sentences on what was found and done, such as a damaged file that was moved aside."""
        return self._database.notices

    def add(self, entry: Entry) -> Entry:
        """Keep something that was just made; what stands in the history then.

        Raises:
            OutputError: the disk is full, or does not allow it; as of all that follow.
        """
        entry = dataclasses.replace(entry, made=entry.made or time.time(), note=entry.note[:LONGEST_NOTE])
        values = _values(entry)
        names, marks = ", ".join(values), ", ".join("?" * len(values))

        def insert(database: sqlite3.Connection) -> int | None:
            return database.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", tuple(values.values())).lastrowid

        return self.get(self._database.do(insert) or 0)

    def rows(
        self, search: str = "", pinned: bool = False, before: int | None = None, count: int = 30
    ) -> tuple[list[Entry], bool]:
        """The newest entries, and whether there are more.

        Args:
            search: words, all of which stand in title, note, recipe, prompt or sources.
            pinned: those alone.
            before: the number of an entry; only older ones.
        """
        count = max(1, min(MOST_ROWS, count))
        asked, values = ["1"], list[Any]()
        for word in search.casefold().split()[:20]:
            asked.append("instr(words, ?)")
            values.append(word)
        if pinned:
            asked.append("pinned = 1")
        if before is not None:
            asked.append("id < ?")
            values.append(_asked(before))
        question = f"SELECT * FROM entries WHERE {' AND '.join(asked)} ORDER BY id DESC LIMIT ?"
        found = self._database.do(lambda database: database.execute(question, (*values, count + 1)).fetchall())
        return [_entry(row) for row in found[:count]], len(found) > count

    def get(self, number: int) -> Entry:
        """MergeError where there is none of that number."""
        row = self._database.do(
            lambda database: database.execute("SELECT * FROM entries WHERE id = ?", (_asked(number),)).fetchone()
        )
        if row is None:
            raise MergeError("this entry is no longer in the history: it was deleted meanwhile.")
        return _entry(row)

    def every(self, numbers: Sequence[int] | None = None) -> Iterator[Entry]:
        """Those of some numbers, in their order, or all, the newest first."""
        if numbers is None:
            rows = self._database.do(lambda database: database.execute("SELECT * FROM entries ORDER BY id DESC").fetchall())
            return map(_entry, rows)
        return (self.get(number) for number in numbers)

    def with_pictures(self, sha256: str, sources: Sequence[str]) -> list[Entry]:
        """The newest entries that have a picture, of a file by its hash, and of recipes with these very sources; none where
        nothing was ever kept."""
        if not self._database.path.exists():
            return []
        asked = "thumbnail IS NOT NULL AND (instr(file, ?) OR (file IS NULL AND sources = ?)) ORDER BY id DESC LIMIT ?"
        values = (f'"{sha256}"', json.dumps(list(sources)), MOST_ROWS)
        question = f"SELECT * FROM entries WHERE {asked}"
        return [_entry(row) for row in self._database.do(lambda database: database.execute(question, values).fetchall())]

    def change(self, number: int, note: str | None = None, pinned: bool | None = None) -> Entry:
        """Write another note, pin or unpin; None leaves it as it is."""
        changed: dict[str, Any] = {} if pinned is None else {"pinned": pinned}
        if note is not None:  # what is not changed is not written: another tab may do that
            noted = dataclasses.replace(self.get(number), note=note[:LONGEST_NOTE])
            changed |= {"note": noted.note, "words": _words(noted)}
        if changed:
            columns = ", ".join(f"{name} = ?" for name in changed)
            values = (*changed.values(), _asked(number))
            self._database.do(lambda database: database.execute(f"UPDATE entries SET {columns} WHERE id = ?", values))
        return self.get(number)

    def delete(self, number: int) -> None:
        """Forget an entry; a file that was saved stays where it is."""
        self._database.do(lambda database: database.execute("DELETE FROM entries WHERE id = ?", (_asked(number),)))


def _asked(number: int) -> int:
    """A number as SQLite takes it; one beyond its 64 bits becomes the outermost, which no entry has."""
    return max(-(2**63), min(2**63 - 1, number))


def _values(entry: Entry) -> dict[str, object]:
    """The columns of an entry but its number."""
    values = {each.name: getattr(entry, each.name) for each in dataclasses.fields(entry) if each.name != "number"}
    texts = {name: None if values[name] is None else json.dumps(values[name]) for name in ("params", "file", "sources")}
    return {**values, **texts, "words": _words(entry)}


def _words(entry: Entry) -> str:
    """What a search looks at."""
    return "\n".join((entry.title, entry.note, entry.recipe, entry.prompt, *entry.sources)).casefold()


def _entry(row: sqlite3.Row) -> Entry:
    texts = {name: _loaded(row[name]) for name in ("params", "file", "sources")}
    plain = ("kind", "title", "recipe", "note", "prompt", "architecture", "thumbnail", "made")
    return Entry(
        **{name: row[name] for name in plain},
        **{**texts, "sources": tuple(texts["sources"] or ())},
        pinned=bool(row["pinned"]),
        number=row["id"],
    )


def _loaded(text: str | None) -> Any:
    """What a column holds; None where somebody wrote something else into it."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
