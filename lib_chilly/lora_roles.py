"""What a tensor of a LoRA file is for: the endings of keys in every dialect, and the kinds of modules that their roles make."""

from __future__ import annotations

from collections.abc import Iterable

_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_LOHA_CORES = ("hada_t1", "hada_t2")
_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")

_ENDINGS = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    ".lora_B.weight": "up",
    ".lora_A.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_up.bias": "up_bias",
    ".lora_B.bias": "up_bias",
    ".dora_scale": "magnitude",
    ".lora_magnitude_vector": "row_magnitude",
    ".lora_magnitude_vector.weight": "row_magnitude",
    **{f".{role}": role for role in (*_LOHA, *_LOHA_CORES, *_LOKR)},
    ".diff": "diff",
    ".w_norm": "diff",
    ".diff_b": "diff_b",
    ".b_norm": "diff_b",
    ".on_input": "on_input",
    ".ia3_l": "factors",
    ".alpha": "alpha",
    ".scale": "scale",
    ".weight": "factors_less_one",
}
"""How keys end, to the tensor's role in its module. PEFT's B is `up`, its A `down`; of two endings that fit, the first counts."""
_EVERY_ENDING = tuple(_ENDINGS)

SCALES = frozenset(("alpha", "scale"))
MAGNITUDES = frozenset(("magnitude", "row_magnitude"))
BIASES = frozenset(("diff_b", "up_bias"))
"""Roles that make a module of their own, for the layer's bias."""

_KINDS = {
    frozenset(("up", "down")): "lora",
    frozenset(("up", "down", "mid")): "lora",
    frozenset(_LOHA): "loha",
    frozenset((*_LOHA, *_LOHA_CORES)): "loha",
    **{
        frozenset((*first, *second)): "lokr"
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_t2", "lokr_w2_a", "lokr_w2_b"))
    },
    frozenset(("diff",)): "diff",
    frozenset(("factors_less_one", "on_input")): "ia3",
    frozenset(("factors",)): "ia3",
}


def role_of(key: str) -> tuple[str, str] | None:
    """(the layer's name in the file, the tensor's role); None where the key has an unknown ending."""
    plain = key.replace(".default.", ".").removesuffix(".default")  # the name of an adapter, as PEFT itself writes it
    if not plain.endswith(_EVERY_ENDING):
        return None
    ending = next(each for each in _EVERY_ENDING if plain.endswith(each))
    return plain[: -len(ending)], _ENDINGS[ending]


def kind_of(roles: Iterable[str]) -> str | None:
    """What kind of module these roles make; None for none that is read. Scales and bias go with any, magnitudes not with IA3."""
    there = frozenset(roles) - SCALES - BIASES
    kind = _KINDS.get(there - MAGNITUDES)
    return None if kind == "ia3" and there & MAGNITUDES else kind
