"""The whole way on every gradio: paste a recipe, see what it comes to, paint, see pictures, save, find it, go on after a reload.

By mouse on all of them, by keyboard alone on the current one.
"""

from __future__ import annotations

from typing import Any

from browsing import CARD, READY, Site, check_accessibility, open_page, wait_for_view
from test_page_loads import ask_and_go_on

BASE, RESULT = "ChillyMixBaseV0", "ChillyMixBase_V1-NED"
FACTORS = {
    "analogDiffusion_10": "+0.6056",
    "pyro_pov_a": "+0.0534",
    "pyro_pov_b": "+0.0534",
    "v1-5-pruned-emaonly": "−0.7125",
    "F222_v1": "+0.75",
    "r34_e4": "+0.25",
}
PASTE = """text => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', text);
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}));
}"""
SMALL = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64, "sampler": "Euler"}
MERGED = "chilly.preview.pictures.merged && chilly.preview.pictures.merged.image"
FRESH = f"() => chilly.preview.fresh() && {MERGED}"


def bar(page: Any, lane: str) -> dict[str, float]:
    return page.locator(f'[data-lane="{lane}"]').bounding_box()


def paint(page: Any, lanes: list[str], share: float) -> None:
    """One stroke over some bars at the place of a weight."""
    boxes = [bar(page, lane) for lane in lanes]
    points = [(box["x"] + box["width"] * share, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point, steps=3)
    page.mouse.up()


def wait_for_picture(page: Any, other_than: str | None = None) -> str:
    page.wait_for_function(FRESH)
    picture = page.evaluate(MERGED)
    assert picture and picture != other_than
    return picture


def factors(page: Any) -> dict[str, str]:
    names, values = (page.locator(f".chilly-coef:not(.chilly-lanes *) .chilly-coef-{part}") for part in ("name", "value"))
    return dict(zip(names.all_inner_texts(), values.all_inner_texts(), strict=False))


def walk(page: Any, site: Site, name: str) -> None:
    page.evaluate("small => chilly.setParams(small)", SMALL)
    page.evaluate("chilly.preview.setFollow(true)")  # by itself it follows only where pictures are quick
    page.evaluate(PASTE, CARD.read_text("utf-8"))
    page.get_by_role("button", name="Use this recipe").click()
    wait_for_view(page, f"view.ok && view.step === '{RESULT}'")

    page.locator(".chilly-step-head", has_text=BASE).first.click()
    wait_for_view(page, f"view.step === '{BASE}' && view.fold")
    assert factors(page) == FACTORS
    page.locator(".chilly-step-head", has_text=RESULT).click()
    wait_for_view(page, f"view.step === '{RESULT}' && view.mixer")
    first = wait_for_picture(page)

    paint(page, ["IN03", "IN04", "IN05"], 0.3)
    view = wait_for_view(page, "view.mixer.values.IN05 < 0.5")
    values = view["mixer"]["values"]
    assert all(abs(values[lane] - 0.3) < 0.08 for lane in ("IN03", "IN04", "IN05")) and values["IN02"] == values["IN06"] == 1
    assert view["mixer"]["list_text"].startswith("1, 1, 1, 1, 0.")
    second = wait_for_picture(page, other_than=first)

    page.locator("#chilly_save_name").fill(name)
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    page.locator("#chilly_save_button").click()
    page.get_by_text("Read back and checked").first.wait_for()
    assert (site.out / f"{name}.safetensors").stat().st_size > 1_000_000

    page.locator("#chilly_history_button").click()
    page.locator("#chilly_history_search").fill(name)
    page.locator(".chilly-kept-row", has_text=f"{name}.safetensors").wait_for()
    page.locator("#chilly_history_button").click()

    text = page.evaluate("chilly.text")
    page.reload()
    page.wait_for_selector(READY)
    page.evaluate("chilly.preview.setFollow(true)")  # by itself it follows only where pictures are quick
    assert page.evaluate("chilly.text") == text
    assert wait_for_picture(page) == second
    page.evaluate("chilly.undo()")
    wait_for_view(page, "view.mixer.values.IN04 === 1")
    assert wait_for_picture(page) == first


def test_the_whole_way_on_the_current_gradio(page, site):
    walk(page, site, "walk")
    check_accessibility(page)


def test_page_on_the_gradio_of_webuis_asks_is_answered_and_goes_on_after_a_reload(old_site, new_context):
    ask_and_go_on(open_page(new_context(old_site), old_site.url), old_site)


def test_the_whole_way_on_the_gradio_of_webuis(old_site, new_context):
    walk(open_page(new_context(old_site), old_site.url), old_site, "walk")


def press_until(page: Any, selector: str, key: str = "Tab") -> None:
    """Go on by a key until something has the focus."""
    for _ in range(150):
        if page.evaluate("selector => Boolean(document.activeElement && document.activeElement.matches(selector))", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not reach {selector}")


def test_the_whole_way_by_keyboard_alone(page, site):
    page.evaluate("small => chilly.setParams(small)", SMALL)
    page.evaluate(PASTE, CARD.read_text("utf-8"))
    page.get_by_role("button", name="Use this recipe").wait_for()
    page.keyboard.press("Enter")  # the dialog's first button has the focus
    wait_for_view(page, f"view.ok && view.step === '{RESULT}' && view.mixer")
    press_until(page, "[role=slider][data-lane]")
    press_until(page, "[data-lane=IN04]", "ArrowDown")
    page.keyboard.type(".4")
    page.keyboard.press("Shift+ArrowDown")
    wait_for_view(page, "view.mixer.values.IN04 === 0.4 && view.mixer.values.IN05 === 0.4")
    press_until(page, "#chilly_save_name")
    page.keyboard.press("Control+a")
    page.keyboard.type("typed")
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    press_until(page, "#chilly_save_button")
    page.keyboard.press("Enter")
    page.get_by_text("Read back and checked").first.wait_for()
    assert (site.out / "typed.safetensors").exists()
    press_until(page, "#chilly_history_button", "Shift+Tab")
    page.keyboard.press("Enter")
    press_until(page, "#chilly_history_search")
    page.keyboard.type("typed")
    page.locator(".chilly-kept-row", has_text="typed.safetensors").wait_for()
