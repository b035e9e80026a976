"""What extensions are called for."""

import inspect

from modules import errors

CATEGORIES = (
    "app_started before_ui ui_settings ui_tabs script_unloaded infotext_pasted after_component cfg_denoiser model_loaded"
    " image_grid before_image_saved"
)
callback_map = {f"callbacks_{category}": [] for category in CATEGORIES.split()}


def add_callback(callbacks, fun, *, name=None, category="unknown", filename=None):
    if filename is None:
        inspect.stack()  # who calls: slow there, as here
    callbacks.append(fun)


def _registrar(category):
    def register(callback, *, name=None):
        add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)

    return register


on_cfg_denoiser, on_before_image_saved = _registrar("cfg_denoiser"), _registrar("before_image_saved")


class CFGDenoiserParams:
    def __init__(self, x, image_cond, sigma, sampling_step, total_sampling_steps, text_cond, text_uncond, denoiser=None):
        self.sampling_step, self.total_sampling_steps = sampling_step, total_sampling_steps


class ImageGridLoopParams:
    def __init__(self, imgs, cols, rows):
        self.imgs, self.cols, self.rows = imgs, cols, rows


def image_grid_callback(params):
    _call("image_grid", params)


def before_ui_callback():
    for callback in reversed(callback_map["callbacks_before_ui"]):
        callback()


def clear_callbacks():
    for callbacks in callback_map.values():
        callbacks.clear()


def remove_callbacks_for_function(callback_func):
    for callbacks in callback_map.values():
        callbacks[:] = [each for each in callbacks if each != callback_func]


def _call(category, *given):
    for callback in list(callback_map[f"callbacks_{category}"]):
        try:
            callback(*given)
        except Exception:
            errors.report(f"Error executing callback {category}", exc_info=True)


def ui_tabs_callback():
    return [tab for callback in callback_map["callbacks_ui_tabs"] for tab in callback() or []]


def ui_settings_callback():
    _call("ui_settings")


def after_component_callback(component, **kwargs):
    for callback in list(callback_map["callbacks_after_component"]):
        callback(component, **kwargs)


def infotext_pasted_callback(infotext, params):
    _call("infotext_pasted", infotext, params)


def app_started_callback(demo, app):
    _call("app_started", demo, app)


def cfg_denoiser_callback(params):
    _call("cfg_denoiser", params)


def model_loaded_callback(sd_model):
    _call("model_loaded", sd_model)


def script_unloaded_callback():
    for callback in reversed(callback_map["callbacks_script_unloaded"]):
        callback()
