"""A diffusers folder read as one checkpoint: which files hold its weights, and their tensors under the original's keys."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from .diffusers_keys import COMPONENTS, KeyMap, key_map, name_of
from .errors import CheckpointError
from .header import Checkpoint, StoredFile, TensorInfo, is_text, quoted

INDEX = "model_index.json"
"""The file that makes a folder a diffusers model."""
SCHEDULER = "scheduler/scheduler_config.json"
"""In it, how the model is sampled."""
REST = "rest.safetensors"
"""Beside it, what of a checkpoint diffusers has no name for; other programs do not look at it."""
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""Folder to the name of its weights, without a suffix."""
TOKENIZERS = ("tokenizer", "tokenizer_2")
TOKENIZER_FILES = (
    *("vocab.json", "merges.txt", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
"""What CLIP's tokenizers consist of."""

_CONFIGS = {INDEX, SCHEDULER, REST, *(f"{part}/config.json" for part in WEIGHTS)}
_TOKENIZERS = {f"{folder}/{name}" for folder in TOKENIZERS for name in TOKENIZER_FILES}
_PARTS = "|".join(f"{part}/{stem}" for part, stem in WEIGHTS.items())
_SHARD = r"-\d{5}-of-\d{5}"
_WEIGHTS = re.compile(
    rf"({_PARTS})((\.fp16)?({_SHARD})?(\.fp16)?\.safetensors|\.safetensors\.index(\.fp16)?\.json)|"
    rf"({'|'.join((*WEIGHTS, *TOKENIZERS, 'scheduler'))})/",
)
_LARGEST_JSON_BYTES = 16 << 20
_OTHER_WEIGHTS = (".bin", ".msgpack", ".h5", ".onnx", ".ckpt", ".pt", ".pth", ".gguf")


def is_diffusers_folder(path: Path) -> bool:
    """Whether `path` is a folder that holds a diffusers model."""
    return (path / INDEX).is_file()


def is_replaceable(name: str) -> bool:
    """Whether what has this name below a model's folder (a folder's ends with a slash) is such as a merge writes or reads.

    Everything else would be lost where another model's folder takes the place of this one.
    """
    return name in _CONFIGS or name in _TOKENIZERS or _WEIGHTS.fullmatch(name) is not None


def weight_files(folder: Path) -> dict[str, list[Path]]:
    """Component to the files that hold its weights, in their order; the plain ones, else those of the fp16 variant.

    Raises:
        CheckpointError: a part is missing, or is of a kind that is not read.
    """
    index = read_json(folder / INDEX)
    name = quoted(folder.name)
    if "unet" not in index:
        kind = index.get("_class_name")
        raise CheckpointError(
            f"{name} is a diffusers folder of {quoted(kind) if isinstance(kind, str) else 'an unknown pipeline'} without a unet; "
            "those of SD 1.x, SD 2.x and SDXL are read. Use its single-file release."
        )
    found = {}
    for component in COMPONENTS:
        entry = index.get(component)
        if entry is not None and not isinstance(entry, list):
            raise CheckpointError(
                f"{name}: {quoted(INDEX)} has no list for {quoted(component)}, such as [null, null] or the names of a library "
                "and a class. Download it again."
            )
        if entry and any(part is not None for part in entry):
            found[component] = _files_of(folder / component, WEIGHTS[component], f"{name}: its {component}")
    if (folder / REST).is_file():
        found[""] = [folder / REST]
    return found


def joined_folder(folder: Path, opened: Mapping[str, list[Checkpoint]]) -> Checkpoint:
    """One checkpoint out of the opened files of `weight_files`.

    Raises:
        CheckpointError: the parts do not fit together, or are not of an architecture whose names are known.
    """
    name = quoted(folder.name)
    tensors: dict[str, TensorInfo] = {}
    files: list[Checkpoint] = []
    for component, checkpoints in opened.items():
        for checkpoint in checkpoints:
            for key, info in checkpoint.tensors.items():
                place = name_of(component, key)
                if place in tensors:
                    raise CheckpointError(f"{name} holds {quoted(place)} twice. Download it again.")
                tensors[place] = _in_file(info, len(files))
            files.append(checkpoint)
    parts = tuple(StoredFile(file.path, file.size_bytes, file.mtime_ns) for file in files)
    return Checkpoint(
        path=folder,
        format="diffusers",
        size_bytes=sum(part.size_bytes for part in parts),
        mtime_ns=max((part.mtime_ns for part in parts), default=0),
        header_digest=_digest(folder, files),
        tensors=_originals(tensors, _names_of(tensors, name), name),
        metadata=files[0].metadata if files else {},
        consumed=tuple(key for file in files for key in file.consumed),
        parts=parts,
    )


def read_json(path: Path) -> dict[str, object]:
    """The object in a small JSON file.

    Raises:
        CheckpointError: it is none, or larger than such files are.
    """
    where = quoted(f"{path.parent.name}/{path.name}")
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_JSON_BYTES + 1)
        value = json.loads(raw.decode()) if len(raw) <= _LARGEST_JSON_BYTES else None
    except OSError as error:
        raise CheckpointError(f"{where} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} is no JSON object, or too large for one. Download it again.")
    return value


def _files_of(folder: Path, weights: str, subject: str) -> list[Path]:
    for index, plain in (
        (f"{weights}.safetensors.index.json", f"{weights}.safetensors"),
        (f"{weights}.safetensors.index.fp16.json", f"{weights}.fp16.safetensors"),
    ):
        if (folder / plain).is_file():
            return [folder / plain]
        if (folder / index).is_file():
            return _shards(folder, index, subject)
    others = sorted(path.name for path in folder.glob("*") if path.name.endswith((".safetensors", *_OTHER_WEIGHTS)))
    if not others:
        raise CheckpointError(f"{subject} has no weights: '{folder / (weights + '.safetensors')}' is missing. Download it again.")
    raise CheckpointError(
        f"{subject} has {quoted(others[0])}, where {quoted(f'{weights}.safetensors')} or its fp16 variant was expected. Convert "
        "it in a tool that you trust: DiffusionPipeline.from_pretrained(FOLDER).save_pretrained(NEW) in diffusers writes that."
    )


def _shards(folder: Path, index: str, subject: str) -> list[Path]:
    """The files of sharded weights, as their index lists them; they lie beside it."""
    names = read_json(folder / index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) and is_text(name) for name in names.values()):
        raise CheckpointError(f"{subject} has an index, {quoted(index)}, that does not list files. Download it again.")
    found = []
    for name in sorted(set(names.values())):
        if name in (".", "..") or set(name) & set("/\\:\0") or not name.endswith(".safetensors"):
            raise CheckpointError(f"{subject} has an index that lists {quoted(name)}, which is no file beside it.")
        if not (folder / name).is_file():
            raise CheckpointError(f"{subject} lacks {quoted(name)}, which its index lists. Download it again.")
        found.append(folder / name)
    return found


def _in_file(info: TensorInfo, number: int) -> TensorInfo:
    scale = dataclasses.replace(info.scale, file=number) if info.scale else None
    return dataclasses.replace(info, file=number, scale=scale)


def _digest(folder: Path, files: list[Checkpoint]) -> str:
    lines = [
        f"{file.path.relative_to(folder).as_posix()} {file.size_bytes} {file.mtime_ns} {file.header_digest}\n" for file in files
    ]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _names_of(tensors: Mapping[str, TensorInfo], name: str) -> KeyMap:
    """The names of the architecture that a folder's tensors are of."""
    attention = tensors.get("unet/mid_block.attentions.0.proj_in.weight")
    is_deep, is_xl = "unet/down_blocks.3.resnets.0.conv1.weight" in tensors, "unet/add_embedding.linear_1.weight" in tensors
    kind = None
    if attention is not None and is_xl != is_deep:
        kind = "sdxl" if is_xl else "sd2" if len(attention.shape) == 2 else "sd1"
    names = key_map(kind) if kind else None
    if names is None:
        raise CheckpointError(
            f"{name} is a diffusers folder of a model whose names are not known; those of SD 1.x, SD 2.x and SDXL (base and "
            "inpainting) are. Use its single-file release."
        )
    return names


def _originals(tensors: Mapping[str, TensorInfo], names: KeyMap, folder: str) -> dict[str, TensorInfo]:
    found: dict[str, TensorInfo] = {}
    for name, key, info in names.original(tensors):
        if info is None:
            raise CheckpointError(
                f"{folder}: {quoted(name)} and its kin, which are one tensor elsewhere, are not three of one type and shape. "
                "Download it again."
            )
        if key in found:
            raise CheckpointError(f"{folder} holds {quoted(key)} twice, in an old and in today's spelling.")
        found[key] = info
    return found
