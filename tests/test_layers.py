"""Transformer layers of a block in the mixer: each is a rule in the recipe, and its keys get the number that is shown."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import known_keys, load
from lib_chilly.blocks import resolve
from lib_chilly.models import ModelLibrary
from lib_chilly.synth import synthesise
from lib_chilly.ui.comes_to import Knowledge
from lib_chilly.ui.draft import read_draft
from lib_chilly.ui.layers import layers_of
from lib_chilly.ui.mixer_view import mixed, mixer_view
from lib_chilly.ui.problem import FieldError
from lib_chilly.ui.recipe_edits import edited

SDXL = load("sdxl")
TEXT = "MIX = 0.5*A + 0.5*B\n"
LAYERS = [layer for layers in layers_of("sdxl").values() for layer in layers]
HUNDREDTHS = st.integers(0, 100).map(lambda number: number / 100)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ModelLibrary:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("AB"):
        synthesise("sdxl", "tiny", folder / f"{name}.safetensors", seed=seed)
    return ModelLibrary([folder])


@pytest.fixture(scope="module")
def edit(library):
    knowledge = Knowledge()
    return lambda text, **change: edited(text, None, {"step": "MIX", **change}, library, knowledge).text


def shown(text):
    draft = read_draft(text)
    return mixer_view(mixed(draft, "MIX", None, SDXL), draft)


def keys_with(text, number):
    """The keys that the engine gives a number."""
    draft = read_draft(text)
    weights = resolve(draft.checker.weights(mixed(draft, "MIX", None, SDXL).value), SDXL, Fraction(0))
    return {key for key in known_keys("sdxl") if float(weights.of(key, SDXL.lane_of(key))[0]) == number}


def test_layer_that_is_set_is_a_rule_for_its_keys_alone(edit):
    after = edit(TEXT, do="weights", values={"IN07.1": 0.8})
    assert after == "MIX = weighted_sum(A, B, alpha={*: 0.5, IN07/*.transformer_blocks.1.*: 0.8})\n"
    assert shown(after)["layers"] == {"IN07.1": 0.8}
    assert shown(after)["rules"] == "IN07:*.transformer_blocks.1.*:0.8"
    assert keys_with(after, 0.8) == {key for key in known_keys("sdxl") if ".input_blocks.7.1.transformer_blocks.1." in key}


def test_layer_follows_its_block_until_it_is_set_and_again_after_it_is_linked(edit):
    apart = edit(edit(TEXT, do="weights", values={"M00.9": 0.1}), do="weights", values={"M00": 0.7})
    assert (shown(apart)["values"]["M00"], shown(apart)["layers"]) == (0.7, {"M00.9": 0.1})
    same = edit(apart, do="weights", values={"M00.9": 0.7})
    assert shown(same)["layers"] == {"M00.9": 0.7}, "a layer that was set stays when its block moves on"
    linked = edit(apart, do="weights", values={"M00.9": None})
    assert shown(linked)["layers"] == {} and "transformer_blocks" not in linked
    assert shown(linked)["values"]["M00"] == 0.7


def test_rule_for_keys_within_layers_sets_no_layer_apart_and_one_for_all_layers_does():
    within = "MIX = weighted_sum(A, B, alpha={*: 0.5, attn2: 1})\n"
    assert shown(within)["layers"] == {}
    for_all = "MIX = weighted_sum(A, B, alpha={*: 0.5, IN04/*.transformer_blocks.*: 1})\n"
    assert shown(for_all)["layers"] == {"IN04.0": 1, "IN04.1": 1}


def test_layer_that_a_wider_rule_or_a_longer_list_sets_apart_can_have_its_blocks_number(edit):
    numbers = ",".join("1" if name == "IN410" else "0.5" for name in SDXL.lists[0].slots)
    for text in (
        "MIX = weighted_sum(A, B, alpha={*: 0.5, IN04/*.transformer_blocks.*: 1})\n",
        f"MIX = weighted_sum(A, B, alpha=[{numbers}])\n",
    ):
        assert shown(text)["layers"]["IN04.0"] == 1
        linked = edit(text, do="weights", values={"IN04.0": None})
        assert shown(linked)["layers"]["IN04.0"] == shown(text)["values"]["IN04"]


def test_layer_that_there_is_not_is_refused(edit):
    for name in ("IN07.10", "IN00.0", "IN07.x"):
        with pytest.raises(FieldError, match="SDXL has no lane"):
            edit(TEXT, do="weights", values={name: 0.5})


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from([*LAYERS, "IN07", "M00", "VAE"]), HUNDREDTHS, min_size=1), min_size=1, max_size=3)
)
def test_after_any_strokes_layers_blocks_and_lanes_are_shown_as_they_were_set(edit, strokes):
    text, wanted = TEXT, {}
    for values in strokes:
        text = edit(text, do="weights", values=values)
        wanted |= values
    now = shown(text)
    assert {name: (now["layers"] | now["values"]).get(name, now["values"][name.partition(".")[0]]) for name in wanted} == wanted
