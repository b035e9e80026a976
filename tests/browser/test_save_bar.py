"""The save bar in a browser: facts before the click, faults at their field, real files, the report, what does not fit."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from browsing import READY, Site, check_accessibility, wait_for_view

RECIPE = "MIX = weighted_sum(NED, chilloutmix, alpha=0.5)\n"


def write(page: Any) -> None:
    page.evaluate("text => chilly.look(text)", RECIPE)
    wait_for_view(page, "view.ok && view.step === 'MIX'")
    page.wait_for_function("() => document.querySelector('#chilly_save_name').value")


def bar(page: Any) -> Any:
    return page.get_by_role("region", name="Save")


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def test_saves_queue_report_and_are_the_files_they_say(page, site: Site):
    write(page)
    name = page.get_by_label("File name")
    assert name.input_value().startswith("MIX")
    bar(page).get_by_text("file size").wait_for()
    name.fill("../escape")
    page.locator("#chilly_save_problem").wait_for()
    assert name.get_attribute("aria-invalid") == "true"
    save = page.locator("#chilly_save_button")
    assert save.is_disabled()

    name.fill("first")
    bar(page).get_by_label("Precision").select_option("fp32")
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    save.click()
    name.fill("second")
    bar(page).get_by_label("VAE").select_option("drop")
    bar(page).get_by_label("Precision").select_option("bf16")
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    save.click()
    bar(page).get_by_text("Read back and checked").nth(1).wait_for()
    for file, dtype, has_vae in (("first", "F32", True), ("second", "BF16", False)):
        path = site.out / f"{file}.safetensors"
        tensors = {key: value["dtype"] for key, value in header_of(path).items() if key != "__metadata__"}
        assert dtype in set(tensors.values())
        assert any(key.startswith("first_stage_model.") for key in tensors) == has_vae
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert bar(page).get_by_role("button", name=f"Copy the hash {digest[:10]}").count() == 1
    assert not (site.out.parent / "escape.safetensors").exists()
    check_accessibility(page, ".chilly-save")
    name.fill("first")
    page.get_by_text("first.safetensors exists already").wait_for()

    bar(page).get_by_role("button", name="Dismiss").last.click()
    page.evaluate("chilly.ask('models')")  # the server has answered what was asked before
    page.reload()
    page.wait_for_selector(READY)
    assert bar(page).locator("strong").all_inner_texts() == ["first.safetensors"]


def test_form_and_follow_switch_come_back_after_a_reload_until_the_recipe_says_otherwise(page):
    write(page)
    page.get_by_label("File name").fill("typed one")
    bar(page).get_by_label("Precision").select_option("bf16")
    bar(page).get_by_label("VAE").select_option("NED")
    bar(page).locator("summary").click()
    bar(page).get_by_label("without text encoder").check()
    page.locator("[data-globs]").fill("control_model.diffusion_model.*, x.*")  # the UNet's own pattern is within
    page.locator("[data-globs]").blur()
    page.get_by_label("Follow the mixer").uncheck()
    page.reload()
    page.wait_for_selector(READY)
    wait_for_view(page, "view.ok && view.step === 'MIX'")
    assert page.get_by_label("File name").input_value() == "typed one"
    assert [bar(page).get_by_label(label).input_value() for label in ("Precision", "VAE")] == ["bf16", "NED"]
    assert page.locator("[data-globs]").is_visible(), "what is left out is never out of sight"
    ticked = [bar(page).get_by_label(f"without {part}").is_checked() for part in ("text encoder", "UNet")]
    assert (ticked, page.locator("[data-globs]").input_value()) == ([True, False], "control_model.diffusion_model.*,x.*")
    assert not page.get_by_label("Follow the mixer").is_checked()
    page.evaluate("text => chilly.look(text)", RECIPE + "save(dtype=fp32)")
    wait_for_view(page, "view.ok && view.save.dtype === 'fp32'")
    assert [bar(page).get_by_label(label).input_value() for label in ("Precision", "VAE")] == ["fp32", "keep"]
    assert page.locator("[data-globs]").input_value() == ""


def test_file_is_saved_under_the_name_that_stands_in_the_field(page):
    write(page)
    page.evaluate("""() => {
        const ask = chilly.ask;
        window.saved = [];
        chilly.ask = (name, given, lane) => {
            if (name === 'name') return new Promise(() => {});
            if (name === 'save') window.saved.push([given().name, document.querySelector('#chilly_save_name').value]);
            return ask(name, given, lane);
        };
    }""")
    page.get_by_label("File name").fill("in the field")
    for count in (1, 2):
        page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
        page.locator("#chilly_save_button").click()
        page.wait_for_function("count => saved.length === count", arg=count)
    assert page.evaluate("saved") == [["in the field", "in the field"]] * 2


def test_what_does_not_fit_and_what_has_mistakes_cannot_be_saved(page):
    page.evaluate("""() => {
        const ask = chilly.ask;
        chilly.ask = (...given) => ask(...given).then((reply) => (given[0] === 'facts' ? {...reply, free_bytes: 1000} : reply));
    }""")
    write(page)
    save = page.locator("#chilly_save_button")
    page.wait_for_function("() => document.querySelector('#chilly_save_button').textContent.startsWith('Needs ')")
    assert save.is_disabled() and save.inner_text().endswith("1.00 kB free")
    assert bar(page).locator("[data-bad=true]").count() == 1
    check_accessibility(page, ".chilly-save")
    bar(page).locator("summary").click()
    page.locator("[data-globs]").fill("*")
    page.locator("[data-globs]").blur()
    page.locator("#chilly_save_problem").get_by_text("leaves nothing of the output").wait_for()
    assert bar(page).locator(".chilly-fact").count() == 1, "the size is not that of another file"
    page.locator("[data-globs]").fill("")
    page.locator("[data-globs]").blur()
    page.wait_for_function("() => document.querySelector('#chilly_save_button').textContent.startsWith('Needs ')")
    page.evaluate("chilly.look('MIX = weighted_sum(NED, nobody, alpha=0.5)')")
    bar(page).get_by_text("The recipe has a mistake").wait_for()
    assert save.is_disabled()


FILE_THAT_WAITS = """() => {
    const ask = chilly.ask;
    const health = { verdict: "fine", words: "healthy", says: [] };
    const numbers = { bytes: 1000, seconds: 1, sha256: "0".repeat(64) };
    const report = { name: "there", file: "there.safetensors", checked: true, ...numbers, health };
    Object.assign(window, { state: "working", stopped: [], listed: [] });
    chilly.on("saved", (report) => window.listed.push(report.file));
    chilly.ask = (name, given, lane) => {
        const now = { job: 77, kind: "save", state: window.state, text: "waiting for the webui, which is at work", share: 1 };
        const told = { ...now, report: { ...report, as_shown: window.state === "done" ? true : null } };
        if (name === "stop") window.stopped.push(given.job);
        if (name === "save") return given() && Promise.resolve({ job: { ...now, report: null } });
        if (name === "stop" || name === "poll") return Promise.resolve({ jobs: [told], job: told });
        return ask(name, given, lane);
    };
}"""


def test_file_that_waits_to_be_compared_is_shown_as_saved_with_what_it_waits_for(page):
    write(page)
    page.evaluate(FILE_THAT_WAITS)
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    page.locator("#chilly_save_button").click()
    bar(page).get_by_text("waits to be compared with its picture").wait_for()
    assert bar(page).locator(".chilly-chip-ok").all_inner_texts() == ["Saved", "The file: healthy"]
    assert page.evaluate("listed") == ["there.safetensors"]
    bar(page).get_by_role("button", name="Do not compare").click()
    assert page.evaluate("stopped") == [77]
    page.evaluate("window.state = 'done'")
    bar(page).get_by_text("the very numbers of the picture").wait_for()
    assert bar(page).get_by_role("button", name="Dismiss").count() == 1
    assert page.evaluate("listed") == ["there.safetensors"], "told once"
