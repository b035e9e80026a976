"""The jobs of an output as the files of a diffusers folder have them; what cannot be such a folder is refused. Headers only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from .architecture import Architecture
from .diffusers_configs import pipeline_of
from .diffusers_folder import REST, WEIGHTS
from .diffusers_keys import KeyMap, key_map
from .errors import OutputError
from .header import TensorInfo, quoted
from .key_job import KeyJob
from .lora_source import LoraTensor
from .matchings import asks_for_orders
from .sources import Source

Part = tuple[tuple[Source, ...], tuple[KeyJob, ...]]
"""The sources as one file of the folder sees them, and its jobs in the order of the file."""


def folder_parts(architecture: Architecture, sources: Sequence[Source], jobs: Sequence[KeyJob]) -> dict[str, Part]:
    """Name of each weights file to what is in it.

    Raises:
        OutputError: diffusers has no such folder, or two keys have one name in it.
    """
    names = key_map(architecture.name)
    if names is None or pipeline_of(architecture.name) is None:
        raise OutputError(
            f"{architecture.title} is not written as a diffusers folder; SD 1.x, SD 2.x and SDXL are. Use format=safetensors."
        )
    if any(job.is_scaled for job in jobs):
        raise OutputError(
            "scaled fp8 is not read from diffusers folders: no program looks for its scales there. Choose another dtype, such as "
            "fp8_e4m3fn, or format=safetensors."
        )
    if asks_for_orders(jobs):
        raise OutputError(
            "what rebasin makes is not written as a diffusers folder. Use format=safetensors, then convert that file."
        )
    if pipeline_of(architecture.name, channels := conv_in_channels(architecture, jobs)) is None:
        raise OutputError(
            f"no pipeline of diffusers is made of {architecture.title} with {channels} input channels. Use format=safetensors."
        )
    found: dict[str, dict[str, KeyJob]] = {}
    tensors: dict[str, list[dict[str, TensorInfo]]] = {}
    for job in jobs:
        for file, key, renamed, seen in _placed(sources, names, job):
            if key in found.setdefault(file, {}):
                raise OutputError(
                    f"two keys would be {quoted(key)} in '{file}', one of them {quoted(job.key)}. Use format=safetensors."
                )
            found[file][key] = renamed
            by_source = tensors.setdefault(file, [{} for _ in sources])
            for number, info in seen.items():
                by_source[number][key] = info
    if _weights_file("unet") not in found:
        raise OutputError("the result has no U-Net, which a diffusers folder needs. Use format=safetensors.")
    return {
        file: (
            tuple(dataclasses.replace(source, tensors=seen) for source, seen in zip(sources, tensors[file], strict=True)),
            tuple(sorted(found[file].values(), key=lambda job: (-job.dtype.size_bytes, job.key))),
        )
        for file in sorted(found)
    }


def conv_in_channels(architecture: Architecture, jobs: Sequence[KeyJob]) -> int:
    """Input channels of the output's first convolution; the usual ones where it is malformed."""
    first = next((job for job in jobs if job.key == architecture.conv_in.key), None)
    return first.shape[1] if first and len(first.shape) == 4 else architecture.conv_in.channels


def _placed(sources: Sequence[Source], names: KeyMap, job: KeyJob) -> Iterator[tuple[str, str, KeyJob, dict[int, TensorInfo]]]:
    """(file, key in it, its job, number of each source that has it to how it sees it there) of what the folder has for a job."""
    meant = TensorInfo(job.dtype, job.shape, 0, job.size_bytes)
    for name, view in names.places(job.key, meant):
        file, key = _file_and_key(name)
        seen = {}
        for number, source in enumerate(sources):
            if info := source.tensors.get(job.key):
                if isinstance(info, LoraTensor) and view(meant) != meant:
                    raise OutputError(
                        f"a diffusers folder has '{job.key}' in another form, in which the LoRA {quoted(source.name)} cannot be "
                        "added to it. Use format=safetensors."
                    )
                # Only copied keys and first convolutions differ in shape; no part of those is cut or turned.
                seen[number] = view(info) if info.shape == job.shape else info
        yield file, key, dataclasses.replace(job, key=key, shape=view(meant).shape), seen


def keys_in_folder(architecture: Architecture, job: KeyJob) -> list[str]:
    """The keys that a job's tensor, or its parts, have in the files of a folder."""
    names = key_map(architecture.name)
    meant = TensorInfo(job.dtype, job.shape, 0, job.size_bytes)
    return [_file_and_key(name)[1] for name, _ in names.places(job.key, meant)] if names else [job.key]


def _file_and_key(name: str) -> tuple[str, str]:
    component, _, key = name.partition("/")
    return (_weights_file(component), key) if component in WEIGHTS else (REST, name)


def _weights_file(component: str) -> str:
    return f"{component}/{WEIGHTS[component]}.safetensors"
