"""Block weights: every way people write them gives each lane and key the number that it has in SuperMerger."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from checkpoints import model, plan_in, tiny, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import known_keys, load
from lib_chilly.blocks import KeyWeights, presets, resolve
from lib_chilly.errors import RecipeError
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe

INS, OUTS = [f"IN{i:02}" for i in range(12)], [f"OUT{i:02}" for i in range(12)]
SD1_SLOTS = ["BASE", *INS, "M00", *OUTS]
SDXL_SLOTS = ["BASE", *INS[:9], "M00", *OUTS[:9]]
JOINT, DOUBLE, SINGLE = ([f"{letter}{i:02}" for i in range(count)] for letter, count in (("J", 24), ("D", 19), ("S", 38)))
SLOTS = {
    "sd1": SD1_SLOTS,
    "sd2": SD1_SLOTS,
    "sdxl": SDXL_SLOTS,
    "sdxl-refiner": SD1_SLOTS,
    "sd3": ["BASE", *JOINT],
    "flux": ["BASE", *DOUBLE, *SINGLE],
}
FOLLOWS = {
    "sd1": {"CLIP_L": "BASE", "VAE": "BASE", "TIME": "IN00", "FINAL": "OUT11"},
    "sd2": {"CLIP_L": "BASE", "VAE": "BASE", "TIME": "IN00", "FINAL": "OUT11"},
    "sdxl": {"CLIP_L": "BASE", "CLIP_G": "BASE", "VAE": "BASE", "TIME": "IN00", "LABEL": "IN00", "FINAL": "OUT08"},
    "sdxl-refiner": {"CLIP_G": "BASE", "VAE": "BASE", "TIME": "IN00", "LABEL": "IN00", "FINAL": "OUT11"},
    "sd3": {"CLIP_L": "BASE", "CLIP_G": "BASE", "T5": "BASE", "VAE": "BASE", "EMBED": "J00", "FINAL": "J23"},
    "flux": {"CLIP_L": "BASE", "T5": "BASE", "VAE": "BASE", "EMBED": "D00", "FINAL": "S37"},
}
LANES = {name: [*FOLLOWS[name], *SLOTS[name][1:]] for name in SLOTS}
"""A slot that is no lane: BASE. Lanes that are no slots follow one."""


def weights(
    alpha: str, architecture: str = "sd1", parameter: str = "alpha", method: str = "weighted_sum(A, B, alpha=X)"
) -> KeyWeights:
    """What a recipe's text says for a parameter, ready for an architecture."""
    recipe = parse_recipe(f"M = {method.replace('X', alpha)}")
    said = Checker.of(recipe).parameters(recipe.calls()[0])[parameter]
    return resolve(said, load(architecture), Fraction(0))


def lanes(alpha: str, architecture: str = "sd1") -> dict[str, Fraction]:
    """Lane to the number of its keys that no rule over keys sets apart."""
    found = weights(alpha, architecture)
    return {lane: found.of("?", lane)[0] for lane in LANES[architecture]}


def expected(numbers: Mapping[str, Fraction], architecture: str) -> dict[str, Fraction]:
    """What a list of slots' numbers gives each lane; 0 where it has none."""
    return {lane: numbers.get(FOLLOWS[architecture].get(lane, lane), Fraction(0)) for lane in LANES[architecture]}


def listed(numbers: list[Fraction] | list[str]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


COUNTED = [f"0.{i + 100}" for i in range(110)]
"""Different numbers."""


# ---- lists ----


@pytest.mark.parametrize(
    ("architecture", "slots"),
    [
        ("sd1", SD1_SLOTS),
        ("sd1", SD1_SLOTS[1:]),
        ("sdxl", SDXL_SLOTS),
        ("sdxl", SDXL_SLOTS[1:]),
        ("sdxl", SD1_SLOTS),
        ("sdxl", SD1_SLOTS[1:]),
        ("sd2", SD1_SLOTS),
        ("sdxl-refiner", SD1_SLOTS[1:]),
        ("sd3", SLOTS["sd3"]),
        ("sd3", SLOTS["sd3"][1:]),
        ("flux", SLOTS["flux"]),
        ("flux", SLOTS["flux"][1:]),
    ],
    ids=["26", "25", "20", "19", "26 for SDXL", "25 for SDXL", "26 for SD2", "25 for refiner", "25", "24", "58", "57"],
)
def test_list_of_numbers_gives_each_lane_the_number_it_has_in_supermerger(architecture, slots):
    numbers = COUNTED[: len(slots)]
    given = {slot: Fraction(number) for slot, number in zip(slots, numbers, strict=True) if slot in SLOTS[architecture]}
    assert lanes(listed(numbers), architecture) == expected(given, architecture)


def test_base_goes_to_text_encoders_and_vae_in00_to_time_and_label_the_last_out_to_final():
    numbers = ["0.5", "0.1", *["0"] * 8, "0", *["0"] * 8, "0.9"]
    found = {lane: number for lane, number in lanes(listed(numbers), "sdxl").items() if number}
    half, tenth, most = Fraction("0.5"), Fraction("0.1"), Fraction("0.9")
    assert found == {
        "CLIP_L": half,
        "CLIP_G": half,
        "VAE": half,
        "IN00": tenth,
        "TIME": tenth,
        "LABEL": tenth,
        "OUT08": most,
        "FINAL": most,
    }


@pytest.mark.parametrize("count", [25, 26])
def test_list_of_sd1_for_sdxl_names_the_slots_that_are_cut(count):
    notes = weights(listed(COUNTED[:count]), "sdxl").notes
    assert notes[0] == "the numbers for IN09, IN10, IN11, OUT09, OUT10 and OUT11 are cut: SDXL has no such blocks."


@pytest.mark.parametrize(
    ("architecture", "count", "named"),
    [("sd1", 25, "CLIP_L and VAE"), ("sdxl", 19, "CLIP_L, CLIP_G and VAE"), ("sdxl", 25, "CLIP_L, CLIP_G and VAE")],
)
def test_list_without_base_says_which_lanes_keep_their_neutral_value(architecture, count, named):
    assert f"{named} keep 0: the list has no number for BASE." in weights(listed(COUNTED[:count]), architecture).notes


@pytest.mark.parametrize("architecture", ["sd1", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("count", [0, 1, 12, 18, 21, 23, 27, 60, 109])
def test_list_of_another_length_is_refused_with_the_lengths_that_are_right(architecture, count):
    with pytest.raises(RecipeError) as caught:
        weights(listed(["0.5"] * count), architecture)
    says = {
        "sd1": "a list for SD 1.x has 26 numbers (BASE, IN00 to IN11, M00, OUT00 to OUT11), or 25 without BASE; ",
        "sdxl": "a list for SDXL has 20 numbers (BASE, IN00 to IN08, M00, OUT00 to OUT08), or 19 without BASE "
        "(26 or 25 are cut to these), or the 110 of SuperMerger's extended list; ",
        "sd3": "a list for SD 3 has 25 numbers (BASE, J00 to J23), or 24 without BASE (26 is resampled to these); ",
        "flux": "a list for Flux.1 has 58 numbers (BASE, D00 to D18, S00 to S37), or 57 without BASE "
        "(26 or 25 are resampled to these), or the 61 of SuperMerger's Flux list; ",
    }
    assert str(caught.value) == f"{says[architecture]}this one has {count}."


@pytest.mark.parametrize("count", [19, 20])
def test_list_of_sdxl_is_refused_for_sd1(count):
    with pytest.raises(RecipeError, match=f"this one has {count}"):
        weights(listed(["0.5"] * count), "sd1")


def curve(numbers: list[str], place: float) -> float:
    """The value of numbers drawn as one line over 0..1."""
    return float(np.interp(place, np.linspace(0, 1, len(numbers)), [float(number) for number in numbers]))


@pytest.mark.parametrize(("architecture", "count"), [("sd3", 26), ("flux", 26), ("flux", 25)])
def test_list_of_sd1_for_a_model_without_unet_is_stretched_over_its_blocks_and_says_so(architecture, count):
    numbers, slots = COUNTED[:count], SLOTS[architecture][1:]
    found = weights(listed(numbers), architecture)
    wanted = [curve(numbers[-25:], index / (len(slots) - 1)) for index in range(len(slots))]
    assert [float(found.lanes[slot]) for slot in slots] == pytest.approx(wanted, abs=1e-12)
    assert float(found.lanes["T5"]) == (float(numbers[0]) if count == 26 else 0)
    title, blocks = {"sd3": ("SD 3", "J00 to J23"), "flux": ("Flux.1", "D00 to D18 and S00 to S37")}[architecture]
    length = len(slots) + (count == 26)
    assert found.notes[0] == (
        f"the {count} numbers are resampled to {title}'s {length}: IN00 to OUT11 are stretched over {blocks}."
    )


@pytest.mark.parametrize("architecture", ["sd3", "flux"])
@pytest.mark.parametrize("name", ["GRAD_V", "SMOOTHSTEP", "ALL_B"])
def test_preset_for_a_model_without_unet_is_one_curve_over_its_blocks(architecture, name):
    slots, found = SLOTS[architecture][1:], weights(f'preset("{name}")', architecture)
    wanted = [curve([str(number) for number in map(float, presets()[name][1:])], i / (len(slots) - 1)) for i in range(len(slots))]
    assert [float(found.lanes[slot]) for slot in slots] == pytest.approx(wanted, abs=1e-9)
    assert found.lanes["VAE"] == presets()[name][0]
    assert "resampled from 26 numbers" in found.notes[0]


def test_61_numbers_of_supermerger_reach_the_lanes_of_flux():
    slots = ["CLIP_L", "T5", "EMBED", *DOUBLE, *SINGLE, "FINAL"]
    found = weights(listed(COUNTED[:61]), "flux")
    assert found.lanes == {lane: Fraction(number) for lane, number in zip(slots, COUNTED[:61], strict=True)} | {"VAE": 0}
    assert found.notes == (
        "the 61 numbers are read as SuperMerger's Flux list.",
        "VAE keeps 0: SuperMerger's Flux list has no number for it.",
    )
    keys = known_keys("flux")
    assert {found.of(key, load("flux").lane_of(key)) for key in keys if key.startswith("vae.")} == {(0, None)}


DEPTHS = {"IN4": 2, "IN5": 2, "IN7": 10, "IN8": 10, "MID": 10, **{f"OUT{i}": 10 if i < 3 else 2 for i in range(6)}}


def fine_slots() -> list[str]:
    """SuperMerger's 110 names for SDXL: block, module within it, layer of its transformer."""
    slots = ["CLIPL", "CLIPG", "IN0", *(f"IN{i}0" for i in range(4))]
    for block in ("IN4", "IN5", "IN6", "IN7", "IN8"):
        slots += [f"{block}0", *([f"{block}1", *(f"{block}1{i}" for i in range(DEPTHS[block]))] if block in DEPTHS else [])]
    slots += ["MID00", "MID10", *(f"MID10{i}" for i in range(10)), "MID20"]
    for number in range(9):
        block = f"OUT{number}"
        slots += [f"{block}0", *([f"{block}1", *(f"{block}1{i}" for i in range(DEPTHS[block]))] if block in DEPTHS else [])]
        slots += [f"{block}2"] * (number in (2, 5))
    return [*slots, "OUT9", "TIME", "LABEL", "VAE"]


def fine_slot(key: str) -> str:
    """The name that a key of SDXL has among the 110."""
    starts = {
        "conditioner.embedders.0.": "CLIPL",
        "conditioner.embedders.1.": "CLIPG",
        "first_stage_model.": "VAE",
        "model.diffusion_model.time_embed.": "TIME",
        "model.diffusion_model.label_emb.": "LABEL",
        "model.diffusion_model.out.": "OUT9",
    }
    for start, name in starts.items():
        if key.startswith(start):
            return name
    side, *numbers = re.fullmatch(
        r"model\.diffusion_model\.(input|middle|output)_block(?:s\.(\d))?\.(\d)\.(?:transformer_blocks\.(\d)\.)?.*", key
    ).groups()
    block, module, layer = numbers
    name = {"input": f"IN{block}{module}", "middle": f"MID{module}0", "output": f"OUT{block}{module}"}[side]
    return name + (layer or "")


def test_110_numbers_of_supermerger_reach_every_key_of_sdxl():
    slots, row = fine_slots(), load("sdxl")
    assert len(slots) == len(set(slots)) == 110
    numbers = {slot: Fraction(number) for slot, number in zip(slots, COUNTED, strict=True)}
    found = weights(listed(COUNTED), "sdxl")
    for key in known_keys("sdxl"):
        number, label = found.of(key, row.lane_of(key))
        assert number == numbers[fine_slot(key)], key
        assert label in (None, fine_slot(key)), key
    assert {fine_slot(key) for key in known_keys("sdxl")} == set(slots) - {"IN0"}
    assert found.notes == (
        "the 110 numbers are read as SuperMerger's extended list.",
        "the number for IN0 is left out: no key takes it.",
    )


def test_rule_wins_over_a_number_of_the_fine_list_and_lanes_with_one_number_have_plain_rows(tmp_path_factory):
    folder = tiny(tmp_path_factory, "xl-a", "sdxl").parent
    tiny(tmp_path_factory, "xl-b", "sdxl", seed=1)
    plan = plan_in(folder, f"M = weighted_sum(xl-a, xl-b, alpha={{*: {listed(COUNTED)}, IN07: 0.5, attn2: 1}})")
    numbers = dict(zip(fine_slots(), map(Fraction, COUNTED), strict=True))
    alphas = {label: row.exact.get(1, Fraction(0)) for label, row in plan.rows.items()}
    assert (alphas["CLIP_L"], alphas["VAE"], alphas["IN03"]) == (numbers["CLIPL"], numbers["VAE"], numbers["IN30"])
    assert (alphas["IN08/IN817"], alphas["OUT02/OUT22"], alphas["M00/MID109"]) == (
        numbers["IN817"], numbers["OUT22"], numbers["MID109"])  # fmt: skip
    assert (alphas["IN07"], alphas["IN07/attn2"], alphas["IN08/attn2"]) == (Fraction(1, 2), 1, 1)
    assert not any(label.startswith("IN07/IN7") for label in alphas)


def test_fine_list_is_said_in_words(tmp_path_factory):
    folder = tiny(tmp_path_factory, "xl-a", "sdxl").parent
    tiny(tmp_path_factory, "xl-b", "sdxl", seed=1)
    numbers = ["1" if slot.startswith("MID") else "0" for slot in fine_slots()]
    notes = plan_in(folder, f"M = weighted_sum(xl-a, xl-b, alpha={{*: {listed(numbers)}, VAE: 1}})").notes
    said = next(note for note in notes if note.startswith("xl-a with xl-b: "))
    assert said.endswith("from xl-a, the rest from xl-b, VAE from xl-b")
    assert "IN00 to IN819" in said


DECIMALS = st.decimals(-2, 2, places=6).map(str)


@settings(deadline=None)
@given(st.lists(DECIMALS, min_size=26, max_size=26))
def test_any_list_of_26_numbers_round_trips_through_text_and_lanes(numbers):
    recipe = parse_recipe(f"M = weighted_sum(A, B, alpha={listed(numbers)})")
    for text in (f"M = weighted_sum(A, B, alpha={listed(numbers)})", recipe.canonical()):
        again = parse_recipe(text)
        found = resolve(Checker.of(again).parameters(again.calls()[0])["alpha"], load("sd1"), Fraction(0)).lanes
        assert [found["CLIP_L"], *(found[slot] for slot in SD1_SLOTS[1:])] == [Fraction(number) for number in numbers]
        assert (found["VAE"], found["TIME"], found["FINAL"]) == (found["CLIP_L"], found["IN00"], found["OUT11"])


@settings(deadline=None, max_examples=30)
@given(st.lists(DECIMALS, min_size=20, max_size=20))
def test_any_list_of_20_numbers_round_trips_to_the_lanes_of_sdxl(numbers):
    found = lanes(listed(numbers), "sdxl")
    assert [found["CLIP_G"], *(found[slot] for slot in SDXL_SLOTS[1:])] == [Fraction(number) for number in numbers]


# ---- presets ----

X = [i / 24 for i in range(25)]


def smooth(x: float) -> float:
    return x * x * (3 - 2 * x)


def wave(x: float, waves: int) -> float:
    """A smooth step up and one down in turn, `waves` of them between 0 and 1."""
    place = min(int(x * waves), waves - 1)
    part = smooth(x * waves - place)
    return part if place % 2 == 0 else 1 - part


def block(low: int, high: int, values: Mapping[int, float] | None = None) -> list[float]:
    """1 in the slots `low` to `high` of 26, BASE counted as 0; others as told."""
    return [(values or {}).get(slot, float(low <= slot <= high)) for slot in range(1, 26)]


CURVES = {
    "GRAD_V": [abs(12 - i) / 12 for i in range(25)],
    "GRAD_A": [1 - abs(12 - i) / 12 for i in range(25)],
    "FLAT_25": [0.25] * 25,
    "FLAT_75": [0.75] * 25,
    "WRAP08": [1 - x for x in block(5, 21)],
    "WRAP12": [1 - x for x in block(7, 19)],
    "WRAP14": [1 - x for x in block(8, 18)],
    "WRAP16": [1 - x for x in block(9, 17)],
    "MID12_50": [x / 2 for x in block(6, 19)],
    "OUT07": block(19, 25),
    "OUT12": block(14, 25),
    "OUT12_5": block(14, 25, {13: 0.5}),
    "RING08_SOFT": block(7, 9, {6: 0.5, 10: 0.5, 16: 0.5, 17: 1, 18: 1, 19: 1, 20: 0.5}),
    "RING08_5": block(7, 10, dict.fromkeys(range(16, 20), 1.0)),
    "RING10_5": block(6, 10, dict.fromkeys(range(16, 21), 1.0)),
    "RING10_3": block(7, 11, dict.fromkeys(range(15, 20), 1.0)),
    "SMOOTHSTEP": [smooth(x) for x in X],
    "REVERSE-SMOOTHSTEP": [1 - smooth(x) for x in X],
    "SMOOTHSTEP*2": [2 * smooth(min(x, 1 - x)) for x in X],
    "R_SMOOTHSTEP*2": [1 - 2 * smooth(min(x, 1 - x)) for x in X],
    "SMOOTHSTEP/2": [wave(x, 2) for x in X],
    "R_SMOOTHSTEP/2": [1 - wave(x, 2) for x in X],
    "SMOOTHSTEP/3": [wave(x, 3) for x in X],
    "R_SMOOTHSTEP/3": [1 - wave(x, 3) for x in X],
    "SMOOTHSTEP/4": [wave(x, 4) for x in X],
    "R_SMOOTHSTEP/4": [1 - wave(x, 4) for x in X],
    "COSINE": [(1 + math.cos(math.pi * x)) / 2 for x in X],
    "REVERSE_COSINE": [(1 - math.cos(math.pi * x)) / 2 for x in X],
    "ALL_A": [0.0] * 25,
    "ALL_B": [1.0] * 25,
}
"""IN00 to OUT11 of the presets whose curve is known."""
DIGEST = "d09b1cd09b3f67aa1f89133bb6ce70537661ce9cbfb5da15ae865d3e5c17ce9f"


@pytest.mark.parametrize("name", CURVES)
def test_preset_is_its_curve_to_ten_decimals(name):
    first, *rest = presets()[name]
    assert first == (1 if name == "ALL_B" else 0)
    assert [round(float(number), 10) for number in rest] == pytest.approx(CURVES[name], abs=1e-10)


def test_presets_are_the_38_known_lists_of_26_numbers():
    assert len(presets()) == 38
    assert {len(numbers) for numbers in presets().values()} == {26}
    assert all(0 <= number <= 1 for numbers in presets().values() for number in numbers)
    told = json.dumps({name: [str(number) for number in numbers] for name, numbers in presets().items()})
    assert hashlib.sha256(told.encode()).hexdigest() == DIGEST


@pytest.mark.parametrize("name", ["GRAD_V", "SMOOTHSTEP*3", "ALL_B", "REVERSE-SMOOTHSTEP"])
def test_preset_in_a_recipe_is_its_list(name):
    numbers = listed([str(float(number)) for number in presets()[name]])
    assert lanes(f'preset("{name}")') == lanes(f'{{*: preset("{name}")}}') == lanes(numbers)


def test_preset_for_sdxl_is_resampled_with_both_ends_and_the_middle_kept():
    found = weights('preset("GRAD_V")', "sdxl")
    assert found.notes == ("preset GRAD_V is resampled from 26 numbers to SDXL's 20.",)
    ins = [found.lanes[slot] for slot in SDXL_SLOTS[1:10]]
    outs = [found.lanes[slot] for slot in SDXL_SLOTS[11:]]
    assert (found.lanes["CLIP_G"], found.lanes["M00"], ins[0], outs[-1]) == (0, 0, 1, 1)
    assert (ins[-1], outs[0]) == (Fraction("0.0833333333"), Fraction("0.0833333333"))
    # A straight line stays one: from 1 to 1/12 in 8 equal steps.
    assert [float(number) for number in ins] == pytest.approx([1 - i * 11 / 96 for i in range(9)], abs=1e-9)
    assert outs == ins[::-1]


@pytest.mark.parametrize("name", CURVES)
def test_resampled_preset_keeps_its_ends_and_its_range(name):
    numbers, found = presets()[name], weights(f'preset("{name}")', "sdxl").lanes
    for short, long in ((SDXL_SLOTS[1:10], numbers[1:13]), (SDXL_SLOTS[11:], numbers[14:])):
        got = [found[slot] for slot in short]
        assert (got[0], got[-1]) == (long[0], long[-1])
        assert min(long) <= min(got) <= max(got) <= max(long)
        # The middle of nine stands midway between the sixth and the seventh of twelve.
        assert got[4] == (long[5] + long[6]) / 2
    assert (found["M00"], found["VAE"]) == (numbers[13], numbers[0])


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"there is no preset 'grad_w'. Did you mean 'GRAD_V'\?"):
        weights('preset("grad_w")')


# ---- rules ----


def only(value: str, *names: str, architecture: str = "sd1", otherwise: str = "0") -> dict[str, Fraction]:
    return {lane: Fraction(value if lane in names else otherwise) for lane in LANES[architecture]}


RULES = {
    "lane": ("{IN04: 0.3}", only("0.3", "IN04")),
    "BASE": ("{BASE: 0.3}", only("0.3", "CLIP_L", "VAE")),
    "exactly its keys": ("{IN00: 0.3, OUT11: 0.3}", only("0.3", "IN00", "OUT11")),
    "range": ("{IN04-IN08: 0.3}", only("0.3", *INS[4:9])),
    "range over the middle": ("{IN11-OUT01: 0.3}", only("0.3", "IN11", "M00", "OUT00", "OUT01")),
    "glob": ("{OUT*: 0.3}", only("0.3", *OUTS)),
    "glob of one character": ("{IN0?: 0.3}", only("0.3", *INS[:10])),
    "glob over other lanes": ("{CLIP*: 0.3}", only("0.3", "CLIP_L")),
    "default before": ("{*: 0.5, M00: 0.3}", only("0.3", "M00", otherwise="0.5")),
    "default behind": ("{M00: 0.3, *: 0.5}", only("0.3", "M00", otherwise="0.5")),
    "default between": ("{M00: 0.3, *: 0.5, TIME: 0.3}", only("0.3", "M00", "TIME", otherwise="0.5")),
    "later wins": ("{IN*: 0.3, IN05: 0, IN06: 0.9, IN06: 0}", only("0.3", *INS[:5], *INS[7:])),
    "later range wins": ("{IN05: 0.9, IN00-IN06: 0.3}", only("0.3", *INS[:7])),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_over_lanes_means_exactly_these(name):
    text, wanted = RULES[name]
    assert lanes(text) == wanted


def test_default_may_be_a_list_or_a_preset_and_rules_win_over_it():
    wanted = lanes('preset("GRAD_V")') | {"TIME": Fraction("0.2")}
    assert lanes('{*: preset("GRAD_V"), TIME: 0.2}') == wanted == lanes('{TIME: 0.2, *: preset("GRAD_V")}')
    numbers = listed(COUNTED[:26])
    assert lanes(f"{{FINAL: 0, *: {numbers}}}") == lanes(numbers) | {"FINAL": Fraction(0)}


def test_base_of_sdxl_is_both_text_encoders_and_the_vae():
    assert lanes("{BASE: 0.3}", "sdxl") == only("0.3", "CLIP_L", "CLIP_G", "VAE", architecture="sdxl")


KEY_RULES = {
    "attn2": r".*\.attn2\..*",
    "attn1": r".*\.attn1\..*",
    "ff": r".*\.ff\..*",
    "bias": r".*\.bias",
    "IN04-IN08/attn2": r"model\.diffusion_model\.input_blocks\.[4-8]\..*\.attn2\..*",
    "M00/attn1": r"model\.diffusion_model\.middle_block\..*\.attn1\..*",
    "OUT*/bias": r"model\.diffusion_model\.output_blocks\..*\.bias",
    "BASE/bias": r"(first_stage_model|cond_stage_model|conditioner)\..*\.bias",
    "model.diffusion_model.output_blocks.?.*.to_q.weight": r"model\.diffusion_model\.output_blocks\.\d\..*to_q\.weight",
    "*.proj_in.weight": r".*\.proj_in\.weight",
    "model.diffusion_model.out.2.bias": r"model\.diffusion_model\.out\.2\.bias",
}


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
@pytest.mark.parametrize("rule", KEY_RULES)
def test_rule_over_keys_means_exactly_these_keys(rule, architecture):
    found, row = weights(f"{{{rule}: 0.7, *: 0.1}}", architecture), load(architecture)
    keys = known_keys(architecture)
    got = {key for key in keys if found.of(key, row.lane_of(key))[0] == Fraction("0.7")}
    assert got == {key for key in keys if re.fullmatch(KEY_RULES[rule], key)} != set()
    assert {found.of(key, row.lane_of(key))[0] for key in keys if key not in got} == {Fraction("0.1")}


def test_norm_means_every_normalisation_and_no_convolution_or_projection():
    row = load("sd1")
    found = weights("{norm: 1}")
    got = {key for key in known_keys("sd1") if found.of(key, row.lane_of(key))[0] == 1}
    unet = {key.removeprefix("model.diffusion_model.") for key in got if key.startswith("model.diffusion_model.")}
    # Group and layer norms have a weight and a bias of one dimension; of the linear layers only biases have one.
    assert {len(known_keys("sd1")[key][1]) for key in got} == {1}
    assert {"out.0.weight", "input_blocks.1.0.in_layers.0.bias", "input_blocks.1.0.out_layers.0.weight"} <= unet
    assert {"input_blocks.1.1.norm.weight", "input_blocks.1.1.transformer_blocks.0.norm3.bias"} <= unet
    plain = [key for key, (_, shape) in known_keys("sd1").items() if len(shape) == 1 and key.endswith("weight")]
    assert set(plain) <= got, "a weight of one dimension is a norm's"


@pytest.mark.parametrize(("one", "two"), [("attn2: 0.9", "IN04: 0.3"), ("IN04: 0.3", "attn2: 0.9")])
def test_of_lane_and_class_the_later_rule_wins(one, two):
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    found = weights(f"{{{one}, {two}}}")
    assert found.of(key, "IN04")[0] == Fraction(two.split()[1])
    assert found.of(key.replace("blocks.4", "blocks.5"), "IN05")[0] == Fraction("0.9")
    assert found.of(key.replace("attn2", "attn1"), "IN04")[0] == Fraction("0.3")


@pytest.mark.parametrize(
    ("pattern", "architecture", "nearest"),
    [
        ("IN12", "sdxl", "IN02"),
        ("IN4", "sd1", "IN04"),
        ("out04", "sd1", "OUT04"),
        ("attn3", "sd1", "attn2|attn1"),
        ("CLIP_G", "sd1", "CLIP_L"),
        ("IN08-IN04", "sd1", "IN08|IN04"),
        ("FINL", "sdxl", "FINAL"),
    ],
)
def test_unknown_block_suggests_the_nearest(pattern, architecture, nearest):
    title = {"sd1": "SD 1.x", "sdxl": "SDXL"}[architecture]
    with pytest.raises(RecipeError, match=rf"^'{pattern}' is not in {title}, .*Did you mean '({nearest})'\?"):
        weights(f"{{{pattern}: 1}}", architecture)


@pytest.mark.parametrize(
    "pattern", ["LABEL", "T5", "OUT12", "Z*", "IN03/attn2", "TIME/ff", "IN03/nothing", "NOWHERE/attn2", "x.y", "*.to_z.weight"]
)
def test_rule_that_matches_nothing_in_the_architecture_is_an_error(pattern):
    with pytest.raises(RecipeError, match=r"is not in SD 1.x|matches no key of SD 1.x"):
        weights(f"{{{pattern}: 1}}")


def test_error_in_a_rule_is_shown_at_its_place_in_the_recipe(tmp_path: Path):
    write_models(tmp_path, a=model(1, only=[]), b=model(2, only=[]))
    with pytest.raises(RecipeError, match=r"line 2, column \d+: 'IN12' is not in SD 1.x"):
        plan_in(tmp_path, "N = mean(a, b)\nM = weighted_sum(N, b, alpha={IN12: 1})")


def test_rule_may_match_nothing_in_the_files(tmp_path: Path):
    write_models(tmp_path, a=model(1, without=["VAE"]), b=model(2, without=["VAE"]))
    plan = plan_in(tmp_path, "M = weighted_sum(a, b, alpha={VAE: 1, FINAL: 0.5})")
    assert plan.rows["FINAL"].exact == {0: Fraction(1, 2), 1: Fraction(1, 2)}


def test_without_a_default_the_lanes_that_fall_back_are_named():
    assert weights("{IN*: 1, OUT00-OUT10: 1, M00: 1, BASE: 1}").notes == ("TIME, OUT11 and FINAL keep 0 where no rule matches.",)
    assert weights("{IN*: 1, *: 0.5}").notes == ()


def test_without_a_default_keys_keep_the_parameters_own_neutral_value(tmp_path: Path):
    write_models(tmp_path, a=model(1), b=model(2), c=model(3))
    plan = plan_in(tmp_path, "M = free_sum(a, b, c, alpha={IN04: 0.5}, beta=0.25)")
    assert plan.rows["IN04"].exact == {0: Fraction(1, 2), 1: Fraction(1, 4), 2: 1}
    assert plan.rows["IN05"].exact == {0: 1, 1: Fraction(1, 4), 2: 1}


@pytest.mark.parametrize("text", ["{IN04: [1, 2]}", '{IN04: preset("GRAD_V")}'])
def test_only_the_default_takes_a_list_or_a_preset(text):
    with pytest.raises(RecipeError, match=r"'IN04' takes a number; only '\*' takes a list or a preset"):
        weights(text)


# ---- in words ----


def words(tmp_path: Path, alpha: str) -> list[str]:
    write_models(tmp_path, BASE_V0=model(1, only=[]), NED=model(2, only=[]))
    start = "BASE_V0 with NED: "
    return [
        note.removeprefix(start)
        for note in plan_in(tmp_path, f"M = weighted_sum(BASE_V0, NED, alpha={alpha})").notes
        if note.startswith(start)
    ]


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (listed(["1"] * 14 + ["0"] * 12), "BASE and IN00 to M00 from NED, the rest from BASE_V0"),
        (listed(["0"] + ["1"] * 13 + ["0"] * 12), "BASE and OUT00 to OUT11 from BASE_V0, the rest from NED"),
        (listed(["0"] * 13 + ["0.25"] + ["0"] * 12), "BASE, IN00 to IN11 and OUT00 to OUT11 from BASE_V0, the rest 0.25 of NED"),
        (listed(["1"] * 26), None),
        ("{IN*: 1, *: 0}", "BASE, TIME and M00 to OUT11 from BASE_V0, the rest from NED"),
        ("{attn2: 1, *: 0}", "everything from BASE_V0, attn2 from NED"),
        ("{IN04-IN08/attn2: 0.3, *: 0.5}", "everything 0.5 of NED, attn2 in IN04 to IN08 0.3 of NED"),
        ("{BASE/bias: 0, *: 0.5}", "everything 0.5 of NED, bias in CLIP_L and VAE from BASE_V0"),
    ],
)
def test_block_weights_are_said_in_words(tmp_path: Path, alpha, said):
    assert words(tmp_path, alpha) == ([said] if said else [])


# ---- whole checkpoints ----


def test_block_weights_of_a_whole_sdxl_checkpoint_reach_every_key(tmp_path_factory: pytest.TempPathFactory):
    folder = tiny(tmp_path_factory, "xl-a", "sdxl").parent
    tiny(tmp_path_factory, "xl-b", "sdxl", seed=1)
    plan = plan_in(folder, f"M = weighted_sum(xl-a, xl-b, alpha={listed(COUNTED[:20])})")
    numbers = {slot: Fraction(number) for slot, number in zip(SDXL_SLOTS, COUNTED, strict=False)}
    assert {label: row.exact[1] for label, row in plan.rows.items()} == expected(numbers, "sdxl")
    assert len([job for job in plan.jobs if job.row]) == 2514
