"""What a model's name on the page means: which file, of which architecture, with how much to be read."""

from __future__ import annotations

from collections.abc import Hashable

from ..architecture import detect
from ..errors import MergeError
from ..expression import FileName, LoraRef
from ..models import ModelLibrary
from ..sources import source_of


def identity(name: FileName, library: ModelLibrary) -> Hashable:
    """What says that a name means the same file as before; None where it means none."""
    try:
        path = library.find_lora(name.name) if isinstance(name, LoraRef) else library.find(name)
        stat = path.stat()
    except (MergeError, OSError):
        return None
    return str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns


def architecture_of(name: str, library: ModelLibrary) -> str:
    """The architecture's name; empty where none is known."""
    try:
        checkpoint = library.open(library.find(name))
        return detect({key: info.shape for key, info in checkpoint.tensors.items()}, name).name
    except MergeError:
        return ""


def bytes_of(name: str, library: ModelLibrary) -> int:
    """Of the tensors that a merge, or a look at a model's health, may read; 0 where it cannot be read."""
    try:
        checkpoint = library.open(library.find(name))
        architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, name)
        return sum(info.read_bytes for info in source_of(name, checkpoint, architecture).tensors.values())
    except MergeError:
        return 0
