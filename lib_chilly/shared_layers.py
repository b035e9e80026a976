"""What two results have in common that a measure can look at; from headers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from .architecture import Architecture
from .asim import Layer, Shapes, attention_layers
from .block_rules import listed
from .errors import ArchitectureError, RecipeError
from .expression import ModelRef
from .grams import OF_MATRICES
from .header import counted, quoted
from .likeness import SUMMED, Measure, Summed, Weighed
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
        **OF_MATRICES,
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
    names = [quoted(result_name(a)), quoted(result_name(b)), *([named_ancestor(ancestor)] if ancestor else [])]
    for name, plan in zip(names, (a, b, ancestor), strict=False):
        if plan and plan.architecture is not a.architecture:
            raise ArchitectureError(
                f"{names[0]} is {a.architecture.title}, {name} is {plan.architecture.title}; models of one kind can be compared."
            )
    shapes = [_shapes(plan) for plan in (a, b)]
    if not isinstance(chosen, Weighed):
        return _attention(a.architecture, names, *shapes)
    if ancestor and takes_deltas(measure):
        shapes.append(_shapes(ancestor))
    return _lanes(a.architecture, names, shapes, measure in OF_MATRICES)


def takes_deltas(measure: str) -> bool:
    """Whether a measure subtracts an ancestor."""
    chosen = MEASURES[measure]
    return isinstance(chosen, Summed) and bool(chosen.of_deltas)


def result_name(plan: Plan) -> str:
    """What a result is called: a model by its name, a merge by its last step's."""
    line = plan.recipe.steps[plan.recipe.result]
    return plan.sources[0].name if isinstance(line.expression, ModelRef) else line.name


def named_ancestor(plan: Plan) -> str:
    """An ancestor in a sentence."""
    return f"the ancestor {quoted(result_name(plan))}"


def _shapes(plan: Plan) -> Shapes:
    return {job.key: job.shape for job in plan.jobs if not job.is_copied}


def _attention(architecture: Architecture, names: Sequence[str], a: Shapes, b: Shapes) -> tuple[list[Layer], list[str]]:
    of_a, of_b = (attention_layers(architecture, each) for each in (a, b))
    both = [layer for layer in of_a if layer in of_b]
    if not both:
        raise ArchitectureError(
            f"{names[0]} and {names[1]} have no layers in common that 'asim' can compare: one of them has no whole U-Net."
        )
    for key in (key for layer in both for key in layer.keys):
        if a[key] != b[key]:
            raise _other_shapes(key, names, (a, b))
    alone = len(of_a) + len(of_b) - 2 * len(both)
    return both, [f"{counted(alone, 'layer')} that only one of both has were left out."] * bool(alone)


def _lanes(
    architecture: Architecture, names: Sequence[str], shapes: Sequence[Shapes], is_whole: bool
) -> tuple[list[Layer], list[str]]:
    """Every tensor that is weights, by its lane; `shapes` of two models, and of their ancestor where it is subtracted."""
    lanes: dict[str, list[str]] = {lane: [] for lane in architecture.lanes}
    alone: dict[str, list[str]] = {}
    notes: list[str] = []
    for key in dict.fromkeys(key for each in shapes[:2] for key in each):
        lane = architecture.lane_of(key) or ""
        found = [each.get(key) for each in shapes]
        if None in found:
            alone.setdefault(lane, []).append(key)
        elif len(set(found)) > 1 and key == architecture.conv_in.key:
            notes.append(f"{quoted(key)} was left out: they have different input channels.")
        elif len(set(found)) > 1:
            raise _other_shapes(key, names, shapes)
        elif not is_whole or len(shapes[0][key]) > 1:
            lanes[lane].append(key)
    layers = [Layer(lane, tuple(keys)) for lane, keys in lanes.items() if keys]
    if not layers:
        raise ArchitectureError(f"{' and '.join(names[: len(shapes)])} have no tensors in common.")
    if alone:
        who = "only one of them has" if len(shapes) == 2 else "not all of them have"
        notes.append(f"{counted(sum(map(len, alone.values())), 'tensor')} that {who} were left out, of {listed(alone)}.")
    return layers, notes


def _other_shapes(key: str, names: Sequence[str], shapes: Sequence[Shapes]) -> ArchitectureError:
    """What is said of the first that has another shape than the first of all."""
    shape = shapes[0][key]
    name, other = next((name, each[key]) for name, each in zip(names, shapes, strict=False) if each[key] != shape)
    return ArchitectureError(f"{quoted(key)} has shape {shape} in {names[0]} and {other} in {name}.")
