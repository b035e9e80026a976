"""The webui's models: those on its disk, under the titles that it gives them, and new ones that it is told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from modules import cache, call_queue, errors, paths_internal, sd_models, shared

from ..errors import MergeError, RecipeError
from ..hashes import use_folder, user_folder
from ..models import ModelLibrary, without_suffix
from .base import CheckpointRef, Progress
from .hidden import without_folders
from .webui_lazy import choose_again, listed_name, load_chosen
from .webui_merged import CHOSEN, MergedInfo, list_anew, when_listed
from .webui_pictures import frozen_by
from .webui_queue import turn

_PATIENCE_SECONDS = 2.0
"""Folders are not looked at more often than that for a name that is not there."""
_NO_MODEL = (".vae.safetensors", ".vae.ckpt", ".vae.pt")


def use_data_folder() -> None:
    """Keep history, hashes and settings with the webui's own data, unless CHILLY_HOME says otherwise."""
    use_folder(Path(paths_internal.data_path) / "chillymerge")


def checkpoint_folder() -> Path:
    """Where the webui's models lie, and results are saved."""
    return Path(getattr(shared.cmd_opts, "ckpt_dir", None) or sd_models.model_path).absolute()


def model_folders() -> tuple[Path, ...]:
    """All folders in which the webui looks for models."""
    folders = (checkpoint_folder(), Path(sd_models.model_path).absolute())
    return tuple(folder for folder in dict.fromkeys(folders) if folder.is_dir()) or folders[:1]


def vae_folders() -> tuple[Path, ...]:
    """The folders of VAEs, which recipes may name too."""
    named = getattr(shared.cmd_opts, "vae_dir", None)
    folders = [Path(paths_internal.models_path) / "VAE", *([Path(named)] if named else [])]
    return tuple(dict.fromkeys(folder.absolute() for folder in folders if folder.is_dir()))


def hidden_folders() -> tuple[Path, ...]:
    """With --hide-ui-dir-config: all that the webui and we use."""
    if not getattr(shared.cmd_opts, "hide_ui_dir_config", False):
        return ()
    own = (Path(paths_internal.script_path), Path(paths_internal.data_path), Path(paths_internal.models_path), user_folder())
    named = getattr(shared.cmd_opts, "ckpt", None)
    folders = (*own, *model_folders(), *vae_folders(), *([Path(named).parent] if named else []))
    return tuple({way for folder in folders for way in (folder.absolute(), folder.resolve())})


def _lora_folders() -> tuple[Path, ...] | None:
    """As --lora-dir says, which is there only with the webui's own extension for LoRAs; None for the usual ones."""
    named = getattr(shared.cmd_opts, "lora_dir", None)
    return (Path(named),) if named and Path(named).is_dir() else None


class _Library(ModelLibrary):
    """The folders, and the file that the webui was started with, wherever it lies. What is not there is looked for again."""

    _looked = 0.0

    def find(self, name: str) -> Path:
        if not self.knows(name) and time.monotonic() - self._looked > _PATIENCE_SECONDS:
            vars(self).pop("files", None)
        try:
            return super().find(name)
        except RecipeError as error:
            raise RecipeError(without_folders(error.message, hidden_folders()), instead=error.instead) from None

    @cached_property
    def files(self) -> tuple[tuple[str, Path], ...]:
        self._looked = time.monotonic()
        found = ModelLibrary(self.folders).files
        named = Path(getattr(shared.cmd_opts, "ckpt", None) or ".").absolute()
        if not named.is_file() or _real(named) in {_real(path) for _, path in found}:
            return found
        return (*found, (named.name, named))


class WebuiModels:
    """What lies in the folders, looked up afresh; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: ModelLibrary | None = None
        when_listed(self.forget)

    def library(self) -> ModelLibrary:
        with self._lock:
            if self._library is None:
                self._library = _Library(model_folders() + vae_folders(), _lora_folders())
            return self._library

    def forget(self) -> None:
        """Look at the folders again when they are asked for."""
        with self._lock:
            self._library = None

    def refresh(self) -> None:
        """Look at the folders again. The webui makes its own list anew only where files have come or gone, and nothing is at
        work: while it does, no model can be found by its title."""
        self.forget()
        listed = {_real(info.filename) for info in _infos()}
        is_new = any(_is_webuis(path) and _real(path) not in listed for _, path in self._models())
        if not is_new and all(path.exists() for path in listed):
            return
        if call_queue.queue_lock.acquire(False):
            try:
                list_anew()
            finally:
                call_queue.queue_lock.release()

    def references(self) -> list[CheckpointRef]:
        """Every model, in the order of the names."""
        return [CheckpointRef(name, without_suffix(name), path) for name, path in self._models()]

    def _models(self) -> list[tuple[str, Path]]:
        vaes = {_real(path) for path in vae_folders()}
        return sorted(
            (name, path)
            for name, path in self.library().files
            if not name.lower().endswith(_NO_MODEL) and not any(vae in _real(path).parents for vae in vaes)
        )


def info_of_file(path: Path) -> Any | None:
    """What the webui knows of a file; None where it does not list it."""
    return next((info for info in _infos() if _real(info.filename) == _real(path)), None)


def register_file(path: Path, sha256: str) -> Any:
    """List a file that was written now, with its hash, so that the webui does not read it for that: its CheckpointInfo."""
    info = sd_models.CheckpointInfo(str(path))
    cache.cache("hashes")[f"checkpoint/{info.name}"] = {"mtime": path.stat().st_mtime, "sha256": sha256}
    info = sd_models.CheckpointInfo(str(path))
    before = info_of_file(path)
    if before is not None:
        sd_models.checkpoints_list.pop(before.title, None)
    info.register()
    return info


def use_file(path: Path, progress: Progress) -> str:
    """Choose and load a listed model, as if the user had picked it: its title. Waits for the webui's queue itself.

    Raises:
        MergeError: the webui does not list it, does not let settings be changed, or cannot load it; Interrupted where it was
            stopped while it waited.
    """
    if flag := frozen_by(CHOSEN):
        raise MergeError(f"the webui was started with {flag}, so another model cannot be chosen.")
    with turn(progress):  # one for all of it: what a picture of a merge chooses for a while must not be saved
        info = info_of_file(path)
        if info is None:
            raise MergeError(f"the webui does not list '{path.name}'. Refresh its list of models.")
        before, name = shared.opts.data.get(CHOSEN), listed_name(info)
        shared.opts.data[CHOSEN] = name
        try:
            load_chosen()
        except Exception:
            errors.report(f"ChillyMerge: {path.name} could not be loaded", exc_info=True)
        loaded = getattr(sd_models.model_data.sd_model, "sd_checkpoint_info", None)
        if loaded is None or loaded.filename != info.filename:
            choose_again(before)
            raise MergeError(f"the webui could not load '{path.name}'. Its console says why.")
        shared.opts.save(shared.config_filename)
    return str(info.title)


def _infos() -> Sequence[Any]:
    """The files that the webui lists."""
    return [info for info in list(sd_models.checkpoints_list.values()) if not isinstance(info, MergedInfo)]


def _is_webuis(path: Path) -> bool:
    """Whether the webui would list a model that we find."""
    return path.suffix.lower() in (".safetensors", ".ckpt") and path.is_file()


def _real(path: Path | str) -> Path:
    return Path(path).resolve()
