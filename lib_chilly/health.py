"""Is a model whole? A verdict in words for each lane: against a base where one is given, else against the releases that the user
knows to be good, and against what holds for every model of its architecture.

What is known to hold without a base: its keys, its text encoder's width, counting position_ids, finite numbers that are not all
the same, matrices of more than one direction, and blocks of the U-Net whose matrices amplify about as much as each other's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .architecture import VAE_ALONE, Architecture, detect
from .checkpoint import open_checkpoint
from .errors import ArchitectureError
from .gains import gain_of, judge_gains
from .header import Checkpoint, quoted
from .health_keys import header_faults, missing_keys
from .known_good import KnownGood, Norms, Release
from .known_lanes import compared
from .lane_health import LaneHealth, lane_health, norms_of
from .sources import Source, source_of
from .tensor_statistics import Measured, measure_tensors
from .verdicts import BROKEN, SUSPECT, worst, written

_ALIKE, _UNLIKE = 0.5, 0.1
"""Cosine from which on two U-Nets are kin, and below which two text encoders are not."""


@dataclass(frozen=True)
class Health:
    """The verdict on a model.

    Attributes:
        base: name of the file that it was compared with.
        known_good: names of the releases that it was compared with, without their suffixes.
        matrices: canonical key to the norms of each matrix.
        says: (verdict, sentence) on the file as a whole.
        notes: what is out of the ordinary, but harms nothing.
    """

    base: str | None
    lanes: Mapping[str, LaneHealth]
    says: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    known_good: tuple[str, ...]
    matrices: Mapping[str, Norms]

    @property
    def verdict(self) -> str:
        """The worst of all."""
        found = [lane.verdict for lane in self.lanes.values()] + [verdict for verdict, _ in self.says]
        return worst(found)

    def facts(self) -> dict[str, object]:
        """The facts under the names of `inspect --health --json`."""
        names = ("tensors", "norm", "gain", "spectral_norm", "against_base", "against_known_good", "verdict", "says")
        lanes = {lane: {name: _written(getattr(found, name)) for name in names} for lane, found in self.lanes.items()}
        against = {"base": self.base, "known_good": list(self.known_good)}
        return {"verdict": self.verdict, **against, "lanes": lanes, "says": self.sentences(), "notes": list(self.notes)}

    def sentences(self) -> list[str]:
        """Everything that is wrong, a line for each lane."""
        lines = [written(found.verdict, found.says, lane) for lane, found in self.lanes.items() if found.says]
        return lines + [written(verdict, [words]) for verdict, words in self.says]


def health_of(
    path: Path,
    base: Path | None = None,
    *,
    known: KnownGood | None = None,
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Health:
    """Read a checkpoint once, and the base beside it.

    Args:
        known: what it is compared with where there is no base.

    Raises:
        CheckpointError, ArchitectureError: one cannot be read, is of no known architecture, or both are of two.
        Interrupted: `should_stop` said so.
    """
    source = _opened(open_checkpoint(path))
    if base:
        refuse_other_kind(base, source.architecture, path.name)
    other = _opened(open_checkpoint(base)) if base else None
    keys = [key for key, info in source.tensors.items() if _is_measured(source, key) and info.elements]
    found = measure_tensors(source, other, keys, threads, should_stop, on_bytes)
    matrices = norms_of({key: each for key, each in found.items() if not source.architecture.is_copied(key)})
    releases = known.usable(source.architecture.name) if known and not other else []
    releases = compared(matrices, releases)
    lanes = _lanes(source, found, releases)
    wrong = [(verdict, words) for _, verdict, words in header_faults(source)]
    for key, measured in found.items():
        if key.endswith("position_ids") and not measured.own.is_counting:
            wrong.append((SUSPECT, f"{quoted(key)} is not 0, 1, 2, ... (save(position_ids=rebuild) mends it)"))
    return Health(
        base=other.checkpoint.path.name if other else None,
        lanes=lanes,
        says=(*wrong, *_strangers(source, found)),
        notes=(*_notes(source), *(known.notices if known else ())),
        known_good=tuple(release.shown for release in releases),
        matrices=matrices,
    )


def refuse_other_kind(base: Path, architecture: Architecture, name: str) -> None:
    """Refuse a base of another kind than the model `name`, before anything is read but headers.

    Raises:
        CheckpointError, ArchitectureError: it cannot be read, or is of another architecture or none.
    """
    shapes = {key: info.shape for key, info in open_checkpoint(base).tensors.items()}
    model = f"{quoted(name)} is {_in_a_sentence(architecture)}"
    try:
        found = detect(shapes, base.name)
    except ArchitectureError:
        raise ArchitectureError(
            f"{model}, but its base {quoted(base.name)} is no model of a known architecture; a LoRA, an embedding or a text "
            f"encoder cannot be a base. Name {_in_a_sentence(architecture)} as the base."
        ) from None
    if found is not architecture:
        raise ArchitectureError(
            f"{model}, but its base {quoted(base.name)} is {_in_a_sentence(found)}. "
            f"Name {_in_a_sentence(architecture)} as the base."
        )


def _in_a_sentence(architecture: Architecture) -> str:
    return "a VAE by itself" if architecture.name == VAE_ALONE else f"a model of {architecture.title}"


def _written(value: object) -> object:
    """A value as JSON takes it, which has no Inf."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _opened(checkpoint: Checkpoint) -> Source:
    shapes = {key: info.shape for key, info in checkpoint.tensors.items()}
    return source_of(checkpoint.path.name, checkpoint, detect(shapes, checkpoint.path.name))


def _is_measured(source: Source, key: str) -> bool:
    if key.endswith("position_ids"):
        return True
    return source.tensors[key].dtype.is_floating and not source.architecture.is_copied(key)


def _lanes(source: Source, found: Mapping[str, Measured], known: Sequence[Release]) -> dict[str, LaneHealth]:
    """The verdict on each lane that the model has, or ought to have, in the architecture's order."""
    architecture = source.architecture
    tensors: dict[str, dict[str, Measured]] = {}
    for key, each in found.items():
        if not architecture.is_copied(key):
            tensors.setdefault(architecture.lane_of(key) or "", {})[key] = each
    missing = list(missing_keys(source))
    there = {*tensors, *(lane for lane, _, _ in missing)}
    lanes = {lane: lane_health(tensors.get(lane, {}), known) for lane in architecture.lanes if lane in there}
    for lane, verdict, words in missing:
        lanes[lane].note(verdict, words)
    gains = {
        lane: gain_of(architecture.component_of(next(iter(each))), (one.own.gain for one in each.values() if one.own.is_matrix))
        for lane, each in tensors.items()
    }
    for lane, verdict, words in judge_gains(gains):
        if lanes[lane].verdict != BROKEN:
            lanes[lane].note(verdict, words)
    return lanes


def _strangers(source: Source, found: Mapping[str, Measured]) -> list[tuple[str, str]]:
    """Text encoders that are not the base's kin though the U-Net is."""
    alike = {name: _likeness(source, found, prefixes) for name, prefixes in source.architecture.components.items()}
    if (alike.get("unet") or 0.0) < _ALIKE:
        return []
    strange = [name for name, cosine in alike.items() if name.startswith("text") and cosine is not None and cosine < _UNLIKE]
    return [(SUSPECT, f"the {name.replace('_', ' ')} is no kin of the base's, though the U-Net is") for name in strange]


def _likeness(source: Source, found: Mapping[str, Measured], prefixes: Sequence[str]) -> float | None:
    """Cosine of a component's matrices and the base's."""
    keys = [key for key in found if key.startswith(tuple(prefixes)) and not key.endswith("position_ids")]
    both = [found[key] for key in keys if found[key].base and found[key].own.is_matrix]
    sizes = math.sqrt(sum(each.own.squares for each in both) * sum(each.base.squares for each in both if each.base))
    return sum(each.product for each in both) / sizes if sizes else None


def _notes(source: Source) -> list[str]:
    found = []
    merged = {key: info for key, info in source.tensors.items() if not source.architecture.is_copied(key)}
    for component, prefixes in source.architecture.components.items():
        kinds = {info.dtype.name for key, info in merged.items() if key.startswith(prefixes) and info.dtype.is_floating}
        if len(kinds) > 1:
            found.append(f"the {component.replace('_', ' ')} is stored as {' and '.join(sorted(kinds))}.")
    return found
