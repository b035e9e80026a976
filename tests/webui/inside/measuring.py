"""What is measured inside a webui: memory over many pictures, and the seconds of a moved block."""

from __future__ import annotations

import gc
import time

from modules import shared
from samples import SMALL

from inside.looks import own_memory
from inside.models import remove, spoil
from inside.pictures import broken, plain, preview
from inside.state import host, plan, state, title_of
from lib_chilly.host.base import GenParams

WAYS = ("interrupt", "skip", "cancel", "out of memory", "shape", "no number")
"""How a picture fails in turns."""


def many_previews(count, recipes, every):
    """Pictures of so many recipes in turns, of which each `every`th fails: MiB after each tenth, what failed, and the state."""
    spoil("B", "spoiled")
    memory, failed, wrong = [], [], []
    for number in range(1, count + 1):
        way = WAYS[number // every % len(WAYS)] if number % every == 0 else None
        if way is not None:
            failed.append([way, _failed(way, number)])
        elif "picture" not in (made := preview(f"M = weighted_sum(A, B, alpha={number % recipes / recipes:.2f})")):
            wrong.append(made["error"])
        _note_memory(number, memory)
    remove("spoiled")
    return {"memory": memory, "failed": failed, "wrong": wrong, **state()}


def _failed(way, number):
    if way == "shape":
        return broken("shape", f"M = weighted_sum(A, B, alpha=0.{number:03d}7)")["error"]
    if way == "no number":
        return preview("M = weighted_sum(A, spoiled, alpha=0.5)")["error"]
    return preview(f"M = weighted_sum(A, B, alpha=0.{number:03d}3)", amid=way)["error"]


def many_plain(count):
    """The same without us: pictures of two files in turns."""
    memory = []
    for number in range(1, count + 1):
        plain(override_settings={"sd_model_checkpoint": title_of("AB"[number % 2])})
        _note_memory(number, memory)
    return {"memory": memory, **state()}


def _note_memory(number, memory):
    if number % 10 == 0:
        gc.collect()
        memory.append(round(own_memory(), 1))


def moved_block(rounds, steps=1):
    """Seconds of pictures: of a merge that stays, of one of which a block was moved (and of its merge alone), of a file that
    stays, and of one that takes turns with another; the webui holds the tensors of both files in memory."""
    shared.opts.data["sd_checkpoint_cache"] = 2
    found = {"merge stays": [], "block moved": [], "its merge": [], "file stays": [], "files in turns": []}
    params = GenParams(**{**SMALL, "steps": steps})
    for number in range(rounds + 1):  # the first makes ready
        start = plan(f"M = weighted_sum(A, B, alpha={{M00: 0.{number:02d}1, *: 0.3}})")
        moved = plan(f"M = weighted_sum(A, B, alpha={{M00: 0.{number:02d}5, *: 0.3}})")
        seconds = {}
        host().preview(start, params)
        seconds["merge stays"] = host().preview(start, params).seconds
        made = host().preview(moved, params)
        seconds["block moved"], seconds["its merge"] = made.seconds, made.merge_seconds
        for name in "AB":
            seconds["files in turns"] = _plain_seconds(name, steps)
        seconds["file stays"] = _plain_seconds("B", steps)
        for what, each in seconds.items() if number else ():
            found[what].append(each)
    return found


def _plain_seconds(name, steps):
    started = time.perf_counter()
    plain(steps=steps, override_settings={"sd_model_checkpoint": title_of(name)})
    return time.perf_counter() - started
