"""The family's networks, with fresh weights or stored ones. Files have diffusers' and transformers' own keys."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lib_chilly.family_config import END, START, TEXT_HEADS, TEXT_LAYERS, TEXT_WIDTH
from lib_chilly.host.tokens import BYTES_ONLY, LENGTH, Vocabulary

UNET_WIDTHS = (64, 128, 64, 64)
VAE_WIDTHS = (96, 64, 96, 96)
"""As trained; `pack.py` makes the second level three times as wide. Fewer than 96 channels at full size would leave each of
GroupNorm's 32 groups too few to keep a flat colour."""


def build_vae() -> AutoencoderKL:
    """The VAE; each of its residual blocks starts as the identity."""
    vae = AutoencoderKL(
        block_out_channels=VAE_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    )
    for name, parameter in vae.named_parameters():
        if ".conv2." in name or ".to_out.0." in name:
            nn.init.zeros_(parameter)
    return vae.to(memory_format=torch.channels_last)


def build_unet(channels: int = 4) -> UNet2DConditionModel:
    """The UNet; `channels` is 9 for inpainting."""
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
    """CLIP's text encoder for 514 tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=BYTES_ONLY,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=TEXT_HEADS,
            max_position_embeddings=LENGTH,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=END,
            hidden_act="quick_gelu",
        )
    )


def load(module: nn.Module, path: Path) -> None:
    """Give a module the weights of a file. A UNet with more input channels than the file's has zeros for those."""
    stored = {key: tensor.float() for key, tensor in load_file(path).items()}
    for key, tensor in module.state_dict().items():
        if key == "conv_in.weight" and tensor.shape[1] > stored[key].shape[1]:
            wider = torch.zeros_like(tensor)
            wider[:, : stored[key].shape[1]] = stored[key]
            stored[key] = wider
    module.load_state_dict(stored)


def save(module: nn.Module, path: Path) -> None:
    """Write a module's weights in float32."""
    save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, path)


def part_files(work: Path, name: str) -> tuple[Path, Path]:
    """Where the UNet and the text encoder of a member lie while it is trained."""
    return work / f"{name}_unet.safetensors", work / f"{name}_text_encoder.safetensors"


def token_ids(texts: list[str]) -> Tensor:
    """What the text encoder takes for each text: int64, (count, 77)."""
    vocabulary = Vocabulary(BYTES_ONLY)
    return torch.tensor([vocabulary.prompt(text).padded(END) for text in texts])
