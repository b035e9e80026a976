"""What LoRA files add, element by element, as the pass asks for it: one thread's tensors of the module in hand."""

from __future__ import annotations

import torch

from .fileio import SourceFile
from .lora_delta import delta, refuse_not_finite
from .lora_reading import module_tensors
from .lora_source import LoraTensor


class LoraValues:
    """One thread's."""

    def __init__(self) -> None:
        self._at: tuple[int, str] | None = None
        self._tensors: dict[str, torch.Tensor] = {}
        self._whole: torch.Tensor | None = None

    def read(self, file: SourceFile, info: LoraTensor, at: tuple[int, str], start: int, count: int) -> torch.Tensor:
        """Elements from `start` of what is added to a weight, in float64; the same for any cut.

        Args:
            at: number of the source, and the key.
        """
        if self._at != at:
            self._at, self._whole = at, None
            self._tensors = module_tensors(file, info.modules)
            refuse_not_finite(self._tensors, info.modules)
        if not info.shape or not all(module.rows_apart(info.shape) for module in info.modules):
            if self._whole is None:
                whole = delta(self._tensors, info.modules, info.shape, dtype=torch.float64, were_checked=True)
                self._whole = whole.reshape(-1)
            return self._whole[start : start + count]
        width = info.elements // info.shape[0]
        first, end = start // width, -(-(start + count) // width)
        found = delta(self._tensors, info.modules, info.shape, rows=(first, end), dtype=torch.float64, were_checked=True)
        return found.reshape(-1)[start - first * width :][:count]
