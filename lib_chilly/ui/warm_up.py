"""What the first picture waits for, loaded while the user still looks at the page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger("chillymerge")

PAUSE_SECONDS = 2.0
"""After a page has asked what it begins with: until then it is drawn, and loading would be in its way."""
_MOST_WAIT_SECONDS = 10.0


class WarmUp:
    """Begins when it is made, in a thread of its own.

    Args:
        load: what there is to load.
    """

    def __init__(self, load: Callable[[], object]):
        self._load_all = load
        self._timer = threading.Timer(PAUSE_SECONDS, self._load)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Begin no more; what is being loaded is waited for, as a program cannot well end amid that."""
        self._timer.cancel()
        self._timer.join(_MOST_WAIT_SECONDS)

    def _load(self) -> None:
        try:
            self._load_all()
        except Exception as error:  # whatever it is, the first picture says it to the user
            LOG.debug("nothing was loaded beforehand", exc_info=error)
