"""Who descends from whom, as far as a header and the claims in it tell: a tree that nobody has checked.

Any of it may be a lie: loops, models that are their own ancestors, thousands of entries, texts of any size, values of any kind.
What is shown is bounded, and what is wrong or left out is said.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .claims import is_sha256
from .errors import MergeError
from .expression import Call
from .header import counted
from .models import without_suffix
from .provenance import TYPE
from .recipe import Recipe
from .recipe_text import parse_recipe

_DEEPEST, _MOST = 12, 120
"""Generations and models that are shown."""
_LARGEST, _MOST_READ, _LONGEST_NAME = 1 << 22, 1 << 17, 80
"""Characters of a value, of all recipes that are read, of a name that is shown."""
_MOST_KNOWN = 5_000
"""Of the models that tables of models name."""

_KEYS = (TYPE, "sd_merge_recipe", "sd_merge_models")

Says = Mapping[str, Any]
"""What one model says of itself: keys of metadata to texts or objects."""
Parent = tuple[str, str | None, Says]
"""Name, sha256 where it is said, what it says itself."""


@dataclass
class Ancestor:
    """A model of the tree.

    Attributes:
        made: by what it was merged, in words; empty where nobody says.
        remark: why its own ancestors are not shown, or not all of them.
        parents: whom it descends from.
    """

    name: str
    sha256: str | None = None
    made: str = ""
    remark: str = ""
    parents: list[Ancestor] = field(default_factory=list)


def family_tree(metadata: Mapping[str, str], name: str, sha256: str) -> tuple[Ancestor, list[str]]:
    """A file's tree, and sentences on what is wrong with it or left out.

    Args:
        name, sha256: the file's own.
    """
    tree = _Tree()
    root = Ancestor(_shortened(name), sha256)
    tree.grow(root, metadata)
    unread = [key for key in _KEYS if metadata.get(key) and not _object(metadata[key])]
    lost = [f"'{key}' in its metadata is no object that can be read: {len(metadata[key]):,} characters." for key in unread]
    return root, lost + tree.notes()


class _Tree:
    """A tree while it grows, a generation at a time, so that near ancestors stand before far ones where there are too many."""

    def __init__(self) -> None:
        self.known: dict[str, Says] = {}
        self.named: dict[str, list[str]] = {}
        self.expanded: set[str] = set()
        self.count, self.malformed, self.room = 0, 0, _MOST_READ
        self.unread: set[str] = set()
        self.has_loop = self.is_cut = False

    def grow(self, root: Ancestor, says: Says) -> None:
        waiting = deque([(root, says, frozenset[str](), 0)])
        while waiting:
            node, says, line, depth = waiting.popleft()
            if node.sha256 is not None and node.sha256 in line | self.expanded:
                is_loop = node.sha256 in line
                self.has_loop |= is_loop
                node.remark = "itself: it stands among its own ancestors" if is_loop else "see elsewhere in this tree"
                continue
            self._learn(says)
            recipe = _object(says.get("sd_merge_recipe")) or _object(self._entry(node.sha256).get("sd_merge_recipe"))
            parents, node.made = self._parents(says, recipe, node.sha256), self._made(says, recipe)
            shown = parents[: _MOST - self.count] if depth < _DEEPEST else []
            if len(shown) < len(parents):
                self.is_cut, node.remark = True, f"and {len(parents) - len(shown):,} more"
            if parents and node.sha256 is not None:
                self.expanded.add(node.sha256)
            self.count += len(shown)
            for name, sha256, said in shown:
                node.parents.append(child := Ancestor(_shortened(name), sha256))
                waiting.append((child, said, line | {node.sha256 or ""}, depth + 1))

    def notes(self) -> list[str]:
        wrong = "Somebody's metadata are wrong: a model stands among its own ancestors."
        cut = f"There is more of it: {_DEEPEST} generations and {_MOST} models are shown at most."
        left = f"{counted(self.malformed, 'claim')} of no known form left out."
        unread = f"{counted(len(self.unread), 'recipe')} in it cannot be read, or too much is in them."
        return [wrong] * self.has_loop + [cut] * self.is_cut + [left] * bool(self.malformed) + [unread] * bool(self.unread)

    def _entry(self, sha256: str | None) -> Says:
        return self.known.get(sha256 or "", {})

    def _learn(self, says: Says) -> None:
        """Take what a table of models says; the first to name a model wins."""
        for sha256, entry in _object(says.get("sd_merge_models")).items():
            if len(self.known) >= _MOST_KNOWN:
                self.is_cut = True
                return
            if is_sha256(sha256) and isinstance(entry, dict):
                if sha256 not in self.known and isinstance(name := entry.get("name"), str):
                    self.named.setdefault(name, []).append(sha256)
                self.known.setdefault(sha256, entry)
            else:
                self.malformed += 1

    def _parents(self, says: Says, recipe: Says, own: str | None) -> list[Parent]:
        """Whom a model says that it was made of: its record of ours, another merger's recipe, else names alone."""
        found: list[Parent] = []
        if _is_ours(recipe):
            found = list(self._of_record(_object(says.get(TYPE))))
        if not found:
            found = list(self._of_recipe(recipe, own))
        merged_from = says.get("modelspec.merged_from")
        if not found and isinstance(merged_from, str):
            found = [(name, None, {}) for name in merged_from[:_MOST_READ].split(", ") if name.strip()]
        return found

    def _of_record(self, record: Says) -> Iterator[Parent]:
        claims: dict[str, Says] = {}
        for claim in _list(record.get("claims")):
            if isinstance(claim, dict) and isinstance(claim.get("model"), str) and isinstance(claim.get("says"), dict):
                claims.setdefault(claim["model"], claim["says"])
            else:
                self.malformed += 1
        for source in _list(record.get("sources")):
            if isinstance(source, dict) and isinstance(name := source.get("name"), str):
                sha256 = source.get("sha256")
                yield name, sha256 if is_sha256(sha256) else None, claims.get(name, {})
            else:
                self.malformed += 1

    def _of_recipe(self, recipe: Says, own: str | None) -> Iterator[Parent]:
        """By the hashes in a recipe; ours has names, which a table of models may know."""
        for sha256 in dict.fromkeys(value for value in recipe.values() if is_sha256(value)):
            name = self._entry(sha256).get("name")
            yield name if isinstance(name, str) and name else "a model without a name", sha256, {}
        read = self._read(recipe)
        for name in dict.fromkeys(without_suffix(model.name) for model in read.models()) if read else ():
            fitting = [sha256 for sha256 in self.named.get(name, ()) if sha256 != own]
            yield name, fitting[0] if len(fitting) == 1 else None, {}

    def _made(self, says: Says, recipe: Says) -> str:
        record = _object(says.get(TYPE)) if _is_ours(recipe) else {}
        if read := self._read({"type": TYPE, "recipe": record.get("recipe")} if record else recipe):
            last = read.steps[read.result].expression
            kind = last.method if isinstance(last, Call) else "a sum"
            return f"ChillyMerge, {kind}" if len(read.steps) == 1 else f"ChillyMerge, {len(read.steps)} steps, the last is {kind}"
        said = [recipe.get(key) for key in ("type", "interp_method", "mode", "calcmode")]
        if words := [_shortened(word) for word in said if isinstance(word, str) and word]:
            return ", ".join(words)
        return "sd-mecha" if says.get("mecha_recipe") else ""

    def _read(self, recipe: Says) -> Recipe | None:
        """A recipe of ours; None where it is none, or too much was read already."""
        text = recipe.get("recipe")
        if recipe.get("type") != TYPE or not isinstance(text, str):
            return None
        if len(text) <= self.room:
            self.room -= len(text)
            with contextlib.suppress(MergeError, RecursionError):
                return parse_recipe(text)
        self.unread.add(text)
        return None


def _is_ours(recipe: Says) -> bool:
    """Whether our own record is the model's, and was not copied from a parent by another merger."""
    return recipe.get("type", TYPE) == TYPE


def _object(value: object) -> Says:
    """An object, or what a text holds where it is one; else nothing."""
    if isinstance(value, str) and len(value) <= _LARGEST and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _shortened(text: str) -> str:
    shown = "".join(each if each.isprintable() else " " for each in text[:_LONGEST_NAME]).strip() or "?"
    return shown if len(text) <= _LONGEST_NAME else f"{shown}..."
