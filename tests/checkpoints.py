"""Small checkpoints for tests: written by hand with chosen tensors, or made up with all keys of an architecture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from reference import INTEGERS, TAGS, Stored, encoded, rounded

from lib_chilly.engine import merge
from lib_chilly.family import MEMBERS, build_family
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.report import Report
from lib_chilly.synth import synthesise, synthesise_near

UNET = "model.diffusion_model."
CLIP = "cond_stage_model.transformer.text_model."
VAE = "first_stage_model."
CONV_IN = UNET + "input_blocks.0.0.weight"
POSITION_IDS = CLIP + "embeddings.position_ids"
BETAS = "betas"

_ATTENTION = ("attn1.to_q.weight", "attn2.to_k.weight", "ff.net.2.bias", "norm1.weight")


def _unet_block(block: str, attends: bool) -> list[str]:
    keys = [f"{UNET}{block}.0.in_layers.0.weight", f"{UNET}{block}.0.emb_layers.1.bias"]
    return keys + [f"{UNET}{block}.1.transformer_blocks.0.{name}" for name in _ATTENTION if attends]


def _lanes() -> dict[str, list[str]]:
    lanes = {"IN00": [CONV_IN, UNET + "input_blocks.0.0.bias"]}
    lanes |= {f"IN{i:02}": _unet_block(f"input_blocks.{i}", i in (1, 2, 4, 5, 7, 8)) for i in range(1, 12)}
    lanes["M00"] = _unet_block("middle_block", True)
    lanes |= {f"OUT{i:02}": _unet_block(f"output_blocks.{i}", i > 2) for i in range(12)}
    lanes["TIME"] = [UNET + "time_embed.0.weight", UNET + "time_embed.2.bias"]
    lanes["FINAL"] = [UNET + "out.0.weight", UNET + "out.2.bias"]
    lanes["CLIP_L"] = [CLIP + "encoder.layers.0.self_attn.k_proj.weight", CLIP + "final_layer_norm.bias"]
    lanes["VAE"] = [VAE + "decoder.conv_in.weight", VAE + "quant_conv.bias"]
    return lanes


LANES: Mapping[str, Sequence[str]] = _lanes()
"""Lane to some of its keys, as SuperMerger would have them: enough for SD 1.x to be known."""
LANE_OF = {key: lane for lane, keys in LANES.items() for key in keys}
KEYS = tuple(LANE_OF)


def stored(values: object, dtype: str, shape: Sequence[int] | None = None) -> Stored:
    """A tensor of our dtype name (or an integer tag), values rounded once."""
    tag = TAGS.get(dtype, dtype)
    array = np.asarray(values)
    exact = array if tag in INTEGERS else rounded(array, tag)
    return Stored(tag, tuple(array.shape if shape is None else shape), encoded(exact, tag))


def draw(seed: int, key: str, shape: Sequence[int], spread: float = 0.05) -> np.ndarray:
    """Numbers that depend on seed and key alone."""
    digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).normal(0, spread, shape)


def shape_of(key: str, size: int = 24) -> tuple[int, ...]:
    if key == CONV_IN:
        return (size, 4, 3, 3)
    return (size,) if key.endswith("bias") else (size, size)


def model(
    seed: int,
    dtype: str | Sequence[str] = "fp16",
    *,
    without: Iterable[str] = (),
    only: Iterable[str] | None = None,
    channels: int = 4,
    size: int = 24,
    extras: Mapping[str, Stored] | None = None,
) -> dict[str, Stored]:
    """Tensors of a small SD 1.x model.

    Args:
        dtype: one for all keys, or several that take turns.
        without: lanes to leave out.
        only: keys to have, beside those by which SD 1.x is known.
        channels: input channels of the first convolution.
        size: of every dimension.
        extras: more tensors, or others in the place of drawn ones.
    """
    dtypes = [dtype] if isinstance(dtype, str) else list(dtype)
    known = {UNET + "input_blocks.11.0.in_layers.0.weight", CLIP + "encoder.layers.0.self_attn.k_proj.weight"}
    keys = [key for key in KEYS if LANE_OF[key] not in set(without) and (only is None or key in known | set(only))]
    tensors = {}
    for number, key in enumerate(keys):
        shape = shape_of(key, size)
        if key == CONV_IN:
            shape = (shape[0], channels, *shape[2:])
        tensors[key] = stored(draw(seed, key, shape), dtypes[number % len(dtypes)])
    return tensors | dict(extras or {})


def write_file(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str] | None = None, pad: int = 0) -> Path:
    """Write a safetensors file with its tensors in the order given; `pad` spaces end the header, so that data may lie crooked."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for key, tensor in tensors.items():
        header[key] = {"dtype": tensor.tag, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(tensor.data)]}
        offset += len(tensor.data)
    text = json.dumps(header).encode() + b" " * pad
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(tensor.data for tensor in tensors.values()))
    return path


def write_models(folder: Path, **models: Mapping[str, Stored]) -> Path:
    """Write NAME.safetensors for each; the folder is returned, so that it can be planned in."""
    folder.mkdir(exist_ok=True)
    for name, tensors in models.items():
        write_file(folder / f"{name}.safetensors", tensors)
    return folder


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, as they stand there."""
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})


def plan_in(folder: Path, text: str, **options: str | None) -> Plan:
    return make_plan(parse_recipe(text), ModelLibrary([folder]), **options)


def merge_in(
    folder: Path, text: str, output: Path, threads: int = 2, options: Mapping[str, str] | None = None, **how: bool
) -> Report:
    """Plan and merge; without the sources' hashes, so that nobody's cache is touched."""
    plan = plan_in(folder, text, **(options or {}))
    return merge(plan, output, threads=threads, **{"source_hashes": False, "overwrite": True, **how})


def tiny(session: pytest.TempPathFactory, name: str, architecture: str = "sd1", **options: object) -> Path:
    """A made-up checkpoint with all keys of an architecture in `tiny-models/NAME.safetensors`, made once a session.

    Args:
        options: of `synthesise`; with `near` (another one's path) and `drift`, of `synthesise_near`.
    """
    folder = session.getbasetemp() / "tiny-models"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        if "near" in options:
            near, drift = options.pop("near"), options.pop("drift")
            synthesise_near(near, drift, path, **options)  # type: ignore[arg-type]
        else:
            synthesise(architecture, "tiny", path, **options)  # type: ignore[arg-type]
    return path


def trained_family(session: pytest.TempPathFactory) -> Path:
    """The folder of the family of tiny models that were trained, built once a session; nothing writes into it."""
    folder = session.getbasetemp() / "trained-family"
    if not folder.exists():
        assert len(list(build_family(folder))) == len(MEMBERS)
    return folder
