"""Pictures of a merge in memory, made by the webui as it makes any other, and proven to be of that merge."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from modules import devices, errors, processing, sd_hijack, sd_models, sd_samplers, sd_unet, sd_vae, shared

from ..errors import Interrupted, MergeError
from ..plan import Plan
from .base import RECIPE, STOPPED, GenParams
from .webui_kept import remember_choice
from .webui_merged import CHOSEN, MARK, MergedInfo
from .webui_queue import is_interrupted
from .webui_settings import SAVES_PICTURES

_LONGEST_ERROR = 300
OTHER_MODEL = "another model was loaded while the picture was made, so it may not be that of the merge. Try again."
_HASH, _CLIP = "sd_checkpoint_hash", "CLIP_stop_at_last_layers"


def processing_for(params: GenParams) -> Any:
    """The webui's request for a picture. Scripts of other extensions are not asked."""
    sampler, scheduler = _sampler(params)
    wanted = {
        **{
            "prompt": params.prompt,
            "negative_prompt": params.negative_prompt,
            "styles": list(params.styles),
            "seed": params.seed,
        },
        **{"steps": params.steps, "cfg_scale": params.cfg, "width": params.width, "height": params.height},
        **{"sampler_name": sampler, "scheduler": scheduler, "batch_size": 1, "n_iter": 1},
        **{"do_not_save_samples": not getattr(shared.opts, SAVES_PICTURES, False), "do_not_save_grid": True},
        **{"outpath_samples": shared.opts.outdir_txt2img_samples, "outpath_grids": shared.opts.outdir_txt2img_grids},
    }
    known = {field.name for field in dataclasses.fields(processing.StableDiffusionProcessingTxt2Img)}
    p = processing.StableDiffusionProcessingTxt2Img(**{name: value for name, value in wanted.items() if name in known})
    p.override_settings = overrides(params)
    return p


def overrides(params: GenParams) -> dict[str, Any]:
    """The settings that a picture has of its own, beside the model."""
    return {} if params.clip_skip == getattr(shared.opts, _CLIP, 1) else {_CLIP: params.clip_skip}


def add_recipe(p: Any, plan: Plan) -> None:
    """Let the recipe stand below a request's pictures. The webui writes texts of several lines as JSON does, and a canonical text
    ends with a line break. The table is a new one: the one that is there may be that of other requests too."""
    p.extra_generation_params = {**p.extra_generation_params, RECIPE: plan.recipe.canonical()}


def without_recipe(infotext: str, plan: Plan) -> str:
    """What stands below a picture, but for the recipe that `add_recipe` has put there."""
    return infotext.replace(f", {RECIPE}: {json.dumps(plan.recipe.canonical(), ensure_ascii=False)}", "", 1)


def make(p: Any, info: MergedInfo) -> Any:
    """Let the webui carry out a request with a merge: what `process_images` returns. The caller is in the queue.

    The user's settings are then as they were, or as the user has changed them meanwhile; the user's model is loaded again when
    somebody needs it.

    Raises:
        MergeError: there is no such picture; Interrupted where the user did not want it any more.
    """
    info.register()  # a list that was made anew since has it no longer
    p.override_settings = {**p.override_settings, CHOSEN: info.title}
    check_settings(p.override_settings)
    with _settings_restored(p):
        try:
            with contextlib.closing(p):
                processed = processing.process_images(p)
        except Exception as error:
            raise failure(error) from error
    if is_interrupted():
        raise Interrupted(STOPPED)
    wanted = p.n_iter * p.batch_size
    if len(processed.images) - processed.index_of_first_image < wanted:
        raise MergeError(f"the webui made {len(processed.images)} pictures of {wanted}. Try again.")
    if p.sd_model_hash != info.shorthash or not is_loaded(p, info):
        raise MergeError(OTHER_MODEL)
    return processed


def is_loaded(p: Any, info: MergedInfo) -> bool:
    """Whether the loaded model is the merge, when a request has sampled; where it asks for a second model it cannot be told."""
    return changes_models(p) or sd_models.model_data.sd_model.sd_model_checkpoint == info.filename


def failure(error: Exception) -> MergeError:
    """What the webui's failure to load or to draw a merge is to the user; the console gets the rest."""
    if isinstance(error, MergeError) and not isinstance(error.__context__, Exception):
        return error
    # Where the webui could not load the model before again, as it was a merge that is gone, its own error came first.
    first = error.__context__ if isinstance(error, MergeError) else error
    errors.report("ChillyMerge: the webui could not load or draw a merge", exc_info=True)
    return MergeError(_said(first))


def check_settings(settings: Iterable[str]) -> None:
    """MergeError where the webui was started so that a picture cannot have settings of its own."""
    for name in settings:
        if not (flag := frozen_by(name)):
            continue
        if name == CHOSEN:
            raise MergeError(
                f"the webui was started with {flag}, so pictures can be made with the chosen model alone. Saving works."
            )
        label = getattr(shared.opts.data_labels.get(name), "label", name)
        raise MergeError(f"the webui was started with {flag}: leave '{label}' as the webui's settings have it.")


def frozen_by(name: str) -> str:
    """The flag of the webui's start that forbids to change a setting; else empty."""
    options = shared.cmd_opts
    if getattr(options, "freeze_settings", False):
        return "--freeze-settings"
    if name in _listed(options, "freeze_specific_settings"):
        return "--freeze-specific-settings"
    section = getattr(shared.opts.data_labels.get(name), "section", None) or ("",)
    return "--freeze-settings-in-sections" if section[0] in _listed(options, "freeze_settings_in_sections") else ""


def _listed(options: Any, flag: str) -> set[str]:
    return {each.strip() for each in (getattr(options, flag, None) or "").split(",")} - {""}


def notes_on(processed: Any) -> Iterator[str]:
    """What of a picture is not the merge's, and what the webui says of it."""
    if sd_vae.loaded_vae_file:
        name = sd_vae.get_filename(sd_vae.loaded_vae_file)
        yield f"the picture was decoded by the VAE {name} of the webui's settings, not by that of the merge."
    unet = getattr(sd_unet, "current_unet", None)
    if unet is not None:
        label = getattr(getattr(unet, "option", None), "label", "of the webui's settings")
        yield f"the U-Net '{label}' stood in for that of the merge: choose SD Unet None in the webui's settings."
    yield from filter(None, (processed.comments or "").splitlines())


def heal() -> None:
    """Load the user's model where the webui was left without a whole one; all else is as it was. The caller is in the queue."""
    devices.torch_gc()
    data = sd_models.model_data
    if not data.was_loaded_at_least_once:  # the webui loads it when it needs one
        return
    if data.sd_model is None or not data.loaded_sd_models or sd_hijack.model_hijack.layers is None:
        try:
            sd_models.reload_model_weights(forced_reload=True)
        except Exception:
            errors.report("ChillyMerge: the model could not be loaded again", exc_info=True)


def changes_models(p: Any) -> bool:
    """Whether a request asks for a second model, which is then the loaded one at its end."""
    names = getattr(p, "refiner_checkpoint", None), getattr(p, "hr_checkpoint_name", None)
    return any(name not in (None, "", "None", "none", "Use same checkpoint") for name in names)


@contextlib.contextmanager
def _settings_restored(p: Any) -> Iterator[None]:
    """The settings that a request overrides, afterwards as before; what the user has changed meanwhile stays changed. The
    webui would undo that too, so it is told to leave them."""
    data = shared.opts.data
    own = {**p.override_settings, _HASH: None}
    before = {
        name: data.get(name, shared.opts.get_default(name)) for name in own if name in shared.opts.data_labels or name in data
    }
    p.override_settings_restore_afterwards = False
    remember_choice(before.get(CHOSEN))
    model = sd_models.model_data.sd_model
    loaded = model and model.sd_checkpoint_info.title
    try:
        yield
    except BaseException:
        # Where it cannot load the merge, the webui loads what was loaded before, another merge perhaps, and chooses that too.
        if loaded and data.get(CHOSEN) == loaded:
            data[CHOSEN] = own[CHOSEN]
        _restore(before, own)
        heal()
        raise
    _restore(before, own)


def _restore(before: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    data = shared.opts.data
    for name, value in before.items():
        if name == _HASH:
            if str(data.get(name)).startswith(MARK):
                data[name] = value
        elif data.get(name) == own[name]:
            data[name] = value


def schedulers() -> tuple[str, ...]:
    """The schedules that a request can ask for beside its sampler; older webuis have them in the samplers' names."""
    if find_spec("modules.sd_schedulers") is None:
        return ()
    from modules import sd_schedulers

    return tuple(each.label for each in sd_schedulers.schedulers)


def styles() -> tuple[str, ...]:
    """The user's styles, without the lines that part those of several files."""
    known = getattr(shared.prompt_styles, "styles", {})
    return tuple(name for name, style in known.items() if style.prompt is not None or style.negative_prompt is not None)


def _sampler(params: GenParams) -> tuple[str, str]:
    """The webui's sampler and schedule; a sampler's name may have both."""
    split = getattr(sd_samplers, "get_sampler_and_scheduler", None)
    return split(params.sampler, params.scheduler or None) if split else (params.sampler, "Automatic")


def _said(error: BaseException | None) -> str:
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST_ERROR]}".removesuffix(": ").removesuffix(".")
    if "outofmemory" in type(error).__name__.lower() or "out of memory" in said.lower():
        return "the webui had too little memory for the picture. Make it smaller, or start the webui with --medvram."
    return f"the webui made no picture: {said}. The console has more."
