"""A LoRA file by its header alone: which modules it has for which weights of a checkpoint, and which keys are of no use."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .architecture import Architecture, known_keys, load
from .block_rules import listed
from .checkpoint import open_checkpoint
from .errors import ArchitectureError, CheckpointError
from .header import Checkpoint, TensorInfo, counted, grouped, quoted
from .lora_keys import ARCHITECTURES, Place, place_of
from .lora_module import Module
from .lora_roles import BIASES, SCALES, kind_of, role_of
from .lora_shapes import Unfit, size_of

MOST_TENSORS = 100_000
"""Of one file; those with a module for every layer have a fifth of it."""

Layers = Mapping[str, Mapping[str, str]]
"""A layer's name in the file to its tensors: role to key."""


@dataclass(frozen=True)
class LoraFile:
    """What a file says that it adds to a checkpoint.

    Attributes:
        checkpoint: the file's header.
        architecture: of the models that it is for.
        modules: key of a checkpoint to what the file has for it; several where the checkpoint has layers in one that are apart
            in the file.
        unmatched: key of the file to why it is left out.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    modules: Mapping[str, tuple[Module, ...]]
    unmatched: Mapping[str, str]


def open_lora(path: Path, architecture: str | None = None) -> LoraFile:
    """Read the header of a LoRA file.

    Args:
        architecture: name of the one that it must be for; without it, that which most of its layers fit.

    Raises:
        CheckpointError: damaged, hostile, no LoRA, or of a kind that is not read.
        ArchitectureError: a LoRA for another architecture.
    """
    checkpoint = open_checkpoint(path)
    if len(checkpoint.tensors) > MOST_TENSORS:
        raise CheckpointError(
            f"{quoted(path.name)} has {grouped(len(checkpoint.tensors))} tensors; {grouped(MOST_TENSORS)} are the most that a "
            "LoRA is read with. Use another release of it."
        )
    layers, unmatched = _layers(checkpoint)
    found = load(_detect(checkpoint, layers, architecture))
    modules: dict[str, list[Module]] = {}
    for layer, keys in layers.items():
        place = place_of(layer, found.name)
        if place is None:
            unmatched |= dict.fromkeys(keys.values(), f"{found.title} has no such layer")
            continue
        if place.bias().key not in known_keys(found.name):
            for role in BIASES & keys.keys():
                unmatched[keys.pop(role)] = f"{found.title} has no bias there"
        if reason := _add(modules, checkpoint, layer, keys, place):
            unmatched |= dict.fromkeys(keys.values(), reason)
    if not modules:
        key, reason = next(iter(unmatched.items()))
        raise CheckpointError(
            f"{quoted(path.name)} adds nothing that is read to {found.title}: {quoted(key)}: {reason}. Use another release of it."
        )
    for key, there in modules.items():
        _refuse_overlap(there, f"{quoted(path.name)}: {quoted(key)}")
    return LoraFile(checkpoint, found, {key: tuple(there) for key, there in modules.items()}, unmatched)


def _layers(checkpoint: Checkpoint) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The file's layers; and the keys that speak of none."""
    layers: dict[str, dict[str, str]] = {}
    strangers = {}
    for key in checkpoint.tensors:
        if (found := role_of(key)) is None:
            strangers[key] = "no tensor of a LoRA ends so"
            continue
        layer, role = found
        if other := layers.setdefault(layer, {}).get(role):
            raise CheckpointError(
                f"{quoted(checkpoint.path.name)}: {quoted(key)} and {quoted(other)} are the same tensor of one layer. "
                "Use another release of it."
            )
        layers[layer][role] = key
    return layers, strangers


def _add(
    modules: dict[str, list[Module]], checkpoint: Checkpoint, layer: str, keys: Mapping[str, str], place: Place
) -> str | None:
    """Put a layer's modules to those of its place; why not, where it has none that is read."""
    kind = kind_of(keys)
    biases = [role for role in keys if role in BIASES]
    if kind is None and keys.keys() - SCALES - BIASES:
        return f"{listed(sorted(keys))} of one layer make no kind of module that is read"
    if kind is None and not biases:
        return "it scales nothing"
    rank = None
    if kind:
        own = {role: key for role, key in keys.items() if role not in BIASES}
        module = _module(checkpoint, layer, kind, own, place)
        modules.setdefault(place.key, []).append(module)
        rank = module.rank
    for role in biases:
        own = {"diff": keys[role]}
        if role == "up_bias" and "alpha" in keys:
            own["alpha"] = keys["alpha"]
        bias = _module(checkpoint, layer, "diff", own, place.bias(), rank if role == "up_bias" else None)
        modules.setdefault(place.bias().key, []).append(bias)
    return None


def _module(
    checkpoint: Checkpoint, layer: str, kind: str, keys: Mapping[str, str], place: Place, rank: int | None = None
) -> Module:
    """One module whose tensors fit together; `rank` is what alpha is divided by, where the tensors do not say it."""
    name = quoted(checkpoint.path.name)
    tensors = {role: checkpoint.tensors[key] for role, key in keys.items()}
    if wrong := next((role for role, info in tensors.items() if not _can_be(role, info)), None):
        info = tensors[wrong]
        raise CheckpointError(
            f"{name}: {quoted(keys[wrong])} has shape {list(info.shape)} of {info.dtype.name}, "
            f"which is no {wrong} of a LoRA. Use another release of it."
        )
    try:
        size = size_of(kind, {role: info.shape for role, info in tensors.items()})
    except Unfit as error:
        raise CheckpointError(f"{name}: {quoted(layer)}: {error}. Use another release of it.") from None
    if size and rank:
        size = size._replace(rank=rank)
    return Module(checkpoint.path.name, kind, layer, place, keys, tensors, size)


def _can_be(role: str, info: TensorInfo) -> bool:
    """Whether a tensor is one number where its role has one, and of floating-point numbers elsewhere."""
    return info.elements == 1 if role in SCALES or role == "on_input" else info.dtype.is_floating


def _refuse_overlap(modules: Iterable[Module], subject: str) -> None:
    """CheckpointError where two modules are for the same rows of a weight."""
    for one, other in itertools.combinations(modules, 2):
        (first, end, of), (start, stop, parts) = one.place.share, other.place.share
        if first * parts < stop * of and start * of < end * parts:
            raise CheckpointError(
                f"{subject} is meant by {quoted(one.layer)} and by {quoted(other.layer)}. Use another release of it."
            )


def _detect(checkpoint: Checkpoint, layers: Layers, wanted: str | None) -> str:
    """The architecture that most layers fit, by name, then by size and by the number of dimensions."""
    fits = {name: _fit(checkpoint, layers, name) for name in ARCHITECTURES}
    best = max(fits, key=lambda name: fits[name])  # of equals the first
    titles = {name: load(name).title for name in ARCHITECTURES}
    if not fits[best][0]:
        example = f", such as {quoted(next(iter(checkpoint.tensors)))}" if checkpoint.tensors else ""
        raise CheckpointError(
            f"{quoted(checkpoint.path.name)} is no LoRA for {listed(titles.values())}: none of its "
            f"{counted(len(checkpoint.tensors), 'key')}{example} belongs to a module for a layer of these. "
            "Use another file."
        )
    if wanted is not None and wanted not in fits:
        raise ArchitectureError(
            f"{quoted(checkpoint.path.name)} is a LoRA for {titles[best]}; those for {load(wanted).title} are not read."
        )
    if wanted is None or fits[wanted][:2] == fits[best][:2]:
        return wanted or best
    named, sized, _ = fits[wanted]
    raise ArchitectureError(
        f"{quoted(checkpoint.path.name)} is a LoRA for {titles[best]}: of its {counted(len(layers), 'layer')} "
        f"{titles[wanted]} has {named}, {sized} in their size. Use one that was made for {titles[wanted]}."
    )


def _fit(checkpoint: Checkpoint, layers: Layers, architecture: str) -> tuple[int, int, int]:
    """(layers that it has, those of them whose size is the release's, those whose number of dimensions is)."""
    named = sized = dimensioned = 0
    for layer, keys in layers.items():
        if (kind := kind_of(keys)) is None or (place := place_of(layer, architecture)) is None:
            continue
        named += 1
        shape = known_keys(architecture)[place.key][1]
        shapes = {role: checkpoint.tensors[key].shape for role, key in keys.items()}
        try:
            size = size_of(kind, shapes)
        except Unfit:
            continue
        if size and "down" in shapes:
            sized += size[:2] == place.size_in(shape)
            dimensioned += len(shapes["down"]) == len(shape)
    return named, sized, dimensioned
