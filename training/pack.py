"""Turn trained parts into the numbers that the repository carries: `base.npz`, `vae.npz`, and a STYLE.npz for each member.

python -m training.pack --work WORK --base base --member glow --member film --into family
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib_chilly import cli
from lib_chilly.family import LARGEST, SHIFTS, STEPS
from lib_chilly.family_config import LATENT_SCALE
from training.latents import SPREAD, VAE
from training.modules import VAE_WIDTHS, part_files

_REPLICAS = 3
_THIN = VAE_WIDTHS[1]
_FINENESS = 6
"""A member's numbers are so fine that the standard deviation of a tensor's differences is at least as many steps."""
_HEADROOM = 2
_LOG_VARIANCE = -10.0


def widened(vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The VAE with its thin level made three times as wide, to the same function.

    The original code's configuration knows whole multiples of the first width only; 96 / 64 trains in half the time of 96 / 192.
    Each channel is there three times, so GroupNorm sees the same numbers; who reads them takes a third of each.
    """
    wide = {}
    for key, tensor in vae.items():
        if tensor.shape[0] == _THIN:
            tensor = tensor.repeat_interleave(_REPLICAS, 0)
        if tensor.ndim > 1 and tensor.shape[1] == _THIN:
            tensor = tensor.repeat_interleave(_REPLICAS, 1) / _REPLICAS
        wide[key] = tensor
    return wide


def scaled(vae: Mapping[str, Tensor], mean: Tensor, spread: Tensor) -> dict[str, Tensor]:
    """The VAE whose latents, times the standard scale factor, have mean 0 and spread 1 in each channel, and no noise."""
    whole = {key: tensor.double() for key, tensor in vae.items()}
    factor = spread.double() * LATENT_SCALE
    weight, bias = whole["quant_conv.weight"], whole["quant_conv.bias"]
    weight[:4] /= factor[:, None, None, None]
    bias[:4] = (bias[:4] - mean.double()) / factor
    weight[4:], bias[4:] = 0, _LOG_VARIANCE
    post = whole["post_quant_conv.weight"]
    whole["post_quant_conv.bias"] += post[:, :, 0, 0] @ mean.double()
    whole["post_quant_conv.weight"] = post * factor[None, :, None, None]
    return whole


def checkpoint(work: Path, name: str) -> dict[str, Tensor]:
    """The trained parts of `name` under the original keys, in float32."""
    spread = load_file(work / SPREAD)
    vae = scaled(widened(load_file(work / VAE)), spread["mean"], spread["std"])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "parts")
        unet, text_encoder = map(load_file, part_files(work, name))
        parts = {"unet": unet, "text_encoder": text_encoder, "vae": vae}
        for part, tensors in parts.items():
            (folder / part).mkdir(parents=True)
            file = "model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors"
            save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, folder / part / file)
        (folder / "model_index.json").write_text(
            json.dumps({"_class_name": "StableDiffusionPipeline"} | {part: ["", ""] for part in parts})
        )
        merged = Path(place, "merged.safetensors")
        if cli.main(["merge", '"parts/"', "--models", place, "-o", str(merged), "--dtype", "fp32"]):
            raise SystemExit("the parts are no model")
        return {key: tensor for key, tensor in load_file(merged).items() if tensor.is_floating_point()}


def fixed(tensor: Tensor) -> tuple[np.ndarray, int]:
    """(whole numbers, exponent): the tensor in steps of 2**-exponent, at most half of LARGEST, which leaves room for members."""
    largest = float(tensor.abs().max()) or 1.0
    exponent = min(24, math.floor(math.log2(LARGEST / _HEADROOM / largest)))
    return np.rint(np.ldexp(tensor.double().numpy(), exponent)).astype(np.int16), exponent


def difference(tensor: Tensor, whole: np.ndarray, exponent: int) -> tuple[np.ndarray, int]:
    """(int8 numbers, shift): what is to be added to the base's whole numbers, in steps of 2**shift of the base's."""
    wanted = np.clip(np.ldexp(tensor.double().numpy(), exponent), -LARGEST, LARGEST)
    base = np.zeros_like(wanted)
    base[tuple(map(slice, whole.shape))] = whole
    delta = wanted - base
    fits = math.ceil(math.log2(max(1.0, np.abs(delta).max() / 127)))
    fine = math.floor(math.log2(max(1.0, delta.std() / _FINENESS)))
    shift = max(fits, fine)
    numbers = np.clip(np.rint(delta / 2**shift), -127, 127)
    sums = base + numbers * 2**shift
    numbers -= np.sign(sums) * (np.abs(sums) > LARGEST)  # rounded beyond what fp16 holds
    return numbers.astype(np.int8), shift


def _store(path: Path, pairs: Mapping[str, tuple[np.ndarray, int]], exponents: str) -> None:
    arrays = {key: array for key, (array, _) in pairs.items()}
    np.savez_compressed(path, **arrays, **{exponents: np.array([exponent for _, exponent in pairs.values()], np.int8)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--base", default="base")
    parser.add_argument("--member", action="append", default=[])
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.into.mkdir(exist_ok=True)
    tensors = checkpoint(arguments.work, arguments.base)
    base = {key: fixed(tensors[key]) for key in sorted(tensors)}
    for file, is_vae in (("vae", True), ("base", False)):
        part = {key: pair for key, pair in base.items() if key.startswith("first_stage_model.") == is_vae}
        _store(arguments.into / f"{file}.npz", part, STEPS)
    for name in arguments.member:
        other = checkpoint(arguments.work, name)
        deltas = {key: difference(other[key], *base[key]) for key in base if not torch.equal(other[key], tensors[key])}
        _store(arguments.into / f"{name}.npz", deltas, SHIFTS)
    for path in sorted(arguments.into.glob("*.npz")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
