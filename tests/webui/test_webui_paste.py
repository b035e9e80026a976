"""Infotexts go between our tab and the webui's others: a merge's recipe comes back, and no other model stands in for it."""

from __future__ import annotations

import pytest
from house import Double, House
from samples import MIX

pytestmark = pytest.mark.timeout(600)

PLAIN = "a dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model hash: 0123456789, Model: dog"
SENT = {"chilly_send_txt2img": "txt2img", "chilly_send_img2img": "img2img", "chillymerge_tab": "chillymerge"}


@pytest.fixture
def paged(webui: House) -> House:
    """A webui whose page is made."""
    if isinstance(webui, Double):
        webui.call("page")
    return webui


def test_page_sends_to_txt2img_and_img2img_and_png_info_sends_to_it(paged: House):
    found = paged.call("exchange")
    assert found["sends"].items() >= SENT.items()
    assert found["tells"] == {"chillymerge": 1, "img2img": 1, "inpaint": 1, "txt2img": 1}


def test_our_tab_has_more_than_one_field_as_gradio_takes_the_list_of_one_for_its_value(paged: House):
    assert paged.call("exchange")["fields"]["chillymerge"] == 2


def test_infotext_of_a_merge_brings_its_recipe_to_our_tab_and_leaves_the_chosen_model(paged: House):
    infotext = paged.call("page_picture")["infotext"]
    pasted = paged.call("paste", infotext)
    assert pasted["arrived"] == [infotext]
    assert {"Model", "Model hash"} & set(pasted["params"]) == set()
    assert pasted["said"] == [
        "The model 'M' of this picture is a recipe, not a file: the chosen model stays. Its recipe is in the tab ChillyMerge now."
    ]
    review = paged.call("ask", "paste", text=pasted["arrived"][0])
    assert review["text"].splitlines()[0] == MIX and (review["params"]["seed"], review["params"]["width"]) == (1, 64)


def test_infotext_of_a_merge_without_its_recipe_says_so(paged: House):
    pasted = paged.call("paste", PLAIN.replace("0123456789", "recipe-0123456789"))
    assert pasted["arrived"] == [] and "Model hash" not in pasted["params"]
    assert "is a recipe, not a file" in pasted["said"][0] and "Its recipe is not in the text." in pasted["said"][0]


def test_merge_as_refiner_or_hires_checkpoint_is_taken_out(paged: House):
    text = f"{PLAIN}, Refiner: M [recipe-0123456789], Hires checkpoint: M [recipe-0123456789]"
    params = paged.call("paste", text)["params"]
    assert "Refiner" not in params and params["Hires checkpoint"] == "Use same checkpoint"


def test_infotext_of_a_file_is_left_as_it_is(paged: House):
    pasted = paged.call("paste", PLAIN)
    assert (pasted["arrived"], pasted["said"], pasted["params"]["Model hash"]) == ([], [], "0123456789")


def test_infotext_of_the_merge_that_is_kept_chooses_it(paged: House):
    infotext = paged.call("page_picture")["infotext"]
    paged.call("keep")
    pasted = paged.call("paste", infotext)
    assert pasted["said"] == [] and pasted["params"]["Model hash"].startswith("recipe-")
    paged.call("drop")


def test_whatever_is_sent_to_our_tab_arrives_whole(paged: House):
    assert paged.call("paste", PLAIN, tab="chillymerge")["arrived"] == [PLAIN]


@pytest.mark.parametrize("text", ["", "\x00", "Steps: x", "ChillyMerge recipe: ", 'Steps: 1, ChillyMerge recipe: "', "é" * 2_000])
def test_hostile_infotext_is_pasted_without_an_error(paged: House, text: str):
    for tab in ("txt2img", "chillymerge"):
        assert paged.call("paste", text, tab=tab)["said"] == []


def test_hidden_tab_takes_no_part_in_pasting(double: Double):
    double.call("option", hidden_tabs=["ChillyMerge"])
    try:
        double.call("page")
        found = double.call("exchange")
        assert (found["sends"], found["tells"]) == ({}, {})
    finally:
        double.call("option", hidden_tabs=[])
