"""Made-up checkpoints with an architecture's true keys: for trying, testing and measuring without anybody's model."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from .architecture import architectures, known_keys, load
from .checkpoint import open_checkpoint
from .diffusers_folder import is_replaceable
from .dtypes import BY_NAME, BY_TORCH_NAME, DType, torch_dtype
from .engine import check_output, merge
from .errors import ArchitectureError, OutputError, RecipeError
from .fileio import SourceFile
from .header import Checkpoint
from .models import ModelLibrary
from .plan import Plan, make_plan
from .plan_options import FOLDER
from .recipe_text import parse_recipe
from .writer import CheckpointWriter, build_header, check_target

_SMALLEST_REDUCED, _REDUCTION = 128, 64

Shapes = Mapping[str, tuple[DType, tuple[int, ...]]]


def synthesise(
    architecture: str,
    size: str,
    output: Path,
    *,
    seed: int = 0,
    dtype: str = "fp16",
    without: tuple[str, ...] = (),
    inpainting: bool = False,
    file_format: str = "safetensors",
) -> None:
    """Write a checkpoint of random weights; the same arguments give the same file.

    Args:
        architecture: one of architecture_names().
        size: "full" for the true shapes, "tiny" for the same keys with dimensions of 128 and more divided by 64.
        dtype: of floating-point tensors: "fp16", "bf16" or "fp32".
        without: components to leave out.
        inpainting: give the first convolution the input channels of an inpainting model.
        file_format: "safetensors", "ckpt" for torch's zip, or "diffusers" for a folder.

    Raises:
        ArchitectureError: a component, or a kind of model, that this architecture does not have.
        OutputError: the file cannot be written.
    """
    shapes = _shapes(architecture, size, dtype, without, inpainting)
    write_made(shapes, lambda key: _make(key, shapes[key][1], seed), output, file_format)


def synthesise_near(
    base: Path,
    drift: float,
    output: Path,
    *,
    seed: int = 0,
    dtype: str = "fp16",
    without: tuple[str, ...] = (),
    file_format: str = "safetensors",
) -> None:
    """Write `base` with noise of `drift` times each tensor's standard deviation added; arguments and errors as `synthesise`."""
    if not (math.isfinite(drift) and drift >= 0):
        raise RecipeError(f"drift is {drift}; it must be 0 or more.")
    checkpoint = open_checkpoint(base)
    kept = _without(checkpoint.tensors, without, base.name)
    shapes = {
        key: (
            BY_NAME[dtype] if checkpoint.tensors[key].dtype.is_floating else checkpoint.tensors[key].dtype,
            checkpoint.tensors[key].shape,
        )
        for key in kept
    }
    with SourceFile(base) as file:
        write_made(shapes, lambda key: _drift(_read(file, checkpoint, key), key, drift, seed), output, file_format)


def _shapes(architecture: str, size: str, dtype: str, without: tuple[str, ...], inpainting: bool) -> Shapes:
    rows = known_keys(architecture)
    shapes = {}
    for key in _without(rows, without, architecture):
        stored, shape = rows[key]
        kind = BY_NAME[dtype] if BY_TORCH_NAME[stored].is_floating else BY_TORCH_NAME[stored]
        shapes[key] = (kind, shape if size == "full" else tuple(_reduced(dimension) for dimension in shape))
    if inpainting:
        row = load(architecture)
        channels = [count for count, what in row.conv_in.extended.items() if what == "inpainting"]
        if not channels or row.conv_in.key not in shapes:
            raise ArchitectureError(f"there are no inpainting models of {row.title} here. Leave --inpainting out.")
        kind, (outer, _, *window) = shapes[row.conv_in.key]
        shapes[row.conv_in.key] = (kind, (outer, channels[0], *window))
    return shapes


def _reduced(dimension: int) -> int:
    return dimension // _REDUCTION or 1 if dimension >= _SMALLEST_REDUCED and dimension != 1000 else dimension


def _without(keys: Mapping[str, object], components: tuple[str, ...], name: str) -> list[str]:
    """The keys that belong to none of the components."""
    prefixes: list[str] = []
    for component in components:
        found = [
            p
            for architecture in architectures()
            for p in architecture.components.get(component, ())
            if any(key.startswith(p) for key in keys)
        ]
        if not found:
            raise ArchitectureError(
                f"'{name}' has no component '{component}'. Components: unet, text_encoder, text_encoder_2, text_encoder_3, vae."
            )
        prefixes += found
    return [key for key in keys if not key.startswith(tuple(prefixes))] if prefixes else list(keys)


def write_made(shapes: Shapes, make: Callable[[str], torch.Tensor], output: Path, file_format: str = "safetensors") -> None:
    """Write the tensors that `make` gives for the keys of `shapes`, over what has the same name.

    Raises:
        OutputError: it cannot be written.
    """
    if file_format == FOLDER:
        _write_folder(shapes, make, output)
        return
    target = check_target(output, overwrite=True)
    order = sorted(shapes, key=lambda key: (-shapes[key][0].size_bytes, key))
    tensors = ((key, make(key).to(torch_dtype(shapes[key][0]))) for key in order)
    if file_format == "ckpt":
        temporary = target.with_name(f".{target.name}.partial")
        try:
            torch.save({"state_dict": dict(tensors)}, temporary)
            temporary.replace(target)
        except (OSError, RuntimeError) as error:  # torch's zip writer says both when a disk is full
            raise OutputError(f"'{target}' cannot be written: {str(error).splitlines()[0]}") from None
        finally:
            temporary.unlink(missing_ok=True)
        return
    header, size = _header_of(shapes, order)
    with CheckpointWriter(target, size, overwrite=True) as writer:
        writer.write_at(header, 0)
        offset = len(header)
        for data in _bytes_of(tensors):
            writer.write_at(data, offset)
            offset += len(data)
        writer.commit()


def _write_folder(shapes: Shapes, make: Callable[[str], torch.Tensor], output: Path) -> None:
    """A file, planned while its tensors are a hole, so that what cannot be a folder is said at once; then merged alone."""
    with tempfile.TemporaryDirectory(prefix=".", dir=check_target(output, True, is_replaceable).parent) as folder:
        file = Path(folder) / "made_up.safetensors"

        def plan() -> Plan:
            return make_plan(parse_recipe(file.stem), ModelLibrary([file.parent]), format=FOLDER, dtype="source")

        header, size = _header_of(shapes, sorted(shapes))
        file.write_bytes(header)
        os.truncate(file, size)
        check_output(plan(), output, overwrite=True)
        write_made(shapes, make, file, "safetensors")
        merge(plan(), output, overwrite=True, source_hashes=False)


def _header_of(shapes: Shapes, order: Sequence[str]) -> tuple[bytes, int]:
    """The header of a file, and the size of the whole."""
    header = build_header(((key, *shapes[key]) for key in order), {"format": "pt"})
    return header, len(header) + sum(dtype.size_bytes * math.prod(shape) for dtype, shape in shapes.values())


def _bytes_of(tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[memoryview]:
    for _, tensor in tensors:
        yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _make(key: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Values of the size that a trained model has there."""
    if key.endswith("position_ids"):
        return torch.arange(math.prod(shape)).reshape(shape)
    values = torch.randn(shape, generator=_generator(key, seed))
    if "logit_scale" in key:
        return values.mul_(0.01).add_(4.6)
    if len(shape) < 2:
        is_norm_weight = key.endswith(("weight", "scale")) and len(shape) == 1
        return values.mul_(0.1).add_(1) if is_norm_weight else values.mul_(0.02)
    return values.mul_(min(0.05, math.prod(shape[1:]) ** -0.5))


def _drift(tensor: torch.Tensor, key: str, drift: float, seed: int) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    wide = tensor.to(torch.float32)
    spread = float(wide.std(unbiased=False)) if wide.numel() > 1 else float(wide.abs().sum()) * 0.1
    return torch.randn(tensor.shape, generator=_generator(key, seed)).mul_(drift * spread).add_(wide)


def _generator(key: str, seed: int) -> torch.Generator:
    """A stream of its own for each key, so that no key's values depend on the others."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def _read(file: SourceFile, checkpoint: Checkpoint, key: str) -> torch.Tensor:
    info = checkpoint.tensors[key]
    if info.size_bytes == 0:
        return torch.empty(info.shape, dtype=torch_dtype(info.dtype))
    data = bytearray(file.read(info.offset, info.size_bytes))
    values = torch.frombuffer(data, dtype=torch_dtype(info.dtype)).reshape(info.shape)
    if info.scale is not None:
        scale = bytearray(file.read(info.scale.offset, info.scale.size_bytes))
        return values.to(torch.float32) * torch.frombuffer(scale, dtype=torch_dtype(info.scale.dtype)).to(torch.float32)
    return values
