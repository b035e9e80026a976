"""What is not summed: tensors that are copied as they are, and those that no source is read for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch

from .converting import load, narrow
from .key_job import KeyJob
from .tally import NotFinite, Tally


class Values(Protocol):
    """Where the sources' values come from."""

    def read(self, number: int, key: str, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Stored values and scale of some elements of a source's tensor."""

    def read_on(self, number: int, key: str, weight: torch.Tensor) -> torch.Tensor:
        """What a LoRA adds to a weight, which has its shape; in float64."""


class Copier:
    """One thread's; arguments as of Kernel, whose tally it writes into."""

    def __init__(self, values: Values, on_nan: int | None, scales: Mapping[str, float], weighs: bool, tally: Tally):
        self._values, self._on_nan, self._scales, self._weighs, self._tally = values, on_nan, scales, weighs, tally

    def copy(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        """Fill `out`, 1-D and of the output's dtype, with elements from `start` of a tensor.

        Raises:
            NotFinite: a source holds NaN or Inf here.
        """
        if job.source is None:
            self._make_up(job, start, out)
            return
        values, scale = self._values.read(job.source, job.key, start, out.numel())
        if values.is_floating_point():
            wide = load(torch.empty(values.numel(), dtype=torch.float64), values, scale)
            bad = ~torch.isfinite(wide)
            if bool(bad.any()):
                self._mend_copy(job, start, wide, bad)
            if scale is not None or bool(bad.any()):
                values = narrow(wide, out.dtype)
        out.copy_(values)
        if job.is_position_ids and not bool((out == torch.arange(start, start + out.numel())).all()):
            self._tally.faulty_positions.add(job.key)

    def _make_up(self, job: KeyJob, start: int, out: torch.Tensor) -> None:
        """What no source is read for: position_ids, a scale, a marker."""
        if job.is_position_ids:
            torch.arange(start, start + out.numel(), out=out)
        else:
            out.fill_(self._scales[job.scale_of] if job.scale_of else 0)

    def _mend_copy(self, job: KeyJob, start: int, wide: torch.Tensor, bad: torch.Tensor) -> None:
        """Put the values of the model that `on_nan` names where copied ones are bad."""
        assert job.source is not None
        if self._on_nan is None or self._on_nan == job.source:
            raise NotFinite(job.source, job.key)
        replacement = load(torch.empty_like(wide), *self._values.read(self._on_nan, job.key, start, wide.numel()))[bad]
        if not bool(torch.isfinite(replacement).all()):
            raise NotFinite(self._on_nan, job.key)
        if self._weighs:
            self._tally.add_not_finite(job.source, job.lane, int(bad.sum()))
        wide[bad] = replacement
        self._tally.replaced[job.key] = self._tally.replaced.get(job.key, 0) + int(bad.sum())
