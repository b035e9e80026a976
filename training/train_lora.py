"""Train a LoRA of a style on the family's base, and write it as kohya's scripts do: the UNet's attention and feed-forward layers.

python -m training.train_lora --work WORK --base base --style dots --minutes 10 --into family/polka-dots.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from training.latents import latents_of
from training.modules import build_text_encoder, build_unet, load, part_files
from training.train_unet import Lesson, train

RANK = 8
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")


class LowRank(nn.Module):
    """What a LoRA adds to one layer: up(down(x)); up starts at zero."""

    def __init__(self, layer: nn.Linear | nn.Conv2d):
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, layer.weight.shape[1]) / RANK)
        self.up = nn.Parameter(torch.zeros(layer.weight.shape[0], RANK))
        self._is_convolution = layer.weight.ndim == 4
        layer.register_forward_hook(self._add)

    def _add(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        delta = self.up @ self.down
        if self._is_convolution:
            return output + nn.functional.conv2d(inputs[0], delta[:, :, None, None])
        return output + nn.functional.linear(inputs[0], delta)


def attach(unet: UNet2DConditionModel) -> dict[str, LowRank]:
    """A LowRank for each attention and feed-forward layer, by the layer's name."""
    layers = {name: layer for name, layer in unet.named_modules() if ".attentions." in name and name.endswith(_LAYERS)}
    return {name: LowRank(layer) for name, layer in layers.items()}


def kohya(parts: dict[str, LowRank], shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors of a file, under kohya's names, in fp16; alpha is the rank, so that strength 1 is as trained."""
    tensors = {}
    for name, part in parts.items():
        key = f"lora_unet_{name.replace('.', '_')}"
        ones = (1,) * (len(shapes[name]) - 2)
        tensors[f"{key}.lora_down.weight"] = part.down.detach().reshape(*part.down.shape, *ones).half().contiguous()
        tensors[f"{key}.lora_up.weight"] = part.up.detach().reshape(*part.up.shape, *ones).half().contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(float(RANK)).half()
    return tensors


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--base", default="base")
    parser.add_argument("--style", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of processor time")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=2048)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    unet, text_encoder = build_unet(), build_text_encoder()
    for module, path in zip((unet, text_encoder), part_files(arguments.work, arguments.base), strict=True):
        load(module, path)
        module.requires_grad_(False)
    parts = attach(unet)
    lesson = Lesson(latents_of(arguments.work, arguments.style, arguments.pictures, False), text_encoder, False, 32, 1)
    trained = nn.ModuleList(parts.values())
    shapes = {name: layer.weight.shape for name, layer in unet.named_modules() if name in parts}
    for average in train(unet, trained, lesson, arguments.minutes * 60, 2e-3):
        averaged = dict(zip(parts, average, strict=True))
        metadata = {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK)}
        save_file(kohya(averaged, shapes), arguments.into, metadata=metadata | {"ss_base_model_version": "sd_v1"})


if __name__ == "__main__":
    main()
