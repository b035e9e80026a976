"""A few settings of the user's, in a file of ours."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import Any

from ..errors import OutputError
from ..hashes import user_folder

_FILE = "options.json"
_lock = threading.Lock()
"""Pictures and saves have a thread each, and what one keeps the other must not overwrite."""


def read_setting(name: str, default: Any) -> Any:
    """A setting, as it was kept."""
    return _settings().get(name, default)


def keep_setting(name: str, value: Any) -> None:
    """Keep a setting; JSON values.

    Raises:
        OutputError: the file cannot be written.
    """
    path = user_folder() / _FILE
    with _lock:
        text = json.dumps(_settings() | {name: value}, indent=2)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text(text, "utf-8")
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"the setting cannot be kept: '{path}': {error.strerror}.") from None


def _settings() -> dict[str, Any]:
    found: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((user_folder() / _FILE).read_text("utf-8"))
    return found if isinstance(found, dict) else {}
