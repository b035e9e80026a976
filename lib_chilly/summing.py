"""Sums over the elements of many models in one pass: each file is read once, a leaf of every tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .compared import STOPPED, Broken, Compared, Pair, Values
from .likeness import LEAF_ELEMENTS, Summed
from .workers import Failures, work_together

TASK_LEAVES = 16
"""Leaves that a thread takes at once, and that are announced to the system."""


@dataclass(frozen=True)
class _Task:
    """Some of one tensor's leaves.

    Attributes:
        leaf: where the sums of the first one go.
        start, count: its elements.
        step: elements of a leaf.
        holders: numbers of the models that are read.
        pairs: places, in the list of pairs, of those that are compared in this tensor.
    """

    leaf: int
    key: str
    shape: tuple[int, ...]
    start: int
    count: int
    step: int
    holders: tuple[int, ...]
    pairs: tuple[int, ...]


class Summing:
    """The pass.

    Args:
        models: what is compared, opened.
        pairs: which with which.
        shared: for each pair the keys in which it is compared.
        measures: what is summed; either all of whole matrices or none.
        ancestor: what is subtracted from all.

    Attributes:
        sums: key to the sums of (pair, first, second), for each measure and each pair.
        broken: who holds NaN or Inf, or what float32 has no squares of.
    """

    def __init__(
        self,
        models: Sequence[Compared],
        pairs: Sequence[Pair],
        shared: Sequence[frozenset[str]],
        measures: Sequence[Summed],
        ancestor: Compared | None = None,
    ):
        self.models = [*models, *([ancestor] if ancestor else [])]
        self.pairs, self.shared, self.measures = pairs, shared, measures
        self.ancestor: int | None = len(models) if ancestor else None
        self.kept = {first for first, _ in pairs} | ({len(models)} if ancestor else set())
        self.is_whole = any(measure.is_whole for measure in measures)
        self.sums: dict[str, np.ndarray] = {}
        self.broken = Broken()

    def add(self, keys: Sequence[str], threads: int, should_stop: Callable[[], bool]) -> None:
        """Sum up some keys.

        Raises:
            CheckpointError: a file changed or was cut short, or a merge's source holds NaN or Inf.
            Interrupted: `should_stop` said so.
        """
        tasks: list[_Task] = []
        places, leaves = {}, 0
        for key in keys:
            cut = list(self._cut(key, leaves))
            tasks += cut
            places[key] = slice(leaves, leaves := leaves + sum(-(-task.count // task.step) for task in cut))
        found = np.zeros((leaves, len(self.measures), len(self.pairs), 3))
        failures, ahead = Failures(), iter(tasks[threads:])

        def work(taken: Iterator[_Task]) -> None:
            worker = _Worker(self)
            for task in taken:
                with failures.turn:
                    later = next(ahead, None)
                if later:
                    worker.announce(later)
                worker.sum(task, found)

        work_together(threads, tasks, work, failures, should_stop, STOPPED)
        for key, place in places.items():
            self.sums[key] = found[place].sum(0)  # one leaf after the other, whoever took it

    def _cut(self, key: str, leaf: int) -> Iterator[_Task]:
        """A tensor's tasks."""
        pairs = tuple(place for place, keys in enumerate(self.shared) if key in keys)
        holders = tuple(sorted({number for place in pairs for number in self.pairs[place]}))
        jobs = [self.models[number].jobs[key] for number in holders]
        size = jobs[0].elements
        step = max(1, size) if self.is_whole or any(job.is_whole for job in jobs) else LEAF_ELEMENTS
        for start in range(0, size, step * TASK_LEAVES):
            count = min(step * TASK_LEAVES, size - start)
            yield _Task(leaf + start // step, key, jobs[0].shape, start, count, step, holders, pairs)


class _Worker:
    """One thread's buffers."""

    def __init__(self, run: Summing):
        self._run = run
        self._values = Values(run.models)
        self._buffers: dict[int, torch.Tensor] = {}

    def announce(self, task: _Task) -> None:
        """Let the system fetch what a later task reads."""
        for number in task.holders:
            self._values.will_need(number, task.key, task.start, task.count)

    def sum(self, task: _Task, found: np.ndarray) -> None:
        """Put the sums of a task's leaves in their places."""
        for number, start in enumerate(range(task.start, task.start + task.count, task.step)):
            count = min(task.step, task.start + task.count - start)
            self._leaf(replace(task, start=start, count=count), found[task.leaf + number])

    def _leaf(self, task: _Task, found: np.ndarray) -> None:
        run = self._run
        below = None if run.ancestor is None else self._filled(run.ancestor, task)
        held: dict[int, torch.Tensor] = {}
        own: dict[int, list[float]] = {}
        for number in task.holders:
            held[number] = values = self._filled(number, task)
            if below is not None:
                values.sub_(below)
            own[number] = [measure.own(values) for measure in run.measures]
            if not all(map(math.isfinite, own[number])):
                run.broken.add(number, task.key)
            for place in task.pairs:
                first, second = run.pairs[place]
                if second != number:
                    continue
                for index, measure in enumerate(run.measures):
                    both = measure.pair(held[first], values)
                    found[index, place] = both, own[first][index], own[number][index]

    def _filled(self, number: int, task: _Task) -> torch.Tensor:
        """A model's values; those of models that are compared with none that comes later share a buffer."""
        place = number if number in self._run.kept else -1
        buffer = self._buffers.get(place)
        if buffer is None or buffer.numel() < task.count:
            buffer = self._buffers[place] = torch.empty(max(task.count, LEAF_ELEMENTS), dtype=torch.float64)
        values = buffer[: task.count]
        self._values.fill(number, task.key, task.start, values)
        return values.view(task.shape) if self._run.is_whole else values


def figures(run: Summing, groups: Mapping[str, Iterable[str]], measure: int, pair: int) -> dict[str, float]:
    """What the sums of groups of keys say of a pair, without the groups that it does not share; NaN where one is broken."""
    found: dict[str, float] = {}
    for name, keys in groups.items():
        sums = [run.sums[key][measure, pair] for key in keys if key in run.shared[pair]]
        if sums:
            both, a, b = np.sum(sums, axis=0).tolist()
            broken = not math.isfinite(both + a + b)
            found[name] = math.nan if broken else run.measures[measure].value(both, a, b) if a or b else 100.0
    return found
