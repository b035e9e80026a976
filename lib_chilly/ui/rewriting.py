"""From one line of a recipe to another with as little change of its text as can be: what stays keeps the user's spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import RecipeError
from ..expression import (
    Binary,
    Call,
    ListValue,
    Negative,
    Node,
    Rules,
    children,
    spell,
    with_children,
)
from ..recipe import Line
from ..recipe_check import is_number
from .draft import Draft, Written, read_draft

_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}
_ATOM = 3

Patch = tuple[int, int, str]
"""(start, end, what is to stand there)."""


def with_line(draft: Draft, written: Written, node: Node) -> str:
    """The text in which a line has another right side, and all others say what they said.

    Raises:
        RecipeError: the line cannot say that, as where its coefficients no longer add to 1.
    """
    name = written.line.name
    expected = {name: Line(name, node, is_number(node))}
    start, end = written.body
    if written.line.expression == node:
        return draft.text
    spelled = [(start, end, spell(node))]
    tried = [patched(draft.text, patches) for patches in (_patches(draft, written, node), spelled)]
    for text in tried:
        if says(text, draft, expected):
            return text
    raise _refusal(tried[-1], draft)


def says(text: str, before: Draft, changed: Mapping[str, Line | None]) -> bool:
    """Whether a text says what another one said but for some lines, and has no mistake that was not there.

    Args:
        changed: name to the line as it is now; None for one that is gone.
    """
    after = read_draft(text)
    wanted = [changed.get(written.line.name, written.line) for written in before.lines]
    return [written.line for written in after.lines] == [line for line in wanted if line] and len(after.errors) <= len(
        before.errors
    )


def with_node(tree: Node, replaced: Sequence[tuple[Node, Node]]) -> Node:
    """A tree in which some nodes, known by their identity, are others."""
    for old, new in replaced:
        if tree is old:
            return new
    below = children(tree)
    changed = [with_node(child, replaced) for child in below]
    return tree if all(a is b for a, b in zip(below, changed, strict=True)) else with_children(tree, changed)


def patched(text: str, patches: Sequence[Patch]) -> str:
    """A text with patches that do not overlap."""
    for start, end, new in sorted(patches, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def text_of(node: Node, draft: Draft) -> str:
    """How a node is written: as it stands in the text where it does, else in canonical form around its parts."""
    source = draft.source(node)
    if source is not None and "\n" not in source:
        return source
    if isinstance(node, Binary):
        binding = _BINDING[node.operator]
        return f"{_below(node.left, binding, draft)} {node.operator} {_below(node.right, binding + 1, draft)}"
    if isinstance(node, Negative):
        return "-" + _below(node.operand, _ATOM, draft)
    if isinstance(node, ListValue):
        return f"[{', '.join(text_of(item, draft) for item in node.items)}]"
    if isinstance(node, Rules):
        return "{" + ", ".join(f"{pattern}: {text_of(value, draft)}" for pattern, value in node.entries) + "}"
    if isinstance(node, Call):
        parameters = [f"{name}={text_of(value, draft)}" for name, value in node.parameters]
        return f"{node.method}({', '.join([text_of(operand, draft) for operand in node.operands] + parameters)})"
    return spell(node)


def _refusal(text: str, before: Draft) -> RecipeError:
    """What the engine says of a text that cannot stand."""
    known = {error.message for error in before.errors}
    new = [error for error in read_draft(text).errors if error.message not in known]
    return RecipeError(new[0].message if new else "this would change what other lines of the recipe mean. Edit the text.")


def _patches(draft: Draft, written: Written, node: Node) -> list[Patch]:
    old = written.line.expression
    found = _inner_patches(old, node, draft, False)
    whole = draft.spans.get(id(old))
    if len(found) == 1 and found[0][:2] == whole:  # with the parentheses around it
        return [(*written.body, found[0][2])]
    return found


def _inner_patches(old: Node, new: Node, draft: Draft, inside: bool) -> list[Patch]:
    """What is to be changed where `old` stands; `inside` a sum or product."""
    if new is old or new == old:
        return []
    olds, news = children(old), children(new)
    below = isinstance(new, (Binary, Negative))
    if type(old) is type(new) and len(olds) == len(news) and with_children(new, olds) == old:
        pairs = zip(olds, news, strict=True)
        return [patch for before, after in pairs for patch in _inner_patches(before, after, draft, below)]
    if isinstance(old, Call) and isinstance(new, Call) and (appended := _appended(old, new, draft)) is not None:
        return appended
    start, end = draft.spans[id(old)]
    text = text_of(new, draft)
    around = _around(draft.text, start, end)
    if around and _binding(new) == _ATOM and inside:
        return [(*around, text)]
    if inside and not around and _binding(new) < _binding(old):
        text = f"({text})"
    return [(start, end, text)]


def _appended(old: Call, new: Call, draft: Draft) -> list[Patch] | None:
    """Patches of a call to which one parameter is added; None for any other change."""
    count = len(old.parameters)
    names = [name for name, _ in new.parameters]
    if old.method != new.method or len(names) != count + 1 or names[:count] != [name for name, _ in old.parameters]:
        return None
    start, end = draft.spans[id(old)]
    call = draft.text[start:end]
    if not call.startswith(old.method) or call[:-1].rstrip().endswith(","):
        return None
    shorter = Call(new.method, new.operands, new.parameters[:count])
    if len(shorter.operands) != len(old.operands):
        return None
    name, value = new.parameters[-1]
    place = start + len(call[:-1].rstrip())
    pairs = zip(children(old), children(shorter), strict=True)
    patches = [patch for before, after in pairs for patch in _inner_patches(before, after, draft, False)]
    return [*patches, (place, place, f", {name}={text_of(value, draft)}")]


def _around(text: str, start: int, end: int) -> tuple[int, int] | None:
    """(start, end) with the parentheses that stand around a place and belong to no call; None where there are none."""
    before, after = text[:start].rstrip(), text[end:]
    opened = before[:-1].rstrip()
    if not before.endswith("(") or not after.lstrip().startswith(")") or not opened or opened[-1] not in "=+-*/([,:":
        return None
    return len(before) - 1, end + len(after) - len(after.lstrip()) + 1


def _binding(node: Node) -> int:
    return _BINDING[node.operator] if isinstance(node, Binary) else _ATOM


def _below(node: Node, binding: int, draft: Draft) -> str:
    return f"({text_of(node, draft)})" if _binding(node) < binding else text_of(node, draft)
