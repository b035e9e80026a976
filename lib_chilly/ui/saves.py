"""What one server has to save: names and room that are spoken for, the pace of the machine, and the last plans."""

from __future__ import annotations

import threading

from ..host.base import Host
from ..models import ModelLibrary
from ..plan import Plan, make_plan
from ..recipe import Recipe
from .problem import FieldError
from .save_names import folded
from .save_progress import SaveClock

_MOST_PLANS = 4


class Saves:
    """What waits to be saved by one server, so that no two files get one name or the same room.

    Args:
        host: that has the output folder.
    """

    def __init__(self, host: Host):
        self.clock = SaveClock(host)
        self._waiting: dict[str, int] = {}
        self._plans: dict[str, Plan] = {}
        self._library: ModelLibrary | None = None
        self._lock = threading.Lock()

    def plan(self, recipe: Recipe, library: ModelLibrary) -> Plan:
        """The plan of a recipe; the last ones are kept, as a name, its facts and its save ask for the same."""
        key = recipe.canonical()
        with self._lock:
            if self._library is not library:  # names may mean other files now
                self._plans, self._library = {}, library
            known = self._plans.get(key)
        if known is None or not _is_current(known):
            known = make_plan(recipe, library)
            with self._lock:
                if self._library is library:
                    self._plans = dict([*self._plans.items(), (key, known)][-_MOST_PLANS:])
        return known

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
        """Of all that waits."""
        with self._lock:
            return sum(self._waiting.values())


def _is_current(plan: Plan) -> bool:
    """Whether the sources are the files whose headers were read."""
    try:
        for stored in (stored for source in plan.sources for stored in source.checkpoint.files):
            found = stored.path.stat()
            if (found.st_size, found.st_mtime_ns) != (stored.size_bytes, stored.mtime_ns):
                return False
    except OSError:
        return False
    return True
