"""What a page needs to begin: the models with what their headers say, the methods, the settings."""

from __future__ import annotations

import dataclasses
import inspect
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..architecture import detect
from ..checkpoint import open_checkpoint
from ..console import free_bytes
from ..errors import ArchitectureError, MergeError
from ..header import Checkpoint
from ..history import LONGEST_NOTE
from ..host.base import CheckpointRef, GenParams, Host
from ..output_dtypes import OUTPUT_DTYPES
from ..registry import MergeMethod, all_methods
from .alike import measures
from .questions import Page, question
from .warm_up import WarmUp
from .work import Work

_PATIENCE_SECONDS = 1.5
"""Of one answer; a header takes some 10 ms."""
_PAUSE_SECONDS = 0.005
"""Between two headers that nobody waits for: others have their turn."""
_SMALL_BYTES = 200_000_000
_LARGE_PICTURES = {"sdxl", "sdxl-refiner", "sd3", "flux"}


class ModelFacts:
    """What models' headers say, read again only where a file has changed."""

    def __init__(self, host: Host):
        self._known: dict[Path, tuple[object, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._is_closed = False

    def of(self, reference: CheckpointRef, may_read: bool = True) -> tuple[dict[str, Any], bool]:
        """Architecture, bytes and dtype, null where the file cannot be read; and whether it was, else that is still to do."""
        path = reference.path
        try:
            seen = _times(path)
        except OSError:
            return {"architecture": None, "bytes": 0, "dtype": None}, True
        size = sum(size for size, _ in seen)
        with self._lock:
            known = self._known.get(path)
        if known and known[0] == seen:
            return known[1], True
        if not may_read:
            return {"architecture": None, "bytes": size, "dtype": None}, False
        facts = _facts_of(path, size)
        with self._lock:
            self._known[path] = (seen, facts)
        return facts, True

    def read(self, references: Sequence[CheckpointRef]) -> None:
        """Read what is not known of these, in a thread that ends with that."""
        with self._lock:
            if self._is_closed or (self._reader is not None and self._reader.is_alive()):
                return
            self._reader = threading.Thread(target=self._read, args=(references,), name="chilly-models", daemon=True)
            self._reader.start()

    def close(self) -> None:
        self._is_closed = True

    def _read(self, references: Sequence[CheckpointRef]) -> None:
        for reference in references:
            if self._is_closed:
                return
            self.of(reference)
            time.sleep(_PAUSE_SECONDS)


@question
def start(page: Page) -> dict[str, Any]:
    """All that a page shows before anything is asked."""
    host = page.host
    folder = host.output_folder()
    listed = models(page, again=True)  # a file that was put there meanwhile is found by loading the page again
    if load := page.room.warm_up:
        page.one(WarmUp, lambda: WarmUp(load))
    return {
        "version": __version__,
        "host": host.kind,
        "page": True,
        "no_pictures": host.no_pictures,
        **listed,
        "methods": [described(method) for method in all_methods().values() if not method.takes_files],
        "measures": measures(),
        "samplers": list(host.samplers()),
        "schedulers": list(host.schedulers()),
        "styles": list(host.styles()),
        "dtypes": list(OUTPUT_DTYPES),
        "recipe": page.room.recipe,
        "params": dataclasses.asdict(page.room.params or _params_for(listed["models"])),
        "output": str(folder),
        "free_bytes": free_bytes(folder),
        "longest_note": LONGEST_NOTE,
        "jobs": page.one(Work, Work).jobs_of(page.name),
    }


@question
def models(page: Page, again: bool = False) -> dict[str, Any]:
    """The models that there are; with `again` the folders are looked at anew. Headers of thousands are read meanwhile."""
    if again:
        page.host.refresh_checkpoints()
    known, until = page.one(ModelFacts), time.monotonic() + _PATIENCE_SECONDS
    listed, left = [], list[CheckpointRef]()
    for reference in page.host.checkpoints():
        facts, is_known = known.of(reference, may_read=time.monotonic() < until)
        listed.append({"name": reference.name, "title": reference.title, **facts})
        left += [] if is_known else [reference]
    if left:
        known.read(left)
    return {"models": listed, "more": bool(left)}


def _params_for(listed: list[dict[str, Any]]) -> GenParams:
    """What a first picture is made with: models of reduced width, such as the demo's, were taught small pictures."""
    sizes = [model["bytes"] for model in listed if model["architecture"]]
    if sizes and max(sizes) < _SMALL_BYTES:
        return GenParams(prompt="a red circle on blue", seed=1, steps=12, cfg=4.0, width=64, height=64, sampler="DDIM")
    side = 1024 if {model["architecture"] for model in listed} & _LARGE_PICTURES else 512
    return GenParams(prompt="", seed=1, width=side, height=side)


def _times(path: Path) -> tuple[tuple[int, int], ...]:
    """(size, time) of a file, or of all that lies in a folder's parts: its own does not tell that one of them has changed."""
    stats = [each.stat() for each in (sorted(path.glob("*/*")) if path.is_dir() else [path])]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


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


def described(method: MergeMethod) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "formula": method.formula,
        "says": (inspect.getdoc(method.function) or "").splitlines()[0],
        "operands": [*method.operands, *method.named],
        "any_number": method.takes_any_number,
        "named": len(method.named),
        "parameters": [
            {"name": name, "low": param.low, "high": param.high, "default": default, "per_block": param.per_block}
            for name, (param, default) in method.parameters.items()
        ],
    }
