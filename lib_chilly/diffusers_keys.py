"""What diffusers calls the tensors of an original checkpoint, and the other way round: facts, from the models' block structure.

A tensor of a diffusers folder is named FOLDER/KEY here, such as `unet/conv_in.weight`. Names that have no original key, and
original keys that have no name, stand for themselves.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .header import TensorInfo
from .tensor_views import View, joined, squared, third, turned, windowed

COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")
"""The folders whose tensors a checkpoint has."""

_Pairs = Iterator[tuple[str, str]]
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."

_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"} | {
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLD_VAE_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
_CLIP_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"} | {
    "self_attn.out_proj": "attn.out_proj"
}
_HEADS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Structure:
    """What the key names of one architecture follow from.

    Attributes:
        levels: resolutions of the U-Net.
        attentive: the levels that have attention, 0 the largest.
        clip: prefix of the text encoder that both write alike; empty where there is none.
        open_clip: folder, prefix and layers of the text encoder that is OpenCLIP's in the original; None where there is none.
    """

    levels: int
    attentive: range
    clip: str
    open_clip: tuple[str, str, int] | None


STRUCTURES = {
    "sd1": Structure(4, range(3), "cond_stage_model.transformer.", None),
    # OpenCLIP's 24th layer is in the original file; nothing uses it, and diffusers does not have it.
    "sd2": Structure(4, range(3), "", ("text_encoder", "cond_stage_model.model.", 23)),
    "sdxl": Structure(
        3, range(1, 3), "conditioner.embedders.0.transformer.", ("text_encoder_2", "conditioner.embedders.1.model.", 32)
    ),
}


class KeyMap:
    """diffusers' names of one architecture's keys, both ways."""

    def __init__(self, structure: Structure):
        pairs = list(_pairs(structure))
        self._original = dict(pairs)
        # Old spellings are read and never written: of several names of a key the first is today's.
        self._name = {original: name for name, original in reversed(pairs)}
        self._fused = dict(_fused(structure))
        self._piece_of = {name: key for key, names in self._fused.items() for name in names}

    def original(self, tensors: Mapping[str, TensorInfo]) -> Iterator[tuple[str, str, TensorInfo | None]]:
        """(a name of the folder, its original key, the tensor as the original has it) of every tensor of a folder.

        Of names that the original fuses the first is given; the tensor is None where its kin are missing or do not fit.
        """
        for name, info in tensors.items():
            if name not in self._piece_of:
                renamed = _renamed(name, self._original)
                yield name, renamed or name, _original_view(renamed, info)(info) if renamed else info
                continue
            key = self._piece_of[name]
            present = [tensors[other] for other in self._fused[key] if other in tensors]
            if info is present[0]:
                yield name, key, joined(present) if len(present) == len(_HEADS) else None

    def places(self, key: str, info: TensorInfo) -> list[tuple[str, View]]:
        """(name, how it sees the original tensor) of what a folder has for an original key."""
        if key in self._fused and info.shape and info.shape[0] % len(_HEADS) == 0:
            return [(name, third(number)) for number, name in enumerate(self._fused[key])]
        renamed = _renamed(key, self._name)
        return [(renamed, _folder_view(key, info))] if renamed else [(key, _as_it_is)]


def name_of(component: str, key: str) -> str:
    """The name of a key in a component's file; without a component it stands for itself.

    transformers leaves out `text_model.` since 5.6; here it always stands.
    """
    if component.startswith("text_encoder") and key.startswith(("embeddings.", "encoder.", "final_layer_norm.")):
        key = f"text_model.{key}"
    return f"{component}/{key}" if component else key


@functools.cache
def key_map(architecture: str) -> KeyMap | None:
    """The names of an architecture; None where its folders are not known."""
    structure = STRUCTURES.get(architecture)
    return KeyMap(structure) if structure else None


def _renamed(name: str, table: Mapping[str, str]) -> str | None:
    """`name` with its longest start that the table has replaced; starts end with a dot, unless they are the whole name."""
    if name in table:
        return table[name]
    end = len(name)
    while (end := name.rfind(".", 0, end)) >= 0:
        if (found := table.get(name[: end + 1])) is not None:
            return found + name[end + 1 :]
    return None


def _is_vae_attention(key: str) -> bool:
    return re.fullmatch(r"first_stage_model\.(en|de)coder\.mid\.attn_1\.(q|k|v|proj_out)\.weight", key) is not None


def _original_view(key: str, info: TensorInfo) -> View:
    if len(info.shape) == 2 and key.endswith(".text_projection"):
        return turned
    return windowed if len(info.shape) == 2 and _is_vae_attention(key) else _as_it_is


def _folder_view(key: str, info: TensorInfo) -> View:
    if len(info.shape) == 2 and key.endswith(".text_projection"):
        return turned
    return squared if info.shape[2:] == (1, 1) and _is_vae_attention(key) else _as_it_is


def _as_it_is(info: TensorInfo) -> TensorInfo:
    return info


def _pairs(structure: Structure) -> _Pairs:
    """(start of a diffusers name, start of the original key)."""
    yield from _under("unet/", _UNET, _unet(structure))
    yield from _under("vae/", _VAE, _vae())
    if structure.clip:
        yield "text_encoder/text_model.", f"{structure.clip}text_model."
    if structure.open_clip:
        folder, prefix, layers = structure.open_clip
        yield from _under(f"{folder}/", prefix, _open_clip(layers))
        if folder == "text_encoder_2":  # the other one has no use for it
            yield f"{folder}/text_projection.weight", f"{prefix}text_projection"


def _under(folder: str, prefix: str, pairs: _Pairs) -> _Pairs:
    return ((folder + name, prefix + key) for name, key in pairs)


def _unet(structure: Structure) -> _Pairs:
    yield from {
        "conv_in.": "input_blocks.0.0.",
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "add_embedding.linear_1.": "label_emb.0.0.",
        "add_embedding.linear_2.": "label_emb.0.2.",
        "mid_block.attentions.0.": "middle_block.1.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
    }.items()
    yield from _named("mid_block.resnets.0.", "middle_block.0.", _RESNET)
    yield from _named("mid_block.resnets.1.", "middle_block.2.", _RESNET)
    for level in range(structure.levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{structure.levels - 1 - level}"
        last = 3 * (structure.levels - 1 - level) + 2
        attends = level in structure.attentive
        for number in range(2):
            yield from _block(f"{down}.{{}}.{number}.", f"input_blocks.{3 * level + 1 + number}.", attends)
        for number in range(3):
            yield from _block(f"{up}.{{}}.{number}.", f"output_blocks.{last - 2 + number}.", attends)
        if level + 1 < structure.levels:
            yield f"{down}.downsamplers.0.conv.", f"input_blocks.{3 * level + 3}.0.op."
        if level:
            yield f"{up}.upsamplers.0.conv.", f"output_blocks.{last}.{2 if attends else 1}.conv."


def _block(name: str, key: str, attends: bool) -> _Pairs:
    yield from _named(name.format("resnets"), f"{key}0.", _RESNET)
    if attends:
        yield name.format("attentions"), f"{key}1."


def _vae() -> _Pairs:
    yield from {"quant_conv.": "quant_conv.", "post_quant_conv.": "post_quant_conv."}.items()
    resnet = {"conv_shortcut": "nin_shortcut"} | {name: name for name in ("norm1", "conv1", "norm2", "conv2")}
    for half in ("encoder", "decoder"):
        yield from _named(f"{half}.", f"{half}.", {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out"})
        for number in range(2):
            yield from _named(f"{half}.mid_block.resnets.{number}.", f"{half}.mid.block_{number + 1}.", resnet)
        for spelling in (_VAE_ATTENTION, _OLD_VAE_ATTENTION):
            yield from _named(f"{half}.mid_block.attentions.0.", f"{half}.mid.attn_1.", spelling)
    for level in range(4):
        for number in range(2):
            yield from _named(f"encoder.down_blocks.{level}.resnets.{number}.", f"encoder.down.{level}.block.{number}.", resnet)
        for number in range(3):
            yield from _named(f"decoder.up_blocks.{3 - level}.resnets.{number}.", f"decoder.up.{level}.block.{number}.", resnet)
        yield f"encoder.down_blocks.{level}.downsamplers.0.conv.", f"encoder.down.{level}.downsample.conv."
        yield f"decoder.up_blocks.{3 - level}.upsamplers.0.conv.", f"decoder.up.{level}.upsample.conv."


def _open_clip(layers: int) -> _Pairs:
    yield from {
        "text_model.embeddings.token_embedding.": "token_embedding.",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.": "ln_final.",
    }.items()
    for layer in range(layers):
        yield from _named(f"text_model.encoder.layers.{layer}.", f"transformer.resblocks.{layer}.", _CLIP_LAYER)


def _named(name: str, key: str, names: Mapping[str, str]) -> _Pairs:
    return ((f"{name}{inner}.", f"{key}{original}.") for inner, original in names.items())


def _fused(structure: Structure) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(original key, the names that stand one below the other in it)."""
    if structure.open_clip is None:
        return
    folder, prefix, layers = structure.open_clip
    for layer in range(layers):
        for kind in ("weight", "bias"):
            names = tuple(f"{folder}/text_model.encoder.layers.{layer}.self_attn.{head}.{kind}" for head in _HEADS)
            yield f"{prefix}transformer.resblocks.{layer}.attn.in_proj_{kind}", names
