"""Small checkpoints that diffusers can run: an architecture's true keys, widths reduced as far as its layers allow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lib_chilly.architecture import known_keys, load

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
