"""Checkpoints, and the one model that is loaded: a table of tensors in float32 that is rewritten for the next one."""

import collections
import hashlib
import json
import os
import re
import struct
import sys
import threading
import time

import torch
from safetensors.torch import load_file

from modules import errors, hashes, paths_internal, script_callbacks, sd_hijack, sd_unet, sd_vae, shared

model_path = os.path.join(paths_internal.models_path, "Stable-diffusion")
checkpoints_list = {}
checkpoint_aliases = {}
FIRST_SECONDS = 1.0
"""That the first model takes to be loaded, while the page is there already."""
checkpoints_loaded = collections.OrderedDict()


class CheckpointInfo:
    def __init__(self, filename):
        self.filename = filename
        folders = [os.path.abspath(folder) for folder in (shared.cmd_opts.ckpt_dir, model_path) if folder]
        below = next((folder for folder in folders if os.path.abspath(filename).startswith(folder)), os.path.dirname(filename))
        self.name = os.path.relpath(filename, below)
        self.name_for_extra = os.path.splitext(os.path.basename(filename))[0]
        self.model_name = os.path.splitext(self.name.replace("/", "_"))[0]
        self.is_safetensors = filename.endswith(".safetensors")
        self.metadata = {}
        if self.is_safetensors:
            try:
                self.metadata = read_metadata_from_safetensors(filename)
            except Exception as e:
                errors.display(e, f"reading metadata for {filename}")
        self.hash = "e3b0c442"
        self.sha256 = hashes.sha256_from_cache(filename, f"checkpoint/{self.name}")
        self._name_all()

    def _name_all(self):
        self.shorthash = self.sha256[:10] if self.sha256 else None
        behind = f" [{self.shorthash}]" if self.shorthash else ""
        self.title, self.short_title = self.name + behind, self.name_for_extra + behind
        self.ids = [self.hash, self.model_name, self.title, self.name, self.name_for_extra]
        self.ids += [self.shorthash, self.sha256] if self.sha256 else []

    def register(self):
        checkpoints_list[self.title] = self
        for each in self.ids:
            checkpoint_aliases[each] = self

    def calculate_shorthash(self):
        self.sha256 = hashes.sha256(self.filename, f"checkpoint/{self.name}")
        if self.sha256 is not None and self.shorthash is None:
            checkpoints_list.pop(self.title, None)
            self._name_all()
            self.register()
        return self.shorthash


def read_metadata_from_safetensors(filename):
    with open(filename, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        head = file.read(2)
        assert head in (b'{"', b"{'"), f"{filename} is not a safetensors file"
        said = json.loads(head + file.read(size - 2)).get("__metadata__", {})
    return {name: json.loads(value) if value.startswith("{") else value for name, value in said.items()}


def checkpoint_tiles(use_short=False):
    return [info.short_title if use_short else info.title for info in checkpoints_list.values()]


def list_models():
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    if shared.cmd_opts.ckpt and os.path.exists(shared.cmd_opts.ckpt):
        info = CheckpointInfo(shared.cmd_opts.ckpt)
        info.register()
        shared.opts.data["sd_model_checkpoint"] = info.title
    for folder in dict.fromkeys(filter(None, (shared.cmd_opts.ckpt_dir, model_path))):
        for parent, _, names in sorted(os.walk(folder, followlinks=True)):
            for name in sorted(names):
                if name.endswith((".safetensors", ".ckpt")) and not name.endswith((".vae.safetensors", ".vae.ckpt")):
                    CheckpointInfo(os.path.join(parent, name)).register()


def get_closet_checkpoint_match(search_string):
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    for wanted in (search_string, re.sub(r"\s*\[[^]]+]\s*$", "", search_string or "")):
        found = [info for info in checkpoints_list.values() if wanted and wanted in info.title]
        if found:
            return min(found, key=lambda info: len(info.title))
    return None


def select_checkpoint():
    chosen = shared.opts.sd_model_checkpoint
    if chosen in checkpoint_aliases:
        return checkpoint_aliases[chosen]
    if not checkpoints_list:
        raise FileNotFoundError("no checkpoints found")
    print(f"{chosen} is not there; the first model is taken", file=sys.stderr)
    return next(iter(checkpoints_list.values()))


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
    skip = False

    def __enter__(self):
        self.previous, SkipWritingToConfig.skip = SkipWritingToConfig.skip, True

    def __exit__(self, exc_type, exc_value, exc_traceback):
        SkipWritingToConfig.skip = self.previous


class Timer:
    def record(self, category, extra_time=0, disable_log=False):
        pass


class Model:
    """The tensors of the architecture of a config, at first without values."""

    lowvram = False

    def __init__(self, config, shapes):
        self.used_config = config
        self.state = {key: torch.zeros(shape) for key, shape in shapes.items()}
        self.is_trash = False

    def load_state_dict(self, state_dict, strict=True):
        wrong = [key for key, tensor in state_dict.items() if key in self.state and tensor.shape != self.state[key].shape]
        if wrong:
            raise RuntimeError(f"size mismatch for {wrong[0]}")
        for key, tensor in state_dict.items():
            if key in self.state:
                self.state[key].copy_(tensor)

    def digest(self, *prefixes):
        """Of all tensors of a component: what a picture follows from."""
        if self.is_trash:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        found = hashlib.sha256()
        for key in sorted(self.state):
            if key.startswith(prefixes):
                found.update(self.state[key].numpy().tobytes())
        return found.hexdigest()


class SdModelData:
    def __init__(self):
        self.sd_model = None
        self.loaded_sd_models = []
        self.was_loaded_at_least_once = False
        self.lock = threading.Lock()

    def get_sd_model(self):
        if not self.was_loaded_at_least_once and self.sd_model is None:
            with self.lock:
                if self.sd_model is None and not self.was_loaded_at_least_once:
                    load_model()
        return self.sd_model

    def set_sd_model(self, v, already_loaded=False):
        self.sd_model = v
        if v in self.loaded_sd_models:
            self.loaded_sd_models.remove(v)
        if v is not None:
            self.loaded_sd_models.insert(0, v)


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
    checkpoint_info.calculate_shorthash()
    if not SkipWritingToConfig.skip:
        shared.opts.data["sd_model_checkpoint"] = checkpoint_info.title
    if state_dict is None:
        state_dict = get_checkpoint_state_dict(checkpoint_info, timer)
    if shared.opts.sd_checkpoint_cache > 0:
        checkpoints_loaded[checkpoint_info] = state_dict.copy()
    model.load_state_dict(state_dict, strict=False)
    while len(checkpoints_loaded) > shared.opts.sd_checkpoint_cache:
        checkpoints_loaded.popitem(last=False)
    model.sd_model_hash = checkpoint_info.calculate_shorthash()
    model.sd_model_checkpoint = checkpoint_info.filename
    model.sd_checkpoint_info = checkpoint_info
    shared.opts.data["sd_checkpoint_hash"] = checkpoint_info.sha256
    sd_vae.forget()
    sd_vae.load_vae(model, sd_vae.resolve_vae(checkpoint_info.filename))


def load_model(checkpoint_info=None, already_loaded_state_dict=None):
    info, timer = checkpoint_info or select_checkpoint(), Timer()
    if model_data.sd_model:
        send_model_to_trash(model_data.sd_model)
        model_data.sd_model = None
    state_dict = already_loaded_state_dict or get_checkpoint_state_dict(info, timer)
    if not model_data.was_loaded_at_least_once:
        time.sleep(FIRST_SECONDS)
    model = Model(find_config(state_dict, info), {key: tensor.shape for key, tensor in state_dict.items()})
    load_model_weights(model, info, dict(state_dict), timer)
    state_dict.clear()  # it is emptied while it is loaded
    sd_hijack.model_hijack.hijack(model)
    model_data.set_sd_model(model)
    model_data.was_loaded_at_least_once = True
    script_callbacks.model_loaded_callback(model)
    return model


def reuse_model_from_already_loaded(sd_model, checkpoint_info, timer):
    if sd_model is not None and sd_model.sd_checkpoint_info.filename == checkpoint_info.filename:
        return sd_model
    loaded = model_data.loaded_sd_models
    for model in loaded:
        if model.sd_checkpoint_info.filename == checkpoint_info.filename:
            model_data.set_sd_model(model, already_loaded=True)
            if not SkipWritingToConfig.skip:
                shared.opts.data["sd_model_checkpoint"] = model.sd_checkpoint_info.title
            sd_vae.reload_vae_weights(model)
            return model
    while len(loaded) > shared.opts.sd_checkpoints_limit > 0:
        send_model_to_trash(loaded.pop())
    if 1 < shared.opts.sd_checkpoints_limit > len(loaded):
        model_data.sd_model = None
        return load_model(checkpoint_info)
    if loaded:
        model_data.sd_model = loaded.pop()
        return model_data.sd_model
    return None


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


def unload_model_weights(sd_model=None, info=None):
    return sd_model


shared.opts.data_labels["sd_model_checkpoint"].onchange = lambda: _queued_reload()


def _queued_reload():
    from modules.call_queue import wrap_queued_call

    wrap_queued_call(reload_model_weights)()
