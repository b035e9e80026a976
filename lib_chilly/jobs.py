"""Recipe and opened headers -> one job for each key of the output, in the order of the output. Reads no tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from .architecture import NO_LANE, Architecture
from .block_rules import key_glob
from .blocks import KeyWeights, in_keys, in_words, resolve
from .checkpoint import TensorInfo
from .dtypes import BY_NAME, DType
from .errors import ArchitectureError, RecipeError, nearest
from .expression import FileName, spell
from .fold import Folder, Value
from .key_job import ExtraChannels, KeyJob, Row, scale_jobs
from .matchings import check_units
from .output_dtypes import OutputDType, output_dtype, wanted_dtype
from .recipe import Recipe
from .registry import get_method
from .sources import Source, ema_key, shown_names
from .vae import DROP


class JobMaker:
    """Makes the jobs of one recipe over its opened sources; keys of one kind are folded once.

    Args:
        sources: of the recipe, in the order of the sum; a file that only gives its VAE stands behind them.
        source_of: a file's name as written to the number of its source.
        vae: number of the source whose VAE the output has; None where the recipe says what becomes of it.

    Raises:
        RecipeError: block weights that do not fit the architecture.
    """

    def __init__(self, recipe: Recipe, sources: Sequence[Source], source_of: Mapping[FileName, int], vae: int | None = None):
        self.recipe, self.sources, self.vae = recipe, sources, vae
        self.merged = sources[: len(set(source_of.values()))]
        self.models = [source for source in self.merged if not source.lora]
        self.architecture: Architecture = sources[0].architecture
        self.folder = Folder(recipe, source_of, self.architecture.latents)
        self.weights = self._resolve_weights()
        self.rows: dict[str, Row] = {}
        self.unwanted: list[str] = []
        self._folded: dict[object, tuple[Value, Row]] = {}
        keeps_ema = recipe.option("ema") == "keep"
        self._live_keys = {ema_key(key): key for source in self.models for key in source.tensors} if keeps_ema else {}

    def make(self) -> list[KeyJob]:
        """All jobs in the order of the output: larger elements first, then by name."""
        keys = {key for source in self.models or self.merged for key in source.tensors}
        unwanted = {key for key in keys if self.recipe.option("vae") == DROP and self._is_vae(key)}
        if self.vae is not None:  # of a VAE that fits; it may have keys which the others lack
            keys |= {key for key in self.sources[self.vae].tensors if self._is_vae(key)}
        unwanted |= self._discards(keys - unwanted)
        if unwanted == keys:
            said = ["'vae=drop'"] * (self.recipe.option("vae") == DROP) + ["a glob of 'discard'"] * bool(
                self.recipe.option("discard")
            )
            raise RecipeError(f"save(...) leaves nothing of the output. Take {' or '.join(said)} out of it.")
        self.unwanted = sorted(unwanted)
        jobs = [self._job(key) for key in sorted(keys - unwanted)]
        check_units(self.architecture, jobs)
        jobs += scale_jobs(jobs, self.architecture)
        return sorted(jobs, key=lambda job: (-job.dtype.size_bytes, job.key))

    def fold_kinds(self, kinds: Mapping[tuple[str, frozenset[int]], Sequence[str]]) -> list[tuple[Row, Sequence[str]]]:
        """The row of every kind of key, and its keys, without making jobs.

        Args:
            kinds: (lane, numbers of the sources that hold the keys) to the keys. Where rules set keys apart, each is looked at.
        """
        apart = any(weights.fine or any(rule.keys for rule in weights.rules) for weights in self.weights.values())
        found: dict[str, tuple[Row, list[str]]] = {}
        for (lane, holders), keys in kinds.items():
            for group in [[key] for key in keys] if apart else [keys]:
                _, row = self._fold(group[0] if group else "", lane, holders)
                self.rows[row.label] = row
                found.setdefault(row.label, (row, []))[1].extend(group)
        return list(found.values())

    def unet_sources(self, jobs: Sequence[KeyJob]) -> set[int]:
        """Numbers of the sources that the U-Net of the output, or a marker of what it predicts, comes from."""
        row = self.architecture
        return {n for job in jobs if row.component_of(job.key) == "unet" or job.key in row.predictions for n in job.reads()}

    def is_taken(self, key: str) -> bool:
        """Whether a key comes from the VAE that `save(vae=...)` names."""
        return self.vae is not None and self._is_vae(key)

    def is_ema_copy(self, key: str) -> bool:
        return key in self._live_keys

    def notes(self) -> list[str]:
        """What block weights do, in words, and what they left alone, cut or resampled."""
        calls = self.recipe.calls()
        words = [
            f"{spell(calls[number].operands[0])} with {spell(calls[number].operands[1])}: "
            + in_words(weights, self.architecture, *(spell(operand) for operand in calls[number].operands))
            for (number, _), weights in self.weights.items()
            if calls[number].method == "weighted_sum" and 1 < len(set(weights.numbers())) <= 4
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
                param = get_method(call.method).parameters[name][0]
                neutral = Fraction(str(param.neutral))
                try:
                    found = in_keys(weights, param.keys, self.architecture, neutral) if param.keys else None
                    resolved[number, name] = found or resolve(weights, self.architecture, neutral)
                except RecipeError as error:
                    position = dict(call.parameters)[name].position
                    raise error.at(self.recipe.text, position or call.position) from None
        return resolved

    def _job(self, key: str) -> KeyJob:
        live = self._live_keys.get(key, key)  # an EMA copy is merged as the key that it is a copy of
        lane = self.architecture.lane_of(live) or NO_LANE
        if self.vae is not None and self.is_taken(key):
            return self._taken_job(key, lane, self.vae)
        holders = {number: source.tensors[key] for number, source in enumerate(self.merged) if key in source.tensors}
        plain = not self.architecture.is_copied(live) and all(info.dtype.is_floating for info in holders.values())
        if live == self.architecture.conv_in.key and plain and self._mixes_channels(holders):
            return self._channels_job(key, lane, holders)
        value, row = self._fold(live, lane, frozenset(holders))
        if not plain:
            return self._copy_job(key, lane, holders, value.pick)
        return self._sum_job(key, lane, row, holders)

    def _sum_job(self, key: str, lane: str, row: Row, holders: Mapping[int, TensorInfo]) -> KeyJob:
        self.rows[row.label] = row
        (dtype, is_scaled), shape = self._output_dtype(key, holders), self._common_shape(key, holders)
        compute = self._compute(dtype)
        terms, nodes = row.rounded(compute)
        job = KeyJob(key, dtype, shape, lane, terms, nodes, compute, row=row.label, is_scaled=is_scaled)
        if job.taken is not None and holders[job.taken].dtype.size_bytes == 8:
            return replace(job, compute="float64")  # an operand taken whole is rounded once, not to float32 on the way
        return job

    def _taken_job(self, key: str, lane: str, source: int) -> KeyJob:
        """One source's tensor as it is, whatever the recipe says of the others'."""
        holders = {source: self.sources[source].tensors[key]}
        if self.architecture.is_copied(key) or not holders[source].dtype.is_floating:
            return self._copy_job(key, lane, holders, source)
        return self._sum_job(key, lane, Row(lane, lane, {source: Fraction(1)}, source), holders)

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
        live = self.architecture.conv_in.key
        (_, row), (_, extra) = (self._fold(live, lane, frozenset(having)) for having in (holders, extended))
        self.rows.update({row.label: row, extra.label: extra})
        dtype, shape = self._output_dtype(key, holders).dtype, next(iter(extended.values())).shape
        compute = self._compute(dtype)
        channels = ExtraChannels(shared, frozenset(extended), *extra.rounded(compute))
        return KeyJob(key, dtype, shape, lane, *row.rounded(compute), compute, extra=channels, row=row.label)

    def _fold(self, key: str, lane: str, holders: frozenset[int]) -> tuple[Value, Row]:
        known_lane = None if lane == NO_LANE else lane
        settings = {place: weights.of(key, known_lane) for place, weights in self.weights.items()}
        rules = tuple(dict.fromkeys(rule for _, rule in settings.values() if rule))
        label = "/".join((lane, "+".join(rules))) if rules else lane
        weights = {place: value for place, (value, _) in settings.items()}
        names = shown_names(self.merged)
        if missing := [names[number] for number in self._missing(weights, holders, key)]:
            label += "|-" + ",".join(missing)
        situation = (label, tuple(weights.items()), holders)
        if situation not in self._folded:
            value = self.folder.fold(weights, holders, key)
            pick = value.pick if value.pick is not None else min(holders)
            nodes = self.folder.nodes
            row = Row(label, lane, dict(nodes.in_order(value.form)), pick, nodes.below(value.form))
            self._folded[situation] = value, row
        return self._folded[situation]

    def _missing(self, weights: Mapping[tuple[int, str], Fraction], holders: frozenset[int], key: str) -> Iterator[int]:
        """Numbers of the sources whose lack of a key is to be told: of LoRAs those that would count there."""
        for number, source in enumerate(self.merged):
            if number in holders:
                continue
            form = self.folder.fold(weights, holders | {number}, key).form if source.lora else None
            if form is None or number in self.folder.nodes.sources_of(form):
                yield number

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

    def _output_dtype(self, key: str, holders: Mapping[int, TensorInfo]) -> OutputDType:
        component = self.architecture.component_of(self._live_keys.get(key, key))
        return output_dtype(wanted_dtype(self.recipe, component), key, next(iter(holders.values())))

    def _compute(self, dtype: DType) -> str:
        return self.recipe.option("compute") or ("float64" if dtype.size_bytes >= 4 else "float32")

    def _is_vae(self, key: str) -> bool:
        return self.architecture.component_of(key) == "vae"

    def _discards(self, keys: set[str]) -> set[str]:
        """The keys that `save(discard=...)` takes out; RecipeError where a glob fits none."""
        found: set[str] = set()
        for glob in (self.recipe.option("discard") or "").split(","):
            matches = set(filter(key_glob(glob).fullmatch, keys)) if glob else set()
            if glob and not matches:
                near = nearest(glob, keys) or f" Globs fit whole keys, such as '{min(keys)}'."
                raise RecipeError(f"save option 'discard': '{glob}' fits no key of the output.{near}")
            found |= matches
        return found
