"""What a merge's one pass has seen of its sources and its result says of their health; nothing more is read for it.

A part of each matrix is weighed, as the limits are far from what healthy models have. What needs every value, or a spectrum, is
left to `inspect --health`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .gains import factor, gain_of, judge_gains, times
from .header import counted, quoted
from .health_keys import header_faults, missing_keys
from .plan import Plan
from .tally import RESULT, Matrix, Tally
from .verdicts import BROKEN, WORDS, Said, Seen, seen

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
    """

    sources: Mapping[str, Seen]
    result: Seen
    warnings: tuple[str, ...]

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


def pass_health(plan: Plan, tally: Tally) -> PassHealth:
    """The verdicts after a pass."""
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
        found = [*header_faults(source), *_of_values(tally, number), *_of_zeros(own), *_of_gains(components, own)]
        known = {lane for lane, verdict, _ in found if verdict == BROKEN}
        found += [said for said in others.get(number, ()) if said[0] not in known]
        warnings += seen(found).warnings(quoted(source.name))
        sources[source.name] = seen([*missing_keys(source), *found])
    whole = seen([*_of_zeros(result), *_of_gains(components, result)])
    return PassHealth(sources, whole, (*warnings, *whole.warnings(_RESULT)))


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
            usual = statistics.median(other for one, other in norms.items() if one != number)
            if usual and norm and factor(norm / usual) >= _OTHERS_TOO_FAR:
                found.setdefault(number, []).append((lane, BROKEN, f"norms {times(norm / usual)} those of the other sources"))
    return found


def _by_lane(weighed: Weighed) -> dict[str, dict[Matrix, float]]:
    lanes: dict[str, dict[Matrix, float]] = {}
    for matrix, squares in weighed.items():
        lanes.setdefault(matrix.lane, {})[matrix] = squares
    return lanes
