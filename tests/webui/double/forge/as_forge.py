"""Makes the double a Forge: choosing a model loads none, functions that extensions know are there and do nothing, and names in
the dropdown have no hash. Imported before any extension."""

import functools

from modules import sd_hijack, sd_models, shared


class FirstModel:
    """Stands where no model has been loaded yet."""

    cond_stage_model = None


class SdModelData:
    def __init__(self):
        self.sd_model = FirstModel()
        self.forge_loading_parameters = {}
        self.forge_hash = ""

    def get_sd_model(self):
        return self.sd_model

    def set_sd_model(self, v):
        self.sd_model = v


def forge_model_reload():
    data, wanted = sd_models.model_data, str(sd_models.model_data.forge_loading_parameters)
    if data.forge_hash == wanted:
        return data.sd_model, False
    data.sd_model = None
    info = data.forge_loading_parameters["checkpoint_info"]
    state = sd_models.load_file(info.filename)
    model = sd_models.Model("", {key: tensor.shape for key, tensor in state.items()})
    model.load_state_dict(state)
    model.sd_checkpoint_info, model.filename, model.sd_model_hash = info, info.filename, info.calculate_shorthash()
    data.set_sd_model(model)
    data.forge_hash = wanted
    return model, True


def checkpoint_tiles(use_short=False):
    return [info.short_title if use_short else info.name for info in sd_models.checkpoints_list.values()]


class Hijack:
    def hijack(self, m):
        pass

    def undo_hijack(self, m):
        pass


def does_nothing(function):
    """What a function of the webui's is here: its signature."""
    return functools.wraps(function)(lambda *args, **kwargs: None)


for name in (
    "load_model",
    "load_model_weights",
    "reload_model_weights",
    "reuse_model_from_already_loaded",
    "send_model_to_device",
):
    setattr(sd_models, name, does_nothing(getattr(sd_models, name)))
for name in ("get_state_dict_from_checkpoint", "read_state_dict"):
    setattr(sd_models, name, does_nothing(getattr(sd_models, name)))
sd_models.checkpoint_tiles, sd_models.forge_model_reload = checkpoint_tiles, forge_model_reload
sd_models.model_data, sd_hijack.model_hijack = SdModelData(), Hijack()
shared.opts.data_labels["sd_model_checkpoint"].onchange = None
