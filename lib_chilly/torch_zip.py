"""Find the tensors of a .ckpt in torch's zip format, as byte ranges that are streamed like a safetensors file's.

torch is not imported and torch.load never called. The archive is as hostile as its pickle: every record that is used
must be stored as it is, inside the file, and shared with no other.
"""

from __future__ import annotations

import hashlib
import math
from typing import TypeGuard

from .dtypes import BY_TORCH_NAME
from .errors import CheckpointError
from .fileio import SourceFile
from .header import MAX_DIMENSIONS, MAX_SIZE, Checkpoint, TensorInfo, is_text, quoted
from .torch_names import StoredTensor
from .torch_pickle import read_pickle
from .zip_records import ZipRecords

MAX_PICKLE_BYTES = 64_000_000


def read_torch_zip(file: SourceFile) -> Checkpoint:
    """Read where the tensors of `file` lie: those under "state_dict", else those at the top level.

    Raises:
        CheckpointError: no torch checkpoint, cut short, damaged, hostile, or it asks to run code.
    """
    size_bytes, mtime_ns = file.identity()
    name = quoted(file.path.name)
    records = ZipRecords(file, name, size_bytes)
    _refuse_strangers(records, name)
    pickled = records.read("data.pkl", MAX_PICKLE_BYTES)
    found = {key: _place(key, tensor, records, name) for key, tensor in _state_dict(read_pickle(pickled, name), name).items()}
    records.refuse_overlaps()
    return Checkpoint(
        path=file.path,
        format="ckpt",
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        header_digest=hashlib.sha256(records.directory + pickled).hexdigest(),
        tensors=dict(sorted(found.items(), key=lambda item: item[1].offset)),
    )


def _refuse_strangers(records: ZipRecords, name: str) -> None:
    if "constants.pkl" in records:
        raise CheckpointError(f"{name} is a TorchScript program, not a checkpoint. Use the model's safetensors release.")
    if "data.pkl" not in records:
        raise CheckpointError(
            f"{name} is a zip archive without a checkpoint's list of tensors (data.pkl). Unpack it and look inside."
        )
    order = records.read("byteorder", 16) if "byteorder" in records else b"little"
    if order != b"little":
        raise CheckpointError(
            f"{name} was saved with byte order {quoted(order.decode('latin-1'))}; only 'little' is read. Use another release."
        )


def _state_dict(root: object, name: str) -> dict[str, StoredTensor]:
    entries = root if isinstance(root, dict) else {}
    inner = entries.get("state_dict")
    if isinstance(inner, dict):
        entries = inner
    tensors = {key: value for key, value in entries.items() if isinstance(value, StoredTensor)}
    if not tensors:
        keys = ", ".join(map(quoted, list(entries)[:5])) or "nothing"
        raise CheckpointError(
            f"{name} holds no tensors at its top level or under 'state_dict', where a model has them: found {keys}. "
            "Choose the model's own file."
        )
    return tensors


def _place(key: str, tensor: StoredTensor, records: ZipRecords, name: str) -> TensorInfo:
    """Turn a view of a storage into bytes of the file, checking all that the pickle says of both."""
    subject = f"{name}: {quoted(key)}"
    if not is_text(key):
        raise CheckpointError(f"{subject} is a key with half a character in it. Use another release.")
    dtype = BY_TORCH_NAME.get(tensor.dtype)
    stored = BY_TORCH_NAME.get(tensor.storage.dtype)
    if dtype is None or stored is None:
        raise CheckpointError(f"{subject} is of type {tensor.dtype}; known are {', '.join(BY_TORCH_NAME)}. Use its fp16 release.")
    shape, stride, offset = tensor.shape, tensor.stride, tensor.offset
    if not (_are_sizes(shape) and _are_sizes(stride) and isinstance(offset, int)) or len(shape) != len(stride) or offset < 0:
        raise CheckpointError(f"{subject} has a shape, strides or an offset that no tensor has. Download it again.")
    elements = math.prod(shape)
    if elements and not (tensor.is_plain and _is_contiguous(shape, stride)):
        raise CheckpointError(
            f"{subject} is stored as a view (shape {shape}, strides {stride}), its values in another order or form. "
            "Save it once with contiguous() tensors, or use its safetensors release."
        )
    record, record_bytes = records.place(f"data/{tensor.storage.key}")
    begin, size_bytes = offset * dtype.size_bytes, elements * dtype.size_bytes
    if tensor.storage.elements * stored.size_bytes != record_bytes or begin + size_bytes > record_bytes:
        raise CheckpointError(
            f"{subject}: its storage {quoted(tensor.storage.key)} has {record_bytes} bytes, the list of tensors says otherwise. "
            "Download it again."
        )
    return TensorInfo(dtype, shape, record + begin, size_bytes)


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size <= MAX_SIZE for size in value)
    )


def _is_contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements lie row-major without gaps; along a dimension of size 1 any stride does."""
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True
