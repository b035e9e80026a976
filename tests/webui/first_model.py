"""Keeps the model that a webui loads at its start from being loaded before a picture was asked for meanwhile.

Imported inside the webui.
"""

import threading
import time

from modules import call_queue, sd_models

_MOST_SECONDS = 100
_may_be_loaded = threading.Event()
_load_model = getattr(sd_models, "load_model", None)


def hold():
    """Called before the webui begins to load it, and once more whenever its page is loaded anew, which holds nothing; nor does a
    Forge, which loads none at its start."""
    if not _may_be_loaded.is_set() and not hasattr(sd_models, "forge_model_reload"):
        sd_models.load_model = _wait_and_load


def _wait_and_load(*given, **named):
    _may_be_loaded.wait(_MOST_SECONDS)
    return _load_model(*given, **named)


def let_go_amid(ask):
    """(whether it was loaded before, what `ask` returns); it may be loaded once `ask` has the turn in the queue."""
    was_loaded = sd_models.model_data.was_loaded_at_least_once
    threading.Thread(target=_let_go, daemon=True).start()
    return was_loaded, ask()


def _let_go():
    deadline = time.monotonic() + _MOST_SECONDS
    while call_queue.queue_lock.acquire(False) and time.monotonic() < deadline:
        call_queue.queue_lock.release()
        time.sleep(0.02)
    time.sleep(0.3)  # for one that does not wait to run into the loader
    sd_models.load_model = _load_model
    _may_be_loaded.set()
