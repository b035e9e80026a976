"""A plan carried out into a diffusers folder: each of its files is a plan of its own over the same sources, and one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .diffusers_configs import can_be_written, small_files
from .diffusers_folder import REST, WEIGHTS
from .diffusers_keys import KeyMap, key_map
from .errors import OutputError
from .folder_writer import FolderWriter
from .hashes import hash_folder
from .header import TensorInfo, quoted
from .key_job import KeyJob
from .plan import Plan
from .stream import StreamResult
from .writer import CheckpointWriter, build_header

Run = Callable[[Plan, bytes, CheckpointWriter], StreamResult]
"""Streams a plan behind a header into a writer."""


def write_folder(
    plan: Plan, hashes: Mapping[int, str], target: Path, overwrite: bool, run: Run
) -> tuple[StreamResult, int, list[str]]:
    """Carry out `plan` into the folder `target`.

    Args:
        target: as `check_target` gave it.
        run: carries out the plan of one file.

    Returns:
        What the passes saw together (hashes as `hash_folder` takes them), bytes of all files, sentences for the user.

    Raises:
        MergeError: nothing was written, and a folder that stood there is as it was.
    """
    parts = folder_parts(plan)
    metadata = plan.metadata(hashes)
    small, notes = _small_files(plan, parts, metadata.get("modelspec.prediction_type", ""))
    headers = {
        name: build_header(((job.key, job.dtype, job.shape) for job in part.jobs), metadata) for name, part in parts.items()
    }
    sizes = {name: len(headers[name]) + part.data_bytes for name, part in parts.items()}
    total = StreamResult()
    digests: dict[Path, str] = {}
    data_digests: dict[Path, str] = {}
    size = sum(sizes.values()) + sum(map(len, small.values()))
    with FolderWriter(target, size, overwrite) as folder:
        for name, content in small.items():
            folder.write(name, content)
        for name, part in parts.items():
            path = folder.path / name
            with CheckpointWriter(path, sizes[name], overwrite=False) as writer:
                found = run(part, headers[name], writer)
                writer.commit()
            digests[path], data_digests[path] = found.sha256, found.data_sha256 or ""
            total.read_bytes += found.read_bytes
            total.tally.merge(found.tally)
        total.sha256 = hash_folder(folder.path, digests)
        total.data_sha256 = hash_folder(folder.path, data_digests) if all(data_digests.values()) else None
        folder.commit()
    return total, size, notes


def folder_parts(plan: Plan) -> dict[str, Plan]:
    """Name of each weights file to the plan that makes it.

    Raises:
        OutputError: diffusers has no such folder, or two keys have one name in it.
    """
    names = key_map(plan.architecture.name)
    if names is None or not can_be_written(plan.architecture.name):
        raise OutputError(f"{plan.architecture.title} is not written as a diffusers folder; SD 1.x and SDXL are. Write a file.")
    if any(job.is_scaled for job in plan.jobs):
        raise OutputError("scaled fp8 is not read from diffusers folders. Choose another dtype, or write a file.")
    jobs: dict[str, dict[str, KeyJob]] = {}
    tensors: dict[str, list[dict[str, TensorInfo]]] = {}
    for job in plan.jobs:
        for file, key, renamed, seen in _placed(plan, names, job):
            if key in jobs.setdefault(file, {}):
                raise OutputError(f"two keys would be {quoted(key)} in '{file}', one of them {quoted(job.key)}. Write a file.")
            jobs[file][key] = renamed
            by_source = tensors.setdefault(file, [{} for _ in plan.sources])
            for number, info in seen.items():
                by_source[number][key] = info
    if _weights_file("unet") not in jobs:
        raise OutputError("the result has no U-Net, which a diffusers folder needs. Write a file.")
    return {
        file: dataclasses.replace(
            plan,
            jobs=tuple(sorted(jobs[file].values(), key=lambda job: (-job.dtype.size_bytes, job.key))),
            sources=tuple(
                dataclasses.replace(source, tensors=seen) for source, seen in zip(plan.sources, tensors[file], strict=True)
            ),
        )
        for file in sorted(jobs)
    }


def _placed(plan: Plan, names: KeyMap, job: KeyJob) -> Iterator[tuple[str, str, KeyJob, dict[int, TensorInfo]]]:
    """(file, key in it, its job, number of each source that has it to how it sees it there) of what the folder has for a job."""
    meant = TensorInfo(job.dtype, job.shape, 0, job.size_bytes)
    for name, view in names.places(job.key, meant):
        component, _, key = name.partition("/")
        file, key = (_weights_file(component), key) if component in WEIGHTS else (REST, name)
        seen = {}
        for number, source in enumerate(plan.sources):
            if info := source.tensors.get(job.key):
                # Only copied keys and first convolutions differ in shape; no part of those is cut or turned.
                seen[number] = view(info) if info.shape == job.shape else info
        yield file, key, dataclasses.replace(job, key=key, shape=view(meant).shape), seen


def _weights_file(component: str) -> str:
    return f"{component}/{WEIGHTS[component]}.safetensors"


def _small_files(plan: Plan, parts: Mapping[str, Plan], prediction: str) -> tuple[dict[str, bytes], list[str]]:
    conv_in = next((job for job in plan.jobs if job.key == plan.architecture.conv_in.key), None)
    channels = conv_in.shape[1] if conv_in and len(conv_in.shape) == 4 else plan.architecture.conv_in.channels
    donors = [source.checkpoint.path for source in plan.sources if source.checkpoint.parts]
    components = {name.partition("/")[0] for name in parts}
    has_zero_snr = any(job.key == "ztsnr" for job in plan.jobs)
    return small_files(plan.architecture.name, donors, components, channels, prediction, has_zero_snr)
