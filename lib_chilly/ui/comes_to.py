"""What the open step comes to, from the headers of its sources: factors, words, warnings; what is known is kept."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..architecture import VAE_ALONE, detect
from ..errors import MergeError
from ..expression import ModelRef, walk
from ..host.base import Host
from ..models import ModelLibrary
from ..plan import Plan, make_plan
from .draft import Draft
from .fold_view import Factors, factors_view, lane_groups

_MOST_KEPT = 32


@dataclass(frozen=True)
class ComesTo:
    """What there is to say of a step; all of it empty where it cannot be known."""

    fold: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


class Knowledge:
    """What was read of headers and planned, for all pages of a server."""

    def __init__(self, host: Host | None = None):
        self._plans: dict[Hashable, Plan | MergeError] = {}
        self._lock = threading.Lock()

    def architecture(self, draft: Draft, library: ModelLibrary) -> str | None:
        """The architecture of the first file of a recipe that is there; a VAE by itself says nothing of the others."""
        names = dict.fromkeys(
            node.name for written in draft.steps for node in walk(written.line.expression) if isinstance(node, ModelRef)
        )
        for name in names:
            try:
                checkpoint = library.open(library.find(name))
                found = detect({key: info.shape for key, info in checkpoint.tensors.items()}, name).name
            except MergeError:
                continue
            if found != VAE_ALONE or len(names) == 1:
                return found
        return None

    def comes_to(self, draft: Draft, step: str | None, library: ModelLibrary, errors: list[Exception]) -> ComesTo:
        """What a step comes to; what the engine refuses is added to `errors`."""
        if draft.recipe is None or step is None or errors:
            return ComesTo()
        try:
            plan = self._plan(draft, step, library)
        except MergeError as error:
            errors.append(error)
            return ComesTo()
        return ComesTo(
            fold=self._fold(draft, step, plan, library),
            plan={
                "reads_bytes": plan.reads_bytes,
                "writes_bytes": plan.writes_bytes,
                "reproducible": True,
                "sources": len(plan.sources),
            },
            warnings=plan.warnings,
            notes=plan.notes,
        )

    def _plan(self, draft: Draft, step: str, library: ModelLibrary) -> Plan:
        assert draft.recipe is not None
        recipe = draft.recipe.with_options(step=step)
        key = (recipe.canonical(), library.folders, id(library))
        with self._lock:
            known = self._plans.pop(key, None)
        if known is None:
            try:
                known = make_plan(recipe, library)
            except MergeError as error:
                known = error
        with self._lock:
            self._plans[key] = known
            while len(self._plans) > _MOST_KEPT:
                del self._plans[next(iter(self._plans))]
        if isinstance(known, MergeError):
            raise known
        return known

    def _fold(self, draft: Draft, step: str, plan: Plan, library: ModelLibrary) -> dict[str, Any]:
        by_lane = _by_lane(plan)
        alike = set(by_lane.values())
        if len(alike) == 1:
            return factors_view(step, alike.pop(), None)
        return factors_view(step, (), lane_groups(step, by_lane, plan.architecture))


def _by_lane(plan: Plan) -> dict[str, Factors]:
    names = [source.name for source in plan.sources]
    found: dict[str, Factors] = {}
    for row in plan.ordered_rows():
        factors = tuple((names[number], row.exact[number]) for number in sorted(row.exact))
        found.setdefault(row.label.partition("|")[0], factors)
    return found
