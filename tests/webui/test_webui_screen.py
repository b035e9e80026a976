"""The tab in a browser, in the real webui: what a user does from the model card's recipe to a file, and back to the own model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from samples import MIX
from screen import Screen
from webuis import Webui

from lib_chilly.family import MEMBERS, build_family

pytestmark = pytest.mark.timeout(900)

SIX = [  # what the card's recipe comes to, before it takes the input blocks of NED
    ["F222_v1", "+0.75"],
    ["analogDiffusion_10", "+0.6056"],
    ["r34_e4", "+0.25"],
    ["pyro_pov_a", "+0.0534"],
    ["pyro_pov_b", "+0.0534"],
    ["v1-5-pruned-emaonly", "−0.7125"],
]


@pytest.fixture(scope="module")
def stocked(real: Webui) -> Iterator[Webui]:
    """The webui with the models that the card names."""
    members = tuple(member for member in MEMBERS if member.name in {"NED", *dict(SIX)})
    list(build_family(real.models, members))
    real.call("refresh")
    yield real
    for member in members:
        real.call("remove", member.name)


@pytest.fixture
def screen(stocked: Webui, browser: Any) -> Iterator[Screen]:
    """A window of the webui, as after its start with A loaded."""
    stocked.call("fresh")
    stocked.call("forget_pictures")
    screen = Screen(browser, stocked)
    yield screen
    stocked.call("slow", False)
    screen.close()


def test_tab_stands_among_the_webui_s_own_and_asks_for_two_models(screen: Screen):
    assert {"txt2img", "img2img", "PNG Info", "ChillyMerge", "Settings"} <= set(screen.tabs())
    screen.ours()
    assert screen.page.get_by_role("heading", name="Pick two models to see what mixing them does").is_visible()
    widths = screen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]


def test_card_s_recipe_comes_to_its_six_models_and_its_picture_is_unlike_those_of_a_and_b(screen: Screen):
    screen.ours().card()
    lines = screen.page.locator(".chilly-fold").first.inner_text().splitlines()
    assert [[name, lines[lines.index(name) + 1]] for name, _ in SIX] == SIX
    pictures = screen.drawn()
    assert len({pictures["merged"], pictures["a"], pictures["b"]}) == 3


def test_painting_input_blocks_makes_another_picture_and_the_old_one_stays_till_then(screen: Screen):
    screen.ours().mix("M = weighted_sum(v1-5-pruned-emaonly, NED, alpha={IN*: 0, *: 0.2})")
    before = screen.drawn()
    first, last = (screen.page.locator(f'[role=slider][data-lane="{lane}"]').bounding_box() for lane in ("IN00", "IN11"))
    screen.page.mouse.move(first["x"] + first["width"] * 0.8, first["y"] + 8)
    screen.page.mouse.down()
    screen.page.mouse.move(last["x"] + last["width"] * 0.8, last["y"] + last["height"] / 2, steps=12)
    assert screen.page.locator(".chilly-wipe img").count() == 2
    screen.page.mouse.up()
    screen.page.wait_for_function("() => chilly.good.mixer.list.slice(1, 13).every((weight) => weight > 0.7)")
    after = screen.drawn()
    assert after["merged"] != before["merged"] and (after["a"], after["b"]) == (before["a"], before["b"])


def test_wipe_and_strips_compare_with_a_b_variants_and_single_blocks(screen: Screen):
    screen.ours().mix(MIX)
    screen.drawn()
    page = screen.page
    wipe = page.get_by_role("slider", name="Wipe between A and the merge")
    for key, value in (("Home", "0"), ("PageUp", "10"), ("End", "100")):
        wipe.press(key)
        assert wipe.get_attribute("aria-valuenow") == value
    page.get_by_role("button", name="Compare B with the merge").click()
    assert page.get_by_role("slider", name="Wipe between B and the merge").is_visible()
    screen.button("Variants").click()
    page.locator(".chilly-strip-tools input[type=number]").first.fill("2")
    screen.button("Make variants").click()
    variants = page.get_by_role("group", name="Variants of random weights").locator("img")
    variants.nth(1).wait_for()
    screen.button("Block by block").click()
    screen.button("Make the map").click()
    page.get_by_role("group", name="One block moved at a time").locator("img").nth(3).wait_for()
    screen.page.locator(".chilly-strip-tools").get_by_role("button", name="Stop").click()


def test_saved_file_gives_the_picture_of_the_merge_and_is_loaded_from_the_page(screen: Screen):
    screen.ours().card()
    merged = screen.drawn()["merged"]
    screen.house.call("option", sd_vae="None")
    screen.page.locator("#chilly_save_name").fill("card")
    screen.button("Save").click()
    screen.page.locator(".chilly-saves").get_by_text("Read back and checked").wait_for()
    screen.button("Load it now").click()
    screen.wait_for_chosen("card.safetensors [")
    screen.send()
    assert screen.generate() == merged
    screen.house.call("fresh")
    screen.house.call("remove", "card")


def test_plain_picture_is_the_same_before_and_after_merges(screen: Screen):
    before = screen.txt2img()
    merged = screen.ours().mix(MIX, sampler="DPM++ 2M").drawn()["merged"]
    assert screen.txt2img() == before != merged
    assert screen.chosen().startswith("A.safetensors")


def test_merge_used_unsaved_stands_in_the_dropdown_until_another_model_is_chosen_there(screen: Screen):
    merged = screen.ours().mix(MIX).drawn()["merged"]
    screen.send()
    before = screen.generate()
    screen.ours().button("Use it unsaved").click()
    assert screen.wait_for_chosen("M [recipe-")
    screen.tab("txt2img")
    assert screen.generate() == merged != before
    screen.choose("A.safetensors")
    assert screen.generate() == before
    assert screen.house.call("state")["chosen"].startswith("A.safetensors")


def test_escape_ends_a_picture_and_ctrl_enter_makes_it(screen: Screen):
    screen.ours().mix(MIX)
    before = screen.drawn()
    screen.house.call("slow", True)
    screen.mix(MIX, seed=7, steps=40)
    screen.wait_for_status("Step ")
    screen.page.keyboard.press("Escape")
    screen.wait_for_status("Stopped. The preview is older than the mixer")
    assert screen.page.locator(".chilly-wipe img").count() == 2
    screen.house.call("slow", False)
    screen.page.keyboard.press("Control+Enter")
    assert screen.drawn()["merged"] != before["merged"]
    assert screen.house.call("state")["flags"] == [False, False, False, ""]


@pytest.mark.parametrize("name", ["interrupt", "skip"])
def test_webui_s_own_button_ends_our_picture(screen: Screen, name: str):
    screen.ours().mix(MIX)
    screen.drawn()
    screen.house.call("slow", True)
    screen.mix(MIX, seed=7, steps=60)
    screen.wait_for_status("Step ")
    screen.tab("txt2img")  # where the buttons are seen once somebody waits for a picture of that tab
    for place, value in {"steps": 1, "width": 64, "height": 64}.items():
        screen.fill(f"#txt2img_{place} input", value)
    screen.page.locator("#txt2img_generate").click()
    screen.page.locator(f"#txt2img_{name}").click()
    screen.tab("ChillyMerge")
    screen.wait_for_status("The preview is older than the mixer")
    screen.house.call("slow", False)
    screen.button("Update").click()
    screen.drawn()


def test_escape_in_a_dialog_closes_it_and_lets_the_pictures_go_on(screen: Screen):
    screen.ours().mix(MIX)
    screen.house.call("slow", True)
    screen.mix(MIX, seed=7, steps=40)
    screen.wait_for_status("Step ")
    screen.paste("X = weighted_sum(A, B, alpha=0.5)")
    dialog = screen.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Replace").wait_for()
    dialog.get_by_role("heading").click()
    screen.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert screen.page.evaluate("chilly.preview.status().state") == "busy"
    screen.house.call("slow", False)
    screen.drawn()


def test_live_preview_is_shown_until_the_picture_is_there_and_never_a_blank(screen: Screen):
    screen.ours().mix(MIX)
    old = screen.drawn()["merged"]
    screen.house.call("option", live_previews_enable=True, show_progress_every_n_steps=1, show_progress_type="Approx cheap")
    screen.house.call("slow", True)
    try:
        screen.mix(MIX, seed=7, steps=40)
        screen.page.get_by_text("Merged, so far").wait_for()
        live = screen.page.locator(".chilly-wipe img").first
        assert live.get_attribute("src").startswith("data:image/jpeg")
        assert screen.page.evaluate("document.querySelector('.chilly-wipe img').naturalWidth") > 0
        screen.page.keyboard.press("Escape")
        screen.page.wait_for_function("() => chilly.preview.live === null")
        assert screen.pixels(live.get_attribute("src")) == old
        screen.house.call("slow", False)
        screen.page.keyboard.press("Control+Enter")
        assert screen.drawn()["merged"] == screen.pixels(live.get_attribute("src")) != old
    finally:
        screen.house.call("option", live_previews_enable=False, show_progress_every_n_steps=10, show_progress_type="Approx NN")


def test_page_that_is_loaded_again_amid_a_picture_goes_on_with_its_recipe(screen: Screen):
    screen.ours().mix(MIX)
    merged = screen.drawn()["merged"]
    screen.house.call("slow", True)
    screen.mix(MIX, seed=7, steps=40)
    screen.wait_for_status("Step ")
    screen.house.call("slow", False)
    screen.open()
    screen.ours()
    assert screen.page.evaluate("chilly.text") == MIX
    time.sleep(0.2)
    assert screen.mix(MIX).drawn()["merged"] == merged


WORDS = {
    "Preview": "Vorschau",
    "Smooth": "Glatt",
    "Save": "Sichern",
    "Replace": "Ersetzen",
    "Add below": "Darunter",
    "Cancel": "Nein",
}
WORDS |= {"Use it unsaved": "Ohne Datei", "weighted sum": "Mischung", "M": "Emm", "A": "Ah", "Text": "Schrift", "Stop": "Halt"}


def test_page_in_another_language_does_the_same(screen: Screen):
    screen.house.call("localise", **WORDS)
    try:
        screen.open()
        screen.ours().mix(MIX).drawn()
        assert screen.page.get_by_role("heading", name="Vorschau").is_visible()
        screen.button("Glatt").click()
        screen.paste("X = weighted_sum(A, B, alpha=0.5)")
        screen.page.get_by_role("dialog").get_by_role("button", name="Darunter").click()
        screen.page.wait_for_function("() => chilly.view.steps.length === 2")
        lines, ok = screen.page.evaluate("[chilly.text.trim().split('\\n'), chilly.view.ok]")
        assert ok and lines[0].startswith("M = weighted_sum(A, B, ") and lines[-1].endswith("alpha=0.5)")
        screen.page.locator("#chilly_view_text").click()
        assert screen.page.locator("#chilly_text").input_value().startswith("M = weighted_sum(A, B, ")
        screen.button("Ohne Datei").click()
        screen.wait_for_chosen(" [recipe-")
    finally:
        screen.house.call("localise")
