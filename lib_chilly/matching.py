"""Plan -> the plan with the orders of its units, found from the sources before the pass: a group at a time in each thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from .assignment import best_of_blocks
from .kernel import Kernel
from .key_job import KeyJob
from .matchings import Matching, matchings, operand_of
from .plan import Plan
from .reading import OpenSource, Reader, not_finite
from .signature import Orders
from .tally import NotFinite
from .workers import Failures, work_together

Found = dict[str, Orders]
"""Key to the orders of its axes."""


def match_units(
    plan: Plan,
    files: Sequence[OpenSource],
    threads: int,
    on_bytes: Callable[[int], None] = lambda count: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    only: Collection[str] | None = None,
    known: dict[tuple[int, str], Found] | None = None,
) -> tuple[Plan, int]:
    """Find the orders of all units; they do not depend on threads.

    Args:
        on_bytes: told how many bytes of the output's tensors were matched, from any thread.
        only: the keys whose orders are needed.
        known: by `Matching.identity`, those that need not be found again; the others are added to it.

    Returns:
        The plan, and how many bytes were read.

    Raises:
        CheckpointError: NaN or Inf in a source.
        Interrupted: `should_stop` said so.
    """
    jobs, read, known = {job.key: job for job in plan.jobs}, 0, {} if known is None else known
    for each_round in matchings(plan.architecture, plan.jobs):
        wanted = [each for each in each_round if only is None or any(job.key in only for job in each.jobs)]
        run = _Run(plan, jobs, files, on_bytes)
        todo = [each for each in wanted if each.identity not in known]
        work_together(threads, todo, run.work, run.failures, should_stop)
        known |= run.found
        read += run.read_bytes
        for each in wanted:
            jobs |= {key: _with(jobs[key], each.call, orders) for key, orders in known[each.identity].items()}
    return replace(plan, jobs=tuple(jobs.values())), read


def _with(job: KeyJob, call: int, orders: Orders) -> KeyJob:
    nodes = (replace(each, orders=orders) if each.call == call and each.method.takes_orders else each for each in job.nodes)
    return replace(job, nodes=tuple(nodes))


class _Run:
    """The state that the worker threads share."""

    def __init__(self, plan: Plan, jobs: Mapping[str, KeyJob], files: Sequence[OpenSource], on_bytes: Callable[[int], None]):
        self.plan, self.jobs, self.files, self.on_bytes = plan, jobs, files, on_bytes
        self.found: dict[tuple[int, str], Found] = {}
        self.failures = Failures()
        self.read_bytes = 0

    def work(self, tasks: Iterator[Matching]) -> None:
        """Match some of the groups."""
        reader = Reader(self.files)
        kernel = Kernel(reader, self.plan.on_nan)
        for matching in tasks:
            try:
                tables = self._scores(kernel, matching)
            except NotFinite as error:
                raise not_finite(self.files[error.source], error.key) from None
            orders = self._orders(matching, tables)
            with self.failures.turn:
                self.found[matching.identity] = orders
            self.on_bytes(matching.size_bytes)
        with self.failures.turn:
            self.read_bytes += reader.read_bytes

    def _scores(self, kernel: Kernel, matching: Matching) -> list[torch.Tensor]:
        """For each set how well each unit of the second model fits in each place of the first: sums of products."""
        group = matching.group
        dtype = getattr(torch, matching.jobs[0].compute)
        tables = [torch.zeros(group.units, group.units, dtype=dtype) for _ in group.sets]
        for planned in matching.jobs:
            job = self.jobs[planned.key]
            a, b = (_values(kernel, operand_of(job, matching.call, side)) for side in (0, 1))
            for table, members in zip(tables, group.sets, strict=True):
                for member in (each for each in members if each.key == job.key):
                    part = slice(member.part * group.units, (member.part + 1) * group.units)
                    rows = [each.movedim(member.axis, 0)[part].reshape(group.units, -1).to(dtype) for each in (a, b)]
                    table.addmm_(rows[0], rows[1].t())
        return tables

    def _orders(self, matching: Matching, tables: Sequence[torch.Tensor]) -> Found:
        group = matching.group
        says_nothing = not any(bool(table.any()) for table in tables) or not all(bool(table.isfinite().all()) for table in tables)
        if says_nothing:  # there is nothing to fit, or products are beyond the range: all stay
            return {}
        orders = best_of_blocks([table.numpy() for table in tables], group.blocks)
        found: dict[str, dict[int, torch.Tensor]] = {job.key: {} for job in matching.jobs}
        for order, members in zip(orders, group.sets, strict=True):
            for member in (each for each in members if each.key in found):
                axis = found[member.key].setdefault(member.axis, torch.arange(group.units * member.parts))
                start = member.part * group.units
                axis[start : start + group.units] = torch.from_numpy(order) + start
        return {key: tuple(axes.items()) for key, axes in found.items()}


def _values(kernel: Kernel, job: KeyJob) -> torch.Tensor:
    values = torch.empty(job.elements, dtype=getattr(torch, job.compute))
    kernel.run(job, 0, values)
    return values.view(job.shape)
