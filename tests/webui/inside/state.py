"""What there is inside the webui: our host, its models' titles, and what of its state must not be changed by us."""

from __future__ import annotations

from pathlib import Path

from modules import (
    call_queue,
    patches,
    script_callbacks,
    sd_hijack,
    sd_models,
    sd_unet,
    sd_vae,
    shared,
)

from lib_chilly.host import webui_entry, webui_merged, webui_pictures, webui_queue
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

CKPT = shared.cmd_opts.ckpt


CHANGED = ("sd_vae", "sd_checkpoint_cache", "sd_checkpoints_limit", "fp8_storage")


class _Amid:
    """Does something once, while a picture is made."""

    what = None

    def call(self, params):
        what, self.what = self.what, None
        if what is not None:
            what()


_amid = _Amid()


def do_amid(what):
    end_amid()
    script_callbacks.on_cfg_denoiser(_amid.call)
    _amid.what = what


def end_amid():
    script_callbacks.remove_callbacks_for_function(_amid.call)


def host():
    return webui_entry.room().host


def plan(recipe):
    return make_plan(parse_recipe(recipe), host().library())


def title_of(name):
    return next(title for title in sd_models.checkpoint_tiles() if title.startswith(f"{name}.safetensors"))


def title_file(name):
    return sd_models.checkpoints_list[title_of(name)].filename


def fresh(name="A", **options):
    """Everything as after a start, with one model chosen and loaded."""
    end_amid()
    with call_queue.queue_lock:
        host().weights.close()
        shared.cmd_opts.ckpt = CKPT
        for option in (name for name in CHANGED if name in shared.opts.data_labels):
            shared.opts.data[option] = options.get(option, shared.opts.data_labels[option].default)
        sd_vae.refresh_vae_list()
        sd_unet.current_unet = None
        sd_models.list_models()
        shared.opts.data["sd_model_checkpoint"] = title_of(name)
        webui_queue.wait_for_first_model()
        sd_models.reload_model_weights()
        webui_pictures.heal()
        sd_vae.reload_vae_weights()
    host().refresh_checkpoints()
    host().weights.built = 0
    return state()


def _is_free():
    if not call_queue.queue_lock.acquire(False):
        return False
    call_queue.queue_lock.release()
    return True


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


def flag(**flags):
    """Start-up flags of the webui, as if it had been started with them."""
    for name, value in flags.items():
        setattr(shared.cmd_opts, name, value)


def option(**options):
    """Settings, as the settings page would leave them."""
    shared.opts.data.update(options)


def settings():
    """Our switches on the page of settings, with their defaults."""
    script_callbacks.ui_settings_callback()
    return {name: info.default for name, info in shared.opts.data_labels.items() if info.section[0] == "chillymerge"}


def can_load():
    return host().can_load


def use_as_ckpt(name):
    shared.cmd_opts.ckpt = title_file(name)
