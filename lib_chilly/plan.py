"""Recipe + headers -> Plan: everything that can be refused is refused here, before a byte is written. Reads no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .architecture import Architecture
from .jobs import JobMaker, KeyJob, Row
from .models import ModelLibrary
from .plan_options import check_replacements, effective, replacing_source
from .plan_words import notes_of, warnings_of
from .provenance import provenance
from .recipe import Recipe
from .sources import Source, open_sources, title_hashes
from .writer import build_header

MATHS = 1
"""Raised whenever the same recipe gives other numbers."""


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
        return len(self.header({number: f"{number:064x}" for number in range(len(self.sources))})) + self.data_bytes

    def header(self, hashes: Mapping[int, str]) -> bytes:
        """The output's first bytes, up to its first tensor: the length, the JSON, spaces up to a 4096-byte boundary.

        Args:
            hashes: number of each source to the sha256 of its file; empty leaves all of them out.
        """
        metadata = provenance(self.recipe, self.sources, hashes, MATHS, {job.key for job in self.jobs})
        tensors = ((job.key, job.dtype, job.shape) for job in self.jobs)
        return build_header(tensors, metadata)


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
    recipe = effective(recipe)
    sources, number_of = open_sources(recipe, library)
    claims = {number: claim for number, (claim, _) in title_hashes(recipe, number_of).items()}
    maker = JobMaker(recipe, sources, number_of)
    jobs = maker.make()
    on_nan = replacing_source(recipe, sources, number_of)
    if on_nan is not None:
        recipe = recipe.with_options(**{**dict(recipe.save), "on_nan": f"take:{sources[on_nan].name}"})  # however it was spelled
    check_replacements(sources, jobs, on_nan)
    return Plan(
        recipe=recipe,
        architecture=sources[0].architecture,
        sources=tuple(sources),
        jobs=tuple(jobs),
        rows=maker.rows,
        title_claims=claims,
        on_nan=on_nan,
        warnings=tuple(warnings_of(recipe, library, maker)),
        notes=(*recipe.notes, *maker.notes(), *notes_of(sources, jobs)),
    )
