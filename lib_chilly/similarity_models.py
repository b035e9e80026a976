"""Which models the command `similarity` compares: what BASE, OTHER, an ancestor and a donor mean, and how a recipe has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .console import sentence
from .diffusers_folder import is_diffusers_folder
from .errors import MergeError, RecipeError
from .expression import ModelRef, spell_name
from .header import quoted
from .models import SUFFIXES, ModelLibrary, OneModel, last_part, split_title, without_suffix
from .plan import Plan, make_plan
from .recipe import Recipe
from .recipe_argument import load_recipe
from .recipe_text import parse_recipe
from .shared_layers import result_name, shared_layers, takes_deltas


@dataclass(frozen=True)
class Model:
    """One of those that are compared: what it is called, what was said, and how it is made."""

    name: str
    recipe: Recipe
    plan: Plan

    @property
    def spelling(self) -> str | None:
        """The name by which a recipe has it, if it is one model and nothing else."""
        expression = self.recipe.steps[self.recipe.result].expression
        return expression.name if isinstance(expression, ModelRef) else None

    @property
    def file(self) -> Path | None:
        """Where it lies, if it is one model and nothing else."""
        return None if self.spelling is None else self.plan.sources[0].checkpoint.path.resolve()


def the_model(argument: str, library: ModelLibrary) -> Model:
    """The one model or merge that BASE, an ancestor or a donor means."""
    path = Path(argument)
    if _exists(path) and path.is_dir() and not is_diffusers_folder(path):
        raise RecipeError(f"'{argument}' is a folder of models; name one of them here. A folder may be an OTHER.")
    if _exists(path) and (path.is_dir() or argument.lower().endswith(SUFFIXES)):
        return _of_file(path.name + "/" * path.is_dir(), path)
    if library.knows(argument):
        return _planned(parse_recipe(spell_name(argument)), library)
    return _planned(load_recipe(argument), library)


def models_of(
    argument: str, library: ModelLibrary, base: Model, measure: str, ancestor: Model | None, notes: list[str]
) -> Iterator[Model]:
    """What an OTHER means: one model, a recipe's result, or all models below a folder that can be compared.

    Args:
        notes: takes sentences on those that are left out.
    """
    path = Path(argument)
    is_folder = _exists(path) and path.is_dir() and not is_diffusers_folder(path)
    for name, file in ModelLibrary([path]).files if is_folder else [(argument, None)]:
        if file and file.resolve() == base.file:
            continue
        try:
            model = _of_file(name, file) if file else the_model(argument, library)
            if is_folder:
                below = base.plan if takes_deltas(measure) else None  # the ancestor is looked at once, later
                shared_layers(base.plan, model.plan, measure, below)
        except MergeError as error:
            if not is_folder:
                raise
            notes.append(f"{quoted(name)} is left out: {sentence(error)}")
            continue
        if ancestor and model.file and model.file == ancestor.file:
            notes.append(f"{quoted(model.name)} is left out: it is the ancestor itself, which has learned nothing.")
            continue
        yield model


def told_apart(models: Sequence[Model]) -> list[str]:
    """Their names, each once: several folders may hold one of the same name."""
    names = [model.name for model in models]
    found: list[str] = []
    for name in names:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        found.append(next(other for other in numbered if other not in (*names, *found)) if name in found else name)
    return found


def refuse_mixed_up(*models: Model) -> None:
    """RecipeError where a recipe of all of these would call two files by one name."""
    known: dict[str, Path] = {}
    for source in (source for model in models for source in model.plan.sources):
        file, name = source.checkpoint.path.resolve(), without_suffix(source.name)
        for other, place in known.items():
            # In a library `a` and `sub/a` are never two files; a path has nothing but its last part.
            is_one = name == other or (last_part(name) == last_part(other) and ("/" in name) != ("/" in other))
            if is_one and place != file:
                raise RecipeError(
                    f"'{place}' and '{file}' are two files called '{last_part(name)}', and a recipe has models by their names. "
                    "Rename one of them."
                )
        known[name] = file


def _of_file(name: str, path: Path) -> Model:
    stem = without_suffix(name)
    # `model [deadbeef]` would be a title, whose hash is no part of the name.
    return _planned(parse_recipe(spell_name(name if split_title(stem)[1] else stem)), OneModel(name, path))


def _planned(recipe: Recipe, library: ModelLibrary) -> Model:
    plan = make_plan(recipe, library)
    return Model(result_name(plan), recipe, plan)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a recipe's text is no path
        return False
