"""Names in the place of paths, where who asks is not to learn in which folders things lie."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

_PICTURE = re.compile(r"(data:image/\w+;base64,[\w+/=]*)")


def without_folders(text: str, folders: Iterable[Path]) -> str:
    """A text, which may be JSON, with paths below some folders as they are called from there; pictures in it stay as they are."""
    named = {str(folder): folder.name for folder in folders if folder.name}
    spelled: dict[str, str] = {}
    for path, name in named.items():
        for spell in (str, json.dumps, lambda value: json.dumps(value, ensure_ascii=False)):
            folder, end = (spell(part).strip('"') for part in (path, "\\"))
            spelled |= {folder: spell(name).strip('"'), f"{folder}/": "", f"{folder}{end}": ""}
    if not spelled:
        return text
    longest_first = sorted(spelled, key=len, reverse=True)
    known = re.compile(
        "|".join(rf"{re.escape(each)}(?![\w-]|\.\w)" if spelled[each] else re.escape(each) for each in longest_first)
    )
    parts = _PICTURE.split(text)
    parts[::2] = [known.sub(lambda match: spelled[match[0]], part) for part in parts[::2]]
    return "".join(parts)
