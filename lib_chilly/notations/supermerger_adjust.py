"""SuperMerger's and model-mixer's Adjust -> a call of adjust, without the tensors that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..expression import shortened
from .draft import Draft, spelled
from .element_lines import Rule

WORD = "Adjust"
"""What its box is called, and what stands for its tensors among included and excluded blocks."""
_LAYERS = tuple(f"model.diffusion_model.{layer}" for layer in ("input_blocks.0.0", "out.0", "out.2"))
_NUMBERS = (
    ("IN", 0, ("weight", "bias")),
    ("OUT", 1, ("weight", "bias")),
    ("OUT2", 2, ("weight",)),
    *((name, 2, ("bias",)) for name in ("contrast", "brightness", "cyan_red", "magenta_green", "yellow_blue")),
)
"""Of each number in turn our parameter, its layer, and which of the layer's tensors it changes."""


def numbers_in(text: str, draft: Draft) -> tuple[Fraction, ...]:
    """The numbers of its box, at most eight; none where nothing was changed.

    Raises:
        RecipeError: what stands there is no number.
    """
    parts = text.strip().split(",")
    if len(parts) == 1 and parts[0]:
        draft.note(f"Adjust '{shortened(parts[0])}' has no comma: it is of eight numbers, and does nothing, there as here.")
    if len(parts) == 1:
        return ()
    found = [draft.number(part.strip() or "0", f"number {place} of Adjust") for place, part in enumerate(parts[:8], 1)]
    return tuple(found) if any(found) else ()


def rules_of_layers(first: Fraction, last: Fraction) -> list[Rule]:
    """The rules of its layers: a number for the first, and one for the two others."""
    return [(f"{layer}.*", number) for layer, number in zip(_LAYERS, (first, last, last), strict=True)]


def write_adjust(
    numbers: Sequence[Fraction], step: str, draft: Draft, choice: str = "Off", chosen: Sequence[str] = (), last: str = ""
) -> None:
    """Write the step that adjusts another one; a tensor that was left out of the merge was left out of this too.

    Args:
        choice, chosen: as of Merge.
        last: the last block, which the last two layers are counted to.
    """
    given = []
    for (name, layer, kinds), number in zip(_NUMBERS, numbers, strict=False):
        blocks = {WORD, last if layer else "IN00"}
        hit = [bool(blocks & {*chosen}) or any(part in f"{_LAYERS[layer]}.{kind}" for part in chosen) for kind in kinds]
        left_out = [found == (choice == "Exclude") for found in hit] if choice != "Off" and chosen else [False]
        if any(left_out) and not all(left_out):
            draft.note(f"of {name} SuperMerger would have changed {kinds[left_out.index(False)]} alone; here both are changed.")
        if number and not all(left_out):
            given.append(f"{name}={spelled(number)}")
    if given:
        draft.step(f"adjust({step}, {', '.join(given)})", adjust="adjust")
