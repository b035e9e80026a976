"""What one server has to save: names and room that are spoken for, and the pace of the machine."""

from __future__ import annotations

import threading

from ..host.base import Host
from .problem import FieldError
from .save_names import folded
from .save_progress import SaveClock


class Saves:
    """What waits to be saved by one server, so that no two files get one name or the same room.

    Args:
        host: that has the output folder.
    """

    def __init__(self, host: Host):
        self.clock = SaveClock(host)
        self._waiting: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, name: str, size_bytes: int) -> None:
        """Keep a name and room for one that waits; FieldError where it is taken."""
        with self._lock:
            if folded(name) in self._waiting:
                raise FieldError(f"{name} is being saved already. Choose another name.", "name")
            self._waiting[folded(name)] = size_bytes

    def give_back(self, name: str) -> None:
        with self._lock:
            self._waiting.pop(folded(name), None)

    def names(self) -> set[str]:
        with self._lock:
            return set(self._waiting)

    def bytes(self) -> int:
        """Of all that waits or is being written, in full."""
        with self._lock:
            return sum(self._waiting.values())
