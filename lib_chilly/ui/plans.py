"""The last plans of one server: a picture, a name, its facts and its save ask for the same ones."""

from __future__ import annotations

import threading

from ..host.base import Host
from ..models import ModelLibrary
from ..permissions import hashes_for_ledger
from ..plan import Plan, make_plan
from ..recipe import Recipe

_MOST_PLANS = 8


class Plans:
    """Makes plans, or has them from before as long as the files are the same.

    Args:
        host: that has the models.
    """

    def __init__(self, host: Host):
        self._host = host
        self._plans: dict[str, Plan] = {}
        self._library: ModelLibrary | None = None
        self._lock = threading.Lock()

    def of(self, recipe: Recipe) -> Plan:
        """The plan of a recipe.

        Raises:
            MergeError: it cannot be planned.
        """
        key, library = recipe.canonical(), self._host.library()
        with self._lock:
            if self._library is not library:  # names may mean other files now
                self._plans, self._library = {}, library
            known = self._plans.pop(key, None)
        if known is None or not _is_current(known):
            known = make_plan(recipe, library)
        else:  # what is stated of the sources may be another thing since
            known = known.with_terms(hashes_for_ledger(known.sources))
        with self._lock:
            if self._library is library:
                self._plans = dict([*self._plans.items(), (key, known)][-_MOST_PLANS:])
        return known


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
