"""Are a file's tensors what its header's recipe makes of the recorded sources? The merge is run again and compared."""

from __future__ import annotations

import bisect
import itertools
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .checkpoint import open_checkpoint
from .dtypes import BY_TAG
from .errors import CheckpointError, Interrupted, MergeError, RecipeError
from .fileio import SourceFile
from .header import TensorInfo, quoted
from .notations import read_recipe
from .plan import MATHS, Plan, make_plan
from .provenance import Record, read_record
from .recorded_library import RecordedLibrary
from .safetensors_header import read_safetensors
from .stream import stream

_LONGEST_RECIPE, _LONGEST_SENTENCE = 1 << 20, 600
SAME, DIFFERS, UNKNOWN = "same", "differs", "unknown"
_MOST_LACKING, _MOST_STRANGE = 20, 1000
"""Sources that are not at hand, and files of a folder that no merge has made, which are named one by one."""
_SMALL = (".json", ".txt", ".md", ".yaml", ".yml", ".png", ".jpg", ".jpeg", ".webp")
"""Files beside a folder's weights that hold none."""


@dataclass
class Verification:
    """What was found out.

    Attributes:
        verdict: SAME, DIFFERS or UNKNOWN.
        tensors: how many the recipe makes.
        differing: key to how many of its elements are others.
        other_form: keys whose dtype or shape is another.
        missing, extra: keys that only the recipe, and only the file has; of a folder also files with what no merge has made.
        lacking: recorded sources that are not at hand.
        says: what cannot be known, and what was taken for granted; sentences.
    """

    verdict: str = UNKNOWN
    tensors: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    other_form: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, object]:
        """The facts under the names of `verify --json`."""
        return dict(vars(self))

    @property
    def wrong(self) -> int:
        """How many tensors are not what the recipe says."""
        return len(self.differing) + len(self.other_form) + len(self.missing) + len(self.extra)


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
    _compare(path, plan, threads, should_stop, found)
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
    plan = make_plan(read_recipe(record.recipe), library)
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


def _compare(path: Path, plan: Plan, threads: int, should_stop: Callable[[], bool], found: Verification) -> None:
    parts = plan.files({})
    for name, (part, header) in parts.items():
        file_path = path / name if name else path
        prefix = f"{name}: " if len(parts) > 1 else ""
        if not file_path.is_file():
            raise CheckpointError(f"'{file_path}' is missing, which the recipe makes.")
        with SourceFile(file_path) as file:
            stored = read_safetensors(file)
            target = _Comparison(file, header, stored.tensors, prefix, found)
            stream(part, header, target, threads=threads, should_stop=should_stop)
            file.check_unchanged(stored.size_bytes, stored.mtime_ns)
    if path.is_dir():
        found.extra += itertools.islice(_strange_files(path, parts), _MOST_STRANGE)
    found.differing = dict(sorted(found.differing.items()))


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


class _Comparison:
    """Stands where the pass would write: what comes is compared with what the file has."""

    def __init__(self, file: SourceFile, header: bytes, stored: Mapping[str, TensorInfo], prefix: str, found: Verification):
        self.file, self.prefix, self.found = file, prefix, found
        self._start, self._lock = len(header), threading.Lock()
        entries = json.loads(header[8:])
        entries.pop("__metadata__", None)
        made = sorted(
            (entry["data_offsets"], key) for key, entry in entries.items() if entry["data_offsets"][0] < entry["data_offsets"][1]
        )
        self._ends = [end for (_, end), _ in made]
        self._made = [(begin, key, stored.get(key)) for (begin, _), key in made]
        found.tensors += len(entries)
        for key, entry in entries.items():
            info = stored.get(key)
            if info is None:
                found.missing.append(prefix + key)
            elif (info.dtype, info.shape) != (BY_TAG[entry["dtype"]], tuple(entry["shape"])):
                found.other_form.append(prefix + key)
        found.extra += [prefix + key for key in stored if key not in entries]
        wrong = {*found.missing, *found.other_form}
        self._made = [(begin, key, None if prefix + key in wrong else info) for begin, key, info in self._made]

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Compare what would be written at `offset`; the header is known to differ where the metadata do."""
        if offset < self._start:
            return
        begin, view = offset - self._start, memoryview(data)
        end = begin + len(view)
        index = bisect.bisect_right(self._ends, begin)
        while index < len(self._made) and self._made[index][0] < end:
            first, key, info = self._made[index]
            low, high = max(begin, first), min(end, self._ends[index])
            if info is not None:
                self._compare(key, info, low - first, view[low - begin : high - begin])
            index += 1

    def _compare(self, key: str, info: TensorInfo, place: int, wanted: memoryview) -> None:
        there = self.file.read(info.offset + place, len(wanted))
        if there == wanted:
            return
        size = info.dtype.size_bytes
        rows = [np.frombuffer(each, np.uint8).reshape(-1, size) for each in (there, wanted)]
        count = int((rows[0] != rows[1]).any(axis=1).sum())
        with self._lock:
            differing = self.found.differing
            differing[self.prefix + key] = differing.get(self.prefix + key, 0) + count
