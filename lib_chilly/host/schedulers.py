"""Samplers under the names that the webui's users know, made of diffusers' schedulers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import RecipeError
from .parts import import_diffusers

_KARRAS = {"use_karras_sigmas": True}
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", _KARRAS),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", _SDE),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", {**_SDE, **_KARRAS}),
    "DDIM": ("DDIMScheduler", {"timestep_spacing": "leading"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
SAMPLERS = tuple(_SAMPLERS)

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
_COMMON = {**_NOISE, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "linspace"}


def make_scheduler(sampler: str, predicts_v: bool, has_zero_snr: bool) -> Any:
    """diffusers' scheduler of that name, for a model's noise.

    Args:
        has_zero_snr: whether the model was trained down to no signal at all.

    Raises:
        RecipeError: there is no such sampler.
    """
    if sampler not in _SAMPLERS:
        raise RecipeError(f"there is no sampler '{sampler}' here. There are {', '.join(SAMPLERS)}.")
    diffusers, _ = import_diffusers()
    name, special = _SAMPLERS[sampler]
    scheduler = getattr(diffusers, name)
    options = {**_COMMON, **special, "prediction_type": "v_prediction" if predicts_v else "epsilon"}
    if has_zero_snr:
        options |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    known = inspect.signature(scheduler.__init__).parameters
    return scheduler(**{option: value for option, value in options.items() if option in known})
