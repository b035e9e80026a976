"""LoRA files in other programs: diffusers with peft puts ours, and others', on a model as a recipe does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import draw, stored, write_file
from loras import lora, write_lora

from bench.picturable import picturable
from lib_chilly.architecture import load
from lib_chilly.engine import merge
from lib_chilly.host.parts import Parts, import_diffusers
from lib_chilly.live import LiveWeights
from lib_chilly.lora_plan import plan_output
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe

pytestmark = pytest.mark.peers

SCALE = 0.8
COMPONENTS = ("unet", "text_encoder")
UNET_LAYERS = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (32, 32),
    "down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_k": (64, 96),
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2": (128, 512),
    "up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_out.0": (64, 64),
}
TEXT_LAYERS = {
    # All four: diffusers tells the spelling of a file's text encoder by one of them.
    **{f"text_model.encoder.layers.0.self_attn.{name}_proj": (96, 96) for name in ("q", "k", "v", "out")},
    "text_model.encoder.layers.11.mlp.fc1": (384, 96),
}
KERNELS = {"down_blocks.0.resnets.0.conv1": (32, 32, 3, 3), "mid_block.attentions.0.proj_in": (128, 128, 1, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models in fp32, and LoRA files: extracted here, as kohya's scripts write them, and as diffusers and peft do."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("ab"):
        picturable(folder / f"{name}.safetensors", "sd1", seed, torch.float32)
    extracted = parse_recipe("Z = extract(b - a, rank=8)\nsave(dtype=fp32)")
    merge(plan_output(extracted, ModelLibrary([folder])), folder / "extracted.safetensors", source_hashes=False)
    modules: dict[str, dict[str, np.ndarray]] = {}
    for prefix, layers in (("lora_unet", UNET_LAYERS | KERNELS), ("lora_te", TEXT_LAYERS)):
        for number, (layer, (rows, columns, *window)) in enumerate(layers.items()):
            name = f"{prefix}_{layer.replace('.', '_')}"
            modules[name] = {**lora(number, rows, columns, 4, window), "alpha": np.array(2.5)}
    write_lora(folder / "kohya.safetensors", **modules)
    named = {}
    for component, layers in (("unet", UNET_LAYERS), ("text_encoder", TEXT_LAYERS)):
        for layer, (rows, columns) in layers.items():
            for half, shape in (("lora_A", (4, columns)), ("lora_B", (rows, 4))):
                named[f"{component}.{layer}.{half}.weight"] = stored(draw(5, f"{layer} {half}", shape, 0.3), "fp32")
    write_file(folder / "peft.safetensors", named)
    return folder


def modules_of(folder: Path, text: str) -> Mapping[str, torch.nn.Module]:
    weights = LiveWeights()
    weights.update(make_plan(parse_recipe(text), ModelLibrary([folder]), dtype="fp32"))
    return Parts(load("sd1"), weights.tensors).modules


def pipeline_with(folder: Path, name: str) -> Any:
    """diffusers' own pipeline around the model, with a LoRA file loaded as users load it."""
    pytest.importorskip("peft", reason="compares with peers: peft is not installed")
    diffusers, _ = import_diffusers()
    modules = modules_of(folder, "a")
    absent = dict.fromkeys(("vae", "tokenizer", "scheduler", "safety_checker", "feature_extractor"))
    given = {component: modules[component] for component in COMPONENTS}
    pipeline = diffusers.StableDiffusionPipeline(**absent, **given, requires_safety_checker=False)
    pipeline.load_lora_weights(str(folder), weight_name=f"{name}.safetensors", adapter_name="it")
    pipeline.set_adapters("it", SCALE)
    return pipeline


def given_to(layer: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, torch.nn.Conv2d):
        return torch.randn((1, layer.in_channels, 8, 8), generator=generator)
    return torch.randn((3, layer.in_features), generator=generator)


@pytest.mark.parametrize(("name", "layers"), [("extracted", 354), ("kohya", 11), ("peft", 9)])
def test_every_layer_is_that_of_diffusers_and_peft(folder: Path, name: str, layers: int) -> None:
    pipeline, baked = pipeline_with(folder, name), modules_of(folder, f"a + {SCALE} * lora({name})")
    before, count = modules_of(folder, "a"), 0
    with torch.no_grad():
        for component in COMPONENTS:
            for place, layer in getattr(pipeline, component).named_modules():
                if hasattr(layer, "lora_A"):  # its forward pass is of base and LoRA side by side
                    ours = baked[component].get_submodule(place)
                    given = given_to(ours)
                    expected, count = layer(given), count + 1
                    assert (ours(given) - expected).abs().max() <= 3e-6 * expected.abs().max(), place
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    changed = 0
    for component in COMPONENTS:
        fused, old = getattr(pipeline, component).state_dict(), before[component].state_dict()
        for key, ours in baked[component].state_dict().items():
            changed += not torch.equal(ours, old[key])
            assert (fused[key] - ours).abs().max() <= 5e-7 * ours.abs().max(), key
    assert changed == count == layers
