"""What two results have in common that a measure can look at; from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .architecture import Architecture
from .asim import Layer, Shapes, attention_layers
from .block_rules import listed
from .errors import ArchitectureError, RecipeError
from .header import counted, quoted
from .likeness import SUMMED, Measure, Summed
from .plan import Plan

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "asim": Measure(
            "asim",
            "How alike the self-attention of both models answers to the same random input; SuperMerger's ASimilarity. "
            "It ranks: it is saturated, and small changes of wide layers count far more than in the cosine of the weights.",
            99.0,
        ),
        **SUMMED,
    }
)


def shared_layers(a: Plan, b: Plan, measure: str = "asim", ancestor: Plan | None = None) -> tuple[list[Layer], list[str]]:
    """The layers that a measure looks at in both results, and notes on those that only one has; from headers alone.

    Raises:
        ArchitectureError: the models are of two kinds or sizes, or have no such layers in common.
        RecipeError: there is no such measure, or it needs an ancestor.
    """
    if measure not in MEASURES:
        raise RecipeError(f"there is no measure {quoted(measure)}. There are: {', '.join(MEASURES)}.")
    chosen = MEASURES[measure]
    if isinstance(chosen, Summed) and chosen.of_deltas == "needed" and ancestor is None:
        raise RecipeError(f"{measure} compares what two models have learned since an ancestor; name it with --ancestor FILE.")
    for word, plan in (("B", b), ("the ancestor", ancestor)):
        if plan and plan.architecture is not a.architecture:
            raise ArchitectureError(
                f"A is {a.architecture.title}, {word} is {plan.architecture.title}; models of one kind can be compared."
            )
    of_a, of_b = ({job.key: job.shape for job in plan.jobs if not job.is_copied} for plan in (a, b))
    if not isinstance(chosen, Summed):
        return _attention(a.architecture, of_a, of_b)
    below = None
    if ancestor and chosen.of_deltas:
        below = {job.key: job.shape for job in ancestor.jobs if not job.is_copied}
    return _lanes(a.architecture, of_a, of_b, below, chosen.is_whole)


def takes_deltas(measure: str) -> bool:
    """Whether a measure subtracts an ancestor."""
    chosen = MEASURES[measure]
    return isinstance(chosen, Summed) and bool(chosen.of_deltas)


def _attention(architecture: Architecture, a: Shapes, b: Shapes) -> tuple[list[Layer], list[str]]:
    of_a, of_b = (attention_layers(architecture, each) for each in (a, b))
    both = [layer for layer in of_a if layer in of_b]
    if not both:
        raise ArchitectureError("A and B have no layers in common that 'asim' can compare: one of them has no whole U-Net.")
    for key in (key for layer in both for key in layer.keys):
        if a[key] != b[key]:
            raise ArchitectureError(f"{quoted(key)} has shape {a[key]} in A and {b[key]} in B.")
    alone = len(of_a) + len(of_b) - 2 * len(both)
    return both, [f"{counted(alone, 'layer')} that only one of both has were left out."] * bool(alone)


def _lanes(
    architecture: Architecture, a: Shapes, b: Shapes, below: Shapes | None, is_whole: bool
) -> tuple[list[Layer], list[str]]:
    """Every tensor that is weights, by its lane."""
    lanes: dict[str, list[str]] = {lane: [] for lane in architecture.lanes}
    alone: dict[str, list[str]] = {}
    notes: list[str] = []
    for key in dict.fromkeys((*a, *b)):
        lane = architecture.lane_of(key) or ""
        shapes = {shape for each in (a, b, below) if each is not None and (shape := each.get(key))}
        if any(each is not None and key not in each for each in (a, b, below)):
            alone.setdefault(lane, []).append(key)
        elif len(shapes) > 1 and key == architecture.conv_in.key:
            notes.append(f"{quoted(key)} was left out: they have different input channels.")
        elif len(shapes) > 1:
            raise ArchitectureError(f"{quoted(key)} has shape {a[key]} in A and {b[key]} in B.")
        elif not is_whole or len(a[key]) > 1:
            lanes[lane].append(key)
    found = [Layer(lane, tuple(keys)) for lane, keys in lanes.items() if keys]
    if not found:
        raise ArchitectureError("A and B have no tensors in common.")
    if alone:
        count = sum(map(len, alone.values()))
        notes.append(f"{counted(count, 'tensor')} that only one of them has were left out, of {listed(alone)}.")
    return found, notes
