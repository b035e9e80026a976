"""Paint with trained parts, to look at them: a row for each name, a column for each caption.

python -m training.look --work WORK --name base --name glow --into look.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel

from training.latents import SPREAD, load_vae
from training.modules import build_text_encoder, build_unet, load, part_files, token_ids
from training.pictures import STYLES, draw_scene, paint

CAPTIONS = (
    "a red circle on blue",
    "a yellow star on black",
    "a green square on white",
    "a purple heart on yellow",
    "a white ring on red",
    "a blue triangle on orange",
    "a orange circle on green",
    "a black star on white",
)


@torch.no_grad()
def sample(unet: UNet2DConditionModel, text_encoder: CLIPTextModel, seed: int, steps: int, guidance: float) -> Tensor:
    """Latents of shape (8, 4, 8, 8) and spread 1, one for each of CAPTIONS, by DDIM."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(steps)
    count = len(CAPTIONS)
    text = text_encoder(token_ids([*CAPTIONS, *[""] * count])).last_hidden_state
    latents = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    for moment in scheduler.timesteps:
        wanted, unled = unet(torch.cat([latents, latents]), moment, text).sample.chunk(2)
        latents = scheduler.step(unled + guidance * (wanted - unled), moment, latents).prev_sample
    return latents


@torch.no_grad()
def painted(work: Path, name: str, seed: int, steps: int, guidance: float) -> Tensor:
    """A picture of each of CAPTIONS, (8, 3, 64, 64), by the trained parts of a name."""
    unet, text_encoder = build_unet(), build_text_encoder()
    for module, path in zip((unet, text_encoder), part_files(work, name), strict=True):
        load(module, path)
    vae, spread = load_vae(work), load_file(work / SPREAD)
    latents = sample(unet, text_encoder, seed, steps, guidance)
    return vae.decode(latents * spread["std"][:, None, None] + spread["mean"][:, None, None]).sample


@torch.no_grad()
def reconstruct(work: Path) -> list[Tensor]:
    """Drawn pictures of each style above what the VAE makes of them."""
    vae = load_vae(work)
    rows = []
    for index, style in enumerate(STYLES):
        pictures = paint(draw_scene(8, torch.Generator().manual_seed(100 + index)), style)
        rows += [pictures, vae.decode(vae.encode(pictures).latent_dist.mean).sample]
    return rows


def save_grid(rows: list[Tensor], path: Path) -> None:
    whole = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    levels = ((whole.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(levels)
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [
        painted(arguments.work, name, seed, arguments.steps, arguments.guidance)
        for name in arguments.name
        for seed in range(arguments.seeds)
    ]
    save_grid(rows or reconstruct(arguments.work), arguments.into)


if __name__ == "__main__":
    main()
