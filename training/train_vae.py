"""Train the tiny family's VAE: 64 x 64 pictures to 4 x 8 x 8 latents and back.

The first three channels of a latent are led towards the average colour of its 8 x 8 pixels, the fourth is free: in a latent
space that looks like a small picture, a small UNet learns fast, and between two latents lies what lies between two pictures.

    python -m training.train_vae --minutes 12 25 --threads 2 --out WORK
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from training.pictures import STYLES, draw_scene, paint

WIDTHS = (96, 64, 96, 96)
"""Channels by level. Fewer than 96 at full size would leave GroupNorm's 32 groups too few channels to keep a flat colour."""

_NOISE = 0.08
_COLOUR_SCALE = 1.5


def build_vae() -> AutoencoderKL:
    """The VAE with fresh weights: each residual block starts as the identity."""
    vae = AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    )
    for name, parameter in vae.named_parameters():
        if ".conv2." in name or ".to_out.0." in name:
            torch.nn.init.zeros_(parameter)
    return vae.to(memory_format=torch.channels_last)


def loss_of(vae: AutoencoderKL, pictures: Tensor, led: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(whole loss, mean absolute error of the pictures); `led` is the weight of the colour channels' lead."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pictures).latent_dist.mean.float()
        noisy = latents + _NOISE * torch.randn(latents.shape, generator=generator)
        painted = vae.decode(noisy).sample
    painted = painted.float()
    error = F.l1_loss(painted, pictures)
    edges = F.l1_loss(painted.diff(dim=-1), pictures.diff(dim=-1)) + F.l1_loss(painted.diff(dim=-2), pictures.diff(dim=-2))
    colours = _COLOUR_SCALE * F.avg_pool2d(pictures, 8)
    lead = F.l1_loss(latents[:, :3], colours)
    bound = F.relu(latents[:, 3].abs() - 2).mean() + F.relu(0.7 - latents[:, 3].std())
    return error + edges + led * lead + 0.1 * bound, error


def train(vae, average, size, batch, seconds, peak, generator, save) -> None:
    """One stage at one picture size, for so many seconds: warm-up, then a straight line down."""
    optimiser = torch.optim.AdamW(vae.parameters(), peak, betas=(0.9, 0.99), weight_decay=1e-4)
    start, step, shown = time.process_time(), 0, 0.0
    while (spent := (time.process_time() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 50) * (1 - spent) + 1e-6
        each = max(1, batch // len(STYLES))
        pictures = torch.cat([paint(draw_scene(each, generator), style, size) for style in STYLES])
        whole, error = loss_of(vae, pictures.to(memory_format=torch.channels_last), 0.5 * (1 - spent) + 0.1, generator)
        optimiser.zero_grad()
        whole.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.995, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(vae.parameters()), 1 - decay)
        shown = error.item() if step == 1 else 0.95 * shown + 0.05 * error.item()
        if step % 50 == 0:
            now = time.process_time() - start
            print(f"{size} px, step {step}, {now:.0f} s: error {shown:.4f}, whole {whole.item():.4f}", flush=True)
            save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs=2, default=(12, 25), help="of processor time, at 32 and at 64 pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--from", dest="start", type=Path, help="weights to go on from")
    parser.add_argument("--peak", type=float, default=1.5e-3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1 + int(time.time()) % 1000 if arguments.start else 1)
    vae = build_vae()
    if arguments.start:
        from safetensors.torch import load_file

        vae.load_state_dict(load_file(arguments.start))
    average = copy.deepcopy(vae).requires_grad_(False)
    arguments.out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        save_file({key: tensor.contiguous() for key, tensor in average.state_dict().items()}, arguments.out / "vae.safetensors")

    small, full = arguments.minutes
    if small:
        train(vae, average, 32, 16, small * 60, arguments.peak, generator, save)
    train(vae, average, 64, 8, full * 60, arguments.peak * 0.6, generator, save)
    save()


if __name__ == "__main__":
    main()
