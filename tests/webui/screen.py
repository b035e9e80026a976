"""A browser in front of the real webui: what a user sees and does there."""

from __future__ import annotations

from typing import Any

from browsing import CARD, PATIENCE_SECONDS
from webuis import Webui

PATIENCE = PATIENCE_SECONDS * 1000
SMALL = {"steps": 5, "width": 64, "height": 64, "cfg_scale": 4, "seed": 1}
_PASTE = """text => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', text);
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}));
}"""
_PIXELS = """async source => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
    return [...new Uint8Array(await crypto.subtle.digest('SHA-256', data))].join();
}"""
_FRESH = "() => chilly.preview.fresh() && chilly.preview.status().state === 'idle'"


class Screen:
    """One window of the webui, opened at its first tab.

    Attributes:
        page: of playwright.
        errors: of scripts of ours.
    """

    def __init__(self, browser: Any, house: Webui, **options: Any):
        self.house = house
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 1400}, **options})
        self.context.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.context.on("weberror", self._on_error)
        # gradio's page asks for a script of another host, which it can do without.
        self.context.route(lambda url: not url.startswith((house.url, "data:", "blob:")), lambda route: route.abort())
        self.page = self.context.new_page()
        self.open()

    def _on_error(self, error: Any) -> None:
        if "chilly" in (error.error.stack or ""):  # the webui has some of its own
            self.errors.append(f"{error.error} {error.error.stack}")

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.house.url}/{query}")
        self.page.wait_for_selector("#txt2img_generate")
        self.page.wait_for_function("() => window.opts && Object.keys(opts).length && window.chilly?.ask")

    def tabs(self) -> list[str]:
        return self.page.locator("#tabs > .tab-nav > button").all_inner_texts()

    def tab(self, name: str) -> None:
        self.page.locator("#tabs > .tab-nav > button").get_by_text(name, exact=True).click()

    def ours(self) -> Screen:
        """Our tab, once it can be used."""
        self.tab("ChillyMerge")
        self.page.wait_for_selector("#chilly_page[data-state=ready]")
        self.page.evaluate("chilly.preview.setFollow(true)")  # also where a machine is slow
        return self

    def button(self, name: str) -> Any:
        return self.page.locator("#chilly_page").get_by_role("button", name=name, exact=True)

    # ---- our tab ----

    def mix(self, text: str, **params: Any) -> Screen:
        """A recipe with the pictures of it, A and B; those of a recipe that was there before are gone on with."""
        small = {"prompt": "a red circle on blue", "seed": 1, "steps": 5, "cfg": 4, "width": 64, "height": 64, "sampler": "Euler"}
        self.page.evaluate("params => chilly.setParams(params)", {**small, **params})
        self.page.evaluate("text => chilly.look(text)", text)
        return self

    def paste(self, text: str) -> None:
        self.page.evaluate(_PASTE, text)

    def card(self) -> Screen:
        """The model card's recipe, as a user brings it."""
        self.paste(CARD.read_text("utf-8"))
        self.button("Use this recipe").click()
        self.page.wait_for_function("() => chilly.view?.ok && chilly.view.fold?.rows.length === 6")
        return self

    def drawn(self) -> dict[str, str]:
        """Once the pictures are those of the recipe as it is: the pixels' digest of each."""
        self.page.wait_for_function(_FRESH)
        pictures = self.page.evaluate("Object.entries(chilly.preview.pictures).map(([id, {image}]) => [id, image])")
        return {name: self.pixels(image) for name, image in pictures}

    def send(self) -> None:
        """The parameters of the merge's picture to txt2img, which is then the open tab."""
        self.button("Send to txt2img").click()
        self.page.wait_for_function("() => document.querySelector('#txt2img_width input').value === '64'")

    def wait_for_status(self, words: str) -> None:
        self.page.locator("#chilly_preview_status").get_by_text(words).wait_for()

    # ---- the webui's ----

    def pixels(self, source: str) -> str:
        return self.page.evaluate(_PIXELS, source)

    def chosen(self) -> str:
        """What stands in the dropdown of checkpoints."""
        return self.page.locator("#setting_sd_model_checkpoint input").input_value()

    def wait_for_chosen(self, words: str) -> str:
        wait = "words => document.querySelector('#setting_sd_model_checkpoint input').value.includes(words)"
        self.page.wait_for_function(wait, arg=words)
        return self.chosen()

    def choose(self, name: str) -> None:
        """Another model, from the dropdown above all tabs."""
        self.page.locator("#setting_sd_model_checkpoint input").click()
        self.page.locator("#setting_sd_model_checkpoint .options li").filter(has_text=name).first.click()
        self.page.wait_for_function(
            "name => fetch('./sdapi/v1/options').then((it) => it.json()).then((it) => it.sd_model_checkpoint.startsWith(name))",
            arg=name,
        )

    def fill(self, place: str, value: object) -> None:
        field = self.page.locator(place).first
        field.fill(str(value))
        field.blur()

    def txt2img(self, **params: object) -> str:
        """The pixels' digest of a picture that was made by hand in the webui's own tab."""
        self.tab("txt2img")
        self.fill("#txt2img_prompt textarea", "a red circle on blue")
        for name, value in {**SMALL, **params}.items():
            self.fill(f"#txt2img_{name} input", value)
        return self.generate()

    def generate(self) -> str:
        """The same with what stands in the tab."""
        gallery = self.page.locator("#txt2img_gallery img").first
        before = gallery.get_attribute("src") if gallery.count() else ""
        self.page.locator("#txt2img_generate").click()
        self.page.wait_for_function(
            "before => { const image = document.querySelector('#txt2img_gallery img');"
            " return image && image.src !== before && document.querySelector('#txt2img_interrupt').style.display !== 'block' }",
            arg=before,
        )
        return self.pixels(gallery.get_attribute("src"))

    def close(self) -> None:
        self.context.close()
        assert self.errors == []
