"""What the names in a checkpoint's pickle stand for: the whole list of those that are allowed, and no code behind any of them.

A call is never made; `value_of_call` says which value it would have had, as far as tensors are concerned.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dtypes import BY_TORCH_NAME

STORAGES = {
    "torch.storage.UntypedStorage": "uint8",
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
_OTHER_DTYPES = ("complex64", "complex128", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
_DTYPES = {f"torch.{name}": name for name in (*BY_TORCH_NAME, *_OTHER_DTYPES)}
# How many arguments each has before the one, often left out, that says what else happens to the stored values.
_TENSORS = {
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 6,
    "torch._utils._rebuild_tensor_v3": 7,
}
# Calls that stand for their first argument.
_WRAPPERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.Size"}
_DICTS = {"collections.OrderedDict", "collections.defaultdict"}
_BUILTINS = ("set", "frozenset", "list", "dict", "tuple", "int", "long", "float", "complex", "str", "unicode", "bool", "bytes")
# What training tools leave beside the weights: settings, counters, the best score so far.
_PLACEHOLDERS = {
    "torch.device",
    "collections.Counter",
    "_codecs.encode",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS),
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
}
ALLOWED = frozenset({*STORAGES, *_DTYPES, *_TENSORS, *_WRAPPERS, *_DICTS, *_PLACEHOLDERS})

IGNORED = object()
"""Stands for every value that says nothing about tensors."""


@dataclass(frozen=True, eq=False)
class Name:
    """An allowed name that the pickle asked for."""

    text: str


@dataclass(frozen=True, eq=False)
class Storage:
    """The bytes of one record of the archive: `data/KEY`, `elements` of torch's type `dtype`."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage as the pickle describes it; nothing in it is checked yet.

    Attributes:
        offset, shape, stride: in elements of `dtype`, whatever the pickle holds there.
        is_plain: whether the stored values are the tensor's, not to be negated or conjugated on the way.
    """

    storage: Storage
    dtype: str
    offset: object
    shape: object
    stride: object
    is_plain: bool


class Meaningless(Exception):
    """The pickle is none that torch wrote."""


def value_of_call(name: str, arguments: tuple[object, ...]) -> object:
    """What calling `name`, one of ALLOWED, stands for.

    Returns:
        a StoredTensor, a new dict, the first argument, or IGNORED.

    Raises:
        Meaningless: torch never calls it with such arguments.
    """
    if name in _TENSORS:
        return _tensor(name, arguments)
    if name in _WRAPPERS:
        if not arguments:
            raise Meaningless
        return arguments[0]
    if name in _DICTS:
        if name == "collections.OrderedDict" and arguments:
            raise Meaningless  # its keys would be lost: lists are not kept
        return {}
    return IGNORED


def _tensor(name: str, arguments: tuple[object, ...]) -> StoredTensor:
    plain_arguments = _TENSORS[name]
    if not plain_arguments <= len(arguments) <= plain_arguments + 1:
        raise Meaningless
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, Storage):
        raise Meaningless
    dtype = storage.dtype
    if plain_arguments == 7:
        asked = arguments[6]
        if not isinstance(asked, Name) or asked.text not in _DTYPES:
            raise Meaningless
        dtype = _DTYPES[asked.text]
    return StoredTensor(storage, dtype, offset, shape, stride, is_plain=not any(arguments[plain_arguments:]))
