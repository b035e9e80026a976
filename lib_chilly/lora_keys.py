"""Which weight of a checkpoint a LoRA file means by a layer's name, in every spelling that is in use.

Spellings differ in their prefix, in the names of the blocks (the original's or diffusers'), and in whether dots or underscores
join parts; with underscores for all of them, a name is looked up as it stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .architecture import known_keys, load
from .diffusers_flux_keys import SWAPPED_HALVES, WHOLE, Share, flux_layers
from .diffusers_keys import key_map
from .dtypes import BY_NAME
from .header import TensorInfo
from .tensor_views import turned

ARCHITECTURES = ("sd1", "sd2", "sdxl", "flux")
"""Those whose LoRAs are read, the most frequent first: of two that a file fits alike, the first is meant."""


@dataclass(frozen=True)
class Place:
    """Where a layer's weight stands in a checkpoint.

    Attributes:
        key: of the checkpoint.
        share: which of that tensor's rows.
        is_turned: whether the checkpoint has its rows and columns exchanged.
        is_swapped: whether the checkpoint has the two halves of its rows exchanged.
    """

    key: str
    share: Share = WHOLE
    is_turned: bool = False
    is_swapped: bool = False

    def bias(self) -> Place:
        """Where the layer's bias stands, if it has one."""
        return replace(self, key=self.key.removesuffix("weight") + "bias", is_turned=False)

    def as_layer(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the whole weight, turned as the layer has it."""
        return tuple(shape[::-1] if self.is_turned else shape)

    def size_in(self, shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns, a kernel's window among them, of what is the layer's in a weight of this shape."""
        first, end, of = self.share
        rows, *others = self.as_layer(shape)
        return rows * (end - first) // of, math.prod(others)


_PREFIXES = {
    "unet": (
        "lora_unet_",
        "lora_transformer_",
        "lycoris_",
        "unet_",
        "transformer_",
        "diffusion_model_",
        "model_diffusion_model_",
        "",
    ),
    "text_encoder": (
        "lora_te_",
        "lora_te1_",
        "text_encoder_",
        "clip_l_transformer_",
        "clip_l_",
        "text_encoders_clip_l_transformer_",
        "0_transformer_",
        "transformer_",
        "model_",
        "",
    ),
    "text_encoder_2": (
        "lora_te2_",
        "lora_te3_",
        "text_encoder_2_",
        "clip_g_transformer_",
        "clip_g_",
        "text_encoders_clip_g_transformer_",
        "t5xxl_transformer_",
        "t5xxl_",
        "text_encoders_t5xxl_transformer_",
        "1_model_",
    ),
    "key": ("",),
}
"""Component to what its layers' names start with: kohya's, LyCORIS', diffusers', ComfyUI's, the webui's. `key`: whole keys."""

_KOHYA = {
    "sd1": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
    "sd2": {"unet": "lora_unet_", "text_encoder": "lora_te_"},
    "sdxl": {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
    "flux": {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te3_"},
}
"""What kohya's scripts, which most programs read, put before layers' names."""
_WITH_ORIGINAL_BLOCKS = ("sdxl", "flux")
"""Of these they name the U-Net's layers as the original does."""

_PEFT = "base_model_model_"
_OLD_HEADS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def place_of(layer: str, architecture: str) -> Place | None:
    """The weight that a file means by `layer`; None where the architecture has no such layer."""
    name = layer.replace(".processor.", ".").replace(".", "_").removeprefix(_PEFT)
    tables = _tables(architecture)
    for component, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            if name.startswith(prefix) and (found := tables[component].get(name[len(prefix) :])):
                return found
    return None


@functools.cache
def _tables(architecture: str) -> Mapping[str, Mapping[str, Place]]:
    """Component to its layers' names without prefix, in underscores, to their places."""
    found: dict[str, dict[str, Place]] = {component: {} for component in _PREFIXES}
    for component, name, place in _named(architecture):
        for spelling in _spellings(name.replace(".", "_"), component):
            found[component].setdefault(spelling, place)
    return found


@functools.cache
def kohya_layers(architecture: str) -> Mapping[str, tuple[tuple[str, Place], ...]]:
    """Key of a matrix or kernel to the layers that it is, by the names that kohya's scripts write."""
    row, found = load(architecture), {}
    for key, (_, shape) in known_keys(architecture).items():
        layer, component = _layer(key), row.component_of(key)
        if layer is None or component not in _KOHYA[architecture] or len(shape) < 2:
            continue
        is_original = component == "unet" and architecture in _WITH_ORIGINAL_BLOCKS
        named = [] if is_original else list(_diffusers_names(architecture, key))
        if not named and layer == key:  # what diffusers does not have outside of layers
            continue
        named = named or [(component, _without(layer, architecture, component), Place(key))]
        found[key] = tuple((_KOHYA[architecture][part] + name.replace(".", "_"), place) for part, name, place in named)
    return found


def _spellings(name: str, component: str) -> Iterator[str]:
    """`name` as it is today and as it was, or will be."""
    yield name
    if name.endswith("_to_out_0"):
        yield name.removesuffix("_0")
    if component in ("text_encoder", "text_encoder_2"):
        yield name.removeprefix("text_model_")  # transformers since 5.6
        start, _, head = name.partition("_self_attn_")
        if head in _OLD_HEADS:
            yield f"{start}_self_attn_{_OLD_HEADS[head]}"


def _named(architecture: str) -> Iterator[tuple[str, str, Place]]:
    """(component, a layer's name, its place): diffusers' names before the original's."""
    row = load(architecture)
    for key in known_keys(architecture):
        layer = _layer(key)
        component = row.component_of(key)
        if layer is None or component is None:
            continue
        if component in _PREFIXES:
            yield from _diffusers_names(architecture, key)
            if layer != key:  # that would be what diffusers has turned, under one name with it
                yield component, _without(layer, architecture, component), Place(key)
        yield "key", layer, Place(key)
    if architecture == "flux":
        prefix = row.components["unet"][0]
        for name, original, share in flux_layers():
            is_swapped = original == SWAPPED_HALVES
            yield "unet", name, Place(f"{prefix}{original}.weight", (0, 2, 2) if is_swapped else share, is_swapped=is_swapped)


def _layer(key: str) -> str | None:
    """The layer whose weight `key` is; a matrix that stands outside of layers is one."""
    for ending in (".weight", "_weight"):
        if key.endswith(ending):
            return key.removesuffix(ending)
    return key if key.endswith(".text_projection") else None


def _without(layer: str, architecture: str, component: str) -> str:
    """A layer's name as the component's own files have it."""
    inner = layer.removeprefix(load(architecture).components[component][0])
    return inner.removeprefix("model.") if inner.startswith("model.") else inner.removeprefix("transformer.")


def _diffusers_names(architecture: str, key: str) -> Iterator[tuple[str, str, Place]]:
    names = key_map(architecture)
    shape = known_keys(architecture)[key][1]
    if names is None or (places := names.places(key, TensorInfo(BY_NAME["fp16"], shape, 0, 0)))[0][0] == key:
        return
    for part, (name, view) in enumerate(places):
        component, _, inner = name.partition("/")
        if layer := _layer(inner):
            yield component, layer, Place(key, (part, part + 1, len(places)), is_turned=view is turned)
