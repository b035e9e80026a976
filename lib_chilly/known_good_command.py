"""The command known-good: say of a release that it is good, so that other models' norms are compared with it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .architecture import architecture_names, detect, load
from .checkpoint import open_checkpoint
from .claims import is_sha256
from .console import byte_bar, show, stop_flag
from .errors import CheckpointError, Interrupted, RecipeError
from .hashes import hash_checkpoints
from .header import quoted
from .known_good import KnownGood, Release
from .report import default_threads
from .verdicts import BROKEN


def run_known_good(options: argparse.Namespace) -> None:
    """State, forget or show."""
    known = KnownGood()
    done: list[str] = []
    if options.model is None and options.forget:
        raise RecipeError("say which release is to be forgotten: a file, or its sha256.")
    if options.forget:
        if not known.forget(_sha256(options.model)):
            raise RecipeError(f"{quoted(options.model)} is not among what is known to be good; './chilly known-good' lists that.")
    elif options.model is not None:
        done = _state(known, Path(options.model))
    found = known.releases()
    if options.json:
        print(json.dumps({"releases": [_facts(each) for each in found], "notes": [*known.notices, *done]}))
        return
    lines = [f"{each.name} ({each.sha256}): {_title(each)}, the norms of {len(each.matrices)} matrices" for each in found]
    if not found:
        lines.append("nothing is known to be good yet: './chilly known-good FILE' with a release that you trust.")
    show([*(f"note: {words}" for words in (*known.notices, *done)), *lines])


def _sha256(model: str) -> str:
    """Of a file, or of what is a hash itself."""
    return model.lower() if is_sha256(model.lower()) else hash_checkpoints([open_checkpoint(Path(model))])[0]


def _state(known: KnownGood, path: Path) -> list[str]:
    """Take a file among what is known to be good; sentences on what is worth a look in it.

    Raises:
        CheckpointError: it is likely broken.
    """
    from .health import health_of  # imports torch

    checkpoint = open_checkpoint(path)
    architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, path.name)
    with stop_flag() as should_stop, byte_bar("looking at the model") as shown:

        def on_bytes(count: int) -> None:
            if should_stop():
                raise Interrupted("stopped. Nothing was stated.")
            shown(count)

        health = health_of(path, known=known, threads=default_threads(), should_stop=should_stop, on_bytes=on_bytes)
        if health.verdict == BROKEN:
            said = "; ".join(words for words in health.sentences()[:3])
            raise CheckpointError(f"{quoted(path.name)} is not taken for good: {said}.")
        (sha256,) = hash_checkpoints([checkpoint], 1, on_bytes)
    known.state(Release(sha256, path.absolute().name, architecture.name, health.matrices))
    return health.sentences()


def _title(release: Release) -> str:
    """The architecture's name for people; as it stands where a newer version wrote it."""
    return load(release.architecture).title if release.architecture in architecture_names() else release.architecture


def _facts(release: Release) -> dict[str, object]:
    return {
        "sha256": release.sha256,
        "name": release.name,
        "architecture": release.architecture,
        "matrices": len(release.matrices),
    }
