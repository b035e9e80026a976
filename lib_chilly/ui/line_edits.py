"""Edits of whole lines: add, duplicate, remove, move, rename, constants, `save(...)`. Each gives the recipe's new text."""

from __future__ import annotations

import re
from dataclasses import replace

from ..errors import MergeError, RecipeError
from ..expression import Constant, ModelRef, Node, StepRef, children, spell_name, walk, with_children
from ..plan_options import effective
from ..recipe import SAVE_OPTIONS
from ..recipe_lines import STRING
from ..recipe_text import parse_recipe
from .draft import Draft, Written, read_draft
from .problem import FieldError
from .rewriting import patched, says

_WORD = re.compile(rf"{STRING.pattern}|[^\s,()]+")
_NUMBERED = re.compile(r"(.*?)_?(\d{1,4})\Z", re.DOTALL)


def add_step(draft: Draft, a: str, b: str) -> tuple[str, str]:
    """(the text with one more step, its name): half A and half B, below the last line."""
    name = free_name("MIX", draft)
    line = f"{spell_name(name)} = weighted_sum({spell_name(a)}, {spell_name(b)}, alpha=0.5)"
    text = draft.text
    if not draft.lines:
        lead = text.rstrip()
        made = f"{lead}\n{line}\n" if lead and not draft.save else f"{line}\n{text}"
    else:
        last = draft.lines[-1]
        if last.name is None:  # a second line needs the first to have a name
            text = f"{text[: last.start]}result = {text[last.start :]}"
            last = read_draft(text).lines[-1]
        end = _line_end(text, last)
        made = f"{text[:end]}\n{line}{text[end:]}"
    return _checked(made, draft, name), name


def duplicate(draft: Draft, written: Written) -> tuple[str, str]:
    """(the text with a copy of a step below it, the copy's name)."""
    _must_have_name(written)
    name = free_name(written.line.name, draft)
    end = _line_end(draft.text, written)
    copy = f"{spell_name(name)} = {draft.text[slice(*written.body)]}"
    return _checked(f"{draft.text[:end]}\n{copy}{draft.text[end:]}", draft, name), name


def remove(draft: Draft, written: Written) -> str:
    """The text without a line; its comments stay.

    Raises:
        FieldError: others use it.
    """
    name = written.line.name
    if users := _users(draft, name):
        them = "it" if len(users) == 1 else "them"
        raise FieldError(f"'{name}' is used by {_listed(users)}. Point {them} at something else first.", "step")
    start, end = _line_start(draft.text, written), _line_end(draft.text, written)
    if comments := re.findall(r"#[^\n]*", _blanked(draft.text[start:end])):
        text = draft.text[:start] + "\n".join(comments) + draft.text[end:]
    else:
        text = draft.text[:start] + draft.text[end + 1 :]
    if len(draft.lines) > 1 and not says(text, draft, {name: None}) and len(draft.steps) > 1:
        raise FieldError(f"'{name}' cannot be removed: other lines would change what they mean. Edit the text.", "step")
    return text


def move(draft: Draft, written: Written, to: int) -> str:
    """The text with a step as the `to`-th, counted from 0; a step sees only what stands above it."""
    _must_have_name(written)
    steps = draft.steps
    if not 0 <= to < len(steps):
        raise FieldError(f"there are {len(steps)} steps.", "to")
    others = [step for step in steps if step is not written]
    name = written.line.name
    used = _uses(written)
    for place, other in enumerate(others):
        if place >= to and other.line.name in used:
            raise FieldError(f"'{name}' uses '{other.line.name}', so it cannot stand above it.", "to")
        if place < to and name in _uses(other):
            raise FieldError(f"'{other.line.name}' uses '{name}', so it cannot stand above it.", "to")
    if steps.index(written) == to:
        return draft.text
    start, end = _line_start(draft.text, written), _line_end(draft.text, written)
    block = draft.text[start:end]
    below = to > steps.index(written)
    anchor = others[to - 1] if below else others[to]
    place = _line_end(draft.text, anchor) if below else _line_start(draft.text, anchor)
    put = f"\n{block}" if below else f"{block}\n"
    if below:
        text = draft.text[:start] + draft.text[end + 1 : place] + put + draft.text[place:]
    else:
        text = draft.text[:place] + put + draft.text[place:start] + draft.text[end + 1 :]
        text = text if end < len(draft.text) else text[:-1]
    before, after = ({line.line.name: line.line for line in each.lines} for each in (draft, read_draft(text)))
    if before != after or len(read_draft(text).errors) > len(draft.errors):
        raise FieldError(f"'{name}' cannot stand there: other lines would change what they mean. Edit the text.", "to")
    return text


def rename(draft: Draft, written: Written, name: str) -> str:
    """The text in which a line and all its uses have another name."""
    old, name = written.line.name, name.strip()
    if name == old:
        return draft.text
    if draft.named(name):
        raise FieldError(f"there is '{name}' already. Choose another name.", "name")
    spelled = spell_name(name)
    patches = [(*written.name, spelled)] if written.name else [(written.start, written.start, f"{spelled} = ")]
    for other in draft.lines:
        for node in walk(other.line.expression):
            if isinstance(node, (StepRef, Constant)) and node.name == old:
                patches.append((*draft.spans[id(node)], spelled))
            if isinstance(node, ModelRef) and node.name == name and other.start > written.start:
                raise FieldError(f"'{name}' is a file that '{other.line.name}' uses. Choose another name.", "name")
    if draft.save and draft.save[2].get("step", ("", 0))[0] == old:
        place = draft.save[2]["step"][1]
        match = _WORD.match(draft.text, place)
        patches.append((place, match.end() if match else place, spelled))
    text = patched(draft.text, patches)
    after = read_draft(text)
    expected = [
        replace(each.line, name=name if each is written else each.line.name, expression=_renamed(each.line.expression, old, name))
        for each in draft.lines
    ]
    if [each.line for each in after.lines] != expected or len(after.errors) > len(draft.errors):
        raise FieldError(f"'{name[:60]}' cannot be its name. Use letters, digits, '_', '.' and '-'.", "name")
    return text


def set_constant(draft: Draft, name: str, value: str) -> str:
    """The text in which a constant is another number; one that is new stands above all else."""
    written = draft.named(name)
    if written is not None and not written.line.is_constant:
        raise FieldError(f"'{name}' is a step, no number.", "name")
    value = value.strip()
    if "\n" in value or not value:
        raise FieldError("a constant is one number, such as 0.15.", "value")
    if written is None:
        text = f"{spell_name(name)} = {value}\n{draft.text}"
    else:
        text = draft.text[: written.body[0]] + value + draft.text[written.body[1] :]
    after = read_draft(text)
    line = after.named(name)
    if line is None or not line.line.is_constant or len(after.errors) > len(draft.errors):
        new = [error.message for error in after.errors if error.message not in {old.message for old in draft.errors}]
        raise FieldError(new[0] if new else f"'{value[:40]}' is no number.", "value")
    return text


def set_option(draft: Draft, name: str, value: str | None) -> str:
    """The text in which `save(...)` gives an option another value; None takes it out."""
    if name not in SAVE_OPTIONS:
        raise FieldError(f"save has no option '{name[:40]}'. Known: {', '.join(SAVE_OPTIONS)}.", "name")
    now = {each: text for each, (text, _) in draft.save[2].items()} if draft.save else {}
    wanted = {**now, name: value}
    kept = [(each, text) for each in (*now, *(() if name in now else (name,))) if (text := wanted[each]) is not None]
    save = f"save({', '.join(f'{each}={spell_name(text)}' for each, text in kept)})" if kept else ""
    if draft.save:
        start, end = draft.save[:2]
        if not save and draft.text[end : end + 1] == "\n" and (start == 0 or draft.text[start - 1] == "\n"):
            end += 1
        text = draft.text[:start] + save + draft.text[end:]
    else:
        text = f"{draft.text.rstrip()}\n{save}\n" if save else draft.text
    try:
        if draft.recipe:
            effective(parse_recipe(text))
    except MergeError as error:
        raise FieldError(getattr(error, "message", str(error)), "value") from None
    return text


def free_name(wanted: str, draft: Draft) -> str:
    """A name that nothing of the recipe has: MIX, MIX_2, MIX_3."""
    taken = {written.line.name for written in draft.lines}
    taken |= {node.name for written in draft.lines for node in walk(written.line.expression) if isinstance(node, ModelRef)}
    if wanted not in taken:
        return wanted
    match = _NUMBERED.fullmatch(wanted)
    stem, number = (match[1], int(match[2])) if match and match[1] else (wanted, 1)
    while f"{stem}_{number + 1}" in taken:
        number += 1
    return f"{stem}_{number + 1}"


def _checked(text: str, draft: Draft, new: str) -> str:
    """A text to which one step was added; all others say what they said."""
    after = read_draft(text)
    old_errors = {error.message for error in draft.errors}
    wrong = [error for error in after.errors if error.message not in old_errors]
    if wrong or [each.line for each in after.lines if each.line.name != new] != [each.line for each in draft.lines]:
        raise RecipeError(wrong[0].message if wrong else "this would change what other lines mean. Edit the text.")
    return text


def _must_have_name(written: Written) -> None:
    if written.name is None:
        raise FieldError("this recipe is one expression without a name. Write 'NAME = ' before it.", "step")


def _uses(written: Written) -> set[str]:
    return {node.name for node in walk(written.line.expression) if isinstance(node, (StepRef, Constant))}


def _users(draft: Draft, name: str) -> list[str]:
    users = [f"'{other.line.name}'" for other in draft.lines if name in _uses(other)]
    saved = draft.save is not None and draft.save[2].get("step", ("",))[0] == name
    return users + ["save(step=...)"] * saved


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _renamed(node: Node, old: str, new: str) -> Node:
    if isinstance(node, (StepRef, Constant)) and node.name == old:
        return replace(node, name=new)
    return with_children(node, [_renamed(child, old, new) for child in children(node)])


def _line_start(text: str, written: Written) -> int:
    return text.rfind("\n", 0, written.start) + 1


def _line_end(text: str, written: Written) -> int:
    """Where the statement's last line ends, its comment included."""
    end = text.find("\n", written.end)
    return len(text) if end < 0 else end


def _blanked(text: str) -> str:
    """A text in which no '#' stands in quotes."""
    return re.sub(r'"(?:\\.|[^"\\\n])*"', lambda match: "_" * len(match[0]), text)
