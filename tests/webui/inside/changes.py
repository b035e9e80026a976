"""What a user changes around us inside a webui, and what we make of it then."""

from __future__ import annotations

import collections
import shutil
import threading
import time
from pathlib import Path
from unittest import mock

from modules import call_queue, modelloader, scripts, sd_models, shared
from samples import MIX, SMALL

from inside.grids import runner_of
from inside.models import remove
from inside.page import ask, follow
from inside.state import host, state, title_file
from lib_chilly import models
from lib_chilly.errors import Interrupted
from lib_chilly.host import webui_models, webui_queue
from lib_chilly.host.base import Progress

_PATIENCE_SECONDS = 5


def write_style(name, prompt):
    """Another text in a style, as the webui's editor of styles leaves it."""
    known = shared.prompt_styles.styles
    known[name] = known[name]._replace(prompt=prompt)


def keep_picture(text=MIX, **params):
    """A picture that is kept in the history through the page's questions: its row there, or the problem."""
    params = {**SMALL, **params}
    job = follow(ask("preview", text=text, params=params, pictures=[{"id": "merged", "of": "merged"}])["job"])
    return ask("keep", text=text, step="M", params=params, image={"job": job["job"], "id": "merged"})


def copy_quietly(name, other):
    """A model put into the folder while nobody looks."""
    source = Path(title_file(name))
    shutil.copy(source, source.with_name(f"{other}.safetensors"))
    if source.with_suffix(".yaml").exists():
        shutil.copy(source.with_suffix(".yaml"), source.with_name(f"{other}.yaml"))


def list_anew(is_busy, register=None):
    """The webui's refresh: the names that are listed then, and those whose entries were not touched.

    Args:
        is_busy: whether something is at work in the queue meanwhile.
        register: a file that we have listed before.
    """
    if register:
        webui_models.register_file(Path(title_file("A")).with_name(f"{register}.safetensors"), "0" * 64)
    before = dict(sd_models.checkpoints_list)
    if is_busy:
        with call_queue.queue_lock:
            sd_models.list_models()
    else:
        sd_models.list_models()
    listed = sd_models.checkpoints_list
    untouched = [info for title, info in listed.items() if before.get(title) is info]
    return {"listed": _names(listed.values()), "untouched": _names(untouched), "queue": state()["queue"]}


def folders_read(other):
    """How often each folder is read when the page looks for models and one has come: by the webui, and by us."""
    copy_quietly("A", other)
    by_webui, by_us = collections.Counter(), collections.Counter()
    with (
        mock.patch("modules.modelloader.load_models", _counting(by_webui, modelloader.load_models)),
        mock.patch.object(models, "_walk", _counting(by_us, models._walk)),
    ):
        host().refresh_checkpoints()
        names = [reference.name for reference in host().checkpoints()]
    remove(other)
    return {"found": other in names, "webui": max(by_webui.values()), "ours": max(by_us.values())}


def _counting(counts, function):
    def counted(*given, **named):
        counts.update([repr((given, named))])
        return function(*given, **named)

    return counted


def _names(infos):
    return sorted(info.model_name for info in infos)


def look_again_after(seconds):
    """How long an unknown name is not looked for again."""
    webui_models._PATIENCE_SECONDS = seconds


def stop_while_the_webui_is_at_work(question, **wanted):
    """A job that is stopped while it waits for the queue: what it says then, and whether the queue is free later."""
    with call_queue.queue_lock:
        job = ask(question, **wanted)["job"]
        waiting = _look_until(job, lambda now: "waiting for" in now["text"])
        ask("stop", job=job["job"])
        stopped = _look_until(job, lambda now: now["state"] == "stopped")
    return {"waiting": waiting["text"], "stopped": stopped["state"], **_state_soon()}


class _CtrlC(Progress):
    """Of a thread that is interrupted while it waits."""

    def is_cancelled(self):
        raise KeyboardInterrupt


def interrupt_while_the_webui_is_at_work():
    """Ctrl-C amid the wait for the queue: whether that is heard, and whether the queue is free later."""
    try:
        with call_queue.queue_lock, webui_queue.turn(_CtrlC()):
            heard = False
    except KeyboardInterrupt:
        heard = True
    return {"heard": heard, **_state_soon()}


def _state_soon():
    """The state as soon as the queue is free."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not state()["queue"] and time.monotonic() < until:
        time.sleep(0.02)
    return state()


def _look_until(job, is_so):
    """A job as soon as it is so, else as it is in the end."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not is_so(job) and time.monotonic() < until:
        time.sleep(0.02)
        (job,) = ask("poll", jobs=[{"job": job["job"], "seen": 0}])["jobs"]
    return job


def save_two_while_the_webui_is_at_work(first, second, name, until):
    """Two saves, of which the first waits for the queue to be compared: how far both are when the second has its report and is
    in the state `until`, and their reports in the end."""
    with call_queue.queue_lock:
        jobs = [ask("save", text=text, name=f"{name} {number}")["job"] for number, text in enumerate((first, second))]
        jobs[0] = _look_until(jobs[0], lambda now: "waiting for" in now["text"])
        jobs[1] = _look_until(jobs[1], lambda now: now["report"] is not None and now["state"] == until)
        seen = [[job["state"], job["report"] is not None] for job in jobs]
    reports = [follow(job)["report"] for job in jobs]
    remove(f"{name} [01]")
    return {"seen": seen, "as_shown": [report["as_shown"] for report in reports]}


def axis_label(name, value):
    """What the script writes beside a cell."""
    script = next(each for each in runner_of().selectable_scripts if each.title() == "X/Y/Z plot")
    module = next(data.module for data in scripts.scripts_data if data.script_class is type(script))
    option = next(each for each in module.axis_options if each.label == f"[ChillyMerge] {name}")
    return option.format_value(None, option, value)


def save_while_the_webui_is_at_work(name, text, stop=False):
    """A save whose file is written while something holds the queue: what its job says then, and its report in the end."""
    with call_queue.queue_lock:
        job = ask("save", text=text, name=name)["job"]
        seen = _look_until(job, lambda now: "waiting for" in now["text"] or now["state"] in ("done", "failed"))
        if stop:
            ask("stop", job=job["job"])
            seen = _look_until(job, lambda now: now["state"] in ("done", "stopped", "failed"))
    done = follow(job)
    remove(name)
    return {"seen": [seen["state"], seen["text"]], "report": done["report"], "problem": done["problem"]}


def list_anew_around_us(other):
    """One who has put a function around ours since: how often it is called when a model has come and the page looks for it."""
    ours, calls = sd_models.list_models, []

    def theirs():
        calls.append(other)
        ours()

    copy_quietly("A", other)
    with mock.patch.object(sd_models, "list_models", theirs):
        host().refresh_checkpoints()
    is_listed = other in _names(sd_models.checkpoints_list.values())
    remove(other)
    return {"calls": len(calls), "listed": is_listed, "queue": state()["queue"]}


def save_after_an_interrupt(name, text):
    """The report of a save while the webui's state says still that something before was interrupted."""
    shared.state.interrupted = True
    done = follow(ask("save", text=text, name=name)["job"])
    remove(name)
    return done["report"]


class _TooLate(Progress):
    """Of one who is stopped in the moment in which the turn comes."""

    def is_cancelled(self):
        call_queue.queue_lock.release()
        for thread in threading.enumerate():
            if thread.name == "chilly-queue":
                thread.join(_PATIENCE_SECONDS)
        return True


def stop_as_the_turn_comes():
    """Whether that is heard, and whether the queue is free later."""
    call_queue.queue_lock.acquire()
    try:
        with webui_queue.turn(_TooLate()):
            stopped = False
    except Interrupted:
        stopped = True
    return {"stopped": stopped, **_state_soon()}
