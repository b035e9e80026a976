"""The command verify: is a file what its header says?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

from .console import show, stop_flag
from .errors import CheckpointError
from .header import counted, quoted
from .models import default_folders
from .report import default_threads

_MOST_SHOWN = 20


def _some(lines: Iterable[str]) -> list[str]:
    """The first lines, and how many more there are."""
    found = list(lines)
    more = len(found) - _MOST_SHOWN
    return found[:_MOST_SHOWN] + ([f"and {more:,} more."] if more > 0 else [])


def run_verify(options: argparse.Namespace) -> None:
    """Run again what made a file, compare, and say so; CheckpointError where it is not, or cannot be, confirmed."""
    from .verification import verify  # imports torch
    from .verified_tensors import DIFFERS, SAME, UNKNOWN, Verification

    def lines(found: Verification) -> list[str]:
        said = [f"note: {words}" for words in found.says if found.verdict != UNKNOWN]
        for what, keys in (
            ("is not made by the recipe", found.extra),
            ("is missing", found.missing),
            ("has another dtype or shape", found.other_form),
        ):
            said += _some(f"{quoted(key)} {what}." for key in keys)
        said += _some(f"{quoted(key)} differs in {counted(count, 'element')}." for key, count in found.differing.items())
        if found.verdict == SAME:
            said.append(f"{quoted(options.file.name)}: all of its {found.tensors:,} tensors are what its recipe makes.")
        return said

    with stop_flag() as should_stop:
        found = verify(options.file, options.models or default_folders(), default_threads(), should_stop, options.loras)
    if options.json:
        print(json.dumps({"file": str(options.file), **found.facts()}))
    elif said := lines(found):
        show(said)
    if found.verdict == DIFFERS:
        raise CheckpointError(
            f"{quoted(options.file.name)} is not what its header says: {counted(found.wrong, 'tensor')} of "
            f"{found.tensors:,} that the recipe makes, or beside them, are others."
        )
    if found.verdict != SAME:
        raise CheckpointError(f"{quoted(options.file.name)} cannot be verified: {' '.join(found.says)}")
