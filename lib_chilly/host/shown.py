"""What is to be said of a picture's numbers, and whether they are those that were saved."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ..header import counted
from ..live import LiveWeights
from ..plan import Plan

_LENGTH = struct.Struct("<Q")


def is_in_file(weights: LiveWeights, plan: Plan, path: Path, sha256: str) -> bool | None:
    """Whether a file holds the tensors of the last picture, bit for bit; None where that was of another merge.

    Args:
        plan: of the file.
        sha256: of the file, which is not read again but for its header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH.size)
            (length,) = _LENGTH.unpack(start)
            if length > os.fstat(file.fileno()).st_size:  # another file, which is none of ours
                return None
            header = start + file.read(length)
    except (OSError, struct.error):  # somebody has taken it away meanwhile
        return None
    found = weights.file_sha256(plan, header)
    return None if found is None else found == sha256


def overflow_notes(count: int) -> Iterator[str]:
    """Said of a merge in which so many values were too large for the output's dtype."""
    if count:
        yield f"{counted(count, 'value')} {'was' if count == 1 else 'were'} too large for the output's dtype."
