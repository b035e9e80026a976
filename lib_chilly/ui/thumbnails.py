"""Small copies of pictures for the history: at most 128 pixels on a side, and never more work than a picture is worth."""

from __future__ import annotations

import base64
import binascii
import io
from typing import TYPE_CHECKING

from ..errors import MergeError
from ..host.base import MOST_PIXELS_ON_A_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
LARGEST = 64 << 10
"""Bytes; WebP of such pictures has 2 to 8 KiB, PNG of noise some 50."""
_LARGEST_PICTURE = 64 << 20
_MOST_PIXELS = (2 * MOST_PIXELS_ON_A_SIDE) ** 2
_PREFIX = "data:image/png;base64,"


def thumbnail(image: str) -> bytes:
    """A small copy of a picture that was made here, as WebP, or PNG where Pillow has no WebP.

    Args:
        image: as a data address of a PNG.

    Raises:
        MergeError: it is none, or too large.
    """
    import PIL.Image
    from PIL import features

    try:
        if not image.startswith(_PREFIX) or len(image) > _LARGEST_PICTURE:
            raise ValueError
        with PIL.Image.open(io.BytesIO(base64.b64decode(image[len(_PREFIX) :], validate=True)), formats=["PNG"]) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError
            small = picture.convert("RGB")
    except (ValueError, OSError, SyntaxError, binascii.Error, PIL.Image.DecompressionBombError):
        raise MergeError("this picture cannot be read; make it again.") from None
    small.thumbnail((SIDE, SIDE))
    found = _written(small, "WEBP") if features.check("webp") else _written(small, "PNG")
    while len(found) > LARGEST:  # noise in PNG
        small = small.resize((max(1, small.width // 2), max(1, small.height // 2)))
        found = _written(small, "PNG")
    return found


def as_address(blob: bytes | None) -> str | None:
    """A thumbnail as a data address; None where there is none."""
    if not blob:
        return None
    kind = "webp" if blob[:4] == b"RIFF" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(blob).decode()}"


def _written(picture: Image, kind: str) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **({"quality": 80} if kind == "WEBP" else {"optimize": True}))
    return target.getvalue()
