"""Open a checkpoint read-only: what its header says, never its tensors.

Two formats of files are read, told apart by content and not by suffix: safetensors, and torch's zip. Neither runs code.
A diffusers folder is read as one checkpoint.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .diffusers_folder import INDEX, is_diffusers_folder, joined_folder, weight_files
from .errors import CheckpointError
from .fileio import SourceFile
from .header import Checkpoint as Checkpoint
from .header import TensorInfo as TensorInfo
from .header import quoted
from .safetensors_header import read_safetensors
from .torch_zip import read_torch_zip

_SIGNATURES = (
    (b"GGUF", "is a GGUF file: its blocks are quantised in a way that cannot be merged. Use the safetensors release."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the model itself. Run 'git lfs pull', or download it again."),
    (
        b"\x80",
        "is in the legacy pickle format, which is not read. Open and save it once in a tool that you trust "
        "(torch.save(torch.load(FILE, weights_only=True), NEW) writes the zip format) or use a safetensors release.",
    ),
)
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")
# What tools call the scale of a layer's weight, after the layer's own name.
_SCALES = ("scale_weight", "weight_scale")
# What else quantising leaves beside the weights: scales of activations, and marks that name the format.
_MARKS = ("scale_input", "input_scale", "comfy_quant", "scaled_fp8")
_QUANTISED = {"absmax": "bitsandbytes 4-bit", "quant_map": "bitsandbytes 4-bit", "SCB": "bitsandbytes 8-bit"}


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the header of the checkpoint at `path`, a file or a diffusers folder.

    Raises:
        CheckpointError: no such file, damaged, hostile, or of a kind that is refused.
    """
    if is_diffusers_folder(path):
        files = weight_files(path)
        return joined_folder(path, {component: [_open_file(part) for part in parts] for component, parts in files.items()})
    return _open_file(path)


def _open_file(path: Path) -> Checkpoint:
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise CheckpointError(f"'{path}' is {kind}; a checkpoint file or a diffusers folder (with {INDEX}) was expected.")
    with SourceFile(path) as file:
        size, _ = file.identity()
        start = file.read(0, min(size, 64))
        _refuse_known_strangers(path, start)
        found = read_torch_zip(file) if start.startswith(b"PK\x03\x04") else read_safetensors(file)
    return _with_scales(found)


def _refuse_known_strangers(path: Path, start: bytes) -> None:
    # A safetensors file starts with the length of its header, whose low bytes can look like any of these.
    if start[4:9] == b"\0\0\0\0{":
        return
    name = quoted(path.name)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_PAGE_STARTS):
        raise CheckpointError(f"{name} is a web page saved under a model's name. Download the model itself.")
    if text.startswith(b'{"'):
        raise CheckpointError(
            f"{name} is a JSON text, perhaps a site's refusal saved under a model's name. Download the model itself."
        )
    for signature, sentence in _SIGNATURES:
        if start.startswith(signature):
            raise CheckpointError(f"{name} {sentence}")


def _with_scales(found: Checkpoint) -> Checkpoint:
    """Pair scaled fp8 weights with their scales, and refuse quantised weights that have no plain values."""
    name = quoted(found.path.name)
    tensors = dict(found.tensors)
    consumed = []
    for key, info in found.tensors.items():
        _refuse_quantised(key, name)
        layer, _, ending = key.rpartition(".")
        weight = found.tensors.get(f"{layer}.weight")
        if ending in _SCALES and weight is not None:
            tensors[f"{layer}.weight"] = _scaled(weight, key, info, name)
            consumed.append(key)
        elif ending in _MARKS:
            consumed.append(key)
    for key in consumed:
        del tensors[key]
    return dataclasses.replace(found, tensors=tensors, consumed=tuple(consumed))


def _refuse_quantised(key: str, name: str) -> None:
    kind = _QUANTISED.get(key.rpartition(".")[2])
    if ".quant_state.bitsandbytes__" in key:
        kind = "nf4" if "nf4" in key else "bitsandbytes 4-bit"
    if kind:
        raise CheckpointError(
            f"{name} is quantised to {kind} ({quoted(key)}), which cannot be merged. Use its fp16 or fp8 release."
        )


def _scaled(weight: TensorInfo, key: str, scale: TensorInfo, name: str) -> TensorInfo:
    if scale.elements != 1 or not scale.dtype.is_floating:
        raise CheckpointError(
            f"{name}: {quoted(key)} has shape {scale.shape} of {scale.dtype.name}; "
            "one floating-point scale for the whole tensor is the only kind that is read. Use its fp16 release."
        )
    if not weight.dtype.is_floating:
        raise CheckpointError(
            f"{name}: {quoted(key)} scales a tensor of {weight.dtype.name}, which cannot be merged. Use its fp16 release."
        )
    return dataclasses.replace(weight, scale=scale)
