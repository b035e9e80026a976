"""What plans have in common that differ in nothing but coefficients: where every tensor lies, and the passes over them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import torch

from .key_job import KeyJob
from .pass_choice import make_pass
from .passes import Group, Pass, Signature
from .plan import Plan
from .resident_sources import ResidentSource, is_plain

_SUMMED_DTYPES = ("fp16", "bf16", "fp32")
_NEVER = np.nan
"""As a coefficient: no tensor was summed with it."""


class Table:
    """One row for each key that is a plain weighted sum, one column for each source.

    Args:
        structure: what tells such plans from others.
        sources: of the plan.
        tensors: the result's; all keys are there.
        way: as of `pass_choice.make_pass`.

    Attributes:
        names: keys as they are in the result.
        signatures, sizes: dtypes, and bytes of the result.
        held: the coefficients that each key was last summed with.
        merged_others: the jobs of the other keys as they were last merged.
    """

    def __init__(
        self,
        structure: Hashable,
        plan: Plan,
        sources: Sequence[ResidentSource],
        tensors: Mapping[str, torch.Tensor],
        way: str | None,
    ):
        self.structure, self.sources, self.tensors, self._way = structure, sources, tensors, way
        order = {lane: place for place, lane in enumerate(plan.architecture.lanes)}
        rows = sorted(
            (signature, order.get(job.lane, len(order)), job.key, number)
            for number, job in enumerate(plan.jobs)
            if (signature := _signature(job, plan)) is not None
        )
        self.signatures = [signature for signature, _, _, _ in rows]
        self._keys, self._numbers = [key for _, _, key, _ in rows], [number for _, _, _, number in rows]
        self.names = [key.removeprefix(plan.bare_prefix) for key in self._keys]
        self.sizes = np.array([plan.jobs[number].size_bytes for number in self._numbers], np.int64)
        self.held = np.full((len(rows), len(sources)), _NEVER)
        self.merged_others: tuple[KeyJob, ...] | None = None
        self._is_loaded, self._was_tried = (np.zeros(self.held.shape, bool) for _ in range(2))
        self._passes: list[tuple[int, int, Pass]] | None = None
        self._rest: tuple[bytes, list[int]] | None = None

    def take_over(self, before: Table) -> None:
        """Keep what tensors hold since the last table, where the same sum is the same numbers here."""
        kept = [column for column, source in enumerate(before.sources) if source in self.sources]
        columns = [self.sources.index(before.sources[column]) for column in kept]
        if columns != sorted(set(columns)):  # a sum in another order is rounded otherwise
            return
        lost = np.delete(before.held, kept, axis=1)
        rows = {name: place for place, name in enumerate(before.names) if not lost[place].any()}
        for place, name in enumerate(self.names):
            row = rows.get(name)
            if row is None or before.tensors[name] is not self.tensors[name]:
                continue
            if before.signatures[row].compute == self.signatures[place].compute:
                self.held[place] = 0
                self.held[place, columns] = before.held[row, kept]

    def weights(self, jobs: Sequence[KeyJob]) -> np.ndarray:
        """The coefficients that a plan's jobs ask for."""
        terms = [() if jobs[number].nodes else jobs[number].terms for number in self._numbers]
        # Keys of one kind share the one object.
        _, firsts, kinds = np.unique(np.fromiter(map(id, terms), np.int64, len(terms)), return_index=True, return_inverse=True)
        found = np.zeros((len(firsts), len(self.sources)))
        for place, first in enumerate(firsts):
            for source, coefficient in terms[first]:
                found[place, source] = coefficient
        return found[kinds]

    def load(self, weights: np.ndarray, threads: int, should_stop: Callable[[], bool]) -> None:
        """Bring in what has a coefficient for the first time; errors as of `ResidentSource.load`."""
        is_wanted = (weights != 0) & ~self._was_tried
        for column, source in enumerate(self.sources):
            places = np.flatnonzero(is_wanted[:, column])
            if len(places):
                self._passes = None
                source.load([self._keys[place] for place in places], threads, should_stop)
                self._is_loaded[places, column] = [self._keys[place] in source.loaded for place in places]
                self._was_tried[places, column] = True

    def is_summable(self, weights: np.ndarray) -> np.ndarray:
        """Which keys can be summed in a pass: every tensor is there and finite, and there is one."""
        is_read = weights != 0
        return _any_of(is_read) & ~_any_of(is_read & ~self._is_loaded)

    def differs(self, weights: np.ndarray) -> np.ndarray:
        """Which keys hold another sum."""
        return _any_of(weights != self.held)

    def others(self, jobs: Sequence[KeyJob], is_summed: np.ndarray) -> tuple[KeyJob, ...]:
        """The jobs that no pass does."""
        mask = is_summed.tobytes()
        if self._rest is None or self._rest[0] != mask:
            done = {self._numbers[place] for place in np.flatnonzero(is_summed)}
            self._rest = mask, [number for number in range(len(jobs)) if number not in done]
        return tuple(jobs[number] for number in self._rest[1])

    def mark(self, which: np.ndarray) -> None:
        """Whatever these keys hold is nobody's result."""
        self.held[which] = _NEVER

    def passes(self) -> Sequence[tuple[int, int, Pass]]:
        """(first row, row behind the last, what sums them)."""
        if self._passes is None:
            self._passes, start = [], 0
            for signature, same in itertools.groupby(self.signatures):
                end = start + len(list(same))
                rows = [self._row(place) for place in range(start, end)]
                self._passes.append((start, end, make_pass(Group(signature, rows), self._way)))
                start = end
        return self._passes

    def _row(self, place: int) -> tuple[torch.Tensor | None, ...]:
        key = self._keys[place]
        return *(source.loaded.get(key) for source in self.sources), self.tensors[self.names[place]].view(-1)


def _signature(job: KeyJob, plan: Plan) -> Signature | None:
    """Of a plain weighted sum that is rounded once; None where the job is anything else."""
    is_rounded_once = job.dtype.name in _SUMMED_DTYPES and (job.compute == "float32" or job.dtype.name == "fp32")
    if job.is_copied or job.is_scaled or job.extra is not None or not job.elements or not is_rounded_once:
        return None
    found = [source.tensors.get(job.key) for source in plan.sources]
    if not all(is_plain(info) for info in found if info is not None):
        return None
    absent = job.dtype.name  # never read, so that anything will do
    return Signature(tuple(absent if info is None else info.dtype.name for info in found), job.dtype.name, job.compute)


def _any_of(rows: np.ndarray) -> np.ndarray:
    """Of each row, whether any is set; for a few columns much faster than numpy's own."""
    return functools.reduce(np.logical_or, rows.T, np.zeros(len(rows), bool))
