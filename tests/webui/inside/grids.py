"""Grids of the webui's own script."""

from __future__ import annotations

import contextlib

import numpy as np
from modules import (
    call_queue,
    scripts,
    shared,
)

from inside.amid import amid_named
from inside.pictures import digest, request_for
from inside.state import do_amid, end_amid, host, state
from lib_chilly.host import webui_axes, webui_request
from lib_chilly.host.base import Progress


def grid(x=None, y=None, z=None, recipe="", amid=None, from_picture=False, **fields):
    """The pictures of a grid of the webui's own script; an axis is [label, text or list of values]."""
    runner = runner_of(from_picture)
    script = next(each for each in runner.selectable_scripts if each.title() == "X/Y/Z plot")
    ours = next(each for each in runner.alwayson_scripts if each.title() == "ChillyMerge")
    args = [getattr(control, "value", None) for control in runner.inputs]
    labels = [option.label for option in script.current_axis_options]
    own = []
    for label, values in (each or ("Nothing", "") for each in (x, y, z)):
        own += [labels.index(label), "" if isinstance(values, list) else values, values if isinstance(values, list) else []]
    args[script.args_from : script.args_to] = [*own, False, True, False, False, False, False, False, 0, False]
    args[0], args[ours.args_from] = runner.selectable_scripts.index(script) + 1, recipe
    do_amid(amid_named(amid, Progress()))
    built, moved = host().weights.built, host().weights.moved_bytes
    with call_queue.queue_lock:
        shared.state.begin(job="test")
        p = request_for(from_picture, fields)
        p.is_api, p.scripts, p.script_args = True, runner, args
        try:
            with contextlib.closing(p):
                made = runner.run(p, *args)
        except Exception as error:
            made, failed = None, str(error)
        finally:
            shared.state.end()
            shared.state.interrupted = False
            end_amid()
    after = {**state(), "built": host().weights.built - built, "moved": host().weights.moved_bytes - moved}
    if made is None:
        return {"error": failed, **after}
    cells, texts = made.images[made.index_of_first_image :], made.infotexts[made.index_of_first_image :]
    dark = [float((np.asarray(image.convert("RGB")) == 0).mean()) for image in cells]
    failures = getattr(webui_request.grid_of(p), "failures", {})
    reasons = [failures.get(number) for number in range(len(cells))]
    return {"pictures": [digest(image) for image in cells], "infotexts": texts, "dark": dark, "reasons": reasons, **after}


def runner_of(is_img2img=False):
    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    if not runner.titles:  # the page is not drawn in the double
        import gradio as gr

        with gr.Blocks():
            runner.initialize_scripts(is_img2img)
            runner.setup_ui()
    return runner


def axes():
    """The labels of all axes after a page that is drawn anew, and after our script was run once more."""
    webui_axes.register()
    webui_axes.add_axes()
    return [option.label for option in module_of_grids().axis_options]


def module_of_grids():
    """The module of the webui's script."""
    script = next(each for each in runner_of().selectable_scripts if each.title().lower() == "x/y/z plot")
    return next(data.module for data in scripts.scripts_data if data.script_class is type(script))
