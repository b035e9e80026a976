"""Recipe + headers -> Plan: everything that can be refused is refused here, before a byte is written. Reads no tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .architecture import Architecture
from .diffusers_parts import folder_parts
from .dtypes import DType
from .errors import RecipeError
from .jobs import JobMaker
from .key_job import KeyJob, Row
from .lora_source import open_files
from .matchings import Matching, matchings
from .models import ModelLibrary
from .permissions import Combined, hashes_for_ledger, permissions_of
from .plan_options import FOLDER, check_replacements, effective, refuse_lora, replacing_source, typed
from .plan_words import notes_of, warnings_of
from .prediction import UNKNOWN
from .provenance import provenance
from .recipe import Recipe
from .sidecar import Sidecar, find_sidecar
from .sources import Source, check_predictions, title_hashes
from .vae import claimed_hash, take_vae
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
        unet_sources: those that have a part in the output's U-Net, or whose marker of what they predict it has.
        title_claims: number of a source to the hash that a webui title claims.
        on_nan: number of the source that replaces elements which are not finite; None stops.
        sidecar: the .yaml that goes beside the output; None where there is none.
        warnings, notes: sentences for the user.
        combined: what its sources allow; None where nobody says.
        unasked: those notes that say what of the ledger could not be asked.
    """

    recipe: Recipe
    architecture: Architecture
    sources: tuple[Source, ...]
    jobs: tuple[KeyJob, ...]
    rows: Mapping[str, Row]
    unet_sources: tuple[Source, ...]
    title_claims: Mapping[int, str]
    on_nan: int | None
    sidecar: Sidecar | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    combined: Combined | None = None
    unasked: tuple[str, ...] = ()

    def ordered_rows(self) -> list[Row]:
        """The rows in the architecture's order of lanes, then by label."""
        order = list(self.architecture.lanes)
        return sorted(self.rows.values(), key=lambda row: (order.index(row.lane) if row.lane in order else len(order), row.label))

    @property
    def data_bytes(self) -> int:
        return sum(job.size_bytes for job in self.jobs)

    @property
    def file_bytes(self) -> int:
        """Bytes of the output's tensors."""
        return self.data_bytes

    @property
    def reads_bytes(self) -> int:
        """Bytes of tensors that are read from the sources: each once, and once more for what is measured before the pass."""
        passes = sum(job.passes * self.sources[number].tensors[job.key].read_bytes for job in self.jobs for number in job.reads())
        reads = (read for matching in self._matchings() for read in matching.reads())
        return passes + sum(self.sources[number].tensors[key].read_bytes for key, number in reads)

    @property
    def measured_bytes(self) -> int:
        """Bytes of the output's tensors whose scales, or the orders of whose units, are found before anything is written."""
        scaled = sum(job.size_bytes for job in self.jobs if job.is_scaled)
        return scaled + sum(matching.size_bytes for matching in self._matchings())

    def matching_bytes(self, threads: int) -> int:
        """What is held at most while units are matched, before the pass begins."""
        widest = max((info.dtype.size_bytes for source in self.sources for info in source.tensors.values()), default=0)
        needed = sorted((matching.needs_bytes(widest) for matching in self._matchings()), reverse=True)
        return sum(needed[:threads])

    def _matchings(self) -> Iterator[Matching]:
        return (matching for each_round in matchings(self.architecture, self.jobs) for matching in each_round)

    def held_bytes(self, threads: int) -> int:
        """What is held beside the pass's own buffers, at most."""
        return 0

    @property
    def is_folder(self) -> bool:
        """Whether the output is a diffusers folder."""
        return self.recipe.option("format") == FOLDER

    @property
    def reproducible(self) -> str:
        """ "bitwise", or "tolerance" where another kind of processor may make other last bits."""
        nodes = [node for job in self.jobs for node in job.nodes]
        return "bitwise" if all(node.method.is_bitwise for node in nodes) else "tolerance"

    @property
    def prediction(self) -> str:
        """What the output predicts, as far as the recipe, its markers or the sources say: "epsilon", "v", "flow" or "unknown"."""
        markers = self.architecture.predictions
        marked = next((markers[job.key] for job in self.jobs if job.key in markers), None)
        known = {source.prediction for source in self.unet_sources} - {UNKNOWN}
        return self.recipe.option("prediction") or marked or (known.pop() if len(known) == 1 else UNKNOWN)

    @property
    def writes_bytes(self) -> int:
        """Size of the output when its headers hold the sources' hashes, without a folder's small files."""
        files = self.files({number: f"{number:064x}" for number in range(len(self.sources))})
        return sum(len(header) + part.data_bytes for part, header in files.values())

    def files(self, hashes: Mapping[int, str]) -> dict[str, tuple[Plan, bytes]]:
        """Name of each weights file below the output to the plan that makes it and its header; "" where the output is one file.

        Args:
            hashes: as of `header`.
        """
        if not self.is_folder:
            return {"": (self, self.header(hashes))}
        metadata = self.metadata(hashes)
        return {
            file: (replace(self, sources=sources, jobs=jobs), build_header(_entries(jobs), metadata))
            for file, (sources, jobs) in folder_parts(self.architecture, self.sources, self.jobs).items()
        }

    @property
    def bare_prefix(self) -> str:
        """What the output's keys lack: files of one component without its prefix give another such file."""
        bare = {source.bare for source in self.sources}
        return bare.pop() if len(bare) == 1 else ""

    def header(self, hashes: Mapping[int, str]) -> bytes:
        """The output's first bytes, up to its first tensor: the length, the JSON, spaces up to a 4096-byte boundary.

        Args:
            hashes: number of each source to the sha256 of its file; empty leaves all of them out.
        """
        return build_header(_entries(self.jobs, self.bare_prefix), self.metadata(hashes))

    def metadata(self, hashes: Mapping[int, str]) -> dict[str, str]:
        """What the output says of itself; `hashes` as of `header`."""
        permissions = self.combined.record() if self.combined else None
        return provenance(self.recipe, self.sources, hashes, MATHS, {job.key for job in self.jobs}, permissions)

    def with_terms(self, hashes: Sequence[str | None]) -> Plan:
        """The plan with what is known of its sources' permissions, in its header and in words; itself where that is known to it.

        Args:
            hashes: of the sources, by which the user's ledger knows them; None where it was not read for it.
        """
        combined, unasked, notices = permissions_of(self.sources, hashes)
        before = self.combined or Combined()
        if (combined, tuple(unasked), notices) == (self.combined, self.unasked, []):
            return self
        warnings = [words for words in self.warnings if words not in before.conflicts()]
        notes = [words for words in self.notes if words not in (*before.notes(), *self.unasked)]
        if combined is not None:
            warnings += combined.conflicts()
            notes += combined.notes()
        return replace(
            self, combined=combined, unasked=tuple(unasked), warnings=tuple(warnings), notes=(*notes, *unasked, *notices)
        )


def _entries(jobs: Sequence[KeyJob], prefix: str = "") -> Iterator[tuple[str, DType, tuple[int, ...]]]:
    return ((job.key.removeprefix(prefix), job.dtype, job.shape) for job in jobs)


def make_plan(recipe: Recipe, library: ModelLibrary, **options: str | None) -> Plan:
    """Plan a recipe.

    Args:
        recipe: as read.
        library: where its models are found.
        options: win over the recipe's `save(...)`; names of recipe.SAVE_OPTIONS, None where nothing is said.

    Raises:
        MergeError: anything that cannot be done, in one sentence.
    """
    recipe = effective(recipe.with_options(**typed(options)))
    refuse_lora(recipe)
    sources, number_of = open_files(recipe, library)
    if all(source.lora for source in sources):
        raise RecipeError("the recipe names no model, only LoRAs. Add them to one: MODEL + lora(NAME).")
    claims = {number: claim for number, (claim, _) in title_hashes(recipe, number_of).items()}
    on_nan = replacing_source(recipe, sources, number_of)
    vae = take_vae(recipe.option("vae"), library, sources)
    if vae is not None and (claim := claimed_hash(recipe.option("vae"))):
        claims[vae] = max(claim, claims.get(vae, ""), key=len)
    maker = JobMaker(recipe, sources, number_of, vae)
    jobs = maker.make()
    if on_nan is not None:
        recipe = recipe.with_options(on_nan=f"take:{sources[on_nan].name}")  # however it was spelled
    check_replacements(sources, jobs, on_nan)
    meant = recipe.option("prediction")
    unet_sources = tuple(sources[number] for number in sorted(maker.unet_sources(jobs)))
    contradictions = check_predictions(unet_sources, sources[0].architecture, {job.key for job in jobs}, meant)
    like_it_first = sorted(unet_sources, key=lambda source: meant is not None and source.prediction != meant)
    sidecar, passed_over = find_sidecar(recipe.option("yaml"), like_it_first or maker.merged, maker.merged, number_of, meant)
    plan = Plan(
        recipe=recipe,
        architecture=sources[0].architecture,
        sources=tuple(sources),
        jobs=tuple(jobs),
        rows=maker.rows,
        unet_sources=unet_sources,
        title_claims=claims,
        on_nan=on_nan,
        sidecar=sidecar,
        warnings=(*warnings_of(recipe, library, maker), *contradictions),
        notes=(*recipe.notes, *maker.notes(), *notes_of(maker, jobs, sidecar), *passed_over),
    )
    if plan.is_folder:  # what cannot be one is refused here
        folder_parts(plan.architecture, plan.sources, plan.jobs)
    return plan.with_terms(hashes_for_ledger(sources))
