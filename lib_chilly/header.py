"""What a checkpoint's header says, in one form for every format; reads no file itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from .dtypes import DType

MAX_DIMENSIONS = 64  # as torch; bounds what one hostile shape can cost
MAX_SIZE = 2**63 - 1


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies in its file.

    Attributes:
        dtype: element type as stored.
        shape: sizes of its dimensions; () is one number.
        offset: first byte, counted from the start of the file.
        size_bytes: bytes, contiguous, row-major, little-endian.
        scale: for scaled fp8, the one-element tensor that the stored values are multiplied by.
    """

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int
    scale: TensorInfo | None = None

    @property
    def elements(self) -> int:
        return self.size_bytes // self.dtype.size_bytes


@dataclass(frozen=True)
class Checkpoint:
    """The header of one file.

    Attributes:
        path: where it was opened, symlinks as given.
        format: "safetensors" or "ckpt".
        size_bytes, mtime_ns, header_digest: what says that the file is still the same; the digest is a sha256 in hex.
        tensors: key to place, in the order in which they lie in the file.
        metadata: `__metadata__` with every value as text.
        consumed: keys of scales and markers that dequantising uses up, so that no output has them.
    """

    path: Path
    format: str
    size_bytes: int
    mtime_ns: int
    header_digest: str
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    consumed: tuple[str, ...] = ()


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


def is_text(key: str) -> bool:
    """Whether `key` can be written as UTF-8: JSON and pickles can both hold halves of characters, which no file can."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
