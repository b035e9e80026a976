"""Take the pictures of docs/images: the page in each of its states, wide and narrow, light and dark.

PYTHONPATH=.:tests python tests/browser/screenshots.py docs/images
"""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browsing import CARD, FLAGS, Site, chromium, open_page, wait_for_view
from PIL import Image
from playwright.sync_api import TimeoutError, sync_playwright

from lib_chilly.family import build_family
from lib_chilly.notations import read_recipe
from lib_chilly.synth import synthesise

WIDTHS = (1440, 820)
THEMES = ("light", "dark")
OTHERS = {"sdxl": "SDXL", "sd3": "SD3", "flux": "Flux"}
BROKEN = "MERGE1 = mean(NED, chilloutmix)\nMERGE2 = 0.95 * MERGE1x + 0.05 * r34_e4\n"
PASTE = """text => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', text);
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}));
}"""


def card(page: Any) -> None:
    """The model card's recipe with its pictures, and how alike the last step's operands are."""
    page.evaluate("text => chilly.look(text)", read_recipe(CARD.read_text("utf-8")).canonical())
    wait_for_view(page, "view.ok && view.mixer && view.fold")
    page.wait_for_function("() => chilly.preview.fresh() && chilly.alike")
    with contextlib.suppress(TimeoutError):  # there where a slow machine makes the other strengths only when asked
        page.get_by_role("button", name="Make 3").click(timeout=2000)
    page.wait_for_function("() => document.querySelectorAll('.chilly-strip img').length > 4")


def group(page: Any) -> None:
    card(page)
    page.get_by_role("button", name="Attention", exact=True).click()


def mistake(page: Any) -> None:
    card(page)
    page.locator("#chilly_view_text").click()
    page.locator("#chilly_text").fill(BROKEN)
    page.locator("#chilly_mistakes button").first.wait_for()


def review(page: Any) -> None:
    page.evaluate(PASTE, CARD.read_text("utf-8"))
    page.get_by_role("dialog").get_by_role("button", name="Use this recipe").wait_for()


def saved(page: Any) -> None:
    card(page)
    page.wait_for_function("() => !document.querySelector('#chilly_save_button').disabled")
    page.locator("#chilly_save_button").click()
    page.get_by_text("Read back and checked").first.wait_for()


def many(page: Any) -> None:
    card(page)
    page.get_by_label("Measure").select_option("cosine")
    page.wait_for_function("() => chilly.alike?.measure === 'cosine'")
    page.get_by_text("Compare several models").click()
    page.get_by_role("button", name="Compare 7 by cosine").click()
    page.wait_for_function("() => document.querySelectorAll('.chilly-many-picture').length === 2")


def history(page: Any) -> None:
    saved(page)
    page.locator("#chilly_history_button").click()
    page.locator(".chilly-kept-row").first.wait_for()


def other(architecture: str) -> Callable[[Any], None]:
    """The mixer of another architecture."""

    def look(page: Any) -> None:
        page.evaluate(
            "text => chilly.look(text)", f"MIX = weighted_sum({architecture}_a, {architecture}_b, alpha=preset(GRAD_V))"
        )
        wait_for_view(page, "view.ok && view.mixer")
        page.wait_for_function("() => document.querySelectorAll('[role=slider][data-lane]').length > 15 && chilly.alike")
        page.wait_for_function("() => chilly.preview.fresh() || chilly.preview.status().state === 'bad'")

    return look


STATES: dict[str, Callable[[Any], None]] = {"empty": lambda page: page.evaluate("chilly.look('')"), "page": card, "group": group}
STATES |= {"mistake": mistake, "review": review, "many": many, "saved": saved, "history": history} | {
    name: other(name) for name in OTHERS
}


def take(page: Any, path: Path) -> None:
    height = page.evaluate("document.documentElement.scrollHeight")  # so that the save bar covers nothing
    page.set_viewport_size({"width": page.viewport_size["width"], "height": max(height, 700)})
    page.wait_for_timeout(600)  # until what fades has faded
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        image.convert("RGB").save(path, "WEBP", quality=62, method=6)
    print(path)


def main(into: Path) -> None:
    """Take all of them."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        models, out = Path(name, "models"), Path(name, "out")
        models.mkdir(), out.mkdir()
        list(build_family(models))
        for number, architecture in enumerate(OTHERS):
            for letter in "ab":
                synthesise(architecture, "tiny", models / f"{architecture}_{letter}.safetensors", seed=number + ord(letter))
        site = Site(sys.executable, [models], out, Path(name, "home"))
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            for width, theme, state in itertools.product(WIDTHS, THEMES, STATES):
                context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=theme)
                context.set_default_timeout(120_000)
                page = open_page(context, f"{site.url}?__theme={theme}")
                page.evaluate("chilly.preview.setFollow(true)")
                STATES[state](page)
                take(page, into / f"page-{state}-{width}-{theme}.webp")
                context.close()
            browser.close()
        finally:
            site.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
