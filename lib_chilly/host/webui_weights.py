"""The merge that pictures are made of, and the one that the user has kept as the current model.

There is one of each: the next merge is written into the tensors of the last one, and merges only what has changed. Beside them
there are merges that a grid needs again, as far as there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules import sd_models, shared

from ..architecture import NO_LANE
from ..header import counted
from ..key_job import KeyJob
from ..live import LiveWeights
from ..plan import Plan
from ..report import default_threads
from ..room import spare_host_bytes
from ..tally import Tally
from .base import Progress
from .shown import is_in_file
from .webui_kept import choose, put_choice_back
from .webui_merged import CHOSEN, MergedInfo, forget, hold, info_of
from .webui_pictures import heal
from .webui_queue import is_interrupted
from .webui_tensors import check_can_be_shown, readable

_ASIDE_SHARE = 0.5
"""Of the memory that this machine can spare, for merges that a grid needs again."""
MERGE_SHARE = 0.3
"""Of a progress bar."""
_NO_VAE_CHOSEN = (None, "None", "Automatic", "auto")


@dataclass(frozen=True)
class Taken:
    """A merge that the webui can load.

    Attributes:
        blocks: how many were merged again for it.
        tally: what was seen while merging.
    """

    info: MergedInfo
    blocks: int
    tally: Tally


class WebuiWeights:
    """Merges for the webui. Whoever calls is in its queue.

    Attributes:
        built: how many merges were carried out.
    """

    def __init__(self) -> None:
        self._threads = default_threads()
        self._weights = LiveWeights(self._threads)
        self._info: MergedInfo | None = None
        self._kept: tuple[MergedInfo, LiveWeights] | None = None
        self._comes_again = False
        self._aside: list[tuple[MergedInfo, LiveWeights]] = []
        self.built = 0

    def take(self, plan: Plan, progress: Progress | None = None, comes_again: bool | None = None) -> Taken:
        """The merge of a plan, from memory where it was the last one; `info.title` is then known to the webui.

        Args:
            comes_again: for a cell of a grid: whether the grid needs it again after others. It is put aside then, until `tidy`.

        Raises:
            MergeError: the webui could not show it, a source cannot be read, or the user has stopped it (Interrupted).
        """
        check_can_be_shown(plan, has_own_vae())
        if comes_again is None:
            self.tidy()
        info = info_of(plan)
        for known in (self._info, self._kept and self._kept[0], *(each for each, _ in self._aside)):
            if known is not None and known.filename == info.filename:
                known.register()
                return Taken(known, 0, Tally())
        self._put_aside() if self._comes_again else self._let_go()
        blocks, tally = self._update(plan, progress or Progress())
        hold(info, readable(self._weights.tensors))
        self._info, self._comes_again = info, bool(comes_again)
        self.built += 1
        return Taken(info, blocks, tally)

    def tidy(self) -> None:
        """Let go of what was put aside: the grid has ended."""
        for info, weights in self._aside:
            forget(info)
            weights.close()
        self._aside, self._comes_again = [], False

    def _put_aside(self) -> None:
        """Hold the last merge beside the next one, where there is room for it."""
        held = [self._weights, *(weights for _, weights in self._aside)]
        size = sum(tensor.nbytes for weights in held for tensor in weights.tensors.values())
        if self._info is None or size > _ASIDE_SHARE * spare_host_bytes():
            self._let_go()
            return
        self._aside.append((self._info, self._weights))
        self._info, self._weights = None, LiveWeights(self._threads)

    def keep(self, plan: Plan, progress: Progress | None = None) -> MergedInfo:
        """Make a plan's merge the current model until another one is chosen; its memory is held until `drop`."""
        info = self.take(plan, progress).info
        if self._kept is None or self._kept[0] is not info:
            self.drop()
            self._kept, self._info, self._weights = (info, self._weights), None, LiveWeights(self._threads)
        choose(info)
        return info

    def drop(self) -> None:
        """Let go of the merge that was kept; where it is the current model, the one chosen before is again."""
        if self._kept is None:
            return
        info, weights = self._kept
        self._kept = None
        if shared.opts.data.get(CHOSEN) == info.title:
            put_choice_back()
        forget(info)
        weights.close()

    def release(self) -> None:
        """Let go of the merge that pictures are made of, and load the user's model again where that is the loaded one."""
        resident = sd_models.model_data.sd_model
        ours = [info.filename for info in (self._info, *(each for each, _ in self._aside)) if info is not None]
        is_loaded = resident is not None and resident.sd_model_checkpoint in ours
        self.tidy()
        self._let_go()
        self._weights.close()
        if is_loaded:
            sd_models.reload_model_weights()
        heal()

    def is_in_file(self, plan: Plan, path: Path, sha256: str) -> bool | None:
        """Whether a file holds one of the merges here; see Host.is_as_shown."""
        found = is_in_file(self._weights, plan, path, sha256)
        return found if found is not None or self._kept is None else is_in_file(self._kept[1], plan, path, sha256)

    def close(self) -> None:
        """Let go of everything; nothing is loaded by this."""
        self.tidy()
        self.drop()
        self._let_go()
        self._weights.close()

    def _let_go(self) -> None:
        if self._info is not None:
            forget(self._info)
            self._info = None

    def _update(self, plan: Plan, progress: Progress) -> tuple[int, Tally]:
        """Merge; how many blocks had to be, and what was seen."""
        state, done, total, blocks = shared.state, 0, 1, 0

        def on_stale(jobs: Sequence[KeyJob]) -> None:
            nonlocal total, blocks
            total, blocks = max(1, sum(job.size_bytes for job in jobs)), len({job.lane for job in jobs} - {NO_LANE})
            state.textinfo = f"merging {counted(blocks, 'block')}"
            progress.at(0.0, state.textinfo)

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress.share = MERGE_SHARE * done / total

        def should_stop() -> bool:
            return progress.is_cancelled() or is_interrupted()

        try:
            change = self._weights.update(plan, on_stale=on_stale, on_bytes=on_bytes, should_stop=should_stop)
        finally:
            state.textinfo = None
        return blocks, change.tally


def has_own_vae() -> bool:
    """Whether the user has chosen a VAE for every model."""
    return bool(shared.cmd_opts.vae_path) or shared.opts.data.get("sd_vae") not in _NO_VAE_CHOSEN
