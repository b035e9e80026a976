"""Write a checkpoint beside its target and rename it at the end: the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .dtypes import DType
from .errors import OutputError
from .fileio import TargetFile, remove_if_abandoned, sync_folder
from .header import quoted

TEMPORARY_SUFFIX = ".chilly-tmp"
FOLDER_SUFFIX = ".folder"
"""Ends the name of a temporary folder, after that of the temporary file whose lock says that its writer lives."""
DATA_ALIGNMENT = 4096


def build_header(tensors: Iterable[tuple[str, DType, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of a safetensors file: the length, the JSON, spaces until the first tensor starts on a 4096-byte boundary.

    Args:
        tensors: (key, dtype, shape) in the order of the file, without holes.
    """
    entries: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for key, dtype, shape in tensors:
        end = offset + math.prod(shape) * dtype.size_bytes
        entries[key] = {"dtype": dtype.tag, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    padding = -(8 + len(text)) % DATA_ALIGNMENT
    return (len(text) + padding).to_bytes(8, "little") + text + b" " * padding


def check_target(output: Path, overwrite: bool, is_replaceable: Callable[[str], bool] | None = None) -> Path:
    """The file or folder that will be written, symlinks resolved.

    Args:
        is_replaceable: for a folder, whether one that is replaced may hold what has this name in it, such as "part/file", or
            "part/" for a folder; None for a file.

    Raises:
        OutputError: it exists and may not be overwritten, or its folder does not exist or cannot be written to.
    """
    target = Path(os.path.realpath(output))
    try:
        _check_place(output, target, overwrite, is_replaceable is not None)
        held = _names_in(target) if is_replaceable and target.is_dir() else []
    except OSError as error:  # a name that is too long
        raise output_error(target, error) from error
    stranger = next((name for name in held if is_replaceable and not is_replaceable(name)), None)
    if stranger:
        raise OutputError(
            f"the folder '{output}' holds {quoted(stranger)}, which no merge writes and which would be lost: the folder is not "
            "replaced. Move that away, or choose another name."
        )
    return target


def _names_in(folder: Path) -> list[str]:
    """What a folder and the folders in it hold; the names of folders end with a slash, those of links to folders do not."""
    names = []
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir() and not path.is_symlink()
        inside = sorted(path.iterdir()) if is_folder else []
        names.append(f"{path.name}/" if is_folder else path.name)
        names += [f"{path.name}/{held.name}{'/' if held.is_dir() and not held.is_symlink() else ''}" for held in inside]
    return names


def _check_place(output: Path, target: Path, overwrite: bool, is_folder: bool) -> None:
    if target.is_dir() and not is_folder:
        raise OutputError(f"'{output}' is a folder; name a file in it, such as '{output / 'merged.safetensors'}'.")
    if not target.parent.is_dir():
        raise OutputError(f"the folder '{target.parent}' does not exist; create it first.")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"the folder '{target.parent}' is not writable. Nothing was written.")
    if target.exists() and not overwrite:
        raise OutputError(f"'{output}' exists. Choose another name, or pass --overwrite.")
    if target.exists() and not (target.is_dir() if is_folder else target.is_file()):
        kind = "folder" if is_folder else "regular file"
        raise OutputError(f"'{output}' is no {kind} and is never replaced; choose another name.")


def check_space(target: Path, size_bytes: int) -> None:
    """OutputError when the target's disk has less room than the file needs while the old one is still there."""
    free = shutil.disk_usage(target.parent).free
    if free < size_bytes:
        raise OutputError(
            f"the disk is full: {size_bytes:,} bytes are needed in '{target.parent}', {free:,} are free. Nothing was written."
        )


class CheckpointWriter:
    """A file under a temporary name in the target's folder, locked while its writer lives.

    Use as a context manager; without `commit` nothing is left behind.

    Args:
        target: as `check_target` gave it.
        size_bytes: of the whole file.
        overwrite: whether `commit` may replace a file that stands there.

    Raises:
        OutputError: not enough room, or the folder cannot be written to.
    """

    def __init__(self, target: Path, size_bytes: int, overwrite: bool):
        self.target, self.overwrite = target, overwrite
        self._committed = False
        remove_abandoned(target.parent)
        check_space(target, size_bytes)
        try:
            self._file = temporary_beside(target)
            try:
                self._file.resize(size_bytes)
            except BaseException:
                self.__exit__()
                raise
        except OSError as error:
            raise output_error(target, error) from error

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Write `data` at `offset`; may be called from many threads. OutputError when the disk does not take it."""
        try:
            self._file.write_at(data, offset)
        except OSError as error:
            raise output_error(self.target, error) from error

    def commit(self) -> None:
        """Make the file durable and give it its name. OutputError when the name was taken meanwhile."""
        try:
            self._file.sync()
            if sys.platform == "win32":
                self._file.close()
            self._rename()
        except OSError as error:
            raise output_error(self.target, error) from error
        self._committed = True
        with contextlib.suppress(OSError):  # some network folders cannot be synced; the file is there all the same
            sync_folder(self.target.parent)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            self._file.path.unlink(missing_ok=True)
        if not (self._committed and sys.platform == "win32"):
            self._file.close()

    def _rename(self) -> None:
        if self.overwrite:
            self._file.path.replace(self.target)
            return
        try:
            # A hard link fails where the name exists; a rename would replace what another merge has just written.
            os.link(self._file.path, self.target)
        except FileExistsError:
            raise OutputError(f"'{self.target}' was written by somebody else meanwhile. Nothing was replaced.") from None
        except OSError:
            if self.target.exists():
                raise OutputError(f"'{self.target}' was written by somebody else meanwhile. Nothing was replaced.") from None
            self._file.path.rename(self.target)
        else:
            self._file.path.unlink()


def temporary_beside(target: Path) -> TargetFile:
    """A new locked file with a temporary name in the target's folder; OSError as the system raises it."""
    while True:
        name = f".{target.name[:40]}.{os.urandom(6).hex()}{TEMPORARY_SUFFIX}"
        file = TargetFile(target.parent / name)
        if file.is_ours():
            return file
        file.close()  # another run took it for abandoned between its creation and its lock


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files and folders of writers that died; those of living ones are locked and stay."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        remove_if_abandoned(path)
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}{FOLDER_SUFFIX}"):
        if not path.with_name(path.name[: -len(FOLDER_SUFFIX)]).exists():
            shutil.rmtree(path, ignore_errors=True)


def output_error(target: Path, error: OSError) -> OutputError:
    """`error` in a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"the disk of '{target.parent}' became full while writing. Nothing was left behind.")
    return OutputError(f"'{target}' cannot be written: {error.strerror}. Nothing was left behind.")
