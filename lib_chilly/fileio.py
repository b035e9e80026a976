"""Positional reads and writes that many threads may share; knows nothing of checkpoints.

Uses preadv and pwrite where the system has them, else seek with a lock (Windows).
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
import threading
from pathlib import Path

from .errors import CheckpointError

PAGE_BYTES = 4096
"""What positions, sizes and addresses must be multiples of to be written past the page cache."""

POSITIONAL = hasattr(os, "preadv") and hasattr(os, "pwrite")
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)


class SourceFile:
    """A file opened read-only; `read_into` may be called from many threads at once."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | _BINARY)
        except OSError as error:
            raise CheckpointError(f"'{path}' cannot be read: {error.strerror}.") from error
        self._lock = threading.Lock()

    def identity(self) -> tuple[int, int]:
        """(size in bytes, mtime in nanoseconds) of the open file."""
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def check_unchanged(self, size_bytes: int, mtime_ns: int) -> None:
        """CheckpointError when this is no longer the file of that identity."""
        if self.identity() != (size_bytes, mtime_ns):
            raise CheckpointError(f"'{self.path.name}' changed while it was read. Run the merge again when nothing writes to it.")

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill all of `buffer` (bytes, writable) with what stands at `offset`.

        Raises:
            CheckpointError: the file ends before the buffer is full, or the disk fails.
        """
        done = 0
        while done < len(buffer):
            try:
                count = self._read_some(buffer[done:], offset + done)
            except OSError as error:
                raise CheckpointError(f"'{self.path}' cannot be read: {error.strerror}.") from error
            if count == 0:
                raise CheckpointError(
                    f"'{self.path.name}' ended at byte {offset + done} where {len(buffer) - done} more were expected: "
                    "it was cut short while it was read. Run the merge again when nothing writes to it."
                )
            done += count

    def will_need(self, offset: int, size: int) -> None:
        """Let the system fetch these bytes while others are worked on, where it takes such hints."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; errors as `read_into`."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), offset)
        return bytes(buffer)

    def map(self) -> mmap.mmap:
        """The whole file mapped copy-on-write, so that it counts as writable and the file stays as it is."""
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_some(self, buffer: memoryview, offset: int) -> int:
        if POSITIONAL:
            return os.preadv(self._descriptor, [buffer], offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, min(len(buffer), 1 << 24))
        buffer[: len(data)] = data
        return len(data)


class TargetFile:
    """A new file opened for writing; `write_at` may be called from many threads at once.

    Whole pages go past the page cache where the system allows it (O_DIRECT): filling the cache with gigabytes that nobody reads
    again costs more processor time than the merge's arithmetic, and pushes the sources out.
    Its mode is what the umask says. An exclusive lock is held until `close`, or until the process dies.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        self._direct = _open_direct(path)
        self._lock = threading.Lock()
        self._is_locked = lock_exclusively(self._descriptor)

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Write all of `data` at `offset`; OSError as the system raises it.

        Fastest where `offset`, the size and the address in memory are multiples of PAGE_BYTES.
        """
        done = 0
        while done < len(data):
            done += self._write_some(memoryview(data)[done:], offset + done)

    def resize(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def is_ours(self) -> bool:
        """Whether nobody else has the lock and the path still names this very file: no run has taken it for abandoned."""
        try:
            return self._is_locked is not False and os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._direct is not None:
            os.close(self._direct)
        os.close(self._descriptor)

    def _write_some(self, data: memoryview, offset: int) -> int:
        if self._direct is not None and offset % PAGE_BYTES == 0 and len(data) % PAGE_BYTES == 0:
            try:
                return os.pwrite(self._direct, data, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: this disk wants another alignment than ours
                    raise
        if POSITIONAL:
            return os.pwrite(self._descriptor, data, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, data)


def page_buffer(size_bytes: int) -> mmap.mmap:
    """Memory that starts on a page, as writing past the page cache needs it."""
    return mmap.mmap(-1, size_bytes)


def _open_direct(path: Path) -> int | None:
    """A second descriptor that bypasses the page cache, where system and disk have such a thing."""
    if not POSITIONAL or not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | _BINARY)
    except OSError:
        return None


def lock_exclusively(descriptor: int) -> bool | None:
    """Take the exclusive lock of an open file without waiting.

    Returns:
        False when another process holds it, None where the disk has no locks (some network folders).
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            # Windows locks are mandatory: lock one byte far behind the data, so that writes go through.
            os.lseek(descriptor, 1 << 62, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK) else None
    return True


def remove_if_abandoned(path: Path) -> None:
    """Delete a file that `TargetFile` made, unless a living process holds its lock or there are no locks."""
    try:
        descriptor = os.open(path, os.O_RDWR | _BINARY)
    except OSError:
        return
    try:
        if lock_exclusively(descriptor) and sys.platform != "win32":
            # Deleted while the lock is held: a writer that has just created it sees that it lost it.
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        with contextlib.suppress(OSError):  # an open file cannot be deleted there
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable, where folders can be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
