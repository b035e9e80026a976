"""Pictures with and without us."""

from __future__ import annotations

import contextlib
import hashlib
import threading

import first_model
import numpy as np
import torch
from modules import (
    call_queue,
    processing,
    sd_models,
    shared,
)
from PIL import Image
from samples import MIX, SMALL

from inside.amid import amid_named, full_memory, refresh_by
from inside.state import do_amid, end_amid, host, plan, state, title_file
from lib_chilly.errors import Interrupted, MergeError
from lib_chilly.host import webui_merged, webui_pictures, webui_queue
from lib_chilly.host.base import GenParams, Progress

SAME = ("prompt", "seed", "steps", "cfg_scale", "width", "height", "sampler_name", "scheduler", "batch_size", "n_iter")
SAME += ("do_not_save_samples", "do_not_save_grid", "outpath_samples", "outpath_grids")
"""What a request for a picture from another one has as every request."""


def digest(image):
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def told(error):
    return {"error": str(error), "interrupted": isinstance(error, Interrupted), **state()}


def preview(recipe=MIX, amid=None, **params):
    """A picture as the page asks for it."""
    progress = Progress()
    do_amid(amid_named(amid, progress))
    try:
        with full_memory(is_full=amid == "out of memory"):
            made = host().preview(plan(recipe), GenParams(**{**SMALL, **params}), progress)
    except MergeError as error:
        return told(error)
    finally:
        end_amid()
    return {"picture": digest(made.image), "infotext": made.infotext, "notes": made.notes, "blocks": made.blocks, **state()}


def first():
    """A picture that is asked for while the first model is being loaded."""
    was_loaded, made = first_model.ask_amid(preview)
    return {**made, "was_loaded": was_loaded}


def pictures(recipe=MIX, amid=None, before=None, **fields):
    """Pictures by a request of one's own: several, with hires or a refiner; `before` is a refresh before the webui begins."""
    progress = Progress()
    do_amid(amid_named(amid, progress))
    try:
        with webui_queue.queued(progress, "test"):
            p = webui_pictures.processing_for(GenParams(**SMALL))
            taken = host().weights.take(plan(recipe), progress)
            for name, value in fields.items():
                setattr(p, name, taken.info.title if value == "the merge" else value)
            refresh_by(before)
            processed = webui_pictures.make(p, taken.info)
    except MergeError as error:
        return told(error)
    finally:
        end_amid()
    return {"pictures": [digest(image) for image in processed.images], "infotexts": processed.infotexts, **state()}


class FromPicture(processing.StableDiffusionProcessingImg2Img):
    """With a seed for the noise of the VAE that encodes the picture, which the webui draws without one."""

    def init(self, *given):
        torch.manual_seed(1)
        return super().init(*given)


def request_for(from_picture, fields):
    """The webui's own request for a picture, made from another one where that is asked for."""
    p = webui_pictures.processing_for(GenParams(**SMALL))
    if from_picture:
        picture = Image.linear_gradient("L").resize((p.width, p.height)).convert("RGB")
        p = FromPicture(init_images=[picture], denoising_strength=0.9, **{n: getattr(p, n) for n in SAME})
    for name, value in fields.items():
        setattr(p, name, value)
    return p


def plain(from_picture=False, **fields):
    """A picture without us."""
    with call_queue.queue_lock:
        shared.state.begin(job="test")
        p = request_for(from_picture, fields)
        with contextlib.closing(p):
            processed = processing.process_images(p)
        shared.state.end()
    made = [digest(image) for image in processed.images[processed.index_of_first_image :]]
    return {"picture": made[0], "pictures": made, "infotext": processed.infotexts[0], **state()}


def broken(how, recipe=MIX):
    """A picture of a merge that the webui cannot load."""
    with webui_queue.queued(Progress(), "test"):
        info = webui_merged.info_of(plan(recipe))
        tensors = dict(sd_models.read_state_dict(title_file("A")))
        if how == "shape":
            tensors["model.diffusion_model.out.2.bias"] = tensors["model.diffusion_model.out.2.bias"].repeat(2)
        webui_merged.hold(info, tensors)
        if how == "gone":
            webui_merged.forget(info)
        try:
            webui_pictures.make(webui_pictures.processing_for(GenParams(**SMALL)), info)
        except MergeError as error:
            said = str(error)
        finally:
            webui_merged.forget(info)
    return {"error": said, **state()}


def forget_merge():
    with call_queue.queue_lock:
        for info in webui_merged.held():
            webui_merged.forget(info)
        host().weights._last = None
    return state()


def two_threads(*recipes):
    """Pictures asked for at once, by threads that take their turns."""
    found = {}

    def make(recipe):
        found[recipe] = preview(recipe)["picture"]

    threads = [threading.Thread(target=make, args=(recipe,)) for recipe in recipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return [found.get(recipe) for recipe in recipes]


def preview_error(recipe):
    """Why a picture cannot even be planned."""
    try:
        plan(recipe)
    except MergeError as error:
        return str(error)
    return ""


def keep(recipe=MIX):
    return {"title": host().keep(plan(recipe)), **state()}


def drop():
    with call_queue.queue_lock:
        host().weights.drop()
    return state()


def stale_interrupt():
    shared.state.interrupt()


def saves_pictures():
    """Whether the webui would write a preview's picture."""
    return not webui_pictures.processing_for(GenParams(**SMALL)).do_not_save_samples
