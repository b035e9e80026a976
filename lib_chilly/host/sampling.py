"""Modules and parameters -> picture: the prompt encoded, the noise taken away step by step, the latents decoded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..errors import CheckpointError, RecipeError
from .base import MOST_PIXELS_ON_A_SIDE, GenParams
from .parts import Parts
from .tokens import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

LATENT_PIXELS = 8
"""Pixels on a side of one latent."""
_PADDED_WITH_0 = {"sd2": ("text_encoder",), "sdxl": ("text_encoder_2",)}
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Conditioning:
    """What the U-Net is told of the prompt: without it and with it, one below the other; the prompt's alone where cfg is 1."""

    hidden: torch.Tensor
    added: dict[str, torch.Tensor] | None
    lost: int


def check_params(params: GenParams) -> None:
    """RecipeError where a parameter is out of its range."""
    for name, size in (("width", params.width), ("height", params.height)):
        if not (64 <= size <= MOST_PIXELS_ON_A_SIDE) or size % LATENT_PIXELS:
            raise RecipeError(f"the {name} is {size}; it is a multiple of {LATENT_PIXELS} from 64 to {MOST_PIXELS_ON_A_SIDE}.")
    if not 1 <= params.steps <= _MOST_STEPS:
        raise RecipeError(f"there are {params.steps} steps; 1 to {_MOST_STEPS} can be made.")
    if not 1 <= params.cfg <= 100:
        raise RecipeError(f"the cfg scale is {params.cfg}; it is a number from 1 to 100.")
    if not 1 <= params.clip_skip <= 12:
        raise RecipeError(f"clip skip is {params.clip_skip}; it is a number from 1 to 12.")
    if not 0 <= params.seed < 2**63:
        raise RecipeError(f"the seed is {params.seed}; it is a number from 0 to {2**63 - 1}.")


def encode(parts: Parts, params: GenParams) -> Conditioning:
    """What the text encoders make of both prompts."""
    texts = [params.negative_prompt, params.prompt] if params.cfg > 1 else [params.prompt]
    hidden, pooled, lost = [], None, 0
    for component, module in parts.modules.items():
        if component.startswith("text_encoder"):
            vocabulary = Vocabulary(parts.configs[component]["vocab_size"])
            prompts = [vocabulary.prompt(text) for text in texts]
            lost = max(lost, prompts[-1].lost)
            with_0 = component in _PADDED_WITH_0.get(parts.architecture.name, ())
            ids = torch.tensor([prompt.padded(0 if with_0 else vocabulary.end) for prompt in prompts])
            answer = module(input_ids=ids, output_hidden_states=True)
            hidden.append(_hidden(parts, module, answer, params.clip_skip))
            pooled = getattr(answer, "text_embeds", None)
    joined = torch.cat(hidden, dim=-1)
    if parts.architecture.name != "sdxl":
        return Conditioning(joined, None, lost)
    assert pooled is not None
    if params.cfg > 1 and not params.negative_prompt:  # as such models were trained
        joined[0], pooled[0] = 0, 0
    sizes = torch.tensor([[params.height, params.width, 0, 0, params.height, params.width]], dtype=torch.float32)
    return Conditioning(joined, {"text_embeds": pooled, "time_ids": sizes.repeat(len(texts), 1)}, lost)


def _hidden(parts: Parts, module: torch.nn.Module, answer: Any, clip_skip: int) -> torch.Tensor:
    if parts.architecture.name == "sdxl":
        return answer.hidden_states[-2]
    if parts.architecture.name == "sd2" or clip_skip == 1:
        return answer.last_hidden_state
    norm: Any = next(part for name, part in module.named_modules() if name.endswith("final_layer_norm"))
    return norm(answer.hidden_states[-min(clip_skip, len(answer.hidden_states))])


def sample(
    parts: Parts, params: GenParams, scheduler: Any, conditioning: Conditioning, on_step: Callable[[int], None]
) -> torch.Tensor:
    """The latents of the picture, as the VAE takes them.

    Args:
        on_step: told how many steps are done, before the first and after each; what it raises stops the work.
    """
    unet: Any = parts.modules["unet"]
    generator = torch.Generator().manual_seed(params.seed)
    shape = (1, parts.configs["vae"]["latent_channels"], params.height // LATENT_PIXELS, params.width // LATENT_PIXELS)
    scheduler.set_timesteps(params.steps)
    latents = torch.randn(shape, generator=generator) * scheduler.init_noise_sigma
    masked = _all_masked(parts, params)
    takes = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    on_step(0)
    for number, time in enumerate(scheduler.timesteps):
        given = scheduler.scale_model_input(latents, time)
        given = given if masked is None else torch.cat([given, masked], dim=1)
        given = given.expand(len(conditioning.hidden), -1, -1, -1)
        found = unet(given, time, encoder_hidden_states=conditioning.hidden, added_cond_kwargs=conditioning.added)[0]
        if params.cfg > 1:
            without, with_prompt = found.chunk(2)
            found = without + params.cfg * (with_prompt - without)
        latents = scheduler.step(found, time, latents, **takes)[0]
        on_step(number + 1)
    return latents / parts.configs["vae"]["scaling_factor"]


def _all_masked(parts: Parts, params: GenParams) -> torch.Tensor | None:
    """What an inpainting model is told beside the latents, so that it paints all of the picture; None for ordinary models."""
    channels, latents = parts.configs["unet"]["in_channels"], parts.configs["vae"]["latent_channels"]
    if channels == latents:
        return None
    if channels != 2 * latents + 1:
        raise CheckpointError(f"the U-Net has {channels} input channels; pictures are made with {latents} or {2 * latents + 1}.")
    grey = torch.zeros(1, 3, params.height, params.width)
    vae: Any = parts.modules["vae"]
    hidden = vae.encode(grey).latent_dist.mode() * parts.configs["vae"]["scaling_factor"]
    return torch.cat([torch.ones_like(hidden[:, :1]), hidden], dim=1)


def decode(parts: Parts, latents: torch.Tensor) -> Image:
    """The picture.

    Raises:
        CheckpointError: there are numbers in it that are none, as broken weights give.
    """
    from PIL import Image

    vae: Any = parts.modules["vae"]
    pixels = vae.decode(latents)[0][0]
    if not bool(torch.isfinite(pixels).all()):
        raise CheckpointError(
            "the picture is not finite: the model's weights are broken or too large for float32. Look at them with inspect."
        )
    values = (pixels / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())
