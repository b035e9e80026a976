"""Our page in the webui: its questions, its tab, and what goes between it and the webui's other tabs."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import time
from pathlib import Path

from modules import (
    script_callbacks,
    shared,
)
from PIL import Image
from samples import MIX, SMALL

from inside.amid import slow
from inside.models import read_for_hashes
from inside.pictures import digest
from inside.state import option, state
from lib_chilly.host import webui_entry
from lib_chilly.ui.picture_cache import PictureCache
from lib_chilly.ui.plans import Plans
from lib_chilly.ui.previews import Pictures

LIVE = ("live_previews_enable", "show_progress_every_n_steps", "show_progress_type")


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


def page_picture(text=MIX, **params):
    """A picture through the page's questions: what comes with it, and the pixels' digest."""
    job = follow(ask("preview", text=text, params={**SMALL, **params}, pictures=[{"id": "merged", "of": "merged"}])["job"])
    (job,) = ask("poll", jobs=[{"job": job["job"], "seen": 0}])["jobs"]
    (picture,) = job["pictures"]
    png = base64.b64decode(picture.pop("image").partition(",")[2])
    return {**picture, "digest": digest(Image.open(io.BytesIO(png)))}


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


def localise(**words):
    """The real webui's page, when it is loaded next, in words of another language; without any, in its own."""
    localization, ui_gradio_extensions = map(importlib.import_module, ("modules.localization", "modules.ui_gradio_extensions"))
    path = Path(shared.config_filename).with_name("xx.json")
    path.write_text(json.dumps(words), "utf-8")
    localization.localizations["xx"] = [str(path)]
    option(localization="xx" if words else "None")
    ui_gradio_extensions.reload_javascript()


def forget_pictures():
    """So that the page's are made again."""
    room = webui_entry.room()
    room.one(Pictures, lambda: Pictures(room.host, room.one(Plans))).cache = PictureCache()


def page_save(name, text=MIX):
    """A save and a load through the page's questions: their reports."""
    with read_for_hashes() as reads:
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


def on_page(text):
    """A recipe that stands on the page."""
    asked = {"id": 1, "page": "test", "ask": "look", "with": {"text": text, "current": True}}
    return json.loads(webui_entry.ask(json.dumps(asked)))["reply"]["text"]
