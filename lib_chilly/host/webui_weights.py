"""The merge that pictures are made of, and the one that the user has kept as the current model.

There is one of each: the next merge is written into the tensors of the last one, and merges only what has changed. Beside them
there are merges that a grid needs again, as far as there is room.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules import sd_vae, shared

from ..architecture import NO_LANE
from ..grid_plan import moved_bytes
from ..header import counted
from ..key_job import KeyJob
from ..live import LiveWeights
from ..plan import Plan
from ..report import default_threads
from ..room import spare_host_bytes
from .base import Progress
from .merge_pace import learn_merging
from .shown import is_in_file
from .webui_kept import choose, put_choice_back
from .webui_merged import CHOSEN, MergedInfo, forget, hold, info_of
from .webui_pictures import failure, heal
from .webui_queue import is_interrupted
from .webui_tensors import check_can_be_shown, readable

_ASIDE_SHARE = 0.5
"""Of the memory that this machine can spare, for merges that a grid needs again."""
MERGE_SHARE = 0.3
"""Of a progress bar."""


@dataclass(frozen=True)
class Taken:
    """A merge that the webui can load.

    Attributes:
        blocks: how many were merged again for it.
        overflow: how many of its values were too large for the output's dtype.
    """

    info: MergedInfo
    blocks: int
    overflow: int


@dataclass(frozen=True)
class _Held:
    """A merge in memory, as the webui knows it."""

    info: MergedInfo
    weights: LiveWeights

    def taken(self, blocks: int = 0) -> Taken:
        self.info.register()
        return Taken(self.info, blocks, sum(self.weights.overflow.values()))

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.weights.tensors.values())

    def let_go(self) -> None:
        forget(self.info)
        self.weights.close()


class WebuiWeights:
    """Merges for the webui. Whoever calls is in its queue.

    Attributes:
        built: how many merges were carried out.
        moved_bytes: what they have read and written.
    """

    def __init__(self) -> None:
        self._threads = default_threads()
        self._weights = LiveWeights(self._threads)
        self._last: _Held | None = None
        self._kept: _Held | None = None
        self._aside: list[_Held] = []
        self._comes_again = False
        self.built = self.moved_bytes = 0

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
        for held in (self._last, self._kept, *self._aside):
            if held is not None and held.info.filename == info.filename:
                return held.taken()
        self._make_way()
        blocks = self._update(plan, progress or Progress())
        hold(info, readable(self._weights.tensors))
        self._last, self._comes_again = _Held(info, self._weights), bool(comes_again)
        self.built += 1
        return self._last.taken(blocks)

    def tidy(self) -> None:
        """Let go of what was put aside: the grid has ended."""
        for held in self._aside:
            held.let_go()
        self._aside, self._comes_again = [], False

    def keep(self, plan: Plan, progress: Progress | None = None) -> MergedInfo:
        """Make a plan's merge the current model until another one is chosen; its memory is held until `drop`.

        Raises:
            MergeError: as `take`, or the webui could not load it; then the model before is chosen still.
        """
        info = self.take(plan, progress).info
        if self._last is not None and self._last.info is info:
            self.drop()
            self._kept, self._last, self._weights = self._last, None, LiveWeights(self._threads)
        try:
            choose(info)
        except Exception as error:
            self.drop()
            heal()
            raise failure(error) from error
        return info

    def drop(self) -> None:
        """Let go of the merge that was kept; where it is the current model, the one chosen before is again."""
        if self._kept is None:
            return
        kept, self._kept = self._kept, None
        if shared.opts.data.get(CHOSEN) == kept.info.title:
            put_choice_back()
        kept.let_go()

    def were_of(self, plan: Plan) -> bool:
        """Whether a merge here is that of a plan, or was; the one thing that may be asked outside of the queue."""
        kept = self._kept
        return self._weights.were_of(plan) or (kept is not None and kept.weights.were_of(plan))

    def is_in_file(self, plan: Plan, path: Path, sha256: str, progress: Progress) -> bool | None:
        """Whether a file holds a plan's merge, which is made again where another one was made since; see Host.is_as_shown."""
        if self._kept is not None and (found := is_in_file(self._kept.weights, plan, path, sha256)) is not None:
            return found
        if (found := is_in_file(self._weights, plan, path, sha256)) is not None:
            return found
        self.take(plan, progress)
        return is_in_file(self._weights, plan, path, sha256)

    def close(self) -> None:
        """Let go of everything; nothing is loaded by this."""
        self.tidy()
        self.drop()
        self._forget_last()
        self._weights.close()

    def _forget_last(self) -> None:
        if self._last is not None:
            forget(self._last.info)
            self._last = None

    def _make_way(self) -> None:
        """The next merge overwrites the last one, unless that is needed again and there is room for both."""
        if self._last is None or not self._comes_again:
            self._forget_last()
            return
        if sum(held.bytes for held in (self._last, *self._aside)) > _ASIDE_SHARE * spare_host_bytes():
            self._forget_last()
            return
        self._aside.append(self._last)
        self._last, self._weights = None, LiveWeights(self._threads)

    def _update(self, plan: Plan, progress: Progress) -> int:
        """Merge; how many blocks had to be."""
        state, done, total, blocks, moved, started = shared.state, 0, 1, 0, 0, time.perf_counter()

        def on_stale(jobs: Sequence[KeyJob]) -> None:
            nonlocal total, blocks, moved
            moved = sum(moved_bytes(plan, job) for job in jobs)
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
            self._weights.update(plan, on_stale=on_stale, on_bytes=on_bytes, should_stop=should_stop)
        finally:
            state.textinfo = None
        self.moved_bytes += moved
        learn_merging(moved, time.perf_counter() - started)
        return blocks


def has_own_vae() -> bool:
    """Whether the user has chosen a VAE for every model; one that is not there counts for the webui as none."""
    named = shared.cmd_opts.vae_path
    return Path(named).is_file() if named else shared.opts.data.get("sd_vae") in sd_vae.vae_dict
