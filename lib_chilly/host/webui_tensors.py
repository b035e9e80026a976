"""A merge's tensors as the webui needs them: all of the model, in numbers that it can read."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..architecture import known_keys
from ..errors import MergeError
from ..header import counted, quoted
from ..plan import Plan

_SHOWN = ("sd1", "sd2", "sdxl")
_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_WORDS = {"vae": "VAE", "unet": "U-Net"}


def check_can_be_shown(plan: Plan, has_own_vae: bool) -> None:
    """MergeError where the webui would make no picture of a plan's result, or one that is partly of the model before.

    Args:
        has_own_vae: whether the user has chosen a VAE, which is then taken for every model.
    """
    architecture = plan.architecture
    if architecture.name not in _SHOWN:
        raise MergeError(f"the webui makes no pictures of {architecture.title} models here. Saving works.")
    keys = {architecture.canonical_key(job.key) for job in plan.jobs}
    wanted = [
        key for key in known_keys(architecture.name) if not architecture.is_copied(key) and not architecture.is_dropped(key)
    ]
    missing = [key for key in wanted if key not in keys]
    of_vae = [key for key in missing if architecture.component_of(key) == "vae"]
    if of_vae and not has_own_vae:
        raise MergeError(
            "the result has no whole VAE, so the webui would use that of the model before. Choose a VAE in its settings, or one "
            "for the recipe: save(vae=...)."
        )
    others = [key for key in missing if key not in of_vae]
    if others:
        component = architecture.component_of(others[0]) or "model"
        raise MergeError(
            f"{counted(len(others), 'tensor')} of the {_WORDS.get(component, component.replace('_', ' '))} "
            f"{'is' if len(others) == 1 else 'are'} missing, {quoted(others[0])} first, and the webui would use those of the "
            "model before. Use a whole model."
        )


def readable(tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The same numbers without fp8, which the webui cannot compute with, and of scaled fp8 what it stands for."""
    if not any(tensor.dtype in _FP8 for tensor in tensors.values()):
        return tensors
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("scale_weight") or key == "scaled_fp8":
            continue
        scale = tensors.get(key.removesuffix("weight") + "scale_weight")
        if tensor.dtype in _FP8:
            tensor = tensor.to(torch.float32)
            tensor = (tensor if scale is None else tensor.mul_(scale)).to(torch.float16)
        found[key] = tensor
    return found
