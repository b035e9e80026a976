"""What a merge that is run again finds in the file that it is compared with, tensor by tensor."""

from __future__ import annotations

import bisect
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .dtypes import BY_TAG
from .fileio import SourceFile
from .header import TensorInfo

SAME, DIFFERS, UNKNOWN = "same", "differs", "unknown"


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


class Comparison:
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
