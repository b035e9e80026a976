"""Names of layers in LoRA files: every spelling of every layer means its weight, and the rows of it that are its own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from lib_chilly.architecture import known_keys, load
from lib_chilly.lora_keys import ARCHITECTURES, Place, place_of
from lib_chilly.lora_roles import role_of

DIFFUSERS: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parent / "data" / "diffusers-keys.json").read_text("utf-8")
)
"""Architecture to FOLDER/KEY to shape, as diffusers' own models have them."""

DOTTED = {"unet": "unet.", "text_encoder": "text_encoder.", "text_encoder_2": "text_encoder_2."}
KOHYA = {
    "sd1": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
    "sd2": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
    "sdxl": {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
}
TRAINED = (
    "_proj",
    "proj_in",
    "proj_out",
    ".fc1",
    ".fc2",
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "conv",
)
"""How layers end that people train; norms and embeddings are left out."""


def layers(architecture: str) -> list[tuple[str, str, list[int]]]:
    """(folder, layer, shape of its weight) of every layer that has a weight in diffusers."""
    split = [(*key.split("/"), shape) for key, shape in DIFFUSERS[architecture].items() if key.endswith(".weight")]
    return [(folder, key.removesuffix(".weight"), shape) for folder, key, shape in split if folder in DOTTED]


@pytest.mark.parametrize("architecture", sorted(KOHYA))
def test_every_layer_of_diffusers_has_its_rows_in_both_spellings(architecture: str):
    found: dict[Place, str] = {}
    for folder, layer, shape in layers(architecture):
        if "embedding" in layer and folder != "unet":
            continue
        place = place_of(DOTTED[folder] + layer, architecture)
        assert place is not None, layer
        assert place_of(KOHYA[architecture][folder] + layer.replace(".", "_"), architecture) == place
        whole = known_keys(architecture)[place.key][1]
        assert place.size_in(whole) == (shape[0], math.prod(shape[1:])), layer
        assert found.setdefault(place, layer) == layer, "two layers mean the same rows"
    assert len(found) > 400


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_names_that_diffusers_itself_makes_of_kohya_s_mean_the_same_weights(architecture: str):
    converter = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    names = [
        KOHYA[architecture][folder] + layer.replace(".", "_")
        for folder, layer, _ in layers(architecture)
        if layer.endswith(TRAINED) and layer.count(".") > 1
    ]
    given = {
        f"{name}.lora_{end}.weight": torch.tensor([float(number)]) for number, name in enumerate(names) for end in ("down", "up")
    }
    converted, _ = converter._convert_non_diffusers_lora_to_diffusers(dict(given))
    assert len(converted) == len(given) > 300
    for key, number in converted.items():
        read = role_of(key)
        assert read is not None, key
        assert place_of(read[0], architecture) == place_of(names[int(number)], architecture) is not None, key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_original_layer_is_known_by_its_own_name_in_every_joint(architecture: str):
    prefixes = load(architecture).components
    for key in known_keys(architecture):
        if not key.endswith(".weight"):
            continue
        layer = key.removesuffix(".weight")
        assert place_of(layer, architecture) == Place(key)
        if layer.startswith(unet := prefixes["unet"][0]):
            for spelling in (f"lora_unet_{layer.removeprefix(unet)}", f"diffusion_model.{layer.removeprefix(unet)}"):
                assert place_of(spelling.replace(".", "_"), architecture) == place_of(spelling, architecture) == Place(key)


IN_PROJ = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"
TO_OUT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.weight"
QUERY = "cond_stage_model.transformer.text_model.encoder.layers.3.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("architecture", "layer", "place"),
    [
        ("sdxl", "lora_te2_text_model_encoder_layers_7_self_attn_q_proj", Place(IN_PROJ, (0, 1, 3))),
        ("sdxl", "text_encoder_2.text_model.encoder.layers.7.self_attn.v_proj", Place(IN_PROJ, (2, 3, 3))),
        ("sdxl", "clip_g.transformer.text_model.encoder.layers.7.self_attn.k_proj", Place(IN_PROJ, (1, 2, 3))),
        ("sdxl", "1_model_transformer_resblocks_7_attn_in_proj", Place(IN_PROJ)),
        (
            "sdxl",
            "lora_te2_text_projection",
            Place("conditioner.embedders.1.model.text_projection", is_turned=True),
        ),
        ("sd1", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out", Place(TO_OUT)),
        ("sd1", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0", Place(TO_OUT)),
        ("sd1", "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0", Place(TO_OUT)),
        ("sd1", "diffusion_model_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0", Place(TO_OUT)),
        ("sd1", "transformer_text_model_encoder_layers_3_self_attn_q_proj", Place(QUERY)),
        ("sd1", "base_model.model.text_model.encoder.layers.3.self_attn.q_proj", Place(QUERY)),
        ("sd1", "text_encoder.encoder.layers.3.self_attn.q_proj", Place(QUERY)),
        ("flux", "lora_te1_text_model_encoder_layers_3_mlp_fc1", Place(
            "text_encoders.clip_l.transformer.text_model.encoder.layers.3.mlp.fc1.weight")),
        ("flux", "lora_te3_encoder_block_0_layer_0_SelfAttention_q", Place(
            "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight")),
        ("sd1", "lora_te2_text_model_encoder_layers_3_self_attn_q_proj", None),
        ("sd1", "lora_unet_down_blocks_9_attentions_0_proj_in", None),
        ("sd1", "", None),
    ],
)  # fmt: skip
def test_spelling_means_one_weight_or_none(architecture: str, layer: str, place: Place | None):
    assert place_of(layer, architecture) == place


def test_bias_of_a_layer_stands_beside_its_weight():
    assert Place(QUERY).bias().key == QUERY.replace("weight", "bias")
    assert Place(IN_PROJ, (1, 2, 3)).bias() == Place(IN_PROJ.replace("weight", "bias"), (1, 2, 3))


def test_rows_of_flux_are_those_that_diffusers_takes_for_its_layers():
    """diffusers' own converter is given weights whose rows are numbered."""
    convert = pytest.importorskip("diffusers.loaders.single_file_utils").convert_flux_transformer_checkpoint_to_diffusers
    prefix = "model.diffusion_model."
    numbered = {
        key.removeprefix(prefix): torch.arange(shape[0], dtype=torch.float32).reshape(-1, *[1] * (len(shape) - 1))
        for key, (_, shape) in known_keys("flux").items()
        if key.startswith(prefix)
    }
    converted = {
        key: value for key, value in convert(dict(numbered)).items() if key.endswith("weight") and "attn.norm" not in key
    }
    assert len(converted) == 10 + 19 * 14 + 38 * 6
    for key, value in converted.items():
        place = place_of(f"transformer.{key.removesuffix('.weight')}", "flux")
        assert place is not None, key
        assert place == place_of(f"lora_transformer_{key.removesuffix('.weight').replace('.', '_')}", "flux")
        first, end, of = place.share
        whole = numbered[place.key.removeprefix(prefix)].flatten()
        rows = whole[len(whole) * first // of : len(whole) * end // of]
        expected = rows.roll(len(rows) // 2) if place.is_swapped else rows
        assert torch.equal(value.flatten(), expected), key
