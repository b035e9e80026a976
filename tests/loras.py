"""Small LoRA files for tests, and what their modules make: float64 numpy after the formulas, nothing of what they judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from checkpoints import draw, stored, write_file

from lib_chilly.lora_delta import delta
from lib_chilly.lora_file import LoraFile, open_lora
from lib_chilly.lora_reading import OpenLora

Arrays = dict[str, np.ndarray]
"""A module's tensors: how their keys end to what they hold."""

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
LINEAR_KEY = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
KERNEL = "lora_unet_down_blocks_0_resnets_0_conv1"
KERNEL_KEY = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"


def drawn(seed: int, name: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers that fp16 and fp32 hold exactly."""
    return np.asarray(draw(seed, name, shape, 0.3), np.float16).astype(np.float64)


def tensors(seed: int, **shapes: Sequence[int]) -> Arrays:
    """A module's tensors by the ends of their keys, `__` for a dot."""
    return {name.replace("__", "."): drawn(seed, name, shape) for name, shape in shapes.items()}


def lora(seed: int, rows: int, columns: int, rank: int, window: Sequence[int] = ()) -> Arrays:
    ones = [1] * len(window)
    return tensors(seed, lora_up__weight=(rows, rank, *ones), lora_down__weight=(rank, columns, *window))


def write_lora(path: Path, dtype: str = "fp32", **modules: Mapping[str, np.ndarray]) -> Path:
    """Write a file with modules by the names of their layers."""
    held = {f"{layer}.{end}": stored(values, dtype) for layer, own in modules.items() for end, values in own.items()}
    return write_file(path, held)


def delta_of(
    file: LoraFile | Path,
    key: str,
    shape: Sequence[int],
    strength: float = 1.0,
    base: np.ndarray | None = None,
    **options: object,
) -> torch.Tensor:
    """What a file adds to the weight `key`."""
    found = open_lora(file) if isinstance(file, Path) else file
    old = None if base is None else torch.from_numpy(base)
    with OpenLora(found) as opened:
        modules = found.modules[key]
        return delta(opened.read(modules), modules, shape, strength, old, **options)  # type: ignore[arg-type]
