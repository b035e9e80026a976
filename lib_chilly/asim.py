"""ASimilarity: how alike the self-attention of models answers to the same random input. It ranks, and is no distance."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from .architecture import Architecture
from .compared import STOPPED, Broken, Compared, Pair, Progress, Values, is_finite, stop_if
from .workers import Failures, torch_threads, work_together

Shapes = Mapping[str, tuple[int, ...]]
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
class Stream:
    """Where the random inputs come from.

    Attributes:
        seed: of torch's generator.
        unused_draws: matrices that are drawn behind each input and then written over: the linear layers that a tool makes anew.
    """

    seed: int
    unused_draws: int


STREAMS: Mapping[str, Stream] = MappingProxyType({"supermerger": Stream(2244096, 6), "original": Stream(114514, 3)})
"""SuperMerger's: the layers of both models; the original's: those of the base alone."""


def attention_layers(architecture: Architecture, shapes: Shapes) -> list[Layer]:
    """Self-attention, wherever the keys say that there is some, along the data flow."""
    found = []
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
    return in_order(architecture, found)


def asim_steps(
    models: Sequence[Compared],
    pairs: Sequence[Pair],
    shared: Sequence[Sequence[Layer]],
    stream: str,
    threads: int,
    should_stop: Callable[[], bool],
) -> Generator[Progress, None, tuple[list[dict[str, float]], Broken]]:
    """Compare layer by layer, each read once; a thread takes a model, so that no bit depends on how many there are.

    Args:
        shared: the layers of each pair.

    Returns:
        Of each pair block to percent, the mean of its layers, NaN where one of both holds NaN or Inf; and who does.
    """
    layers = in_order(models[0].plan.architecture, {layer for each in shared for layer in each})
    places = {layer: [place for place, each in enumerate(shared) if layer in each] for layer in layers}
    run = _Answering(models, stream, threads, should_stop)
    found: list[dict[str, list[float]]] = [{} for _ in pairs]
    for done, layer in enumerate(layers):
        yield done, len(layers), layer.block
        stop_if(should_stop)
        later = layers[done + 1] if done + 1 < len(layers) else None
        held: dict[int, torch.Tensor] = {}
        numbers = sorted({number for place in places[layer] for number in pairs[place]})
        for start in range(0, len(numbers), threads):
            some = numbers[start : start + threads]
            run.answer(layer, some, later, held)
            with torch_threads(1), torch.inference_mode():
                for place in places[layer]:
                    if pairs[place][1] in some:
                        found[place].setdefault(layer.block, []).append(score(*(held[number] for number in pairs[place])))
            for number in set(some) - {pairs[place][0] for place in places[layer]}:
                del held[number]
    return [{block: sum(scores) / len(scores) for block, scores in each.items()} for each in found], run.broken


class _Answering:
    """Threads that answer, and one that draws the next layer's input meanwhile.

    Attributes:
        broken: who holds NaN or Inf.
    """

    def __init__(self, models: Sequence[Compared], stream: str, threads: int, should_stop: Callable[[], bool]):
        self.models, self.threads, self.should_stop = models, threads, should_stop
        self.broken = Broken()
        self._draw = inputs(stream)
        self._given: dict[Layer, torch.Tensor] = {}
        self._idle: list[Values] = []

    def answer(self, layer: Layer, numbers: Sequence[int], later: Layer | None, held: dict[int, torch.Tensor]) -> None:
        """Put some models' answers in their places.

        Args:
            later: the next layer.
        """
        given = self._given.get(layer)
        given = self._input_of(layer) if given is None else given
        self._given = {each: of for each, of in self._given.items() if each == later} | {layer: given}
        draws = later is not None and later not in self._given

        def work(taken: Iterator[int | None]) -> None:
            values = self._idle.pop() if self._idle else Values(self.models)
            with torch.inference_mode():
                for number in taken:
                    if number is None:
                        assert later is not None
                        self._given[later] = self._input_of(later)
                        continue
                    tensors = [values.whole(number, key) for key in layer.keys]
                    held[number] = answer(given, tensors)
                    if not is_finite(held[number]):
                        self.broken.look(number, zip(layer.keys, tensors, strict=True))
            self._idle.append(values)

        tasks = [*([None] if draws else []), *numbers]
        work_together(self.threads + (self.threads > 1), tasks, work, Failures(), self.should_stop, STOPPED)

    def _input_of(self, layer: Layer) -> torch.Tensor:
        shape = next(model.jobs[layer.keys[0]].shape for model in self.models if layer.keys[0] in model.jobs)
        return self._draw(shape[-1])


def in_order(architecture: Architecture, layers: Iterable[Layer]) -> list[Layer]:
    """Layers along the data flow."""
    order = list(architecture.lanes)
    return sorted(layers, key=lambda layer: (order.index(layer.block), [int(part) for part in re.findall(r"\d+", layer.keys[0])]))


def inputs(stream: str) -> Callable[[int], torch.Tensor]:
    """What gives the input of one layer after another, by its width: (width, width) normal numbers."""
    chosen = STREAMS[stream]
    generator = torch.Generator().manual_seed(chosen.seed)

    def draw(width: int) -> torch.Tensor:
        given = torch.randn(width, width, generator=generator)
        unused = torch.empty(width, width)
        for _ in range(chosen.unused_draws):
            unused.uniform_(generator=generator)
        return given

    return draw


def projections(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Q, K and V of a layer; of a fused matrix the first rows, since others may stand below."""
    first, *others = tensors
    width = first.shape[1]
    return (first, *others) if others else first[: 3 * width].split(width)


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left right^T, in whichever layout both have."""
    return torch.nn.functional.linear(left, right)


def fast(matrix: torch.Tensor) -> torch.Tensor:
    """A float32 matrix in the layout whose products are oneDNN's, where torch has that: MKL, which multiplies all others, leaves
    half of what an AMD processor can do unused."""
    return matrix.to_mkldnn() if torch.backends.mkldnn.is_available() else matrix


def answer(given: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """A layer's answer: softmax(Q K^T) times the sums of V's columns, element by element; neither divided by the root of the
    width nor cut into heads. The sums follow from those of the input's columns, without V.

    Source: JosephusCheung's ASimilarityCalculatior; SuperMerger's scripts/supermerger.py, asimilarity.
    """
    q, k, v = projections(tensors)
    quick = fast(given)
    logits = product(product(quick, fast(q)), product(quick, fast(k)))
    return torch.softmax(logits.to_dense() if logits.is_mkldnn else logits, dim=-1).mul_(v @ given.sum(0))


def score(a: torch.Tensor, b: torch.Tensor) -> float:
    """How alike two answers are, in percent: the mean cosine between their rows. Equal answers are exactly 100."""
    if torch.equal(a, b):
        return 100.0
    return 100.0 * torch.cosine_similarity(a, b, dim=1, eps=1e-8).mean().item()
