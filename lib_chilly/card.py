"""A model's card: what made it, of what, how alike it is to a base, whether it is whole, and what it may be used for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .architecture import detect
from .card_hashes import site_hashes
from .card_origin import origin
from .card_pages import Section
from .card_permissions import permissions
from .card_pictures import pictures_of
from .checkpoint import open_checkpoint
from .dendrogram import below_100
from .errors import ArchitectureError, CheckpointError, Interrupted, RecipeError
from .expression import spell_name
from .hashes import hash_checkpoints
from .header import Checkpoint
from .health import health_of, refuse_other_kind
from .known_good import KnownGood
from .models import OneModel, without_suffix
from .plan import Plan, make_plan
from .provenance import read_record
from .recipe_text import parse_recipe
from .similarity import compare
from .verdicts import WORDS, against_words

_LONGEST_TITLE = 200


def make_card(
    path: Path,
    base: Path | None = None,
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> tuple[str, list[Section]]:
    """The title and the sections of a model's card.

    Args:
        on_bytes: told how many more bytes were read for hashes and health, from any thread.

    Raises:
        CheckpointError, ArchitectureError: the file or the base cannot be read, or is of no known architecture, or the
            base is of another one.
        Interrupted: `should_stop` said so.
    """
    checkpoint = open_checkpoint(path)
    architecture = detect({key: info.shape for key, info in checkpoint.tensors.items()}, path.name)
    if base:
        refuse_other_kind(base, architecture, path.name)
    hashes = _hashes(checkpoint, should_stop, on_bytes)
    kinds = sorted({info.dtype.name for info in checkpoint.tensors.values() if info.dtype.is_floating})
    facts = [["", ""], ["file", path.name], ["architecture", architecture.title], ["bytes", f"{checkpoint.size_bytes:,}"]]
    title = _title(checkpoint) or _name(path)
    sections = [
        Section("File", rows=[*facts, ["stored as", ", ".join(kinds)], *([name, value] for name, value in hashes.items())]),
        *_pictures(checkpoint, hashes["sha256"]),
        *origin(checkpoint, title, hashes["sha256"]),
        *([_alike(path, base, threads, should_stop)] if base else []),
        _health(path, base, threads, should_stop, on_bytes),
        permissions(checkpoint, hashes["sha256"]),
    ]
    return title, sections


def _pictures(checkpoint: Checkpoint, sha256: str) -> list[Section]:
    try:
        record = read_record(checkpoint.metadata, checkpoint.path.name)
    except CheckpointError:
        record = None
    pictures, notes = pictures_of(checkpoint, sha256, record)
    return [Section("Example pictures", notes, pictures=pictures)] if pictures or notes else []


def _title(checkpoint: Checkpoint) -> str:
    """What a header calls the model, on one line and not too long; empty where there is nothing to be seen."""
    said = checkpoint.metadata.get("modelspec.title", "")[:_LONGEST_TITLE]
    return "".join(each if each.isprintable() else " " for each in said).strip()


def _name(path: Path) -> str:
    """A model's name without its suffix; a folder has none."""
    name = path.absolute().name
    return name if path.is_dir() else without_suffix(name)


def _hashes(checkpoint: Checkpoint, should_stop: Callable[[], bool], on_bytes: Callable[[int], None]) -> dict[str, str]:
    def advance(count: int) -> None:
        if should_stop():
            raise Interrupted("stopped. Nothing was found out.")
        on_bytes(count)

    if checkpoint.parts:
        return {"sha256": hash_checkpoints([checkpoint], 1, advance)[0]}
    return site_hashes(checkpoint.path, checkpoint.format == "safetensors", advance)


def _alike(path: Path, base: Path, threads: int, should_stop: Callable[[], bool]) -> Section:
    """By asim, as model cards have it; by the cosine where there is no attention that it looks at, as in a VAE."""
    said = ""
    for measure in ("asim", "cosine"):
        title = f"Similarity to {base.name} ({measure}, percent)"
        try:
            found = compare(_plan_of(path), _plan_of(base), measure, threads=threads, should_stop=should_stop)
        except ArchitectureError as error:
            said = said or str(error)
            continue
        except (CheckpointError, RecipeError) as error:  # a broken model has a card too
            return Section(title, [str(error)])
        named = {"all": f"all {len(found.blocks)}"}
        sums = [(f"total {named.get(name, name)}", value) for name, value in found.totals.items() if value is not None]
        figures = [[name, below_100(value, 4)] for name, value in (*found.blocks.items(), *sums)]
        return Section(title, found.notes, [["block", "%"], *figures])
    return Section(f"Similarity to {base.name}", [said])


def _plan_of(path: Path) -> Plan:
    """The plan that gives a file as it is."""
    name = path.absolute().name + "/" * path.is_dir()
    return make_plan(parse_recipe(f"model = {spell_name(name)}"), OneModel(name, path), dtype="source")


def _health(
    path: Path, base: Path | None, threads: int, should_stop: Callable[[], bool], on_bytes: Callable[[int], None]
) -> Section:
    found = health_of(path, base, known=KnownGood(), threads=threads, should_stop=should_stop, on_bytes=on_bytes)
    against = against_words(found.base, found.known_good)
    return Section("Health", [WORDS[found.verdict] + against, *found.sentences(), *found.notes])
