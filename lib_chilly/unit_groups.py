"""Which units of a network may change places without changing what it computes: found by what its layers are called.

A unit is a row of one weight and a column of the next, with nothing between them but what each unit goes through by itself, or
norms in groups that stay whole, or heads. The channels that residual connections carry from block to block are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .architecture import Architecture
from .diffusers_configs import known_configs, pipeline_of

_HEAD_WIDTH = 64
"""Of a U-Net's heads where their number differs between its levels."""


@dataclass(frozen=True)
class Member:
    """Where a set of units stands in a tensor: in one of the equal parts of an axis, one behind the other."""

    key: str
    axis: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class UnitGroup:
    """Units that change places together.

    Attributes:
        name: the key of the weight that takes the units in.
        units: how many there are in each set.
        blocks: into how many heads, or groups of a norm, they are divided; these change places as wholes.
        sets: the places of those that have an order of their own inside the blocks: of queries and keys, of values.
    """

    name: str
    units: int
    blocks: int
    sets: tuple[tuple[Member, ...], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.key for members in self.sets for member in members))


@dataclass(frozen=True)
class _Kind:
    """Layers that have units: how the key ends that tells them, what divides the units, and their sets."""

    ending: str
    divided_by: str
    sets: tuple[tuple[Member, ...], ...]


def _linear(*layers: str, axis: int = 0, part: int = 0, parts: int = 1) -> tuple[Member, ...]:
    """Weights and biases of layers that put the units out."""
    return tuple(Member(f"{layer}.{what}", axis, part, parts) for layer in layers for what in ("weight", "bias"))


def _inputs(layer: str) -> Member:
    return Member(f"{layer}.weight", 1)


def _fused(part: int) -> tuple[Member, ...]:
    return Member("in_proj_weight", 0, part, 3), Member("in_proj_bias", 0, part, 3)


_KINDS = (
    _Kind(".out_layers.3.weight", "norm", ((*_linear("in_layers.2", "emb_layers.1", "out_layers.0"), _inputs("out_layers.3")),)),
    _Kind(".conv2.weight", "norm", ((*_linear("conv1", "norm2"), _inputs("conv2")),)),
    _Kind(
        ".net.2.weight",
        "",
        ((*_linear("net.0.proj", part=0, parts=2), *_linear("net.0.proj", part=1, parts=2), _inputs("net.2")),),
    ),
    _Kind(".fc2.weight", "", ((*_linear("fc1"), _inputs("fc2")),)),
    _Kind(".c_proj.weight", "", ((*_linear("c_fc"), _inputs("c_proj")),)),
    _Kind("time_embed.2.weight", "", ((*_linear("time_embed.0"), _inputs("time_embed.2")),)),
    _Kind("label_emb.0.2.weight", "", ((*_linear("label_emb.0.0"), _inputs("label_emb.0.2")),)),
    _Kind(".to_out.0.weight", "heads", (_linear("to_q", "to_k"), (*_linear("to_v"), _inputs("to_out.0")))),
    _Kind(".self_attn.out_proj.weight", "heads", (_linear("q_proj", "k_proj"), (*_linear("v_proj"), _inputs("out_proj")))),
    _Kind(".attn.out_proj.weight", "heads", ((*_fused(0), *_fused(1)), (*_fused(2), _inputs("out_proj")))),
    _Kind(".proj_out.weight", "", (_linear("q", "k"), (*_linear("v"), _inputs("proj_out")))),
)
"""The first that fits a key is taken. VAEs' attention has one head."""


def has_units(architecture: Architecture) -> bool:
    """Whether the units of such models are known."""
    return pipeline_of(architecture.name) is not None


def unit_groups(architecture: Architecture, shapes: Mapping[str, Sequence[int]]) -> Iterator[UnitGroup]:
    """The groups of a key set; no tensor is in two of them. Those that lack a weight, or whose sizes do not fit, are left out.

    Args:
        shapes: canonical key to shape.
    """
    for key in sorted(shapes) if has_units(architecture) else ():
        kind = next((kind for kind in _KINDS if key.endswith(kind.ending)), None)
        if kind is not None and (group := _group(architecture, kind, key, shapes)):
            yield group


def _group(architecture: Architecture, kind: _Kind, key: str, shapes: Mapping[str, Sequence[int]]) -> UnitGroup | None:
    last = kind.sets[-1][-1].key
    prefix, shape = key.removesuffix(last), shapes[key]
    sets = tuple(tuple(Member(prefix + each.key, each.axis, each.part, each.parts) for each in members) for members in kind.sets)
    there = tuple(tuple(member for member in members if member.key in shapes) for members in sets)
    lacking = {member.key for members in sets for member in members} - shapes.keys()
    if len(shape) < 2 or shape[1] < 1 or any(key.endswith("weight") for key in lacking):
        return None
    units = shape[1]
    blocks = _blocks(architecture, kind.divided_by, architecture.component_of(key), units)
    fits = all(
        len(shapes[member.key]) > member.axis and shapes[member.key][member.axis] == units * member.parts
        for members in there
        for member in members
    )
    return UnitGroup(key, units, blocks, there) if fits and units % blocks == 0 else None


def _blocks(architecture: Architecture, divided_by: str, component: str | None, units: int) -> int:
    if not divided_by:
        return 1
    config = known_configs(architecture.name)[f"{component}/config.json"]
    if divided_by == "norm":
        return config["norm_num_groups"]
    if component != "unet":
        return config["num_attention_heads"]
    heads = config["attention_head_dim"]  # which is what diffusers calls their number
    return heads if isinstance(heads, int) else max(1, units // _HEAD_WIDTH)
