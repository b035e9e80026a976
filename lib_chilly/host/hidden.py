"""Names in the place of paths, where who asks is not to learn in which folders things lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def without_folders(text: str, folders: Iterable[Path]) -> str:
    """A text, which may be JSON, with paths below some folders as they are called from there."""
    known = sorted({str(folder) for folder in folders if folder.name}, key=len, reverse=True)
    for path in known:
        for as_plain in (str, json.dumps, lambda value: json.dumps(value, ensure_ascii=False)):
            folder, end = (as_plain(part).strip('"') for part in (path, "\\"))
            for separator in ("/", end):
                text = text.replace(folder + separator, "")
            text = text.replace(folder, as_plain(Path(path).name).strip('"'))
    return text
