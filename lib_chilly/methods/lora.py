"""LoRA files as deltas of a recipe."""

from __future__ import annotations

from typing import Annotated, Any

from ..registry import merge_method
from ..signature import Absence, Network, Param

Strength = Annotated[float, Param(-2, 2, neutral=0)]
"""Where block weights say nothing, a LoRA adds nothing."""


@merge_method(
    title="LoRA",
    formula="scale * (what the LoRA adds)",
    source="Hu et al. 2021, LoRA, arXiv:2106.09685",
    absence=Absence.ZERO,
)
def lora(name: Network, *, scale: Strength = 1.0) -> Any:
    """What a LoRA file adds to a model, as a delta."""
    return scale * name
