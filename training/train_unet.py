"""Train the UNet of the family's base or of a member and, on request, its text encoder.

The loss is the mean squared error of the predicted noise, weighted by min(SNR, 5) / SNR (Hang et al. 2023, arXiv 2303.09556), so
that shapes and colours are learnt before the last detail; what is kept is a running average of the weights.

    python -m training.train_unet --work WORK --name base --style flat --minutes 120
    python -m training.train_unet --work WORK --name glow --style glow --minutes 10 --start WORK/base --with-text
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from training.latents import Latents, all_captions, latents_of
from training.modules import build_text_encoder, build_unet, load, part_files, save, token_ids

_ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
_MOST_SNR = 5
_UNCAPTIONED = 0.1
_AVERAGING = 0.998
_SAVE_SECONDS = 120


class Lesson:
    """Batches of one style, and how wrong a UNet is about one."""

    def __init__(self, latents: Latents, text_encoder: CLIPTextModel, with_text: bool, batch: int, seed: int):
        self._latents, self._text_encoder, self._with_text, self._batch = latents, text_encoder, with_text, batch
        self._generator = torch.Generator().manual_seed(seed)
        self._ids = token_ids(all_captions())
        with torch.no_grad():
            self._known = text_encoder(self._ids).last_hidden_state

    def loss(self, unet: UNet2DConditionModel) -> Tensor:
        """Of the next batch, at moments drawn evenly; a tenth of the captions is left out, for guidance."""
        rows = torch.randint(0, len(self._latents.pictures), (self._batch,), generator=self._generator)
        pictures = self._latents.pictures[rows]
        noise = torch.randn(pictures.shape, generator=self._generator)
        moment = torch.randint(0, len(_ALPHAS), (self._batch,), generator=self._generator)
        kept = _ALPHAS[moment]
        noisy = kept.sqrt()[:, None, None, None] * pictures + (1 - kept).sqrt()[:, None, None, None] * noise
        if self._latents.hidden is not None:
            noisy = torch.cat([noisy, self._latents.hidden[rows]], 1)
        guess = unet(noisy, moment, self._text(self._latents.captions[rows])).sample
        ratio = kept / (1 - kept)
        return (F.mse_loss(guess, noise, reduction="none").mean((1, 2, 3)) * ratio.clamp(max=_MOST_SNR) / ratio).mean()

    def _text(self, captions: Tensor) -> Tensor:
        left = torch.where(torch.rand(len(captions), generator=self._generator) < _UNCAPTIONED, 0, captions)
        return self._text_encoder(self._ids[left]).last_hidden_state if self._with_text else self._known[left]


def train(
    unet: UNet2DConditionModel, trained: torch.nn.ModuleList, lesson: Lesson, seconds: float, peak: float
) -> Iterator[torch.nn.ModuleList]:
    """Train for so much processor time: warm-up, then a straight line down. Gives the average now and then, and at the end."""
    average = copy.deepcopy(trained).requires_grad_(False)
    parameters, averages = list(trained.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(parameters, peak, betas=(0.9, 0.99), weight_decay=1e-3)
    start, step, shown, saved = time.process_time(), 0, 0.0, 0.0
    while (spent := time.process_time() - start) < seconds:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 100) * (1 - spent / seconds) + 1e-6
        loss = lesson.loss(unet)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - min(_AVERAGING, step / (step + 20)))
        shown = loss.item() if step == 1 else 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step}, {spent:.0f} s: loss {shown:.4f}", flush=True)
        if spent - saved > _SAVE_SECONDS:
            saved = spent
            yield average
    yield average


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the trained VAE")
    parser.add_argument("--name", required=True, help="of what is trained, in the working folder")
    parser.add_argument("--style", default="flat")
    parser.add_argument("--minutes", type=float, required=True, help="of processor time")
    parser.add_argument("--start", type=Path, help="what to go on from, as a path without _unet.safetensors")
    parser.add_argument("--with-text", action="store_true", help="train the text encoder, too")
    parser.add_argument("--inpainting", action="store_true")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--peak", type=float, default=1e-3, help="learning rate after the warm-up")
    parser.add_argument("--pictures", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    unet, text_encoder = build_unet(9 if arguments.inpainting else 4), build_text_encoder()
    if arguments.start:
        for module, path in zip((unet, text_encoder), part_files(arguments.start.parent, arguments.start.name), strict=True):
            load(module, path)
    text_encoder.requires_grad_(arguments.with_text)
    latents = latents_of(arguments.work, arguments.style, arguments.pictures, arguments.inpainting)
    lesson = Lesson(latents, text_encoder, arguments.with_text, arguments.batch, arguments.seed)
    trained = torch.nn.ModuleList([unet, text_encoder] if arguments.with_text else [unet])
    for average in train(unet, trained, lesson, arguments.minutes * 60, arguments.peak):
        for module, path in zip([*average, text_encoder], part_files(arguments.work, arguments.name), strict=False):
            save(module, path)


if __name__ == "__main__":
    main()
