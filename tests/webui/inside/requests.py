"""Requests with more in them than one picture: hires, batches, LoRA, and a script that makes pictures of its own amid them."""

from __future__ import annotations

import contextlib

from modules import call_queue, processing, scripts, shared
from samples import MIX, SMALL

from inside.grids import grid, runner_of
from inside.pictures import digest
from inside.state import state
from lib_chilly.host import webui_pictures
from lib_chilly.host.base import GenParams

DETAIL = {**SMALL, "prompt": "a face"}


class Detailer(scripts.Script):
    """Stands for scripts that draw over each picture, by a request of their own, maybe with another checkpoint.

    Attributes:
        seen: the pictures before.
    """

    def __init__(self, checkpoint):
        self.checkpoint, self.seen, self.name, self.filename = checkpoint, [], "detailer", __file__
        self.args_from = self.args_to = 0

    def title(self):
        return "Detailer"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def postprocess_image(self, p, pp, *args):
        self.seen.append(digest(pp.image))
        own = {"override_settings": {"sd_model_checkpoint": self.checkpoint}} if self.checkpoint else {}
        with contextlib.closing(_request(DETAIL, **own)) as detail:
            pp.image = processing.process_images(detail).images[0]


@contextlib.contextmanager
def _detailed(checkpoint):
    """With such a script among those of txt2img."""
    runner, script = runner_of(), Detailer(checkpoint)
    known = getattr(runner, "callback_map", {})
    known.clear()
    runner.alwayson_scripts.append(script)
    try:
        yield runner, script
    finally:
        runner.alwayson_scripts.remove(script)
        known.clear()


def detailed(checkpoint=None, **fields):
    """Pictures with the current model, drawn over: before and after."""
    with call_queue.queue_lock, _detailed(checkpoint) as (runner, script):
        p = _request(SMALL, **fields)
        p.is_api, p.scripts, p.script_args = True, runner, [getattr(control, "value", None) for control in runner.inputs]
        return {"after": _made(p), "before": script.seen, **state()}


def detailed_grid(checkpoint, x, **fields):
    """A grid whose cells are drawn over."""
    with _detailed(checkpoint) as (_, script):
        return {**grid(x=x, recipe=MIX, **fields), "before": script.seen}


def detail(**fields):
    """What is drawn over a picture, with the current model."""
    with call_queue.queue_lock:
        return _made(_request(DETAIL, **fields))[0]


def _request(params, **fields):
    p = webui_pictures.processing_for(GenParams(**params))
    for name, value in fields.items():
        setattr(p, name, value)
    return p


def _made(p):
    shared.state.begin(job="test")
    try:
        with contextlib.closing(p):
            processed = processing.process_images(p)
    finally:
        shared.state.end()
    return [digest(image) for image in processed.images[processed.index_of_first_image :]]
