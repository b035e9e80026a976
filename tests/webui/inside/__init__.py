"""What the tests do inside a webui, the real one or the double: functions that are called by name, and answer with JSON.

Imported by probe.py in the real one, by double/run.py in the other; nothing of it is imported by a test.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import traceback


def call(name, args, given):
    """What a function answers, or what went wrong. Its name has its module, "grids.axes", where another module has one called so
    too."""
    try:
        return {"answer": _named(name)(*args, **given)}
    except BaseException:
        return {"failed": traceback.format_exc()}


@functools.cache
def _named(name):
    module, _, function = name.rpartition(".")
    if module:
        return getattr(importlib.import_module(f"{__name__}.{module}"), function)
    modules = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    found = {getattr(each, name) for each in modules if getattr(getattr(each, name, None), "__module__", "") == each.__name__}
    assert len(found) == 1, f"{len(found)} functions inside are called {name}"
    return found.pop()
