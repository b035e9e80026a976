"""The host inside AUTOMATIC1111's webui and its kin: its models, its device, its queue, its way to make pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from modules import call_queue, devices, sd_samplers

from ..errors import MergeError
from ..models import ModelLibrary
from ..plan import Plan
from .base import COMPARING, CheckpointRef, GenParams, GenResult, Host, Progress
from .sampling import check_params
from .settings import keep_setting, read_setting
from .shown import overflow_notes
from .webui_features import why_no_pictures
from .webui_merged import CHOSEN
from .webui_models import WebuiModels, checkpoint_folder, hidden_folders, register_file, use_data_folder, use_file
from .webui_pace import Pace
from .webui_pictures import (
    add_recipe,
    check_settings,
    frozen_by,
    make,
    notes_on,
    overrides,
    processing_for,
    schedulers,
    styles,
    without_recipe,
)
from .webui_queue import followed, queued, turn
from .webui_settings import picture_state
from .webui_tensors import check_can_be_shown
from .webui_weights import MERGE_SHARE, WebuiWeights, has_own_vae


class WebuiHost(Host):
    """Everything through the webui; made once the page, an axis or the API is used for the first time.

    Attributes:
        weights: merges for the webui; for those who are in its queue.
    """

    kind = "webui"

    @property
    def no_pictures(self) -> str:
        return why_no_pictures()

    @property
    def can_load(self) -> bool:
        return not frozen_by(CHOSEN)

    def __init__(self) -> None:
        use_data_folder()
        self._models = WebuiModels()
        self._pace = Pace(devices.device.type == "cpu")
        self.weights = WebuiWeights()

    # ---- models ----

    def checkpoints(self) -> Sequence[CheckpointRef]:
        return self._models.references()

    def refresh_checkpoints(self) -> None:
        self._models.refresh()

    def library(self) -> ModelLibrary:
        return self._models.library()

    def output_folder(self) -> Path:
        return checkpoint_folder()

    def hidden_folders(self) -> Sequence[Path]:
        return hidden_folders()

    def register_saved(self, path: Path, sha256: str) -> None:
        if path.is_file():
            register_file(path, sha256)
        self._models.refresh()

    def load(self, path: Path, progress: Progress | None = None) -> str:
        return use_file(path, progress or Progress())

    def was_shown(self, plan: Plan) -> bool:
        return self.weights.were_of(plan)

    def is_as_shown(self, plan: Plan, path: Path, sha256: str, progress: Progress) -> bool | None:
        with suppress(MergeError), queued(progress, "ChillyMerge comparison"):  # stopped, or a source is gone
            progress.at(progress.share, COMPARING)
            return self.weights.is_in_file(plan, path, sha256, progress)
        return None

    # ---- pictures ----

    def samplers(self) -> Sequence[str]:
        return tuple(sd_samplers.visible_sampler_names())

    def schedulers(self) -> Sequence[str]:
        return schedulers()

    def styles(self) -> Sequence[str]:
        return styles()

    def exclusive(self, progress: Progress) -> AbstractContextManager[None]:
        return turn(progress)

    def picture_state(self) -> str:
        return picture_state()

    def estimate(self, plan: Plan, params: GenParams) -> tuple[float, str]:
        check_params(params)
        if why := why_no_pictures():
            raise MergeError(why)
        check_settings([CHOSEN, *overrides(params)])
        check_can_be_shown(plan, has_own_vae())
        return self._pace.estimate(plan, params)

    def preview(self, plan: Plan, params: GenParams, progress: Progress | None = None) -> GenResult:
        progress = progress or Progress()
        self.estimate(plan, params)
        progress.at(0.0, "getting ready")
        with queued(progress, "ChillyMerge preview"):
            started = time.perf_counter()
            taken = self.weights.take(plan, progress)
            merged = time.perf_counter()
            progress.at(MERGE_SHARE, "loading the merge")
            request = processing_for(params)
            add_recipe(request, plan)
            with followed(progress, MERGE_SHARE):
                processed = make(request, taken.info)
            notes = (*overflow_notes(taken.overflow), *notes_on(processed))
        seconds = time.perf_counter() - started
        self._pace.learn(plan, params, seconds)
        progress.at(1.0, "done")
        place = processed.index_of_first_image
        infotext = without_recipe(processed.infotexts[place], plan)
        image, seed = processed.images[place], int(processed.all_seeds[0])
        return GenResult(image, infotext, seed, notes, merged - started, seconds, taken.blocks)

    def keep(self, plan: Plan, progress: Progress | None = None) -> str:
        """Make a plan's merge the webui's current model until another one is chosen or the webui ends: its title."""
        if why := why_no_pictures():
            raise MergeError(why)
        check_settings([CHOSEN])
        with queued(progress or Progress(), "ChillyMerge keeps a merge"):
            return self.weights.keep(plan, progress).title

    def close(self) -> None:
        """The end: let go of the memory, unless somebody is at work with it still."""
        if call_queue.queue_lock.acquire(False):
            try:
                self.weights.close()
            finally:
                call_queue.queue_lock.release()

    # ---- settings ----

    def option(self, name: str, default: Any) -> Any:
        return read_setting(name, default)

    def set_option(self, name: str, value: Any) -> None:
        keep_setting(name, value)
