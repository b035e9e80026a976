"""Pictures that were made before, and what says that another one would be the same."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from ..host.base import GenParams
from ..origins import origins
from ..plan import Plan

_MOST_BYTES = 192 << 20


@dataclass(frozen=True)
class Kept:
    """A picture without its recipe, which may be written in several ways.

    Attributes:
        png: without text in it.
        infotext: the parameters.
    """

    png: bytes
    infotext: str
    seed: int
    notes: tuple[str, ...]
    merge_seconds: float
    seconds: float
    blocks: int


class PictureCache:
    """Pictures by their keys, those that were used last; any thread may ask.

    Args:
        most_bytes: how large they may be together.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES):
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, picture: Kept) -> None:
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._size -= len(old.png)
            self._kept[key] = picture
            self._size += len(picture.png)
            while self._size > self._most_bytes and self._kept:
                self._size -= len(self._kept.popitem(last=False)[1].png)


def weights_key(plan: Plan) -> str:
    """The same for results that are the same: the same sums of the same files, however the recipe is written."""
    alike: dict[Hashable, list[str]] = {}
    for key, origin in origins(plan).items():
        alike.setdefault(origin, []).append(key)
    weights = sorted((keys, repr(origin)) for origin, keys in alike.items())
    return hashlib.sha256(repr((plan.architecture.name, weights)).encode()).hexdigest()


def picture_key(plan: Plan, params: GenParams, state: str) -> str:
    """The same for pictures that are the same.

    Args:
        state: the host's `picture_state`.
    """
    sampled = plan.recipe.option("prediction"), plan.prediction  # beside the weights, it says how a model is sampled
    return hashlib.sha256(repr((weights_key(plan), sampled, params, state)).encode()).hexdigest()
