"""LoRA files by their headers: the architecture, the modules of each weight, the keys that are of no use, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import stored, write_file
from loras import KERNEL, KERNEL_KEY, LINEAR, LINEAR_KEY, delta_of, drawn, lora, tensors, write_lora

from lib_chilly import lora_file
from lib_chilly.architecture import known_keys
from lib_chilly.errors import ArchitectureError, CheckpointError
from lib_chilly.family import LORA
from lib_chilly.lora_file import open_lora

TO_OUT = LINEAR.replace("to_q", "to_out_0")
IN_PROJ = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"


def header_only(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A file of empty tensors' sizes: rows of a LoRA as large as they are in real ones, without writing them all."""
    places, offset = {}, 0
    for key, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        places[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(places).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return path


def pair(layer: str, rows: int, columns: int, window: tuple[int, ...] = ()) -> dict[str, tuple[int, ...]]:
    ones = (1,) * len(window)
    return {f"{layer}.lora_up.weight": (rows, 4, *ones), f"{layer}.lora_down.weight": (4, columns, *window)}


def test_file_of_the_family_is_for_sd1_and_every_key_has_its_weight():
    found = open_lora(LORA)
    assert (found.architecture.name, found.unmatched) == ("sd1", {})
    assert found.modules.keys() <= known_keys("sd1").keys()
    modules = [module for there in found.modules.values() for module in there]
    assert sorted(key for module in modules for key in module.keys.values()) == sorted(found.checkpoint.tensors)
    assert {(module.kind, module.rank, module.has_alpha, module.needs_base) for module in modules} == {("lora", 8, True, False)}


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("sd1", pair("lora_unet_down_blocks_0_attentions_0_proj_in", 320, 320, (1, 1))),
        ("sd2", pair("lora_unet_down_blocks_0_attentions_0_proj_in", 320, 320)),
        ("sd1", pair("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 1280, 768)),
        ("sd2", pair("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 1280, 1024)),
        ("sdxl", pair("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 1280, 2048)),
        ("sdxl", pair("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q", 1280, 1280)),
        ("sdxl", pair("lora_te2_text_model_encoder_layers_30_mlp_fc1", 5120, 1280)),
        ("sd1", pair("lora_te_text_model_encoder_layers_3_mlp_fc1", 3072, 768)),
        ("sd2", pair("lora_te_text_model_encoder_layers_3_mlp_fc1", 4096, 1024)),
        ("flux", pair("transformer.single_transformer_blocks.3.proj_mlp", 12288, 3072)),
        ("flux", pair("lora_unet_single_blocks_3_linear1", 21504, 3072)),
    ],
)
def test_architecture_is_that_whose_layers_have_these_names_and_sizes(tmp_path: Path, architecture: str, layers: dict):
    assert open_lora(header_only(tmp_path / "a.safetensors", layers)).architecture.name == architecture


def test_file_that_two_architectures_fit_alike_is_for_the_one_that_is_asked_for(tmp_path: Path):
    path = header_only(tmp_path / "a.safetensors", pair(LINEAR, 320, 320))
    assert open_lora(path).architecture.name == "sd1"
    assert open_lora(path, "sd2").architecture.name == "sd2"


def test_lora_for_another_architecture_is_refused_by_its_title(tmp_path: Path):
    layers = {
        **pair("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_q", 1280, 1280),
        **pair("unet.conv_in", 320, 4, (3, 3)),
    }
    path = header_only(tmp_path / "big.safetensors", layers)
    with pytest.raises(
        ArchitectureError, match=r"'big.safetensors' is a LoRA for SDXL: of its 2 layers SD 1.x has 1, 1 in their size"
    ):
        open_lora(path, "sd1")
    path = header_only(tmp_path / "old.safetensors", pair("lora_te_text_model_encoder_layers_3_mlp_fc1", 3072, 768))
    with pytest.raises(ArchitectureError, match=r"is a LoRA for SD 1.x: of its 1 layer SD 2.x has 1, 0 in their size"):
        open_lora(path, "sd2")


def test_parts_of_a_fused_weight_stand_together_with_their_rows(tmp_path: Path):
    names = {head: f"lora_te2_text_model_encoder_layers_7_self_attn_{head}_proj" for head in "vqk"}
    found = open_lora(
        header_only(tmp_path / "a.safetensors", {k: v for n in names.values() for k, v in pair(n, 1280, 1280).items()})
    )
    assert list(found.modules) == [IN_PROJ]
    assert {module.layer: module.place.share for module in found.modules[IN_PROJ]} == {
        names["q"]: (0, 1, 3),
        names["k"]: (1, 2, 3),
        names["v"]: (2, 3, 3),
    }


def test_keys_that_are_of_no_use_are_listed_with_their_reason(tmp_path: Path):
    path = write_lora(
        tmp_path / "a.safetensors",
        **{
            LINEAR: lora(1, 4, 4, 2),
            "lora_unet_no_such_layer": lora(1, 4, 4, 2),
            KERNEL: {"oft_blocks": np.zeros((2, 2, 2)), "alpha": np.float64(1)},
            LINEAR.replace("to_q", "to_k"): {"lora_up.weight": np.zeros((4, 2))},
            LINEAR.replace("to_q", "to_v"): {"alpha": np.float64(1)},
            TO_OUT: {"ia3_l": np.ones((4, 1)), "dora_scale": np.ones((4, 1))},
        },
    )
    found = open_lora(path)
    assert list(found.modules) == [LINEAR_KEY]
    assert found.unmatched == {
        "lora_unet_no_such_layer.lora_up.weight": "SD 1.x has no such layer",
        "lora_unet_no_such_layer.lora_down.weight": "SD 1.x has no such layer",
        f"{KERNEL}.oft_blocks": "no tensor of a LoRA ends so",
        f"{KERNEL}.alpha": "it scales nothing",
        f"{LINEAR.replace('to_q', 'to_k')}.lora_up.weight": "up of one layer make no kind of module that is read",
        f"{LINEAR.replace('to_q', 'to_v')}.alpha": "it scales nothing",
        f"{TO_OUT}.ia3_l": "factors and magnitude of one layer make no kind of module that is read",
        f"{TO_OUT}.dora_scale": "factors and magnitude of one layer make no kind of module that is read",
    }


@pytest.mark.parametrize(
    "ends",
    [
        ("lora_up.weight", "lora_down.weight"),
        ("lora_B.weight", "lora_A.weight"),
        ("lora_B.default.weight", "lora_A.default.weight"),
        ("lora.up.weight", "lora.down.weight"),
        ("lora_linear_layer.up.weight", "lora_linear_layer.down.weight"),
    ],
)
def test_every_dialect_of_up_and_down_is_read(tmp_path: Path, ends: tuple[str, str]):
    up, down = ends
    path = header_only(tmp_path / "a.safetensors", {f"{LINEAR}.{up}": (320, 4), f"{LINEAR}.{down}": (4, 320)})
    (module,) = open_lora(path).modules[LINEAR_KEY]
    assert module.keys == {"up": f"{LINEAR}.{up}", "down": f"{LINEAR}.{down}"}
    assert module.size == (320, 320, 4)


def test_oldest_dialect_of_diffusers_is_read(tmp_path: Path):
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora"
    path = header_only(tmp_path / "a.safetensors", {f"{name}.up.weight": (320, 4), f"{name}.down.weight": (4, 320)})
    assert open_lora(path).modules[LINEAR_KEY][0].rank == 4


def test_bias_has_a_module_of_its_own(tmp_path: Path):
    own = lora(1, 4, 6, 2, (3, 3)) | {"diff_b": np.ones(4), "alpha": np.float64(1)}
    found = open_lora(write_lora(tmp_path / "a.safetensors", **{KERNEL: own}))
    bias = KERNEL_KEY.replace("weight", "bias")
    assert {key: [module.kind for module in there] for key, there in found.modules.items()} == {
        KERNEL_KEY: ["lora"],
        bias: ["diff"],
    }
    assert not found.modules[bias][0].has_alpha


def test_bias_of_a_layer_without_one_is_of_no_use(tmp_path: Path):
    own = lora(1, 4, 4, 2) | {"diff_b": np.ones(4)}
    found = open_lora(write_lora(tmp_path / "a.safetensors", **{LINEAR: own}))
    assert list(found.modules) == [LINEAR_KEY]
    assert found.unmatched == {f"{LINEAR}.diff_b": "SD 1.x has no bias there"}


def test_file_of_more_tensors_than_a_lora_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lora_file, "MOST_TENSORS", 576)
    assert open_lora(LORA).modules
    monkeypatch.setattr(lora_file, "MOST_TENSORS", 575)
    with pytest.raises(CheckpointError, match=r"'polka-dots.safetensors' has 576 tensors; 575 are the most"):
        open_lora(LORA)


REFUSED = {
    "no LoRA": (
        {"some.weight": {"x": np.ones(2)}},
        r"is no LoRA for SD 1.x, SD 2.x, SDXL and Flux.1: none of its 1 key, such as",
    ),
    "whole model": (
        {"model.diffusion_model.input_blocks.1.1.proj_in": {"weight": np.ones((2, 2))}},
        r"is no LoRA for .* belongs to a module",
    ),
    "nothing read": ({LINEAR: {"lora_up.weight": np.ones((2, 2))}}, "is no LoRA for"),
    "ranks": (
        {LINEAR: tensors(1, lora_up__weight=(4, 2), lora_down__weight=(3, 4))},
        "2 columns of up do not fit 3 rows of down",
    ),
    "kernel in up": (
        {KERNEL: tensors(1, lora_up__weight=(4, 2, 3, 3), lora_down__weight=(2, 4, 1, 1))},
        r"up has shape \[4, 2, 3, 3\]; only the tensor beside it",
    ),
    "no matrix": ({LINEAR: tensors(1, lora_up__weight=(4,), lora_down__weight=(2, 4))}, r"up has shape \[4\]; a matrix"),
    "empty": ({LINEAR: tensors(1, lora_up__weight=(4, 0), lora_down__weight=(0, 4))}, "up is empty"),
    "alpha": ({LINEAR: lora(1, 4, 4, 2) | {"alpha": np.ones(2)}}, r"alpha' has shape \[2\] of fp32, which is no alpha of a LoRA"),
    "twice": (
        {LINEAR: lora(1, 4, 4, 2) | tensors(1, lora_B__weight=(4, 2))},
        "are the same tensor of one layer",
    ),
    "two spellings": (
        {LINEAR: lora(1, 4, 4, 2), "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": lora(1, 4, 4, 2)},
        "is meant by 'lora_unet_.*' and by 'unet.down",
    ),
    "LoHa": (
        {LINEAR: tensors(1, hada_w1_a=(4, 2), hada_w1_b=(2, 6), hada_w2_a=(5, 2), hada_w2_b=(2, 6))},
        "4 rows of the first product do not fit 5 of the second",
    ),
}


@pytest.mark.parametrize(("modules", "said"), REFUSED.values(), ids=REFUSED)
def test_file_that_cannot_be_meant_is_refused_in_a_sentence(tmp_path: Path, modules: dict, said: str):
    path = write_lora(tmp_path / "bad.safetensors", **modules)
    with pytest.raises(CheckpointError, match=said) as error:
        open_lora(path)
    assert str(error.value).startswith("'bad.safetensors'") and str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_names_out_of_a_hostile_file_are_shown_in_one_line(tmp_path: Path):
    path = write_file(tmp_path / "bad.safetensors", {"evil\n\x1b[31m" + "x" * 500 + ".lora_up.weight": stored([[1.0]], "fp32")})
    with pytest.raises(CheckpointError) as error:
        open_lora(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_damaged_file_is_refused_as_any_other(tmp_path: Path):
    path = write_lora(tmp_path / "cut.safetensors", **{LINEAR: lora(1, 4, 4, 2)})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="is cut short"):
        open_lora(path)


TWOS = {"hada_w1_a": (2, 2), "hada_w1_b": (2, 2), "hada_w2_a": (2, 2), "hada_w2_b": (2, 2)}
CORES = {"hada_t1": (2, 2, 3, 3), "hada_t2": (2, 2, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "role"),
    [
        (TWOS | {"hada_w1_a": (2, 2, 3, 3)}, "hada_w1_a"),
        (TWOS | CORES | {"hada_w2_a": (2, 2, 3, 3)}, "hada_w2_a"),
        (TWOS | CORES | {"hada_w2_b": (2, 2, 3, 3)}, "hada_w2_b"),
        ({"lokr_w1": (2, 2, 3, 3), "lokr_w2": (2, 2)}, "lokr_w1"),
        ({"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 2, 3, 3), "lokr_w2": (2, 2)}, "lokr_w1_b"),
        ({"lora_up__weight": (2, 2), "lora_mid__weight": (2, 2, 3, 3), "lora_down__weight": (2, 2, 3, 3)}, "down"),
    ],
)
def test_kernel_where_only_a_matrix_can_stand_is_refused(tmp_path: Path, shapes: dict, role: str):
    path = write_lora(tmp_path / "bad.safetensors", **{KERNEL: tensors(1, **shapes)})
    with pytest.raises(CheckpointError, match=rf"{role} has shape \[2, 2, 3, 3\]; only the tensor beside it may be a kernel"):
        open_lora(path)


def test_matrices_that_are_stored_as_kernels_of_one_are_read(tmp_path: Path):
    ones = {name: (*shape, 1, 1) for name, shape in TWOS.items()}
    flat, deep = (write_lora(tmp_path / f"{n}.safetensors", **{LINEAR: {
        key: drawn(1, key, TWOS[key]).reshape(shapes[key]) for key in TWOS
    }}) for n, shapes in enumerate((TWOS, ones)))  # fmt: skip
    assert torch.equal(delta_of(flat, LINEAR_KEY, (2, 2)), delta_of(deep, LINEAR_KEY, (2, 2)))
