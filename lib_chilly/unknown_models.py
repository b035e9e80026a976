"""What may have been meant by a model's name that fits no file."""

from __future__ import annotations

import difflib
import re

from .errors import Instead, RecipeError
from .expression import ModelRef, spell_name
from .models import ModelLibrary
from .recipe import Recipe


def refuse_hidden_minus(model: ModelRef, recipe: Recipe, library: ModelLibrary) -> None:
    """`A-B` is one name; where there is no such file but A and B exist, a subtraction was meant."""
    if library.knows(model.name):
        return
    names = {line.name for line in recipe.lines}
    for match in re.finditer("-", model.name):
        left, right = model.name[: match.start()], model.name[match.end() :]
        if all(part in names or library.knows(part) or re.fullmatch(r"\d+(\.\d+)?", part) for part in (left, right)):
            raise RecipeError(
                f"there is no model '{model.name}'; a minus between operands has spaces around it: '{left} - {right}'.",
                recipe.text,
                model.position,
                instead=(Instead(model.name, f"{spell_name(left)} - {spell_name(right)}", False),),
            )


def or_near_step(error: RecipeError, model: ModelRef, recipe: Recipe, library: ModelLibrary) -> RecipeError:
    """The error, or another one that proposes the nearest step."""
    spellings = {name.lower(): name for name in recipe.steps if name != model.name}
    near = difflib.get_close_matches(model.name.lower(), spellings, 1, 0.7)
    if not near or library.knows(model.name):
        return error
    step = spellings[near[0]]
    message = f"there is no model or step '{model.name}'. Did you mean '{step}'?"
    return RecipeError(message, instead=(Instead(model.name, step), *error.instead))
