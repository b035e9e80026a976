"""The Recipe pane as somebody uses it: paste and review, cards and text in step, mistakes with their fixes, keyboard alone; what
names and texts hold is never obeyed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from browsing import CARD, Site, check_accessibility, open_page, wait_for_view

from lib_chilly.notations import read_recipe

RECIPE = """\
# first of two
ratio = 0.25
BLEND = (1 - ratio) * NED + ratio * chilloutmix  # a remark
EXTRA = mean(pyro_pov_a, pyro_pov_b)
OUT = weighted_sum(BLEND, EXTRA, alpha=0.5)
"""
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
TALL = {"width": 1440, "height": 1400}


@pytest.fixture
def pane(new_context: Callable[..., Any], site: Site) -> Any:
    """The page, with a clipboard to paste from."""
    context = new_context(site, viewport=TALL)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
    return open_page(context, site.url)


def paste(page: Any, text: str) -> Any:
    """Paste into the dashed field, by the keyboard; gives the review."""
    page.locator(".chilly-paste-area:visible").focus()
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("Control+v")
    return page.get_by_role("dialog")


def begin(page: Any, text: str = RECIPE) -> Any:
    page.evaluate("text => chilly.look(text)", text)
    return wait_for_view(page, "view.ok")


def names(page: Any) -> list[str]:
    """The cards' names, as they are read."""
    return page.locator(".chilly-cards .chilly-step").evaluate_all("cards => cards.map((card) => card.dataset.step)")


def field(page: Any, name: str) -> Any:
    return page.locator(f'.chilly-step[data-open=true] [data-field="{name}"]')


def text_of(page: Any) -> str:
    return page.evaluate("chilly.text")


def png_with(**texts: str) -> bytes:
    """A picture of one pixel with text chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    chunks = [chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + value.encode()) for key, value in texts.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(b"\0\0")), chunk(b"IEND", b"")]
    )


def test_card_is_pasted_reviewed_and_folded_and_undo_empties_the_page_again(pane):
    check_accessibility(pane)
    review = paste(pane, CARD.read_text("utf-8"))
    review.get_by_role("button", name="Use this recipe").wait_for()
    assert review.locator(".chilly-step-name").all_inner_texts()[-1].endswith("ChillyMixBase_V1-NED")
    assert text_of(pane) == ""  # nothing is taken before it is said
    check_accessibility(pane)
    pane.keyboard.press("Enter")
    view = wait_for_view(pane, "view.ok")
    assert read_recipe(view["text"]) == read_recipe(CARD.read_text("utf-8"))
    assert names(pane)[-1] == "ChillyMixBase_V1-NED"
    pane.locator("[data-step=MERGE_BASE] .chilly-step-head").click()
    wait_for_view(pane, "view.step === 'MERGE_BASE'")
    rows = [row.split() for row in pane.locator(".chilly-fold .chilly-coef li").all_inner_texts()]
    assert (len(rows), rows[0], rows[-2:]) == (7, ["F222_v1", "+0.75"], [["v1-5-pruned-emaonly", "−0.7125"], ["Sum", "1"]])
    check_accessibility(pane)
    pane.locator("#chilly_undo_recipe").click()
    wait_for_view(pane, "view.text === ''")
    assert pane.get_by_role("heading", name="Pick two models").is_visible()


@pytest.mark.parametrize(
    ("then", "text", "step"),
    [
        ("chilly.look('B = NED\\n', {step: null})", "B = NED\n", "B"),
        ("chilly.undo()", RECIPE, "OUT"),
        ("chilly.open('BLEND')", RECIPE + "# typed", "BLEND"),
    ],
)
def test_text_that_is_under_way_is_neither_lost_nor_left_standing(pane, then, text, step):
    begin(pane)
    pane.locator("#chilly_view_text").click()
    pane.evaluate(
        f"""() => {{
            const area = document.querySelector("#chilly_text");
            chilly.ask("models"); // what is asked next has to wait
            area.value += "# typed";
            for (const event of ["input", "blur"]) area.dispatchEvent(new Event(event));
            return {then}.then(() => null);
        }}"""
    )
    assert (text_of(pane), pane.evaluate("chilly.step")) == (text, step)
    assert pane.locator("#chilly_text").input_value() == text
    if then == "chilly.undo()":
        pane.evaluate("chilly.redo().then(() => null)")
        assert text_of(pane) == RECIPE + "# typed"


def test_cards_change_the_text_by_keyboard_alone_and_refusals_stand_at_their_field(pane):
    begin(pane)
    head = pane.locator(".chilly-step-head").first
    head.focus()
    pane.keyboard.press("Enter")
    wait_for_view(pane, "view.step === 'BLEND'")
    pane.locator('[data-field="constant ratio"]').fill("0.15")
    pane.keyboard.press("Enter")
    wait_for_view(pane, "view.text.includes('ratio = 0.15')")
    field(pane, "operand 1").focus()
    pane.keyboard.type("r34")
    pane.keyboard.press("Enter")
    wait_for_view(pane, "view.text.includes('ratio * r34_e4  # a remark')")
    field(pane, "name").focus()
    pane.keyboard.press("Control+a")
    pane.keyboard.type("BASE")
    pane.keyboard.press("Enter")
    wait_for_view(pane, "view.text.includes('weighted_sum(BASE, EXTRA')")
    assert pane.evaluate("document.activeElement.dataset.field") == "name"
    field(pane, "remove").focus()
    pane.keyboard.press("Enter")
    alert = pane.locator(".chilly-step[data-open=true] [role=alert]")
    alert.wait_for()
    assert "BASE" in alert.inner_text() and "BASE" in names(pane)
    pane.locator("[data-step=EXTRA] .chilly-step-head").focus()
    pane.keyboard.press("Alt+ArrowUp")
    wait_for_view(pane, "view.steps[0].name === 'EXTRA'")
    assert names(pane) == ["EXTRA", "BASE", "OUT"]
    check_accessibility(pane)


def test_drag_reorders_slider_sets_and_one_undo_takes_back_a_whole_stroke(pane):
    begin(pane)
    first, second = (pane.locator(".chilly-step-head").nth(place).bounding_box() for place in (0, 1))
    pane.mouse.move(first["x"] + 90, first["y"] + 12)
    pane.mouse.down()
    pane.mouse.move(second["x"] + 90, second["y"] + second["height"] - 4, steps=8)
    pane.mouse.up()
    wait_for_view(pane, "view.steps[0].name === 'EXTRA'")
    pane.locator("[data-step=OUT] .chilly-step-head").click()
    wait_for_view(pane, "view.step === 'OUT'")
    before = text_of(pane)
    slider = field(pane, "alpha slider").bounding_box()
    middle = slider["y"] + slider["height"] / 2
    pane.mouse.move(slider["x"] + slider["width"] / 2, middle)
    pane.mouse.down()
    pane.mouse.move(slider["x"] + slider["width"] * 0.8, middle, steps=12)
    pane.mouse.up()
    wait_for_view(pane, "view.text !== " + repr(before) + " && view.steps[2].parameters[0].value > 0.7")
    pane.locator("#chilly_undo_recipe").click()
    wait_for_view(pane, "view.steps[2].parameters[0].value === 0.5")
    assert text_of(pane) == before


def test_mistake_in_the_text_is_underlined_and_mended_while_the_last_good_recipe_goes_on(pane):
    begin(pane)
    fold = pane.locator(".chilly-fold .chilly-coef li").all_inner_texts()
    pane.locator("#chilly_view_text").click()
    area = pane.locator("#chilly_text")
    area.focus()
    area.evaluate("node => node.setSelectionRange(node.value.indexOf('(BLEND') + 6, node.value.indexOf('(BLEND') + 6)")
    pane.keyboard.type("ER")
    wait_for_view(pane, "!view.ok")
    assert pane.locator(".chilly-t-err").all_inner_texts() == ["BLENDER"]
    assert pane.locator("#chilly_mistakes .chilly-err").count() == 1
    assert pane.locator(".chilly-fold .chilly-coef li").all_inner_texts() == fold
    pane.locator("#chilly_mixer_words").wait_for(state="hidden")  # bars and words are not of two recipes
    check_accessibility(pane)
    pane.get_by_role("button", name="Use BLEND").click()
    wait_for_view(pane, "view.ok")
    pane.locator("#chilly_mixer_words").wait_for()
    assert (area.input_value(), pane.locator(".chilly-t-err").count()) == (RECIPE, 0)
    area.press("Control+z")
    wait_for_view(pane, "!view.ok")
    area.press("Control+Shift+Z")
    wait_for_view(pane, "view.ok")
    pane.locator("#chilly_view_cards").click()
    assert names(pane) == ["BLEND", "EXTRA", "OUT"]


def test_parameters_of_a_picture_change_no_recipe(pane):
    begin(pane)
    review = paste(pane, "a cat\nSteps: 3, Sampler: Euler, CFG scale: 5, Seed: 42, Size: 64x64, Model: x")
    review.wait_for()
    assert review.get_by_role("button").all_inner_texts() == ["Use these settings", "Cancel"]
    pane.keyboard.press("Enter")
    pane.wait_for_function("() => chilly.params.prompt === 'a cat' && chilly.params.seed === 42")
    assert text_of(pane) == RECIPE


def test_picture_of_ours_is_dropped_and_says_what_differs_before_it_replaces(pane):
    begin(pane)
    other = RECIPE.replace("alpha=0.5", "alpha=0.2").replace("EXTRA", "MORE")
    picture = png_with(chillymerge_recipe=other)
    pane.locator(".chilly-paste:visible input[type=file]").set_input_files(
        {"name": f"{HOSTILE}.png", "mimeType": "image/png", "buffer": picture}
    )
    review = pane.get_by_role("dialog")
    review.get_by_role("button", name="Replace").wait_for()
    changes = dict(
        zip(
            review.locator(".chilly-step-name").all_inner_texts(),
            review.locator(".chilly-tag-change").all_inner_texts(),
            strict=True,
        )
    )
    assert [changed.split()[-1] for changed in changes.values()] == ["is", "new", "changed"]
    assert "Not in it: EXTRA." in review.inner_text() and HOSTILE in review.inner_text()
    assert review.locator("img, script").count() == 0
    review.get_by_role("button", name="Cancel").click()
    assert text_of(pane) == RECIPE


def test_hostile_names_and_texts_are_shown_as_they_are_and_do_nothing(pane, models):
    pane.evaluate("text => chilly.look(text)", f'# {HOSTILE}\nA = 0.5 * "{HOSTILE}" + 0.5 * NED\n')
    wait_for_view(pane, "view.errors.length")
    assert pane.locator("#chilly_page img, #chilly_page script").count() == 0
    pane.locator("#chilly_view_text").click()
    assert HOSTILE in pane.locator(".chilly-ed pre").inner_text()
    assert HOSTILE in pane.locator("#chilly_mistakes").inner_text()
    pane.evaluate("chilly.look('OUT = mean(NED, chilloutmix)')")
    wait_for_view(pane, "view.ok")
    pane.locator("#chilly_view_cards").click()
    field(pane, "operand 0").click()
    choices = pane.get_by_role("listbox").get_by_role("option")
    assert choices.count() == len(list(models.glob("*.safetensors")))
    choices.filter(has_text="onerror").click()
    view = wait_for_view(pane, "view.ok && view.text.includes('onerror')")
    assert "onerror" in view["steps"][0]["operands"][0]["text"]
    assert pane.evaluate("window.hacked") is None
    assert pane.locator("#chilly_page img:not([src^='data:image/']), #chilly_page script").count() == 0


def test_mistake_of_no_card_is_said_above_the_cards(page):
    text = 'M = 0.5 * NED + 0.5 * r34_e4\nsave(discard="nothing.*")\n'
    page.evaluate("text => chilly.look(text)", text)
    said = page.locator(".chilly-cards .chilly-err")
    said.get_by_text("fits no key").wait_for()
    page.evaluate("text => chilly.look(text)", text.splitlines()[0])
    wait_for_view(page, "view.ok")
    assert said.count() == 0
