"""One module of a LoRA file: what it is for, what it is made of, and what can be said of it before its tensors are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import CheckpointError
from .header import TensorInfo, quoted
from .lora_keys import Place
from .lora_roles import MAGNITUDES
from .lora_shapes import Size


@dataclass(frozen=True)
class Module:
    """What a file has for one weight, or for some rows of it.

    Attributes:
        file_name: for messages.
        kind: "lora" (LoCon too), "loha", "lokr", "diff" or "ia3".
        layer: its name in the file.
        place: the weight.
        keys: role of a tensor to its key in the file.
        tensors: role of a tensor to where it lies.
        size: of what it makes; None where that has the weight's size.
    """

    file_name: str
    kind: str
    layer: str
    place: Place
    keys: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]
    size: Size | None

    @property
    def rank(self) -> int | None:
        """None for kinds that have none."""
        return self.size.rank if self.size else None

    @property
    def has_alpha(self) -> bool:
        return "alpha" in self.keys

    @property
    def needs_base(self) -> bool:
        """Whether what it adds depends on the weight that it is added to: then it is not linear."""
        return self.kind == "ia3" or not MAGNITUDES.isdisjoint(self.keys)

    def rows_apart(self, shape: Sequence[int]) -> bool:
        """Whether some rows of the delta of a weight of this shape can be computed without the others."""
        return not self.place.is_turned and not self.norms_columns(shape)

    def norms_columns(self, shape: Sequence[int]) -> bool:
        """Whether it is a DoRA that has a magnitude for each input channel, not for each row.

        Raises:
            CheckpointError: its magnitudes fit neither.
        """
        if MAGNITUDES.isdisjoint(self.keys):
            return False
        role = next(iter(MAGNITUDES & self.keys.keys()))
        found = self.tensors[role].shape
        rows, channels = self.place.size_in(shape)[0], self.place.as_layer(shape)[1] if len(shape) > 1 else 1
        if role == "magnitude" and len(found) > 1 and (found[0], math.prod(found)) == (1, channels):
            return True
        if math.prod(found) == rows:
            return False
        raise CheckpointError(
            f"{quoted(self.file_name)}: {quoted(self.keys[role])} has shape {list(found)}, which is one number neither for each "
            f"of {rows} rows nor for each of {channels} input channels of '{self.place.key}'. "
            "It belongs to a model of other sizes."
        )

    def check(self, shape: Sequence[int]) -> None:
        """CheckpointError where the module is not for a weight of this shape."""
        subject = f"{quoted(self.file_name)}: {quoted(self.layer)}"
        if not shape or (self.place.is_turned and len(shape) != 2):
            raise CheckpointError(f"{subject} is for a matrix or a kernel; '{self.place.key}' has shape {list(shape)}.")
        rows, columns = self.place.size_in(shape)
        if self.place.as_layer(shape)[0] % self.place.share[2] or (self.size and self.size[:2] != (rows, columns)):
            size = f"{self.size.rows} x {self.size.columns}" if self.size else f"one of {self.place.share[2]} equal parts"
            raise CheckpointError(
                f"{subject} is made for {size}, and its place in '{self.place.key}', of shape {list(shape)}, has "
                f"{rows} x {columns}. It belongs to a model of other sizes."
            )
        self.norms_columns(shape)
