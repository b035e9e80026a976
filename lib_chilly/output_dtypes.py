"""Which dtype each tensor of the output has, by the save options; what fp8 is used for and what stays fp16."""

from __future__ import annotations

import re
from typing import NamedTuple

from .checkpoint import TensorInfo
from .dtypes import BY_NAME, DType
from .recipe import Recipe

PLAIN_FP8, SCALED_FP8 = "fp8_e4m3fn", "fp8_scaled"
PLAIN_DTYPES = ("fp16", "bf16", "fp32", "source", PLAIN_FP8)
OUTPUT_DTYPES = (*PLAIN_DTYPES, SCALED_FP8)

COMPONENT_OPTIONS = {
    "unet_dtype": OUTPUT_DTYPES,
    # Readers look for scales in the UNet's linear layers alone; anywhere else they would take the stored values as they are.
    "text_encoder_dtype": PLAIN_DTYPES,
    "vae_dtype": PLAIN_DTYPES,
}
"""Save option to the dtypes that it takes."""

_EMBEDDING = re.compile(r".*(embedding|\.shared\.|embed_tokens|relative_attention_bias).*")


class OutputDType(NamedTuple):
    """How one tensor is written; `is_scaled` where it is divided by a scale of its own."""

    dtype: DType
    is_scaled: bool = False


def option_of(component: str | None) -> str:
    """The save option that says a component's dtype."""
    return {"unet": "unet_dtype", "vae": "vae_dtype"}.get(component or "", "text_encoder_dtype")


def default_of(option: str, dtype: str) -> str:
    """What a component's dtype is when only `dtype` is given: fp8 is for the UNet, other components would suffer from it."""
    return "fp16" if dtype in (PLAIN_FP8, SCALED_FP8) and option != "unet_dtype" else dtype


def wanted_dtype(recipe: Recipe, component: str | None) -> str:
    """The name of the dtype that a component is to have."""
    option = option_of(component)
    return recipe.option(option) or default_of(option, recipe.option("dtype") or "fp16")


def wanted_dtypes(recipe: Recipe) -> dict[str, str]:
    """ "dtype" and each component's option to what it comes to, the default left out where it is the component's too."""
    dtype = recipe.option("dtype") or "fp16"
    options = {option: recipe.option(option) or default_of(option, dtype) for option in COMPONENT_OPTIONS}
    return {"dtype": dtype} | {option: value for option, value in options.items() if value != dtype}


def output_dtype(wanted: str, key: str, first: TensorInfo) -> OutputDType:
    """How a floating-point tensor is written.

    Args:
        wanted: what its component is to have.
        first: of the first source that holds it.
    """
    if wanted == "source":
        return OutputDType(BY_NAME["fp16"] if first.scale else first.dtype)  # scaled fp8 is written as what it stands for
    if wanted == SCALED_FP8:
        is_scaled = key.endswith(".weight") and len(first.shape) == 2
        return OutputDType(BY_NAME[PLAIN_FP8 if is_scaled else "fp16"], is_scaled)
    if wanted == PLAIN_FP8:
        return OutputDType(BY_NAME[PLAIN_FP8 if is_matrix(key, first.shape) else "fp16"])
    return OutputDType(BY_NAME[wanted])


def is_matrix(key: str, shape: tuple[int, ...]) -> bool:
    """Weights of linear layers and convolutions: most of the bytes, and least hurt by 3 bits of mantissa."""
    return key.endswith("weight") and len(shape) > 1 and not _EMBEDDING.fullmatch(key)
