"""Small files that come with a model: which are its own, wherever links lead, and the .yaml beside a checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Config:
    """What lies beside a checkpoint under the name of its .yaml.

    Attributes:
        content: its text; empty where it is not used.
        fault: why it is not used, in words; else "".
    """

    path: Path
    content: bytes
    fault: str = ""


def config_beside(checkpoint: Path) -> Config | None:
    """The .yaml of the file `checkpoint`, which need not exist; None where there is nothing under that name.

    A link is followed to another .yaml and inside Hugging Face's cache alone: it may come from a stranger's archive, and what
    it leads to is copied.
    """
    path = checkpoint.with_suffix(".yaml")
    if not os.path.lexists(path):
        return None
    real = Path(os.path.realpath(path))
    try:
        if not real.is_file():
            return Config(path, b"", "it is no regular file")
        if real.suffix.lower() not in _SUFFIXES and not _is_cached(path.parent, real):
            return Config(path, b"", "it is a link to another kind of file")
        with real.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        content.decode()
    except OSError as error:
        return Config(path, b"", f"it cannot be read: {error.strerror}")
    except ValueError:
        return Config(path, b"", "it is no text")
    if len(content) > _MOST_BYTES:
        return Config(path, b"", f"it has more than {_MOST_BYTES >> 20} MiB")
    return Config(path, content) if content else Config(path, b"", "it is empty")


def is_own(folder: Path, path: Path) -> bool:
    """Whether a file that is reached through a model's folder lies in it, or is a link inside Hugging Face's cache."""
    real = Path(os.path.realpath(path))
    return real.is_relative_to(os.path.realpath(folder)) or _is_cached(folder, real)


def _is_cached(folder: Path, real: Path) -> bool:
    """Whether `real` is a blob of the repository that `folder` is a snapshot of.

    The cache has `models--NAME/snapshots/REVISION/...`, whose files are links to `models--NAME/blobs/HASH`.
    """
    home = Path(os.path.realpath(folder))
    return any(
        place.name == "snapshots" and place.parent.name.startswith("models--") and real.parent == place.parent / "blobs"
        for place in home.parents
    )
