"""model-mixer's infotext and metadata -> Recipe: models are mixed in one after another, each into what came before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..expression import shortened
from .draft import Draft, Imported, weights_text
from .element_lines import SD1_BLOCKS, SDXL_BLOCKS, Blocks, Rule, element_rules, split_lines
from .model_mixer_blocks import block_numbers
from .supermerger import named
from .supermerger_adjust import numbers_in, write_adjust

METADATA, INFOTEXT = "model-mixer's metadata", "model-mixer's infotext"
_START = re.compile(r"(?:^|,)[ \t]*ModelMixer model a:", re.MULTILINE)
_FIELD = re.compile(r"(?:^|,)[ \t]*ModelMixer ([a-z][a-z ]{0,30}):[ \t]*", re.MULTILINE)
_VALUE = re.compile(r'("(?:[^"\\\n]|\\.)*")|[^,\n]*')
_LETTERS = "bcdefghijklmnopqrstuvwxyz"
LONGEST_INFOTEXT = 1 << 20


@dataclass(frozen=True)
class Mixed:
    """One model that is mixed in; `numbers` are its blocks' weights, BASE's first, or None where `alpha` holds for all.

    `field` is the user's word for where these stand.
    """

    field: str
    model: str
    mode: str
    calcmode: str
    alpha: Fraction
    numbers: tuple[Fraction, ...] | None
    elements: Sequence[str]


def is_infotext(text: str) -> bool:
    """Whether a text is an image's parameters, or part of them, with model-mixer's."""
    return _START.search(text) is not None


def read_infotext(text: str) -> Imported:
    """Read `ModelMixer ...` out of an image's parameters.

    Raises:
        RecipeError: it lacks something, or needs a method that does not exist here.
    """
    draft = Draft(INFOTEXT)
    if len(text) > LONGEST_INFOTEXT:
        raise draft.error(f"it has {len(text)} characters; at most {LONGEST_INFOTEXT} are read.")
    fields = dict(_fields(text))
    first = draft.model(fields.get("model a"), "model a")
    base = draft.model(fields["base model"], "the base model") if fields.get("base model", "None") != "None" else None
    mixed = [_mixed(fields, letter, draft) for letter in _LETTERS if fields.get(f"use model {letter}") == "True"]
    _write(first, [each for each in mixed if each.alpha != 0 or each.numbers is not None], base, fields.get("adjust", ""), draft)
    return draft.finish()


def read_metadata(recipe: Mapping[str, object], models: Mapping[str, object]) -> Imported:
    """Read an `sd_merge_recipe` of model-mixer's.

    Args:
        models: `sd_merge_models`, hash to what is known of a model; a name that stands there once gets its hash.

    Raises:
        RecipeError: it lacks something, or needs a method that does not exist here.
    """
    draft = Draft(METADATA)
    hashes = {
        entry.get("name"): sha256
        for sha256, entry in models.items()
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)
    }

    def model(name: object, what: str) -> str:
        known, sha256 = named(name, models)
        return draft.model(known, what, sha256 or (hashes.get(known) if isinstance(known, str) else None))

    first = model(recipe.get("model_a"), "model_a")
    base = model(recipe["base_model"], "base_model") if recipe.get("base_model") not in (None, "", "None") else None
    modes = _column(recipe, "mode", draft)
    uses = "use_mbws" if "use_mbws" in recipe else "use_mbw"
    mixed = []
    for index, letter in zip(range(len(modes)), _LETTERS, strict=False):
        uses_blocks = _at(recipe, uses, index, draft) in (True, "True")
        field = f"{'weights_alpha' if uses_blocks else 'alpha'} of model_{letter}"
        numbers = draft.numbers(_at(recipe, "weights_alpha", index, draft), field) if uses_blocks else None
        alpha = Fraction(0) if uses_blocks else draft.number(_at(recipe, "alpha", index, draft), field)
        uses_elements = uses_blocks and _at(recipe, "use_elemental", index, draft) in (True, "True")
        elements = split_lines(_at(recipe, "elemental", index, draft), draft) if uses_elements else []
        calcmode = str(_at(recipe, "calcmode", index, draft))
        name = model(recipe.get(f"model_{letter}"), f"model_{letter}")
        mixed.append(Mixed(field, name, str(modes[index]), calcmode, alpha, numbers, elements))
    _write(first, mixed, base, recipe.get("adjust") or "", draft)
    return draft.finish()


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Name and value of each `ModelMixer name: value`; a value with commas stands in quotes, as JSON writes them."""
    position = 0
    while match := _FIELD.search(text, position):
        found = _VALUE.match(text, match.end())
        assert found is not None
        position = found.end()
        value = found[0].strip()
        if found[1]:
            try:
                value = str(json.loads(value))
            except ValueError:
                value = value[1:-1]
        yield match[1], value


def _mixed(fields: Mapping[str, str], letter: str, draft: Draft) -> Mixed:
    """One model of an infotext; blocks count where some are chosen, in the list that its switch points to."""
    chosen = fields.get(f"mbw {letter}" if fields.get(f"mbw mode {letter}") == "True" else f"simple mbw {letter}", "")
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    numbers = None
    if names:
        written = re.sub(r"[\s,]+", ",", fields.get(f"mbw weights {letter}", "").strip(" ,"))
        numbers = block_numbers(draft.numbers(written, f"mbw weights {letter}"), names, letter, draft)
    uses_elements = numbers is not None and fields.get(f"use elemental {letter}") == "True"
    return Mixed(
        f"alpha {letter}" if numbers is None else f"mbw weights {letter}",
        draft.model(fields.get(f"model {letter}"), f"model {letter}"),
        fields.get(f"merge mode {letter}", "Sum"),
        fields.get(f"calcmode {letter}", "Normal"),
        draft.number(fields.get(f"alpha {letter}", "0.5"), f"alpha {letter}"),
        numbers,
        split_lines(fields.get(f"elemental {letter}", ""), draft) if uses_elements else [],
    )


def _column(recipe: Mapping[str, object], name: str, draft: Draft) -> list:
    column = recipe.get(name)
    if not isinstance(column, list) or len(column) > len(_LETTERS):
        raise draft.error(f"its '{name}' is no list of at most {len(_LETTERS)}.")
    return column


def _at(recipe: Mapping[str, object], name: str, index: int, draft: Draft) -> object:
    column = _column(recipe, name, draft)
    if index >= len(column):
        raise draft.error(f"its '{name}' has {len(column)} entries, one for each model was expected.")
    return column[index]


def _write(first: str, mixed: Sequence[Mixed], base: str | None, adjust: object, draft: Draft) -> None:
    if not mixed:
        raise draft.error("no model is mixed into model a.")
    before = first
    for each in mixed:
        mode = "Sum" if each.mode == "Sum(lerp)" else each.mode
        if each.calcmode != "Normal":
            raise draft.error(f"there is no method here yet for model-mixer's calculation '{shortened(each.calcmode)}'.")
        if mode == "Sum":
            before = draft.step(f"weighted_sum({before}, {each.model}, alpha={_alpha(each, draft)})", alpha=each.field)
        elif mode == "Add-Diff":
            if base is None:
                raise draft.error(
                    "Add-Diff needs the base model's name; model-mixer finds one by itself and does not write it down."
                )
            expression = f"add_difference({before}, {each.model}, {base}, alpha={_alpha(each, draft)})"
            before = draft.step(expression, alpha=each.field)
        else:
            raise draft.error(f"there is no method here yet for model-mixer's mode '{shortened(mode)}'.")
    draft.note(
        "model-mixer keeps A's logit_scale and text_projection of CLIP-G, which here are merged as the rest of their lane; it "
        "rounds to the files' dtype after each model, and here once."
    )
    if isinstance(adjust, str):
        write_adjust(numbers_in(adjust, draft), before, draft)


def _alpha(each: Mixed, draft: Draft) -> str:
    """With block weights the last number holds for TIME and FINAL too; LABEL and VAE are left at A's."""
    if each.numbers is None:
        return weights_text(each.alpha)
    order = {len(SD1_BLOCKS): SD1_BLOCKS, len(SDXL_BLOCKS): SDXL_BLOCKS}.get(len(each.numbers))
    if order is None:
        draft.note(f"of {len(each.numbers)} numbers, what model-mixer does to keys outside of blocks is not carried over.")
        if each.elements:
            raise draft.error("its element lines can be read for SD 1.x's and SDXL's blocks only.")
        return weights_text(each.numbers)
    last = each.numbers[-1]
    rules: list[Rule] = [("TIME", last), ("FINAL", last)]
    blocks = Blocks(order, {}, ("sd1",) if order is SD1_BLOCKS else ("sdxl",), ("TIME", "FINAL"))
    rules += element_rules(each.elements, blocks, draft)
    left = ("VAE",) if order is SD1_BLOCKS else ("VAE", "LABEL")
    if order is SD1_BLOCKS:
        draft.note("should the models be SDXL, LABEL would stay as it is too: add 'LABEL: 0' to the rules.")
    draft.note(f"as in model-mixer, TIME and FINAL take the last block's number, and {' and '.join(left)} stay as they are.")
    return weights_text(each.numbers, [*rules, *((lane, Fraction(0)) for lane in left)])
