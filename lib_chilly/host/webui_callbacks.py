"""What of ours the webui calls, and when."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from modules import script_callbacks


def register(category: str, callback: Callable[..., Any]) -> None:
    """Let the webui call this as its `on_CATEGORY` would; what was registered before is not registered twice.

    `on_CATEGORY` itself would look through all that is imported to find out whose callback it is, 50 ms for each. Where the webui
    cannot be told whose it is, it does so all the same.
    """
    script_callbacks.remove_callbacks_for_function(callback)
    add, callbacks = script_callbacks.add_callback, script_callbacks.callback_map[f"callbacks_{category}"]
    can_be_told = "filename" in inspect.signature(add).parameters
    add(callbacks, callback, **({"category": category, "filename": callback.__code__.co_filename} if can_be_told else {}))
