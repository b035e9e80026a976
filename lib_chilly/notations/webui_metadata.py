"""The webui's own merger: `sd_merge_recipe` of type "webui" -> Recipe."""

from __future__ import annotations

from collections.abc import Mapping

from ..expression import shortened
from .draft import Draft, Imported, spelled
from .supermerger import named

_METHODS = {"No interpolation": (None, 1), "Weighted sum": ("weighted_sum", 2), "Add difference": ("add_difference", 3)}
_ROLES = ("primary", "secondary", "tertiary")


def read_metadata(recipe: Mapping[str, object], models: Mapping[str, object]) -> Imported:
    """Read an `sd_merge_recipe` of the webui's merger.

    Args:
        models: `sd_merge_models`, hash to what is known of a model; the recipe itself has hashes alone.

    Raises:
        RecipeError: it lacks something, or its method is unknown.
    """
    draft = Draft("the webui's metadata")
    method = recipe.get("interp_method")
    if not isinstance(method, str) or method not in _METHODS:
        said = f"there is no method here for '{shortened(method)}'" if isinstance(method, str) else "it names no method"
        raise draft.error(f"{said}; the webui has {', '.join(_METHODS)}.")
    function, count = _METHODS[method]
    spelled_models = [_model(role, recipe, models, draft) for role in _ROLES[:count]]
    if function is None:
        draft.step(spelled_models[0])
    else:
        alpha = spelled(draft.number(recipe.get("multiplier"), "the multiplier"))
        draft.step(f"{function}({', '.join(spelled_models)}, alpha={alpha})", alpha="multiplier")
    _options(recipe, draft)
    _note_differences(function, draft)
    return draft.finish()


def _model(role: str, recipe: Mapping[str, object], models: Mapping[str, object], draft: Draft) -> str:
    """A model by its hash; the webui reads the first model's before it has one, and writes null."""
    said = recipe.get(f"{role}_model_hash")
    if said is None and role == "primary" and models:
        said = next(iter(models))
        draft.note("the webui left out the primary model's hash; the first of sd_merge_models is taken for it.")
    name, sha256 = named(said, models)
    return draft.model(name, f"the {role} model (the recipe has its hash; sd_merge_models has the name)", sha256)


def _options(recipe: Mapping[str, object], draft: Draft) -> None:
    draft.option("dtype", "fp16" if recipe.get("save_as_half") in (True, "True") else "source")
    vae, title, discarded = (recipe.get(name) for name in ("bake_in_vae", "custom_name", "discard_weights"))
    if isinstance(vae, str) and vae.strip() not in ("", "None"):
        draft.option("vae", vae.strip(), "bake_in_vae")
    if isinstance(title, str) and title.strip():
        draft.option("title", title.strip(), "custom_name")
    if isinstance(discarded, str) and discarded.strip():
        draft.note(f"the webui would have left out keys that match the expression '{shortened(discarded)}'; here they stay.")


def _note_differences(function: str | None, draft: Draft) -> None:
    if function is None:
        return
    draft.note(
        "the webui computes in the files' own dtype, so many of its fp16 values differ in the last bit; the output has only "
        "primary's keys there, and every source's here."
    )
    draft.note(
        "the webui blends SDXL's position_ids as floats and merges EMA copies; here ids are copied and EMA copies dropped."
    )
