"""How long a picture will take on this processor, said beforehand: multiplications out of shapes, over the speed measured."""

from __future__ import annotations

import functools
import re
import time

import torch

from .base import GenParams
from .configs import Shapes
from .sampling import LATENT_PIXELS
from .tokens import LENGTH

_CALL_SECONDS = 0.04
"""What one pass through a module takes beside its arithmetic, as measured."""
_LARGE_SECONDS = 20.0
_SMALL_WORK = 2e10
"""Multiplications of a pass below which threads that wait for each other cost more than they bring; on busy processors a lot."""


def is_small(shapes: Shapes, params: GenParams) -> bool:
    """Whether a picture is made faster by one thread than by several."""
    return max(_work(shapes, params, "unet/", 0), _work(shapes, params, "vae/decoder.", 3)) < _SMALL_WORK


class Clock:
    """Seconds of pictures; what was measured corrects what is computed."""

    def __init__(self) -> None:
        self._correction = 1.0

    def estimate(self, shapes: Shapes, params: GenParams) -> tuple[float, float]:
        """(seconds of one step, seconds of everything else but loading) of a picture."""
        speed = _multiplications_a_second()
        passes = 2 if params.cfg > 1 else 1
        step = _CALL_SECONDS + passes * _work(shapes, params, "unet/", 0) / speed
        decoding = _CALL_SECONDS + _work(shapes, params, "vae/decoder.", 3) / speed
        return self._correction * step, self._correction * decoding

    def learn(self, shapes: Shapes, params: GenParams, seconds_a_step: float) -> None:
        """Take what a step really took into account."""
        self._correction *= seconds_a_step / self.estimate(shapes, params)[0]


def in_words(step: float, rest: float, params: GenParams) -> str:
    """What an estimate comes to."""
    total = step * params.steps + rest
    if total < _LARGE_SECONDS:
        return f"about {max(1, round(total))} s."
    words = f"about {_duration(total)} on this processor: {params.steps} steps of {_duration(step)}, {_duration(rest)} more."
    fewer = params.width * params.height > 256 * 256
    return words + (" 256 x 256 pixels or fewer steps take less." if fewer else " Fewer steps take less.")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _work(shapes: Shapes, params: GenParams, prefix: str, finest: int) -> float:
    """Multiplications of one pass; `finest` is how often its last level doubles the latents' size."""
    latents = (params.width // LATENT_PIXELS) * (params.height // LATENT_PIXELS)
    levels = 1 + max((int(match[1]) for name in shapes if (match := re.match(rf"{prefix}up_blocks\.(\d+)\.", name))), default=0)
    matrices = {name: shape for name, shape in shapes.items() if name.startswith(prefix) and len(shape) > 1}
    return sum(_weights_work(name[len(prefix) :], shape, latents * 4**finest, levels) for name, shape in matrices.items())


def _weights_work(name: str, shape: tuple[int, ...], positions: int, levels: int) -> float:
    """Of one matrix or convolution; with its query matrix an attention's own multiplications are counted."""
    level = 0
    if match := re.match(r"(down|up)_blocks\.(\d+)\.", name):
        level = int(match[2]) if match[1] == "down" else levels - 1 - int(match[2])
    elif name.startswith("mid_block"):
        level = levels - 1
    here = positions / 4**level
    size = float(torch.Size(shape).numel())
    if "time_emb" in name or "add_embedding" in name:
        return size
    if re.search(r"attn2\.to_[kv]\.", name):
        return size * LENGTH
    attention = 0.0
    if re.search(r"(attn1|attentions\.0)\.to_q\.", name):
        attention = 2 * here * here * shape[0]
    elif ".attn2.to_q." in name:
        attention = 2 * here * LENGTH * shape[0]
    return size * here + attention


@functools.cache
def _multiplications_a_second() -> float:
    """Of a convolution such as a U-Net has most, on all cores."""
    image, weight = torch.randn(2, 320, 32, 32), torch.randn(320, 320, 3, 3)
    with torch.inference_mode():
        torch.nn.functional.conv2d(image, weight, padding=1)
        started = time.perf_counter()
        torch.nn.functional.conv2d(image, weight, padding=1)
        torch.nn.functional.conv2d(image, weight, padding=1)
    return 2 * weight.numel() * image.shape[0] * 32 * 32 / (time.perf_counter() - started)
