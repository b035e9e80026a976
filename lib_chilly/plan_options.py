"""The save options that are in effect, and the model that `on_nan` names; every refusal of theirs."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import Instead, RecipeError, meant
from .expression import FileName, spell_name
from .key_job import KeyJob
from .output_dtypes import COMPONENT_OPTIONS, OUTPUT_DTYPES, default_of, wanted_dtypes
from .prediction import EPSILON, V
from .recipe import Recipe
from .recipe_text import parse_recipe
from .sources import Source, source_called

FOLDER = "diffusers"
"""What `format` is where the output is a folder."""
CHOICES = {
    "format": ("safetensors", FOLDER),
    "dtype": OUTPUT_DTYPES,
    **COMPONENT_OPTIONS,
    "compute": ("float32", "float64"),
    "position_ids": ("keep", "rebuild"),
    "ema": ("drop", "keep"),
    "prediction": (EPSILON, V),
}
"""Save options that take one of a few words."""
_DEFAULTS = {"format": "safetensors", "position_ids": "keep", "ema": "drop", "on_nan": "stop", "vae": "keep", "yaml": "copy"}


def typed(options: Mapping[str, str | None]) -> dict[str, str]:
    """Options that were given outside of a recipe, as they would be read in one.

    Raises:
        RecipeError: a text that cannot stand in a recipe, such as one of two lines.
    """
    found = {}
    for name, value in options.items():
        if value is None:
            continue
        if not value.strip():
            raise RecipeError(f"the option {name} is empty. Give it a text, or leave it out.")
        try:
            text = parse_recipe(f"_ = _\nsave(title={spell_name(value)})").option("title")
        except RecipeError:
            raise RecipeError(f"the option {name} takes one line of text, no control characters; here it is {value!r}.") from None
        assert text is not None
        found[name] = text
    return found


def effective(recipe: Recipe) -> Recipe:
    """Check the save options, write out what is in effect, leave out what says nothing."""
    for name, value in recipe.save:
        if value not in CHOICES.get(name, (value,)):
            message = f"save option '{name}' is one of {', '.join(CHOICES[name])}; here it is '{value}'."
            raise RecipeError(message, instead=meant(value, CHOICES[name]))
        if name == "on_nan" and value != "stop" and not value.startswith("take:"):
            raise RecipeError(f"save option 'on_nan' is 'stop' or 'take:MODEL'; here it is '{value}'.")
    step = recipe.result
    is_last = step == list(recipe.steps)[-1]
    dtype = recipe.option("dtype") or "fp16"
    given = dict(recipe.save)
    silent = {name for name, value in recipe.save if value == _DEFAULTS.get(name)}
    silent |= {option for option in COMPONENT_OPTIONS if given.get(option) == default_of(option, dtype)}
    done_anyway = {None if name == "source" else _default_compute(name) for name in wanted_dtypes(recipe).values()}
    if done_anyway == {recipe.option("compute")}:
        silent.add("compute")
    if "discard" in given:
        given["discard"] = ",".join(filter(None, (glob.strip() for glob in given["discard"].split(","))))
        if not given["discard"]:
            raise RecipeError("the option discard is empty. Give it globs of keys, or leave it out.")
    return recipe.with_options(**{**given, **dict.fromkeys(silent), "dtype": dtype, "step": None if is_last else step})


def refuse_lora(recipe: Recipe) -> None:
    """RecipeError where the result is a LoRA."""
    if call := recipe.extraction:
        raise RecipeError(
            f"the result '{recipe.result}' is a LoRA, and a model is needed here. './chilly merge' writes LoRAs.",
            recipe.text,
            call.position,
        )


def _default_compute(dtype: str) -> str:
    return "float64" if dtype == "fp32" else "float32"


def replacing_source(recipe: Recipe, sources: list[Source], number_of: Mapping[FileName, int]) -> int | None:
    choice = recipe.option("on_nan")
    if choice is None:
        return None
    name = choice.removeprefix("take:")
    number = source_called(name, sources, number_of)
    if number is None:
        names = [source.name for source in sources if not source.lora]
        instead = tuple(Instead(choice, f"take:{each.right}") for each in meant(name, names))
        raise RecipeError(f"on_nan takes '{name}', which is no model of this recipe: {', '.join(names)}.", instead=instead)
    return number


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
