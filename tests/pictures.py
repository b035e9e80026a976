"""Small checkpoints that diffusers can run: an architecture's true keys, widths reduced as far as its layers allow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lib_chilly.architecture import known_keys, load
from lib_chilly.host.base import GenParams, GenResult, Progress
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe

SMALL = {"width": 64, "height": 64, "steps": 2, "sampler": "Euler", "cfg": 3.0}
"""Parameters of a picture that takes a moment."""

_WIDTHS = {
    "unet": {768: 96, 1024: 128, 2048: 256, 2816: 208},
    "vae": {128: 32, 256: 64, 512: 128},
    "text_encoder": {768: 96, 3072: 384, 49408: 514, 1024: 128, 4096: 512},
    "text_encoder_2": {1280: 160, 3840: 480, 5120: 640, 49408: 514},
}


def reduced_shape(architecture: str, key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    component = load(architecture).component_of(key) or ""

    def width(size: int) -> int:
        return size // 10 if component == "unet" and size % 320 == 0 else _WIDTHS.get(component, {}).get(size, size)

    return (*map(width, shape[:2]), *shape[2:])


def picturable(
    path: Path,
    architecture: str = "sd1",
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    without: str = "-",
    change: Callable[[dict[str, torch.Tensor]], None] = lambda tensors: None,
) -> Path:
    """Write a checkpoint of random weights; its pictures are coloured noise that reacts to every weight.

    Args:
        without: start of keys to leave out.
        change: what is done to the tensors before.
    """
    tensors = {}
    for key, (kind, shape) in known_keys(architecture).items():
        if key.startswith(without):
            continue
        shape = reduced_shape(architecture, key, shape)
        draw = np.random.default_rng(int(hashlib.sha256(f"{seed} {key}".encode()).hexdigest()[:12], 16))
        values = torch.from_numpy(draw.standard_normal(shape, dtype=np.float32))
        if kind == "int64":
            tensors[key] = torch.arange(shape[-1]).reshape(shape)
        elif len(shape) == 1:
            is_norm = re.search(r"norm|ln_|(in|out)_layers\.0\.|\.out\.0\.", key) and key.endswith("weight")
            tensors[key] = (values * 0.1 + (1 if is_norm else 0)).to(dtype)
        else:
            tensors[key] = (values * max(1, torch.Size(shape[1:]).numel()) ** -0.5).to(dtype)
    change(tensors)
    save_file(tensors, path)
    return path


def plan_on(host: StandaloneHost, recipe: str, **options: str) -> Plan:
    return make_plan(parse_recipe(recipe), host.library(), **options)


def picture(
    host: StandaloneHost, recipe: str, prompt: str = "a red circle on blue", progress: Progress | None = None, **given: object
) -> np.ndarray:
    """Pixels of a recipe's result; of a model by itself as it is stored.

    Args:
        given: parameters of the picture and save options.
    """
    return np.asarray(shown(host, recipe, prompt, progress, **given).image)


def shown(
    host: StandaloneHost, recipe: str, prompt: str = "a red circle on blue", progress: Progress | None = None, **given: object
) -> GenResult:
    fields = {name: value for name, value in given.items() if name in GenParams.__dataclass_fields__}
    options = {name: str(value) for name, value in given.items() if name not in fields}
    if "(" not in recipe and " " not in recipe:
        options.setdefault("dtype", "source")
    return host.preview(plan_on(host, recipe, **options), GenParams(prompt, **{**SMALL, **fields}), progress)  # type: ignore[arg-type]


def family_pair(session: pytest.TempPathFactory, architecture: str = "sd1") -> Path:
    """The folder that holds the models `a` and `b` of an architecture, made once a session."""
    folder = session.getbasetemp() / f"pictures-{architecture}"
    if not folder.exists():
        folder.mkdir()
        for seed, name in enumerate("ab"):
            picturable(folder / f"{name}.safetensors", architecture, seed)
    return folder
