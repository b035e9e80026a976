"""Methods that add what LoRA files hold, as deltas."""

from __future__ import annotations

from typing import Annotated, Any

from ..registry import merge_method
from ..signature import Absence, Model, Network, Param, Reach

Strength = Annotated[float, Param(-2, 2, neutral=0)]
"""Where block weights say nothing, a LoRA adds nothing."""


@merge_method(
    title="LoRA",
    formula="scale * (what the LoRA adds)",
    source="Hu et al. 2021, LoRA, arXiv:2106.09685",
    absence=Absence.ZERO,
)
def lora(name: Network, *, scale: Strength = 1.0) -> Any:
    """What a LoRA file adds to a model, as a delta.

    The style or subject that the LoRA brings to a picture, as strong as `scale`; `<lora:NAME:0.8>` of a prompt, for good.
    """
    return scale * name


@merge_method(
    title="LoRA on a model",
    formula="scale * (what the LoRA adds to A)",
    source="Liu et al. 2024, DoRA, arXiv:2402.09353; Liu et al. 2022, IA3, arXiv:2205.05638",
    reach=Reach.TENSOR,
    scratch=4,
)
def lora_on(name: Network, a: Model, *, scale: Strength = 1.0) -> Any:
    """What a LoRA file adds to that model, where it depends on the model: DoRA and IA3.

    As `lora`; for a plain LoRA it is the same.
    """
    return name * scale
