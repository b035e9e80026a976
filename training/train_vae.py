"""Train the tiny family's VAE: 64 x 64 pictures to 4 x 8 x 8 latents and back.

The first three channels of a latent are led towards the average colour of its 8 x 8 pixels, the fourth is free: in a latent
space that looks like a small picture, a small UNet learns fast, and between two latents lies what lies between two pictures.

    python -m training.train_vae --work WORK --minutes 15 60
    python -m training.train_vae --work WORK --minutes 0 60 --decoder-only
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from training.latents import VAE
from training.modules import build_vae, load, save
from training.pictures import STYLES, draw_scene, paint

_NOISE = 0.08
_COLOUR_SCALE = 1.5
_AVERAGING = 0.995


def loss_of(vae: AutoencoderKL, pictures: Tensor, lead: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(what is to become small, mean absolute error of the pictures); `lead` is the weight of the colour channels' lead."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pictures).latent_dist.mean.float()
        painted = vae.decode(latents + _NOISE * torch.randn(latents.shape, generator=generator)).sample
    painted = painted.float()
    error = F.l1_loss(painted, pictures)
    edges = F.l1_loss(painted.diff(dim=-1), pictures.diff(dim=-1)) + F.l1_loss(painted.diff(dim=-2), pictures.diff(dim=-2))
    led = F.l1_loss(latents[:, :3], _COLOUR_SCALE * F.avg_pool2d(pictures, 8))
    bound = F.relu(latents[:, 3].abs() - 2).mean() + F.relu(0.7 - latents[:, 3].std())
    return error + edges + lead * led + 0.1 * bound, error


def train(
    vae: AutoencoderKL, size: int, batch: int, seconds: float, peak: float, generator: torch.Generator
) -> Iterator[AutoencoderKL]:
    """One stage at one picture size, for so much processor time: warm-up, then a line down. Gives averages now and then."""
    average = copy.deepcopy(vae).requires_grad_(False)
    parameters = [parameter for parameter in vae.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, peak, betas=(0.9, 0.99), weight_decay=1e-4)
    start, step, shown = time.process_time(), 0, 0.0
    while (spent := (time.process_time() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 50) * (1 - spent) + 1e-6
        pictures = torch.cat([paint(draw_scene(batch // len(STYLES), generator), style, size) for style in STYLES])
        whole, error = loss_of(vae, pictures.to(memory_format=torch.channels_last), 0.5 * (1 - spent) + 0.1, generator)
        optimiser.zero_grad()
        whole.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(vae.parameters()), 1 - min(_AVERAGING, step / (step + 10)))
        shown = error.item() if step == 1 else 0.95 * shown + 0.05 * error.item()
        if step % 50 == 0:
            print(f"{size} px, step {step}, {spent:.0%}: error {shown:.4f}, whole {whole.item():.4f}", flush=True)
            yield average
    yield average


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that gets the weights")
    parser.add_argument("--minutes", type=float, nargs=2, default=(15, 60), help="of processor time, at 32 and at 64 pixels")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument(
        "--decoder-only", action="store_true", help="leave the latents as they are; goes on from WORK's own weights"
    )
    parser.add_argument("--peak", type=float, default=1.5e-3, help="learning rate at 32 pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    arguments.work.mkdir(parents=True, exist_ok=True)
    vae, path = build_vae(), arguments.work / VAE
    if arguments.start or arguments.decoder_only:
        load(vae, arguments.start or path)
    if arguments.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    small, full = (minutes * 60 for minutes in arguments.minutes)
    for size, batch, seconds, peak in ((32, 16, small, arguments.peak), (64, 8, full, 0.6 * arguments.peak)):
        for average in train(vae, size, batch, seconds, peak, generator) if seconds else ():
            save(average, path)


if __name__ == "__main__":
    main()
