"""Write a folder beside its target and rename it at the end: the old folder or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from .errors import OutputError
from .fileio import sync_folder
from .writer import FOLDER_SUFFIX, check_space, output_error, remove_abandoned, temporary_beside


class FolderWriter:
    """A folder under a temporary name in the target's folder; a locked file beside it says that its writer lives.

    Use as a context manager; without `commit` nothing is left behind.

    Args:
        target: as `check_target` gave it.
        size_bytes: of all files together.
        overwrite: whether `commit` may replace a folder that stands there.

    Attributes:
        path: the temporary folder, to write into.

    Raises:
        OutputError: not enough room, or the folder cannot be made.
    """

    def __init__(self, target: Path, size_bytes: int, overwrite: bool):
        self.target, self.overwrite = target, overwrite
        self._is_committed = False
        remove_abandoned(target.parent)
        check_space(target, size_bytes)
        try:
            self._lock = temporary_beside(target)
            self.path = self._lock.path.with_name(self._lock.path.name + FOLDER_SUFFIX)
            try:
                self.path.mkdir()
            except BaseException:
                self.__exit__()
                raise
        except OSError as error:
            raise output_error(target, error) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a small file below the folder. OutputError when the disk does not take it."""
        path = self.path / name
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(self.target, error) from error

    def commit(self) -> None:
        """Give the folder its name; one that stands there is replaced. OutputError when that cannot be done."""
        try:
            for folder in (*(path for path in self.path.iterdir() if path.is_dir()), self.path):
                with contextlib.suppress(OSError):
                    sync_folder(folder)
            self._rename()
        except OSError as error:
            raise output_error(self.target, error) from error
        self._is_committed = True
        with contextlib.suppress(OSError):  # some network folders cannot be synced; the folder is there all the same
            sync_folder(self.target.parent)

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_committed:
            shutil.rmtree(self.path, ignore_errors=True)
        # The lock goes last: without it the folder would count as abandoned.
        self._lock.close()
        self._lock.path.unlink(missing_ok=True)

    def _rename(self) -> None:
        # Two folders cannot change places in one step: if the system dies in between, the old one is called `.NAME...old`.
        if not self.target.exists():
            self.path.rename(self.target)
            return
        if not self.overwrite:
            raise OutputError(f"'{self.target}' was written by somebody else meanwhile. Nothing was replaced.")
        old = self.path.with_name(self.path.name + ".old")
        self.target.rename(old)
        try:
            self.path.rename(self.target)
        except OSError:
            old.rename(self.target)
            raise
        shutil.rmtree(old, ignore_errors=True)
