"""The save options that are in effect, and the model that `on_nan` names; every refusal of theirs."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import RecipeError
from .jobs import KeyJob
from .models import without_suffix
from .recipe import Recipe
from .sources import Source

OUTPUT_DTYPES = ("fp16", "bf16", "fp32", "source")
_CHOICES = {"dtype": OUTPUT_DTYPES, "compute": ("float32", "float64"), "position_ids": ("keep", "rebuild"), "ema": ("drop",)}
_DEFAULTS = {"position_ids": "keep", "ema": "drop", "on_nan": "stop"}
_NOT_YET = {"vae": "taking another VAE", "ema": "keeping EMA copies"}


def effective(recipe: Recipe) -> Recipe:
    """Check the save options, write out what is in effect, leave out what says nothing."""
    for name, value in recipe.save:
        if name == "vae" or (name == "ema" and value == "keep"):
            raise RecipeError(f"save option '{name}={value}': {_NOT_YET[name]} is not available yet.")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise RecipeError(f"save option '{name}' is one of {', '.join(_CHOICES[name])}; here it is '{value}'.")
        if name == "on_nan" and value != "stop" and not value.startswith("take:"):
            raise RecipeError(f"save option 'on_nan' is 'stop' or 'take:MODEL'; here it is '{value}'.")
    step = recipe.result
    is_last = step == list(recipe.steps)[-1]
    dtype = recipe.option("dtype") or "fp16"
    if dtype != "source" and recipe.option("compute") == ("float64" if dtype == "fp32" else "float32"):
        recipe = recipe.with_options(**{**dict(recipe.save), "compute": None})  # what is done anyway
    silent = {name: None for name, value in recipe.save if value == _DEFAULTS.get(name)}
    return recipe.with_options(**{**dict(recipe.save), **silent, "dtype": dtype, "step": None if is_last else step})


def replacing_source(recipe: Recipe, sources: list[Source], number_of: Mapping[str, int]) -> int | None:
    choice = recipe.option("on_nan")
    if choice is None:
        return None
    name = choice.removeprefix("take:")
    for number, source in enumerate(sources):
        if without_suffix(name) == source.name or number_of.get(name) == number:
            return number
    raise RecipeError(f"on_nan takes '{name}', which is no model of this recipe: {', '.join(source.name for source in sources)}.")


def check_replacements(sources: list[Source], jobs: list[KeyJob], on_nan: int | None) -> None:
    """Copied keys may differ in length between models; values can be taken only from one of the same length."""
    if on_nan is None:
        return
    for job in jobs:
        info = sources[on_nan].tensors.get(job.key)
        if job.source is None or info is None or not sources[job.source].tensors[job.key].dtype.is_floating:
            continue
        if info.elements != job.elements:
            raise RecipeError(
                f"on_nan takes '{sources[on_nan].name}', whose '{job.key}' has shape {info.shape}; {job.shape} is needed. "
                "Name another model."
            )
