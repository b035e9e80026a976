"""What the open step comes to, from the headers of its sources: factors, warnings, sizes; what is known is kept.

A plan looks at every key. While only weights change, its keys stay: then each kind of key is folded once, by the engine, and
the rest is as in the plan before.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..architecture import VAE_ALONE
from ..errors import MergeError
from ..expression import FileName, ModelRef, StepRef, walk
from ..host.base import Host
from ..jobs import JobMaker
from ..key_job import Row
from ..lora_source import open_files
from ..models import ModelLibrary
from ..plan import make_plan
from ..plan_options import effective, refuse_lora
from ..plan_words import warnings_of
from ..recipe import Recipe
from ..sources import Source
from ..vae import DROP, KEEP, take_vae
from .draft import Draft
from .file_facts import architecture_of, bytes_of, identity
from .fold_view import Factors, factors_view, lane_groups
from .step_reading import read_step

_MOST_KEPT = 96


@dataclass(frozen=True)
class ComesTo:
    """What there is to say of a step; all of it empty where it cannot be known."""

    fold: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Frame:
    """What does not depend on a recipe's weights.

    Attributes:
        kinds: (lane, numbers of the sources that hold the key) to the keys, of those that are summed.
        taking: numbers of the sources that the U-Net is summed from; what a mix is refused or warned for follows from them.
        warnings, notes: those that the weights have no other part in.
    """

    sources: Sequence[Source]
    number_of: Mapping[FileName, int]
    vae: int | None
    kinds: Mapping[tuple[str, frozenset[int]], Sequence[str]]
    taking: frozenset[int]
    warnings: Sequence[str]
    notes: Sequence[str]


class Knowledge:
    """What was read of headers and planned, for all pages of a server."""

    def __init__(self, host: Host | None = None):
        self._known: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def architecture(self, draft: Draft, library: ModelLibrary) -> str | None:
        """The architecture of the first file of a recipe that tells it; a VAE by itself says nothing of other files."""
        kinds = self.kinds(draft, library)
        told = next((kind for kind in kinds.values() if kind and kind != VAE_ALONE), None)
        return told or (VAE_ALONE if set(kinds.values()) == {VAE_ALONE} else None)

    def kinds(self, draft: Draft, library: ModelLibrary) -> dict[str, str | None]:
        """The names of a recipe's files to their architectures; "" where that is none we know, None where no file is there."""
        names = dict.fromkeys(
            node.name for written in draft.steps for node in walk(written.line.expression) if isinstance(node, ModelRef)
        )
        return {name: self._kind(name, library) for name in names}

    def _kind(self, name: str, library: ModelLibrary) -> str | None:
        if (file := identity(name, library)) is None:
            return None
        known = self._kept(("architecture", file))
        return self._keep(("architecture", file), architecture_of(name, library)) if known is None else known

    def checks_bytes(self, recipe: Recipe | None, library: ModelLibrary) -> int:
        """How much is read to see whether the models of a recipe's result are whole; LoRAs are not looked at."""
        names = {model.name for model in recipe.models()} | {recipe.option("vae") or KEEP} - {KEEP, DROP} if recipe else ()
        files = {file: name for name in names if (file := identity(name, library)) is not None}
        total = 0
        for file, name in files.items():
            known = self._kept(("bytes", file))
            total += self._keep(("bytes", file), bytes_of(name, library)) if known is None else known
        return total

    def comes_to(self, draft: Draft, step: str | None, library: ModelLibrary, errors: list[Exception]) -> ComesTo:
        """What a step comes to; what the engine refuses is added to `errors`."""
        if draft.recipe is None or step is None or errors:
            return ComesTo()
        recipe = draft.recipe.with_options(step=step)
        names: list[FileName] = list(dict.fromkeys([*(model.name for model in recipe.models()), *recipe.loras()]))
        files = tuple(identity(name, library) for name in names)
        key = ("step", recipe.canonical(), files, library.folders)
        found = self._kept(key)
        if found is None:
            try:
                refuse_lora(recipe)
                frame = self._frame(recipe, names, files, library)
                found = self._keep(key, _comes_to(draft, effective(recipe), step, frame, library))
            except MergeError as error:
                errors.append(error)
                return ComesTo()
        return found

    def _frame(self, recipe: Recipe, names: Sequence[FileName], files: Hashable, library: ModelLibrary) -> _Frame:
        options = tuple(option for option in recipe.save if option[0] not in ("title", "step"))
        key = ("frame", tuple(names), files, options, library.folders)
        frame = self._kept(key) or self._keep(key, _frame_of(recipe, library))
        taking = _taking(JobMaker(effective(recipe), frame.sources, frame.number_of, frame.vae), frame.kinds)
        if taking == frame.taking:
            return frame
        return self._kept((*key, taking)) or self._keep((*key, taking), _frame_of(recipe, library))

    def _kept(self, key: Hashable) -> Any:
        with self._lock:
            found = self._known.pop(key, None)
            if found is not None:
                self._known[key] = found
            return found

    def _keep(self, key: Hashable, value: Any) -> Any:
        with self._lock:
            self._known[key] = value
            while len(self._known) > _MOST_KEPT:
                del self._known[next(iter(self._known))]
        return value


def _frame_of(recipe: Recipe, library: ModelLibrary) -> _Frame:
    """Plan a recipe, and keep what its weights have no part in."""
    plan = make_plan(recipe, library)
    recipe = effective(recipe)
    opened, number_of = open_files(recipe, library)
    vae = take_vae(recipe.option("vae"), library, opened)
    maker = JobMaker(recipe, opened, number_of, vae)
    kinds: dict[tuple[str, frozenset[int]], list[str]] = {}
    for job in plan.jobs:
        if job.row is not None and not maker.is_taken(job.key):
            holders = frozenset(number for number, source in enumerate(maker.merged) if job.key in source.tensors)
            kinds.setdefault((job.lane, holders), []).append(job.key)
    maker.rows.update(plan.rows)
    said = {*maker.notes(), *recipe.notes, *warnings_of(recipe, library, maker)}
    return _Frame(
        sources=opened,
        number_of=number_of,
        vae=vae,
        kinds=kinds,
        taking=_taking(maker, kinds),
        warnings=[sentence for sentence in plan.warnings if sentence not in said],
        notes=[sentence for sentence in plan.notes if sentence not in said],
    )


def _taking(maker: JobMaker, kinds: Mapping[tuple[str, frozenset[int]], Sequence[str]]) -> frozenset[int]:
    component_of = maker.architecture.component_of
    rows = maker.fold_kinds(kinds)
    return frozenset(number for row, keys in rows if "unet" in map(component_of, keys) for number in row.reads())


def _comes_to(draft: Draft, recipe: Recipe, step: str, frame: _Frame, library: ModelLibrary) -> ComesTo:
    maker = JobMaker(recipe, frame.sources, frame.number_of, frame.vae)
    rows = maker.fold_kinds(frame.kinds)
    reads = sum(maker.sources[number].tensors[key].read_bytes for row, keys in rows for key in keys for number in row.reads())
    return ComesTo(
        fold=_fold(draft, recipe, step, [row for row, _ in rows], maker),
        plan={"reads_bytes": reads},
        warnings=[*warnings_of(recipe, library, maker), *frame.warnings],
        notes=[*recipe.notes, *maker.notes(), *frame.notes],
    )


def _fold(draft: Draft, recipe: Recipe, step: str, rows: Sequence[Row], maker: JobMaker) -> dict[str, Any]:
    """The step's factors; where its block weights make them differ, A's too, if that is a step whose factors do not."""
    by_label = _by_label(rows, maker)
    main = _main(by_label)
    architecture = maker.architecture
    if main is not None:
        others = {label: factors for label, factors in by_label.items() if factors != main}
        return factors_view(step, main, lane_groups(others, architecture) if others else None)
    groups = lane_groups(by_label, architecture)
    written = draft.named(step)
    first = read_step(written.line.expression, draft.checker).operands[:1] if written else ()
    if first and isinstance(first[0], StepRef) and draft.checker.sums[first[0].name] == 1:
        name = first[0].name
        below = _factors_of(recipe.with_options(step=name), maker)
        if below is not None:
            named = [{**group, "lanes": f"{step}, {group['lanes']}"} for group in groups]
            return factors_view(name, below, named)
    return factors_view(step, (), groups)


def _factors_of(recipe: Recipe, maker: JobMaker) -> Factors | None:
    """The factors of another step of the recipe where all sources hold the keys; None where they differ between lanes."""
    other = JobMaker(recipe, maker.sources, maker.folder.source_of)
    everything = frozenset(range(len(maker.merged)))
    rows = other.fold_kinds({(lane, everything): () for lane in maker.architecture.lanes})
    return _main(_by_label([row for row, _ in rows], other))


def _by_label(rows: Sequence[Row], maker: JobMaker) -> dict[str, Factors]:
    names = [source.name for source in maker.sources]
    order = list(maker.architecture.lanes)
    lanes = sorted(rows, key=lambda row: (order.index(row.lane) if row.lane in order else len(order), row.label))
    return {row.label: tuple(row.named(names)) for row in lanes}


def _main(by_label: Mapping[str, Factors]) -> Factors | None:
    """The factors of all keys that no source lacks; None where these differ, or there is no such key."""
    whole = {factors for label, factors in by_label.items() if "|" not in label}
    return whole.pop() if len(whole) == 1 else None
