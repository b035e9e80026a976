"""Modules of a LoRA file with their tensors: the file open, its tensors read when a weight is asked for."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .dtypes import torch_dtype
from .fileio import SourceFile
from .header import TensorInfo
from .lora_file import LoraFile
from .lora_module import Module


class OpenLora:
    """A LoRA file whose header was read, opened for its tensors; may be shared by threads."""

    def __init__(self, lora: LoraFile):
        self.lora = lora
        self._file = SourceFile(lora.checkpoint.path)

    def __enter__(self) -> OpenLora:
        try:
            self._file.check_unchanged(self.lora.checkpoint.size_bytes, self.lora.checkpoint.mtime_ns)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, modules: Iterable[Module]) -> dict[str, torch.Tensor]:
        """The tensors of modules by their keys, each of its stored dtype; scaled fp8 as float32.

        Raises:
            CheckpointError: the file was cut short, or the disk fails.
        """
        return module_tensors(self._file, modules)


def module_tensors(file: SourceFile, modules: Iterable[Module]) -> dict[str, torch.Tensor]:
    """As of `OpenLora.read`."""
    return {key: _tensor(file, module.tensors[role]) for module in modules for role, key in module.keys.items()}


def _tensor(file: SourceFile, info: TensorInfo) -> torch.Tensor:
    values = plain_tensor(file, info)
    return values if info.scale is None else values.float() * plain_tensor(file, info.scale).float().reshape(())


def plain_tensor(file: SourceFile, info: TensorInfo) -> torch.Tensor:
    """Values as they are stored."""
    data = bytearray(file.read(info.offset, info.size_bytes))
    return torch.frombuffer(data, dtype=torch_dtype(info.dtype)).reshape(info.shape)
