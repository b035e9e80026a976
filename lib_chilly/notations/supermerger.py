"""SuperMerger's merges -> one step of ours, with notes on what it computes otherwise; its metadata's `sd_merge_recipe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ..expression import shortened
from .draft import Draft, Imported, weights_text
from .element_lines import (
    SD1_BLOCKS,
    SDXL_BLOCKS,
    Blocks,
    Rule,
    element_rules,
    lane_runs,
    matching,
    sd1_blocks,
    sdxl_blocks,
    split_lines,
)
from .supermerger_adjust import WORD as ADJUST
from .supermerger_adjust import rules_of_layers, write_adjust

METADATA = "SuperMerger's metadata"
_METHODS = {
    "Weight": ("weighted_sum", 2, ("alpha",)),
    "Add": ("add_difference", 3, ("alpha",)),
    "Triple": ("triple_sum", 3, ("alpha", "beta")),
    "Twice": ("sum_twice", 3, ("alpha", "beta")),
}
"""A word of the mode to (our method, its models, its parameters)."""
_LETTERS = "ABC"
_SELF = "self"
"""The calculation that multiplies A, and reads no other model."""
_NOT_BY_SELF = ("to_out", "proj_out", "norm")
"""What keys have in their names that it leaves alone."""
_NO_BLOCK = (ADJUST, "print")
"""What may stand among excluded blocks and is none."""

Weights = Fraction | tuple[Fraction, ...]


@dataclass(frozen=True)
class Merge:
    """One merge as SuperMerger's metadata and its history say it.

    Attributes:
        models: of A, B and C, (name, sha256); as many as were said.
        weights: parameter to a number, or to the numbers of its blocks, BASE's first.
        elements: `Blocks:Elements:Ratio` lines.
        choice, chosen: "Off", "Include" or "Exclude", and the blocks and elements that it is about.
        is_converted: whether SDXL's numbers are 20; the history has them as they were typed, perhaps 26.
        fields: parameter to the field that its weights come from.
        adjust: the numbers of Adjust.
    """

    models: Sequence[tuple[object, object]]
    mode: str
    calcmode: str
    weights: Mapping[str, Weights]
    elements: Sequence[str] = ()
    choice: str = "Off"
    chosen: Sequence[str] = ()
    is_converted: bool = True
    fields: Mapping[str, str] = field(default_factory=dict)
    adjust: Sequence[Fraction] = ()

    @property
    def neutral(self) -> Fraction:
        """The number of keys that stay A's."""
        return Fraction(self.calcmode == _SELF)


def read_metadata(recipe: Mapping[str, object], models: Mapping[str, object]) -> Imported:
    """Read an `sd_merge_recipe` of SuperMerger's.

    Args:
        models: `sd_merge_models`, hash to what is known of a model; the recipe itself has hashes alone.

    Raises:
        RecipeError: it lacks something, or needs a method that does not exist here.
    """
    draft = Draft(METADATA)
    found = [named(recipe.get(f"model_{letter.lower()}"), models) for letter in _LETTERS]
    uses_blocks = recipe.get("mbw") in (True, "True")
    weights: dict[str, Weights] = {}
    for name in ("alpha", "beta"):
        base, rest = recipe.get(f"base_{name}"), recipe.get(f"weights_{name}")
        if uses_blocks and rest not in (None, "", []):
            weights[name] = _listed(draft, base, rest, name)
        elif base is not None and base != "":
            weights[name] = draft.number(base, f"base_{name}")
    choice = next((word for word in ("Include", "Exclude") if word in recipe), "Off")
    merge = Merge(
        found,
        _word(recipe.get("mode")),
        _word(recipe.get("calcmode") or "normal"),
        weights,
        split_lines(recipe.get("elemental_merge"), draft),
        choice,
        split_lines(recipe.get(choice), draft),
        fields={name: f"base_{name}" if isinstance(value, Fraction) else f"weights_{name}" for name, value in weights.items()},
    )
    write(merge, draft)
    draft.note(
        "SuperMerger's metadata name neither the dtype nor Adjust nor a baked VAE: fp16 is written unless something else "
        "is asked for. If the others were used, add adjust(...) as the last step, and save(vae=...)."
    )
    return draft.finish()


def named(said: object, models: Mapping[str, object]) -> tuple[object, object]:
    """(name, sha256) of a model that a recipe means by its hash, or by its name."""
    if isinstance(said, str) and isinstance(entry := models.get(said), Mapping):
        return entry.get("name"), said
    is_hash = isinstance(said, str) and len(said) >= 10 and not set(said.lower()) - set("0123456789abcdef")
    return (None if is_hash else said), None


def write(merge: Merge, draft: Draft) -> None:
    """Write the merge as a step, and note what is not the same.

    Raises:
        RecipeError: a calculation or a mode that does not exist here, a model or a weight that is not said.
    """
    if not merge.mode or not merge.calcmode:
        missing = "calculation, such as 'normal'" if merge.mode else "mode, such as 'Weight sum'"
        raise draft.error(f"it names no {missing}.")
    if merge.calcmode not in ("normal", _SELF):
        raise draft.error(f"SuperMerger's calculation '{shortened(merge.calcmode)}' is not read here.")
    if (word := next((word for word in _METHODS if word in merge.mode), None)) is None:
        raise draft.error(f"there is no method here for SuperMerger's mode '{shortened(merge.mode)}'.")
    method, count, parameters = ("free_sum", 1, ("alpha",)) if merge.calcmode == _SELF else _METHODS[word]
    models = [
        draft.model(name, f"model {letter} (SuperMerger's recipe has its hash; sd_merge_models has the name)", sha256)
        for letter, (name, sha256) in zip(_LETTERS[:count], merge.models, strict=False)
    ]
    values, fields = [], {}
    for name in parameters:
        if name not in merge.weights:
            raise draft.error(f"it does not say {name}, which the mode '{merge.mode}' needs.")
        values.append(f"{name}={_value(merge, name, draft)}")
        fields[name] = merge.fields.get(name, name) + (" and the element lines" if merge.elements and name == "alpha" else "")
    step = draft.step(f"{method}({', '.join(models + values)})", **fields)
    write_adjust(merge.adjust, step, draft, merge.choice, merge.chosen, _blocks(merge).order[-1])
    _note_differences(merge, draft)


def _value(merge: Merge, name: str, draft: Draft) -> str:
    """A parameter's value; the lines about elements are alpha's alone, what is left out is left out of both."""
    blocks, weights = _blocks(merge), merge.weights[name]
    rules = element_rules(merge.elements, blocks, draft) if name == "alpha" else []
    if merge.calcmode == _SELF:  # 0 leaves a key alone
        weights = (weights or Fraction(1)) if isinstance(weights, Fraction) else tuple(each or Fraction(1) for each in weights)
        rules = [(pattern, number or Fraction(1)) for pattern, number in rules]
    return _chosen(merge, weights, rules, blocks, draft)


def _chosen(merge: Merge, weights: Weights, rules: list[Rule], blocks: Blocks, draft: Draft) -> str:
    """Weights and rules, with what was included or excluded, and what a calculation leaves alone."""
    alone = [(f"*/*{part}*", Fraction(1)) for part in _NOT_BY_SELF if merge.calcmode == _SELF]
    names = [item for item in merge.chosen if item in blocks.order or item == "VAE"]
    elements = matching([item for item in merge.chosen if item not in names and item not in _NO_BLOCK], blocks, draft)
    if merge.choice == "Exclude":
        left = [(pattern, merge.neutral) for pattern in (*_lanes(names, blocks), *(f"*/*{element}*" for element in elements))]
        left += rules_of_layers(merge.neutral, merge.neutral) if ADJUST in merge.chosen else []
        return weights_text(weights, [*rules, *left, *alone])
    if merge.choice == "Include" and merge.chosen:
        if rules or (elements and not isinstance(weights, Fraction)):
            raise draft.error("Include goes here with block weights or with elements, not with both. Write the rules by hand.")
        return weights_text(merge.neutral, [*_included(merge, weights, names, elements, blocks), *alone])
    return weights_text(weights, [*rules, *alone])


def _included(merge: Merge, weights: Weights, names: Sequence[str], elements: Sequence[str], blocks: Blocks) -> list[Rule]:
    def number_of(name: str) -> Fraction:
        index = blocks.order.index("BASE" if name == "VAE" else name)
        return weights if isinstance(weights, Fraction) else weights[index] if index < len(weights) else merge.neutral

    rules = [(f"*/*{element}*", weights) for element in elements if isinstance(weights, Fraction)]
    rules += rules_of_layers(number_of("IN00"), number_of(blocks.order[-1])) if ADJUST in merge.chosen else []
    return rules + [(lane, number_of(name)) for name in names for lane in _lanes([name], blocks)]


def _lanes(names: Sequence[str], blocks: Blocks) -> list[str]:
    return [*lane_runs(names, blocks), *(["VAE"] if "VAE" in names and "BASE" not in names else [])]


def _listed(draft: Draft, base: object, rest: object, name: str) -> Weights:
    """BASE's number and the blocks', in one list.

    The metadata hold the blocks' apart from BASE's; where a text has them, it has all. SDXL's have one more, which nothing reads.
    """
    numbers = draft.numbers(rest, f"weights_{name}")
    if isinstance(rest, str):
        return numbers
    numbers = (draft.number(base, f"base_{name}"), *numbers)
    return numbers[:-1] if len(numbers) == len(SDXL_BLOCKS) + 1 else numbers


def _blocks(merge: Merge) -> Blocks:
    lists = [value for value in merge.weights.values() if not isinstance(value, Fraction)]
    if _is_sdxl(merge):
        return sdxl_blocks()
    return sd1_blocks(is_certain=merge.is_converted and any(len(value) == len(SD1_BLOCKS) for value in lists))


def _is_sdxl(merge: Merge) -> bool:
    return any(not isinstance(value, Fraction) and len(value) == len(SDXL_BLOCKS) for value in merge.weights.values())


def _word(value: object) -> str:
    """A word of the recipe; empty where it is no text."""
    return value if isinstance(value, str) else ""


def _note_differences(merge: Merge, draft: Draft) -> None:
    draft.note(
        "SuperMerger merges only keys with 'weight' or 'bias' in their names: of SDXL's and SD 2.x's OpenCLIP it would have kept "
        "A's text_projection, positional_embedding and logit_scale; here they are merged as the rest of their lane."
    )
    draft.note(
        "SuperMerger rounds between its steps (B - C to B's dtype; since November 2025 add difference and triple sum in the "
        "files' dtype): its last bits are others. EMA copies, which it merges as BASE, are dropped here."
    )
    lists = [value for value in merge.weights.values() if not isinstance(value, Fraction)]
    if any(len(value) == 110 for value in lists):
        draft.note(
            "of 110 numbers SuperMerger never reads the last, VAE's: its VAE takes the first; and beta's list overrides alpha."
        )
    if merge.elements and _is_sdxl(merge):
        draft.note(
            "on SDXL SuperMerger reads the blocks of element lines shifted: M00 as its OUT02, IN09 to IN11 as its M00 to OUT01, "
            "OUT00.. as its OUT03..; here a block's name means that block."
        )
    elif (merge.elements or merge.chosen) and not lists:
        draft.note(
            "no list says the architecture, so blocks are SD 1.x's. On SDXL, IN00 is LABEL in SuperMerger too: add a rule."
        )
