"""LoRAs put together without loss: of every layer the factors stand side by side, so that their product is the sum of all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

import torch

from .errors import CheckpointError
from .header import quoted
from .key_job import KeyJob
from .lora_change import scale_of
from .lora_keys import Place
from .lora_plan import LoraPlan, module_shapes, modules_at
from .lora_reading import OpenLora


def joined(plan: LoraPlan) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, int]]:
    """(layer, down, up, bytes read) of every layer that a LoRA has a module for; float64, for an alpha that is the rank.

    Raises:
        CheckpointError: a file changed, was cut short, or holds NaN or Inf.
    """
    with ExitStack() as stack:
        files = {number: stack.enter_context(OpenLora(source.lora)) for number, source in enumerate(plan.sources) if source.lora}
        for job, name, place in plan.modules():
            parts = list(_parts(plan, files, job, place))
            if parts:
                down, up = module_shapes(job.shape, place, sum(len(part[0]) for part in parts))
                downs, ups = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts], 1)
                yield name, downs.reshape(down), ups.reshape(up), sum(part[2] for part in parts)


def _parts(
    plan: LoraPlan, files: dict[int, OpenLora], job: KeyJob, place: Place
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """(down, up, bytes read) of each module of a layer, the coefficient in its factors."""
    for number, coefficient in job.terms:
        for module in modules_at(plan.sources[number], job.key, place):
            tensors = files[number].read([module])
            own = {role: tensors[key] for role, key in module.keys.items()}
            up = own["up"].double().flatten(1) * (scale_of(module, own) * coefficient)
            down = own["down"].double().flatten(1)
            if not bool(torch.isfinite(up).all() and torch.isfinite(down).all()):
                raise CheckpointError(
                    f"{quoted(module.file_name)}: the layer {quoted(module.layer)} holds NaN or Inf. Use another release."
                )
            power = _balance(up, down)
            yield down * 2.0**-power, up * 2.0**power, sum(info.size_bytes for info in module.tensors.values())


def _balance(up: torch.Tensor, down: torch.Tensor) -> int:
    """The power of two that brings the largest elements of both near each other: it costs no bit, and keeps them in range."""
    largest = [part.abs().max().item() for part in (up, down)]
    return round((math.log2(largest[1]) - math.log2(largest[0])) / 2) if all(largest) else 0
