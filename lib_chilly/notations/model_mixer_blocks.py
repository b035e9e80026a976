"""model-mixer's short lists of block weights -> a number for every block of SD 1.x or SDXL."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..expression import shortened
from .draft import Draft
from .element_lines import SD1_BLOCKS, SDXL_BLOCKS

_ALL = ("BASE", "INP*", "MID", "OUT*")


def block_numbers(numbers: tuple[Fraction, ...], chosen: Sequence[str], letter: str, draft: Draft) -> tuple[Fraction, ...]:
    """A number for every block; 0 for those that are not chosen.

    As many numbers as chosen blocks are theirs; fewer go on with the last; a full list has one for each block, chosen or not.
    An infotext does not say the architecture: what would come out otherwise on SD 1.x and on SDXL is refused.

    Raises:
        RecipeError: an unknown block, or a list that leaves the architecture open.
    """
    if len(numbers) > len(SD1_BLOCKS):
        draft.note(
            f"{len(numbers)} numbers for model {letter} are taken as they stand; the blocks that were chosen are not looked at."
        )
        return numbers
    on_sd1, on_sdxl = (_filled(numbers, chosen, order, draft) for order in (SD1_BLOCKS, SDXL_BLOCKS))
    if on_sdxl is None or len(numbers) == len(SD1_BLOCKS):
        assert on_sd1 is not None
        return on_sd1
    if len(numbers) == len(SDXL_BLOCKS):
        return on_sdxl
    by_name = dict(zip(SD1_BLOCKS, on_sd1 or (), strict=True))
    if all(by_name[name] == number for name, number in zip(SDXL_BLOCKS, on_sdxl, strict=True)):
        return on_sd1 or ()
    raise draft.error(
        f"{len(numbers)} numbers for the blocks {shortened(', '.join(chosen))} of model {letter} mean one thing on SD 1.x and "
        "another on SDXL, and it does not say which. Write all 26 or all 20."
    )


def _filled(
    numbers: tuple[Fraction, ...], chosen: Sequence[str], order: Sequence[str], draft: Draft
) -> tuple[Fraction, ...] | None:
    """None where the architecture has not all of the blocks."""
    names = {name for word in (_ALL if "ALL" in chosen else chosen) for name in _expanded(word, order)}
    if unknown := sorted(names - set(SD1_BLOCKS)):
        raise draft.error(f"there is no block '{shortened(unknown[0])}' in SD 1.x and SDXL.")
    if names - set(order):
        return None
    if len(numbers) < len(names):
        numbers += (numbers[-1],) * (len(names) - len(numbers))
    elif len(numbers) > len(names):
        numbers = (*numbers, *(Fraction(0) for _ in order))[: len(order)]
    if len(numbers) == len(order):
        return tuple(number if name in names else Fraction(0) for name, number in zip(order, numbers, strict=True))
    left = iter(numbers)
    return tuple(next(left) if name in names else Fraction(0) for name in order)


def _expanded(word: str, order: Sequence[str]) -> Sequence[str]:
    """The blocks that a word stands for: one, or those of `INP*`, `MID` and `OUT*`."""
    sides = {"INP*": "IN", "OUT*": "OUT"}
    if word in sides:
        return [name for name in order if name.startswith(sides[word])]
    return ["M00" if word == "MID" else word]
