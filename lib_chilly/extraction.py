"""`extract(DELTA, rank=32)`: a recipe whose result is a LoRA, and how many ranks it is to keep."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from .errors import RecipeError, meant, nearest
from .expression import Call, Node, shortened, spell

_PARAMETERS = ("rank", "ratio", "quantile", "seed")
_LARGEST_RANK, _LARGEST_SEED = 1 << 14, 2**32 - 1
FORM = "extract(DELTA, rank=32)"


@dataclass(frozen=True)
class Ranks:
    """How many ranks are kept of what changes in a layer.

    Attributes:
        rank: the most; None where nothing is said.
        ratio: the share of the sum of squared singular values that is kept at least.
        quantile: the share of the sum of singular values that is kept at least.
        seed: of the draws.
    """

    rank: int | None = None
    ratio: float | None = None
    quantile: float | None = None
    seed: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether nothing may be lost: LoRAs are put side by side, no matrix is decomposed."""
        return (self.rank, self.ratio, self.quantile) == (None, None, None)

    def most(self, rows: int, columns: int) -> int:
        """The largest rank that a matrix of this size is given."""
        return min(rows, columns, self.rank or _LARGEST_RANK)


class Known(Protocol):
    """What is known of the lines above; recipe_check's Checker."""

    text: str

    def number(self, node: Node) -> Fraction:
        """An expression's value."""

    def total(self, node: Node) -> Fraction:
        """An expression's sum of coefficients."""


def check_extraction(call: Call, above: Known) -> Fraction:
    """The sum of what is extracted, which is 0.

    Raises:
        RecipeError: it is no delta, or a parameter makes no sense, at its place.
    """
    ranks_of(call, above)
    if len(call.operands) != 1:
        raise RecipeError(f"extract takes one delta, here are {len(call.operands)}: {FORM}.", above.text, call.position)
    operand = call.operands[0]
    total = above.total(operand)
    if total != 0:
        said = f"'{shortened(spell(operand))}' is {'a model' if total == 1 else 'none'}"
        raise RecipeError(
            f"extract takes a delta; {said}. Subtract what it is a change of: {FORM} of A - B.", above.text, operand.position
        )
    return total


def ranks_of(call: Call, above: Known) -> Ranks:
    """What the parameters of a call say; RecipeError where that makes no sense."""
    found: dict[str, Fraction] = {}
    for name, node in call.parameters:
        if name not in _PARAMETERS:
            message = f"extract has no parameter '{name}'; it has {', '.join(_PARAMETERS)}.{nearest(name, _PARAMETERS)}"
            raise RecipeError(message, above.text, node.position, instead=meant(name, _PARAMETERS))
        if name in found:
            raise RecipeError(f"extract is given '{name}' twice.", above.text, node.position)
        found[name] = _checked(name, node, above)
    if "ratio" in found and "quantile" in found:
        raise RecipeError("extract takes 'ratio' or 'quantile', not both. Take one out.", above.text, call.position)
    return Ranks(
        rank=int(found["rank"]) if "rank" in found else None,
        ratio=float(found["ratio"]) if "ratio" in found else None,
        quantile=float(found["quantile"]) if "quantile" in found else None,
        seed=int(found.get("seed", 0)),
    )


def _checked(name: str, node: Node, above: Known) -> Fraction:
    value = above.number(node)
    if name in ("ratio", "quantile"):
        fits, wanted = 0 < value <= 1, "above 0 and at most 1"
    else:
        low, high = (1, _LARGEST_RANK) if name == "rank" else (0, _LARGEST_SEED)
        fits, wanted = value.denominator == 1 and low <= value <= high, f"a whole number from {low} to {high}"
    if not fits:
        raise RecipeError(f"'{name}' of extract is {wanted}; here it is {shortened(spell(node))}.", above.text, node.position)
    return value
