"""The very files that a merged file was made from: found by name and, where a name is gone or means another file, by sha256."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from .checkpoint import open_checkpoint
from .errors import CheckpointError, RecipeError
from .hashes import hash_checkpoints
from .models import ModelLibrary, last_part, split_title, without_suffix
from .provenance import Record, RecordedSource


class RecordedLibrary(ModelLibrary):
    """The checkpoints below some folders, of which those that a record names must be the recorded ones.

    Args:
        folders: as of any library.
        record: of a merged file.
        accept_others: take the file of the right name even if it is another one than was recorded.
        on_bytes: told how many more bytes were read for a hash; what it raises stops the search.

    Attributes:
        notes: sentences on what was found under another name, or is another file than was recorded.
    """

    def __init__(
        self, folders: Sequence[Path], record: Record, accept_others: bool = False, on_bytes: Callable[[int], None] | None = None
    ):
        super().__init__(folders)
        self.record, self.accept_others = record, accept_others
        self.notes: list[str] = []
        self._on_bytes = on_bytes
        self._found: dict[RecordedSource, Path] = {}
        names = [source.name for source in record.sources]
        if twin := next((name for name in names if names.count(name) > 1), None):
            raise RecipeError(f"two of the recorded sources are called '{twin}'; run the recipe itself to say which is which.")

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
            for path in self._paths:
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
            if path.is_file() and path.stat().st_size != source.size_bytes:
                return False
            checkpoint = open_checkpoint(path)
            if checkpoint.size_bytes != source.size_bytes:
                return False
            return source.sha256 is None or hash_checkpoints([checkpoint], 1, self._on_bytes) == [source.sha256]
        except (OSError, CheckpointError):  # whatever it is, it was no source
            return False

    def _refusal(self, source: RecordedSource, named: Sequence[Path]) -> str:
        wanted = f"sha256 {source.sha256}" if source.sha256 else f"{source.size_bytes:,} bytes"
        where = ", ".join(f"'{folder}'" for folder in self.folders)
        if named:
            return (
                f"'{named[0]}' is another '{source.name}' than the recorded one, which has {wanted}. Put that one into one of "
                f"{where}, or pass --accept-other-sources to merge what is there."
            )
        return f"there is no '{source.name}' in {where}, and no other file with {wanted}. Name its folder with --models DIR."

    @cached_property
    def _paths(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self.files)
