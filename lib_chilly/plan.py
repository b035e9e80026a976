"""Recipe + headers -> Plan: everything that can be refused is refused here, before a byte is written. Reads no tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .architecture import NO_LANE, Architecture
from .errors import RecipeError
from .expression import Call, spell
from .jobs import JobMaker, KeyJob, Row
from .models import ModelLibrary, without_suffix
from .recipe import Recipe
from .registry import get_method
from .sources import Source, open_sources, title_hashes
from .writer import build_header

MATHS = 1
"""Raised whenever the same recipe gives other numbers."""

OUTPUT_DTYPES = ("fp16", "bf16", "fp32", "source")
_CHOICES = {"dtype": OUTPUT_DTYPES, "compute": ("float32", "float64"), "position_ids": ("keep", "rebuild"), "ema": ("drop",)}
_DEFAULTS = {"position_ids": "keep", "ema": "drop", "on_nan": "stop"}
_NOT_YET = {"vae": "taking another VAE", "ema": "keeping EMA copies"}


@dataclass(frozen=True)
class Plan:
    """All that the executors need.

    Attributes:
        recipe: with every option that is in effect; its canonical text stands in the output's header.
        sources: in the order of the sum.
        jobs: in the order of the output.
        rows: label to folded coefficients, floating-point keys only.
        title_claims: number of a source to the hash that a webui title claims.
        on_nan: number of the source that replaces elements which are not finite; None stops.
        warnings, notes: sentences for the user.
    """

    recipe: Recipe
    architecture: Architecture
    sources: tuple[Source, ...]
    jobs: tuple[KeyJob, ...]
    rows: Mapping[str, Row]
    title_claims: Mapping[int, str]
    on_nan: int | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def ordered_rows(self) -> list[Row]:
        """The rows in the architecture's order of lanes, then by label."""
        order = list(self.architecture.lanes)
        return sorted(self.rows.values(), key=lambda row: (order.index(row.lane) if row.lane in order else len(order), row.label))

    @property
    def data_bytes(self) -> int:
        return sum(job.size_bytes for job in self.jobs)

    @property
    def reads_bytes(self) -> int:
        """Bytes of tensors that are read from the sources, each once."""
        return sum(self.sources[number].tensors[job.key].size_bytes for job in self.jobs for number in job.reads())

    @property
    def writes_bytes(self) -> int:
        """Size of the output when its header holds the sources' hashes."""
        return len(self.header(dict.fromkeys(range(len(self.sources)), "0" * 64))) + self.data_bytes

    def header(self, hashes: Mapping[int, str]) -> bytes:
        """The output's first bytes, up to its first tensor: the length, the JSON, spaces up to a 4096-byte boundary.

        Args:
            hashes: number of each source to the sha256 of its file; empty leaves all of them out.
        """
        sources = [
            {"name": source.name, "size": source.checkpoint.size_bytes} | ({"sha256": hashes[number]} if hashes else {})
            for number, source in enumerate(self.sources)
        ]
        provenance = {"recipe": self.recipe.canonical(), "sources": sources, "maths": MATHS}
        text = json.dumps(provenance, ensure_ascii=False, separators=(",", ":"))
        tensors = ((job.key, job.dtype, job.shape) for job in self.jobs)
        return build_header(tensors, {"format": "pt", "chillymerge": text})


def make_plan(recipe: Recipe, library: ModelLibrary, **options: str | None) -> Plan:
    """Plan a recipe.

    Args:
        recipe: as read.
        library: where its models are found.
        options: win over the recipe's `save(...)`; names of recipe.SAVE_OPTIONS, None where nothing is said.

    Raises:
        MergeError: anything that cannot be done, in one sentence.
    """
    recipe = recipe.with_options(**{**dict(recipe.save), **{name: value for name, value in options.items() if value is not None}})
    recipe = _effective(recipe)
    sources, number_of = open_sources(recipe, library)
    claims = {number: claim for number, (claim, _) in title_hashes(recipe, number_of).items()}
    maker = JobMaker(recipe, sources, number_of)
    jobs = maker.make()
    on_nan = _on_nan(recipe, sources, number_of)
    if on_nan is not None:
        recipe = recipe.with_options(**{**dict(recipe.save), "on_nan": f"take:{sources[on_nan].name}"})  # however it was spelled
    _check_replacements(sources, jobs, on_nan)
    return Plan(
        recipe=recipe,
        architecture=sources[0].architecture,
        sources=tuple(sources),
        jobs=tuple(jobs),
        rows=maker.rows,
        title_claims=claims,
        on_nan=on_nan,
        warnings=tuple(_warnings(recipe, library, maker)),
        notes=(*recipe.notes, *maker.notes(), *_absences(sources, jobs), *_left_out(sources, jobs)),
    )


def _effective(recipe: Recipe) -> Recipe:
    """Check the save options, write out what is in effect, leave out what says nothing."""
    for name, value in recipe.save:
        if name == "vae" or (name == "ema" and value == "keep"):
            raise RecipeError(f"save option '{name}={value}': {_NOT_YET[name]} is not available yet.")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise RecipeError(f"save option '{name}' is one of {', '.join(_CHOICES[name])}; here it is '{value}'.")
        if name == "on_nan" and value != "stop" and not value.startswith("take:"):
            raise RecipeError(f"save option 'on_nan' is 'stop' or 'take:MODEL'; here it is '{value}'.")
    step = recipe.result
    is_last = step == list(recipe.steps)[-1]
    dtype = recipe.option("dtype") or "fp16"
    if dtype != "source" and recipe.option("compute") == ("float64" if dtype == "fp32" else "float32"):
        recipe = recipe.with_options(**{**dict(recipe.save), "compute": None})  # what is done anyway
    silent = {name: None for name, value in recipe.save if value == _DEFAULTS.get(name)}
    return recipe.with_options(**{**dict(recipe.save), **silent, "dtype": dtype, "step": None if is_last else step})


def _on_nan(recipe: Recipe, sources: list[Source], number_of: Mapping[str, int]) -> int | None:
    choice = recipe.option("on_nan")
    if choice is None:
        return None
    name = choice.removeprefix("take:")
    for number, source in enumerate(sources):
        if without_suffix(name) == source.name or number_of.get(name) == number:
            return number
    raise RecipeError(f"on_nan takes '{name}', which is no model of this recipe: {', '.join(source.name for source in sources)}.")


def _check_replacements(sources: list[Source], jobs: list[KeyJob], on_nan: int | None) -> None:
    """Copied keys may differ in length between models; values can be taken only from one of the same length."""
    if on_nan is None:
        return
    for job in jobs:
        info = sources[on_nan].tensors.get(job.key)
        if job.source is None or info is None or not sources[job.source].tensors[job.key].dtype.is_floating:
            continue
        if info.elements != job.elements:
            raise RecipeError(
                f"on_nan takes '{sources[on_nan].name}', whose '{job.key}' has shape {info.shape}; {job.shape} is needed. "
                "Name another model."
            )


def _warnings(recipe: Recipe, library: ModelLibrary, maker: JobMaker) -> list[str]:
    used = {line.name for line in recipe.used_lines()}
    above = list(recipe.lines)[: [line.name for line in recipe.lines].index(recipe.result)]
    found = [f"'{line.name}' is not used by the result." for line in above if line.name not in used]
    found += [
        f"the step '{name}' has the name of a file; here the step is meant." for name in recipe.steps if library.knows(name)
    ]
    calls = recipe.calls()
    found += [
        f"{spell(call)} need not add to 1: the result may be too strong or too weak."
        for call in calls
        if call.method == "free_sum"
    ]
    for (number, name), weights in maker.weights.items():
        low, high = _range(calls[number], name)
        outside = [
            value for value in (*weights.lanes.values(), *(rule.value for rule in weights.rules)) if not low <= value <= high
        ]
        if outside:
            found.append(f"{name} of {calls[number].method} is {float(outside[0]):g}, outside {low:g} to {high:g}.")
    found += _differences(maker.sources)
    for number, source in enumerate(maker.sources):
        extreme = max((abs(row.exact.get(number, Fraction(0))) for row in maker.rows.values()), default=Fraction(0))
        if extreme > 2:
            found.append(f"'{source.name}' counts {float(extreme):g} times: beyond 2 a merge usually breaks.")
    return found


def _differences(sources: Sequence[Source]) -> list[str]:
    """Sources that are sampled in another way than the others."""
    found = []
    for key, words in sources[0].architecture.markers.items():
        marked = [source.name for source in sources if key in source.tensors]
        if 0 < len(marked) < len(sources):
            found.append(f"{', '.join(marked)} says '{words}' ('{key}'), the other sources do not: a mix of both seldom works.")
    return found


def _range(call: Call, name: str) -> tuple[float, float]:
    parameter = get_method(call.method).parameters[name][0]
    return parameter.low, parameter.high


def _absences(sources: list[Source], jobs: list[KeyJob]) -> list[str]:
    """Which source lacks which keys that the output has."""
    found = []
    for source in sources:
        lanes: dict[str, int] = {}
        for job in jobs:
            if job.key not in source.tensors:
                lanes[job.lane] = lanes.get(job.lane, 0) + 1
        if lanes:
            counts = ", ".join(f"{lane} {count}" for lane, count in lanes.items())
            found.append(f"'{source.name}' lacks {sum(lanes.values())} keys ({counts}): the other operands settle them.")
    extended = [job for job in jobs if job.extra]
    return found + [f"the extra input channels of '{job.key}' are taken from the models that have them." for job in extended]


def _left_out(sources: list[Source], jobs: list[KeyJob]) -> list[str]:
    """Keys of sources that the output does not have as they were."""
    found = [f"{len(source.dropped)} EMA copies of '{source.name}' are dropped." for source in sources if source.dropped]
    for source in sources:
        scaled = sum(info.scale is not None for info in source.tensors.values())
        if source.checkpoint.consumed:
            found.append(
                f"{scaled} scaled fp8 tensors of '{source.name}' are read with their scales; "
                f"{len(source.checkpoint.consumed)} keys of scales and markers are not written."
            )
    copied = [job.key for job in jobs if job.is_copied and job.lane == NO_LANE]
    if copied:
        found.append(
            f"{len(copied)} keys without a lane are copied, not merged: "
            f"{', '.join(copied[:6])}{', ...' if len(copied) > 6 else ''}."
        )
    if any(job.is_position_ids and job.source is None for job in jobs):
        found.append("position_ids are rebuilt as 0, 1, 2, ...")
    return found
