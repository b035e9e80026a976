"""Train the tiny family's UNet (and, on request, its text encoder) on latents of the drawn pictures.

Latents are made once and kept. The loss is the mean squared error of the predicted noise, weighted by min(SNR, 5) / SNR
(Hang et al. 2023, arXiv 2303.09556), so that shapes and colours are learnt before the last detail; what is kept is a running
average of the weights.

    python -m training.train_unet --style flat --minutes 60 --start FOLDER --work WORK --name base
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from training.pictures import COLOURS, SHAPES, draw_scene, paint
from training.train_vae import build_vae
from training.words import END, START, encode

UNET_WIDTHS = (64, 128, 64, 64)
TEXT_WIDTH = 96

_BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHAS = torch.cumprod(1 - _BETAS, 0)


def build_unet(channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        block_out_channels=UNET_WIDTHS,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=32,
    )


def build_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=514,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=END,
            hidden_act="quick_gelu",
        )
    )


def captions() -> list[str]:
    """Every caption, the empty one first."""
    names = list(COLOURS)
    return [""] + [f"a {c} {s} on {g}" for c in names for s in SHAPES for g in names if c != g]


@torch.no_grad()
def make_latents(vae: AutoencoderKL, style: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(latents, caption index) of `count` pictures; the latents as the VAE gives them."""
    generator = torch.Generator().manual_seed(seed)
    index = {text: i for i, text in enumerate(captions())}
    latents, chosen = [], []
    for _ in range(count // 32):
        scene = draw_scene(32, generator)
        pictures = paint(scene, style).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encode(pictures).latent_dist.mean.float())
        chosen.append(torch.tensor([index[text] for text in scene.captions()]))
    return torch.cat(latents).contiguous(), torch.cat(chosen)


def noise_loss(unet, text: Tensor, latents: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(latents.shape, generator=generator)
    moment = torch.randint(0, 1000, (len(latents),), generator=generator)
    kept = ALPHAS[moment][:, None, None, None]
    guess = unet(kept.sqrt() * latents + (1 - kept).sqrt() * noise, moment, text).sample
    ratio = ALPHAS[moment] / (1 - ALPHAS[moment])
    error = F.mse_loss(guess, noise, reduction="none").mean((1, 2, 3))
    return (error * ratio.clamp(max=5) / ratio).mean()


def train(unet, text_encoder, data, seconds, batch, peak, with_text, seed, save) -> None:
    latents, chosen = data
    generator = torch.Generator().manual_seed(seed)
    ids = encode(captions())
    parameters = list(unet.parameters()) + (list(text_encoder.parameters()) if with_text else [])
    text_encoder.requires_grad_(with_text)
    with torch.no_grad():
        known = text_encoder(ids).last_hidden_state
    averages = [copy.deepcopy(unet).requires_grad_(False), copy.deepcopy(text_encoder).requires_grad_(False)]
    kept = [*averages[0].parameters(), *(averages[1].parameters() if with_text else [])]
    optimiser = torch.optim.AdamW(parameters, peak, betas=(0.9, 0.99), weight_decay=1e-3)
    start, step, shown, saved = time.process_time(), 0, 0.0, 0.0
    while (spent := (time.process_time() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 100) * (1 - spent) + 1e-6
        rows = torch.randint(0, len(latents), (batch,), generator=generator)
        captioned = torch.where(torch.rand(batch, generator=generator) < 0.1, 0, chosen[rows])
        text = text_encoder(ids[captioned]).last_hidden_state if with_text else known[captioned]
        loss = noise_loss(unet, text, latents[rows], generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(kept, parameters, 1 - min(0.998, step / (step + 20)))
        shown = 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 0:
            now = time.process_time() - start
            print(f"step {step}, {now:.0f} s: loss {shown / (1 - 0.98 ** min(step, 999)):.4f}", flush=True)
            if now - saved > 120:
                saved = now
                save(*averages)
    save(*averages)


def load_vae(path: Path) -> tuple[AutoencoderKL, Tensor, Tensor]:
    vae = build_vae()
    vae.load_state_dict(load_file(path))
    return vae.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--style", default="flat")
    parser.add_argument("--minutes", type=float, required=True, help="of processor time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=16384)
    parser.add_argument("--with-text", action="store_true")
    parser.add_argument("--start", type=Path, help="NAME_unet and NAME_text_encoder to go on from, as a path without the ending")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    work = arguments.work
    unet, text_encoder = build_unet(), build_text_encoder()
    if arguments.start:
        for part, module in (("unet", unet), ("text_encoder", text_encoder)):
            stored = load_file(f"{arguments.start}_{part}.safetensors")
            module.load_state_dict({key: tensor.float() for key, tensor in stored.items()})
    cache = work / f"latents-{arguments.style}.safetensors"
    if not cache.exists():
        latents, chosen = make_latents(load_vae(work / "vae.safetensors"), arguments.style, arguments.pictures, 7)
        save_file({"latents": latents, "chosen": chosen}, cache)
    data = load_file(cache)
    spread = load_file(work / "spread.safetensors") if (work / "spread.safetensors").exists() else None
    if spread is None:
        spread = {"mean": data["latents"].mean((0, 2, 3)), "std": data["latents"].std((0, 2, 3))}
        save_file(spread, work / "spread.safetensors")
    latents = (data["latents"] - spread["mean"][:, None, None]) / spread["std"][:, None, None]

    def save(unet_average, text_average) -> None:
        for part, module in (("unet", unet_average), ("text_encoder", text_average)):
            save_file(
                {key: tensor.contiguous() for key, tensor in module.state_dict().items()},
                work / f"{arguments.name}_{part}.safetensors",
            )

    print(f"{len(latents)} pictures, spread {spread['mean'].tolist()} {spread['std'].tolist()}", flush=True)
    train(
        unet,
        text_encoder,
        (latents, data["chosen"]),
        arguments.minutes * 60,
        arguments.batch,
        arguments.peak,
        arguments.with_text,
        arguments.seed,
        save,
    )


if __name__ == "__main__":
    main()
