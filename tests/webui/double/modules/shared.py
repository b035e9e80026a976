"""Settings, flags and state."""

import collections
import json
import os
import sys
import types
from pathlib import Path

from PIL import Image

from modules import paths_internal

config_filename = os.path.join(paths_internal.data_path, "config.json")
cmd_opts = types.SimpleNamespace(
    ckpt=None,
    ckpt_dir=os.path.join(paths_internal.data_path, "checkpoints"),
    vae_dir=None,
    vae_path=None,
    freeze_settings=False,
    freeze_settings_in_sections=None,
    freeze_specific_settings=None,
    no_hashing=False,
    skip_load_model_at_start=False,
    api=True,
    api_auth=None,
    nowebui=False,
)
device = "cpu"
PromptStyle = collections.namedtuple("PromptStyle", "name prompt negative_prompt path", defaults=(None,))
prompt_styles = types.SimpleNamespace(styles={"oil": PromptStyle("oil", "oil painting of {prompt}", "")})
sd_unet = sd_vae = None


class OptionInfo:
    def __init__(
        self,
        default=None,
        label="",
        component=None,
        component_args=None,
        onchange=None,
        section=None,
        refresh=None,
        comment_before="",
        comment_after="",
        infotext=None,
        restrict_api=False,
        category_id=None,
    ):
        self.default, self.onchange, self.section = default, onchange, section or ("sd", "Stable Diffusion")
        self.do_not_save, self.restrict_api = False, restrict_api


_DEFAULTS = {
    **{"sd_model_checkpoint": None, "sd_checkpoint_hash": "", "sd_vae": "Automatic", "sd_unet": "Automatic"},
    **{"CLIP_stop_at_last_layers": 1, "sd_checkpoint_cache": 0, "sd_checkpoints_limit": 1, "outdir_txt2img_samples": "out"},
    **{"outdir_txt2img_grids": "out", "fp8_storage": "Disable", "add_model_hash_to_info": True},
    **{"live_previews_enable": False, "live_preview_refresh_period": 1000, "show_progress_every_n_steps": 10},
}


class Options:
    def __init__(self, data_labels, restricted_opts):
        self.__dict__.update(data_labels=data_labels, restricted_opts=restricted_opts)
        self.__dict__["data"] = {name: label.default for name, label in data_labels.items()}

    def __getattr__(self, item):
        if item in self.data:
            return self.data[item]
        raise AttributeError(item)

    def __setattr__(self, key, value):
        named = (cmd_opts.freeze_specific_settings or "").replace(" ", "").split(",")
        if cmd_opts.freeze_settings or key in named:
            raise AssertionError(f"{key}: frozen")
        self.data[key] = value

    def set(self, key, value, is_api=False, run_callbacks=True):
        """Whether it is another value than before."""
        is_other = self.data.get(key) != value
        if is_other:
            setattr(self, key, value)
            react = self.data_labels[key].onchange
            _ = run_callbacks and react and react()
        return is_other

    def get_default(self, key):
        return getattr(self.data_labels.get(key), "default", None)

    def save(self, filename):
        if cmd_opts.freeze_settings:
            raise AssertionError("all settings: frozen")
        Path(filename).write_text(json.dumps(self.data), "utf-8")

    def add_option(self, key, info):
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)


opts = Options({name: OptionInfo(default) for name, default in _DEFAULTS.items()}, set())


class State:
    def __init__(self):
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_no, self.job_count, self.textinfo = "", 0, 0, None
        self.sampling_step = self.sampling_steps = 0
        self.current_latent = self.current_image = None
        self.id_live_preview = self.current_image_sampling_step = 0

    def begin(self, job="(unknown)"):
        self.__init__()
        self.job, self.job_count = job, -1

    def end(self):
        self.job, self.job_count = "", 0

    def nextjob(self):
        self.job_no += 1
        self.sampling_step = 0

    def set_current_image(self):
        fresh = self.sampling_step - self.current_image_sampling_step
        if opts.live_previews_enable and self.current_latent and fresh >= opts.show_progress_every_n_steps != -1:
            self.assign_current_image(Image.new("RGB", (8, 8), f"#{self.current_latent[:6]}"))
            self.current_image_sampling_step = self.sampling_step

    def assign_current_image(self, image):
        self.current_image = image
        self.id_live_preview += 1

    def interrupt(self):
        self.interrupted = True

    def request_restart(self):
        self.interrupt()

    def skip(self):
        self.skipped = True


state = State()


class Shared(types.ModuleType):
    @property
    def sd_model(self):
        from modules import sd_models

        return sd_models.model_data.get_sd_model()


sys.modules[__name__].__class__ = Shared
