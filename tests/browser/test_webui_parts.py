"""What the page has in a webui alone, in a browser, with what the webui would have around it put in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browsing import Site

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")

AS_IN_A_WEBUI = """() => {
    const host = chilly.host();
    window.asked = [];
    window.clicked = [];
    window.onUiTabChange = () => {};
    chilly.emit("found", host.querySelector("#chilly_page"));
    window.updateInput = (area) => window.clicked.push(`${area.id} ${area.value}`);
    for (const id of ["chilly_sent_text", "chilly_sent_image"]) {
        const box = chilly.el("div", { id });
        box.append(chilly.el("textarea", { id: `${id}_area` }));
        host.querySelector("#chilly_page").append(box);
    }
    for (const tab of ["txt2img", "img2img"]) {
        const id = `chilly_send_${tab}`;
        host.querySelector("#chilly_page").append(chilly.el("button", { id, onclick: () => window.clicked.push(id) }));
    }
    const { ask } = chilly;
    chilly.ask = (name, given) => {
        window.asked.push([name, given]);
        return name === "use" ? Promise.resolve({ job: { job: 1 } }) : ask(name, given);
    };
    chilly.job = async () => ({ state: "done", report: { title: "M [recipe-1]" } });
    const of = { text: "M = weighted_sum(NED, r34_e4, alpha=0.3)", step: "M", parameter: null, params: chilly.params };
    chilly.preview.pictures.merged = { id: "merged", image: "data:,picture", infotext: "a dog", of };
    chilly.emit("ready", Object.assign(chilly.start, { host: "webui" }));
}"""


@pytest.fixture
def parts(page: Any) -> Any:
    """A page with the parts that it has in a webui, and a picture that was made of another recipe than the one on the page."""
    page.evaluate("text => chilly.look(text)", "OTHER = weighted_sum(NED, r34_e4, alpha=0.9)")
    page.wait_for_function("() => chilly.good?.step === 'OTHER'")
    page.evaluate(AS_IN_A_WEBUI)
    return page


def test_shortcut_makes_the_picture_of_what_is_being_typed(parts: Any):
    parts.locator("[data-param=prompt]").fill("hills at dusk")
    parts.evaluate("document.querySelector('#chilly_generate').click()")
    assert parts.evaluate("asked.find(([name]) => name === 'preview')[1].params.prompt") == "hills at dusk"
    parts.locator(".chilly-more summary").click()
    parts.locator("[data-param=negative_prompt]").fill("rain")
    parts.evaluate("(window.asked = [], document.querySelector('#chilly_generate').click())")
    assert parts.evaluate("asked.find(([name]) => name === 'preview')[1].params.negative_prompt") == "rain"
    parts.evaluate("chilly.preview.stop()")


def test_merge_that_is_used_unsaved_is_that_of_the_picture_above_the_button(parts: Any):
    parts.get_by_role("button", name="Use it unsaved").click()
    used = parts.evaluate("asked.find(([name]) => name === 'use')[1]")
    assert used == {"text": "M = weighted_sum(NED, r34_e4, alpha=0.3)", "step": "M"}


def test_merge_can_be_used_only_while_its_picture_is_shown(parts: Any):
    use = parts.get_by_role("button", name="Use it unsaved")
    parts.evaluate("chilly.emit('pictures', chilly.preview)")
    use.wait_for()
    parts.evaluate("(delete chilly.preview.pictures.merged, chilly.emit('pictures', chilly.preview))")
    use.wait_for(state="hidden")


def test_shortcuts_find_their_buttons_where_there_are_no_pictures_and_ask_for_nothing(page: Any):
    page.evaluate("chilly.preview.setFollow(false)")
    page.evaluate(AS_IN_A_WEBUI.replace('host: "webui"', 'host: "webui", no_pictures: "none here"'))
    page.evaluate("['generate', 'interrupt', 'skip'].forEach((name) => document.querySelector(`button[id$=_${name}]`).click())")
    assert page.evaluate("document.querySelector('button[id$=_interrupt]').style.display") == "none"
    assert page.evaluate("asked.map(([name]) => name).filter((name) => ['preview', 'stop'].includes(name))") == []


def test_shortcuts_find_their_buttons_before_the_page_has_begun_and_do_nothing(new_context: Callable[..., Any], site: Site):
    tab = new_context(site).new_page()
    unseen = "window.IntersectionObserver = class { observe() {} unobserve() {} disconnect() {} };"
    tab.add_init_script(f"window.onUiTabChange = () => {{}}; {unseen}")
    tab.goto(site.url)
    tab.wait_for_selector("#chilly_page[data-state=unseen]", state="attached")
    for name in ("generate", "interrupt", "skip"):
        tab.evaluate("name => document.querySelector(`button[id$=_${name}]`).click()", name)


def test_picture_is_sent_when_both_its_fields_are_known_to_have_arrived_and_not_before(parts: Any):
    parts.get_by_role("button", name="Send to img2img").click()
    assert parts.evaluate("clicked") == ["chilly_sent_text_area a dog", "chilly_sent_image_area data:,picture"]
    parts.evaluate("(window.clicked = [], chilly.taken('a dog', ''))")
    assert parts.evaluate("clicked") == []
    parts.evaluate("chilly.taken('a dog', 'data:,picture')")
    assert parts.evaluate("clicked") == ["chilly_send_img2img"]
    parts.evaluate("chilly.taken('a dog', 'data:,picture')")
    assert parts.evaluate("clicked") == ["chilly_send_img2img"]


def test_picture_that_is_sent_again_is_sent_though_nothing_in_its_fields_changes(parts: Any):
    for _ in range(2):
        parts.evaluate("window.clicked = []")
        parts.get_by_role("button", name="Send to txt2img").click()
        parts.evaluate("if (!clicked.includes('chilly_send_txt2img')) chilly.taken('a dog', '')")
        assert parts.evaluate("clicked.filter((each) => each.startsWith('chilly_send_'))") == ["chilly_send_txt2img"]
