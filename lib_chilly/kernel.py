"""The arithmetic of one slab: read, convert, scale, add, check and round, in scratch memory that is used again and again.

Each product and each addition is rounded in the compute type, in the order of the sum; then comes one rounding to the output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch

from .converting import load, narrow, squares, too_large
from .copying import Copier, Values
from .key_job import ExtraChannels, KeyJob, Terms
from .memory import KEPT_BYTES, SLAB_ELEMENTS
from .node_kernel import Fetch, NodeSum, sum_with_nodes
from .placement import is_costly
from .staging import Staging
from .tally import RESULT, Matrix, NotFinite, Tally

_WEIGHED, _LEAST_WEIGHED = 4, 4096
"""Of how many slabs one is weighed, and of how many of its elements one; how many of these at least."""


@functools.cache
def _keep_freed_memory() -> None:
    """Have the system's allocator keep what is freed, once a process: glibc does so up to the largest block it has seen freed."""
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


class Kernel:
    """One thread's scratch memory and the arithmetic in it.

    Args:
        values: of the sources.
        on_nan: number of the source whose elements replace those that are not finite; None raises NotFinite.
        scales: scaled key to what its sum is divided by.
        weighs: whether the tally has the sizes of matrices.
        staging: the way to a device; None for the processor alone.
    """

    def __init__(
        self,
        values: Values,
        on_nan: int | None,
        scales: Mapping[str, float] | None = None,
        weighs: bool = False,
        staging: Staging | None = None,
    ):
        self.values, self.on_nan, self.scales, self.weighs = values, on_nan, scales or {}, weighs
        self.tally = Tally()
        self._copier = Copier(values, on_nan, self.scales, weighs, self.tally)
        self._is_weighed = False
        self._here = Staging()
        self._staging = staging or self._here
        self._scratch: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        _keep_freed_memory()
        self._rooms: dict[tuple[int, torch.dtype], torch.Tensor] = {}

    def turn_to(self, values: Values, on_nan: int | None) -> None:
        """Serve another merge with the same scratch; arguments as when it was made."""
        self.values, self.on_nan = values, on_nan
        self._copier = Copier(values, on_nan, self.scales, self.weighs, self.tally)

    def run(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        """Make the elements from `start` of one output tensor.

        Args:
            out: 1-D, of the output's dtype; filled. Where `job.extra` is set, the whole tensor.

        Raises:
            NotFinite: a source holds NaN or Inf here.
        """
        self._is_weighed = self.weighs and len(job.shape) >= 2 and start // SLAB_ELEMENTS % _WEIGHED == 0
        if job.extra is not None:
            self._run_channels(job, job.extra, out)
        elif job.is_copied:
            self._copier.copy(job, start, out)
        else:

            def fetch(source: int) -> tuple[torch.Tensor, torch.Tensor | None]:
                return self.values.read(source, job.key, start, out.numel())

            if job.nodes:
                self._bend(NodeSum(job, job.terms, job.nodes, fetch, job.shape, start, out.numel()), out)
            else:
                self._sum(job, job.terms, fetch, out)

    def largest(self, job: KeyJob, start: int, count: int) -> float:
        """The largest absolute value of some elements of a sum; what overflowed counts as its type's largest number.

        Raises:
            NotFinite: a source holds NaN or Inf here.
        """
        values = torch.empty(count, dtype=getattr(torch, job.compute))
        self.run(job, start, values)
        return values.abs_().nan_to_num_(0.0, posinf=torch.finfo(values.dtype).max).max().item()

    def _sum(self, job: KeyJob, terms: Terms, fetch: Fetch, out: torch.Tensor) -> None:
        """The weighted sum of what `fetch` gives, rounded into `out`; counts change, overflow and replaced elements."""
        if not terms:
            self._weigh(job, RESULT, torch.zeros(1))
            out.zero_()
            return
        first, other, result = self._buffers(job.compute, out.numel())
        self._weigh(job, terms[0][0], load(first, *fetch(terms[0][0])))
        if len(terms) == 1 and terms[0][1] == 1:
            result, change = first, 0.0
        else:
            torch.mul(first, terms[0][1], out=result)
            for source, coefficient in terms[1:]:
                self._weigh(job, source, load(other, *fetch(source)))
                result.add_(other.mul_(coefficient))
            torch.sub(result, first, out=other)
            change = torch.dot(other, other).item()
        size = torch.dot(first, first).item()
        # Sums of squares are finite only where every element is: the check for NaN and Inf costs nothing more.
        if not math.isfinite(change + size):
            self._mend(job, terms, fetch, first, result)
            change, size = squares(result - first), squares(first)
        if terms[0][0] == 0:
            self.tally.add_change(job.lane, change, size)
        self._write(job, result, math.sqrt(change) + math.sqrt(size), out, self._here)

    def _bend(self, what: NodeSum, out: torch.Tensor) -> None:
        """A sum with calls that do not fold, rounded into `out`; on the device where it pays and there is room."""
        if self._staging.is_away and is_costly(what.nodes):
            tally, self.tally = self.tally, Tally()
            try:
                with self._staging.queue():
                    self._bend_at(what, out, self._staging)
                tally.merge(self.tally)
                return
            except torch.cuda.OutOfMemoryError:
                tally.no_room.add(what.job.key)
            finally:
                self.tally = tally
        self._bend_at(what, out, self._here)

    def _bend_at(self, what: NodeSum, out: torch.Tensor, place: Staging) -> None:
        job = what.job
        bent = sum_with_nodes(what, self.values.read_on, place, self._room_of, self.on_nan)
        while bent.loaded:  # not before now, for it waits for what travels
            self._weigh(job, *bent.loaded.popitem())
        if bent.first is not None:
            self.tally.add_change(job.lane, *bent.change())
        for source, count in bent.not_finite.items() if self.weighs else ():
            self.tally.add_not_finite(source, job.lane, count)
        if bent.replaced:
            self.tally.replaced[job.key] = self.tally.replaced.get(job.key, 0) + bent.replaced
        self._write(job, bent.result, bent.norm(), out, place)

    def _write(self, job: KeyJob, result: torch.Tensor, bound: float, out: torch.Tensor, place: Staging) -> None:
        """Round a sum into `out`; no element is larger than `bound`, but for those that are not finite."""
        self._weigh(job, RESULT, result)
        if job.is_scaled and self.scales:
            scale = result.new_tensor(self.scales[job.key])  # by a plain number, CUDA multiplies by 1 / number
            self._count_overflow(job, result.div_(scale), out.dtype)
        # "not <": where the sum itself overflowed, its change may be NaN.
        elif not bound < torch.finfo(out.dtype).max:
            self._count_overflow(job, result, out.dtype)
        place.bring(narrow(result, out.dtype), out)

    def _weigh(self, job: KeyJob, number: int, values: torch.Tensor) -> None:
        """Note how large a matrix is, by a part of it: a healthy model's differ by far less than that can err."""
        if self._is_weighed:
            part = values[: max(_LEAST_WEIGHED, values.numel() // _WEIGHED)]
            squares = torch.dot(part, part).item()
            if math.isfinite(squares):
                matrix = Matrix(job.lane, job.key, job.shape[0], job.elements)
                self.tally.add_weighed(number, matrix, squares, part.numel())

    def _mend(self, job: KeyJob, terms: Terms, fetch: Fetch, first: torch.Tensor, result: torch.Tensor) -> None:
        """Find what is not finite; replace it by the model that `on_nan` names, in `result` and in `first`."""
        bad, spoilt = torch.zeros(result.numel(), dtype=torch.bool), terms[0][0]
        for source, _ in terms:
            wrong = ~torch.isfinite(load(torch.empty(result.numel(), dtype=torch.float64), *fetch(source)))
            if bool(wrong.any()) and (self.on_nan is None or source == self.on_nan):
                raise NotFinite(source, job.key)
            spoilt = source if bool(wrong.any()) else spoilt
            if self.weighs and bool(wrong.any()):
                self.tally.add_not_finite(source, job.lane, int(wrong.sum()))
            bad |= wrong
        if bool(bad.any()):
            assert self.on_nan is not None
            try:
                replacement = load(torch.empty_like(result), *fetch(self.on_nan))[bad]
            except NotFinite:  # it lacks these channels
                raise NotFinite(spoilt, job.key) from None
            if not bool(torch.isfinite(replacement).all()):
                raise NotFinite(self.on_nan, job.key)
            result[bad] = first[bad] = replacement
            self.tally.replaced[job.key] = self.tally.replaced.get(job.key, 0) + int(bad.sum())

    def _count_overflow(self, job: KeyJob, result: torch.Tensor, dtype: torch.dtype) -> None:
        """Every source is finite here, so what is not finite after the rounding was too large for the sum or for the output."""
        if count := too_large(result, dtype):
            self.tally.overflow[job.key] = self.tally.overflow.get(job.key, 0) + count

    def _run_channels(self, job: KeyJob, extra: ExtraChannels, out: torch.Tensor) -> None:
        """The first convolution of ordinary and extended models: a sum for the channels that all have, one for the rest."""
        outer, channels, *window = job.shape
        whole = out.view(outer, channels, *window)
        loaded: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        regions = (slice(0, extra.shared), job.terms, job.nodes), (slice(extra.shared, channels), extra.terms, extra.nodes)
        for region, terms, nodes in regions:
            part = torch.empty_like(whole[:, region]).reshape(-1)

            def fetch(source: int, region: slice = region) -> tuple[torch.Tensor, torch.Tensor | None]:
                if source not in loaded:
                    has = channels if source in extra.holders else extra.shared
                    values, scale = self.values.read(source, job.key, 0, outer * has * math.prod(window))
                    loaded[source] = values.clone().view(outer, has, *window), scale
                values, scale = loaded[source]
                if values.shape[1] < region.stop:  # the model that should replace NaN lacks these channels
                    raise NotFinite(source, job.key)
                return values[:, region].reshape(-1), scale

            if nodes:
                # Draws go on from one part to the other.
                place = region.start * part.numel()
                self._bend(NodeSum(job, terms, nodes, fetch, whole[:, region].shape, place, part.numel()), part)
            else:
                self._sum(job, terms, fetch, part)
            whole[:, region] = part.view(whole[:, region].shape)

    def _room_of(self, source: int, dtype: torch.dtype, count: int) -> torch.Tensor:
        """Where a source's values stand until the next sum: memory that is new costs more to get than to fill."""
        found = self._rooms.get((source, dtype))
        if found is None or found.numel() < count:
            self._rooms.pop((source, dtype), None)  # before there is more
            found = self._rooms[source, dtype] = torch.empty(max(count, SLAB_ELEMENTS), dtype=dtype)
        return found[:count]

    def _buffers(self, compute: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dtype = getattr(torch, compute)
        found = self._scratch.get(dtype)
        if found is None or found[0].numel() < count:
            size = max(count, SLAB_ELEMENTS)
            first, other, result = (torch.empty(size, dtype=dtype) for _ in range(3))
            found = self._scratch[dtype] = first, other, result
        if found[0].numel() == count:
            return found
        first, other, result = found
        return first[:count], other[:count], result[:count]
