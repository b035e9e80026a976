"""How much memory is held at once while something runs: counted, tensor by tensor, and so the same on every machine."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts what operations of torch make; what one of them holds inside itself is not seen.

    Attributes:
        live, most: bytes of the tensors made since, now and where there were most.
    """

    def __init__(self, known: Sequence[torch.Tensor]):
        super().__init__()
        self.live = self.most = 0
        self._known = {each.untyped_storage()._cdata for each in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self._add(each.untyped_storage())
        self.most = max(self.most, self.live)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        number, size = storage._cdata, storage.nbytes()
        if number not in self._known:
            self._known.add(number)
            self.live += size
            weakref.finalize(storage, self._drop, number, size)

    def _drop(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.live -= size
