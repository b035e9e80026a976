"""What a page needs to begin: the models with what their headers say, the methods, the settings."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from pathlib import Path
from typing import Any

from .. import __version__
from ..architecture import detect
from ..checkpoint import open_checkpoint
from ..console import free_bytes
from ..errors import ArchitectureError, MergeError
from ..header import Checkpoint
from ..host.base import CheckpointRef, GenParams, Host
from ..output_dtypes import OUTPUT_DTYPES
from ..registry import MergeMethod, all_methods
from .questions import Page, question
from .work import Work

_SMALL_BYTES = 200_000_000
_LARGE_PICTURES = {"sdxl", "sd3", "flux"}


class ModelFacts:
    """What models' headers say, read again only where a file has changed."""

    def __init__(self, host: Host):
        self._known: dict[Path, tuple[object, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def of(self, reference: CheckpointRef) -> dict[str, Any]:
        """Architecture, bytes and dtype; null where the file cannot be read."""
        path = reference.path
        try:
            stat = path.stat()
        except OSError:
            return {"architecture": None, "bytes": 0, "dtype": None}
        # A folder's own time does not tell that a file in it has changed.
        seen = (stat.st_size, stat.st_mtime_ns) if path.is_file() else None
        with self._lock:
            known = self._known.get(path)
        if known and seen and known[0] == seen:
            return known[1]
        facts = _facts_of(path, stat.st_size)
        with self._lock:
            self._known[path] = (seen, facts)
        return facts


@question
def start(page: Page) -> dict[str, Any]:
    """All that a page shows before anything is asked."""
    host = page.host
    folder = host.output_folder()
    listed = models(page, again=True)  # a file that was put there meanwhile is found by loading the page again
    return {
        "version": __version__,
        "host": host.kind,
        "page": True,
        **listed,
        "methods": [_described(method) for method in all_methods().values()],
        "samplers": list(host.samplers()),
        "dtypes": list(OUTPUT_DTYPES),
        "recipe": page.room.recipe,
        "params": dataclasses.asdict(page.room.params or _params_for(listed["models"])),
        "output": str(folder),
        "free_bytes": free_bytes(folder),
        "jobs": page.one(Work, Work).jobs_of(page.name),
    }


@question
def models(page: Page, again: bool = False) -> dict[str, Any]:
    """The models that there are; with `again` the folders are looked at anew."""
    if again:
        page.host.refresh_checkpoints()
    known = page.one(ModelFacts)
    return {
        "models": [
            {"name": reference.name, "title": reference.title, **known.of(reference)} for reference in page.host.checkpoints()
        ]
    }


def _params_for(listed: list[dict[str, Any]]) -> GenParams:
    """What a first picture is made with: models of reduced width, such as the demo's, were taught small pictures."""
    sizes = [model["bytes"] for model in listed if model["architecture"]]
    if sizes and max(sizes) < _SMALL_BYTES:
        return GenParams(prompt="a red circle on blue", seed=1, steps=12, cfg=4.0, width=64, height=64, sampler="DDIM")
    side = 1024 if {model["architecture"] for model in listed} & _LARGE_PICTURES else 512
    return GenParams(prompt="", seed=1, width=side, height=side)


def _facts_of(path: Path, size: int) -> dict[str, Any]:
    try:
        checkpoint = open_checkpoint(path)
    except MergeError:
        return {"architecture": None, "bytes": size, "dtype": None}
    try:
        architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, path.name).name
    except ArchitectureError:
        architecture = None
    return {"architecture": architecture, "bytes": checkpoint.size_bytes, "dtype": _main_dtype(checkpoint)}


def _main_dtype(checkpoint: Checkpoint) -> str | None:
    """Our name of the dtype that most of the bytes have."""
    bytes_of: dict[str, int] = {}
    for info in checkpoint.tensors.values():
        bytes_of[info.dtype.name] = bytes_of.get(info.dtype.name, 0) + info.size_bytes
    return max(bytes_of, key=lambda name: bytes_of[name], default=None)


def _described(method: MergeMethod) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "formula": method.formula,
        "says": (inspect.getdoc(method.function) or "").splitlines()[0],
        "operands": list(method.operands),
        "any_number": method.takes_any_number,
        "parameters": [
            {"name": name, "low": param.low, "high": param.high, "default": default, "per_block": param.per_block}
            for name, (param, default) in method.parameters.items()
        ],
    }
