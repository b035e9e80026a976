"""A checkpoint's metadata, and texts with the same JSON -> the recipe that another merger left there."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import RecipeError
from ..expression import shortened
from . import mecha, model_mixer, supermerger, webui_metadata
from .draft import Imported

LARGEST_JSON = 1 << 22
"""Characters of one value; a merge of merges of merges stays far below."""

_READERS = {
    "sd-webui-supermerger": supermerger.read_metadata,
    "sd-webui-model-mixer": model_mixer.read_metadata,
    "model-mixer": model_mixer.read_metadata,
    "webui": webui_metadata.read_metadata,
}
_OURS = "chilly"


def recipe_from_metadata(metadata: Mapping[str, object]) -> Imported | None:
    """The recipe that another merger wrote into a checkpoint's metadata.

    Values may be anything: texts, parsed JSON, lies.

    Args:
        metadata: `__metadata__` of a file; `sd_merge_recipe` with `sd_merge_models`, or `mecha_recipe`, is what is looked for.

    Returns:
        The recipe in our notation; None where the metadata hold none but perhaps our own.

    Raises:
        RecipeError: there is one, but it cannot be read or needs a method that does not exist here.
    """
    if "sd_merge_recipe" in metadata:
        recipe = _decoded(metadata["sd_merge_recipe"], "sd_merge_recipe")
        if recipe is None:
            return None
        models = _decoded(metadata.get("sd_merge_models"), "sd_merge_models")
        return _read(recipe, models)
    text = metadata.get("mecha_recipe")
    return mecha.read(text) if isinstance(text, str) and mecha.is_mecha(text) else None


def read_json(text: str) -> Imported:
    """A text that is a JSON object: a file's metadata, or an `sd_merge_recipe` alone.

    Raises:
        RecipeError: it is none that is known, or it cannot be read.
    """
    found = _decoded(text, "the JSON text")
    if not isinstance(found, dict):
        raise RecipeError(
            "this text looks like JSON but is none. A recipe is text, such as 'MIX = weighted_sum(A, B, alpha=0.3)'."
        )
    imported = (
        recipe_from_metadata(found)
        if "type" not in found
        else _read(found, _decoded(found.get("sd_merge_models"), "sd_merge_models"))
    )
    if imported is None:
        raise RecipeError(
            "this JSON text holds no recipe: neither 'sd_merge_recipe' nor 'mecha_recipe' nor a 'type' stands in it."
        )
    return imported


def _read(recipe: object, models: object) -> Imported | None:
    if not isinstance(recipe, dict):
        raise RecipeError("the metadata's sd_merge_recipe is no JSON object, so it says nothing about a merge.")
    kind = recipe.get("type")
    if isinstance(kind, str) and kind.lower().startswith(_OURS):
        return None
    if not isinstance(kind, str) or kind not in _READERS:
        said = f"a recipe of type '{shortened(kind)}' is not read" if isinstance(kind, str) else "the recipe names no type"
        raise RecipeError(f"{said}; known types are {', '.join(_READERS)}.")
    return _READERS[kind](recipe, models if isinstance(models, dict) else {})


def _decoded(value: object, what: str) -> object:
    """What a value says; it may be JSON in a text, also twice, as SuperMerger's "save current model" writes it."""
    for _ in range(2):
        if not isinstance(value, str):
            break
        if len(value) > LARGEST_JSON:
            raise RecipeError(f"{what} has {len(value)} characters; at most {LARGEST_JSON} are read.")
        try:
            value = json.loads(value, parse_int=_whole)
        except json.JSONDecodeError as error:
            ends = not error.doc[error.pos :].strip()
            message = f"{what} is no JSON that can be read: it {'ends too early' if ends else 'breaks here'}."
            raise RecipeError(message, error.doc, error.pos) from None
        except (ValueError, RecursionError):
            raise RecipeError(f"{what} is no JSON that can be read: it is nested too deeply, or a number is too long.") from None
    return value


def _whole(digits: str) -> int | float:
    """A long whole number takes time that grows with its square; as a float it is refused where it matters."""
    return int(digits) if len(digits) < 20 else float("inf")
