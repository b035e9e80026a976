"""What goes amiss inside a webui: loads that fail, settings that name nothing, samplers that raise."""

from __future__ import annotations

import contextlib
import inspect
import json
from pathlib import Path
from unittest import mock

from modules import processing, script_callbacks, sd_models, shared
from safetensors.torch import load_file, save_file

from inside.grids import grid
from inside.models import copy_model
from inside.pictures import preview
from inside.state import host, option, plan, state, title_file
from lib_chilly.errors import MergeError
from lib_chilly.host import webui_axes, webui_entry


@contextlib.contextmanager
def _load_fails(named):
    """No model can be loaded whose title begins so."""
    original = sd_models.load_model_weights

    def load(model, checkpoint_info, *given, **more):
        if checkpoint_info.title.startswith(named):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return original(model, checkpoint_info, *given, **more)

    sd_models.load_model_weights = load
    try:
        yield
    finally:
        sd_models.load_model_weights = original


def keep_that_fails(recipe, named):
    """A merge that is to be used unsaved, and cannot be loaded."""
    with _load_fails(named):
        try:
            host().keep(plan(recipe))
        except MergeError as error:
            return {"error": str(error), **state()}


def load_file_that_fails(name):
    """A file that is to be the webui's model, and cannot be loaded."""
    with _load_fails(name):
        try:
            host().load(Path(title_file(name)))
        except MergeError as error:
            return {"error": str(error), **state()}


def load_file_of(name):
    """A file that is to be the webui's model: its title, and what the settings on the disk name."""
    title = host().load(Path(title_file(name)))
    saved = json.loads(Path(shared.config_filename).read_text())["sd_model_checkpoint"]
    return {"title": title, "saved": saved, **state()}


def looks_for_whose_callback_it_is():
    """How often the webui looks through all that is imported while we register."""
    with mock.patch("inspect.stack", wraps=inspect.stack) as looked:
        webui_entry.register()
        webui_axes.register()
    return looked.call_count


def run_scripts_anew():
    """What the webui does when its scripts' bodies are loaded again, and its page is not."""
    webui_entry.register()
    return state()


def sampling_fails(axis, bad, **given):
    """A grid in whose cell number `bad` the sampler raises; see grid."""
    kind, count = processing.StableDiffusionProcessingTxt2Img, 0
    original = kind.sample

    def sample(*args, **more):
        nonlocal count
        count += 1
        if count == bad + 1:
            raise RuntimeError("the sampler has met a number that is none")
        return original(*args, **more)

    kind.sample = sample
    written = []
    with _words_written(written):
        try:
            return {**grid(axis, **given), "written": written}
        finally:
            kind.sample = original


def words_of_grid(*axes, **given):
    """A grid, and the words in its black cells."""
    written = []
    with _words_written(written):
        return {**grid(*axes, **given), "written": written}


@contextlib.contextmanager
def _words_written(written):
    from lib_chilly.host import webui_failures

    original = webui_failures._write

    def write(image, said):
        written.append(said)
        original(image, said)

    webui_failures._write = write
    try:
        yield
    finally:
        webui_failures._write = original


def large_values(name, other):
    """A copy of a model with one value, of a word that no prompt has, which doubled is too large for float16."""
    copy_model(name, other)
    path = Path(title_file(name)).with_name(f"{other}.safetensors")
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("token_embedding.weight"))
    tensors[key][-3, 0] = 60000.0
    save_file(tensors, path)
    host().refresh_checkpoints()


def saved_infotexts(recipe):
    """What stands below the pictures that the webui saves while a preview is made, with our setting for it."""
    texts = []

    def saved(params):
        texts.append(params.pnginfo.get("parameters", ""))

    option(chillymerge_save_pictures=True)
    script_callbacks.on_before_image_saved(saved)
    try:
        made = preview(recipe)
    finally:
        script_callbacks.remove_callbacks_for_function(saved)
        option(chillymerge_save_pictures=False)
    return {"texts": texts, **made}
