"""Are a file's tensors what its header's recipe makes of the recorded sources? The merge is run again and compared."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from .checkpoint import open_checkpoint
from .diffusers_output import Run
from .errors import CheckpointError, Interrupted, MergeError, RecipeError
from .fileio import SourceFile
from .header import counted, quoted
from .lora_output import is_as_good, make_factors, put_factors
from .lora_plan import LoraPlan, plan_output
from .notations import read_recipe
from .plan import MATHS, Plan
from .provenance import Record, read_record
from .recorded_library import RecordedLibrary
from .safetensors_header import read_safetensors
from .stream import stream
from .verified_tensors import DIFFERS, SAME, UNKNOWN, Comparison, Verification

_LONGEST_RECIPE, _LONGEST_SENTENCE = 1 << 20, 600
_MOST_LACKING, _MOST_STRANGE = 20, 1000
"""Sources that are not at hand, and files of a folder that no merge has made, which are named one by one."""
_SMALL = (".json", ".txt", ".md", ".yaml", ".yml", ".png", ".jpg", ".jpeg", ".webp")
"""Files beside a folder's weights that hold none."""


def verify(
    path: Path,
    folders: Sequence[Path],
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    loras: Sequence[Path] | None = None,
) -> Verification:
    """Run again what made a file, and compare every byte of its tensors.

    Args:
        folders: where the sources lie; they are found by name or sha256.
        loras: where LoRAs lie; None for the usual folders beside them.

    Raises:
        CheckpointError: the file or a source cannot be read.
        Interrupted: `should_stop` said so.
    """
    found = Verification()
    metadata = open_checkpoint(path).metadata
    try:
        record = read_record(metadata, path.name)
        if record is None:
            found.says.append("its header does not say how it was made, or another merger has made it: nothing can be run again.")
            return found
        library = RecordedLibrary(folders, record, should_stop=should_stop, loras=loras)
        plan = _planned(path, record, library, found, should_stop)
    except Interrupted:
        raise
    except MergeError as error:
        found.says.append(_sentence(error))
        return found
    if plan is None:
        return found
    granted = _granted(plan, record, library)
    found.says += [*granted, *library.notes]
    run = functools.partial(stream, threads=threads, should_stop=should_stop)
    try:
        (_compare_lora if isinstance(plan, LoraPlan) else _compare)(path, plan, run, found)
    except RecipeError as error:  # nothing is left to be extracted
        found.says.append(_sentence(error))
        return found
    found.verdict = SAME if not found.wrong else UNKNOWN if granted else DIFFERS
    if found.verdict == UNKNOWN:
        found.says.append("its tensors are not what comes of that: either it is not what its header says, or that was another.")
    return found


def _planned(
    path: Path, record: Record, library: RecordedLibrary, found: Verification, should_stop: Callable[[], bool]
) -> Plan | None:
    """The plan of the recorded recipe; None where not all of its sources are at hand, which `found` then says."""
    if len(record.recipe) > _LONGEST_RECIPE:
        raise RecipeError(f"its recipe has {len(record.recipe):,} characters; {_LONGEST_RECIPE:,} at most are run again.")
    for source in record.sources:
        if should_stop():
            raise Interrupted("stopped. Nothing was found out.")
        try:
            (library.loras if source.is_lora else library).find(source.name)
        except RecipeError as error:
            found.lacking.append(_short(source.name))
            found.says += [_sentence(error)] * (len(found.lacking) <= _MOST_LACKING)
    if (more := len(found.lacking) - _MOST_LACKING) > 0:
        found.says.append(f"{more} more of its sources are not at hand.")
    if found.lacking:
        return None
    plan = plan_output(read_recipe(record.recipe), library)
    own = [stored.path for stored in open_checkpoint(path).files]
    for taken in plan.sources:
        if any(stored.path.samefile(each) for stored in taken.checkpoint.files for each in own):
            found.says.append(f"{quoted(taken.name)} is the file itself, which proves nothing.")
            return None
    return plan


def _granted(plan: Plan, record: Record, library: RecordedLibrary) -> list[str]:
    """What has to be taken for granted; where it is wrong, an honest file's tensors are others."""
    found = [
        f"{quoted(taken.name)} of the recipe was not recorded: the file of that name was taken."
        for taken in plan.sources
        if (library.loras if taken.lora else library).recorded(taken.name) is None
    ]
    if not all(source.sha256 for source in record.sources):
        found.append("its sources were recorded without hashes: files of the right names and sizes were taken.")
    if record.maths != MATHS:
        found.append(f"it was made with arithmetic {record.maths}, this is {MATHS}: its numbers may differ.")
    return found


def _sentence(error: MergeError) -> str:
    """Without the place in a recipe that nobody has typed; names out of a header may have any length."""
    return _short(error.message if isinstance(error, RecipeError) else str(error))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:_LONGEST_SENTENCE]}..."


def _compare(path: Path, plan: Plan, run: Run, found: Verification) -> None:
    parts = plan.files({})
    for name, (part, header) in parts.items():
        file_path = path / name if name else path
        prefix = f"{name}: " if len(parts) > 1 else ""
        if not file_path.is_file():
            raise CheckpointError(f"'{file_path}' is missing, which the recipe makes.")
        with SourceFile(file_path) as file:
            stored = read_safetensors(file)
            target = Comparison(file, header, stored.tensors, prefix, found)
            run(part, header, target)
            file.check_unchanged(stored.size_bytes, stored.mtime_ns)
    if path.is_dir():
        found.extra += itertools.islice(_strange_files(path, parts), _MOST_STRANGE)
    found.differing = dict(sorted(found.differing.items()))


def _compare_lora(path: Path, plan: Plan, run: Run, found: Verification) -> None:
    """The same of a LoRA; another processor's decomposition may have other last digits, which its products have not."""
    assert isinstance(plan, LoraPlan)
    made, result = make_factors(plan, run)
    header = plan.header_of({name: len(down) for name, (down, _) in made.pairs.items()}, {})
    with SourceFile(path) as file:
        stored = read_safetensors(file)
        put_factors(plan, made, header, Comparison(file, header, stored.tensors, "", found), result)
        layers = {key.partition(".")[0] for key in found.differing} if plan.reproducible != "bitwise" else set()
        alike = {name for name in layers if is_as_good(file, stored.tensors, name, made)}
        found.differing = {key: found.differing[key] for key in sorted(found.differing) if key.partition(".")[0] not in alike}
        file.check_unchanged(stored.size_bytes, stored.mtime_ns)
    if alike:
        found.says.append(f"the factors of {counted(len(alike), 'layer')} have other last digits; what they add is the same.")


def _strange_files(folder: Path, parts: Collection[str]) -> Iterator[str]:
    """Files below a model's folder, and folders elsewhere that it leads to, which programs may load beside the merge's own."""
    for parent, folders, names in os.walk(folder):
        at = Path(parent).relative_to(folder)
        for name in sorted(names):
            path = (at / name).as_posix()
            holds_none = name.startswith(".") or (name.endswith(_SMALL) and ".index." not in name)
            if path not in parts and not holds_none:
                yield path
        yield from ((at / name).as_posix() for name in sorted(folders) if (Path(parent) / name).is_symlink())
