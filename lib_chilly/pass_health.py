"""What a merge's one pass has seen of its sources and its result says of their health; nothing more is read for it.

A part of each matrix is weighed, as the limits are far from what healthy models have. What needs every value, or a spectrum, is
left to `inspect --health`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .diffusers_parts import keys_in_folder
from .gains import factor, gain_of, judge_gains, times
from .header import counted, quoted
from .health_keys import header_faults, missing_keys
from .known_good import KnownGood, Norms, Release
from .known_lanes import compared, judge_lane, lane_against
from .plan import Plan
from .tally import RESULT, Matrix, Tally
from .verdicts import BROKEN, WORDS, Said, Seen, against_words, seen

_OTHERS_TOO_FAR, _FEWEST_SOURCES = 4.0, 3
"""Factor between a lane's norm and the median of the other sources' from which on it is broken, and how many all must be."""
_MOST_SHOWN = 8
_RESULT = "the result"

Weighed = Mapping[Matrix, float]
"""Matrices to their sums of squares."""


@dataclass(frozen=True)
class PassHealth:
    """The verdicts on the sources, by their names, and on the result.

    Attributes:
        warnings: sentences on what is likely broken. Lanes that a source lacks are none: the plan notes who settles them.
        known_good: names of the releases that they were compared with, without their suffixes.
        notes: sentences on why they could not be compared with some.
    """

    sources: Mapping[str, Seen]
    result: Seen
    warnings: tuple[str, ...]
    known_good: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, object]:
        """The facts under the names of `merge --json`."""
        sources = {name: each.facts() for name, each in self.sources.items()}
        return {"sources": sources, "result": self.result.facts(), "known_good": list(self.known_good)}

    def lines(self) -> list[str]:
        """All of it in words."""
        named = {**self.sources, _RESULT: self.result}
        verdicts = ", ".join(f"{name} {WORDS[each.verdict]}" for name, each in named.items())
        lines = [f"health: {verdicts}{against_words(None, self.known_good)}"]
        for name, each in named.items():
            lines += [f"  {name}: {words}" for words in each.says[:_MOST_SHOWN]]
            lines += [f"  {name}: and {len(each.says) - _MOST_SHOWN} more"] * (len(each.says) > _MOST_SHOWN)
        return lines


def pass_health(plan: Plan, tally: Tally, known: KnownGood | None = None) -> PassHealth:
    """The verdicts after a pass.

    Args:
        known: what sources and result are compared with.
    """
    against = _Against(plan, known)
    components = {job.lane: plan.architecture.component_of(job.key) for job in plan.jobs}
    result = tally.squares(RESULT)
    weighed: list[Weighed] = [{} if source.lora else tally.squares(number) for number, source in enumerate(plan.sources)]
    others = _of_others(weighed)
    sources: dict[str, Seen] = {}
    warnings: list[str] = []
    for number, source in enumerate(plan.sources):
        if source.lora:
            continue
        own = weighed[number]
        known_lanes = against.of(own)
        plain = [*header_faults(source), *_of_values(tally, number), *_of_zeros(own), *_all_of(known_lanes)]
        unknown = [said for said in others.get(number, ()) if said[0] not in known_lanes]
        found = _together(plain, _of_gains(components, own), unknown)
        warnings += seen(found).warnings(quoted(source.name))
        sources[source.name] = seen([*missing_keys(source), *found])
    whole = seen(_together([*_of_zeros(result), *_all_of(against.of(result))], _of_gains(components, result)))
    names = tuple(release.shown for release in against.used)
    return PassHealth(sources, whole, (*warnings, *whole.warnings(_RESULT)), names, tuple(known.notices if known else ()))


def _together(*found: Iterable[Said]) -> list[Said]:
    """What was found in several ways, without what a later one says of lanes that are known to be broken."""
    said: list[Said] = []
    for each in found:
        broken = {lane for lane, verdict, _ in said if verdict == BROKEN}
        said += [words for words in each if words[0] not in broken]
    return said


class _Against:
    """What is weighed of a model, against the releases that are known to be good.

    Attributes:
        used: those that something could be compared with.
    """

    def __init__(self, plan: Plan, known: KnownGood | None):
        self._known = known.usable(plan.architecture.name) if known else []
        # Channels that one model has and the others have not are weighed with the rest.
        jobs = [job for job in plan.jobs if self._known and len(job.shape) >= 2 and job.extra is None]
        self._places = {
            job: keys_in_folder(plan.architecture, job) if plan.is_folder else [job.key] for job in jobs if not job.is_copied
        }
        self.used: list[Release] = []

    def of(self, weighed: Weighed) -> dict[str, list[Said]]:
        """Each lane that can be compared, to what is said of it: nothing where its norm is near one of them."""
        squares = {(matrix.lane, matrix.key): each for matrix, each in weighed.items()}
        lanes: dict[str, dict[str, Norms]] = {}
        for job, keys in self._places.items():
            parts = [squares.get((job.lane, key)) for key in keys]
            if all(part is not None for part in parts):
                norm = math.sqrt(sum(part or 0.0 for part in parts))
                lanes.setdefault(job.lane, {})[job.key] = Norms(job.shape[0], job.elements, norm)
        found: dict[str, list[Said]] = {}
        for lane, matrices in lanes.items():
            self.used += [release for release in compared(matrices, self._known) if release not in self.used]
            if nearest := lane_against(matrices, self._known):
                found[lane] = [(lane, verdict, words) for verdict, words in judge_lane(nearest)]
        return found


def _all_of(lanes: Mapping[str, list[Said]]) -> list[Said]:
    return [said for each in lanes.values() for said in each]


def _of_values(tally: Tally, number: int) -> Iterator[Said]:
    for lane, count in tally.not_finite.get(number, {}).items():
        yield lane, BROKEN, f"{counted(count, 'value')} {'is' if count == 1 else 'are'} NaN or Inf"


def _of_zeros(weighed: Weighed) -> Iterator[Said]:
    for lane, matrices in _by_lane(weighed).items():
        if not any(matrices.values()):
            yield lane, BROKEN, "all of its matrices are zero"


def _of_gains(components: Mapping[str, str | None], weighed: Weighed) -> Iterator[Said]:
    return judge_gains(
        {
            lane: gain_of(components.get(lane), (math.sqrt(squares / matrix.rows) for matrix, squares in matrices.items()))
            for lane, matrices in _by_lane(weighed).items()
        }
    )


def _of_others(weighed: Sequence[Weighed]) -> dict[int, list[Said]]:
    """Number of a source to its lanes whose norms are far from those of the others, over the matrices that all of them have."""
    lanes: dict[str, dict[int, Weighed]] = {}
    for number, each in enumerate(weighed):
        for lane, matrices in _by_lane(each).items():
            lanes.setdefault(lane, {})[number] = matrices
    found: dict[int, list[Said]] = {}
    for lane, holders in lanes.items():
        shared = set.intersection(*map(set, holders.values()))
        norms = {number: math.sqrt(sum(matrices[each] for each in sorted(shared))) for number, matrices in holders.items()}
        for number, norm in norms.items() if len(norms) >= _FEWEST_SOURCES else ():
            rest = [other for one, other in norms.items() if one != number and other]
            if not (norm and rest):
                continue
            # Of two others one may be broken: the nearer one counts.
            usual = min((statistics.median_low(rest), statistics.median_high(rest)), key=lambda other: factor(norm / other))
            if factor(norm / usual) >= _OTHERS_TOO_FAR:
                found.setdefault(number, []).append((lane, BROKEN, f"norms {times(norm / usual)} those of the other sources"))
    return found


def _by_lane(weighed: Weighed) -> dict[str, dict[Matrix, float]]:
    lanes: dict[str, dict[Matrix, float]] = {}
    for matrix, squares in weighed.items():
        lanes.setdefault(matrix.lane, {})[matrix] = squares
    return lanes
