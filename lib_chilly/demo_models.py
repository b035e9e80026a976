"""The nine source checkpoints of the demo under the names that the model card uses; made up here, so that it runs from nothing.

This is the one place to change when trained models take the place of the synthetic ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import Interrupted, MergeError
from .synth import synthesise, synthesise_near


@dataclass(frozen=True)
class DemoModel:
    """One source.

    Attributes:
        base: the model that it is made from by `drift`; None for one made from nothing.
        drift: how far it was trained away from its base, in standard deviations of each tensor.
    """

    name: str
    seed: int
    base: str | None = "v1-5-pruned-emaonly"
    drift: float = 0.1
    dtype: str = "fp16"
    without: tuple[str, ...] = ()


MODELS = (
    DemoModel("v1-5-pruned-emaonly", 1, base=None),
    DemoModel("pyro_pov_a", 2, drift=0.08),
    DemoModel("pyro_pov_b", 3, base="pyro_pov_a", drift=0.03),
    DemoModel("analogDiffusion_10", 4, drift=0.12),
    DemoModel("F222_v1", 5, drift=0.15, dtype="fp32"),
    DemoModel("r34_e4", 6, drift=0.1),
    DemoModel("chilloutmix", 7, drift=0.14),
    DemoModel("NED", 8, base="chilloutmix", drift=0.05),
    DemoModel("NED_noVae", 8, base="NED", drift=0.0, without=("vae",)),
)


class Manifest:
    """Which files in a demo's folder the demo made itself: path, size and time as it left them."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._path = folder / ".chilly-demo.json"
        try:
            said = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            said = None
        self._files: dict[str, list[int]] = said if isinstance(said, dict) else {}

    def is_ours(self, path: Path) -> bool:
        """Whether the file is as the demo wrote it."""
        return path.exists() and self._files.get(self._name(path)) == _state(path)

    def add(self, path: Path) -> None:
        self._files[self._name(path)] = _state(path)
        self._path.write_text(json.dumps(self._files, indent=1), "utf-8")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def make_models(folder: Path, full: bool, manifest: Manifest, should_stop: Callable[[], bool]) -> None:
    """Make those of the nine that are missing, or of the other size; files of other origin are used as they are.

    Raises:
        Interrupted: between two models, when `should_stop` says so.
    """
    size = "full" if full else "tiny"
    for model in MODELS:
        path = folder / f"{model.name}.safetensors"
        if should_stop():
            raise Interrupted("stopped. Finished models stay for the next run.")
        if path.exists() and (not manifest.is_ours(path) or _has_size(path, full)):
            print(f"reuse {path}")
            continue
        print(f"make  {path} ({size}{f', near {model.base}' if model.base else ''})")
        if model.base is None:
            synthesise("sd1", size, path, seed=model.seed, dtype=model.dtype, without=model.without)
        else:
            base = folder / f"{model.base}.safetensors"
            synthesise_near(base, model.drift, path, seed=model.seed, dtype=model.dtype, without=model.without)
        manifest.add(path)


def _has_size(path: Path, full: bool) -> bool:
    return (path.stat().st_size > 1_000_000_000) == full


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise MergeError(f"'{path}' cannot be read: {error.strerror}.") from None
    return [status.st_size, status.st_mtime_ns]
