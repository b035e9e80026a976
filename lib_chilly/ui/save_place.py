"""Where a saved file goes: into the output folder, or into folders below it that its name says, made when writing begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..diffusers_folder import is_diffusers_folder
from ..errors import MergeError, OutputError
from ..recipe_queue import SUFFIX
from .save_names import fault_of, folded, names_in


def fault_of_folders(output: Path, names: str) -> str | None:
    """Why the folders before a name cannot be used, in a sentence; None where they can, or are not there yet.

    Args:
        output: the folder that nothing is written out of.
        names: folders and a name, parted by slashes, with nothing in them that `fault_of` finds.
    """
    place = output
    for name in names.split("/")[:-1]:
        above, place = place, place / name
        said = place.relative_to(output).as_posix()
        if not os.path.lexists(place):
            is_twin = folded(name) in names_in(above, stems=False)
            return f"There is a folder like {said} in other letters. Write it as it is written there." if is_twin else None
        if not place.is_dir():
            return f"{said} is no folder. Choose another."
        if not place.resolve().is_relative_to(output.resolve()):
            return f"{said} is a link that leads out of the output folder. Choose another."
        if is_diffusers_folder(place):
            return f"{said} is a model by itself, so no other can be saved in it. Choose another."
    return None


@contextmanager
def folders_for(path: Path, output: Path) -> Iterator[None]:
    """Make the folders of a file; those below `output` that were not there go again where the file does not come to be.

    Raises:
        OutputError: one cannot be made.
    """
    new = [folder for folder in path.parents if output in folder.parents and not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder '{path.parent}' cannot be made: {error.strerror}.") from None
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):  # somebody has put something into it meanwhile
                folder.rmdir()
        raise


def saved_file(output: Path, name: str) -> Path:
    """The file, or the diffusers folder, that was saved under a name.

    Raises:
        MergeError: no file can have this name, or there is none.
    """
    if fault := fault_of(name) or fault_of_folders(output, name):
        raise MergeError(fault)
    if is_diffusers_folder(output / name):
        return output / name
    if not (path := output / f"{name}{SUFFIX}").is_file():
        raise MergeError(f"there is no {name}{SUFFIX} in the folder any more.")
    return path
