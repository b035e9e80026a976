"""Pictures: what the loaded model's tensors, the prompt and the parameters come to, as coloured noise."""

import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from modules import images as sheets
from modules import script_callbacks, scripts, sd_hijack, sd_models, sd_samplers, sd_vae, shared

STEP_SECONDS = 0.002
_TEXT, _UNET, _VAE = ("cond_stage_model.", "conditioner."), ("model.diffusion_model.",), ("first_stage_model.",)
_prompts = {}
"""(info object, prompt, ...) to what it was encoded to."""


@dataclass(repr=False)
class StableDiffusionProcessing:
    sd_model: object = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    negative_prompt: str = ""
    styles: list = None
    seed: int = -1
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict = None
    override_settings: dict = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    scripts_value: Any = field(default=None, init=False)
    comments: dict = None

    def __post_init__(self):
        self.styles = self.styles or []
        self.comments = {}
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.scripts, self.script_args, self.is_api = None, [], False

    def comment(self, text):
        self.comments[text] = 1

    def init(self, all_prompts, all_seeds, all_subseeds):
        pass

    def close(self):
        pass


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    hr_checkpoint_name: str = None

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        drawn = _sample(self)
        if self.enable_hr:
            _reload_for_a_while(self.hr_checkpoint_name)
            drawn = hashlib.sha256((drawn + _sample(self)).encode()).hexdigest()
        return drawn


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list = None
    denoising_strength: float = 0.75

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        given = [self.denoising_strength, *(image.tobytes() for image in self.init_images)]
        return hashlib.sha256(repr((_sample(self), given)).encode()).hexdigest()


class Processed:
    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        subseed=None,
        all_prompts=None,
        all_negative_prompts=None,
        all_seeds=None,
        all_subseeds=None,
        index_of_first_image=0,
        infotexts=None,
        comments="",
    ):
        self.images, self.seed, self.info, self.infotexts = images_list, seed, info, infotexts or [info]
        self.all_seeds, self.index_of_first_image = all_seeds or [seed], index_of_first_image
        self.comments = "".join(f"{comment}\n" for comment in p.comments)


def process_images(p):
    if p.scripts is not None:
        p.scripts.before_process(p)
    kept = {name: shared.opts.data[name] for name in p.override_settings.keys() & shared.opts.data.keys()}
    with contextlib.ExitStack() as afterwards:
        if p.override_settings_restore_afterwards:
            afterwards.callback(_set_all, kept, _REACTIONS_AFTER)
        if p.override_settings.get("sd_model_checkpoint") not in sd_models.checkpoint_aliases:
            p.override_settings.pop("sd_model_checkpoint", None)
            sd_models.reload_model_weights()
        _set_all(p.override_settings, _REACTIONS)
        return _process(p)


def _set_all(settings, reactions):
    for name, value in settings.items():
        shared.opts.set(name, value, run_callbacks=False)
        reactions.get(name, lambda: None)()


_REACTIONS_AFTER = {"sd_vae": lambda: sd_vae.reload_vae_weights()}
_REACTIONS = {"sd_model_checkpoint": lambda: sd_models.reload_model_weights(), **_REACTIONS_AFTER}


def _process(p):
    state, images, infotexts = shared.state, [], []
    p.sampler_name, p.scheduler = sd_samplers.get_sampler_and_scheduler(p.sampler_name or "Euler", p.scheduler)
    for style in p.styles:
        p.prompt = shared.prompt_styles.styles[style].prompt.replace("{prompt}", p.prompt)
    model = shared.sd_model
    p.sd_model_name, p.sd_model_hash = model.sd_checkpoint_info.name_for_extra, model.sd_model_hash
    p.all_seeds = [int(p.seed) + number for number in range(p.n_iter * p.batch_size)]
    p.init([p.prompt], p.all_seeds, p.all_seeds)
    if state.job_count == -1:
        state.job_count = p.n_iter
    for batch in range(p.n_iter):
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        sd_models.reload_model_weights()
        drawn = p.sample(None, None, p.all_seeds, p.all_seeds, 0, [p.prompt])
        vae = shared.sd_model.digest(*_VAE)
        if p.scripts is not None:
            p.scripts.postprocess_batch(p, None, batch_number=batch)
        for seed in p.all_seeds[batch * p.batch_size : (batch + 1) * p.batch_size]:
            images.append(_finished(p, _picture(p, drawn, vae, seed)))
            infotexts.append(_infotext(p, seed))
        state.nextjob()
    if len(images) > 1 and not p.do_not_save_grid:
        sheets.image_grid(images, p.batch_size)
    first = infotexts[0] if infotexts else ""
    made = Processed(p, images, p.all_seeds[0], first, all_seeds=p.all_seeds, infotexts=infotexts)
    if p.scripts is not None:
        p.scripts.postprocess(p, made)
    return made


def _reload_for_a_while(name):
    if name not in (None, "", "None", "Use same checkpoint"):
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=sd_models.get_closet_checkpoint_match(name))


def _encoded(p):
    key = (id(shared.sd_model.sd_checkpoint_info), p.prompt, p.negative_prompt, shared.opts.CLIP_stop_at_last_layers)
    if key not in _prompts:
        hooked = sd_hijack.model_hijack.layers is not None
        prompt = p.prompt if hooked else re.sub(r"[(:)]|\d", "", p.prompt)
        # The object is kept, so that no other one gets its id.
        _prompts[key] = repr((prompt, *key[2:], shared.sd_model.digest(*_TEXT))), shared.sd_model.sd_checkpoint_info
    return _prompts[key][0]


def _sample(p):
    """What the steps come to; where the user stops them, what there is by then."""
    state, drawn = shared.state, _encoded(p)
    state.sampling_steps, state.sampling_step = p.steps, 0
    unet = shared.sd_model.digest(*_UNET)
    refiner = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint) if p.refiner_checkpoint else None
    is_other = refiner not in (None, shared.sd_model.sd_checkpoint_info)
    switch = int(p.steps * p.refiner_switch_at) if is_other else None
    for step in range(p.steps):
        if state.interrupted or state.skipped:
            break
        if step == switch:
            _reload_for_a_while(p.refiner_checkpoint)
            unet = shared.sd_model.digest(*_UNET)
            drawn += _encoded(p)
        params = script_callbacks.CFGDenoiserParams(None, None, None, step, p.steps, None, None)
        script_callbacks.cfg_denoiser_callback(params)
        drawn = hashlib.sha256((drawn + unet).encode()).hexdigest()
        state.sampling_step, state.current_latent = step + 1, drawn
        time.sleep(STEP_SECONDS)
    return drawn


def _picture(p, drawn, vae, seed):
    facts = repr((drawn, vae, seed, p.cfg_scale, p.sampler_name, p.scheduler, p.width, p.height))
    generator = np.random.default_rng(int(hashlib.sha256(facts.encode()).hexdigest()[:15], 16))
    return Image.fromarray(generator.integers(0, 255, (p.height, p.width, 3), np.uint8))


def _finished(p, image):
    """What scripts make of a picture."""
    if p.scripts is None:
        return image
    made = scripts.PostprocessImageArgs(image)
    p.scripts.postprocess_image(p, made)
    return made.image


def _infotext(p, seed):
    facts = {"Steps": p.steps, "Sampler": p.sampler_name, "Schedule type": p.scheduler, "CFG scale": p.cfg_scale, "Seed": seed}
    facts |= {"Size": f"{p.width}x{p.height}", "Model hash": p.sd_model_hash, "Model": p.sd_model_name}
    facts |= p.extra_generation_params
    return f"{p.prompt}\n" + ", ".join(f"{name}: {_quoted(str(value))}" for name, value in facts.items())


def _quoted(text):
    return json.dumps(text, ensure_ascii=False) if set(",:\n") & set(text) else text
