"""Infotexts, and the buttons that send them from tab to tab."""

import json
from collections import namedtuple

import gradio as gr

from modules import script_callbacks

paste_fields = {}
registered_param_bindings = []


class ParamBinding:
    def __init__(
        self,
        paste_button,
        tabname,
        source_text_component=None,
        source_image_component=None,
        source_tabname=None,
        override_settings_component=None,
        paste_field_names=None,
    ):
        self.paste_button, self.tabname = paste_button, tabname
        self.source_text_component, self.source_image_component = source_text_component, source_image_component


class PasteField(namedtuple("Pair", ["component", "target"])):
    """A component, and what of an infotext it takes: a name, or a function."""

    def __new__(cls, component, target, *, api=None):
        field = tuple.__new__(cls, (component, target))
        field.api = api
        return field


def reset():
    paste_fields.clear()
    registered_param_bindings.clear()


def add_paste_fields(tabname, init_img, fields, override_settings_component=None):
    if fields:  # the list stays the one that was given: others append to it
        fields[:] = [PasteField(*field) for field in fields]
    given = {"init_img": init_img, "fields": fields, "override_settings_component": override_settings_component}
    paste_fields.update({tabname: given})


def register_paste_params_button(binding):
    registered_param_bindings.append(binding)


def create_buttons(tabs_list):
    return {name: _send_button(name, elem_id=f"{name}_tab") for name in tabs_list}


def _send_button(name, elem_id):
    button = gr.Button(f"Send to {name}", elem_id=elem_id)
    script_callbacks.after_component_callback(button, elem_id=elem_id)
    return button


def _facts(line):
    """`name: value` after `name: value`, with commas between them; a value that has commas or colons is in JSON's quotes."""
    while line:
        name, _, line = line.partition(": ")
        try:
            value, end = json.JSONDecoder().raw_decode(line) if line.startswith('"') else (None, 0)
        except ValueError:  # a quote that nothing closes
            end = 0
        if end:
            line = line[end:].removeprefix(", ")
        else:
            value, _, line = line.partition(", ")
        yield name, value


def parse_generation_parameters(x, skip_fields=None):
    prompt, _, facts = x.strip().rpartition("\n")
    return {"Prompt": prompt, **dict(_facts(facts))}
