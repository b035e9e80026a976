"""How alike models are, block by block, by one of several measures.

Any of them may be a merge; of that only what a measure looks at is made, in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from .asim import Layer, asim_steps
from .compared import Broken, Compared, Pair, Progress, stop_if
from .expression import ModelRef
from .likeness import SUMMED
from .plan import Plan
from .shared_layers import MEASURES as MEASURES
from .shared_layers import shared_layers as shared_layers
from .shared_layers import takes_deltas
from .summing import Summing, figures
from .workers import single_threaded_torch

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Similarity:
    """What was found of two models.

    Attributes:
        blocks: lane to figure, in the order of the architecture; without those in which one of both holds NaN or Inf.
        totals: "input": the mean of the IN blocks and M00, "output": of the OUT blocks, "all"; None where there are none, or one
            is missing.
        notes: sentences for the user.
        parts: key or component to figure, where that was asked for.
        equal: lane to the share of equal elements, in percent, where that was looked at on the way.
    """

    measure: str
    blocks: Mapping[str, float]
    totals: Mapping[str, float | None]
    notes: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)
    equal: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is to be compared.

    Attributes:
        plans: of the models.
        pairs: numbers of two plans each, the smaller one first.
        measure: its name.
        ancestor: of all; what measures of deltas subtract.
        stream: of asim's random inputs.
        by: "lane", or "key" or "component" for figures of these too.
        with_equal: whether to look at shares of equal elements on the way, where the measure reads all elements.
    """

    plans: Sequence[Plan]
    pairs: Sequence[Pair]
    measure: str = "asim"
    ancestor: Plan | None = None
    stream: str = "supermerger"
    by: str = "lane"
    with_equal: bool = False


def compare(
    a: Plan,
    b: Plan,
    measure: str = "asim",
    *,
    ancestor: Plan | None = None,
    stream: str = "supermerger",
    threads: int = 1,
    on_layer: Callable[[int, int, str], None] = lambda done, count, block: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Similarity:
    """Compare the results of two plans. Nothing is rounded to what they would be saved as.

    Args:
        ancestor: what measures of deltas subtract from both.
        stream: of asim's random inputs: "supermerger" or "original".
        threads: of sums; the numbers do not depend on it.
        on_layer: told how many layers are done, of how many, and the block of the next one.
        should_stop: asked between layers, and while they are summed.

    Raises:
        ArchitectureError, RecipeError: they cannot be compared, or there is no such measure.
        CheckpointError: one holds NaN or Inf, or a file changed while it was read.
        Interrupted: `should_stop` said so.
    """
    question = Question((a, b), ((0, 1),), measure, ancestor, stream)
    return _run(answers(question, threads=threads, should_stop=should_stop, refuse_broken=True), on_layer)[0]


def compare_all(
    question: Question,
    *,
    threads: int = 1,
    on_layer: Callable[[int, int, str], None] = lambda done, count, block: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Similarity]:
    """Compare many results in one pass over their files; what was found of each pair.

    Errors as of `compare`, but that NaN and Inf are said in notes.
    """
    return _run(answers(question, threads=threads, should_stop=should_stop), on_layer)


def layer_by_layer(
    a: Plan, b: Plan, measure: str = "asim", *, threads: int = 1, should_stop: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, Similarity]:
    """`compare`, a layer at a time for those who have other work to do: what `on_layer` is told, in the end what was found."""
    question = Question((a, b), ((0, 1),), measure)
    return (yield from answers(question, threads=threads, should_stop=should_stop, refuse_broken=True))[0]


def answers(
    question: Question, *, threads: int = 1, should_stop: Callable[[], bool] = lambda: False, refuse_broken: bool = False
) -> Generator[Progress, None, list[Similarity]]:
    """`compare_all`, a layer at a time."""
    plans = question.plans
    shared = [shared_layers(plans[first], plans[second], question.measure, question.ancestor) for first, second in question.pairs]
    ancestor = question.ancestor if takes_deltas(question.measure) else None
    with ExitStack() as stack:
        models = [stack.enter_context(Compared(plan)) for plan in (*plans, *([ancestor] if ancestor else []))]
        layers = [each for each, _ in shared]
        find = _asim if question.measure == "asim" else _sums
        found, broken = yield from find(question, models, layers, threads, should_stop)
        for model in models:
            model.check_unchanged()
        if refuse_broken:
            broken.refuse(models)
    names = [result_name(plan) for plan in plans]
    said = broken.notes([*names, "the ancestor"])
    return [
        replace(each, notes=(*notes, *(said[number] for number in (*pair, len(plans)) if number in said)))
        for each, (_, notes), pair in zip(found, shared, question.pairs, strict=True)
    ]


def _run(steps: Generator[Progress, None, list[Similarity]], on_layer: Callable[[int, int, str], None]) -> list[Similarity]:
    while True:
        try:
            on_layer(*next(steps))
        except StopIteration as ended:
            return ended.value


def totals(blocks: Mapping[str, float]) -> dict[str, float | None]:
    """What the blocks come to: input (IN and M00), output (OUT), all of them; None where there are none, or one is NaN."""

    def mean(*starts: str) -> float | None:
        values = [value for block, value in blocks.items() if block.startswith(starts)]
        return sum(values) / len(values) if values and not any(map(math.isnan, values)) else None

    return {"input": mean("IN", "M0"), "output": mean("OUT"), "all": mean("")}


def result_name(plan: Plan) -> str:
    """What a result is called: a model by its name, a merge by its last step's."""
    line = plan.recipe.steps[plan.recipe.result]
    return plan.sources[0].name if isinstance(line.expression, ModelRef) else line.name


def _known(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _asim(
    question: Question, models: Sequence[Compared], layers: Sequence[Sequence[Layer]], threads: int, should_stop: ShouldStop
) -> Generator[Progress, None, tuple[list[Similarity], Broken]]:
    found, broken = yield from asim_steps(models, question.pairs, layers, question.stream, threads, should_stop)
    return [Similarity("asim", _known(blocks), totals(blocks)) for blocks in found], broken


def _sums(
    question: Question, models: Sequence[Compared], layers: Sequence[Sequence[Layer]], threads: int, should_stop: ShouldStop
) -> Generator[Progress, None, tuple[list[Similarity], Broken]]:
    measures = [SUMMED[question.measure]]
    if question.with_equal and not measures[0].is_whole:
        measures.append(SUMMED["equal"])
    count = len(question.plans)
    ancestor = models[count] if len(models) > count else None
    shared = [frozenset(key for layer in each for key in layer.keys) for each in layers]
    run = Summing(models[:count], question.pairs, shared, measures, ancestor)
    architecture = question.plans[0].architecture
    lanes: dict[str, dict[str, None]] = {lane: {} for lane in architecture.lanes}
    for layer in (layer for each in layers for layer in each):
        lanes[layer.block].update(dict.fromkeys(layer.keys))
    lanes = {lane: keys for lane, keys in lanes.items() if keys}
    for done, (lane, keys) in enumerate(lanes.items()):
        yield done, len(lanes), lane
        stop_if(should_stop)
        with single_threaded_torch():
            run.add(list(keys), threads, should_stop)
    groups: dict[str, dict[str, None]] = {}
    for key in run.sums if question.by != "lane" else ():
        name = key if question.by == "key" else architecture.component_of(key) or "other"
        groups.setdefault(name, {})[key] = None
    found = []
    for pair in range(len(question.pairs)):
        blocks = figures(run, lanes, 0, pair)
        parts, equal = figures(run, groups, 0, pair), figures(run, lanes, 1, pair) if len(measures) > 1 else {}
        found.append(Similarity(question.measure, _known(blocks), totals(blocks), (), _known(parts), _known(equal)))
    return found, run.broken
