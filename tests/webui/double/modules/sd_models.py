"""Checkpoints, and how the one model is loaded."""

import collections
import os
import threading

from listing import (  # noqa: F401  the webui has all of them here
    CheckpointInfo,
    checkpoint_aliases,
    checkpoint_tiles,
    checkpoints_list,
    get_closet_checkpoint_match,
    model_path,
    read_metadata_from_safetensors,
    select_checkpoint,
)
from loaded import Model
from safetensors.torch import load_file

from modules import modelloader, script_callbacks, sd_hijack, sd_unet, sd_vae, shared

checkpoints_loaded = collections.OrderedDict()


def list_models():
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    if shared.cmd_opts.ckpt and os.path.exists(shared.cmd_opts.ckpt):
        info = CheckpointInfo(shared.cmd_opts.ckpt)
        info.register()
        shared.opts.data["sd_model_checkpoint"] = info.title
    suffixes, others = [".ckpt", ".safetensors"], [".vae.ckpt", ".vae.safetensors"]
    for path in modelloader.load_models(
        model_path, command_path=shared.cmd_opts.ckpt_dir, ext_filter=suffixes, ext_blacklist=others
    ):
        CheckpointInfo(path).register()


def get_state_dict_from_checkpoint(pl_sd):
    return pl_sd.pop("state_dict", pl_sd)


def read_state_dict(checkpoint_file, print_global_state=False, map_location=None):
    return get_state_dict_from_checkpoint(load_file(checkpoint_file))


def get_checkpoint_state_dict(checkpoint_info: CheckpointInfo, timer):
    checkpoint_info.calculate_shorthash()
    timer.record("calculate hash")
    if checkpoint_info in checkpoints_loaded:
        return checkpoints_loaded[checkpoint_info]
    return read_state_dict(checkpoint_info.filename)


class SkipWritingToConfig:
    """While one is entered, a model that is loaded does not become the chosen one; they may stand in each other."""

    skip = False
    _entered = 0

    def __enter__(self):
        self._count(1)

    def __exit__(self, exc_type, exc_value, exc_traceback):
        self._count(-1)

    @classmethod
    def _count(cls, more):
        cls._entered += more
        cls.skip = cls._entered > 0


def _choose(info):
    if not SkipWritingToConfig.skip:
        shared.opts.data["sd_model_checkpoint"] = info.title


class Timer:
    def record(self, category, extra_time=0, disable_log=False):
        pass


class SdModelData:
    """The model that is loaded, which the first who asks waits for, and those beside it, the last used first."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sd_model, self.loaded_sd_models, self.was_loaded_at_least_once = None, [], False

    def _is_missing(self):
        return self.sd_model is None and not self.was_loaded_at_least_once

    def get_sd_model(self):
        if self._is_missing():
            with self.lock:
                _ = self._is_missing() and load_model()
        return self.sd_model

    def set_sd_model(self, v, already_loaded=False):
        others = [model for model in self.loaded_sd_models if model is not v]
        self.sd_model, self.loaded_sd_models = v, others if v is None else [v, *others]


model_data = SdModelData()


def find_config(state_dict, info):
    near = f"{os.path.splitext(info.filename)[0]}.yaml"
    if os.path.exists(near):
        return near
    return "sdxl" if any(key.startswith("conditioner.") for key in state_dict) else "sd1"


def send_model_to_cpu(m):
    pass


def send_model_to_device(m):
    pass


def send_model_to_trash(m):
    m.is_trash = True


def load_model_weights(model, checkpoint_info, state_dict, timer):
    short = checkpoint_info.calculate_shorthash()
    _choose(checkpoint_info)
    tensors = get_checkpoint_state_dict(checkpoint_info, timer) if state_dict is None else state_dict
    _cache(checkpoint_info, tensors)
    model.load_state_dict(tensors, strict=False)
    model.become(checkpoint_info, short)
    shared.opts.data["sd_checkpoint_hash"] = checkpoint_info.sha256
    sd_vae.forget()
    sd_vae.load_vae(model, sd_vae.resolve_vae(checkpoint_info.filename))


def _cache(info, tensors):
    """Keep a model's tensors, and as many as the settings say of those before it."""
    most = shared.opts.sd_checkpoint_cache
    if most > 0:
        checkpoints_loaded[info] = dict(tensors)
    for old in list(checkpoints_loaded)[: max(0, len(checkpoints_loaded) - most)]:
        del checkpoints_loaded[old]


def load_model(checkpoint_info=None, already_loaded_state_dict=None):
    info, timer = checkpoint_info or select_checkpoint(), Timer()
    if model_data.sd_model:
        send_model_to_trash(model_data.sd_model)
        model_data.sd_model = None
    state_dict = already_loaded_state_dict or get_checkpoint_state_dict(info, timer)
    model = Model(find_config(state_dict, info), {key: tensor.shape for key, tensor in state_dict.items()})
    load_model_weights(model, info, dict(state_dict), timer)
    state_dict.clear()  # it is emptied while it is loaded
    sd_hijack.model_hijack.hijack(model)
    model_data.set_sd_model(model)
    model_data.was_loaded_at_least_once = True
    script_callbacks.model_loaded_callback(model)
    return model


def reuse_model_from_already_loaded(sd_model, checkpoint_info, timer):
    """The model that has a checkpoint's weights already, or one that may be overwritten with them."""
    same = [each for each in (sd_model, *model_data.loaded_sd_models) if each is not None and _is_of(each, checkpoint_info)]
    if same and same[0] is sd_model:
        return sd_model
    if same:
        model_data.set_sd_model(same[0], already_loaded=True)
        _choose(same[0].sd_checkpoint_info)
        sd_vae.reload_vae_weights(same[0])
        return same[0]
    most = max(1, shared.opts.sd_checkpoints_limit)
    for old in model_data.loaded_sd_models[most:]:
        send_model_to_trash(old)
    del model_data.loaded_sd_models[most:]
    if len(model_data.loaded_sd_models) < most > 1:
        model_data.sd_model = None
        return load_model(checkpoint_info)
    model_data.sd_model = model_data.loaded_sd_models.pop() if model_data.loaded_sd_models else None
    return model_data.sd_model


def _is_of(model, info):
    return model.sd_checkpoint_info.filename == info.filename


def reload_model_weights(sd_model=None, info=None, forced_reload=False):
    target, timer = info or select_checkpoint(), Timer()
    model = sd_model or model_data.sd_model
    before = model.sd_checkpoint_info if model is not None else None
    if model is not None and model.sd_model_checkpoint == target.filename and not forced_reload:
        return model
    model = reuse_model_from_already_loaded(model, target, timer)
    if not forced_reload and model is not None and model.sd_checkpoint_info.filename == target.filename:
        return model
    if model is not None:
        sd_unet.current_unet = None
        sd_hijack.model_hijack.undo_hijack(model)
    state_dict = get_checkpoint_state_dict(target, timer)
    config = find_config(state_dict, target)
    if model is None or config != model.used_config:
        if model is not None:
            send_model_to_trash(model)
        return load_model(target, already_loaded_state_dict=state_dict)
    try:
        load_model_weights(model, target, state_dict, timer)
    except Exception:
        load_model_weights(model, before, None, timer)
        raise
    finally:
        sd_hijack.model_hijack.hijack(model)
        script_callbacks.model_loaded_callback(model)
    model_data.set_sd_model(model)
    return model


shared.opts.data_labels["sd_model_checkpoint"].onchange = lambda: _queued_reload()


def _queued_reload():
    from modules.call_queue import wrap_queued_call

    wrap_queued_call(reload_model_weights)()
