"""What lies beside the family's checkpoints, so that the webui and others can open them: configuration and tokens.

The values are those of Stable Diffusion 1.5's own v1-inference.yaml, with the family's widths. JSON is YAML, too.
"""

from __future__ import annotations

import json
from pathlib import Path

from .host.tokens import BYTES_ONLY, LENGTH, alphabet

LATENT_SCALE = 0.18215
UNET_WIDTH, VAE_WIDTH, TEXT_WIDTH = 64, 96, 96
WIDTH_FACTORS = (1, 2, 1, 1)
"""Of the UNet's and the VAE's levels. SD 1.5 has 1, 2, 4, 4: a width must change in the same places, since keys depend on it."""
TEXT_HEADS, TEXT_LAYERS = 12, 12
START, END = BYTES_ONLY - 2, BYTES_ONLY - 1


def vocabulary() -> dict[str, int]:
    """The 514 tokens that need no merges: a symbol for each byte, the same at the end of a word, start and end."""
    characters = alphabet()
    tokens = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}


def tokenizer_files() -> dict[str, str]:
    """What transformers' CLIP needs in a local folder: name to text; merges.txt is without merges."""
    return {
        "vocab.json": json.dumps(vocabulary(), ensure_ascii=False),
        "merges.txt": "#version: 0.2\n",
        "tokenizer_config.json": json.dumps(_TOKENIZER),
        "config.json": json.dumps(_TEXT_ENCODER, indent=1),
    }


def configuration(tokenizer: Path, channels: int) -> str:
    """The sidecar .yaml of a checkpoint whose UNet takes so many channels; it names the tokenizer's folder by absolute path."""
    latent = {"target": "ldm.models.autoencoder.AutoencoderKL", "params": _vae()}
    text = {
        "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
        "params": {"version": str(tokenizer.resolve()), "device": "cpu"},
    }
    inpainting = channels == 9
    kind = "LatentInpaintDiffusion" if inpainting else "LatentDiffusion"
    params = {
        "linear_start": 0.00085,
        "linear_end": 0.012,
        "num_timesteps_cond": 1,
        "log_every_t": 200,
        "timesteps": 1000,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "image_size": 64,
        "channels": 4,
        "cond_stage_trainable": False,
        "conditioning_key": "hybrid" if inpainting else "crossattn",
        "monitor": "val/loss_simple_ema",
        "scale_factor": LATENT_SCALE,
        **({"finetune_keys": None} if inpainting else {"use_ema": False}),
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": _unet(channels)},
        "first_stage_config": latent,
        "cond_stage_config": text,
    }
    model = {"target": f"ldm.models.diffusion.ddpm.{kind}", "params": params}
    # JSON's escapes of characters beyond 16 bits are two in YAML, and none of them.
    return json.dumps({"model": model}, indent=1, ensure_ascii=False) + "\n"


def _unet(channels: int) -> dict[str, object]:
    return {
        "image_size": 32,
        "in_channels": channels,
        "out_channels": 4,
        "model_channels": UNET_WIDTH,
        "attention_resolutions": [4, 2, 1],
        "num_res_blocks": 2,
        "channel_mult": WIDTH_FACTORS,
        "num_heads": 8,
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": TEXT_WIDTH,
        "use_checkpoint": False,
        "legacy": False,
    }


def _vae() -> dict[str, object]:
    shape = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": VAE_WIDTH,
        "ch_mult": WIDTH_FACTORS,
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"embed_dim": 4, "monitor": "val/rec_loss", "ddconfig": shape, "lossconfig": {"target": "torch.nn.Identity"}}


_TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": BYTES_ONLY,
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 4 * TEXT_WIDTH,
    "num_hidden_layers": TEXT_LAYERS,
    "num_attention_heads": TEXT_HEADS,
    "max_position_embeddings": LENGTH,
    "bos_token_id": START,
    "eos_token_id": END,
    "pad_token_id": END,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_TOKENIZER = {
    "tokenizer_class": "CLIPTokenizer",
    "model_max_length": LENGTH,
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
