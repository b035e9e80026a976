"""The very files that a merged file was made from: found by name and, where a name is gone or means another file, by sha256."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from .checkpoint import open_checkpoint
from .errors import CheckpointError, Interrupted, RecipeError
from .hashes import hash_checkpoints
from .models import ModelLibrary, last_part, split_title, without_suffix
from .provenance import Record, RecordedSource

_MOST_SOURCES = 512
"""Of a record: more than a merge could hold open, and few enough that a made-up list of them holds nobody up."""


class RecordedLibrary(ModelLibrary):
    """The checkpoints below some folders, of which those that a record names must be the recorded ones.

    Args:
        folders: as of any library.
        record: of a merged file.
        accept_others: take the file of the right name even if it is another one than was recorded.
        should_stop: asked while files are read for their hashes.
        advice: what to do about another file of the right name, beside putting the recorded one there.
        loras, what: as of any library.

    Attributes:
        notes: sentences on what was found under another name, or is another file than was recorded.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        record: Record,
        accept_others: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        advice: str = "",
        loras: Sequence[Path] | None = None,
        what: str = "model",
    ):
        super().__init__(folders, loras, what)
        own = tuple(source for source in record.sources if not source.is_lora)
        self.record, self.accept_others = replace(record, sources=own), accept_others
        self._recorded_loras = tuple(source for source in record.sources if source.is_lora)
        self.notes: list[str] = []
        self._should_stop, self._advice = should_stop, advice
        self._hashes: dict[Path, str | None] = {}
        self._found: dict[RecordedSource, Path] = {}
        if len(own) > _MOST_SOURCES:
            raise RecipeError(f"it names {len(own):,} sources; {_MOST_SOURCES} at most are looked for.")
        if twin := next((name for name, count in Counter(source.name for source in own).items() if count > 1), None):
            raise RecipeError(f"two of the recorded sources are called '{twin}'; run the recipe itself to say which is which.")

    @cached_property
    def loras(self) -> RecordedLibrary:
        """The recorded LoRAs, by the same rules."""
        record = replace(self.record, sources=tuple(replace(source, is_lora=False) for source in self._recorded_loras))
        # Behind the folders of LoRAs the models': a LoRA that lies there is one too.
        folders = (*self.lora_folders, *self.folders)
        found = RecordedLibrary(folders, record, self.accept_others, self._should_stop, self._advice, (), "LoRA")
        found.notes = self.notes
        return found

    def knows(self, name: str) -> bool:
        return self.recorded(name) is not None or super().knows(name)

    def find(self, name: str) -> Path:
        """The recorded file, for a name that the record has; else as in any library.

        Raises:
            RecipeError: it is not below the folders, or several files fit a name that was not recorded.
        """
        source = self.recorded(name)
        if source is None:
            return super().find(name)
        if source not in self._found:
            self._found[source] = self._search(source, split_title(name)[0])
        return self._found[source]

    def recorded(self, name: str) -> RecordedSource | None:
        """The record of a model however it is spelled: in full, else by the last part of its path where that is clear; with its
        suffix first, which may be all that tells it from another."""
        spellings = (split_title(name)[0], without_suffix(name))
        forms: tuple[Callable[[str], str], ...] = (str, last_part)
        for form, plain in itertools.product(forms, spellings):
            fitting = [source for source in self.record.sources if form(source.name) == form(plain)]
            if len(fitting) == 1:
                return fitting[0]
        return None

    def _search(self, source: RecordedSource, name: str) -> Path:
        named = self._matches(name)
        if fitting := next((path for path in named if self._is(path, source)), None):
            return fitting
        if source.sha256:
            for path in self._by_size.get(source.size_bytes, ()):
                if path not in named and self._is(path, source):
                    self.notes.append(f"'{source.name}' was found by its sha256 as '{path.name}'.")
                    return path
        if self.accept_others and named:
            self.notes.append(f"'{source.name}' is another file than the recorded one, so that the result may differ.")
            return super().find(name)
        raise RecipeError(self._refusal(source, named))

    def _is(self, path: Path, source: RecordedSource) -> bool:
        """Whether a file is the recorded one; without a recorded hash its size has to do."""
        try:
            if _size(path) != source.size_bytes:
                return False
            if source.sha256:
                return self._hash(path) == source.sha256
            return open_checkpoint(path).size_bytes == source.size_bytes
        except (OSError, CheckpointError):  # whatever it is, it was no source
            return False

    def _hash(self, path: Path) -> str | None:
        """sha256 of a model; None where it cannot be read. Found once, however many sources might be it."""
        if path not in self._hashes:
            self._hashes[path] = None
            (self._hashes[path],) = hash_checkpoints([open_checkpoint(path)], 1, lambda count: self._stop_if_asked())
        return self._hashes[path]

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Interrupted("stopped. Nothing was left behind.")

    def _refusal(self, source: RecordedSource, named: Sequence[Path]) -> str:
        wanted = f"sha256 {source.sha256}" if source.sha256 else f"{source.size_bytes:,} bytes"
        where = ", ".join(f"'{folder}'" for folder in self.folders)
        if named:
            return (
                f"'{named[0]}' is another '{source.name}' than the recorded one, which has {wanted}. Put that one into one of "
                f"{where}{self._advice}."
            )
        option = f"--{self._what.lower()}s"
        return f"there is no '{source.name}' in {where}, and no other file with {wanted}. Name its folder with {option} DIR."

    @cached_property
    def _by_size(self) -> Mapping[int, Sequence[Path]]:
        """Bytes to the models of that size."""
        found: dict[int, list[Path]] = {}
        for _, path in self.files:
            self._stop_if_asked()
            try:
                found.setdefault(_size(path), []).append(path)
            except (OSError, CheckpointError):
                continue
        return found


def _size(path: Path) -> int:
    """Bytes of a model as records have them: of a file's own, of a folder's weights."""
    return path.stat().st_size if path.is_file() else open_checkpoint(path).size_bytes
