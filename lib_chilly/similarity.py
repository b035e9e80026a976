"""How alike two models are, block by block, by one of several measures.

Either may be a merge; of that only what a measure looks at is made, in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from .architecture import Architecture
from .dtypes import BY_NAME
from .errors import ArchitectureError, Interrupted, RecipeError
from .header import counted, quoted
from .live import LiveWeights
from .plan import Plan

Shapes = Mapping[str, tuple[int, ...]]
Tensors = Mapping[str, torch.Tensor]
Score = Callable[[Tensors, Tensors], float]
"""The tensors of one layer in A and in B, in float32 -> how alike they are, in percent."""

_ASIM_SEED = 2244096
_ASIM_UNUSED_DRAWS = 6
"""Matrices that SuperMerger draws after each input and then writes over: the linear layers of both models."""
_SPLIT = re.compile(r".*\.transformer_blocks\.\d+\.attn1\.to_q\.weight")
_FUSED = re.compile(
    r".*\.(joint_blocks\.\d+\.x_block\.attn\.qkv|double_blocks\.\d+\.img_attn\.qkv|single_blocks\.\d+\.linear1)\.weight"
)


@dataclass(frozen=True)
class Layer:
    """What is compared at once.

    Attributes:
        block: its lane.
        keys: of its tensors.
    """

    block: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Measure:
    """One way to say how alike two models are.

    Attributes:
        name: as it is asked for.
        says: what it is, in a sentence.
        layers: those of a model that it looks at, in its order.
        start: makes what scores one layer after another, in that order.
    """

    name: str
    says: str
    layers: Callable[[Architecture, Shapes], Sequence[Layer]]
    start: Callable[[], Score]


@dataclass(frozen=True)
class Similarity:
    """What was found.

    Attributes:
        blocks: lane to percent, the mean of its layers, in the order of the architecture.
        totals: "input": the mean of the IN blocks and M00, "output": of the OUT blocks, "all"; None where there are none.
        notes: sentences for the user.
    """

    measure: str
    blocks: Mapping[str, float]
    totals: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


def compare(
    a: Plan,
    b: Plan,
    measure: str = "asim",
    *,
    threads: int = 1,
    on_layer: Callable[[int, int, str], None] = lambda done, count, block: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Similarity:
    """Compare the results of two plans. Nothing is rounded to what they would be saved as.

    Args:
        threads: of the merges; the numbers do not depend on it.
        on_layer: told how many layers are done, of how many, and the block of the next one.
        should_stop: asked between layers, and while they are merged.

    Raises:
        ArchitectureError, RecipeError: they cannot be compared, or there is no such measure.
        CheckpointError, Interrupted: as of LiveWeights.update.
    """
    steps = layer_by_layer(a, b, measure, threads=threads, should_stop=should_stop)
    while True:
        try:
            on_layer(*next(steps))
        except StopIteration as ended:
            return ended.value


def layer_by_layer(
    a: Plan, b: Plan, measure: str = "asim", *, threads: int = 1, should_stop: Callable[[], bool] = lambda: False
) -> Generator[tuple[int, int, str], None, Similarity]:
    """The same, a layer at a time for those who have other work to do: what `on_layer` is told, and in the end what was found."""
    layers, notes = shared_layers(a, b, measure)
    score, found = MEASURES[measure].start(), dict[str, list[float]]()
    held = LiveWeights(threads), LiveWeights(threads)
    try:
        for number, layer in enumerate(layers):
            yield number, len(layers), layer.block
            if should_stop():
                raise Interrupted("stopped. Nothing was found out.")
            of_a, of_b = (_merged(weights, plan, layer, should_stop) for weights, plan in zip(held, (a, b), strict=True))
            with torch.inference_mode():
                found.setdefault(layer.block, []).append(score(of_a, of_b))
    finally:
        for weights in held:
            weights.close()
    blocks = {block: sum(values) / len(values) for block, values in found.items()}
    return Similarity(measure, blocks, totals(blocks), tuple(notes))


def shared_layers(a: Plan, b: Plan, measure: str = "asim") -> tuple[Sequence[Layer], list[str]]:
    """The layers that a measure looks at in both results, and notes on those that only one has; from headers alone.

    Raises:
        ArchitectureError: the models are of two kinds or sizes, or have no such layers in common.
        RecipeError: there is no such measure.
    """
    if measure not in MEASURES:
        raise RecipeError(f"there is no measure {quoted(measure)}. There are: {', '.join(MEASURES)}.")
    if a.architecture is not b.architecture:
        raise ArchitectureError(f"A is {a.architecture.title}, B is {b.architecture.title}; models of one kind can be compared.")
    shapes = [{job.key: job.shape for job in plan.jobs if not job.is_companion} for plan in (a, b)]
    of_a, of_b = (MEASURES[measure].layers(a.architecture, each) for each in shapes)
    both = [layer for layer in of_a if layer in of_b]
    if not both:
        raise ArchitectureError(f"A and B have no layers in common that '{measure}' can compare: one of them has no whole U-Net.")
    for key in (key for layer in both for key in layer.keys):
        if shapes[0][key] != shapes[1][key]:
            raise ArchitectureError(f"{quoted(key)} has shape {shapes[0][key]} in A and {shapes[1][key]} in B.")
    alone = len(of_a) + len(of_b) - 2 * len(both)
    return both, [f"{counted(alone, 'layer')} that only one of both has were left out."] * bool(alone)


def totals(blocks: Mapping[str, float]) -> dict[str, float | None]:
    """What the blocks come to: input (IN and M00), output (OUT), all of them."""

    def mean(*starts: str) -> float | None:
        values = [value for block, value in blocks.items() if block.startswith(starts)]
        return sum(values) / len(values) if values else None

    return {"input": mean("IN", "M0"), "output": mean("OUT"), "all": mean("")}


def _merged(weights: LiveWeights, plan: Plan, layer: Layer, should_stop: Callable[[], bool]) -> Tensors:
    """The tensors of one layer, in float32."""
    jobs = [replace(job, dtype=BY_NAME["fp32"], is_scaled=False) for job in plan.jobs if job.key in layer.keys]
    part = replace(plan, jobs=tuple(jobs))
    weights.update(part, should_stop=should_stop)
    return {key: weights.tensors[key.removeprefix(part.bare_prefix)] for key in layer.keys}


# ---- ASimilarity ----


def attention_layers(architecture: Architecture, shapes: Shapes) -> list[Layer]:
    """Self-attention, wherever the keys say that there is some, along the data flow."""
    order, found = list(architecture.lanes), []
    for key, shape in shapes.items():
        lane, width = architecture.lane_of(key), shape[-1] if shape else 0
        if _SPLIT.fullmatch(key):
            wanted = tuple(key.replace(".to_q.", f".to_{letter}.") for letter in "qkv")
            fits = all(shapes.get(other) == (width, width) for other in wanted)
        elif _FUSED.fullmatch(key):
            wanted, fits = (key,), len(shape) == 2 and shape[0] >= 3 * width
        else:
            continue
        if lane is not None and fits and width:
            found.append(Layer(lane, wanted))
    return sorted(found, key=lambda layer: (order.index(layer.block), [int(part) for part in re.findall(r"\d+", layer.keys[0])]))


def asim_score() -> Score:
    """ASimilarity as SuperMerger computes it, with the numbers that it draws: six matrices behind each input go unused.

    The input X is random, (C, C). A model's answer is softmax(Q K^T) times the sums of V's columns, element by element: neither
    divided by the root of C nor cut into heads. The score is the mean cosine between the rows of both answers. Much of it is
    which element of a row is largest: small changes of wide layers count far more than in the cosine of the weights.

    Source: JosephusCheung's ASimilarityCalculatior; SuperMerger's scripts/supermerger.py, asimilarity.
    """
    generator = torch.Generator().manual_seed(_ASIM_SEED)

    def score(a: Tensors, b: Tensors) -> float:
        of_a, of_b = _projections(a), _projections(b)
        width = of_a[0].shape[1]
        given = torch.randn(width, width, generator=generator)
        unused = torch.empty(width, width)
        for _ in range(_ASIM_UNUSED_DRAWS):
            unused.uniform_(generator=generator)
        if all(torch.equal(left, right) for left, right in zip(of_a, of_b, strict=True)):
            return 100.0
        answer_a, answer_b = (_answer(given, *projections) for projections in (of_a, of_b))
        return 100.0 * torch.cosine_similarity(answer_a, answer_b, dim=1, eps=1e-8).mean().item()

    return score


def _answer(given: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax((given @ q.T) @ (given @ k.T).T, dim=-1) * (given.sum(0) @ v.T)


def _projections(layer: Tensors) -> Sequence[torch.Tensor]:
    """Q, K and V; of a fused matrix the first rows, since others may stand below."""
    first, *others = layer.values()
    width = first.shape[1]
    return (first, *others) if others else first[: 3 * width].split(width)


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "asim": Measure(
            "asim",
            "How alike the self-attention of both models answers to the same random input; SuperMerger's ASimilarity.",
            attention_layers,
            asim_score,
        )
    }
)
