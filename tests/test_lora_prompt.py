"""LoRAs of prompts: strengths, lists of block weights, and the lanes that their numbers are for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import load
from lib_chilly.errors import RecipeError
from lib_chilly.lora_prompt import PromptLora, prompt_loras

F = Fraction


def one(prompt: str, **options) -> PromptLora:
    (found,) = prompt_loras(prompt, **options)
    return found


@pytest.mark.parametrize(
    ("tag", "text_encoder", "unet"),
    [
        ("<lora:film grain>", 1, 1),
        ("<lora:film grain:0.8>", F("0.8"), F("0.8")),
        ("<lyco:film grain:-.5>", F("-0.5"), F("-0.5")),
        ("<lora:film grain:0.5:1>", F("0.5"), 1),
        ("<lora:film grain:te=0.5:unet=1>", F("0.5"), 1),
        ("<lora:film grain:0.7:unet=0>", F("0.7"), 0),
        ("<lora:film grain:te=0>", 0, 0),
        ("<lora:film grain:1:te=0>", 0, 0),
        ("<lora:film grain:1:1:te=0>", 0, 1),
    ],
)
def test_strengths_are_read_as_the_webui_reads_them(tag: str, text_encoder: Fraction, unet: Fraction):
    assert one(f"a cat {tag}, grass") == PromptLora("film grain", text_encoder, unet)


def test_all_loras_of_a_prompt_come_in_its_order_and_other_networks_are_passed_over():
    prompt = "(dots:1.2) <lora:b:0.5> <hypernet:h:1> [a|b] <lora:a.v2:1> a < b > c"
    assert [(lora.name, lora.unet) for lora in prompt_loras(prompt)] == [("b", F("0.5")), ("a.v2", F(1))]
    assert list(prompt_loras("no network at all")) == []


LISTS = {
    17: ("sd1", "BASE IN01 IN02 IN04 IN05 IN07 IN08 M00 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11"),
    26: ("sd1", "BASE " + " ".join([*(f"IN{n:02}" for n in range(12)), "M00", *(f"OUT{n:02}" for n in range(12))])),
    12: ("sdxl", "BASE IN04 IN05 IN07 IN08 M00 OUT00 OUT01 OUT02 OUT03 OUT04 OUT05"),
    20: ("sdxl", "BASE " + " ".join([*(f"IN{n:02}" for n in range(9)), "M00", *(f"OUT{n:02}" for n in range(9))])),
}


@pytest.mark.parametrize(("count", "owner", "slots"), [(count, *rest) for count, rest in LISTS.items()])
def test_every_number_of_a_list_is_for_its_block_and_missing_blocks_have_none(count: int, owner: str, slots: str):
    architecture = load(owner)
    numbers = [F(n + 2, 10) for n in range(count)]
    found = one(f"<lora:x:0.5:1:lbw={','.join(str(float(n)) for n in numbers)}>").scales(architecture)
    named = dict(zip(slots.split(), numbers, strict=True))
    clips = {lane: named["BASE"] / 2 for lane in ("CLIP_L", "CLIP_G") if lane in architecture.lanes}
    outside = {lane: F(1) for lane in ("TIME", "LABEL", "FINAL", "VAE") if lane in architecture.lanes}
    blocks = {lane: named.get(lane, F(0)) for lane in architecture.lanes if lane.startswith(("IN", "M", "OUT"))}
    assert found == clips | outside | blocks
    assert len(named) == count


def test_base_of_zero_leaves_the_text_encoder_alone():
    scales = one("<lora:x:1:lbw=0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>").scales(load("sd1"))
    assert (scales["CLIP_L"], scales["IN01"], scales["IN00"]) == (0, 1, 0)


def test_list_of_flux_has_numbers_for_both_text_encoders_and_both_ends():
    numbers = [F(n) for n in range(61)]
    scales = one(f"<lora:x:1:lbw={','.join(map(str, numbers))}>").scales(load("flux"))
    assert [scales[lane] for lane in ("CLIP_L", "T5", "EMBED", "D00", "D18", "S00", "S37", "FINAL", "VAE")] == [
        0, 1, 2, 3, 21, 22, 59, 60, 1,
    ]  # fmt: skip


def test_without_a_list_every_lane_has_its_strength():
    scales = one("<lora:x:0.25:2>").scales(load("sdxl"))
    assert scales.keys() == load("sdxl").lanes.keys()
    assert {lane for lane, number in scales.items() if number == F(1, 4)} == {"CLIP_L", "CLIP_G"}


def test_old_prompts_have_the_list_or_preset_as_a_third_part():
    numbers = ",".join(["1"] * 17)
    assert one(f"<lora:x:0.5:{numbers}>") == one(f"<lora:x:0.5:lbw={numbers}>")
    presets = {"MIDD": [F(n) for n in range(17)]}
    old, new = (one(tag, presets=presets) for tag in ("<lora:x:0.5:MIDD>", "<lora:x:0.5:lbw=MIDD>"))
    assert old == new == PromptLora("x", F(1, 2), F(1, 2), tuple(presets["MIDD"]))


def test_steps_at_which_a_lora_acts_are_noted():
    (note,) = one("<lora:x:1:stop=10>").notes
    assert "at some steps of a picture only ('stop=10'); here it acts at all" in note


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("<lora::1>", "'<lora::1>' names no LoRA"),
        ("<lora:te=1>", "names no LoRA"),
        ("<lora:x:much>", "'much' is no number such as 0.8"),
        ("<lora:x:1e999999999>", "is no number"),
        ("<lora:x:te=nan>", "'nan' is no number"),
        ("<lora:x:1:lbw=1,2,3>", "a list has 12, 17, 20, 26 and 61 numbers, this one has 3"),
        ("<lora:x:1:lbw=1,R,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0>", "'R' is no number such as 0.8; letters that draw"),
        ("<lora:x:1:lbw=MIDD>", "'MIDD' is no list of numbers and no known preset; write its numbers"),
        ("<lora:x:1:lbwe=IN01>", "'lbwe=' is not read; known are te="),
        ("<lora:x:1:1:8>", "a third number, '8', is not read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_a_sentence(tag: str, said: str):
    with pytest.raises(RecipeError) as error:
        list(prompt_loras(f"cat {tag}"))
    assert said in str(error.value)


def test_list_for_another_architecture_is_refused():
    tag = f"<lora:x:1:lbw={','.join(['1'] * 12)}>"
    with pytest.raises(RecipeError, match=r"the list of 12 numbers of 'x' is for SDXL, this is SD 1.x"):
        one(tag).scales(load("sd1"))


@given(st.text("<>lora:=,1.-Rxte \n\x1b", max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused_in_one_line(text: str):
    said = ""
    try:
        names = [lora.name for lora in prompt_loras(f"<lora:{text}>")]
    except RecipeError as error:
        names, said = ["refused"], str(error)
    assert all(names) and (said.isprintable() or not said)
