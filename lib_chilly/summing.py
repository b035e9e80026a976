"""Sums over the elements of many models in one pass: each file is read once, a leaf of every tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .compared import STOPPED, Broken, Compared, Pair, Values, is_finite
from .likeness import LEAF_ELEMENTS, Summed, Weighed
from .workers import Failures, work_together

TASK_LEAVES = 8
"""Leaves that a thread takes at once, and that are announced to the system."""
_MOST_WAITING = 4 << 20
"""Bytes of sums that may wait for those before them."""


@dataclass(frozen=True)
class Sums:
    """What was summed over some elements.

    Attributes:
        own: for each measure and each model; not finite where its elements are not, 0 where it has none.
        both: for each measure and each pair.
    """

    own: np.ndarray
    both: np.ndarray

    @classmethod
    def of(cls, measures: int, models: int, pairs: int) -> Sums:
        """Zeros."""
        return cls(np.zeros((measures, models)), np.zeros((measures, pairs)))

    def add(self, other: Sums) -> None:
        np.add(self.own, other.own, out=self.own)
        np.add(self.both, other.both, out=self.both)


_Compared = tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


@dataclass(frozen=True)
class _Task:
    """Some of one tensor's leaves.

    Attributes:
        start, count: its elements.
        step: elements of a leaf.
        models: number of each that is read, and those before it that it is compared with: place of the pair, number.
    """

    key: str
    start: int
    count: int
    step: int
    models: _Compared


class Summing:
    """The pass.

    Args:
        models: what is compared, opened.
        pairs: which with which.
        shared: for each pair the keys in which it is compared.
        measures: what is summed.
        ancestor: what is subtracted from all.

    Attributes:
        broken: who holds NaN or Inf, or what float64 has no squares of.
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
        self.broken = Broken()
        self._known: dict[tuple[int, ...], _Compared] = {}

    def add(self, keys: Sequence[str], threads: int, should_stop: Callable[[], bool]) -> dict[str, Sums]:
        """Sums of some keys.

        Raises:
            CheckpointError: a file changed or was cut short, or a merge's source holds NaN or Inf.
            Interrupted: `should_stop` said so.
        """
        tasks = [task for key in keys for task in self._cut(key)]
        found = _InOrder({key: self.zeros() for key in keys})
        ahead = iter(tasks[threads:])

        def work(taken: Iterator[tuple[int, _Task]]) -> None:
            worker = _Worker(self)
            for number, task in taken:
                with found.failures.turn:
                    later = next(ahead, None)
                if later:
                    worker.announce(later)
                found.put(number, task.key, worker.sums(task))

        work_together(threads, list(enumerate(tasks)), work, found.failures, should_stop, STOPPED)
        return found.sums

    def zeros(self) -> Sums:
        return Sums.of(len(self.measures), len(self.models), len(self.pairs))

    def _cut(self, key: str) -> Iterator[_Task]:
        """A tensor's tasks."""
        models = self._comparing(tuple(place for place, keys in enumerate(self.shared) if key in keys))
        jobs = [self.models[number].jobs[key] for number, _ in models]
        size = jobs[0].elements
        step = max(1, size) if any(job.is_whole for job in jobs) else LEAF_ELEMENTS
        for start in range(0, size, step * TASK_LEAVES):
            yield _Task(key, start, min(step * TASK_LEAVES, size - start), step, models)

    def _comparing(self, places: tuple[int, ...]) -> _Compared:
        """What a task of some pairs does with each model."""
        if places not in self._known:
            found: dict[int, list[tuple[int, int]]] = {number: [] for place in places for number in self.pairs[place]}
            for place in places:
                first, second = self.pairs[place]
                found[second].append((place, first))
            self._known[places] = tuple((number, tuple(found[number])) for number in sorted(found))
        return self._known[places]


class _InOrder:
    """Sums of leaves, added one after the other, whoever took them."""

    def __init__(self, sums: dict[str, Sums]):
        self.sums, self.failures = sums, Failures()
        self._next, self._waiting, self._bytes = 0, dict[int, tuple[str, list[Sums]]](), 0

    def put(self, number: int, key: str, leaves: list[Sums]) -> None:
        """A task's leaves; where too much waits, so does who brings more, but for who brings what all wait for."""
        size = sum(leaf.own.nbytes + leaf.both.nbytes for leaf in leaves)
        with self.failures.turn:
            self.failures.turn.wait_for(
                lambda: number == self._next or self._bytes + size <= _MOST_WAITING or bool(self.failures)
            )
            self._waiting[number], self._bytes = (key, leaves), self._bytes + size
            while due := self._waiting.pop(self._next, None):
                self._next += 1
                for leaf in due[1]:
                    self.sums[due[0]].add(leaf)
                    self._bytes -= leaf.own.nbytes + leaf.both.nbytes
            self.failures.turn.notify_all()


class _Worker:
    """One thread's buffers."""

    def __init__(self, run: Summing):
        self._run = run
        self._values = Values(run.models)
        self._buffers: dict[int, torch.Tensor] = {}

    def announce(self, task: _Task) -> None:
        """Let the system fetch what a later task reads."""
        for number, _ in task.models:
            self._values.will_need(number, task.key, task.start, task.count)

    def sums(self, task: _Task) -> list[Sums]:
        """The sums of a task's leaves."""
        end = task.start + task.count
        return [self._leaf(task, start, min(task.step, end - start)) for start in range(task.start, end, task.step)]

    def _leaf(self, task: _Task, start: int, count: int) -> Sums:
        run, found = self._run, self._run.zeros()
        below = None if run.ancestor is None else self._filled(run.ancestor, task.key, start, count)
        held: dict[int, torch.Tensor] = {}
        for number, others in task.models:
            held[number] = values = self._filled(number, task.key, start, count)
            if below is not None:
                values.sub_(below)
            own = [measure.own(values) for measure in run.measures]
            found.own[:, number] = own
            if not all(map(math.isfinite, own)):
                self._blame(number, task.key, start, below)
            for place, first in others:
                found.both[:, place] = [measure.pair(held[first], values) for measure in run.measures]
        return found

    def _blame(self, number: int, key: str, start: int, below: torch.Tensor | None) -> None:
        """A model's differences are not finite: the ancestor's fault, its own, or that of both."""
        run = self._run
        if below is None or is_finite(below):
            run.broken.add(number, key)
            return
        run.broken.add(len(run.models) - 1, key)
        if not is_finite(self._filled(number, key, start, below.numel())):
            run.broken.add(number, key)

    def _filled(self, number: int, key: str, start: int, count: int) -> torch.Tensor:
        """A model's values; those of models that are compared with none that comes later share a buffer."""
        place = number if number in self._run.kept else -1
        values = self._buffers.get(place)
        if values is None or values.numel() < count:
            values = self._buffers[place] = torch.empty(max(count, LEAF_ELEMENTS), dtype=torch.float64)
        if values.numel() > count:
            values = values[:count]
        self._values.fill(number, key, start, values)
        return values


class Groups:
    """Sums of groups of keys, a lane's or a component's, and what they say of each pair."""

    def __init__(self, pairs: Sequence[Pair], shared: Sequence[frozenset[str]], measures: Sequence[Weighed]):
        self._shared, self._measures = shared, measures
        self._firsts, self._seconds = ([pair[side] for pair in pairs] for side in (0, 1))
        self._sums: dict[str, np.ndarray] = {}
        self._pairs: dict[str, np.ndarray] = {}

    def add(self, name: str, key: str, sums: Sums) -> None:
        """A key of a group, of those pairs that share it."""
        shares = np.array([key in keys for keys in self._shared])
        count = len(self._measures)
        found = np.stack([sums.both[:count], sums.own[:count, self._firsts], sums.own[:count, self._seconds]])
        before = self._sums.get(name, 0.0)
        self._sums[name] = before + np.where(shares, found, 0.0)
        self._pairs[name] = self._pairs.get(name, False) | shares

    def figures(self, measure: int, pair: int) -> dict[str, float]:
        """Of a pair, without the groups of which it shares nothing; NaN where one is broken."""
        found: dict[str, float] = {}
        for name, sums in self._sums.items():
            if self._pairs[name][pair]:
                both, a, b = sums[:, measure, pair].tolist()
                broken = not math.isfinite(both + a + b)
                found[name] = math.nan if broken else self._measures[measure].value(both, a, b) if a or b else 100.0
        return found
