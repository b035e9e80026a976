"""One merge from plan to report: target checked, sources hashed, one pass, rename. What the command line and the page call."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoint import open_checkpoint
from .diffusers_folder import is_replaceable
from .errors import CheckpointError, Interrupted, OutputError, RecipeError
from .fileio import SourceFile
from .hashes import hash_checkpoints, known_hashes
from .lora_plan import LoraPlan
from .models import SUFFIXES
from .permissions import is_there_a_ledger
from .plan import Plan
from .report import Report, forget_peak_rss, make_report
from .sidecar import Sidecar, sidecar_target
from .writer import CheckpointWriter, check_space, check_target, remove_abandoned

if TYPE_CHECKING:
    import torch

    from .diffusers_output import Run
    from .stream import StreamResult

Progress = Callable[[str, int], None]
"""(what is being done: "hash", "measure" or "merge", bytes finished since the last call); called from any thread."""


def merge(
    plan: Plan,
    output: Path,
    *,
    overwrite: bool = False,
    threads: int = 1,
    use_mmap: bool = False,
    source_hashes: bool = True,
    want_data_hash: bool = False,
    on_progress: Progress = lambda what, count: None,
    on_warnings: Callable[[Sequence[str]], None] = lambda said: None,
    should_stop: Callable[[], bool] = lambda: False,
    planning_seconds: float = 0.0,
    device: torch.device | None = None,
) -> Report:
    """Carry out a plan.

    Args:
        output: the file or the folder to make; symlinks are followed.
        overwrite: whether it may exist. A source may be overwritten safely.
        threads: workers, 1 or more; the result does not depend on it.
        use_mmap: see `stream.stream`.
        source_hashes: put the sources' sha256 into the header; False leaves out all of them.
        want_data_hash: report the sha256 of the data section too.
        on_warnings: told, before anything is written, what the plan could not say yet, as its sources were never hashed.
        planning_seconds: what making the plan took, so that the report counts it.
        device: where costly calls that do not fold are computed, as `placement.usable_device` gives it; None for the processor.

    Raises:
        MergeError: nothing was written, and what stood there is as it was.
    """
    from .stream import stream  # imports torch

    started = time.perf_counter()
    forget_peak_rss()
    target, sidecar = check_output(plan, output, overwrite)
    remove_abandoned(target.parent)
    check_space(target, plan.writes_bytes)
    hashes = _hashes_needed(plan, source_hashes, threads, on_progress, should_stop)
    plan = _known_by(plan, hashes, on_warnings)
    run = functools.partial(
        stream,
        threads=threads,
        use_mmap=use_mmap,
        want_data_hash=want_data_hash,
        on_bytes=lambda count: on_progress("merge", count),
        on_measured=lambda count: on_progress("measure", count),
        should_stop=should_stop,
        device=device,
    )
    with _companion(plan.sidecar, sidecar, overwrite) as commit_companion:
        streamed, size, notes = _writer_of(plan)(plan, dict(enumerate(hashes)) if source_hashes else {}, target, overwrite, run)
        commit_companion()
    removed = [f"'{sidecar.name}', which lay beside the output, is removed."] if sidecar and not plan.sidecar else []
    plan = dataclasses.replace(plan, notes=(*plan.notes, *notes, *removed))
    return make_report(plan, output, streamed, planning_seconds + time.perf_counter() - started, size)


def _known_by(plan: Plan, hashes: Sequence[str], on_warnings: Callable[[Sequence[str]], None]) -> Plan:
    """The plan with what its sources' hashes tell: that titles mean other files, what the ledger says of them."""
    _check_titles(plan, hashes)
    found = plan.with_terms(hashes) if hashes else plan
    if said := [words for words in found.warnings if words not in plan.warnings]:
        on_warnings(said)
    return found


def check_output(plan: Plan, output: Path, overwrite: bool) -> tuple[Path, Path | None]:
    """The file or folder that will be written, and the .yaml beside it; None where there is none to write or to remove.

    Raises:
        OutputError: it cannot be written, or its name would mislead other programs.
    """
    if output.name.lower() in SUFFIXES:
        raise OutputError(
            f"'{output.name}' is no name for an output, only a suffix, and would be hidden. Name it 'NAME{output.name}'."
        )
    suffix = output.suffix.lower()
    if plan.is_folder:  # the scheduler's config says there what a .yaml would
        if suffix in SUFFIXES:
            raise OutputError(f"the output is a diffusers folder; name it '{output.with_suffix('')}', not '{output.name}'.")
        return check_target(output, overwrite, is_replaceable), None
    if suffix in (".ckpt", ".pt", ".pth", ".bin", ".yaml"):  # they would take it for a pickle, or a config
        raise OutputError(
            f"the output is a safetensors file; name it '{output.with_suffix('.safetensors')}', not '{output.name}'."
        )
    return check_target(output, overwrite), sidecar_target(plan.sidecar, output, overwrite)


def _writer_of(plan: Plan) -> Callable[[Plan, Mapping[int, str], Path, bool, Run], tuple[StreamResult, int, list[str]]]:
    """What carries out a plan into its output."""
    from .diffusers_output import write_folder
    from .lora_output import write_lora

    return write_lora if isinstance(plan, LoraPlan) else write_folder if plan.is_folder else _write_file


def _write_file(
    plan: Plan, hashes: Mapping[int, str], target: Path, overwrite: bool, run: Run
) -> tuple[StreamResult, int, list[str]]:
    header = plan.header(hashes)
    size = len(header) + plan.data_bytes
    with CheckpointWriter(target, size, overwrite) as writer:
        streamed = run(plan, header, writer)
        writer.commit()
    return streamed, size, []


@contextmanager
def _companion(sidecar: Sidecar | None, target: Path | None, overwrite: bool) -> Iterator[Callable[[], None]]:
    """The config under a temporary name; what is yielded gives it its own, once the checkpoint has its.

    Where there is none to write, that removes another model's from `target`.
    """
    if target is None or sidecar is None:
        yield lambda: _remove_config(target)
        return
    with CheckpointWriter(target, len(sidecar.content), overwrite) as writer:
        writer.write_at(sidecar.content, 0)
        yield writer.commit


def _remove_config(target: Path | None) -> None:
    try:
        if target:
            target.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"the merge is written, but '{target}', another model's config, cannot be removed: {error.strerror}. Delete it."
        ) from None


def is_finished(
    plan: Plan, output: Path, source_hashes: bool, threads: int = 1, should_stop: Callable[[], bool] = lambda: False
) -> bool:
    """Whether `output` is there already: its headers are, to the byte, those that this plan would write, and nothing is missing.

    They hold recipe, options and sources, and an output gets its name only when it is whole; its tensors are not read.
    """
    if isinstance(plan, LoraPlan):
        plan = _as_written(plan, output)
    found = {output / name: part.file_bytes for name, (part, _) in plan.files({}).items()}
    if not all(path.is_file() and path.stat().st_size >= size for path, size in found.items()):
        return False  # before any source is read for its hash
    hashes = _hashes_needed(plan, source_hashes, threads, lambda what, count: None, should_stop)
    plan = plan.with_terms(hashes) if hashes else plan
    files = plan.files(dict(enumerate(hashes)) if source_hashes else {})
    return all(_is_whole(output / name, header, part.file_bytes) for name, (part, header) in files.items())


def _as_written(plan: LoraPlan, output: Path) -> LoraPlan:
    """The plan with the ranks of the file that is there, which only its values tell; as it is where that is no LoRA."""
    try:
        tensors, tail = open_checkpoint(output).tensors, ".lora_down.weight"
    except CheckpointError:
        return plan
    ranks = {key.removesuffix(tail): info.shape[0] for key, info in tensors.items() if key.endswith(tail) and info.shape}
    return dataclasses.replace(plan, written=ranks) if ranks else plan


def _is_whole(path: Path, header: bytes, data_bytes: int) -> bool:
    if path.stat().st_size != len(header) + data_bytes:
        return False
    with SourceFile(path) as file:
        return file.read(0, len(header)) == header


def _hashes_needed(
    plan: Plan, source_hashes: bool, threads: int, on_progress: Progress, should_stop: Callable[[], bool]
) -> Sequence[str]:
    """The sources' hashes where the header, a title or the ledger asks for them: what stands in a header must not hang on whether
    they happen to be remembered."""
    if not (source_hashes or plan.title_claims or is_there_a_ledger()):
        return []

    def on_bytes(count: int) -> None:
        if should_stop():
            raise Interrupted("stopped. Nothing was left behind.")
        on_progress("hash", count)

    return hash_checkpoints([source.checkpoint for source in plan.sources], threads, on_bytes)


def check_known_titles(plan: Plan) -> list[str]:
    """Sentences on the hashes of webui titles that are checked only while merging, as their files were never hashed.

    Raises:
        RecipeError: a hash is known, and not the one that the title claims.
    """
    if not plan.title_claims:
        return []
    hashes = known_hashes([source.checkpoint for source in plan.sources])
    _check_titles(plan, hashes)
    unknown = [plan.sources[number].name for number in plan.title_claims if hashes[number] is None]
    return [f"the hash of '{name}' is not known yet: it is checked while merging." for name in unknown]


def _check_titles(plan: Plan, hashes: Sequence[str | None]) -> None:
    """A webui title names a hash; it must be the file's, where that is known."""
    for number, claimed in plan.title_claims.items():
        found = hashes[number]
        if found is not None and not found.startswith(claimed):
            raise RecipeError(
                f"'{plan.sources[number].checkpoint.path.name}' has the hash {found[:10]}, the recipe says {claimed}: "
                "it is another file than the recipe means. Use that one, or take the hash out of the recipe."
            )
