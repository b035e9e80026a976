"""`save(vae=...)`: the VAE that is taken whole from a checkpoint or a VAE file, whichever way its keys are spelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .architecture import Architecture, known_keys
from .checkpoint import Checkpoint, TensorInfo
from .errors import ArchitectureError, RecipeError
from .header import quoted
from .latents import latents_of
from .models import ModelLibrary, split_title, without_suffix
from .sources import Source

KEEP, DROP = "keep", "drop"
_FIRST = "decoder.conv_in.weight"
"""Its input channels are those of the latents."""


def take_vae(choice: str | None, library: ModelLibrary, sources: list[Source]) -> int | None:
    """The number of the source whose VAE the output has; a file that the recipe does not use is added to `sources`.

    Args:
        choice: of the option `vae`; None, "keep" and "drop" take none.
        sources: of the recipe.

    Raises:
        RecipeError: no such file.
        CheckpointError, ArchitectureError: a bad file, no VAE in it, or one of another kind than the sources'.
    """
    if choice in (None, KEEP, DROP):
        return None
    try:
        path = library.find(choice)
    except RecipeError as error:
        raise RecipeError(f"save option 'vae': {error.message}") from None
    architecture, merged = sources[0].architecture, tuple(sources)
    number = next((n for n, source in enumerate(sources) if source.checkpoint.path.resolve() == path.resolve()), len(sources))
    if number == len(sources):
        checkpoint = library.open(path)
        _check_latents(checkpoint, architecture)
        name = without_suffix(choice)
        if name in [source.name for source in merged]:  # only its suffix tells it apart
            name = split_title(choice)[0]
        sources.append(Source(name, checkpoint, architecture, _vae_tensors(checkpoint, architecture), ()))
    taken = {key: info for key, info in sources[number].tensors.items() if architecture.component_of(key) == "vae"}
    if not taken:
        raise ArchitectureError(f"save option 'vae': {quoted(path.name)} has no VAE. Name a checkpoint with one, or a VAE file.")
    _check_fit(path.name, taken, merged, architecture)
    return number


def is_told_apart(source: Source) -> bool:
    """Whether the file says which kind of latents its VAE makes; a VAE by itself does not, and shapes do not tell."""
    return source.latents != ""


def _check_latents(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """A VAE of another kind may have the same shapes, and then every picture is broken."""
    found = latents_of(checkpoint)
    if found not in ("", architecture.latents):
        raise ArchitectureError(
            f"save option 'vae': {quoted(checkpoint.path.name)} has a VAE for latents of {found}; those of {architecture.title} "
            "are another kind, whatever their shapes. Name a VAE that was made for it."
        )


def claimed_hash(choice: str | None) -> str | None:
    """The hash that a webui title such as `"my-vae.safetensors [abcdef1234]"` claims."""
    return split_title(choice)[1] if choice else None


def _vae_tensors(checkpoint: Checkpoint, architecture: Architecture) -> dict[str, TensorInfo]:
    """A file's VAE under the keys that `architecture` has; its training's losses and EMA copies are no part of it."""
    if any(key.startswith("decoder.mid_block.") for key in checkpoint.tensors):
        raise ArchitectureError(
            f"save option 'vae': {quoted(checkpoint.path.name)} is spelled as diffusers does. Use the whole diffusers folder, or "
            "the release whose keys begin with 'decoder.mid.'."
        )
    canonical = {architecture.canonical_key(key): info for key, info in checkpoint.tensors.items()}
    return {key: info for key, info in canonical.items() if architecture.component_of(key) == "vae"}


def _check_fit(name: str, taken: Mapping[str, TensorInfo], merged: Sequence[Source], architecture: Architecture) -> None:
    """Every key of the sources' VAE must be there, in the same shape; where none has a VAE, its latent channels must fit."""
    theirs = [
        (source, key, info)
        for source in merged
        for key, info in source.tensors.items()
        if architecture.component_of(key) == "vae"
    ]
    for source, key, info in theirs:
        if key not in taken or taken[key].shape != info.shape:
            found = f"has shape {taken[key].shape} there" if key in taken else "is not in it"
            raise ArchitectureError(
                f"save option 'vae': {quoted(name)} does not fit '{source.name}': '{key}' of shape {info.shape} {found}. "
                f"Use a VAE of {architecture.title}."
            )
    first = (*architecture.components.get("vae", ()), "")[0] + _FIRST
    known = known_keys(architecture.name).get(first)
    if not theirs and known and (first not in taken or taken[first].shape[1:2] != known[1][1:2]):
        shape = f"has shape {taken[first].shape}" if first in taken else "is missing"
        raise ArchitectureError(
            f"save option 'vae': {quoted(name)} is no VAE of {architecture.title}: '{first}' {shape}, "
            f"{known[1][1]} latent channels are needed."
        )
