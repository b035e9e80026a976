"""What a plan tells the user: warnings of what may be meant otherwise, notes of what is done to keys. Reads headers only."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .architecture import NO_LANE
from .expression import Call, spell
from .header import counted, quoted
from .health_keys import header_faults
from .jobs import JobMaker
from .key_job import KeyJob
from .matchings import matchings
from .models import ModelLibrary
from .output_dtypes import PLAIN_FP8
from .recipe import Recipe
from .registry import get_method
from .sidecar import Sidecar
from .sources import Source
from .vae import is_told_apart
from .verdicts import seen


def warnings_of(recipe: Recipe, library: ModelLibrary, maker: JobMaker) -> list[str]:
    """Sentences on what may be meant otherwise: unused steps, numbers out of their range, sources that are sampled otherwise."""
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
        outside = [value for value in weights.numbers() if not low <= value <= high]
        if outside:
            found.append(f"{name} of {calls[number].method} is {float(outside[0]):g}, outside {low:g} to {high:g}.")
    found += [words for source in maker.models for words in seen(header_faults(source)).warnings(quoted(source.name))]
    found += _differences(maker.models)
    found += _untold_vaes(maker.models)
    for number, source in enumerate(maker.sources):
        extreme = max((abs(row.exact.get(number, Fraction(0))) for row in maker.rows.values()), default=Fraction(0))
        if extreme > 2:
            found.append(f"'{source.name}' counts {float(extreme):g} times: beyond 2 a merge usually breaks.")
    return found


def _differences(sources: Sequence[Source]) -> list[str]:
    """Sources that are sampled in another way than the others."""
    found = []
    for key, words in sources[0].architecture.markers.items() if sources else ():
        marked = [source.name for source in sources if key in source.tensors]
        if 0 < len(marked) < len(sources):
            found.append(f"{', '.join(marked)} says '{words}' ('{key}'), the other sources do not: a mix of both seldom works.")
    return found


def _untold_vaes(sources: Sequence[Source]) -> list[str]:
    """VAEs by themselves that are merged with others: their keys and shapes do not tell what kind of latents they make."""
    untold = [f"'{source.name}'" for source in sources if not is_told_apart(source)]
    if not untold or len(sources) == 1:
        return []
    return [
        f"nothing in {', '.join(untold)} tells for which models the VAE was made: SD's and SDXL's have the same shapes, as have "
        "SD 3's and Flux.1's, and a mix of two kinds breaks every picture."
    ]


def _range(call: Call, name: str) -> tuple[float, float]:
    parameter = get_method(call.method).parameters[name][0]
    return parameter.low, parameter.high


def notes_of(maker: JobMaker, jobs: Sequence[KeyJob], sidecar: Sidecar | None) -> list[str]:
    """Sentences on keys that some source lacks, that are dropped, copied or rebuilt, and on how the output is written."""
    return [*_absences(maker, jobs), *_loras(maker), *_left_out(maker, jobs), *_written(maker, jobs, sidecar)]


def _absences(maker: JobMaker, jobs: Sequence[KeyJob]) -> list[str]:
    """Which source lacks which keys that the output has from the recipe's sources."""
    found = []
    for source in maker.models:
        lanes: dict[str, int] = {}
        for job in jobs:
            if job.key not in source.tensors and not job.is_companion and not maker.is_taken(job.key):
                lanes[job.lane] = lanes.get(job.lane, 0) + 1
        if lanes:
            counts = ", ".join(f"{lane} {count}" for lane, count in lanes.items())
            keys = counted(sum(lanes.values()), "key")
            found.append(f"'{source.name}' lacks {keys} ({counts}): the other operands settle them.")
    extended = [job for job in jobs if job.extra]
    return found + [f"the extra input channels of '{job.key}' are taken from the models that have them." for job in extended]


def _loras(maker: JobMaker) -> list[str]:
    """What LoRAs change, and what of them fits nothing."""
    found = []
    for source in maker.merged:
        if source.lora is None:
            continue
        lacking = [key for key in source.lora.modules if key not in source.tensors]
        said = f"the LoRA '{source.name}' changes {counted(len(source.tensors), 'weight')}"
        if lacking:
            said += f"; {counted(len(lacking), 'more')} that it is for {'is' if len(lacking) == 1 else 'are'} in no model here: "
            said += _some(lacking)
        if unmatched := source.lora.unmatched:
            key, reason = next(iter(unmatched.items()))
            said += f"; {counted(len(unmatched), 'tensor')} of it {'is' if len(unmatched) == 1 else 'are'} of no use: "
            said += f"{quoted(key)}: {reason}"
        found.append(f"{said}.")
    return found


def _left_out(maker: JobMaker, jobs: Sequence[KeyJob]) -> list[str]:
    """Keys of sources that the output does not have, or not as they were."""
    found = [f"{len(source.dropped)} EMA copies of '{source.name}' are dropped." for source in maker.sources if source.dropped]
    for source in maker.sources:
        scaled = sum(info.scale is not None for info in source.tensors.values())
        if source.respelled and not source.bare:
            found.append(f"'{source.name}' has {counted(source.respelled, 'key')} in another spelling.")
        if source.checkpoint.consumed:
            found.append(
                f"{scaled} scaled fp8 tensors of '{source.name}' are read with their scales; "
                f"{len(source.checkpoint.consumed)} keys of scales and markers are not written."
            )
    if maker.unwanted:
        found.append(f"{len(maker.unwanted)} keys are not written, as save(...) says: {_some(maker.unwanted)}.")
    copied = [job.key for job in jobs if job.is_copied and job.lane == NO_LANE and not job.is_companion]
    if copied:
        are = "is" if len(copied) == 1 else "are"
        found.append(f"{counted(len(copied), 'key')} without a lane {are} copied, not merged: {_some(copied)}.")
    if any(job.is_position_ids and job.source is None for job in jobs):
        found.append("position_ids are rebuilt as 0, 1, 2, ...")
    return found


def _written(maker: JobMaker, jobs: Sequence[KeyJob], sidecar: Sidecar | None) -> list[str]:
    """How the output is written where that is not as the recipe's steps alone would have it."""
    found = []
    if maker.vae is not None:
        taken = maker.sources[maker.vae]
        unsure = "" if is_told_apart(taken) else f" Nothing in the file tells whether it was made for {taken.architecture.title}."
        found.append(f"the VAE is that of '{taken.name}', whatever the steps say of it.{unsure}")
    copies = sum(maker.is_ema_copy(job.key) for job in jobs)
    if copies:
        loras = ", without the LoRAs" if len(maker.models) < len(maker.merged) else ""
        found.append(f"{copies} EMA copies are merged with the weights of the keys that they are copies of{loras}.")
    narrow = [job for job in jobs if job.dtype.name == PLAIN_FP8 and not job.is_companion]
    scaled = sum(job.is_scaled for job in narrow)
    if matched := [each for each_round in matchings(maker.architecture, jobs) for each in each_round]:
        found.append(
            f"{counted(len(matched), 'group')} of units {'is' if len(matched) == 1 else 'are'} matched before the pass: their "
            "tensors are read once more."
        )
    if scaled:
        found.append(f"{scaled} matrices are written as scaled fp8; their sources are read twice, first to measure the scales.")
    if len(narrow) > scaled:
        found.append(f"{len(narrow) - scaled} tensors are written as {PLAIN_FP8}, without scales.")
    if sidecar:
        found.append(
            f"'{sidecar.path.name}', which lies beside '{sidecar.source}', is copied beside the output, unless that is a folder."
        )
    return found


def _some(keys: Sequence[str]) -> str:
    return f"{', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}"
