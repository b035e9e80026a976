"""Keeps the model that a webui loads at its start from being ready before a picture was asked for meanwhile.

Imported inside the webui. The loader is held at the end of its work, until somebody waits for it, as is right, or draws already.
"""

import threading

from modules import script_callbacks, sd_hijack, sd_models, shared

_MOST_SECONDS = 600
_may_end = threading.Event()


class _Lock:
    """Of the loader; who waits for it lets the loader end."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        if not self._lock.acquire(blocking=False):
            _may_end.set()
            self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def hold():
    """Called before the webui begins to load it, and once more whenever its page is loaded anew, which holds nothing; nor does a
    Forge, which loads none at its start."""
    loads_none = shared.cmd_opts.skip_load_model_at_start or hasattr(sd_models, "forge_model_reload")
    if _may_end.is_set() or loads_none:
        return
    hooks = sd_hijack.model_hijack
    sd_models.model_data.lock = _Lock()

    def wait_and_hijack(*given):
        del hooks.hijack  # this is for the first model alone
        _may_end.wait(_MOST_SECONDS)
        hooks.hijack(*given)

    hooks.hijack = wait_and_hijack


def ask_amid(ask):
    """(whether it was loaded before, what `ask` returns)."""
    was_loaded = sd_models.model_data.was_loaded_at_least_once
    script_callbacks.on_cfg_denoiser(_end)
    try:
        return was_loaded, ask()
    finally:
        script_callbacks.remove_callbacks_for_function(_end)
        _may_end.set()


def _end(params):
    """A picture is drawn already."""
    _may_end.set()
    with sd_models.model_data.lock:
        pass
