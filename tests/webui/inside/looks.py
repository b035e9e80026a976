"""What is looked at inside the webui: signatures, memory, what it hands out, what we have registered there."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from pathlib import Path

from modules import (
    call_queue,
    patches,
    processing,
    script_callbacks,
    sd_models,
    shared,
)
from samples import MIX

from inside.grids import module_of_grids
from inside.state import host, plan, state
from lib_chilly.host import webui_entry, webui_merged


def signatures(*names):
    """Name to the parameters of a function, a method or a class; None of what is nothing of these, False of what is not there."""
    return {name: _parameters(*name.split(".")) for name in names}


def _parameters(module, *names):
    if module != "xyz_grid" and importlib.util.find_spec(f"modules.{module}") is None:
        return False
    thing = module_of_grids() if module == "xyz_grid" else importlib.import_module(f"modules.{module}")
    for each in names:
        if not hasattr(thing, each):
            return False
        thing = getattr(thing, each)
    thing = inspect.unwrap(thing) if hasattr(thing, "__wrapped__") else thing
    is_python = inspect.isfunction(thing) or inspect.ismethod(thing) or inspect.isclass(thing)
    if not is_python or dataclasses.is_dataclass(thing):
        return None
    parameters = inspect.signature(thing).parameters.values()
    return [[each.name, each.kind.name, each.default is each.empty] for each in parameters]


def fields():
    """Of the webui's request for a picture."""
    return sorted(field.name for field in dataclasses.fields(processing.StableDiffusionProcessingTxt2Img))


def categories():
    """Of callbacks, as the webui keeps them."""
    return sorted(script_callbacks.callback_map)


def own_memory():
    """MiB of this process that are no files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def paths(*recipes):
    infos = [webui_merged.info_of(plan(recipe)) for recipe in recipes]
    return [[info.filename, info.title] for info in infos]


def handed_out(recipe=MIX):
    """How many tensors the webui gets the second time, after it has emptied what it got the first time."""

    class Timer:
        def record(self, *_):
            pass

    with call_queue.queue_lock:
        info = host().weights.take(plan(recipe)).info
        first = sd_models.get_checkpoint_state_dict(info, Timer())
        count = len(first)
        first.clear()
        return {"first": count, "second": len(sd_models.get_checkpoint_state_dict(info, Timer()))}


def reload_page():
    """What the webui does to an extension when its page is loaded anew."""
    script_callbacks.script_unloaded_callback()
    left = {name: getattr(sd_models, name).__module__ for name in ("list_models", "get_checkpoint_state_dict")}
    sd_models.list_models()
    webui_entry.register()
    webui_entry.register()
    return {"left": left, "patched": patched(), **state()}


def restart():
    shared.state.request_restart()


def patched():
    return sorted(name for _, name in patches.originals["chillymerge"])


def serve(**flags):
    """The port of a server of the double, started with flags; the real webui has its own."""
    import serving

    return serving.serve(**flags)
