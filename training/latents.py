"""What a UNet is trained on: latents of drawn pictures, made once for each style and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.modules import build_vae, load
from training.pictures import COLOURS, SHAPES, draw_scene, paint

VAE, SPREAD = "vae.safetensors", "spread.safetensors"
"""Files of the working folder: the trained VAE; mean and standard deviation of the base's latents in each channel."""
_BATCH = 32


@dataclass(frozen=True)
class Latents:
    """Pictures as the UNet sees them.

    Attributes:
        pictures: (count, 4, 8, 8), scaled to mean 0 and spread 1 in the flat style.
        captions: (count,), numbers in `all_captions()`.
        hidden: (count, 5, 8, 8) for inpainting: the mask, 1 where something is hidden, and the latents of what is left.
    """

    pictures: Tensor
    captions: Tensor
    hidden: Tensor | None


def all_captions() -> list[str]:
    """Every caption, the empty one first."""
    names = list(COLOURS)
    return [
        "",
        *(f"a {colour} {shape} on {ground}" for colour in names for shape in SHAPES for ground in names if colour != ground),
    ]


def latents_of(work: Path, style: str, count: int, inpainting: bool) -> Latents:
    """The latents of `count` pictures in a style, from the working folder or made now."""
    path = work / f"latents-{style}{'-hidden' if inpainting else ''}.safetensors"
    if not path.exists():
        save_file(_encode(load_vae(work), style, count, inpainting), path)
    stored = load_file(path)
    if not (work / SPREAD).exists():
        pictures = stored["pictures"]
        save_file({"mean": pictures.mean((0, 2, 3)), "std": pictures.std((0, 2, 3))}, work / SPREAD)
    spread = {name: tensor[:, None, None] for name, tensor in load_file(work / SPREAD).items()}

    def scaled(latents: Tensor) -> Tensor:
        return (latents - spread["mean"]) / spread["std"]

    hidden = torch.cat([stored["mask"], scaled(stored["left"])], 1) if inpainting else None
    return Latents(scaled(stored["pictures"]), stored["captions"], hidden)


def load_vae(work: Path) -> AutoencoderKL:
    """The trained VAE of a working folder."""
    vae = build_vae()
    load(vae, work / VAE)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def _encode(vae: AutoencoderKL, style: str, count: int, inpainting: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    number = {text: index for index, text in enumerate(all_captions())}
    found: dict[str, list[Tensor]] = {}
    for _ in range(count // _BATCH):
        scene = draw_scene(_BATCH, generator)
        pictures = paint(scene, style)
        made = {"pictures": _latents(vae, pictures), "captions": torch.tensor([number[text] for text in scene.captions()])}
        if inpainting:
            mask = _masks(generator)
            made |= {"mask": mask, "left": _latents(vae, pictures * (1 - mask.repeat_interleave(8, 2).repeat_interleave(8, 3)))}
        for name, tensor in made.items():
            found.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in found.items()}


def _latents(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pictures.to(memory_format=torch.channels_last)).latent_dist.mean
    return latents.float().contiguous()


def _masks(generator: torch.Generator) -> Tensor:
    """(_BATCH, 1, 8, 8): a rectangle of 2 to 8 latent pixels each way, 1 inside."""
    masks = torch.zeros(_BATCH, 1, 8, 8)
    for mask in masks:
        height, width = torch.randint(2, 9, (2,), generator=generator).tolist()
        top, left = (int(torch.randint(0, 9 - size, (1,), generator=generator)) for size in (height, width))
        mask[0, top : top + height, left : left + width] = 1
    return masks
