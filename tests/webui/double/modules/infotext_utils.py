"""Infotexts, and the buttons that send them from tab to tab."""

import json

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


class PasteField(tuple):
    def __new__(cls, component, target, *, api=None):
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        super().__init__()
        self.api, self.component = api, component


def reset():
    paste_fields.clear()
    registered_param_bindings.clear()


def add_paste_fields(tabname, init_img, fields, override_settings_component=None):
    for number, field in enumerate(fields):
        fields[number] = field if isinstance(field, PasteField) else PasteField(*field)
    paste_fields[tabname] = {"init_img": init_img, "fields": fields, "override_settings_component": override_settings_component}


def register_paste_params_button(binding):
    registered_param_bindings.append(binding)


def create_buttons(tabs_list):
    buttons = {}
    for tab in tabs_list:
        buttons[tab] = gr.Button(f"Send to {tab}", elem_id=f"{tab}_tab")
        script_callbacks.after_component_callback(buttons[tab], elem_id=f"{tab}_tab")
    return buttons


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
