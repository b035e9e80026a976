"""The texts of a PNG picture's chunks, read by hand and bounded: nothing of the pixels is looked at."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from ..errors import CheckpointError
from ..header import quoted

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_TEXT = 1 << 20
"""Bytes of one text, packed or not."""
_MOST_CHUNKS, _MOST_TEXTS = 100_000, 64


def png_texts(head: bytes, name: str) -> dict[str, str]:
    """Keyword to text of the chunks tEXt, zTXt and iTXt; of two of one keyword the first.

    Args:
        head: the file, or its first part; chunks that lie beyond it are not found.

    Raises:
        CheckpointError: a text is larger than any honest one.
    """
    found: dict[str, str] = {}
    for kind, body in _chunks(head):
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        keyword, zero, rest = body.partition(b"\0")
        if not zero or not 1 <= len(keyword) <= 79 or len(found) >= _MOST_TEXTS:
            continue
        text = _text(kind, rest, name)
        if text is not None:
            found.setdefault(keyword.decode("latin-1"), text)
    return found


def _chunks(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each chunk that lies in `head` whole and undamaged."""
    place = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        size, kind = int.from_bytes(head[place : place + 4], "big"), head[place + 4 : place + 8]
        end = place + 12 + size
        if end > len(head) or kind == b"IEND":
            return
        if kind[1:] in (b"EXt", b"TXt"):
            body = head[place + 8 : end - 4]
            if zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(head[end - 4 : end], "big"):
                yield kind, body
        place = end


def _text(kind: bytes, rest: bytes, name: str) -> str | None:
    """A chunk's text; None where it is not in the format."""
    if kind == b"tEXt":
        return _bounded(rest, name).decode("latin-1")
    if kind == b"zTXt":
        return None if rest[:1] != b"\0" or (text := _inflated(rest[1:], name)) is None else text.decode("latin-1")
    flags, rest = rest[:2], rest[2:]
    _language, _, rest = rest.partition(b"\0")
    _translated, _, rest = rest.partition(b"\0")
    if flags not in (b"\0\0", b"\1\0"):
        return None
    text = _inflated(rest, name) if flags[0] else _bounded(rest, name)
    try:
        return None if text is None else text.decode()
    except UnicodeDecodeError:
        return None


def _inflated(packed: bytes, name: str) -> bytes | None:
    """Unpacked, but never more than one byte beyond what is allowed."""
    try:
        return _bounded(zlib.decompressobj().decompress(packed, MOST_TEXT + 1), name)
    except zlib.error:
        return None


def _bounded(text: bytes, name: str) -> bytes:
    if len(text) > MOST_TEXT:
        raise CheckpointError(
            f"{quoted(name)} holds a text of more than {MOST_TEXT >> 20} MiB, which no picture has for honest use."
        )
    return text
