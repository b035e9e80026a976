"""The arithmetic of one slab: read, convert, scale, add, check and round, in scratch memory that is used again and again.

Each product and each addition is rounded in the compute type, in the order of the sum; then comes one rounding to the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from .key_job import ExtraChannels, KeyJob, Terms
from .memory import SLAB_ELEMENTS
from .tally import RESULT, Matrix, NotFinite, Tally

Read = Callable[[int, str, int, int], tuple[torch.Tensor, torch.Tensor | None]]
"""(source, key, first element, count) -> (the stored values, the scale of scaled fp8 or None)."""
Fetch = Callable[[int], tuple[torch.Tensor, torch.Tensor | None]]
"""The same for the slab in hand: source -> (values, scale)."""

_WEIGHED, _LEAST_WEIGHED = 4, 4096
"""Of how many slabs one is weighed, and of how many of its elements one; how many of these at least."""
_E4M3FN_LARGEST, _E4M3FN_LIMIT = 448, 464
"""The largest number of fp8_e4m3fn, and of those that are rounded to it."""


class Kernel:
    """One thread's scratch memory and the arithmetic in it.

    Args:
        read: gives a source's values.
        on_nan: number of the source whose elements replace those that are not finite; None raises NotFinite.
        scales: scaled key to what its sum is divided by.
        weighs: whether the tally has the sizes of matrices.
    """

    def __init__(self, read: Read, on_nan: int | None, scales: Mapping[str, float] | None = None, weighs: bool = False):
        self.read, self.on_nan, self.scales, self.weighs = read, on_nan, scales or {}, weighs
        self.tally = Tally()
        self._is_weighed = False
        self._scratch: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

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
            self._copy(job, start, out)
        else:
            self._sum(job, job.terms, lambda source: self.read(source, job.key, start, out.numel()), out)

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
        self._weigh(job, terms[0][0], _load(first, *fetch(terms[0][0])))
        if len(terms) == 1 and terms[0][1] == 1:
            result, change = first, 0.0
        else:
            torch.mul(first, terms[0][1], out=result)
            for source, coefficient in terms[1:]:
                self._weigh(job, source, _load(other, *fetch(source)))
                result.add_(other.mul_(coefficient))
            torch.sub(result, first, out=other)
            change = torch.dot(other, other).item()
        size = torch.dot(first, first).item()
        # Sums of squares are finite only where every element is: the check for NaN and Inf costs nothing more.
        if not math.isfinite(change + size):
            self._mend(job, terms, fetch, first, result)
            change, size = _squares(result - first), _squares(first)
        if terms[0][0] == 0:
            self.tally.add_change(job.lane, change, size)
        self._weigh(job, RESULT, result)
        if job.is_scaled and self.scales:
            self._count_overflow(job, result.div_(self.scales[job.key]), out.dtype)
        # "not <": where the sum itself overflowed, its change may be NaN.
        elif not math.sqrt(change) + math.sqrt(size) < torch.finfo(out.dtype).max:
            self._count_overflow(job, result, out.dtype)
        out.copy_(_narrow(result, out.dtype))

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
            wrong = ~torch.isfinite(_load(torch.empty(result.numel(), dtype=torch.float64), *fetch(source)))
            if bool(wrong.any()) and (self.on_nan is None or source == self.on_nan):
                raise NotFinite(source, job.key)
            spoilt = source if bool(wrong.any()) else spoilt
            if self.weighs and bool(wrong.any()):
                self.tally.add_not_finite(source, job.lane, int(wrong.sum()))
            bad |= wrong
        if bool(bad.any()):
            assert self.on_nan is not None
            try:
                replacement = _load(torch.empty_like(result), *fetch(self.on_nan))[bad]
            except NotFinite:  # it lacks these channels
                raise NotFinite(spoilt, job.key) from None
            if not bool(torch.isfinite(replacement).all()):
                raise NotFinite(self.on_nan, job.key)
            result[bad] = first[bad] = replacement
            self.tally.replaced[job.key] = self.tally.replaced.get(job.key, 0) + int(bad.sum())

    def _count_overflow(self, job: KeyJob, result: torch.Tensor, dtype: torch.dtype) -> None:
        """Every source is finite here, so what is not finite after the rounding was too large for the sum or for the output."""
        if dtype is torch.float8_e4m3fn:
            fits = result.abs() <= _E4M3FN_LIMIT
        else:
            fits = torch.isfinite(_narrow(result, dtype).to(dtype).to(result.dtype))
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
            values, scale = self.read(source, job.key, 0, outer * has * math.prod(window))
            loaded[source] = values.clone().view(outer, has, *window), scale
        for region, terms in ((slice(0, extra.shared), job.terms), (slice(extra.shared, channels), extra.terms)):
            part = torch.empty_like(whole[:, region]).reshape(-1)

            def fetch(source: int, region: slice = region) -> tuple[torch.Tensor, torch.Tensor | None]:
                values, scale = loaded[source]
                if values.shape[1] < region.stop:  # the model that should replace NaN lacks these channels
                    raise NotFinite(source, job.key)
                return values[:, region].reshape(-1), scale

            self._sum(job, terms, fetch, part)
            whole[:, region] = part.view(whole[:, region].shape)

    def _copy(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        if job.source is None:
            self._make_up(job, start, out)
            return
        values, scale = self.read(job.source, job.key, start, out.numel())
        if values.is_floating_point():
            wide = _load(torch.empty(values.numel(), dtype=torch.float64), values, scale)
            bad = ~torch.isfinite(wide)
            if bool(bad.any()):
                self._mend_copy(job, start, wide, bad)
            if scale is not None or bool(bad.any()):
                values = _narrow(wide, out.dtype)
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
        replacement = _load(torch.empty_like(wide), *self.read(self.on_nan, job.key, start, wide.numel()))[bad]
        if not bool(torch.isfinite(replacement).all()):
            raise NotFinite(self.on_nan, job.key)
        if self.weighs:
            self.tally.add_not_finite(job.source, job.lane, int(bad.sum()))
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


def _load(target: torch.Tensor, values: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """Convert stored values into `target`'s type, scaled fp8 with its scale, and return it."""
    target.copy_(values)
    return target if scale is None else target.mul_(scale)


def _squares(values: torch.Tensor) -> float:
    wide = values.to(torch.float64)
    return torch.dot(wide, wide).item()


def _narrow(result: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`result` in a type from which torch rounds to `dtype` once.

    From float64 torch goes to 16 and 8 bits through float32, which would round twice; rounding to odd on the way keeps what the
    second rounding needs to know. What is too large for fp8_e4m3fn, which has no Inf, becomes its largest number;
    left to itself, torch does so in some versions and gives NaN in others.
    """
    if dtype is torch.float8_e4m3fn:
        result = result.clamp(-_E4M3FN_LARGEST, _E4M3FN_LARGEST)
    if result.dtype is not torch.float64 or dtype in (torch.float64, torch.float32):
        return result
    near = result.to(torch.float32)
    error = result - near.to(torch.float64)
    bits = near.view(torch.int32)
    is_even_and_inexact = (error != 0) & (bits % 2 == 0) & (near != 0) & torch.isfinite(near)
    away = torch.where((error > 0) == (near > 0), 1, -1)
    return torch.where(is_even_and_inexact, bits + away, bits).to(torch.int32).view(torch.float32)
