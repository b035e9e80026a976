"""What the tests do inside a webui, the real one or the double: functions that are called by name, and answer with JSON.

Imported by probe.py in the real one, by double/run.py in the other; nothing of it is imported by a test.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import importlib.util
import inspect
import io
import json
import os
import shutil
import threading
import time
import types
from pathlib import Path

import first_model
import numpy as np
from modules import (
    call_queue,
    hashes,
    patches,
    processing,
    script_callbacks,
    scripts,
    sd_hijack,
    sd_models,
    sd_unet,
    sd_vae,
    shared,
)
from PIL import Image
from samples import MIX, SMALL

from lib_chilly.errors import Interrupted, MergeError
from lib_chilly.host import webui_axes, webui_entry, webui_kept, webui_merged, webui_pictures, webui_queue, webui_request
from lib_chilly.host.base import GenParams, Progress
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.picture_cache import PictureCache
from lib_chilly.ui.plans import Plans
from lib_chilly.ui.previews import Pictures
from lib_chilly.ui.work import SAVES, Work

CKPT = shared.cmd_opts.ckpt
CHANGED = ("sd_vae", "sd_checkpoint_cache", "sd_checkpoints_limit", "fp8_storage")
LIVE = ("live_previews_enable", "show_progress_every_n_steps", "show_progress_type")


def host():
    return webui_entry.room().host


def plan(recipe):
    return make_plan(parse_recipe(recipe), host().library())


def title_of(name):
    return next(title for title in sd_models.checkpoint_tiles() if title.startswith(f"{name}.safetensors"))


def fresh(name="A", **options):
    """Everything as after a start, with one model chosen and loaded."""
    script_callbacks.remove_callbacks_for_function(_amid.call)
    with call_queue.queue_lock:
        host().weights.drop()
        host().weights.release()
        shared.cmd_opts.ckpt = CKPT
        for option in (name for name in CHANGED if name in shared.opts.data_labels):
            shared.opts.data[option] = options.get(option, shared.opts.data_labels[option].default)
        sd_vae.refresh_vae_list()
        sd_unet.current_unet = None
        sd_models.list_models()
        shared.opts.data["sd_model_checkpoint"] = title_of(name)
        webui_queue.wait_for_first_model()
        sd_models.reload_model_weights()
        sd_vae.reload_vae_weights()
    host().refresh_checkpoints()
    host().weights.built = 0
    return state()


def state():
    """What of the webui must not be changed by us."""
    model = sd_models.model_data.sd_model
    config = Path(shared.config_filename)
    return {
        "chosen": shared.opts.data["sd_model_checkpoint"],
        "hash": shared.opts.data["sd_checkpoint_hash"],
        "loaded": model and model.sd_checkpoint_info.title,
        "hooked": sd_hijack.model_hijack.layers is not None,
        "held": [info.title for info in webui_merged.held()],
        "built": host().weights.built,
        "config": config.read_text() if config.exists() else "",
        "queue": _is_free(),
        "flags": [shared.state.interrupted, shared.state.skipped, shared.state.stopping_generation, shared.state.job],
    }


def _is_free():
    if not call_queue.queue_lock.acquire(False):
        return False
    call_queue.queue_lock.release()
    return True


def _digest(image):
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def _told(error):
    return {"error": str(error), "interrupted": isinstance(error, Interrupted), **state()}


class _Amid:
    """Does something once, while a picture is made."""

    what = None

    def call(self, params):
        what, self.what = self.what, None
        if what is not None:
            what()


_amid = _Amid()


def _do_amid(what):
    script_callbacks.remove_callbacks_for_function(_amid.call)
    script_callbacks.on_cfg_denoiser(_amid.call)
    _amid.what = what


_OTHER_UNET = types.SimpleNamespace(option=types.SimpleNamespace(label="fast"), forward=lambda x, *more, **given: x * 0.5)


def _refresh(how):
    """What happens between the merge and the webui's work."""
    own = patches.original("chillymerge", sd_models, "list_models")
    {None: lambda: None, "refresh": sd_models.list_models, "refresh by the webui's own function": own}[how]()


def _amid_named(name, progress):
    """What happens amid a picture."""
    return {
        None: lambda: None,
        "refresh": lambda: sd_models.list_models(),
        "choose B": lambda: shared.opts.data.update(sd_model_checkpoint=title_of("B")),
        "save settings": lambda: shared.opts.save(shared.config_filename),
        "interrupt": lambda: shared.state.interrupt(),
        "skip": lambda: shared.state.skip(),
        "cancel": lambda: setattr(progress, "cancelled", True),
        "out of memory": lambda: None,
        "another U-Net": lambda: setattr(sd_unet, "current_unet", _OTHER_UNET),
    }[name]


@contextlib.contextmanager
def _memory(is_full):
    """The card has no room for the sampling."""

    def sample(*args, **given):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    kind = processing.StableDiffusionProcessingTxt2Img
    before = kind.sample
    kind.sample = sample if is_full else before
    try:
        yield
    finally:
        kind.sample = before


def preview(recipe=MIX, amid=None, **params):
    """A picture as the page asks for it."""
    progress = Progress()
    _do_amid(_amid_named(amid, progress))
    try:
        with _memory(is_full=amid == "out of memory"):
            made = host().preview(plan(recipe), GenParams(**{**SMALL, **params}), progress)
    except MergeError as error:
        return _told(error)
    finally:
        script_callbacks.remove_callbacks_for_function(_amid.call)
    return {"picture": _digest(made.image), "infotext": made.infotext, "notes": made.notes, "blocks": made.blocks, **state()}


def first():
    """A picture that is asked for while the first model is being loaded."""
    was_loaded, made = first_model.let_go_amid(preview)
    return {**made, "was_loaded": was_loaded}


def pictures(recipe=MIX, amid=None, before=None, **fields):
    """Pictures by a request of one's own: several, with hires or a refiner; `before` is a refresh before the webui begins."""
    progress = Progress()
    _do_amid(_amid_named(amid, progress))
    try:
        with webui_queue.queued(progress, "test"):
            p = webui_pictures.processing_for(GenParams(**SMALL))
            taken = host().weights.take(plan(recipe), progress)
            for name, value in fields.items():
                setattr(p, name, taken.info.title if value == "the merge" else value)
            _refresh(before)
            processed = webui_pictures.make(p, taken.info)
    except MergeError as error:
        return _told(error)
    finally:
        script_callbacks.remove_callbacks_for_function(_amid.call)
    return {"pictures": [_digest(image) for image in processed.images], "infotexts": processed.infotexts, **state()}


def plain(**fields):
    """A picture without us."""
    with call_queue.queue_lock:
        shared.state.begin(job="test")
        p = webui_pictures.processing_for(GenParams(**SMALL))
        for name, value in fields.items():
            setattr(p, name, value)
        with contextlib.closing(p):
            processed = processing.process_images(p)
        shared.state.end()
    made = [_digest(image) for image in processed.images]
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


def title_file(name):
    return sd_models.checkpoints_list[title_of(name)].filename


def forget_merge():
    with call_queue.queue_lock:
        for info in webui_merged.held():
            webui_merged.forget(info)
        host().weights._last = None
    return state()


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


def paths(*recipes):
    infos = [webui_merged.info_of(plan(recipe)) for recipe in recipes]
    return [[info.filename, info.title] for info in infos]


def touch(name):
    os.utime(title_file(name), ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    host().refresh_checkpoints()


def flag(**flags):
    """Start-up flags of the webui, as if it had been started with them."""
    for name, value in flags.items():
        setattr(shared.cmd_opts, name, value)


def chosen():
    """What is listed, under which names, what is chosen, and which functions of the webui's are ours."""
    infos, names = list(sd_models.checkpoints_list.values()), sd_models.checkpoint_tiles()
    loaded = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
    return {
        "listed": {name: info.sha256 for name, info in zip(names, infos, strict=True)},
        "chosen": shared.opts.data.get("sd_model_checkpoint"),
        "loaded": loaded and loaded.name,
        "patched": sorted(name for _, name in patches.originals["chillymerge"]),
    }


def option(**options):
    """Settings, as the settings page would leave them."""
    shared.opts.data.update(options)


def settings():
    """Our switches on the page of settings, with their defaults."""
    script_callbacks.ui_settings_callback()
    return {name: info.default for name, info in shared.opts.data_labels.items() if info.section[0] == "chillymerge"}


def saves_pictures():
    """Whether the webui would write a preview's picture."""
    return not webui_pictures.processing_for(GenParams(**SMALL)).do_not_save_samples


def can_load():
    return host().can_load


def use_as_ckpt(name):
    shared.cmd_opts.ckpt = title_file(name)


def stale_interrupt():
    shared.state.interrupt()


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


def keep(recipe=MIX):
    return {"title": host().keep(plan(recipe)), **state()}


def drop():
    with call_queue.queue_lock:
        host().weights.drop()
    return state()


def refresh():
    sd_models.list_models()
    return {"listed": sd_models.checkpoint_tiles(), **state()}


def choose(name):
    shared.opts.set("sd_model_checkpoint", title_of(name))
    return state()


def start_with(title):
    """What is chosen after a start with settings that name `title`; nothing is in memory then."""
    forget_merge()
    shared.opts.data["sd_model_checkpoint"] = title
    sd_models.list_models()
    webui_entry.register()
    return {"chosen": shared.opts.data["sd_model_checkpoint"], "ours": webui_kept.is_ours(title)}


def saved_title():
    return json.loads(Path(shared.config_filename).read_text())["sd_model_checkpoint"]


def remove(name):
    for path in host().output_folder().glob(f"{name}.*"):
        path.unlink()
    host().refresh_checkpoints()


@contextlib.contextmanager
def _hashing():
    """The files that the webui reads for their hashes meanwhile."""
    read, originals = [], {each: getattr(hashes, each, None) for each in ("calculate_sha256", "calculate_sha256_real")}
    for each in originals:
        setattr(hashes, each, lambda path: read.append(path) or "0" * 64)
    try:
        yield read
    finally:
        for each, original in originals.items():
            setattr(hashes, each, original)


def save(name, recipe=MIX):
    """Save as the page does; what the webui knows of the file then."""
    from lib_chilly.engine import merge

    output = host().output_folder() / f"{name}.safetensors"
    report = merge(plan(recipe), output, overwrite=True)
    host().register_saved(output, report.sha256)
    read = calculated(name)["read"]
    titles = [title for title in sd_models.checkpoint_tiles() if title.startswith(name)]
    return {"sha256": report.sha256, "titles": titles, "read": read, "loaded": host().load(output), **state()}


def calculated(name):
    """The hash of a model as the webui has it, and which files it reads for that."""
    with _hashing() as read:
        info = next(info for info in sd_models.checkpoints_list.values() if info.name == f"{name}.safetensors")
        info.calculate_shorthash()
    return {"sha256": info.sha256, "read": read}


def cut(name, other):
    """A copy of a model whose last bytes are missing."""
    folder = host().output_folder()
    (folder / f"{other}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes()[:-4])
    host().refresh_checkpoints()


_saves_may_go = threading.Event()


def hold_saves():
    """Let whatever is to be saved wait until `let_saves_go`."""
    _saves_may_go.clear()
    work = webui_entry.room().one(Work, Work)
    work.start("/holding", "hold", lambda job: _saves_may_go.wait(100) and None, thread=SAVES)


def let_saves_go():
    _saves_may_go.set()


def copy_model(name, other):
    for suffix in (".safetensors", ".yaml"):
        source = Path(title_file(name)).with_suffix(suffix)
        if source.exists():
            shutil.copy(source, source.with_name(other + suffix))
    host().refresh_checkpoints()
    return [reference.name for reference in host().checkpoints()]


def preview_error(recipe):
    """Why a picture cannot even be planned."""
    try:
        plan(recipe)
    except MergeError as error:
        return str(error)
    return ""


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


def signatures(*names):
    """Name to the parameters of a function, a method or a class; None of what is nothing of these, False of what is not there."""
    return {name: _parameters(*name.split(".")) for name in names}


def _parameters(module, *names):
    thing = _grids() if module == "xyz_grid" else importlib.import_module(f"modules.{module}")
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


def ask(question, **given):
    """The reply of the page's service, as the hidden button gets it."""
    reply = json.loads(webui_entry.ask(json.dumps({"id": 1, "page": "tab", "ask": question, "with": given})))
    return reply["reply"] if "reply" in reply else reply["problem"]


def follow(job):
    """A job at its end."""
    while job["state"] in ("waiting", "working"):
        time.sleep(0.05)
        (job,) = ask("poll", jobs=[{"job": job["job"], "seen": 0}])["jobs"]
    return job


def page_picture(text=MIX):
    """A picture through the page's questions: what comes with it, and the pixels' digest."""
    job = follow(ask("preview", text=text, params=SMALL, pictures=[{"id": "merged", "of": "merged"}])["job"])
    (job,) = ask("poll", jobs=[{"job": job["job"], "seen": 0}])["jobs"]
    (picture,) = job["pictures"]
    png = base64.b64decode(picture.pop("image").partition(",")[2])
    return {**picture, "digest": _digest(Image.open(io.BytesIO(png)))}


def page_lives(text=MIX, method="Approx cheap", enabled=True):
    """A picture of the page that takes its time: what it looked like meanwhile, and its digest."""
    kept = {name: shared.opts.data.get(name) for name in LIVE}
    option(live_previews_enable=enabled, show_progress_every_n_steps=1, show_progress_type=method)
    slow(True)
    try:
        job = ask("preview", text=text, params={**SMALL, "steps": 25}, pictures=[{"id": "merged", "of": "merged"}])["job"]
        live, lives, pictures = 0, [], []
        while job["state"] in ("waiting", "working"):
            time.sleep(0.05)
            (job,) = ask("poll", jobs=[{"job": job["job"], "seen": len(pictures), "live": live}])["jobs"]
            pictures += job["pictures"]
            if job["live"]:
                live = job["live"]["number"]
                lives.append([job["live"]["id"], live, job["live"]["image"]])
    finally:
        slow(False)
        option(**kept)
    return {"lives": lives, "infotext": pictures[0]["infotext"], "image": pictures[0]["image"], "problem": job["problem"]}


def forget_pictures():
    """So that the page's are made again."""
    room = webui_entry.room()
    room.one(Pictures, lambda: Pictures(room.host, room.one(Plans))).cache = PictureCache()


def slow(is_so):
    """Whether each step of a picture takes its time."""
    script_callbacks.remove_callbacks_for_function(_sleep)
    if is_so:
        script_callbacks.on_cfg_denoiser(_sleep)


def _sleep(params):
    time.sleep(0.1)


def page_save(name, text=MIX):
    """A save and a load through the page's questions: their reports."""
    with _hashing() as reads:
        saved = follow(ask("save", text=text, name=name)["job"])
        loaded = follow(ask("load", name=name)["job"])
    return {"read": reads, "saved": saved["report"], "load": loaded["report"] or loaded["problem"], **state()}


def page_use(text=MIX):
    """A merge used without saving it, through the page's question."""
    done = follow(ask("use", text=text, step="M")["job"])
    return {"use": done["report"] or done["problem"], **state()}


def tab():
    """The tab as the webui gets it, which of its components ui-config.json is not to hold, and what its button does."""
    ((blocks, title, element),) = webui_entry.tabs()
    hidden = [block for block in blocks.blocks.values() if str(block.elem_id).startswith("chilly_")]
    (answer,) = [each.fn for each in _functions(blocks) if each.fn]
    return {
        "title": title,
        "element": element,
        "kept": [block.elem_id for block in hidden if getattr(block, "do_not_save_to_config", False)],
        "reply": json.loads(answer(json.dumps({"id": 3, "page": "tab", "ask": "models", "with": {}}))),
    }


def _functions(blocks):
    """Of the events of a gradio page; newer gradio numbers them."""
    return blocks.fns.values() if isinstance(blocks.fns, dict) else blocks.fns


def page():
    """The double's page: the tabs that pasting is about, made in the webui's order. The real one is there."""
    import gradio as gr
    from modules import infotext_utils

    global _page
    infotext_utils.reset()
    with gr.Blocks() as _page:
        if importlib.util.find_spec("modules_forge"):
            from modules_forge import main_entry

            main_entry.ui_checkpoint = gr.Dropdown(label="Checkpoint")
            script_callbacks.after_component_callback(gr.Button("refresh"), elem_id="forge_refresh_checkpoint")
        for name in ("txt2img", "img2img"):
            prompt, overrides = gr.Textbox(elem_id=f"{name}_prompt"), gr.Dropdown(elem_id=f"{name}_override_settings")
            fields = [infotext_utils.PasteField(prompt, "Prompt")]
            infotext_utils.add_paste_fields(name, None, fields, overrides)
        infotext_utils.add_paste_fields("inpaint", None, fields, overrides)
        information = gr.Textbox(visible=False, elem_id="pnginfo_generation_info")
        script_callbacks.after_component_callback(information, elem_id="pnginfo_generation_info")
        infotext_utils.create_buttons(["txt2img", "img2img", "inpaint", "extras"])
    return tab()


def dropdown():
    """What the dropdown of a Forge is told by our hidden button."""
    (button,) = [block for block in _page.blocks.values() if block.elem_id == "chilly_show_chosen"]
    (event,) = [each for each in _functions(_page) if (button._id, "click") in each.targets]
    told = event.fn()
    return {"value": told["value"], "choices": sorted(told["choices"])}


def exchange():
    """What our tab has registered with the webui: who sends to where, and which tabs tell it what is pasted there."""
    from modules import infotext_utils

    ids = {tab: [getattr(component, "elem_id", None) for component, _ in it["fields"]] for tab, it in _fields().items()}
    sends = {binding.paste_button.elem_id: binding.tabname for binding in infotext_utils.registered_param_bindings}
    tells = {tab: names.count("chilly_arrived") for tab, names in ids.items() if "chilly_arrived" in names}
    return {"sends": sends, "tells": tells, "fields": {tab: len(names) for tab, names in ids.items()}}


def _fields():
    from modules import infotext_utils

    return {tab: it for tab, it in infotext_utils.paste_fields.items() if it["fields"] is not None}


def paste(text, tab="txt2img"):
    """What the webui does when an infotext is pasted into a tab: what it then knows of it, what our tab gets, what was said."""
    import gradio as gr
    from modules import infotext_utils

    said, original = [], gr.Warning
    gr.Warning = said.append
    try:
        params = infotext_utils.parse_generation_parameters(text)
        script_callbacks.infotext_pasted_callback(text, params)
        ours = [
            key(params) for component, key in _fields()[tab]["fields"] if getattr(component, "elem_id", None) == "chilly_arrived"
        ]
    finally:
        gr.Warning = original
    arrived = [json.loads(value)["infotext"] for value in ours if value]
    return {"params": {name: str(value) for name, value in params.items()}, "arrived": arrived, "said": said}


def grid(x=None, y=None, z=None, recipe="", amid=None, **fields):
    """The pictures of a grid of the webui's own script; an axis is [label, text or list of values]."""
    runner = _runner()
    script = next(each for each in runner.selectable_scripts if each.title() == "X/Y/Z plot")
    ours = next(each for each in runner.alwayson_scripts if each.title() == "ChillyMerge")
    args = [getattr(control, "value", None) for control in runner.inputs]
    labels = [option.label for option in script.current_axis_options]
    own = []
    for label, values in (each or ("Nothing", "") for each in (x, y, z)):
        own += [labels.index(label), "" if isinstance(values, list) else values, values if isinstance(values, list) else []]
    args[script.args_from : script.args_to] = [*own, False, True, False, False, False, False, False, 0, False]
    args[0], args[ours.args_from] = runner.selectable_scripts.index(script) + 1, recipe
    _do_amid(_amid_named(amid, Progress()))
    built = host().weights.built
    with call_queue.queue_lock:
        shared.state.begin(job="test")
        p = webui_pictures.processing_for(GenParams(**SMALL))
        for name, value in fields.items():
            setattr(p, name, value)
        p.is_api, p.scripts, p.script_args = True, runner, args
        try:
            with contextlib.closing(p):
                made = runner.run(p, *args)
        except Exception as error:
            made, failed = None, str(error)
        finally:
            shared.state.end()
            shared.state.interrupted = False
            script_callbacks.remove_callbacks_for_function(_amid.call)
    after = {**state(), "built": host().weights.built - built}
    if made is None:
        return {"error": failed, **after}
    cells, texts = made.images[made.index_of_first_image :], made.infotexts[made.index_of_first_image :]
    dark = [float((np.asarray(image.convert("RGB")) == 0).mean()) for image in cells]
    failures = getattr(webui_request.grid_of(p), "failures", {})
    reasons = [failures.get(number) for number in range(len(cells))]
    return {"pictures": [_digest(image) for image in cells], "infotexts": texts, "dark": dark, "reasons": reasons, **after}


def _runner():
    runner = scripts.scripts_txt2img
    if not runner.titles:  # the page is not drawn in the double
        import gradio as gr

        with gr.Blocks():
            runner.initialize_scripts(False)
            runner.setup_ui()
    return runner


def axes():
    """The labels of all axes after a page that is drawn anew, and after our script was run once more."""
    webui_axes.register()
    webui_axes.add_axes()
    return [option.label for option in _grids().axis_options]


def _grids():
    """The module of the webui's script."""
    script = next(each for each in _runner().selectable_scripts if each.title().lower() == "x/y/z plot")
    return next(data.module for data in scripts.scripts_data if data.script_class is type(script))


def on_page(text):
    """A recipe that stands on the page."""
    asked = {"id": 1, "page": "test", "ask": "look", "with": {"text": text, "current": True}}
    return json.loads(webui_entry.ask(json.dumps(asked)))["reply"]["text"]


def spoil(name, other):
    """A copy of a model with a value that is no number, which is found while it is merged."""
    from safetensors.torch import load_file, save_file

    copy_model(name, other)
    path = Path(title_file(name)).with_name(f"{other}.safetensors")
    tensors = load_file(path)
    next(tensor for key, tensor in sorted(tensors.items()) if key.startswith("model.diffusion_model.")).view(-1)[0] = float("nan")
    save_file(tensors, path)
    host().refresh_checkpoints()


def own_memory():
    """MiB of this process that are no files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def serve(**flags):
    """The port of a server of the double, started with flags; the real webui has its own."""
    import serving

    return serving.serve(**flags)


def call(name, args, given):
    """What a function of this module answers, or of one beside it where that is named too; or what went wrong."""
    import traceback

    module, _, function = name.rpartition(".")
    try:
        return {"answer": getattr(importlib.import_module(module or __name__), function)(*args, **given)}
    except BaseException:
        return {"failed": traceback.format_exc()}
