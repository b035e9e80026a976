"""The one table of tensor element types: our name, safetensors tag, torch name, bytes.

Holds no torch objects, so that headers can be read before torch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class DType(NamedTuple):
    """One element type.

    Attributes:
        name: our word for it, as in `--dtype fp16`.
        tag: its name in a safetensors header.
        torch_name: attribute of the torch module.
        size_bytes: bytes of one element.
        is_floating: whether its tensors are merged (others are copied).
    """

    name: str
    tag: str
    torch_name: str
    size_bytes: int
    is_floating: bool


DTYPES = (
    DType("fp64", "F64", "float64", 8, True),
    DType("fp32", "F32", "float32", 4, True),
    DType("fp16", "F16", "float16", 2, True),
    DType("bf16", "BF16", "bfloat16", 2, True),
    DType("fp8_e4m3fn", "F8_E4M3", "float8_e4m3fn", 1, True),
    DType("fp8_e5m2", "F8_E5M2", "float8_e5m2", 1, True),
    DType("int64", "I64", "int64", 8, False),
    DType("int32", "I32", "int32", 4, False),
    DType("int16", "I16", "int16", 2, False),
    DType("int8", "I8", "int8", 1, False),
    DType("uint64", "U64", "uint64", 8, False),
    DType("uint32", "U32", "uint32", 4, False),
    DType("uint16", "U16", "uint16", 2, False),
    DType("uint8", "U8", "uint8", 1, False),
    DType("bool", "BOOL", "bool", 1, False),
)
BY_NAME = {dtype.name: dtype for dtype in DTYPES}
BY_TAG = {dtype.tag: dtype for dtype in DTYPES}
BY_TORCH_NAME = {dtype.torch_name: dtype for dtype in DTYPES}


def torch_dtype(dtype: DType) -> torch.dtype:
    """The torch object of `dtype`. Integers are only ever copied, so an old torch without unsigned ones uses the signed kin."""
    import torch

    return getattr(torch, dtype.torch_name, None) or getattr(torch, dtype.torch_name.removeprefix("u"))
