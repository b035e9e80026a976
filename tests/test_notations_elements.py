"""Imported block weights and element lines give every key the number that the other program gives it, by its own rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import Architecture, known_keys, load
from lib_chilly.blocks import KeyWeights, resolve
from lib_chilly.notations import recipe_from_metadata
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe


def supermerger_block(key: str, architecture: Architecture) -> str:
    """The block that SuperMerger counts a key to."""
    lane = architecture.lane_of(key) or ""
    return {"TIME": "IN00", "LABEL": "IN00", "FINAL": architecture.slots[-1]}.get(
        lane, lane if lane in architecture.slots else "BASE"
    )


def supermerger_number(key: str, block: str, numbers: dict[str, Fraction], lines: Sequence[str]) -> Fraction:
    """A key's alpha: its block's number, then each line that means the key, the last one winning."""
    order = list(numbers)
    value = numbers[block]
    for line in lines:
        blocks, elements, ratio = line.split(":")
        meant = []
        for word in blocks.split():
            first, _, last = word.partition("-")
            meant += order[order.index(first) : order.index(last) + 1] if last else [first]
        in_block = not meant or ((block in meant) is (meant[0] != "NOT"))
        if in_block and (not elements or any(element in key for element in elements.split())):
            value = Fraction(ratio)
    return value


def weights_of(recipe: dict, architecture: Architecture) -> KeyWeights:
    imported = recipe_from_metadata({"sd_merge_recipe": json.dumps(recipe)})
    assert imported is not None
    again = parse_recipe(imported.recipe.canonical())
    assert again == imported.recipe
    (call,) = again.calls()
    return resolve(Checker.of(again).weights(call.parameters[0][1]), architecture, Fraction(0))


WORDS = ["attn", "attn1", "attn2", "attn2.to_k", "norm", "bias", "ff", "proj", "0", "time_embed", "to_out.0 in_layers", "none"]


@st.composite
def lines(draw: st.DrawFn, order: Sequence[str]) -> str:
    blocks = draw(st.lists(st.sampled_from(order), max_size=3, unique=True))
    if len(blocks) == 2 and draw(st.booleans()):
        first, last = sorted(blocks, key=order.index)
        blocks = [f"{first}-{last}"]
    if blocks and draw(st.booleans()):
        blocks = ["NOT", *blocks]
    return f"{' '.join(blocks)}:{draw(st.sampled_from(['', *WORDS]))}:{draw(st.sampled_from(['0', '1', '0.25', '-0.5']))}"


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
@given(data=st.data())
def test_element_lines_give_every_key_supermergers_number(name: str, data: st.DataObject):
    architecture = load(name)
    order = architecture.slots
    written = data.draw(st.lists(lines(order), max_size=5))
    numbers = {slot: Fraction(data.draw(st.integers(0, 8)), 8) for slot in order}
    rest = [float(number) for number in numbers.values()][1:]
    weights = weights_of(
        {
            "type": "sd-webui-supermerger",
            "mode": "Weight sum",
            "mbw": True,
            "base_alpha": float(numbers["BASE"]),
            "weights_alpha": rest if name == "sd1" else [*rest, 0],
            "elemental_merge": written,
            "model_a": "A",
            "model_b": "B",
        },
        architecture,
    )
    for key in known_keys(name):
        lane = architecture.lane_of(key)
        if lane is not None:
            expected = supermerger_number(key, supermerger_block(key, architecture), numbers, written)
            assert weights.of(key, lane)[0] == expected, (key, written)


def mixer_number(key: str, lane: str, numbers: dict[str, Fraction], lines: Sequence[str], last: str) -> Fraction:
    """A key's alpha with block weights: TIME and FINAL are the last block's, VAE and LABEL are left alone."""
    if lane in ("VAE", "LABEL"):
        return Fraction(0)
    block = "BASE" if lane.startswith("CLIP") else lane
    value = numbers[last if lane in ("TIME", "FINAL") else block]
    for line in lines:
        blocks, elements, ratio = line.split(":")
        meant = blocks.split()
        applies = block in meant if meant else lane in ("TIME", "FINAL")
        if applies and any(element in key for element in elements.split() or [""]):
            value = Fraction(ratio)
    return value


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", ["sd1", "sdxl"])
@given(data=st.data())
def test_block_weights_give_every_key_model_mixers_number(name: str, data: st.DataObject):
    architecture = load(name)
    order = architecture.slots
    numbers = {slot: Fraction(data.draw(st.integers(0, 8)), 8) for slot in order}
    blocks = st.lists(st.sampled_from(order), max_size=2, unique=True).map(" ".join)
    line = st.tuples(blocks, st.sampled_from(WORDS), st.sampled_from(["0", "1", "0.25"])).map(":".join)
    written = data.draw(st.lists(line, max_size=4))
    weights = weights_of(
        {
            "type": "sd-webui-model-mixer",
            "weights_alpha": [[float(number) for number in numbers.values()]],
            "alpha": [0.5],
            "model_a": "A",
            "model_b": "B",
            "mode": ["Sum"],
            "calcmode": ["Normal"],
            "elemental": [",".join(written)],
            "use_elemental": [True],
            "use_mbws": [True],
        },
        architecture,
    )
    for key in known_keys(name):
        lane = architecture.lane_of(key)
        if lane is not None:
            assert weights.of(key, lane)[0] == mixer_number(key, lane, numbers, written, order[-1]), (key, written)
