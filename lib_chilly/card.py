"""A model's card: what made it, of what, how alike it is to a base, whether it is whole, and what it may be used for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .architecture import Architecture, detect
from .card_hashes import site_hashes
from .card_pages import Section
from .checkpoint import open_checkpoint
from .claims import is_sha256, parsed
from .dendrogram import below_100
from .errors import ArchitectureError, CheckpointError, Interrupted, MergeError, OutputError, RecipeError
from .expression import Binary, Call, Constant, Negative, Node, Number, spell, spell_name
from .hashes import hash_checkpoints
from .header import Checkpoint, quoted
from .health import health_of
from .known_good import KnownGood
from .ledger import Ledger
from .licences import PERMISSIONS, Terms, terms_of
from .models import OneModel, without_suffix
from .notations import read_recipe
from .plan import Plan, make_plan
from .provenance import Record, read_record
from .recipe_text import parse_recipe
from .registry import get_method
from .similarity import compare
from .verdicts import WORDS, against_words

_MOST_ROWS = 60
_LONGEST_RECIPE = 1 << 18
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
        _check_base(base, architecture, path.name)
    hashes = _hashes(checkpoint, should_stop, on_bytes)
    kinds = sorted({info.dtype.name for info in checkpoint.tensors.values() if info.dtype.is_floating})
    facts = [["", ""], ["file", path.name], ["architecture", architecture.title], ["bytes", f"{checkpoint.size_bytes:,}"]]
    sections = [
        Section("File", rows=[*facts, ["stored as", ", ".join(kinds)], *([name, value] for name, value in hashes.items())]),
        *_origin(checkpoint),
        *([_alike(path, base, threads, should_stop)] if base else []),
        _health(path, base, threads, should_stop, on_bytes),
        _permissions(checkpoint, hashes["sha256"]),
    ]
    return _title(checkpoint) or _name(path), sections


def _check_base(base: Path, architecture: Architecture, name: str) -> None:
    """Refuse a base of another kind, before anything is read but headers.

    Raises:
        CheckpointError, ArchitectureError: it cannot be read, or is of another architecture or none.
    """
    found = detect({key: info.shape for key, info in open_checkpoint(base).tensors.items()}, base.name)
    if found is not architecture:
        raise ArchitectureError(
            f"{quoted(name)} is {architecture.title}, {quoted(base.name)} is {found.title}. Choose a base of the same kind."
        )


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


def in_card_notation(name: str, node: Node) -> str:
    """A step as model cards write it: numbers behind an x, the name on the right; methods as they are."""
    if isinstance(node, Call) and node.method == "weighted_sum" and len(node.operands) == 2:
        a, b = (_term(operand) for operand in node.operands)
        alpha = dict(node.parameters).get("alpha")
        shown = spell(alpha) if alpha else f"{get_method(node.method).parameters['alpha'][1]:g}"
        return f"{a} x (1 - alpha) + {b} x alpha = {spell_name(name)}, alpha = {shown}"
    return f"{_sum(node)} = {spell_name(name)}"


def _sum(node: Node) -> str:
    if isinstance(node, Binary) and node.operator in "+-":
        right = _term(node.right) if node.operator == "-" else _sum(node.right)
        return f"{_sum(node.left)} {node.operator} {right}"
    if isinstance(node, Binary) and node.operator == "*":
        number, other = (node.left, node.right) if _is_number(node.left) else (node.right, node.left)
        return f"{_term(other)} x {_term(number)}"
    return spell(node)


def _term(node: Node) -> str:
    return f"({_sum(node)})" if isinstance(node, (Binary, Negative)) else spell(node)


def _is_number(node: Node) -> bool:
    if isinstance(node, Binary):
        return _is_number(node.left) and _is_number(node.right)
    return isinstance(node, (Number, Constant))


def _origin(checkpoint: Checkpoint) -> list[Section]:
    """The recipe, its sources, and the ancestors that the metadata claim."""
    try:
        record = read_record(checkpoint.metadata, checkpoint.path.name)
    except CheckpointError as error:
        return [Section("Recipe", [str(error)])]
    found = [_recipe(record), _sources(record)] if record else [Section("Recipe", ["unknown: its header has no recipe of ours."])]
    return found + _ancestors(checkpoint.metadata, {source.sha256 for source in record.sources} if record else set())


def _recipe(record: Record) -> Section:
    if len(record.recipe) > _LONGEST_RECIPE:
        return Section("Recipe", [f"it has {len(record.recipe):,} characters, too many to be shown."])
    try:
        lines = [in_card_notation(line.name, line.expression) for line in read_recipe(record.recipe).used_lines()]
    except (MergeError, RecursionError):
        lines = ["the recipe in its header cannot be read."]
    return Section("Recipe", lines[:_MOST_ROWS], code=record.recipe)


def _sources(record: Record) -> Section:
    rows = [[each.name, f"{each.size_bytes:,}", each.sha256 or "not recorded"] for each in record.sources[:_MOST_ROWS]]
    more = len(record.sources) - len(rows)
    return Section("Sources", [f"and {more} more"] * bool(more), [["model", "bytes", "sha256"], *rows])


def _ancestors(metadata: Mapping[str, str], sources: set[str | None]) -> list[Section]:
    """Models of `sd_merge_models` that are no sources: a flat table, so that lies about who descends from whom make no loop."""
    said = parsed(metadata.get("sd_merge_models", ""), 1 << 22)
    table: Mapping[str, Any] = said if isinstance(said, dict) else {}
    rows = [
        [str(entry.get("name"))[:200], sha256]
        for sha256, entry in table.items()
        if is_sha256(sha256) and sha256 not in sources and isinstance(entry, dict)
    ]
    if not rows:
        return []
    more = [f"and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else []
    return [Section("Ancestors, as claimed by the sources", more, [["model", "sha256"], *rows[:_MOST_ROWS]])]


def _alike(path: Path, base: Path, threads: int, should_stop: Callable[[], bool]) -> Section:
    title = f"Similarity to {base.name} (asim, percent)"
    try:
        found = compare(_plan_of(path), _plan_of(base), threads=threads, should_stop=should_stop)
    except (ArchitectureError, RecipeError) as error:
        return Section(title, [str(error)])
    named = {"all": f"all {len(found.blocks)}"}
    totals = [
        [f"total {named.get(name, name)}", below_100(value, 4)] for name, value in found.totals.items() if value is not None
    ]
    rows = [["block", "%"], *([block, below_100(value, 4)] for block, value in found.blocks.items()), *totals]
    return Section(title, found.notes, rows)


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


def _permissions(checkpoint: Checkpoint, sha256: str) -> Section:
    beside = terms_of(checkpoint)
    notes = []
    try:
        ledger = Ledger()
        beside = ledger.look_up([sha256]).get(sha256, Terms()).over(beside)
        notes += ledger.notices
    except (OutputError, RuntimeError) as error:
        notes.append(str(error))
    words = {True: "yes", False: "no", None: "unknown"}
    rows = [["licence", beside.licence or "unknown"], ["author", beside.author or "unknown"]]
    rows += [[said, words[beside.permissions.get(name)]] for name, said in PERMISSIONS.items()]
    by = f"as said by {', '.join(beside.said_by)}; nobody has checked it" if beside.said_by else "nobody says"
    return Section("Permissions", [by, *notes], [["", ""], *rows])
