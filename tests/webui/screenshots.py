"""Take the pictures of the tab in the webui that docs/images has: wide and narrow, light and dark.

CHILLY_WEBUI=... CHILLY_WEBUI_PYTHON=... PYTHONPATH=.:tests python tests/webui/screenshots.py docs/images
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from browsing import FLAGS, chromium
from PIL import Image
from playwright.sync_api import TimeoutError, sync_playwright
from screen import Screen
from webuis import Webui, webui_python

from lib_chilly.family import build_family

WINDOWS = ((1440, "light"), (1440, "dark"), (820, "light"))


def take(screen: Screen, path: Path) -> None:
    """All of the page, with the save bar at its end."""
    page = screen.page
    width, height = page.viewport_size["width"], page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(800)  # until what fades has faded
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        image.convert("RGB").save(path, "WEBP", quality=46, method=6)
    print(path)


def main(into: Path) -> None:
    """Take all of them."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        house = Webui(
            Path(os.environ["CHILLY_WEBUI"]), webui_python(), Path(name), build=lambda models: list(build_family(models))
        )
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            for width, theme in WINDOWS:
                screen = Screen(browser, house, viewport={"width": width, "height": 700}, color_scheme=theme)
                screen.open(f"?__theme={theme}")
                screen.ours().card().drawn()
                screen.page.wait_for_function("() => chilly.alike")
                with contextlib.suppress(TimeoutError):  # where a slow machine makes the other strengths only when asked
                    screen.page.get_by_role("button", name="Make 3").click(timeout=2000)
                screen.page.wait_for_function("() => document.querySelectorAll('.chilly-strip img').length > 4")
                screen.page.locator("#chilly_save_name").fill(f"card-{width}-{theme}")
                screen.button("Save").click()
                screen.page.locator(".chilly-saves").get_by_text("Read back and checked").wait_for()
                take(screen, into / f"webui-tab-{width}-{theme}.webp")
                screen.close()
        finally:
            house.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
