"""A small SQLite database of the user's: its schema with migrations, several processes at once, damage moved aside.

A connection lasts as long as one piece of work, so any thread may ask. A file that is no database any more gets another name, is
never deleted, and a new one begins.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from .errors import OutputError

_PATIENCE_SECONDS = 10.0

T = TypeVar("T")


class Database:
    """One file.

    Args:
        what: it holds, such as "history", for messages.
        migrations: SQL to each schema from the one before it; how many of them were carried out is the schema's number.

    Attributes:
        notices: sentences on what was found and done.
    """

    def __init__(self, path: Path, what: str, migrations: Sequence[str]):
        self.path, self.what, self.migrations = path, what, migrations
        self.notices: list[str] = []

    def exists(self) -> bool:
        """Whether anything was ever written; OutputError where the system does not even say that."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise OutputError(f"the {self.what} '{self.path}' cannot be used: {said}.") from None
        return True

    def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction; once more where the file was no database and has been moved aside.

        Raises:
            OutputError: it is locked for long, the disk is full, or the system does not allow it.
        """
        for attempt in (1, 2):
            seen = _identity(self.path)
            try:
                with self._opened() as database, database:
                    return work(database)
            except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
                said = error.strerror if isinstance(error, OSError) else str(error)
                raise OutputError(f"the {self.what} '{self.path}' cannot be used: {said}.") from None
            except sqlite3.Error as error:
                if attempt == 2 or not _is_damaged(error):
                    raise OutputError(f"the {self.what} '{self.path}' cannot be used: {error}.") from None
                self._move_aside(seen)
        raise AssertionError("unreachable")

    def _move_aside(self, seen: tuple[int, int] | None) -> None:
        """Give a damaged database another name, unless another process has done so meanwhile."""
        if seen is None or _identity(self.path) != seen:
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        try:
            self.path.replace(aside)
            for tail in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + tail).replace(aside.with_name(aside.name + tail))
        except OSError as error:
            raise OutputError(f"the {self.what} '{self.path}' is damaged and cannot be moved aside: {error.strerror}.") from None
        self.notices.append(f"the {self.what} was damaged. It was moved to '{aside}', and a new one was begun.")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection to a database of today's schema."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS)) as database:
            database.row_factory = sqlite3.Row
            if database.execute("PRAGMA user_version").fetchone()[0] != len(self.migrations):
                self._migrate(database)
            yield database

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Bring a database to today's schema, one process alone, all or nothing."""
        _use_wal(database)
        database.isolation_level = None
        database.execute("BEGIN IMMEDIATE")
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(self.migrations):
                raise sqlite3.OperationalError("it was written by a newer version of ChillyMerge. Update this one")
            for number, script in enumerate(self.migrations[version:], version + 1):
                for statement in filter(str.strip, script.split(";")):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        database.isolation_level = "DEFERRED"


def _use_wal(database: sqlite3.Connection) -> None:
    """Readers and a writer at once. While another process does the same, SQLite refuses without the usual patience."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file is no database of ours: not one that is locked, full or read-only."""
    return type(error) is sqlite3.DatabaseError or (
        isinstance(error, sqlite3.OperationalError)
        and (str(error).startswith("no such") or str(error).endswith("already exists"))
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
