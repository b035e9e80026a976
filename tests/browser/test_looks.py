"""From looking to doing in a browser: measure, take blocks, compare several models, see what is broken, read a file's card."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import CARD, READY, Site, check_accessibility, open_page, wait_for_view

BROKEN = "F222_v1: M00: norms"


def write(page: Any) -> None:
    page.evaluate("text => chilly.look(text, {step: null})", CARD.read_text("utf-8"))
    wait_for_view(page, "view.ok && view.step === 'ChillyMixBase_V1-NED'")
    page.wait_for_function("() => chilly.alike?.measure === 'asim'")


def walk(page: Any, name: str) -> None:
    write(page)
    health = page.get_by_role("region", name="Health of the models")
    health.get_by_text("6 other files healthy").wait_for()
    health.get_by_text(BROKEN).wait_for()

    below = [lane for lane, figure in page.evaluate("chilly.alike.blocks").items() if figure < 90]
    page.get_by_label("Blocks less alike than, in percent").fill("90")
    page.get_by_role("button", name="Take those of NED").click()
    view = wait_for_view(page, "view.mixer.values.IN00 === 0")
    values = view["mixer"]["values"]
    assert 0 < len(below) < 16 and {lane for lane in values if values[lane] == 1} == set(below)
    page.get_by_role("button", name="Weigh each block by its likeness").click()
    view = wait_for_view(page, "view.mixer.values.M00 > 0 && view.mixer.values.M00 < 1")
    assert view["mixer"]["values"]["M00"] == pytest.approx(page.evaluate("chilly.alike.blocks.M00") / 100, abs=1e-4)

    page.get_by_label("Measure").select_option("cosine")
    page.wait_for_function("() => chilly.alike?.measure === 'cosine' && Object.keys(chilly.alike.blocks).length > 16")
    page.get_by_text("Compare several models").click()
    page.get_by_role("button", name="Compare 7 by cosine").click()
    drawn = "[...document.querySelectorAll('.chilly-many-picture')].filter((one) => one.naturalWidth)"
    page.wait_for_function(f"() => {drawn}.length === 2")
    assert page.get_by_text("is the nearest of").count() == 1

    health.get_by_role("button", name="Show MERGE2").click()
    wait_for_view(page, "view.step === 'MERGE2'")
    page.evaluate("chilly.open('ChillyMixBase_V1-NED')")
    page.get_by_label("File name").fill(name)
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    page.locator("#chilly_save_button").click()
    page.locator(".chilly-saved").get_by_text("The file: healthy").wait_for()
    page.locator(".chilly-saved").get_by_role("button", name="Model card").click()
    page.get_by_role("dialog").get_by_text("AutoV2").wait_for()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("button", name="Copy Markdown").count() == 1
    assert dialog.get_by_text("Similarity to").count() == 0 and dialog.locator(".chilly-tree li").count() > 6
    dialog.get_by_label("Compared with").select_option("v1-5-pruned-emaonly")
    dialog.get_by_text("Similarity to v1-5-pruned-emaonly").wait_for()
    dialog.get_by_text("against v1-5-pruned-emaonly").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.locator(".chilly-saved").get_by_role("button", name="Model card").click()
    dialog.get_by_text("Similarity to v1-5-pruned-emaonly").wait_for()  # the last base
    assert dialog.get_by_label("Compared with").input_value() == "v1-5-pruned-emaonly"
    page.keyboard.press("Escape")


def test_measures_verdicts_and_cards_lead_from_looking_to_doing(page: Any):
    walk(page, "looked")
    check_accessibility(page)
    page.reload()
    page.wait_for_selector(READY)
    page.wait_for_function("() => chilly.alike?.measure === 'cosine'")
    page.wait_for_function("() => document.querySelectorAll('.chilly-many-picture').length === 2")


@pytest.mark.parametrize("old_site", ["3.41.2"], indirect=True)  # on Forge's the whole way is walked
def test_measures_verdicts_and_cards_work_on_the_gradio_of_webuis(new_context: Any, old_site: Site):
    walk(open_page(new_context(old_site), old_site.url), "looked")


def test_blocks_of_a_third_model_come_in_by_one_click_after_it_is_chosen(page: Any):
    page.evaluate("chilly.look('MIX = weighted_sum(NED, chilloutmix, alpha=0.5)')")
    wait_for_view(page, "view.ok && view.step === 'MIX'")
    page.wait_for_function("() => chilly.alike?.measure === 'asim'")
    below = [lane for lane, figure in page.evaluate("chilly.alike.blocks").items() if figure < 90]
    page.get_by_label("Blocks less alike than, in percent").fill("90")
    donors = page.get_by_label("Whose blocks come in")
    offered = donors.locator("option").all_inner_texts()
    assert offered[0] == "chilloutmix (B)" and "NED" not in offered and "r34_e4" in offered
    donors.select_option("r34_e4")
    page.get_by_role("button", name="Take those of r34_e4").click()
    values = wait_for_view(page, "view.mixer.pair[1] === 'r34_e4'")["mixer"]["values"]
    assert 0 < len(below) < 16 and {lane for lane in values if values[lane] == 1} == set(below)
    page.get_by_text("How alike are NED and r34_e4?").wait_for()
    page.evaluate("chilly.undo()")
    wait_for_view(page, "view.text.includes('alpha=0.5') && view.mixer.pair[1] === 'chilloutmix'")


def test_measure_that_needs_an_ancestor_asks_for_it_and_names_stay_text(page: Any):
    write(page)
    page.get_by_label("Measure").select_option("delta")
    page.get_by_text("Choose the model that both descend from.").wait_for()
    assert page.get_by_role("button", name="Measure", exact=True).count() == 0
    page.get_by_label("The model that both descend from").select_option("v1-5-pruned-emaonly")
    page.wait_for_function("() => chilly.alike?.measure === 'delta'")
    page.get_by_text("Compare several models").click()
    hostile = page.locator(".chilly-many-names input[value*='<img']")
    hostile.wait_for()
    page.evaluate("document.querySelectorAll('.chilly-many-names input:checked').forEach((box) => (box.checked = false))")
    hostile.check()
    page.locator(".chilly-many-names input[value=r34_e4]").check()
    page.get_by_role("button", name="Compare 2 by delta").click()
    page.wait_for_function("() => document.querySelectorAll('.chilly-many-picture').length === 2")
    assert page.evaluate("window.hacked") is None and page.locator(".chilly-page img[src=x]").count() == 0
