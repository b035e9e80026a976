"""Pictures as a page takes them: PNG with the parameters written into it, and how two of them differ."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

AMPLIFIED = 4
"""How many times a difference is shown."""
_LIVE_SIDE = 512
"""Pixels, at most, of a picture in the making."""
_SIGNATURE_AND_SIZE = 8 + 25
"""Bytes before a PNG's second chunk."""


def as_png(image: Image) -> bytes:
    """The picture in PNG, without any text."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def with_parameters(png: bytes, text: str) -> bytes:
    """The same picture with `text` in it where the webui writes its parameters: the chunk `parameters`."""
    try:
        kind, content = b"tEXt", b"parameters\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, content = b"iTXt", b"parameters\0\0\0\0\0" + text.encode()
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:_SIGNATURE_AND_SIZE] + chunk + png[_SIGNATURE_AND_SIZE:]


def difference(first: bytes, second: bytes) -> bytes:
    """How far two pictures are apart in each channel, AMPLIFIED times, black where they are the same."""
    from PIL import Image, ImageChops

    pictures = (Image.open(io.BytesIO(each)).convert("RGB") for each in (first, second))
    return as_png(ImageChops.difference(*pictures).point(lambda value: min(255, AMPLIFIED * value)))


def data_url(png: bytes) -> str:
    """What an <img> takes."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def live_url(image: Image) -> str:
    """A picture in the making, small, as it is soon another."""
    small, file = image.convert("RGB"), io.BytesIO()
    small.thumbnail((_LIVE_SIDE, _LIVE_SIDE))
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
