"""What a card says of where a model comes from: the recipe in its header, its sources, and the tree of those before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .card_pages import Branch, Section
from .claims import is_sha256, parsed
from .descent import Ancestor, family_tree
from .errors import CheckpointError, MergeError
from .expression import Binary, Call, Constant, Negative, Node, Number, spell, spell_name
from .header import Checkpoint
from .notations import read_recipe
from .provenance import Record, read_record
from .registry import get_method

_MOST_ROWS = 60
_LONGEST_RECIPE = 1 << 18
_SHORT = 10
"""Digits of a hash in the tree, as many as AutoV2 has."""


def origin(checkpoint: Checkpoint, name: str, sha256: str) -> list[Section]:
    """The recipe, its sources, the family tree and other ancestors that the metadata claim.

    Args:
        name, sha256: the file's own.
    """
    metadata = checkpoint.metadata
    record, unknown = None, "unknown: its header has no recipe of ours."
    try:
        record = read_record(metadata, checkpoint.path.name)
    except CheckpointError as error:
        unknown = str(error)
    found = [_recipe(record), _sources(record)] if record else [Section("Recipe", [unknown])]
    root, notes = family_tree(metadata, name, sha256)
    shown = {each.sha256 for each in _all(root) if each is not root}
    shown |= {source.sha256 for source in record.sources} if record else set()
    if root.parents or notes:
        found.append(Section("Family tree, as the header claims", notes, tree=_branch(root) if root.parents else None))
    return found + _others(metadata, shown)


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


def _all(root: Ancestor) -> Iterator[Ancestor]:
    yield root
    for parent in root.parents:
        yield from _all(parent)


def _branch(node: Ancestor) -> Branch:
    said = [node.name, node.sha256[:_SHORT] if node.sha256 else "", node.made, node.remark]
    text = "  ".join([*filter(None, said[:2]), *(f"({each})" for each in said[2:] if each)])
    return Branch(text, [_branch(parent) for parent in node.parents])


def _others(metadata: Mapping[str, str], shown: set[str | None]) -> list[Section]:
    """Models of `sd_merge_models` that have no place in the tree, since nobody says whose parents they are."""
    said = parsed(metadata.get("sd_merge_models", ""), 1 << 22)
    table: Mapping[str, Any] = said if isinstance(said, dict) else {}
    rows = [
        [str(entry.get("name"))[:200], sha256]
        for sha256, entry in table.items()
        if is_sha256(sha256) and sha256 not in shown and isinstance(entry, dict)
    ]
    if not rows:
        return []
    more = [f"and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else []
    return [Section("Ancestors without a place in the tree", more, [["model", "sha256"], *rows[:_MOST_ROWS]])]
