"""A Forge, which loads models in a way of its own: the tab, saving and history work, what cannot be there is absent and said."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import ask, saved
from house import ForgeDouble, House
from samples import MIX, SMALL
from webuis import Forge

sys.path.append(str(Path(__file__).parents[1] / "browser"))
from browsing import FLAGS, READY, chromium

pytestmark = pytest.mark.timeout(600)

METHODS = {
    "cache": "cache",
    "call_queue": "queue_lock.acquire queue_lock.release",
    "devices": "torch_gc",
    "errors": "report display",
    "modelloader": "load_models",
    "hashes": "sha256 sha256_from_cache",
    "patches": "patch undo original",
    "processing": "process_images",
    "script_callbacks": "add_callback on_cfg_denoiser remove_callbacks_for_function script_unloaded_callback"
    " cfg_denoiser_callback",
    "sd_hijack": "model_hijack.hijack model_hijack.undo_hijack",
    "sd_models": "CheckpointInfo CheckpointInfo.register CheckpointInfo.calculate_shorthash list_models checkpoint_tiles"
    " load_model get_closet_checkpoint_match select_checkpoint get_checkpoint_state_dict get_state_dict_from_checkpoint"
    " read_state_dict read_metadata_from_safetensors load_model_weights reload_model_weights reuse_model_from_already_loaded"
    " send_model_to_device model_data.set_sd_model model_data.get_sd_model",
    "sd_samplers": "visible_sampler_names get_sampler_and_scheduler",
    "sd_vae": "get_filename refresh_vae_list",
    "shared": "opts.set opts.save opts.get_default opts.add_option state.begin state.end state.nextjob state.interrupt"
    " state.skip",
}
SYMBOLS = [f"{module}.{name}" for module, names in METHODS.items() for name in names.split()]
"""What we call on a Forge too, or what the double is told to be called for."""
WHY = "this webui loads models in a way of its own"


@pytest.fixture
def page(real_forge: Forge) -> Iterator[Any]:
    """Our tab in the browser; none of our scripts may fail."""
    playwright = pytest.importorskip("playwright.sync_api")
    failed: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: failed.append(error.stack or str(error)))
        open_tab(page, real_forge.url)
        yield page
        browser.close()
    assert [said for said in failed if "chilly" in said] == []


def open_tab(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_role("tab", name="ChillyMerge").click()
    page.wait_for_selector(READY)


def test_page_begins_with_the_models_and_says_that_there_are_no_pictures(forge: House):
    started = forge.call("ask", "start")
    assert {"A", "B", "noVae"} <= {model["name"] for model in started["models"]}
    assert (started["host"], started["output"]) == ("webui", str(forge.models))
    assert started["no_pictures"].startswith(WHY) and "Saving and the history work" in started["no_pictures"]
    assert "Euler" in started["samplers"]


def test_what_cannot_work_there_is_absent(forge: House):
    assert not [label for label in forge.call("axes") if "ChillyMerge" in label]
    assert forge.call("settings") == {}
    assert forge.call("chosen")["patched"] == []


def test_pictures_and_use_without_saving_are_refused_with_the_reason(forge: House):
    status, said = ask(forge.url, "POST", "preview", {"recipe": MIX, "params": SMALL})
    assert status == 409 and said["detail"].startswith(WHY)
    wanted = {"text": MIX, "params": SMALL, "pictures": [{"id": "merged", "of": "merged"}]}
    assert forge.call("ask", "preview", **wanted)["message"].startswith(WHY)
    done = forge.call("follow", forge.call("ask", "use", text=MIX, step="M")["job"])
    assert done["problem"]["message"].startswith(WHY)


def test_file_is_saved_and_listed_with_its_hash_and_stands_in_the_history(forge: House):
    done = saved(forge.url, MIX, "kept")
    try:
        sha256 = hashlib.sha256((forge.models / "kept.safetensors").read_bytes()).hexdigest()
        assert done["sha256"] == sha256
        assert [hashed for name, hashed in forge.call("chosen")["listed"].items() if name.startswith("kept.")] == [sha256]
        assert forge.call("calculated", "kept") == {"sha256": sha256, "read": []}
        status, found = ask(forge.url, "GET", "history", search="kept")
        assert status == 200 and any(MIX in row["recipe"] for row in found["rows"])
    finally:
        forge.call("remove", "kept")


def test_infotext_that_is_pasted_elsewhere_arrives_in_the_tab(forge: House):
    if isinstance(forge, ForgeDouble):
        forge.call("page")
    assert forge.call("exchange")["tells"].items() >= {"txt2img": 1, "img2img": 1, "inpaint": 1, "chillymerge": 1}.items()
    text = f'a dog\nSteps: 3, Sampler: Euler, Seed: 1, Model hash: recipe-12, Model: M, ChillyMerge recipe: "{MIX}"'
    found = forge.call("paste", text)
    assert found["arrived"] == [text] and "Model hash" not in found["params"]
    assert forge.call("ask", "paste", text=text)["text"].strip() == MIX


def test_file_is_loaded_on_demand_and_its_dropdown_shows_it(forge_double: ForgeDouble):
    forge_double.call("page")
    done = saved(forge_double.url, MIX, "AA")
    try:
        loaded = forge_double.call("follow", forge_double.call("ask", "load", name="AA")["job"])
        assert loaded["report"]["title"] == f"AA.safetensors [{done['short_hash']}]"
        now = forge_double.call("chosen")
        assert now["chosen"] == now["loaded"] == "AA.safetensors"
        assert forge_double.call("dropdown") == {"value": "AA.safetensors", "choices": sorted(now["listed"])}
    finally:
        forge_double.call("remove", "AA")


def test_file_that_cannot_be_loaded_is_said_and_the_choice_is_as_before(forge: House):
    forge.call("cut", "A", "bad")
    before = forge.call("chosen")
    try:
        done = forge.call("follow", forge.call("ask", "load", name="bad")["job"])
        assert "could not load 'bad.safetensors'" in done["problem"]["message"]
        assert forge.call("chosen")["chosen"] == before["chosen"]
    finally:
        forge.call("remove", "bad")


def test_double_of_a_forge_has_the_signatures_of_the_real_one(forge_double: ForgeDouble, real_forge: Forge):
    wanted = [*SYMBOLS, "sd_models.forge_model_reload"]
    assert forge_double.call("signatures", *wanted) == real_forge.call("signatures", *wanted)
    assert set(forge_double.call("categories")) <= set(real_forge.call("categories"))


def test_tab_says_in_a_line_what_is_missing_and_has_no_button_for_it(page: Any, real_forge: Forge):
    said = page.locator(".chilly-no-pictures:visible")
    assert said.all_text_contents() == [real_forge.call("ask", "start")["no_pictures"]]
    page.evaluate("text => chilly.look(text, {step: null})", MIX)
    page.get_by_role("button", name="Add step").wait_for()
    assert said.count() == 1
    page.click("#chilly_history_button")
    buttons = " ".join(page.locator("#chilly_page button").all_inner_texts())
    assert not [name for name in ("Use it unsaved", "Send to", "Make pictures", "Run again") if name in buttons]


def test_keys_of_the_webui_find_the_buttons_that_they_press_in_the_tab(page: Any):
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    for key in ("Escape", "Control+Enter", "Alt+Enter"):
        page.keyboard.press(key)
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
    assert failed == []


def test_save_in_the_tab_stands_in_the_dropdown_above_and_in_the_history(page: Any, real_forge: Forge):
    page.evaluate("text => chilly.look(text, {step: null})", MIX.replace("M =", "pressed ="))
    page.wait_for_function("() => document.querySelector('#chilly_save_name').value === 'pressed'")
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    page.click("#chilly_save_button")
    try:
        page.wait_for_selector(".chilly-saved .chilly-chip-ok")
        assert "pressed.safetensors" in choices_of(page)
        page.click("#chilly_history_button")
        page.locator("#chilly_history h3", has_text="pressed").wait_for()
    finally:
        real_forge.call("remove", "pressed")


def choices_of(page: Any) -> list[str]:
    """What the dropdown above all tabs offers, once it has been filled anew."""
    dropdown, found = page.locator(".model_selection input"), [""]
    for _ in range(20):
        before = found
        dropdown.click()
        found = page.locator("ul[role=listbox] li").all_inner_texts()
        dropdown.blur()
        if found == before:
            break
        time.sleep(0.5)
    return found


def test_dropdown_above_shows_the_chosen_model_when_it_is_told_to(page: Any, real_forge: Forge):
    name = "noVae.safetensors"
    real_forge.post("sdapi/v1/options", sd_model_checkpoint=name)
    page.evaluate("chilly.emit('loaded', {title: 'of no meaning here'})")
    page.wait_for_function("name => document.querySelector('.model_selection input').value === name", arg=name)
    assert real_forge.call("chosen")["chosen"] == name


def test_page_that_is_loaded_anew_has_one_tab_that_answers(page: Any, real_forge: Forge):
    begun = real_forge.starts()
    page.evaluate("document.getElementById('settings_restart_gradio').click()")
    for _ in range(240):
        if real_forge.starts() > begun:
            break
        time.sleep(0.5)
    open_tab(page, real_forge.url)
    assert page.get_by_role("tab", name="ChillyMerge").count() == 1
    assert page.locator(".chilly-no-pictures:visible").count() == 1
    assert real_forge.call("exchange")["tells"]["txt2img"] == 1
    assert ask(real_forge.url, "GET", "methods")[0] == 200
