"""The example pictures of a card: those that the history keeps of a model, and those that lie beside it under its name."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MergeError, OutputError
from .header import Checkpoint, quoted
from .history import Entry, History
from .own_files import is_own
from .provenance import Record
from .recipe import Line
from .recipe_text import parse_recipe

KINDS: Mapping[str, tuple[str, ...]] = {"png": ("png",), "jpeg": ("jpg", "jpeg"), "webp": ("webp",)}
"""Formats that browsers show, to the suffixes of their files."""
_BESIDE = ("", ".preview")
_MOST, _LARGEST_BYTES = 8, 4 << 20
"""Pictures of a card, and bytes of all of them."""
_LONGEST_PROMPT = 200
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Markers of a JPEG's frame that browsers show: baseline, extended, progressive."""


@dataclass(frozen=True)
class Picture:
    """A picture as its file has it.

    Attributes:
        kind: of KINDS.
        caption: a text, perhaps a stranger's.
    """

    content: bytes
    kind: str
    caption: str

    @property
    def address(self) -> str:
        """As an <img> takes it, with the picture inside."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


def image_kind(content: bytes) -> str | None:
    """Which of KINDS a file is, by its first bytes and with a size above 0; None where it is none."""
    if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR" and content.rstrip(b"\0")[-8:-4] == b"IEND":
        return "png" if any(content[16:20]) and any(content[20:24]) else None
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP" and content[12:16] in (b"VP8 ", b"VP8L", b"VP8X"):
        return "webp" if int.from_bytes(content[4:8], "little") + 8 <= len(content) else None
    return "jpeg" if content.startswith(b"\xff\xd8\xff") and _has_frame(content) else None


def pictures_of(checkpoint: Checkpoint, sha256: str, record: Record | None) -> tuple[list[Picture], list[str]]:
    """The pictures of a model, the nearest first, each once; and sentences on those that are not shown."""
    notes: list[str] = []
    found: dict[bytes, Picture] = {}
    room, more = _LARGEST_BYTES, 0
    for picture in (*_beside(checkpoint, notes), *_kept(sha256, record, notes)):
        if picture.content in found:
            continue
        if len(found) < _MOST and len(picture.content) <= room:
            found[picture.content] = picture
            room -= len(picture.content)
        else:
            more += 1
    return list(found.values()), notes + [f"and {more} more"] * bool(more)


def write_pictures(pictures: list[Picture], folder: Path, stem: str) -> list[str]:
    """Write them as files of a folder, which is made where there is none; their names.

    Raises:
        OutputError: one of another content is there already, or the system does not allow it.
    """
    names = [f"{stem}-{number}.{KINDS[each.kind][0]}" for number, each in enumerate(pictures, 1)]
    try:
        for name, picture in zip(names, pictures, strict=True):
            if (folder / name).exists() and (folder / name).read_bytes() != picture.content:
                raise OutputError(f"{quoted(name)} is in the folder already, and is another picture. Choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(names, pictures, strict=True):
            if not (folder / name).exists():
                with (folder / name).open("xb") as file:  # a link that leads nowhere is no way out of the folder
                    file.write(picture.content)
    except OSError as error:
        raise OutputError(f"pictures cannot be written into '{folder}': {error.strerror}.") from None
    return names


def _beside(checkpoint: Checkpoint, notes: list[str]) -> Iterator[Picture]:
    """Pictures under a file's name, as the usual helpers keep them; links that lead elsewhere are not followed."""
    if checkpoint.parts:
        return
    stem = checkpoint.path.with_suffix("")
    suffixes = [suffix for each in KINDS.values() for suffix in each]
    for path in [stem.with_name(f"{stem.name}{ending}.{suffix}") for ending in _BESIDE for suffix in suffixes]:
        try:
            if not path.is_file() or not is_own(path.parent, path):
                continue
            with path.open("rb") as file:
                content = file.read(_LARGEST_BYTES + 1)
        except OSError:
            continue
        if len(content) > _LARGEST_BYTES:
            notes.append(f"{quoted(path.name)} is left out: it has more than {_LARGEST_BYTES >> 20} MiB.")
        elif (kind := image_kind(content)) is None:
            notes.append(f"{quoted(path.name)} is left out: it is no PNG, JPEG or WebP, or not a whole one.")
        else:
            yield Picture(content, kind, f"{path.name}, which lies beside the file")


def _kept(sha256: str, record: Record | None, notes: list[str]) -> Iterator[Picture]:
    """What the history has of this very file, or of the same recipe of the same sources."""
    sources = [source.name for source in record.sources] if record else []
    steps = _steps(record.recipe) if record else None
    try:
        entries = History().with_pictures(sha256, sources)
    except (OutputError, RuntimeError) as error:
        notes.append(str(error))
        return
    for entry in entries:
        content = entry.thumbnail if isinstance(entry.thumbnail, bytes) else b""
        is_own_file = isinstance(entry.file, dict) and entry.file.get("sha256") == sha256
        is_same = entry.file is None and steps is not None and _steps(entry.recipe) == steps
        if (is_own_file or is_same) and len(content) <= _LARGEST_BYTES and (kind := image_kind(content)):
            yield Picture(content, kind, _caption(entry))


def _caption(entry: Entry) -> str:
    """The prompt, and with what the picture was made, as far as the history knows it."""
    params: Mapping[str, Any] = entry.params if isinstance(entry.params, dict) else {}
    prompt = entry.prompt if len(entry.prompt) <= _LONGEST_PROMPT else f"{entry.prompt[:_LONGEST_PROMPT]}..."
    numbers = [f"{said} {params[said.lower()]}" for said in ("seed", "steps", "CFG") if said.lower() in params]
    sampler = [params["sampler"]] if isinstance(params.get("sampler"), str) else []
    return "; ".join(filter(None, [prompt, ", ".join([*numbers, *sampler])])) or entry.title


def _steps(text: str) -> tuple[Line, ...] | None:
    try:
        return parse_recipe(text).used_lines()
    except (MergeError, RecursionError):
        return None


def _has_frame(content: bytes) -> bool:
    """Whether a JPEG's segments lead to a frame with a size."""
    place = 2
    while content[place : place + 1] == b"\xff" and place + 9 < len(content):
        if content[place + 1] in _FRAMES:
            return any(content[place + 5 : place + 7]) and any(content[place + 7 : place + 9])
        place += 2 + max(2, int.from_bytes(content[place + 2 : place + 4], "big"))
    return False
