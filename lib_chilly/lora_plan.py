"""A recipe whose result is a LoRA -> its plan: the delta's, and the layers that the file has modules for. Reads no tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .dtypes import BY_NAME, DType
from .errors import ArchitectureError, RecipeError
from .extraction import Ranks, ranks_of
from .header import counted
from .jobs import JobMaker
from .key_job import KeyJob
from .lora_keys import ARCHITECTURES, Place, kohya_layers
from .lora_source import LoraTensor, open_files
from .models import ModelLibrary
from .output_dtypes import is_matrix
from .plan import Plan, make_plan
from .plan_options import effective, typed
from .plan_words import notes_of, warnings_of
from .recipe import SAVE_OPTIONS, Line, Recipe
from .recipe_check import Checker
from .sources import Source, check_predictions, title_hashes
from .writer import build_header

_DTYPES = ("fp16", "bf16", "fp32")
_OPTIONS = ("dtype", "title", "step")
"""Save options that say something of a LoRA."""
_WHOLE_COPIES = 5
"""Of a matrix in float64, which a whole decomposition needs at once; a sketch needs one."""
_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0", "flux": "flux1"}
"""Architecture to what kohya's scripts call it."""


@dataclass(frozen=True)
class LoraPlan(Plan):
    """A plan whose output is a LoRA; its jobs are of the delta, in float32.

    Attributes:
        ranks: how many are kept.
        layers: key of a weight to the layers that it is in the output.
        written: layer to its rank in a file that is there; None where there is none yet.
    """

    ranks: Ranks = field(default_factory=Ranks)
    layers: Mapping[str, Sequence[tuple[str, Place]]] = field(default_factory=dict)
    written: Mapping[str, int] | None = None

    @property
    def dtype(self) -> DType:
        """Of the output."""
        return BY_NAME[self.recipe.option("dtype") or "fp16"]

    @property
    def reproducible(self) -> str:
        return super().reproducible if self.ranks.is_exact else "tolerance"

    @property
    def writes_bytes(self) -> int:
        """The most that can be: layers that do not change, and ranks that a share does not need, are left out."""
        return len(self.header({})) + self._most_bytes()

    def files(self, hashes: Mapping[int, str]) -> dict[str, tuple[Plan, bytes]]:
        return {"": (self, self.header(hashes))}

    def header(self, hashes: Mapping[int, str]) -> bytes:
        """The header of the file that is there, else of the largest that this can come to."""
        ranks = {name: self.most(job, place) for job, name, place in self.modules()} if self.written is None else self.written
        return self.header_of(ranks, hashes)

    def header_of(self, found: Mapping[str, int], hashes: Mapping[int, str]) -> bytes:
        """The output's header.

        Args:
            found: layer to its rank.
            hashes: as of `Plan.header`.
        """
        sizes = found.values()
        said = {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(max(sizes)) if min(sizes) == max(sizes) else "Dynamic",
            "ss_network_alpha": str(max(sizes)) if min(sizes) == max(sizes) else "Dynamic",
            "ss_base_model_version": _VERSIONS[self.architecture.name],
            "ss_v2": str(self.architecture.name == "sd2"),
        }
        metadata = self.metadata(hashes)
        if "modelspec.architecture" in metadata:
            metadata["modelspec.architecture"] += "/lora"
        return build_header(self._entries(found), metadata | said)

    @property
    def file_bytes(self) -> int:
        return self._most_bytes()

    def modules(self) -> Iterator[tuple[KeyJob, str, Place]]:
        """The weights, and the layers that they are, in the order of the output."""
        jobs = {job.key: job for job in self.jobs}
        found = [(jobs[key], name, place) for key, layers in self.layers.items() for name, place in layers]
        return iter(sorted(found, key=lambda module: module[1]))

    def most(self, job: KeyJob, place: Place) -> int:
        """The largest rank that a layer can have."""
        if not self.ranks.is_exact:
            return self.ranks.most(*place.size_in(job.shape))
        return sum(module.rank or 0 for number, _ in job.terms for module in modules_at(self.sources[number], job.key, place))

    def held_bytes(self, threads: int) -> int:
        """The factors, and the file's bytes of a module; what is gathered of a weight, and what decomposes it."""
        needed = sorted((self._held_for(job) for job in self.jobs if job.key in self.layers), reverse=True)
        return self._most_bytes() + (0 if self.ranks.is_exact else sum(needed[:threads]))

    def _held_for(self, job: KeyJob) -> int:
        """What is gathered of a weight, and what decomposes its layers, one after the other."""
        sizes = [place.size_in(job.shape) for _, place in self.layers[job.key]]
        copies = [rows * columns * (1 if self.ranks.is_sketched(rows, columns) else _WHOLE_COPIES) for rows, columns in sizes]
        return 4 * job.elements + 8 * max(copies)

    def _most_bytes(self) -> int:
        return sum(self.dtype.size_bytes * (sum(map(math.prod, shapes)) + 1) for _, shapes in self._shapes())

    def _shapes(self) -> Iterator[tuple[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
        for job, name, place in self.modules():
            if rank := self.most(job, place) if self.written is None else self.written.get(name, 0):
                yield name, module_shapes(job.shape, place, rank)

    def _entries(self, found: Mapping[str, int]) -> Iterator[tuple[str, DType, tuple[int, ...]]]:
        for job, name, place in self.modules():
            if rank := found.get(name):
                down, up = module_shapes(job.shape, place, rank)
                yield f"{name}.alpha", self.dtype, ()
                yield f"{name}.lora_down.weight", self.dtype, down
                yield f"{name}.lora_up.weight", self.dtype, up


def module_shapes(shape: Sequence[int], place: Place, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a module's down and up for a weight."""
    window = tuple(shape[2:])
    return (rank, place.as_layer(shape)[1], *window), (place.size_in(shape)[0], rank, *(1 for _ in window))


def modules_at(source: Source, key: str, place: Place) -> list:
    """What a LoRA has for one layer of a weight."""
    assert source.lora is not None
    return [module for module in source.lora.modules.get(key, ()) if module.place == place]


def plan_output(recipe: Recipe, library: ModelLibrary, **options: str | None) -> Plan:
    """The plan of a model or of a LoRA, whichever the result is; all as of `make_plan`."""
    chosen = effective(recipe.with_options(**typed(options)))
    return _plan_lora(chosen, library) if chosen.extraction else make_plan(recipe, library, **options)


def _plan_lora(recipe: Recipe, library: ModelLibrary) -> LoraPlan:
    _refuse_options(recipe)
    delta = _delta_of(recipe)
    sources, number_of = open_files(delta, library)
    architecture = sources[0].architecture
    if architecture.name not in ARCHITECTURES:
        raise ArchitectureError(f"a LoRA for {architecture.title} cannot be written; for SD 1.x, SD 2.x, SDXL and Flux.1 it can.")
    maker = JobMaker(delta, sources, number_of)
    jobs = [job for job in maker.make() if not job.is_copied and job.reads()]
    unet_sources = tuple(sources[number] for number in sorted(maker.unet_sources(jobs)))
    said = check_predictions(unet_sources, architecture, {job.key for job in jobs}, None)
    layers = kohya_layers(architecture.name)
    call = recipe.extraction
    assert call is not None
    plan = LoraPlan(
        recipe=recipe,
        architecture=architecture,
        sources=tuple(sources),
        jobs=tuple(jobs),
        rows=maker.rows,
        unet_sources=unet_sources,
        title_claims={number: claim for number, (claim, _) in title_hashes(delta, number_of).items()},
        on_nan=None,
        sidecar=None,
        warnings=(*warnings_of(delta, library, maker), *said),
        notes=(*recipe.notes, *maker.notes(), *notes_of(maker, jobs, None)),
        ranks=ranks_of(call, Checker.of(recipe)),
        layers={job.key: layers[job.key] for job in jobs if _is_layer(job) and job.key in layers},
    )
    if plan.ranks.is_exact:
        _check_exact(plan)
    if not any(True for _ in plan._shapes()):
        raise RecipeError("nothing that is extracted here is a layer's weight: a LoRA would be empty.")
    return replace(plan, notes=(*plan.notes, _in_words(plan)))


def _is_layer(job: KeyJob) -> bool:
    """Whether a weight multiplies what comes in, as modules do."""
    return is_matrix(job.key, job.shape) or job.key.endswith(".text_projection")


def _delta_of(recipe: Recipe) -> Recipe:
    """The recipe of what is extracted, in float32 as summed in float64."""
    call = recipe.extraction
    assert call is not None
    lines = tuple(
        Line(line.name, call.operands[0], False, line.position) if line.name == recipe.result else line for line in recipe.lines
    )
    plain = dict.fromkeys(SAVE_OPTIONS) | {"dtype": "fp32", "step": recipe.option("step")}
    return replace(recipe, lines=lines).with_options(**plain)


def _refuse_options(recipe: Recipe) -> None:
    for name, value in recipe.save:
        if name not in _OPTIONS:
            raise RecipeError(f"the option '{name}' says nothing of a LoRA, which the result is. Leave it out.")
        if name == "dtype" and value not in _DTYPES:
            raise RecipeError(f"a LoRA is written in {', '.join(_DTYPES)}; here dtype is '{value}'.")


def _check_exact(plan: LoraPlan) -> None:
    """RecipeError where putting LoRAs side by side is not all of the delta."""
    hint = "Say how many ranks are kept: rank=32, ratio=0.9 or quantile=0.9."
    for job in plan.jobs:
        for number in job.reads():
            source, info = plan.sources[number], plan.sources[number].tensors[job.key]
            if not isinstance(info, LoraTensor) or job.nodes:
                raise RecipeError(f"extract without rank puts LoRAs together; '{source.name}' is a model. {hint}")
            places = [place for _, place in plan.layers.get(job.key, ())]
            if any(module.kind != "lora" or "mid" in module.keys or module.place not in places for module in info.modules):
                raise RecipeError(
                    f"extract without rank joins plain LoRAs; what '{source.name}' has for '{job.key}' is another kind. {hint}"
                )


def _in_words(plan: LoraPlan) -> str:
    ranks, count = plan.ranks, sum(1 for _ in plan._shapes())
    if ranks.is_exact:
        return (
            f"the LoRA has modules for {counted(count, 'layer')}: the factors of its LoRAs side by side, nothing is decomposed."
        )
    kept = f"of rank {ranks.rank}" if ranks.rank else "of as many ranks as they need"
    if ranks.ratio or ranks.quantile:
        what = f"{ranks.ratio:.3%} of the squared" if ranks.ratio else f"{ranks.quantile:.3%} of the sum of the"
        kept += f"{' at most' if ranks.rank else ''}, for {what} singular values of each"
    others = len(plan.jobs) - len(plan.layers)
    lost = (
        f" {counted(others, 'tensor')} that no LoRA has modules for (norms, biases, the VAE) are looked at, not kept."
        if others
        else ""
    )
    return (
        f"the LoRA has modules for up to {counted(count, 'layer')}, {kept}; the bytes to write are the most it can come to.{lost}"
    )
