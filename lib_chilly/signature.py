"""What the signature of a merge method says: what its operands may be, its parameters, how far it sees and what it costs."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any


class Kind(enum.Enum):
    """What an operand may be, by its exact coefficient sum."""

    MODEL = "a model"
    ALIKE = "a model or a delta, the same for all operands"
    ANY = "anything"
    LORA = "a LoRA file"


class Absence(enum.Enum):
    """What happens in a key that an operand lacks; see docs/recipes.md."""

    SHARE = "those that hold the key share the weight"
    BASE_AND_DELTAS = "positive weights share, a delta with a missing side is 0"
    ZERO = "a missing operand counts 0"
    FIRST = "of a row those that hold the key; where another one is missing, the first operand that holds it"


@dataclass(frozen=True)
class Param:
    """A method's parameter: its usual range, and whether it may differ between blocks.

    Attributes:
        low, high: values outside are allowed and warned of.
        per_block: whether block weights are accepted, or one number only.
        neutral: the value of keys that no block weight speaks of.
        is_whole: whether only whole numbers within the range are taken.
        keys: the only keys in which it counts, where it is neutral in all others; it is one number then. Empty: it counts in all.
    """

    low: float
    high: float
    per_block: bool = True
    neutral: float = 0.0
    is_whole: bool = False
    keys: tuple[str, ...] = ()

    def takes(self, value: object) -> bool:
        """Whether a value is a whole number within the range."""
        return isinstance(value, Fraction) and value.denominator == 1 and self.low <= value <= self.high


class Reach(enum.Enum):
    """What a method has to see of its operands to make one element of its result."""

    SUM = "nothing: it is a weighted sum, and folds with those above and below"
    ELEMENT = "the same element of each operand"
    TENSOR = "whole tensors"


class Cost(enum.Enum):
    """What takes the time, as a multiple of the weighted sum's that `./chilly bench --methods` holds it to."""

    ARITHMETIC = "plain arithmetic"
    DIVISION = "division, powers or draws"
    SELECTION = "selection by size"
    NEIGHBOURS = "medians of neighbours"
    SORTING = "sorting"
    SPECTRAL = "matrix decompositions, Fourier transforms"
    MATCHING = "matching units before the pass"


@dataclass(frozen=True)
class Place:
    """Where the values that a method is called with stand.

    Attributes:
        key: of the tensor; of an EMA copy its own where random draws are keyed by it, else that of what it is a copy of.
        start: number of the first element in it.
        latents: kind of latents that the models make, as of Architecture; "" for methods whose parameters count in all keys.
    """

    key: str
    start: int = 0
    latents: str = ""


Orders = tuple[tuple[int, Any], ...]
"""(axis, int64 tensor of where each of its elements is taken from) of a tensor whose units change places."""

Model = Annotated[Any, Kind.MODEL]
Alike = Annotated[Any, Kind.ALIKE]
Anything = Annotated[Any, Kind.ANY]
Network = Annotated[Any, Kind.LORA]
Weight = Annotated[float, Param(0, 1)]
Density = Annotated[float, Param(0, 1, neutral=1)]
"""The share of a delta's elements that is kept."""
Scale = Annotated[float, Param(0, 1, neutral=1)]
"""A factor on deltas."""
Seed = Annotated[int, Param(0, 2**32 - 1, per_block=False, is_whole=True)]
