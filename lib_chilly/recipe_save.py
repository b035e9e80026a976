"""`save(...)` of a recipe's text -> its options, each with the place that it stands at."""

from __future__ import annotations

import re

from .errors import RecipeError, meant, nearest
from .expression import NAME_CHARACTERS, Call, Constant, ModelRef, Number, StepRef
from .recipe import SAVE_OPTIONS, Recipe

Options = dict[str, tuple[str, int]]
"""Name to (text, position of the text)."""


def read_save(text: str, node: Call) -> Options:
    """The options that `save(...)` gives.

    Raises:
        RecipeError: an unknown option, one that stands twice, or a value that is neither a word nor a quoted text.
    """
    if node.operands:
        raise RecipeError("save(...) takes name=value pairs, such as save(dtype=fp16).", text, node.operands[0].position)
    options: Options = {}
    for name, value in node.parameters:
        if name not in SAVE_OPTIONS:
            known = f"{nearest(name, SAVE_OPTIONS)} Known: {', '.join(SAVE_OPTIONS)}."
            raise RecipeError(f"save has no option '{name}'.{known}", text, value.position, instead=meant(name, SAVE_OPTIONS))
        if not isinstance(value, (ModelRef, StepRef, Constant, Number)):
            raise RecipeError(f"save option '{name}' takes one word or a text in double quotes.", text, value.position)
        if name in options:
            raise RecipeError(f"save option '{name}' stands twice.", text, value.position)
        options[name] = (_as_typed(text, value) if isinstance(value, Number) else value.name, value.position)
    return options


def check_saved_step(recipe: Recipe, options: Options) -> None:
    """RecipeError where `save(step=...)` names no step."""
    name, position = options.get("step", ("", 0))
    if name and name not in recipe.steps:
        message = f"there is no step '{name}'.{nearest(name, recipe.steps)} Steps: {', '.join(recipe.steps)}."
        raise RecipeError(message, recipe.text, position, instead=meant(name, recipe.steps))


def _as_typed(text: str, number: Number) -> str:
    """A title such as 007 is a text, whatever number it would be."""
    match = re.compile(f"{NAME_CHARACTERS}+").match(text, number.position)
    assert match is not None
    return match[0]
