"""What an update in memory has done: which bits differ from the file's, which keys lie in a lane, and how one is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from lib_chilly.architecture import load


def content(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def differing(found: Mapping[str, torch.Tensor], file: Path) -> list[str]:
    """Keys that only one has, or whose dtype, shape or bits differ."""
    expected = load_file(file)
    same = {
        key
        for key in found.keys() & expected.keys()
        if found[key].dtype == expected[key].dtype
        and found[key].shape == expected[key].shape
        and content(found[key]) == content(expected[key])
    }
    return sorted((found.keys() | expected.keys()) - same)


def keys_of(lanes: set[str], keys: Mapping[str, torch.Tensor]) -> set[str]:
    return {key for key in keys if load("sd1").lane_of(key) in lanes}


class StopAfter:
    """Says stop when it was asked `times` times."""

    def __init__(self, times: int):
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0
