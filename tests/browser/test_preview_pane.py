"""The preview pane in a browser, with real pictures of small models: it follows, compares, keeps, and never goes blank."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from browsing import READY, Site, check_accessibility, open_page, wait_for_view

pytest.importorskip("diffusers")
playwright = pytest.importorskip("playwright.sync_api")

MIX = "MIX = weighted_sum(NED, r34_e4, alpha=0.8)\n"
SMALL = {"prompt": "hills at dawn", "steps": 2, "width": 64, "height": 64, "cfg": 3.0}
COUNT_BLANKS = """() => {
    window.blanks = 0;
    const look = () => {
        const shown = document.querySelector('.chilly-wipe img');
        if (!shown || !shown.complete || !shown.naturalWidth) window.blanks++;
        requestAnimationFrame(look);
    };
    look();
}"""
MERGED = "chilly.preview.pictures.merged.image"


def wait_until_up_to_date(page: Any) -> None:
    # The first picture of a server waits for torch and diffusers, which on a busy machine take long to come.
    try:
        page.wait_for_function("() => chilly.preview.fresh() && chilly.preview.status().state === 'idle'", timeout=120_000)
    except Exception as error:
        state = page.evaluate("[chilly.preview.status(), chilly.preview.estimate, chilly.preview.follow]")
        raise AssertionError(state) from error


@pytest.fixture
def pane(new_context: Callable[..., Any], site: Site) -> Any:
    """The page with a mix of two models, its first pictures made."""
    page = open_page(new_context(site, reduced_motion="reduce"), site.url)
    page.evaluate("small => chilly.setParams(small)", SMALL)
    page.evaluate("chilly.preview.setFollow(true)")  # by itself it follows only where pictures are quick
    page.evaluate("text => chilly.look(text)", MIX)
    wait_for_view(page, "view.ok && view.mixer")
    wait_until_up_to_date(page)
    return page


@pytest.mark.parametrize(("seconds", "follows"), [(7.9, True), (8.1, False)])
def test_preview_follows_by_itself_where_a_picture_takes_less_than_8_s(new_context, site: Site, seconds: float, follows: bool):
    page = new_context(site).new_page()
    page.goto(site.url)
    page.wait_for_selector(READY)
    page.evaluate(
        """seconds => {
            const { ask } = chilly;
            window.asked = [];
            chilly.ask = (name, given, lane) => {
                window.asked.push(name);
                if (name === "estimate") return Promise.resolve({ seconds, says: "so long" });
                return name === "preview" ? new Promise(() => {}) : ask(name, given, lane);
            };
        }""",
        seconds,
    )
    page.evaluate("text => chilly.look(text)", MIX)
    page.wait_for_function("() => chilly.preview.follow !== null")
    assert page.get_by_label("Follow the mixer").is_checked() is follows
    assert page.evaluate("asked").count("preview") == follows


def test_preview_is_not_called_old_while_the_browser_reads_its_pictures(pane):
    pane.evaluate(
        """() => {
            window.states = new Set();
            chilly.on("pictures", () => window.states.add(chilly.preview.status().state));
            const { ready } = chilly.preview;
            chilly.preview.ready = (picture) => new Promise((done) => setTimeout(done, 300)).then(() => ready(picture));
        }"""
    )
    pane.evaluate("chilly.edit({do: 'weights', step: 'MIX', values: {IN05: 0.1}})")
    wait_for_view(pane, "view.mixer.values.IN05 === 0.1")
    pane.wait_for_function("() => window.states.has('busy')")
    wait_until_up_to_date(pane)
    assert sorted(pane.evaluate("[...window.states]")) == ["busy", "idle"]


def test_pictures_follow_the_weights_and_never_go_blank(pane):
    assert pane.get_by_role("group", name="Pictures", exact=True).locator("img").count() == 3
    with contextlib.suppress(playwright.TimeoutError):  # there where a slow machine makes the other strengths only when asked
        pane.get_by_role("button", name="Make 3").click(timeout=2000)
    pane.wait_for_function("() => document.querySelectorAll('.chilly-strip img').length === 5")
    first = pane.evaluate(MERGED)
    pane.evaluate(COUNT_BLANKS)
    for weight in (0.1, 0.2, 0.3):
        pane.evaluate("IN04 => chilly.edit({do: 'weights', step: 'MIX', values: {IN04}}, {passing: true})", weight)
    pane.evaluate("chilly.edit({do: 'weights', step: 'MIX', values: {IN04: 0}})")
    wait_until_up_to_date(pane)
    assert pane.evaluate(MERGED) != first
    assert pane.evaluate("window.blanks") == 0

    pane.get_by_label("Follow the mixer").uncheck()
    before = pane.evaluate(MERGED)
    pane.evaluate("chilly.undo()")
    pane.locator("#chilly_preview_status").get_by_text("Preview is older than the mixer").wait_for()
    assert pane.evaluate(MERGED) == before
    pane.get_by_role("button", name="Update").click()
    wait_until_up_to_date(pane)
    assert pane.evaluate(MERGED) == first

    pane.get_by_label("Follow the mixer").check()
    pane.get_by_role("button", name="Strength 50 percent").click()
    wait_for_view(pane, "view.mixer.alpha === 0.4")
    wait_until_up_to_date(pane)
    assert pane.evaluate(MERGED) not in (first, before)


def test_fields_wipe_and_large_picture_by_keyboard(pane):
    wipe = pane.get_by_role("slider", name="Wipe between NED and the merge")
    wipe.focus()
    pane.keyboard.press("Home")
    pane.keyboard.press("ArrowRight")
    assert wipe.get_attribute("aria-valuenow") == "2"
    box = pane.locator(".chilly-wipe").bounding_box()
    pane.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 90)
    assert wipe.get_attribute("aria-valuenow") == "75"
    compare = pane.get_by_role("button", name="Compare r34_e4 with the merge")
    compare.focus()
    pane.keyboard.press("Enter")
    pane.get_by_role("slider", name="Wipe between r34_e4 and the merge").wait_for()
    assert pane.evaluate("document.activeElement.getAttribute('aria-label')") == "Compare r34_e4 with the merge"

    seed = pane.evaluate("chilly.params.seed")
    pane.get_by_role("button", name="New seed").press("Enter")
    wait_until_up_to_date(pane)
    assert pane.locator("[data-param=seed]").input_value() == str(pane.evaluate("chilly.params.seed")) != str(seed)
    pane.evaluate("chilly.setParams({sampler: 'nothing'})")
    pane.locator("#chilly_preview_status").get_by_text("there is no sampler 'nothing' here").wait_for()
    assert pane.locator("[data-param=sampler]").get_attribute("aria-invalid") == "true"
    assert pane.locator("[data-param=sampler]").is_visible()
    pane.evaluate("chilly.setParams({sampler: 'Euler'})")
    wait_until_up_to_date(pane)

    pane.get_by_role("button", name="Open large").press("Enter")
    dialog = pane.get_by_role("dialog", name="Merged")
    assert "Steps: 2" in dialog.inner_text()
    check_accessibility(pane, ".chilly-large")
    pane.keyboard.press("Escape")
    assert dialog.count() == 0


def test_pictures_and_strengths_are_of_the_models_and_the_parameter_that_are_shown(pane):
    names = pane.get_by_role("group", name="Pictures", exact=True).locator(".chilly-pic-name")
    pane.evaluate("chilly.look('X = sum_twice(NED, r34_e4, chilloutmix, alpha=0.8, beta=0.5)\\n', {step: null})")
    wait_for_view(pane, "view.step === 'X'")
    pane.evaluate("chilly.open('X', 'beta').then(() => null)")
    wait_for_view(pane, "view.mixer.parameter === 'beta'")
    wait_until_up_to_date(pane)
    assert names.all_inner_texts() == ["NED", "r34_e4", "Merged"]
    pane.get_by_role("heading", name="How alike are NED and r34_e4?").wait_for()
    zero = pane.evaluate("chilly.preview.pictures['strength-0'].image")
    pane.get_by_role("button", name="Strength 0 percent").click()
    wait_for_view(pane, "view.text.includes('beta=0)')")
    wait_until_up_to_date(pane)
    assert pane.evaluate(MERGED) == zero
    pane.get_by_role("button", name="Keep", exact=True).click()
    pane.get_by_role("button", name="Kept (").wait_for()

    pane.evaluate("chilly.look('X = free_sum(NED, alpha=1)\\n', {step: null})")
    wait_for_view(pane, "view.text.includes('free_sum')")
    wait_until_up_to_date(pane)
    assert names.all_inner_texts() == ["NED", "Merged"]
    assert not pane.locator(".chilly-sec[aria-label='How alike the models are']").is_visible(), (
        "one model is compared with nothing"
    )


def test_variants_blocks_and_kept_pictures_are_gone_on_with(pane, site, tmp_path):
    pane.get_by_role("button", name="Variants", exact=True).click()
    pane.get_by_label("Count", exact=True).fill("2")
    pane.get_by_role("button", name="Make variants").click()
    pane.get_by_role("button", name="Take the weights of variant 2").click()
    wait_for_view(pane, "view.mixer.on")
    wait_until_up_to_date(pane)
    taken = pane.evaluate("chilly.text")
    assert "IN05" in taken or "[" in taken

    pane.get_by_role("button", name="Block by block").click()
    pane.get_by_role("button", name="to A").click()
    pane.get_by_role("button", name="Make the map").click()
    block = pane.get_by_role("button", name="Compare the picture with IN01 moved")
    block.wait_for()
    whole = block.locator("img").get_attribute("src")
    pane.get_by_role("button", name="Differences").click()
    assert block.locator("img").get_attribute("src") != whole
    block.click()
    pane.get_by_role("slider", name="Wipe between IN01 moved and the merge").wait_for()
    pane.locator(".chilly-strip-tools").get_by_role("button", name="Stop").click()

    pane.get_by_role("button", name="Keep", exact=True).click()
    pane.get_by_role("button", name="Kept (").wait_for()
    with pane.expect_download() as download:
        pane.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "picture.png")
    pane.evaluate("text => chilly.look(text)", MIX)
    pane.reload()
    pane.wait_for_selector(READY)
    pane.get_by_role("button", name="Variants", exact=True).click()
    pane.get_by_role("button", name="Take the weights of variant 2").wait_for()
    pane.get_by_role("button", name="Kept (").click()
    pane.get_by_role("button", name="Go back to MIX").first.click()
    wait_for_view(pane, "view.mixer && view.mixer.on")
    back = pane.evaluate("JSON.stringify(chilly.view.mixer.values)")
    pane.evaluate("text => chilly.look(text)", taken)
    wait_for_view(pane, f"view.text === {taken!r}")
    assert pane.evaluate("JSON.stringify(chilly.view.mixer.values)") == back

    head = base64.b64encode((tmp_path / "picture.png").read_bytes()).decode()
    review = pane.evaluate("head => chilly.ask('paste', {file: {name: 'picture.png', head}})", head)
    assert review["view"]["fold"] == pane.evaluate("chilly.view.fold")


def test_pane_is_accessible_and_fits_at_every_width_in_both_themes(pane):
    pane.get_by_role("button", name="Variants", exact=True).click()
    for width, theme in ((1440, "light"), (1000, "dark"), (820, "light"), (360, "dark")):
        pane.set_viewport_size({"width": width, "height": 900})
        pane.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
        pane.wait_for_function("theme => document.querySelector('.chilly-page').dataset.theme === theme", arg=theme)
        assert pane.evaluate("document.documentElement.scrollWidth") <= width
        check_accessibility(pane)
