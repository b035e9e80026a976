"""What a merge's one pass has seen of its sources and its result says of their health; nothing more is read for it.

Of each slab a part is weighed, as the limits are far from what healthy models have. What needs every value, or a spectrum, is
left to `inspect --health`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .gains import factor, gain_of, judge_gains, times
from .header import counted, quoted
from .health_keys import header_says
from .key_job import KeyJob
from .plan import Plan
from .tally import RESULT, Tally
from .verdicts import BROKEN, WORDS, Said, Seen, seen

_OTHERS_TOO_FAR, _FEWEST_SOURCES = 4.0, 3
"""Factor between a lane's norm and the median of the other sources' from which on it is broken, and how many all must be."""
_MOST_SHOWN = 8
_RESULT = "the result"

Weighed = Mapping[KeyJob, float]
"""Matrices to their sums of squares."""


@dataclass(frozen=True)
class PassHealth:
    """The verdicts on the sources, by their names, and on the result."""

    sources: Mapping[str, Seen]
    result: Seen

    def facts(self) -> dict[str, object]:
        """The facts under the names of `merge --json`."""
        return {"sources": {name: each.facts() for name, each in self.sources.items()}, "result": self.result.facts()}

    def lines(self) -> list[str]:
        """All of it in words."""
        named = {**self.sources, _RESULT: self.result}
        lines = ["health: " + ", ".join(f"{name} {WORDS[each.verdict]}" for name, each in named.items())]
        for name, each in named.items():
            lines += [f"  {name}: {words}" for words in each.says[:_MOST_SHOWN]]
            lines += [f"  {name}: and {len(each.says) - _MOST_SHOWN} more"] * (len(each.says) > _MOST_SHOWN)
        return lines

    def warnings(self) -> list[str]:
        """Sentences on what is likely broken."""
        found = [words for name, each in self.sources.items() for words in each.warnings(quoted(name))]
        return found + self.result.warnings(_RESULT)


def pass_health(plan: Plan, tally: Tally) -> PassHealth:
    """The verdicts after a pass."""
    jobs = {job.key: job for job in plan.jobs}
    weighed: dict[int, dict[KeyJob, float]] = {number: {} for number in (*range(len(plan.sources)), RESULT)}
    for (number, key), squares in tally.squares.items():
        weighed[number][jobs[key]] = squares
    result = [*_of_zeros(weighed[RESULT]), *_of_gains(plan, weighed[RESULT])]
    del weighed[RESULT]
    others = _of_others(list(weighed.values()))
    sources = {}
    for number, source in enumerate(plan.sources):
        found = [*header_says(source), *_of_values(tally, number), *_of_zeros(weighed[number]), *_of_gains(plan, weighed[number])]
        known = {lane for lane, verdict, _ in found if verdict == BROKEN}
        sources[source.name] = seen([*found, *(said for said in others.get(number, ()) if said[0] not in known)])
    return PassHealth(sources, seen(result))


def _of_values(tally: Tally, number: int) -> Iterator[Said]:
    for lane, count in tally.not_finite.get(number, {}).items():
        yield lane, BROKEN, f"{counted(count, 'value')} {'is' if count == 1 else 'are'} NaN or Inf"


def _of_zeros(weighed: Weighed) -> Iterator[Said]:
    for lane, jobs in _by_lane(weighed).items():
        if not any(weighed[job] for job in jobs):
            yield lane, BROKEN, "all of its matrices are zero"


def _of_gains(plan: Plan, weighed: Weighed) -> Iterator[Said]:
    component_of = plan.architecture.component_of
    return judge_gains(
        {
            lane: gain_of(component_of(jobs[0].key), (math.sqrt(weighed[job] / job.shape[0]) for job in jobs))
            for lane, jobs in _by_lane(weighed).items()
        }
    )


def _of_others(weighed: Sequence[Weighed]) -> dict[int, list[Said]]:
    """Number of a source to its lanes whose norms are far from those of the others, over the matrices that all of them have."""
    lanes: dict[str, dict[int, set[KeyJob]]] = {}
    for number, each in enumerate(weighed):
        for lane, jobs in _by_lane(each).items():
            lanes.setdefault(lane, {})[number] = set(jobs)
    found: dict[int, list[Said]] = {}
    for lane, holders in lanes.items():
        shared = set.intersection(*holders.values())
        norms = {number: math.sqrt(sum(weighed[number][job] for job in shared)) for number in holders}
        for number, norm in norms.items() if len(norms) >= _FEWEST_SOURCES else ():
            usual = statistics.median(other for one, other in norms.items() if one != number)
            if usual and norm and factor(norm / usual) >= _OTHERS_TOO_FAR:
                found.setdefault(number, []).append((lane, BROKEN, f"norms {times(norm / usual)} those of the other sources"))
    return found


def _by_lane(weighed: Weighed) -> dict[str, list[KeyJob]]:
    lanes: dict[str, list[KeyJob]] = {}
    for job in weighed:
        lanes.setdefault(job.lane, []).append(job)
    return lanes
