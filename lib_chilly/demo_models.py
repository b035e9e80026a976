"""The demo's sources under the names that the model card uses: the trained tiny family, or made-up ones of true size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import Interrupted, MergeError, OutputError
from .family import DATA, LORA, MEMBERS, Member, build_family, copy_lora, files_beside, has_content, write_beside
from .synth import synthesise, synthesise_near


@dataclass(frozen=True)
class FullModel:
    """One source of true size, with weights that nobody trained.

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


FULL_MODELS = (
    FullModel("v1-5-pruned-emaonly", 1, base=None),
    FullModel("pyro_pov_a", 2, drift=0.08),
    FullModel("pyro_pov_b", 3, base="pyro_pov_a", drift=0.03),
    FullModel("analogDiffusion_10", 4, drift=0.12),
    FullModel("F222_v1", 5, drift=0.15, dtype="fp32"),
    FullModel("r34_e4", 6, drift=0.1),
    FullModel("chilloutmix", 7, drift=0.14),
    FullModel("NED", 8, base="chilloutmix", drift=0.05),
    FullModel("NED_noVae", 8, base="NED", drift=0.0, without=("vae",)),
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

    def refuse_stranger(self, path: Path, content: bytes | None = None) -> None:
        """For a file that is to be written; `content` is what it will have, where that is known.

        Raises:
            OutputError: there is another one already, and not as the demo wrote it.
        """
        if path.exists() and not self.is_ours(path) and not has_content(path, content):
            raise OutputError(
                f"'{path}' was not made by the demo, or changed since. Move it away, or choose another folder with --dir."
            )

    def add(self, *paths: Path) -> None:
        """Take down those that are there."""
        self._files |= {self._name(path): _state(path) for path in paths if path.exists()}
        self._path.write_text(json.dumps(self._files, indent=1), "utf-8")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def make_models(folder: Path, full: bool, manifest: Manifest, should_stop: Callable[[], bool]) -> None:
    """Make those that are missing, or of the other size; files of other origin are used as they are.

    Raises:
        Interrupted: between two models, when `should_stop` says so.
    """
    for path in _full_models(folder, manifest) if full else _family(folder, manifest):
        manifest.add(path)
        if should_stop():
            raise Interrupted("stopped. Finished models stay for the next run.")


def _family(folder: Path, manifest: Manifest) -> Iterator[Path]:
    missing = tuple(member for member in MEMBERS if not _is_member_there(_file(folder, member), manifest))
    ours = [member for member in MEMBERS if member in missing or manifest.is_ours(_file(folder, member))]
    beside = {path: content for member in ours for path, content in files_beside(folder, member).items()}
    for path, content in beside.items():
        manifest.refuse_stranger(path, content)
    write_beside(beside)  # of models that are there, too: the .yaml is another where the folder was moved
    manifest.add(*beside)
    for path in build_family(folder, missing) if missing else ():
        print(f"make  {path}")
        yield path
    lora = folder.parent / "lora" / LORA.name
    if not lora.exists():
        lora.parent.mkdir(exist_ok=True)
        print(f"make  {copy_lora(lora.parent)}")
        yield lora


def _full_models(folder: Path, manifest: Manifest) -> Iterator[Path]:
    for model in FULL_MODELS:
        path = folder / f"{model.name}.safetensors"
        if _is_there(path, manifest, _is_full(path)):
            continue
        print(f"make  {path}{f' (near {model.base})' if model.base else ''}")
        _remove_sidecar(path, manifest)
        if model.base is None:
            synthesise("sd1", "full", path, seed=model.seed, dtype=model.dtype, without=model.without)
        else:
            base = folder / f"{model.base}.safetensors"
            synthesise_near(base, model.drift, path, seed=model.seed, dtype=model.dtype, without=model.without)
        yield path


def _remove_sidecar(path: Path, manifest: Manifest) -> None:
    """Of a tiny model, where one of true size comes: it would tell of other widths."""
    sidecar = path.with_suffix(".yaml")
    if manifest.is_ours(sidecar):
        sidecar.unlink()


def _file(folder: Path, member: Member) -> Path:
    return folder / f"{member.name}.safetensors"


def _is_member_there(path: Path, manifest: Manifest) -> bool:
    return _is_there(path, manifest, not _is_full(path) and not _is_older(path))


def _is_there(path: Path, manifest: Manifest, is_wanted: bool) -> bool:
    """Whether a model need not be made: there is the wanted one, or somebody else's."""
    if not path.exists() or (manifest.is_ours(path) and not is_wanted):
        return False
    print(f"reuse {path}")
    return True


def _is_full(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 1_000_000_000


def _is_older(path: Path) -> bool:
    """Whether a model was made before the family's numbers came here."""
    return path.exists() and any(path.stat().st_mtime_ns < data.stat().st_mtime_ns for data in DATA.glob("*.npz"))


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError as error:
        raise MergeError(f"'{path}' cannot be read: {error.strerror}.") from None
    return [status.st_size, status.st_mtime_ns]
