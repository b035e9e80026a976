"""The host without a webui: model folders, a few settings in a file, and pictures made with diffusers on the processor."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..architecture import NO_LANE
from ..errors import Interrupted, MergeError
from ..grid_plan import moved_bytes
from ..header import counted
from ..key_job import KeyJob
from ..live import LiveWeights
from ..models import ModelLibrary, default_folders, without_suffix
from ..plan import Plan
from ..report import default_threads
from ..workers import single_threaded_torch
from .base import COMPARING, STOPPED, CheckpointRef, GenParams, GenResult, Host, Progress
from .configs import configs_of
from .merge_pace import learn_merging
from .parts import Parts, load_modules, shapes_of
from .sampling import check_params, decode, encode, sample
from .schedulers import SAMPLERS, make_scheduler
from .settings import keep_setting, read_setting
from .shown import is_in_file, overflow_notes
from .timing import Clock, in_words, is_small

_LOOK_SECONDS = 0.1
_MERGE_SHARE = 0.3
"""Of a progress bar."""


class StandaloneHost(Host):
    """Models in folders, pictures on the processor; the last picture's model is kept in memory.

    Args:
        folders: with models; None for the usual ones.
        output: where results are saved; None for the first folder.
        threads: workers of a merge; None for all cores.
    """

    kind = "standalone"

    def __init__(self, folders: Sequence[Path] | None = None, output: Path | None = None, threads: int | None = None):
        self.folders = tuple(folders or default_folders())
        self._output = output
        self._library = ModelLibrary(self.folders)
        self._lock = threading.Lock()
        self._weights = LiveWeights(threads or default_threads())
        self._parts: Parts | None = None
        self._clock = Clock()

    # ---- models ----

    def library(self) -> ModelLibrary:
        return self._library

    def refresh_checkpoints(self) -> None:
        self._library = ModelLibrary(self.folders)

    def checkpoints(self) -> Sequence[CheckpointRef]:
        return [CheckpointRef(name, without_suffix(name), path) for name, path in sorted(self._library.files)]

    def output_folder(self) -> Path:
        return self._output or self.folders[0]

    def register_saved(self, path: Path, sha256: str) -> None:
        self.refresh_checkpoints()

    def was_shown(self, plan: Plan) -> bool:
        return self._weights.were_of(plan)

    def is_as_shown(self, plan: Plan, path: Path, sha256: str, progress: Progress) -> bool | None:
        progress.at(progress.share, COMPARING)
        with contextlib.suppress(MergeError), self.exclusive(progress):  # stopped, or a source is gone
            if (found := is_in_file(self._weights, plan, path, sha256)) is not None:
                return found
            self._merged(plan, progress)  # another picture was made since
            return is_in_file(self._weights, plan, path, sha256)
        return None

    # ---- pictures ----

    def samplers(self) -> Sequence[str]:
        return SAMPLERS

    @contextmanager
    def exclusive(self, progress: Progress) -> Iterator[None]:
        while not self._lock.acquire(timeout=_LOOK_SECONDS):
            if progress.is_cancelled():
                raise Interrupted(STOPPED)
        try:
            yield
        finally:
            self._lock.release()

    def estimate(self, plan: Plan, params: GenParams) -> tuple[float, str]:
        check_params(params)
        shapes = shapes_of(plan)
        configs_of(plan.architecture.name, plan.architecture.title, shapes)
        step, rest = self._clock.estimate(shapes, params)
        return step * params.steps + rest, in_words(step, rest, params)

    def preview(self, plan: Plan, params: GenParams, progress: Progress | None = None) -> GenResult:
        progress = progress or Progress()
        words, shapes = self.estimate(plan, params)[1], shapes_of(plan)
        progress.at(0.0, "getting ready")
        load_modules()
        scheduler = make_scheduler(params.sampler, *_noise_of(plan))

        def on_step(done: int) -> None:
            if progress.cancelled:
                raise Interrupted(STOPPED)
            said = f"step {done} of {params.steps}" if done else f"the picture takes {words}"
            progress.at(_MERGE_SHARE + (1 - _MERGE_SHARE) * done / (params.steps + 1), said)

        with self.exclusive(progress):
            started = time.perf_counter()
            parts, blocks = self._merged(plan, progress)
            merged = time.perf_counter()
            alone = single_threaded_torch() if is_small(shapes, params) else contextlib.nullcontext()
            with torch.inference_mode(), alone:
                conditioning = encode(parts, params)
                sampling = time.perf_counter()
                latents = sample(parts, params, scheduler, conditioning, on_step)
                self._clock.learn(shapes, params, (time.perf_counter() - sampling) / params.steps)
                image = decode(parts, latents)
        progress.at(1.0, "done")
        notes, seconds = tuple(_notes(conditioning.lost, sum(self._weights.overflow.values()))), time.perf_counter() - started
        return GenResult(image, _infotext(params), params.seed, notes, merged - started, seconds, blocks)

    def _merged(self, plan: Plan, progress: Progress) -> tuple[Parts, int]:
        """The modules with the plan's result in them, and how many blocks were merged for it."""
        done, total, blocks, moved, started = 0, 1, 0, 0, time.perf_counter()

        def on_stale(jobs: Sequence[KeyJob]) -> None:
            nonlocal total, blocks, moved
            moved = sum(moved_bytes(plan, job) for job in jobs)
            total, blocks = max(1, sum(job.size_bytes for job in jobs)), len({job.lane for job in jobs} - {NO_LANE})
            progress.at(0.0, f"merging {counted(blocks, 'block')}")

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            progress.share = _MERGE_SHARE * done / total

        change = self._weights.update(plan, on_stale=on_stale, on_bytes=on_bytes, should_stop=progress.is_cancelled)
        parts, self._parts = self._parts, None  # where they cannot follow, they are built anew the next time
        tensors = self._weights.tensors
        with single_threaded_torch():  # copying waits for memory; threads would wait for each other besides
            if parts is not None and parts.fits(plan.architecture, tensors):
                parts.follow(tensors, change.keys)
                learn_merging(moved, time.perf_counter() - started)
            else:
                parts = Parts(plan.architecture, tensors)
        self._parts = parts
        return parts, blocks

    # ---- settings ----

    def option(self, name: str, default: Any) -> Any:
        return read_setting(name, default)

    def set_option(self, name: str, value: Any) -> None:
        keep_setting(name, value)


def _noise_of(plan: Plan) -> tuple[bool, bool]:
    """Whether the result predicts v, and whether it was trained down to no signal."""
    keys = {job.key for job in plan.jobs}
    said = plan.recipe.option("prediction") or next(
        (source.prediction for source in plan.sources if source.prediction != "unknown"), "epsilon"
    )
    return said == "v", "ztsnr" in keys


def _infotext(params: GenParams) -> str:
    lines = [params.prompt, *([f"Negative prompt: {params.negative_prompt}"] if params.negative_prompt else [])]
    facts = {"Steps": params.steps, "Sampler": params.sampler, "CFG scale": f"{params.cfg:g}", "Seed": params.seed}
    facts |= {"Size": f"{params.width}x{params.height}"} | ({"Clip skip": params.clip_skip} if params.clip_skip > 1 else {})
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in facts.items())])


def _notes(lost: int, overflow: int) -> Iterator[str]:
    if lost:
        yield f"the prompt is {counted(lost, 'token')} too long; its end was left out."
    yield from overflow_notes(overflow)
