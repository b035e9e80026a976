"""The .yaml beside a checkpoint, by which the webui knows how a model is built and sampled: which one goes beside the output."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import OutputError, RecipeError
from .header import quoted
from .models import without_suffix
from .sources import Source

COPY, DROP = "copy", "drop"
_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Sidecar:
    """A source's .yaml, as it was when the merge was planned."""

    source: str
    path: Path
    content: bytes


def find_sidecar(choice: str | None, sources: Sequence[Source]) -> Sidecar | None:
    """The .yaml that is copied.

    Args:
        choice: of the option `yaml`: a source's name; None or "copy" is the first source that has one, "drop" none.

    Raises:
        RecipeError: the named source does not exist, or has none.
    """
    if choice == DROP:
        return None
    if choice in (None, COPY):
        return next((found for source in sources if (found := _beside(source))), None)
    named = next((source for source in sources if source.name == without_suffix(choice)), None)
    if named is None:
        names = ", ".join(source.name for source in sources)
        raise RecipeError(f"save option 'yaml' is copy, drop or a model of this recipe ({names}); here it is '{choice}'.")
    found = _beside(named)
    if found is None:
        expected = quoted(named.checkpoint.path.with_suffix(".yaml").name)
        raise RecipeError(f"save option 'yaml': {expected} is not beside '{named.name}', or is no text. Name another model.")
    return found


def sidecar_target(sidecar: Sidecar | None, output: Path, overwrite: bool) -> Path | None:
    """Where the copy goes; None where there is nothing to copy, or it is there already.

    Raises:
        OutputError: another file stands there and may not be overwritten.
    """
    if sidecar is None:
        return None
    target = output.with_suffix(".yaml")
    if target.is_file() and _read(target) == sidecar.content:
        return None
    if target.is_dir() or (not overwrite and (target.exists() or target.is_symlink())):
        raise OutputError(
            f"'{target}' exists and is not the config of '{sidecar.source}', which goes there. Move it away, pass --overwrite "
            "or say save(yaml=drop)."
        )
    return target


def _beside(source: Source) -> Sidecar | None:
    """What lies under the checkpoint's name; a link that leads to anything but a .yaml is not followed."""
    if not source.checkpoint.path.is_file():
        return None
    path = source.checkpoint.path.with_suffix(".yaml")
    content = _read(path) if os.path.realpath(path).lower().endswith(_SUFFIXES) else None
    return Sidecar(source.name, path, content) if content else None


def _read(path: Path) -> bytes | None:
    """A regular file's text; None where there is none, or it is no text, or far too long for a config."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
        content.decode()
    except (OSError, ValueError):
        return None
    return content
