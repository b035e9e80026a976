"""The arithmetic of one slab: read, convert, scale, add, check and round, in scratch memory that is used again and again.

Each product and each addition is rounded in the compute type, in the order of the sum; then comes one rounding to the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from .converting import E4M3FN_LIMIT, load, narrow, squares
from .key_job import ExtraChannels, KeyJob, NodeJob, Terms
from .memory import SLAB_ELEMENTS
from .node_kernel import sum_with_nodes
from .tally import NotFinite, Tally

Fetch = Callable[[int], tuple[torch.Tensor, torch.Tensor | None]]
"""For the slab in hand: source -> (the stored values, the scale of scaled fp8 or None)."""


class Values(Protocol):
    """Where the sources' values come from."""

    def read(self, number: int, key: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Stored values and scale of some elements of a source's tensor."""

    def read_on(self, number: int, key: str, weight: torch.Tensor) -> torch.Tensor:
        """What a LoRA adds to a weight, which has its shape; in float64."""


class Kernel:
    """One thread's scratch memory and the arithmetic in it.

    Args:
        values: of the sources.
        on_nan: number of the source whose elements replace those that are not finite; None raises NotFinite.
        scales: scaled key to what its sum is divided by.
    """

    def __init__(self, values: Values, on_nan: int | None, scales: Mapping[str, float] | None = None):
        self.values, self.on_nan, self.scales = values, on_nan, scales or {}
        self.tally = Tally()
        self._scratch: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def run(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        """Make the elements from `start` of one output tensor.

        Args:
            out: 1-D, of the output's dtype; filled. Where `job.extra` is set, the whole tensor.

        Raises:
            NotFinite: a source holds NaN or Inf here.
        """
        if job.extra is not None:
            self._run_channels(job, job.extra, out)
        elif job.is_copied:
            self._copy(job, start, out)
        else:

            def fetch(source: int) -> tuple[torch.Tensor, torch.Tensor | None]:
                return self.values.read(source, job.key, start, out.numel())

            if job.nodes:
                self._bend(job, job.terms, job.nodes, fetch, out, job.shape, start)
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
            out.zero_()
            return
        first, other, result = self._buffers(job.compute, out.numel())
        load(first, *fetch(terms[0][0]))
        if len(terms) == 1 and terms[0][1] == 1:
            result, change = first, 0.0
        else:
            torch.mul(first, terms[0][1], out=result)
            for source, coefficient in terms[1:]:
                load(other, *fetch(source))
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
        self._write(job, result, math.sqrt(change) + math.sqrt(size), out)

    def _bend(
        self,
        job: KeyJob,
        terms: Terms,
        nodes: Sequence[NodeJob],
        fetch: Fetch,
        out: torch.Tensor,
        shape: Sequence[int],
        start: int = 0,
    ) -> None:
        """A sum with calls that do not fold, of elements from `start` of a tensor of that shape."""
        dtype = getattr(torch, job.compute)

        def values(source: int) -> torch.Tensor:
            return load(torch.empty(out.numel(), dtype=dtype), *fetch(source))

        def added(source: int, weight: torch.Tensor) -> torch.Tensor:
            return self.values.read_on(source, job.key, weight.view(*shape)).reshape(-1).to(dtype)

        bent = sum_with_nodes(job.key, shape, start, terms, nodes, values, added, self.on_nan)
        if bent.first is not None:
            self.tally.add_change(job.lane, *bent.change())
        if bent.replaced:
            self.tally.replaced[job.key] = self.tally.replaced.get(job.key, 0) + bent.replaced
        self._write(job, bent.result, bent.norm(), out)

    def _write(self, job: KeyJob, result: torch.Tensor, bound: float, out: torch.Tensor) -> None:
        """Round a sum into `out`; no element is larger than `bound`, but for those that are not finite."""
        if job.is_scaled and self.scales:
            self._count_overflow(job, result.div_(self.scales[job.key]), out.dtype)
        # "not <": where the sum itself overflowed, its change may be NaN.
        elif not bound < torch.finfo(out.dtype).max:
            self._count_overflow(job, result, out.dtype)
        out.copy_(narrow(result, out.dtype))

    def _mend(self, job: KeyJob, terms: Terms, fetch: Fetch, first: torch.Tensor, result: torch.Tensor) -> None:
        """Find what is not finite; replace it by the model that `on_nan` names, in `result` and in `first`."""
        bad, spoilt = torch.zeros(result.numel(), dtype=torch.bool), terms[0][0]
        for source, _ in terms:
            wrong = ~torch.isfinite(load(torch.empty(result.numel(), dtype=torch.float64), *fetch(source)))
            if bool(wrong.any()) and (self.on_nan is None or source == self.on_nan):
                raise NotFinite(source, job.key)
            spoilt = source if bool(wrong.any()) else spoilt
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
        if dtype is torch.float8_e4m3fn:
            fits = result.abs() <= E4M3FN_LIMIT
        else:
            fits = torch.isfinite(narrow(result, dtype).to(dtype).to(result.dtype))
        count = int((~fits).sum())
        if count:
            self.tally.overflow[job.key] = self.tally.overflow.get(job.key, 0) + count

    def _run_channels(self, job: KeyJob, extra: ExtraChannels, out: torch.Tensor) -> None:
        """The first convolution of ordinary and extended models: a sum for the channels that all have, one for the rest."""
        outer, channels, *window = job.shape
        whole = out.view(outer, channels, *window)
        loaded = {}
        for source in sorted(job.reads() | ({self.on_nan} if self.on_nan is not None else set())):
            has = channels if source in extra.holders else extra.shared
            values, scale = self.values.read(source, job.key, 0, outer * has * math.prod(window))
            loaded[source] = values.clone().view(outer, has, *window), scale
        regions = (slice(0, extra.shared), job.terms, job.nodes), (slice(extra.shared, channels), extra.terms, extra.nodes)
        for region, terms, nodes in regions:
            part = torch.empty_like(whole[:, region]).reshape(-1)

            def fetch(source: int, region: slice = region) -> tuple[torch.Tensor, torch.Tensor | None]:
                values, scale = loaded[source]
                if values.shape[1] < region.stop:  # the model that should replace NaN lacks these channels
                    raise NotFinite(source, job.key)
                return values[:, region].reshape(-1), scale

            if nodes:
                self._bend(job, terms, nodes, fetch, part, whole[:, region].shape)
            else:
                self._sum(job, terms, fetch, part)
            whole[:, region] = part.view(whole[:, region].shape)

    def _copy(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        if job.source is None:
            self._make_up(job, start, out)
            return
        values, scale = self.values.read(job.source, job.key, start, out.numel())
        if values.is_floating_point():
            wide = load(torch.empty(values.numel(), dtype=torch.float64), values, scale)
            bad = ~torch.isfinite(wide)
            if bool(bad.any()):
                self._mend_copy(job, start, wide, bad)
            if scale is not None or bool(bad.any()):
                values = narrow(wide, out.dtype)
        out.copy_(values)
        if job.is_position_ids and not bool((out == torch.arange(start, start + out.numel())).all()):
            self.tally.faulty_positions.add(job.key)

    def _make_up(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        """What no source is read for: position_ids, a scale, a marker."""
        if job.is_position_ids:
            torch.arange(start, start + out.numel(), out=out)
        else:
            out.fill_(self.scales[job.scale_of] if job.scale_of else 0)

    def _mend_copy(self, job: KeyJob, start: int, wide: torch.Tensor, bad: torch.Tensor) -> None:
        """Put the values of the model that `on_nan` names where copied ones are bad."""
        assert job.source is not None
        if self.on_nan is None or self.on_nan == job.source:
            raise NotFinite(job.source, job.key)
        replacement = load(torch.empty_like(wide), *self.values.read(self.on_nan, job.key, start, wide.numel()))[bad]
        if not bool(torch.isfinite(replacement).all()):
            raise NotFinite(self.on_nan, job.key)
        wide[bad] = replacement
        self.tally.replaced[job.key] = self.tally.replaced.get(job.key, 0) + int(bad.sum())

    def _buffers(self, compute: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        dtype = getattr(torch, compute)
        found = self._scratch.get(dtype)
        if found is None or found[0].numel() < count:
            size = max(count, SLAB_ELEMENTS)
            found = self._scratch[dtype] = (
                torch.empty(size, dtype=dtype),
                torch.empty(size, dtype=dtype),
                torch.empty(size, dtype=dtype),
            )
        if found[0].numel() == count:
            return found
        first, other, result = found
        return first[:count], other[:count], result[:count]
