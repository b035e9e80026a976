"""`<lora:NAME:0.8>` of a prompt in a recipe of our own notation: each is a term of the sum that it stands in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from ..architecture import load
from ..expression import number_node, spell, spell_name
from ..lora_prompt import PromptLora, prompt_loras
from ..recipe_text import parse_recipe
from .draft import Imported

NOTATION = "a recipe with LoRAs as prompts name them"
_TAGS_ALONE = re.compile(r"\n[ \t]*(?=(?:<(?:lora|lyco):[^>\n]+>[ \t]*)+(?:\n|\Z))")
"""The end of a line before one that holds tags alone: they belong to the line above."""
_PIECES = re.compile(r'"(?:\\.|[^"\\\n])*"|#[^\n]*|(?P<before>[-+*/(=,]?)(?P<space>[ \t]*)(?P<tag><(?:lora|lyco):[^>\n]+>)')
_ARCHITECTURE = {12: "sdxl", 17: "sd1", 20: "sdxl", 26: "sd1", 61: "flux"}
"""By the length of a list: one whose lanes it is for."""


def has_tags(text: str) -> bool:
    """Whether a prompt's tag stands somewhere outside strings and comments."""
    return any(match["tag"] for match in _PIECES.finditer(text))


def read(text: str) -> Imported:
    """Read a recipe with tags.

    Raises:
        RecipeError: a tag that is not read, or whatever is wrong with the recipe, shown with calls in the tags' places.
    """
    notes: list[str] = []

    def call(match: re.Match[str]) -> str:
        if not match["tag"]:
            return match[0]
        (found,) = prompt_loras(match["tag"])
        notes.extend(found.notes)
        is_first = not match.string[: match.start()].rpartition("\n")[2].strip()
        joined = match["before"] + match["space"] if match["before"] or is_first else " + "
        return joined + f"lora({spell_name(found.name)}{_scale(found)})"

    recipe = parse_recipe(_PIECES.sub(call, _TAGS_ALONE.sub(" ", text.strip())))
    return Imported(NOTATION, replace(recipe, notes=(*recipe.notes, *notes)))


def _scale(found: PromptLora) -> str:
    """The parameter that says the strengths, with a comma before it; empty where it is 1 everywhere."""
    if found.blocks is None:
        if found.text_encoder == found.unet:
            return "" if found.unet == 1 else f", scale={_number(found.unet)}"
        return f", scale={{BASE: {_number(found.text_encoder)}, *: {_number(found.unet)}}}"
    lanes = found.scales(load(_ARCHITECTURE[len(found.blocks)]))
    return f", scale={_rules(lanes)}"


def _rules(lanes: Mapping[str, Fraction]) -> str:
    """The numbers of lanes as rules, but for those that are 0: what no rule names is 0 for a LoRA."""
    said = [f"{lane}: {_number(value)}" for lane, value in lanes.items() if value and lane != "VAE"]
    return "{" + ", ".join(said or ["*: 0"]) + "}"


def _number(value: Fraction) -> str:
    return spell(number_node(value))
