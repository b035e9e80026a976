"""sha256 of files, remembered by path, size, mtime and header digest so that a source is read for it once.

The path is in it because two plain models of one size have the same header, and often the same time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from .checkpoint import Checkpoint
from .fileio import SourceFile

_CHUNK_BYTES = 1 << 18
_SCHEMA = 2
_of_host: Path | None = None


def use_folder(folder: Path | None) -> None:
    """Keep user data in the folder of the program that this runs in; None for the platform's again."""
    global _of_host
    _of_host = folder


def user_folder() -> Path:
    """Where user data lies: CHILLY_HOME, else the host's folder, else the platform's for user data; never inside the clone."""
    if named := os.environ.get("CHILLY_HOME"):
        return Path(named)
    if _of_host is not None:
        return _of_host
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "chillymerge"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "chillymerge"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "chillymerge"


def hash_file(path: Path, offset: int = 0, on_bytes: Callable[[int], None] | None = None) -> str:
    """sha256 in hex of a file from `offset` to its end; `on_bytes` is told how many more bytes were read."""
    digest = hashlib.sha256()
    # The chunk stays in the processor's cache between the read and the hash.
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with SourceFile(path) as file:
        size, _ = file.identity()
        while offset < size:
            part = buffer[: min(len(buffer), size - offset)]
            file.read_into(part, offset)
            digest.update(part)
            offset += len(part)
            if on_bytes:
                on_bytes(len(part))
    return digest.hexdigest()


def hash_folder(folder: Path, digests: Mapping[Path, str]) -> str:
    """sha256 in hex of a folder's files: of what `sha256sum` prints for them, sorted by their names below the folder.

    Args:
        digests: each file to its own sha256 in hex.
    """
    lines = sorted((path.relative_to(folder).as_posix(), digest) for path, digest in digests.items())
    text = "".join(f"{digest}  {name}\n" for name, digest in lines)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def hash_checkpoints(
    checkpoints: Sequence[Checkpoint], threads: int = 1, on_bytes: Callable[[int], None] | None = None
) -> list[str]:
    """sha256 in hex of each model, from the cache where it is the same file still; several files are hashed at once.

    A cache that cannot be used (a read-only home, a damaged database) is done without.

    Raises:
        CheckpointError: a file is no longer the one whose header was read.
    """
    with _Cache() as cache:
        found = [cache.get(checkpoint) for checkpoint in checkpoints]
        missing = [number for number, digest in enumerate(found) if digest is None]
        with ThreadPoolExecutor(max(1, threads)) as pool:
            digests = pool.map(lambda number: _hash_unchanged(checkpoints[number], on_bytes), missing)
            for number, digest in zip(missing, digests, strict=True):
                found[number] = digest
                cache.put(checkpoints[number], digest)
    return [digest or "" for digest in found]


def known_hashes(checkpoints: Sequence[Checkpoint]) -> list[str | None]:
    """sha256 in hex of each model that the cache knows; nothing is read for the others."""
    with _Cache() as cache:
        return [cache.get(checkpoint) for checkpoint in checkpoints]


def _hash_unchanged(checkpoint: Checkpoint, on_bytes: Callable[[int], None] | None) -> str:
    digests = {}
    for stored in checkpoint.files:
        digests[stored.path] = hash_file(stored.path, 0, on_bytes)
        with SourceFile(stored.path) as file:
            file.check_unchanged(stored.size_bytes, stored.mtime_ns)
    return hash_folder(checkpoint.path, digests) if checkpoint.parts else digests[checkpoint.path]


class _Cache:
    """The table of known hashes; every failure of the database means "not known"."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> _Cache:
        try:
            user_folder().mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(user_folder() / "hashes.sqlite", timeout=10)
            self._migrate(self._database)
        except (OSError, RuntimeError, sqlite3.Error):  # RuntimeError: there is no home folder
            self._database = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()

    def get(self, checkpoint: Checkpoint) -> str | None:
        if self._database is None:
            return None
        question = "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ? AND header = ?"
        try:
            with closing(self._database.execute(question, _place(checkpoint))) as rows:
                row = rows.fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row else None

    def put(self, checkpoint: Checkpoint, digest: str) -> None:
        if self._database is None:
            return
        try:
            with self._database:
                self._database.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", (*_place(checkpoint), digest))
        except sqlite3.Error:
            return

    def _migrate(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA journal_mode = WAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA:
            raise sqlite3.DatabaseError(f"written by a newer version (schema {version})")
        with database:
            if version < _SCHEMA:
                database.execute("DROP TABLE IF EXISTS hashes")  # the first schema had no path; hashes are found again
            database.execute(
                "CREATE TABLE IF NOT EXISTS hashes (path TEXT, size INTEGER, mtime_ns INTEGER, header TEXT, "
                "sha256 TEXT NOT NULL, PRIMARY KEY (path, size, mtime_ns, header))"
            )
            database.execute(f"PRAGMA user_version = {_SCHEMA}")


def _place(checkpoint: Checkpoint) -> tuple[str, int, int, str]:
    """What says that a file is the one that was hashed."""
    path = str(checkpoint.path.resolve()).encode(errors="backslashreplace").decode()  # a name need not be text
    return path, checkpoint.size_bytes, checkpoint.mtime_ns, checkpoint.header_digest
