"""What a user changes around us inside a webui, and what we make of it then."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from modules import call_queue, scripts, sd_models, shared
from samples import MIX, SMALL

from inside.grids import runner_of
from inside.models import remove
from inside.page import ask, follow
from inside.state import state, title_file
from lib_chilly.host import webui_models

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


def _names(infos):
    return sorted(info.model_name for info in infos)


def look_again_after(seconds):
    """How long an unknown name is not looked for again."""
    webui_models._PATIENCE_SECONDS = seconds


def stop_while_the_webui_is_at_work(text=MIX):
    """A picture that is stopped while it waits for the queue: what its job says then, and whether the queue is free later."""
    wanted = {"text": text, "params": SMALL, "pictures": [{"id": "merged", "of": "merged"}]}
    with call_queue.queue_lock:
        job = ask("preview", **wanted)["job"]
        waiting = _look_until(job, lambda now: "waiting for" in now["text"])
        ask("stop", job=job["job"])
        stopped = _look_until(job, lambda now: now["state"] == "stopped")
    until = time.monotonic() + _PATIENCE_SECONDS
    while not state()["queue"] and time.monotonic() < until:
        time.sleep(0.02)
    return {"waiting": waiting["text"], "stopped": stopped["state"], **state()}


def _look_until(job, is_so):
    """A job as soon as it is so, else as it is in the end."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not is_so(job) and time.monotonic() < until:
        time.sleep(0.02)
        (job,) = ask("poll", jobs=[{"job": job["job"], "seen": 0}])["jobs"]
    return job


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
