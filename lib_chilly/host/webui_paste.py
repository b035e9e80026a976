"""What goes between our tab and the webui's others: infotexts that are pasted, and pictures that are sent.

A picture of a merge names a model that is a recipe. Pasting its infotext therefore brings the recipe into our tab, and never lets
the webui look for a file of that name: it would take the user's model without a word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import gradio as gr
from modules import infotext_utils, shared

from .base import RECIPE
from .webui_kept import is_ours
from .webui_merged import MARK, held

TAB = "chillymerge"
_WHOLE = "ChillyMerge infotext"
_JS = "_js" if int(gr.__version__.split(".")[0]) < 4 else "js"
_OTHER_MODELS = {"Hires checkpoint": "Use same checkpoint", "Refiner": None}
_from_png_info: dict[str, Any] = {}


def after_component(component: Any, **given: Any) -> None:
    """Called by the webui for each component that it makes: a button more stands beside those of PNG Info."""
    name = given.get("elem_id")
    if name == "pnginfo_generation_info":
        _from_png_info["text"] = component
    elif name == "extras_tab" and "text" in _from_png_info and not _is_hidden():
        _from_png_info["button"] = gr.Button("Send to ChillyMerge", elem_id=f"{TAB}_tab")


def add_exchange() -> None:
    """The hidden components of our tab through which it gets infotexts and gives pictures away; called where it is made."""
    if _is_hidden():  # what is not there cannot be an event's
        return
    hidden = {"elem_classes": ["chilly-hidden"]}
    arrived = gr.Textbox(value="", label="arrived", elem_id="chilly_arrived", **hidden)
    text = gr.Textbox(value="", label="sent text", elem_id="chilly_sent_text", **hidden)
    image = gr.Textbox(value="", label="sent image", elem_id="chilly_sent_image", **hidden)
    buttons = {name: gr.Button(f"send to {name}", elem_id=f"chilly_send_{name}", **hidden) for name in ("txt2img", "img2img")}
    for component in (arrived, text, image, *buttons.values()):
        component.do_not_save_to_config = True
    arrived.change(None, [arrived], None, **{_JS: "(text) => { window.chilly.arrived(text); }"})
    for sent in (text, image):
        sent.change(None, [text, image], None, **{_JS: "(text, image) => { window.chilly.taken(text, image); }"})
    for name, button in buttons.items():
        given = {"source_image_component": image} if name == "img2img" else {}
        infotext_utils.register_paste_params_button(
            infotext_utils.ParamBinding(paste_button=button, tabname=name, source_text_component=text, **given)
        )
    # img2img and inpainting have one list between them.
    lists = {id(target["fields"]): target["fields"] for target in infotext_utils.paste_fields.values() if target["fields"]}
    for fields in lists.values():
        fields.append(infotext_utils.PasteField(arrived, arrived_with_recipe))
    # Two fields: of one alone gradio would take the list that the webui returns for the value.
    infotext_utils.add_paste_fields(TAB, None, [(arrived, arrived_whole), (text, _unchanged)])
    if "button" in _from_png_info:
        infotext_utils.register_paste_params_button(
            infotext_utils.ParamBinding(
                paste_button=_from_png_info["button"], tabname=TAB, source_text_component=_from_png_info["text"]
            )
        )
    _from_png_info.clear()


def on_infotext_pasted(infotext: str, params: dict[str, Any]) -> None:
    """Called by the webui before it fills its fields; what names a merge that is no model of the list is taken out, and said."""
    params[_WHOLE] = infotext
    gone = _take_merges_out(params)
    if not gone:
        return
    where = "Its recipe is in the tab ChillyMerge now." if RECIPE in params else "Its recipe is not in the text."
    gr.Warning(f"The model '{gone}' of this picture is a recipe, not a file: the chosen model stays. {where}")


def arrived_whole(params: Mapping[str, Any]) -> str | None:
    """For our tab, when something is sent to it: the infotext, new each time."""
    return _told(params, wanted=True)


def arrived_with_recipe(params: Mapping[str, Any]) -> str | None:
    """For our tab, when something is pasted elsewhere: the infotext, where a recipe is in it."""
    return _told(params, wanted=False) if RECIPE in params else None


def _unchanged(params: Mapping[str, Any]) -> None:
    """Leaves a field as it is."""


def _told(params: Mapping[str, Any], wanted: bool) -> str | None:
    whole = params.get(_WHOLE)
    return json.dumps({"infotext": whole, "wanted": wanted, "at": time.time()}) if whole else None


def _take_merges_out(params: dict[str, Any]) -> str:
    """The name of the merge that an infotext says as its model, where it cannot be chosen; else "". Afterwards it is not said."""
    listed = {name for info in held() if info.is_listed for name in info.ids}
    for name, instead in _OTHER_MODELS.items():
        if is_ours(params.get(name)) and params[name] not in listed:
            params.pop(name)
            if instead is not None:
                params[name] = instead
    if not str(params.get("Model hash", "")).startswith(MARK) or params["Model hash"] in listed:
        return ""
    params.pop("Model hash")
    return str(params.pop("Model", "")) or "of no name"


def _is_hidden() -> bool:
    return "ChillyMerge" in (getattr(shared.opts, "hidden_tabs", None) or ())
