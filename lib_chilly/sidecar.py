"""The .yaml beside a checkpoint, by which the webui knows how a model is built and sampled: which one goes beside the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import OutputError, RecipeError
from .expression import FileName
from .header import quoted
from .own_files import Config, config_beside
from .prediction import UNKNOWN, predicted_by
from .sources import Source, source_called

COPY, DROP = "copy", "drop"


@dataclass(frozen=True)
class Sidecar:
    """A source's .yaml, as it was when the merge was planned."""

    source: str
    path: Path
    content: bytes


def find_sidecar(
    choice: str | None, alike: Sequence[Source], sources: Sequence[Source], number_of: Mapping[FileName, int], meant: str | None
) -> tuple[Sidecar | None, list[str]]:
    """The .yaml that is copied, and sentences on those that cannot be.

    Args:
        choice: of the option `yaml`: a source's name; None or "copy" is the first of `alike` that has one, "drop" none.
        alike: sources that are sampled as the output is, the likeliest first.
        sources: of the recipe.
        number_of: name of a model as written to the number of its source.
        meant: what the recipe says that the output predicts; a .yaml that says otherwise is not copied.

    Raises:
        RecipeError: the named source does not exist, or has none that can be copied.
    """
    notes: list[str] = []
    if choice == DROP:
        return None, notes
    if choice in (None, COPY):
        for source in alike:
            found = _beside(source, meant)
            if found and not found.fault:
                return Sidecar(source.name, found.path, found.content), notes
            if found:
                notes.append(f"{quoted(found.path.name)}, which lies beside '{source.name}', is passed over: {found.fault}.")
        return None, notes
    number = source_called(choice, sources, number_of)
    if number is None:
        names = ", ".join(source.name for source in sources)
        raise RecipeError(f"save option 'yaml' is copy, drop or a model of this recipe ({names}); here it is '{choice}'.")
    named = sources[number]
    found = _beside(named, meant)
    if found is None or found.fault:
        expected = quoted(named.checkpoint.path.with_suffix(".yaml").name)
        why = f" beside '{named.name}' cannot be copied: {found.fault}" if found else f" is not beside '{named.name}'"
        raise RecipeError(f"save option 'yaml': {expected}{why}. Name another model.")
    return Sidecar(named.name, found.path, found.content), notes


def sidecar_target(sidecar: Sidecar | None, output: Path, overwrite: bool) -> Path | None:
    """Where the copy goes, or where nothing is copied, the file to remove; None where all is well as it is.

    Raises:
        OutputError: another file stands there and may not be overwritten.
    """
    target, found = output.with_suffix(".yaml"), config_beside(output)
    if sidecar is None:
        if found is None or target.is_dir():
            return None
        if not overwrite:
            raise OutputError(
                f"'{target}' exists, and other programs would take it for the config of the new model, which has none. "
                "Delete it, or pass --overwrite to have it removed."
            )
        return target
    if found and found.content == sidecar.content:
        return None
    if target.is_dir() or (found and not overwrite):
        raise OutputError(
            f"'{target}' exists and is not the config of '{sidecar.source}', which goes there. Move it away, or pass --overwrite."
        )
    return target


def _beside(source: Source, meant: str | None) -> Config | None:
    """A diffusers folder has its configs inside."""
    found = None if source.checkpoint.parts else config_beside(source.checkpoint.path)
    said = predicted_by(found.content) if found else UNKNOWN
    if found and meant and said not in (UNKNOWN, meant):
        return replace(found, fault=f"it says that the model predicts {said}, not {meant}")
    return found
