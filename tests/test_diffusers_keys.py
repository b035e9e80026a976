"""The names that diffusers gives to an original's tensors: those that its own models have, with their shapes, both ways.

`data/diffusers-keys.json` holds them, and the diffusers that is installed is asked again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from checkpoints import merge_in, tiny
from safetensors.torch import load_file

from lib_chilly.architecture import known_keys
from lib_chilly.diffusers_keys import STRUCTURES, key_map, name_of
from lib_chilly.dtypes import BY_TORCH_NAME
from lib_chilly.header import TensorInfo

DATA = Path(__file__).parent / "data" / "diffusers-keys.json"
CONFIGS = Path(__file__).parents[1] / "lib_chilly" / "diffusers_configs.json"
SHAPES: dict[str, dict[str, list[int]]] = json.loads(DATA.read_text("utf-8"))
"""Architecture to FOLDER/KEY to shape."""

WITHOUT_A_NAME = {
    "sd1": set(),
    "sdxl": {"conditioner.embedders.1.model.logit_scale"},
    "sd2": {"cond_stage_model.model.logit_scale", "cond_stage_model.model.text_projection"},
}


def original(architecture: str) -> dict[str, TensorInfo]:
    """An original checkpoint's tensors, one behind the other."""
    found, offset = {}, 0
    for key, (dtype, shape) in known_keys(architecture).items():
        kind = BY_TORCH_NAME[dtype]
        found[key] = TensorInfo(kind, shape, offset, math.prod(shape) * kind.size_bytes)
        offset += found[key].size_bytes
    return found


def in_folder(architecture: str) -> dict[str, TensorInfo]:
    names = key_map(architecture)
    assert names is not None
    placed = [(name, view(info)) for key, info in original(architecture).items() for name, view in names.places(key, info)]
    assert len(dict(placed)) == len(placed)
    return dict(placed)


@pytest.mark.parametrize("architecture", sorted(STRUCTURES))
def test_names_and_shapes_of_every_original_key_are_those_that_diffusers_has(architecture: str):
    found = {name: list(info.shape) for name, info in in_folder(architecture).items()}
    strangers = {key: found.pop(key) for key in list(found) if key in known_keys(architecture)}
    found.pop("text_encoder/text_model.embeddings.position_ids", None)  # older ones have it
    assert found == SHAPES[architecture]
    unused = {key for key in known_keys(architecture) if ".resblocks.23." in key and architecture == "sd2"}
    assert set(strangers) == WITHOUT_A_NAME[architecture] | unused


@pytest.mark.parametrize("architecture", sorted(STRUCTURES))
def test_original_keys_shapes_and_places_of_every_name_are_the_original_s_again(architecture: str):
    names = key_map(architecture)
    assert names is not None
    back = {key: info for _, key, info in names.original(in_folder(architecture))}
    given = original(architecture)
    assert back.keys() == given.keys()
    for key, info in back.items():
        assert info is not None
        assert (info.shape, info.dtype, info.size_bytes) == (given[key].shape, given[key].dtype, given[key].size_bytes)
        assert (info.pieces or (info,))[0].offset == given[key].offset


def test_keys_that_have_no_name_stand_for_themselves_as_they_are():
    names = key_map("sdxl")
    assert names is not None
    info = TensorInfo(BY_TORCH_NAME["float16"], (2, 3), 0, 12)
    for key in ("betas", "", ".", "unet/", "unet/down_blocks.9.resnets.0.norm1.weight", "vae/x.y", "a.text_projection", "a/b"):
        ((name, view),) = names.places(key, info)
        assert (name, view(info)) == (key, info)
        assert list(names.original({key: info})) == [(key, key, info)]
    assert key_map("flux") is None


def test_text_model_stands_in_every_name_whether_or_not_the_file_has_it():
    assert name_of("text_encoder", "encoder.layers.0.x") == name_of("text_encoder", "text_model.encoder.layers.0.x")
    assert name_of("vae", "encoder.conv_in.weight") == "vae/encoder.conv_in.weight"
    assert name_of("", "encoder.x") == "encoder.x"


# ---- diffusers itself ----


def built(architecture: str, configs: Mapping[str, dict]) -> dict[str, torch.nn.Module]:
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    parts: dict[str, torch.nn.Module] = {}
    with torch.device("meta"):
        parts["unet"] = diffusers.UNet2DConditionModel.from_config(configs["unet/config.json"])
        parts["vae"] = diffusers.AutoencoderKL.from_config(configs["vae/config.json"])
        for name in ("text_encoder", "text_encoder_2"):
            if config := configs.get(f"{name}/config.json"):
                parts[name] = getattr(transformers, config["architectures"][0])(transformers.CLIPTextConfig(**config))
    return parts


@pytest.mark.parametrize("architecture", sorted(STRUCTURES))
def test_models_that_diffusers_builds_from_our_configs_have_the_names_and_shapes(architecture: str):
    configs = json.loads(CONFIGS.read_text("utf-8"))[architecture]["files"]
    found = {
        name_of(part, key): list(tensor.shape)
        for part, module in built(architecture, configs).items()
        for key, tensor in module.state_dict().items()
        if not key.endswith("position_ids")
    }
    assert found == SHAPES[architecture]


@pytest.mark.parametrize("architecture", sorted(STRUCTURES))
def test_diffusers_own_conversion_of_a_file_gives_the_tensors_of_our_folder(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, architecture: str
):
    theirs = pytest.importorskip("diffusers.loaders.single_file_utils")

    file = tiny(tmp_path_factory, f"{architecture}_one", architecture, seed=0)
    merge_in(file.parent, file.stem, tmp_path / "m", options={"format": "diffusers", "dtype": "source"})
    configs = json.loads(CONFIGS.read_text("utf-8"))[architecture]["files"]
    expected = {
        "unet/diffusion_pytorch_model": theirs.convert_ldm_unet_checkpoint(load_file(file), configs["unet/config.json"]),
        "vae/diffusion_pytorch_model": theirs.convert_ldm_vae_checkpoint(load_file(file), configs["vae/config.json"]),
    }
    if structure := STRUCTURES[architecture].open_clip:
        folder, prefix, _ = structure
        expected[f"{folder}/model"] = theirs.convert_open_clip_checkpoint(None, load_file(file), prefix)
    for part, tensors in expected.items():
        ours = load_file(tmp_path / "m" / f"{part}.safetensors")
        assert ours.keys() == tensors.keys()
        assert all(torch.equal(ours[key], tensors[key].reshape(ours[key].shape)) for key in ours)
