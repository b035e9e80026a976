"""Open a checkpoint read-only: what its header says, never its tensors.

Two formats are read, told apart by content and not by suffix: safetensors, and torch's zip. Neither runs code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from .dtypes import DType
from .errors import CheckpointError
from .fileio import SourceFile


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies in its file.

    Attributes:
        dtype: element type as stored.
        shape: sizes of its dimensions; () is one number.
        offset: first byte, counted from the start of the file.
        size_bytes: bytes, contiguous, row-major, little-endian.
        scale: for scaled fp8, the one-element tensor that the stored values are multiplied by.
    """

    dtype: DType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int
    scale: TensorInfo | None = None

    @property
    def elements(self) -> int:
        return self.size_bytes // self.dtype.size_bytes


@dataclass(frozen=True)
class Checkpoint:
    """The header of one file.

    Attributes:
        path: where it was opened, symlinks as given.
        format: "safetensors" or "ckpt".
        size_bytes, mtime_ns, header_digest: what says that the file is still the same; the digest is a sha256 in hex.
        tensors: key to place, in the order in which they lie in the file.
        metadata: `__metadata__` with every value as text.
        consumed: keys of scales and markers that dequantising uses up, so that no output has them.
    """

    path: Path
    format: str
    size_bytes: int
    mtime_ns: int
    header_digest: str
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    consumed: tuple[str, ...] = ()


_SIGNATURES = (
    (b"GGUF", "is a GGUF file: its blocks are quantised in a way that cannot be merged. Use the safetensors release."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the model itself. Run 'git lfs pull', or download it again."),
    (b"\x80", "is in the legacy pickle format, which is not read. Open and save it once in a tool that you trust "
              "(torch.save(torch.load(FILE, weights_only=True), NEW) writes the zip format) or use a safetensors release."),
)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the header of the checkpoint at `path`.

    Raises:
        CheckpointError: no such file, damaged, hostile, or of a kind that is refused.
    """
    from .safetensors_header import read_safetensors
    from .torch_zip import read_torch_zip

    if path.is_dir():
        raise CheckpointError(f"'{path}' is a folder; a checkpoint file was expected.")
    with SourceFile(path) as file:
        size, _ = file.identity()
        start = file.read(0, min(size, 64))
        _refuse_known_strangers(path, start)
        found = read_torch_zip(file) if start.startswith(b"PK\x03\x04") else read_safetensors(file)
    return _with_scales(found)


def _refuse_known_strangers(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"'{path.name}' is a web page saved under a model's name. Download the model itself.")
    for signature, sentence in _SIGNATURES:
        # A safetensors header of exactly 128 bytes starts with 0x80 too; its ninth byte tells it from a pickle.
        if start.startswith(signature) and not start[8:9] == b"{":
            raise CheckpointError(f"'{path.name}' {sentence}")


def _with_scales(found: Checkpoint) -> Checkpoint:
    """Pair scaled fp8 weights with their scales, and refuse quantised weights that have no plain values."""
    tensors = dict(found.tensors)
    for key in tensors:
        if ".quant_state.bitsandbytes__" in key or key.endswith((".absmax", ".quant_map")):
            kind = "nf4" if "nf4" in key else "bitsandbytes 4-bit"
            raise CheckpointError(
                f"'{found.path.name}' is quantised to {kind} ('{key}'), which cannot be merged. Use its fp16 or fp8 release."
            )
    consumed = []
    for key in found.tensors:
        if key.endswith(".scale_weight"):
            weight_key = key.removesuffix("scale_weight") + "weight"
            scale, weight = tensors[key], tensors.get(weight_key)
            if scale.elements != 1 or not scale.dtype.is_floating:
                raise CheckpointError(
                    f"'{found.path.name}': '{key}' has shape {scale.shape} of {scale.dtype.name}; one floating-point scale for the "
                    "whole tensor is the only kind that is read."
                )
            if weight is not None:
                tensors[weight_key] = dataclasses.replace(weight, scale=scale)
            consumed.append(key)
        elif key.endswith(".scale_input") or key.split(".")[-1] == "scaled_fp8":
            consumed.append(key)
    for key in consumed:
        del tensors[key]
    return dataclasses.replace(found, tensors=tensors, consumed=tuple(consumed))
