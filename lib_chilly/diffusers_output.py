"""A plan carried out into a diffusers folder: each of its files is a plan of its own over the same sources, and one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from .diffusers_configs import small_files
from .diffusers_parts import conv_in_channels
from .folder_writer import FolderWriter
from .hashes import hash_folder
from .plan import Plan
from .stream import StreamResult, Target
from .writer import CheckpointWriter

Run = Callable[[Plan, bytes, Target], StreamResult]
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
    parts = plan.files(hashes)
    small, notes = _small_files(plan, parts)
    total = StreamResult()
    digests: dict[Path, str] = {}
    data_digests: dict[Path, str] = {}
    size = sum(len(header) + part.data_bytes for part, header in parts.values()) + sum(map(len, small.values()))
    with FolderWriter(target, size, overwrite) as folder:
        for name, content in small.items():
            folder.write(name, content)
        for name, (part, header) in parts.items():
            path = folder.path / name
            with CheckpointWriter(path, len(header) + part.data_bytes, overwrite=False) as writer:
                found = run(part, header, writer)
                writer.commit()
            digests[path], data_digests[path] = found.sha256, found.data_sha256 or ""
            total.read_bytes += found.read_bytes
            total.tally.merge(found.tally)
        total.sha256 = hash_folder(folder.path, digests)
        total.data_sha256 = hash_folder(folder.path, data_digests) if all(data_digests.values()) else None
        folder.commit()
    return total, size, notes


def _small_files(plan: Plan, parts: Collection[str]) -> tuple[dict[str, bytes], list[str]]:
    # A model that gives nothing to the U-Net may be sampled otherwise: its scheduler is not looked at.
    alike = [source.checkpoint.path for source in plan.unet_sources if source.checkpoint.parts]
    others = [source.checkpoint.path for source in plan.sources if source.checkpoint.parts]
    return small_files(
        plan.architecture,
        list(dict.fromkeys([*alike, *others])),
        schedulers=alike,
        components={name.partition("/")[0] for name in parts},
        channels=conv_in_channels(plan.architecture, plan.jobs),
        prediction=plan.prediction,
        has_zero_snr=any(job.key == "ztsnr" for job in plan.jobs),
    )
