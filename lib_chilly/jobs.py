"""One job for each key of the output: what it is made of, in which order it is written. Reads headers, never tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .architecture import NO_LANE, Architecture
from .blocks import KeyWeights, in_words, resolve
from .checkpoint import TensorInfo
from .dtypes import BY_NAME, DType
from .errors import ArchitectureError, RecipeError
from .expression import spell
from .fold import Folder, Value
from .recipe import Recipe
from .registry import get_method
from .rounding import to_float32, to_float64
from .sources import Source

Terms = tuple[tuple[int, float], ...]
"""(number of a source, its coefficient rounded once to the compute type), in the order of the sum; no zeros."""


@dataclass(frozen=True)
class Row:
    """The weighted sum that keys of one kind share.

    Attributes:
        label: LANE, LANE/RULE, or either with |-NAME,... of the sources that lack these keys.
        lane: of its keys.
        exact: number of a source to its coefficient.
        pick: the source that copied keys come from.
    """

    label: str
    lane: str
    exact: Mapping[int, Fraction]
    pick: int

    def terms(self, compute: str) -> Terms:
        """The sum with coefficients rounded to "float32" or "float64"."""
        rounded = to_float32 if compute == "float32" else to_float64
        try:
            return tuple((source, rounded(self.exact[source])) for source in sorted(self.exact))
        except OverflowError:
            raise RecipeError(f"a coefficient in {self.label} is too large for {compute}: use smaller numbers.") from None


@dataclass(frozen=True)
class ExtraChannels:
    """The input channels that only inpainting or pix2pix models have, in a first convolution merged with ordinary ones.

    Attributes:
        shared: channels that every model has; they come first.
        holders: numbers of the sources that have the extra ones.
        terms: the weighted sum in the extra ones.
    """

    shared: int
    holders: frozenset[int]
    terms: Terms


@dataclass(frozen=True)
class KeyJob:
    """One tensor of the output.

    Attributes:
        dtype, shape: of the output.
        lane: the key's lane, or NO_LANE.
        terms: the weighted sum; without any the result is 0.
        compute: "float32" or "float64", the type in which the sum is taken.
        source: of a copied key; None where position_ids are rebuilt.
        extra: what is done in input channels that not every source has; None where all have the same.
        row: label of its row; None for keys that are copied.
    """

    key: str
    dtype: DType
    shape: tuple[int, ...]
    lane: str
    terms: Terms = ()
    compute: str = "float32"
    source: int | None = None
    extra: ExtraChannels | None = None
    row: str | None = None

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    @property
    def is_copied(self) -> bool:
        return self.row is None

    @property
    def is_position_ids(self) -> bool:
        return self.key.endswith("position_ids")

    def reads(self) -> set[int]:
        """Numbers of the sources that are read for this key."""
        terms = self.terms + (self.extra.terms if self.extra else ())
        return {source for source, _ in terms} | ({self.source} if self.source is not None else set())


class JobMaker:
    """Makes the jobs of one recipe over its opened sources; keys of one kind are folded once.

    Raises:
        RecipeError: block weights that do not fit the architecture.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[Source], source_of: Mapping[str, int]):
        self.recipe, self.sources = recipe, sources
        self.architecture: Architecture = sources[0].architecture
        self.folder = Folder(recipe, source_of)
        self.weights = self._resolve_weights()
        self.rows: dict[str, Row] = {}
        self._values: dict[object, Value] = {}

    def make(self) -> list[KeyJob]:
        """All jobs in the order of the output: larger elements first, then by name."""
        keys = {key for source in self.sources for key in source.tensors}
        jobs = [self._job(key) for key in sorted(keys)]
        return sorted(jobs, key=lambda job: (-job.dtype.size_bytes, job.key))

    def notes(self) -> list[str]:
        """What block weights do, in words, and what they left alone, cut or resampled."""
        calls = self.recipe.calls()
        words = [
            f"{spell(calls[number].operands[0])} with {spell(calls[number].operands[1])}: "
            + in_words(weights, self.architecture, *(spell(operand) for operand in calls[number].operands))
            for (number, _), weights in self.weights.items()
            if calls[number].method == "weighted_sum"
            and 1 < len({*weights.lanes.values(), *(rule.value for rule in weights.rules)}) <= 4
        ]
        return words + [
            f"{calls[number].method}, {name}: {note}"
            for (number, name), weights in self.weights.items()
            for note in weights.notes
        ]

    def _resolve_weights(self) -> dict[tuple[int, str], KeyWeights]:
        resolved = {}
        for number, call in enumerate(self.recipe.calls()):
            for name, weights in self.folder.checker.parameters(call).items():
                neutral = Fraction(str(get_method(call.method).parameters[name][0].neutral))
                try:
                    resolved[number, name] = resolve(weights, self.architecture, neutral)
                except RecipeError as error:
                    position = dict(call.parameters)[name].position
                    raise error.at(self.recipe.text, position or call.position) from None
        return resolved

    def _job(self, key: str) -> KeyJob:
        holders = {number: source.tensors[key] for number, source in enumerate(self.sources) if key in source.tensors}
        lane = self.architecture.lane_of(key) or NO_LANE
        plain = not self.architecture.is_copied(key) and all(info.dtype.is_floating for info in holders.values())
        if key == self.architecture.conv_in.key and plain and self._mixes_channels(holders):
            return self._channels_job(key, lane, holders)
        value, row = self._fold(key, lane, frozenset(holders))
        if not plain:
            return self._copy_job(key, lane, holders, value.pick)
        self.rows[row.label] = row
        dtype, shape = self._output_dtype(holders), self._common_shape(key, holders)
        compute = self._compute(dtype)
        terms = row.terms(compute)
        if len(terms) == 1 and terms[0][1] == 1 and holders[terms[0][0]].dtype.size_bytes == 8:
            compute = "float64"  # an operand taken whole is rounded once, not to float32 on the way
        return KeyJob(key, dtype, shape, lane, terms, compute, row=row.label)

    def _copy_job(self, key: str, lane: str, holders: Mapping[int, TensorInfo], pick: int | None) -> KeyJob:
        source = next(iter(holders)) if pick is None else pick
        info = holders[source]
        if key.endswith("position_ids"):
            rebuild = self.recipe.option("position_ids") == "rebuild"
            return KeyJob(key, BY_NAME["int64"], info.shape, lane, source=None if rebuild else source)
        dtype = BY_NAME["fp16"] if info.scale else info.dtype  # scaled fp8 is written as what it stands for
        return KeyJob(key, dtype, info.shape, lane, source=source)

    def _channels_job(self, key: str, lane: str, holders: Mapping[int, TensorInfo]) -> KeyJob:
        """The first convolution of ordinary and extended models: extra channels are a key that only the extended have."""
        shared = self.architecture.conv_in.channels
        extended = {number: info for number, info in holders.items() if info.shape[1] != shared}
        without = {number: (info.shape[0], *info.shape[2:]) for number, info in holders.items()}
        if len(set(without.values())) > 1:
            self._common_shape(key, holders)
        _, row = self._fold(key, lane, frozenset(holders))
        _, extra = self._fold(key, lane, frozenset(extended))
        self.rows.update({row.label: row, extra.label: extra})
        dtype, shape = self._output_dtype(holders), next(iter(extended.values())).shape
        compute = self._compute(dtype)
        channels = ExtraChannels(shared, frozenset(extended), extra.terms(compute))
        return KeyJob(key, dtype, shape, lane, row.terms(compute), compute, extra=channels, row=row.label)

    def _fold(self, key: str, lane: str, holders: frozenset[int]) -> tuple[Value, Row]:
        known_lane = None if lane == NO_LANE else lane
        settings = {place: weights.of(key, known_lane) for place, weights in self.weights.items()}
        rules = tuple(dict.fromkeys(rule for _, rule in settings.values() if rule))
        label = "/".join((lane, "+".join(rules))) if rules else lane
        missing = [source.name for number, source in enumerate(self.sources) if number not in holders]
        if missing:
            label += "|-" + ",".join(missing)
        weights = {place: value for place, (value, _) in settings.items()}
        situation = (tuple(weights.items()), holders)
        if situation not in self._values:
            self._values[situation] = self.folder.fold(weights, holders)
        value = self._values[situation]
        pick = value.pick if value.pick is not None else min(holders)
        return value, Row(label, lane, value.form.terms, pick)

    def _mixes_channels(self, holders: Mapping[int, TensorInfo]) -> bool:
        channels = {info.shape[1] if len(info.shape) == 4 else 0 for info in holders.values()}
        return len(channels) > 1 and channels <= {self.architecture.conv_in.channels, *self.architecture.conv_in.extended}

    def _common_shape(self, key: str, holders: Mapping[int, TensorInfo]) -> tuple[int, ...]:
        (first, info), *others = holders.items()
        for other, other_info in others:
            if other_info.shape != info.shape:
                raise ArchitectureError(
                    f"'{key}': '{self.sources[first].name}' has shape {info.shape}, '{self.sources[other].name}' has "
                    f"{other_info.shape}. Models of one architecture and one size can be merged; choose another."
                )
        return info.shape

    def _output_dtype(self, holders: Mapping[int, TensorInfo]) -> DType:
        wanted = self.recipe.option("dtype") or "fp16"
        if wanted != "source":
            return BY_NAME[wanted]
        info = next(iter(holders.values()))
        return BY_NAME["fp16"] if info.scale else info.dtype

    def _compute(self, dtype: DType) -> str:
        return self.recipe.option("compute") or ("float64" if dtype.size_bytes >= 4 else "float32")
