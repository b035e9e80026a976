"""An extension that measures, inside the real webui, what of its start is ChillyMerge's; copied there, as the first of all."""

import json
import threading
import time
from pathlib import Path

from modules import script_callbacks, script_loading

OUT = Path("@OUT@")
taken = {}


def timed(what, function):
    """The same function; what it takes is added to a line of the file."""

    def call(*args, **given):
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            return function(*args, **given)
        finally:
            before = taken.get(what, (0.0, 0.0))
            taken[what] = (before[0] + time.perf_counter() - wall, before[1] + time.thread_time() - processor)

    return call


def load_timed(path):
    """The webui's way to run a script; of ours, what is registered by it is timed too."""
    if Path(path).name != "chillymerge.py":
        return load(path)
    module = timed("script", load)(path)
    time_callbacks()
    return module


def time_callbacks():
    for category, callbacks in script_callbacks.callback_map.items():
        for each in callbacks:
            if "/chillymerge/" in each.script.replace("\\", "/") or each.callback.__module__.startswith("lib_chilly."):
                each.callback = timed(category.removeprefix("callbacks_"), each.callback)


def write(demo, app):
    """Once all who wait for the start have been called."""
    threading.Timer(1, lambda: OUT.write_text(json.dumps(taken))).start()


load = script_loading.load_module
script_loading.load_module = load_timed
script_callbacks.on_app_started(write)
