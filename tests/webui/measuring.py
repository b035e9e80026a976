"""What is measured inside a webui: memory over many pictures, and the seconds of a moved block. Called like inside.py's."""

from __future__ import annotations

import gc
import time

import inside
from modules import shared

WAYS = ("interrupt", "skip", "cancel", "out of memory", "shape", "no number")
"""How a picture fails in turns."""


def many_previews(count, recipes, every):
    """Pictures of so many recipes in turns, of which each `every`th fails: MiB after each tenth, what failed, and the state."""
    inside.spoil("B", "spoiled")
    memory, failed, wrong = [], [], []
    for number in range(1, count + 1):
        way = WAYS[number // every % len(WAYS)] if number % every == 0 else None
        if way is not None:
            failed.append([way, _failed(way, number)])
        elif "picture" not in (made := inside.preview(f"M = weighted_sum(A, B, alpha={number % recipes / recipes:.2f})")):
            wrong.append(made["error"])
        _note_memory(number, memory)
    inside.remove("spoiled")
    return {"memory": memory, "failed": failed, "wrong": wrong, **inside.state()}


def _failed(way, number):
    if way == "shape":
        return inside.broken("shape", f"M = weighted_sum(A, B, alpha=0.{number:03d}7)")["error"]
    if way == "no number":
        return inside.preview("M = weighted_sum(A, spoiled, alpha=0.5)")["error"]
    return inside.preview(f"M = weighted_sum(A, B, alpha=0.{number:03d}3)", amid=way)["error"]


def many_plain(count):
    """The same without us: pictures of two files in turns."""
    memory = []
    for number in range(1, count + 1):
        inside.plain(override_settings={"sd_model_checkpoint": inside.title_of("AB"[number % 2])})
        _note_memory(number, memory)
    return {"memory": memory, **inside.state()}


def _note_memory(number, memory):
    if number % 10 == 0:
        gc.collect()
        memory.append(round(inside.own_memory(), 1))


def moved_block(rounds, steps=1):
    """Seconds of pictures: of a merge that stays, of one of which a block was moved (and of its merge alone), of a file that
    stays, and of one that takes turns with another; the webui holds the tensors of both files in memory."""
    shared.opts.data["sd_checkpoint_cache"] = 2
    found = {"merge stays": [], "block moved": [], "its merge": [], "file stays": [], "files in turns": []}
    params = inside.GenParams(**{**inside.SMALL, "steps": steps})
    for number in range(rounds + 1):  # the first makes ready
        start = inside.plan(f"M = weighted_sum(A, B, alpha={{M00: 0.{number:02d}1, *: 0.3}})")
        moved = inside.plan(f"M = weighted_sum(A, B, alpha={{M00: 0.{number:02d}5, *: 0.3}})")
        seconds = {}
        inside.host().preview(start, params)
        seconds["merge stays"] = inside.host().preview(start, params).seconds
        made = inside.host().preview(moved, params)
        seconds["block moved"], seconds["its merge"] = made.seconds, made.merge_seconds
        for name in "AB":
            seconds["files in turns"] = _plain_seconds(name, steps)
        seconds["file stays"] = _plain_seconds("B", steps)
        for what, each in seconds.items() if number else ():
            found[what].append(each)
    return found


def _plain_seconds(name, steps):
    started = time.perf_counter()
    inside.plain(steps=steps, override_settings={"sd_model_checkpoint": inside.title_of(name)})
    return time.perf_counter() - started
