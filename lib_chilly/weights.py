"""A result in memory, wherever it lies: its tensors, and what has happened to them since somebody could look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .tally import Tally


@dataclass(frozen=True)
class Change:
    """What has happened to the tensors since the last update that was finished.

    Attributes:
        keys: whose tensors were merged again, or are new.
        removed: that the result no longer has.
        tally: what this update saw on the way.
    """

    keys: frozenset[str]
    removed: frozenset[str]
    tally: Tally


class Weights:
    """Base of the two that follow a recipe, by an `update` of their own."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        self._changed: set[str] = set()
        self._removed: set[str] = set()
        self._is_whole = False

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Key to tensor, as in the file; while keys, dtypes and shapes stay, the next update writes into the same tensors.

        Raises:
            RuntimeError: the last update did not end, or there was none: some tensors may be another recipe's.
        """
        if not self._is_whole:
            raise RuntimeError("the weights are not whole. Let update() finish first.")
        return self._tensors

    def _finish(self, tally: Tally) -> Change:
        """The end of an update: the tensors are whole."""
        change = Change(frozenset(self._changed), frozenset(self._removed), tally)
        self._changed, self._removed, self._is_whole = set(), set(), True
        return change
