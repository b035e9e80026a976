"""One weighted sum over many tensors of the same dtypes, by the fastest way that gives the defined bits.

Each product and each addition is rounded in the compute type, then the sum once to the output's.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .dtypes import BY_NAME, torch_dtype
from .resident_sources import padded
from .slabs import compiled_sum_slabs
from .workers import Failures, work_together

_CPU_SLAB, _CPU_TASK = 1 << 17, 1 << 21
"""Elements that stay in a core's cache, and that a thread takes at once."""
_GPU_SLAB, _GPU_TASK = 1 << 22, 1 << 25
"""Elements that keep a GPU busy, and whose sum in one kernel is copied while it is in a cache, or nearly."""
_MOST_JITERATED = 8

Row = tuple[torch.Tensor | None, ...]
"""One key: the flat tensor of each source, None where it is not read, then the output's."""

Task = tuple[torch.Tensor, Sequence[torch.Tensor], Sequence[float]]
"""A stretch of the output, the stretches of the sources, and their coefficients."""


@dataclass(frozen=True, order=True)
class Signature:
    """What a pass is made for: our names of the dtypes, and "float32" or "float64"."""

    sources: tuple[str, ...]
    output: str
    compute: str


class Group:
    """Keys whose tensors have the same dtypes, in the order of the lanes.

    Attributes:
        counts: elements of each key.
        addresses: of each key's tensors, one column a source and one for the output; 0 where one is not read.
    """

    def __init__(self, signature: Signature, rows: Sequence[Row]):
        self.signature, self.rows = signature, rows
        self.counts = np.array([_output(row).numel() for row in rows], np.int64)
        self.addresses = np.array([[0 if part is None else part.data_ptr() for part in row] for row in rows], np.int64)
        self.device = _output(rows[0]).device
        self.is_on_device = all(part is None or part.device == self.device for row in rows for part in row)

    @functools.cached_property
    def is_joined(self) -> np.ndarray:
        """Whether the next key's tensors lie right behind this one's, in the same buffers."""
        stores = np.array([[0 if p is None else p.untyped_storage().data_ptr() for p in row] for row in self.rows], np.int64)
        sizes = np.array([BY_NAME[name].size_bytes for name in (*self.signature.sources, self.signature.output)])
        steps = np.array([padded(int(count)) for count in self.counts])[:-1, None] * sizes
        adjacent = (np.diff(self.addresses, axis=0) == steps) & (np.diff(stores, axis=0) == 0)
        absent = (self.addresses[1:] == 0) | (self.addresses[:-1] == 0)
        return np.append((adjacent | absent).all(axis=1), False)

    def runs(self, coefficients: np.ndarray, todo: np.ndarray) -> Iterator[tuple[int, int]]:
        """(first key, elements) of each stretch of memory whose keys are to be summed with the same coefficients."""
        alike = (coefficients[1:] == coefficients[:-1]).all(axis=1) & (todo[1:] == todo[:-1])
        ends = np.flatnonzero(~(self.is_joined & np.append(alike, False))) + 1
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            if todo[start]:
                yield int(start), sum(padded(int(count)) for count in self.counts[start : end - 1]) + int(self.counts[end - 1])


def _output(row: Row) -> torch.Tensor:
    assert row[-1] is not None
    return row[-1]


class Pass(ABC):
    """One way to sum the keys of a group."""

    name: str

    def __init__(self, group: Group):
        self.group = group

    @classmethod
    @abstractmethod
    def fits(cls, group: Group) -> bool:
        """Whether this way is there on this machine, for these dtypes."""

    @abstractmethod
    def run(self, coefficients: np.ndarray, todo: np.ndarray) -> None:
        """Sum some of the keys; on a GPU the call may come back before it is done.

        Args:
            coefficients: one row a key, one column a source; 0 where it is not read, and never all 0 where `todo` is set.
            todo: which keys.
        """


class PairwisePass(Pass):
    """torch alone, one operation after the other: on the processor in as many threads as torch has."""

    name = "pairwise"

    def __init__(self, group: Group):
        super().__init__(group)
        self._is_on_cpu = group.device.type == "cpu"
        slab, scratch = (_CPU_SLAB, torch.get_num_threads()) if self._is_on_cpu else (_GPU_SLAB, 1)
        compute = getattr(torch, group.signature.compute)
        self._scratch = [[torch.empty(slab, dtype=compute, device=group.device) for _ in range(2)] for _ in range(scratch)]

    @classmethod
    def fits(cls, group: Group) -> bool:
        return True

    def run(self, coefficients: np.ndarray, todo: np.ndarray) -> None:
        tasks = [task for run in self.group.runs(coefficients, todo) for task in self._tasks(coefficients, *run)]
        if not self._is_on_cpu:
            self._work(iter(tasks))
        else:
            work_together(len(self._scratch), tasks, self._work, Failures(), lambda: False)

    def _tasks(self, coefficients: np.ndarray, first: int, count: int) -> Iterator[Task]:
        row = self.group.rows[first]
        read = np.flatnonzero(coefficients[first])
        parts = (
            _stretched(part, count).split(_CPU_TASK if self._is_on_cpu else _GPU_TASK)
            for part in (_output(row), *(row[source] for source in read))
        )
        for out, *pieces in zip(*parts, strict=True):
            yield out, pieces, coefficients[first, read].tolist()

    def _work(self, tasks: Iterator[Task]) -> None:
        scratch = self._scratch.pop()
        try:
            for task in tasks:
                compiled_sum_slabs()(*task, *scratch)
        finally:
            self._scratch.append(scratch)


def _stretched(part: torch.Tensor | None, count: int) -> torch.Tensor:
    """A tensor, and what lies behind it in its buffer."""
    assert part is not None
    return part.as_strided((count,), (1,))


class JiteratorPass(PairwisePass):
    """One kernel that torch compiles with the GPU's own compiler: up to eight sources at once; its result is copied."""

    name = "jiterator"

    @classmethod
    def fits(cls, group: Group) -> bool:
        dtypes = [torch_dtype(BY_NAME[name]) for name in group.signature.sources]
        common = functools.reduce(torch.promote_types, dtypes)
        output = torch_dtype(BY_NAME[group.signature.output])
        is_known = group.signature.compute == "float32" and common in (output, torch.float32)  # it rounds to the common one
        return group.device.type == "cuda" and group.is_on_device and is_known and len(dtypes) <= _MOST_JITERATED

    def _work(self, tasks: Iterator[Task]) -> None:
        for out, pieces, weights in tasks:
            named = {f"c{number}": weight for number, weight in enumerate(weights)}
            out.copy_(_jiterated(len(pieces))(*pieces, **named))


@functools.cache
def _jiterated(count: int) -> Callable[..., torch.Tensor]:
    """The sum of `count` products; __fmul_rn and __fadd_rn are never contracted to one operation."""
    from torch.cuda.jiterator import _create_jit_fn

    names = [*(f"T x{number}" for number in range(count)), *(f"double c{number}" for number in range(count))]
    terms = [f"__fmul_rn(float(x{number}), float(c{number}))" for number in range(count)]
    total = functools.reduce(lambda sum_, term: f"__fadd_rn({sum_}, {term})", terms)
    code = f"template <typename T> T weighted_sum({', '.join(names)}) {{ return T({total}); }}"
    return _create_jit_fn(code, **{f"c{number}": 0.0 for number in range(count)})
