"""Copies of models that compute the same with their units in other places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from lib_chilly.architecture import load
from lib_chilly.unit_groups import UnitGroup, unit_groups

Tensors = Mapping[str, torch.Tensor]


def groups_of(tensors: Tensors, architecture: str) -> list[UnitGroup]:
    return list(unit_groups(load(architecture), {key: tuple(tensor.shape) for key, tensor in tensors.items()}))


def drawn_orders(seed: int) -> Callable[[UnitGroup], list[torch.Tensor]]:
    """Blocks anywhere, and the units of each set anywhere inside their block."""
    draw = torch.Generator().manual_seed(seed)

    def orders(group: UnitGroup) -> list[torch.Tensor]:
        width = group.units // group.blocks
        blocks = torch.randperm(group.blocks, generator=draw).tolist()
        return [torch.cat([block * width + torch.randperm(width, generator=draw) for block in blocks]) for _ in group.sets]

    return orders


def permuted(
    tensors: Tensors, groups: Iterable[UnitGroup], orders: Callable[[UnitGroup], list[torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The tensors with the units of these groups in other places."""
    found = dict(tensors)
    for group in groups:
        for members, order in zip(group.sets, orders(group), strict=True):
            for member in members:
                parts = list(found[member.key].chunk(member.parts, member.axis))
                parts[member.part] = parts[member.part].index_select(member.axis, order)
                found[member.key] = torch.cat(parts, member.axis)
    return found
