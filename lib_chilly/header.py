"""What a checkpoint's header says, in one form for every format; reads no file itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from .dtypes import DType

MAX_DIMENSIONS = 64  # as torch; bounds what one hostile shape can cost
MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: in one run of a file's bytes, or as several runs, or turned.

    Attributes:
        dtype: element type as stored.
        shape: sizes of its dimensions; () is one number.
        offset: first byte, counted from the start of the file.
        size_bytes: bytes, contiguous, row-major, little-endian.
        scale: for scaled fp8, the one-element tensor that the stored values are multiplied by.
        file: which of the checkpoint's `files` holds it.
        pieces: tensors that stand one below the other in this one, which then has no run of its own.
        transposed: whether the stored matrix has columns and rows exchanged; `shape` is what is meant.
    """

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int
    scale: TensorInfo | None = None
    file: int = 0
    pieces: tuple[TensorInfo, ...] = ()
    transposed: bool = False

    @property
    def elements(self) -> int:
        return self.size_bytes // self.dtype.size_bytes

    @property
    def read_bytes(self) -> int:
        """What is read of the file for it."""
        return self.size_bytes


@dataclass(frozen=True)
class StoredFile:
    """One file that holds tensors, and what says that it is still the same."""

    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Checkpoint:
    """The header of one model: of a file, or of the files of a diffusers folder.

    Attributes:
        path: where it was opened, symlinks as given.
        format: "safetensors", "ckpt" or "diffusers".
        size_bytes, mtime_ns, header_digest: what says that the file is still the same; the digest is a sha256 in hex. Of a
            folder: the sum of the sizes, the latest time, and a digest of all headers with the files' names, sizes and times.
        tensors: key to place, in the order in which they lie in the file.
        metadata: `__metadata__` with every value as text.
        consumed: keys of scales and markers that dequantising uses up, so that no output has them.
        parts: the files of a folder; empty for a file.
    """

    path: Path
    format: str
    size_bytes: int
    mtime_ns: int
    header_digest: str
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    consumed: tuple[str, ...] = ()
    parts: tuple[StoredFile, ...] = ()

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The files that hold the tensors."""
        return self.parts or (StoredFile(self.path, self.size_bytes, self.mtime_ns),)


def quoted(text: str) -> str:
    """A name out of a file, in quotes and fit for a message: one line, no control characters, not too long."""
    if len(text) > 160:
        text = f"{text[:110]}...{text[-47:]}"
    if not text.isprintable():
        text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return f"'{text}'"


def grouped(number: int) -> str:
    """`number` with a space between thousands, as messages show sizes."""
    return f"{number:,}".replace(",", " ")


def counted(number: object, thing: str) -> str:
    """`number` with the name of what is counted: "1 key", "2 keys"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def is_text(key: str) -> bool:
    """Whether `key` can be written as UTF-8: JSON and pickles can both hold halves of characters, which no file can."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
