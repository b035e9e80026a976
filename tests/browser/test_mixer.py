"""The mixer by mouse, keyboard and finger: what a gesture did is read from the recipe's text, which the engine wrote."""

from __future__ import annotations

import math
import statistics
import sys
import time
from typing import Any

import pytest
from browsing import check_accessibility, open_page

from lib_chilly.synth import synthesise

RECIPE = "MIX = 0.5 * F222_v1 + 0.5 * NED\n"
IN = [f"IN{number:02}" for number in range(12)]
BARS = """() => Object.fromEntries([...document.querySelectorAll('.chilly-bar')].map((bar) => [bar.dataset.lane, {
    now: Number(bar.getAttribute('aria-valuenow')), linked: bar.dataset.link === 'true', seen: bar.innerText}]))"""
FRAMES = """() => { window.seen = []; let last = performance.now();
    const tick = (now) => {
        if (window.seen === null) return;
        window.seen.push(now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick); }"""


class Mixer:
    """The mixer as one who uses it has it."""

    def __init__(self, page: Any, recipe: str = RECIPE):
        self.page = page
        self.look(recipe)
        page.wait_for_selector(".chilly-bar[data-lane=BASE]")
        page.locator(".chilly-stage").scroll_into_view_if_needed()

    def look(self, recipe: str) -> None:
        self.page.evaluate("text => chilly.look(text, {step: null}).then(() => null)", recipe)
        self.settle()

    def settle(self) -> None:
        """Until no stroke is open, the engine has answered, and the answer is drawn."""
        self.page.wait_for_function("() => chilly.mixer.idle()")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    @property
    def text(self) -> str:
        self.settle()
        return self.page.evaluate("chilly.text")

    @property
    def numbers(self) -> dict[str, float]:
        """The engine's list of numbers by slot, and the bars show it."""
        self.settle()
        numbers, slots = self.page.evaluate("[chilly.view.mixer.list, chilly.mixer.net.slots]")
        bars = self.bars()
        assert [bars[slot]["now"] for slot in slots] == [round(number, 4) for number in numbers]
        return dict(zip(slots, numbers, strict=True))

    def bars(self) -> dict[str, Any]:
        return self.page.evaluate(BARS)

    def point(self, lane: str, weight: float) -> tuple[float, float]:
        """Where a bar's weight is on the screen."""
        box = self.page.locator(f".chilly-bar[data-lane='{lane}']").bounding_box()
        if box["height"] > box["width"]:
            return box["x"] + box["width"] / 2, box["y"] + 6 + (1 - weight) * (box["height"] - 12)
        return box["x"] + 6 + weight * (box["width"] - 12), box["y"] + box["height"] / 2

    def stroke(self, *points: tuple[str, float]) -> None:
        """Press at the first point, go straight to each other one in a single step, let go."""
        mouse = self.page.mouse
        mouse.move(*self.point(*points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.point(*point))
        mouse.up()
        self.settle()

    def keys(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)
        self.settle()


def listed(numbers: dict[str, float], **changed: float) -> str:
    """A list as the engine writes it."""
    return ", ".join(f"{number:g}" for number in {**numbers, **changed}.values())


def test_a_mouse_paints_sets_ends_moves_groups_and_resets_and_a_stroke_is_one_undo(page):
    mixer = Mixer(page)
    assert set(mixer.numbers.values()) == {0.5}, "a single alpha stands in every bar"
    mixer.stroke(("IN01", 0.2), ("IN03", 0.5), ("IN08", 1.0), ("OUT00", 1.0))
    painted = dict(zip(IN[1:9], (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1), strict=True))
    flat = dict.fromkeys(mixer.numbers, 0.5)
    got = mixer.numbers
    assert {slot: got[slot] for slot in IN[1:9]} == painted
    assert all(got[slot] == 0.5 for slot in flat if slot.startswith("OUT") or slot == "BASE"), "one arm only"
    assert f"[{listed(got)}]" in mixer.text
    assert page.locator("#chilly_mixer_list").input_value() == listed(got)
    painted_text = mixer.text
    mixer.keys("Control+z")
    assert mixer.text == RECIPE
    mixer.keys("Control+Shift+z")
    assert mixer.text == painted_text

    mixer.look(RECIPE)
    box = page.locator(".chilly-bar[data-lane=IN05]").bounding_box()
    left, right, bottom = box["x"], box["x"] + box["width"], box["y"] + box["height"]
    page.mouse.move(left + 60, bottom - 8)
    page.mouse.down()
    page.mouse.move(right - 5, bottom + 4)  # the outer 6 px are exactly 1, and 4 px below the bar nothing is painted
    page.mouse.up()
    assert (mixer.numbers["IN05"], mixer.numbers["IN06"]) == (1, 0.5)
    page.mouse.dblclick(*mixer.point("IN05", 0.3))
    assert mixer.numbers["IN05"] == 0.5, "back to the step's alpha"
    mixer.keys("Control+z")
    assert mixer.numbers["IN05"] == 1, "a double-click is one undo"

    mixer.stroke(("VAE", 0.25))
    assert not mixer.bars()["VAE"]["linked"]
    assert "VAE" in mixer.text
    page.mouse.dblclick(*mixer.point("VAE", 0.6))
    mixer.settle()
    assert mixer.bars()["VAE"]["linked"]
    assert "as BASE" in mixer.bars()["VAE"]["seen"]
    assert "VAE" not in mixer.text

    page.get_by_role("button", name="OUT", exact=True).click()
    page.keyboard.down("Alt")
    mixer.stroke(("OUT02", 0.5), ("OUT02", 0.7))
    page.keyboard.up("Alt")
    assert {mixer.numbers[f"OUT{number:02}"] for number in range(12)} == {0.7}
    assert mixer.bars()["FINAL"]["now"] == 0.7, "FINAL follows OUT11"
    page.get_by_role("button", name="IN", exact=True).click()
    page.keyboard.down("Alt")
    mixer.stroke(("IN00", 0.5), ("IN00", 0.3))
    page.keyboard.up("Alt")
    assert (mixer.numbers["IN00"], mixer.numbers["IN05"]) == (0.3, 0.8), "Alt keeps the differences"
    mixer.stroke(("IN00", 0.3), ("IN00", 0.9))
    assert {mixer.numbers[slot] for slot in IN} == {0.9}


def test_every_key_of_the_mixer(page):
    mixer = Mixer(page)
    page.get_by_role("button", name="Random", exact=True).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.lane") == "IN00", "the mixer is one stop"
    mixer.keys("ArrowRight", "Shift+ArrowRight", "ArrowLeft", "PageUp")
    assert mixer.numbers["IN00"] == 0.85
    mixer.keys("Shift+ArrowDown", "Shift+ArrowDown")
    assert [mixer.numbers[slot] for slot in IN[:4]] == [0.85, 0.85, 0.85, 0.5]
    mixer.keys("ArrowDown", "End", "ArrowDown", "Home", "ArrowDown", "PageDown", "ArrowDown")
    assert [mixer.numbers[slot] for slot in IN[3:6]] == [1, 0, 0.25]
    for typed, number in ((".42", 0.42), ("7", 0.7), ("35", 0.35), ("1", 1)):
        page.keyboard.press("Home")  # what is typed after another key begins a new number
        page.keyboard.type(typed)
        page.wait_for_function("number => Number(document.activeElement.getAttribute('aria-valuenow')) === number", arg=number)
    mixer.keys("Delete")
    assert mixer.numbers["IN06"] == 0.5
    assert page.locator("[role=status]").filter(has_text="IN06 0.5").count(), "a change is said once it is done"
    mixer.keys("Shift+Tab")
    assert page.evaluate("document.activeElement.dataset.lane") is None
    mixer.keys("Tab")
    assert page.evaluate("document.activeElement.dataset.lane") == "IN06", "Tab comes back to the last block"
    before = mixer.text
    mixer.keys("Control+z", "Control+z", "Control+Shift+z", "Control+Shift+z")
    assert mixer.text == before


def test_numbers_lines_presets_curves_and_random_weights(page):
    mixer = Mixer(page)
    field = page.locator("#chilly_mixer_list")
    field.fill("1, 0, 0.5")
    assert page.locator("#chilly_mixer_list_message").inner_text() == "3 of 26 numbers. The bars change when all are there."
    assert mixer.text == RECIPE
    field.fill(" ".join(["0.25"] * 12 + ["1.2"] + ["0.75"] * 13))
    field.press("Enter")
    assert (mixer.numbers["BASE"], mixer.numbers["IN11"], mixer.numbers["OUT11"]) == (0.25, 1.2, 0.75)
    assert mixer.bars()["IN11"]["seen"].endswith("1.20"), "what lies outside 0 and 1 is shown as it is"
    assert page.locator(".chilly-outside").is_visible()
    page.get_by_role("button", name="Preset GRAD_V").click()
    mixer.settle()
    assert page.get_by_role("button", name="Preset GRAD_V").get_attribute("aria-pressed") == "true"
    assert (mixer.numbers["IN00"], mixer.numbers["M00"]) == (1, 0)
    before = mixer.numbers
    page.get_by_role("button", name="Invert").click()
    after = mixer.numbers
    assert all(math.isclose(after[slot], 1 - before[slot], abs_tol=0.0051) for slot in list(before)[1:])
    assert after["BASE"] == before["BASE"]
    page.get_by_role("button", name="more presets").click()
    page.get_by_label("Find a preset").fill("reverse_cos")
    assert page.locator(".chilly-pre-list .chilly-pre:visible").count() == 1
    page.get_by_role("button", name="Preset REVERSE_COSINE", exact=True).click()
    mixer.settle()
    assert page.get_by_role("button", name="REVERSE_COSINE is active").count() == 1

    page.get_by_role("button", name="Random", exact=True).click()
    page.get_by_label("from", exact=True).fill("0.2")
    page.get_by_label("to", exact=True).fill("0.6")
    page.get_by_role("button", name="Set", exact=True).click()
    first = mixer.numbers
    assert all(0.2 <= number <= 0.6 for slot, number in first.items() if slot != "BASE")
    page.get_by_role("button", name="Next seed").click()
    assert mixer.numbers != first
    page.locator(".chilly-random").get_by_label("Seed").fill("1")
    page.get_by_role("button", name="Set", exact=True).click()
    assert mixer.numbers == first, "a seed gives the same weights again"

    page.locator(".chilly-rules summary").click()
    lines = page.locator("#chilly_mixer_rules")
    lines.fill("IN04-IN08:attn2:0.6")
    lines.blur()
    assert "attn2" in mixer.text
    lines.fill("IN04-IN08:nonsense:0.6")
    lines.blur()
    mixer.settle()
    assert "nonsense" in page.locator("#chilly_mixer_rules_message").inner_text()
    assert "nonsense" not in mixer.text
    check_accessibility(page, ".chilly-mix")


def measure_frames(mixer: Mixer, first: str, last: str) -> str:
    """How a drag to and fro over bars is drawn, with the whole page and the real engine. No time is asserted: a busy machine
    would fail it."""
    page = mixer.page
    page.evaluate(FRAMES)
    (left, top), (right, bottom) = mixer.point(first, 0), mixer.point(last, 1)
    page.mouse.move(left, top)
    page.mouse.down()
    began, moves = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < 2:
        share = (1 - math.cos(3 * spent)) / 2
        page.mouse.move(left + (right - left) * abs(math.sin(moves * 0.37)), top + share * (bottom - top))
        moves += 1
    seen = sorted(page.evaluate("() => { const seen = window.seen; window.seen = null; return seen; }"))
    page.mouse.up()
    mixer.settle()
    late = sum(frame > 25 for frame in seen)
    return (
        f"painting {first} to {last} for {spent:.1f} s: {moves} pointer moves, {len(seen)} frames, "
        f"median {statistics.median(seen):.1f} ms, 95 % within {seen[int(len(seen) * 0.95)]:.1f} ms, {late} later than 25 ms"
    )


@pytest.fixture
def large_models(models, page):
    """Tiny checkpoints of models with other shapes, while a test goes on."""
    made = []
    for architecture in ("sdxl", "flux"):
        for seed in (1, 2):
            made.append(models / f"{architecture}_{seed}.safetensors")
            synthesise(architecture, "tiny", made[-1], seed=seed)
    page.evaluate("chilly.ask('models', {again: true}).then(() => null)")
    yield
    for path in made:
        path.unlink()
    page.evaluate("chilly.ask('models', {again: true}).then(() => null)")


def set_layers(mixer: Mixer) -> None:
    """A block's layers are opened, painted, linked again and closed; each follows its block until it is set."""
    page = mixer.page
    page.get_by_role("button", name="10 layers of IN07").click()
    mixer.stroke(("IN07.2", 0.2), ("IN07.4", 0.8))
    rules = [f"IN07:*.transformer_blocks.{layer}.*:{weight}" for layer, weight in ((2, 0.2), (3, 0.5), (4, 0.8))]
    assert sorted(page.evaluate("chilly.view.mixer.rules").split("\n")) == rules
    mixer.stroke(("IN07", 0.9))
    bars = mixer.bars()
    assert [bars[f"IN07.{layer}"]["now"] for layer in range(1, 6)] == [0.9, 0.2, 0.5, 0.8, 0.9]
    assert [bars[f"IN07.{layer}"]["linked"] for layer in range(1, 6)] == [True, False, False, False, True]
    page.mouse.dblclick(*mixer.point("IN07.4", 0.5))
    mixer.settle()
    assert mixer.bars()["IN07.4"]["linked"]
    mixer.keys("ArrowUp", "Delete", "ArrowUp", "Delete", "ArrowUp")
    assert "transformer_blocks" not in mixer.text
    mixer.keys("Enter", "ArrowUp", "ArrowUp", "Enter")
    assert "IN07.0" not in mixer.bars()


def test_other_architectures_have_their_own_shape_and_are_drawn_in_time(page, large_models, capsys):
    mixer = Mixer(page)
    told = [measure_frames(mixer, "IN00", "IN11")]
    mixer.look("MIX = 0.5 * sdxl_1 + 0.5 * sdxl_2\n")
    page.wait_for_selector(".chilly-bar[data-lane=LABEL]")
    assert list(mixer.bars())[:4] == ["BASE", "TIME", "LABEL", "IN00"]
    assert len(mixer.numbers) == 20
    mixer.stroke(("OUT08", 0.1), ("OUT06", 0.3))
    assert [mixer.numbers[slot] for slot in ("OUT08", "OUT07", "OUT06", "OUT05")] == [0.1, 0.2, 0.3, 0.5]
    set_layers(mixer)
    told.append(measure_frames(mixer, "IN00", "IN08"))

    mixer.look("MIX = 0.5 * flux_1 + 0.5 * flux_2\n")
    page.wait_for_selector(".chilly-bar[data-lane=S37]")
    mixer.stroke(("S10", 0.2), ("S20", 0.8))
    numbers = mixer.numbers
    assert [numbers[f"S{number}"] for number in (10, 15, 20, 21)] == [0.2, 0.5, 0.8, 0.5]
    assert page.locator(".chilly-read").inner_text().startswith("S20 0.80"), "bars without text have a line that reads them"
    told.append(measure_frames(mixer, "S00", "S37"))
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *told, ""]))
    for width in (360, 500, 820):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(120)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_finger_sets_sideways_scrolls_up_and_down_and_paints_after_a_long_press(new_context, site):
    context = new_context(site, viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    page = open_page(context, site.url)
    mixer = Mixer(page)
    finger = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def drag(begin: tuple[float, float], end: tuple[float, float], hold: bool = False) -> float:
        """Drag a finger, after a long press if `hold`; gives by how much the page was scrolled."""
        before = page.evaluate("scrollY")
        touch("touchStart", begin)
        if hold:
            page.wait_for_selector(".chilly-painting")
        for step in range(1, 13):
            touch("touchMove", tuple(a + (b - a) * step / 12 for a, b in zip(begin, end, strict=True)))
            page.wait_for_timeout(16)
        touch("touchEnd")
        mixer.settle()
        page.wait_for_timeout(400)
        return page.evaluate("scrollY") - before

    def centre() -> None:
        page.locator(".chilly-bar[data-lane=IN06]").evaluate("bar => bar.scrollIntoView({block: 'center'})")
        mixer.settle()

    centre()
    x, y = mixer.point("IN07", 0.2)
    assert drag((x, y), (x, y - 200)) > 100
    assert mixer.text == RECIPE, "scrolling changes nothing"
    centre()
    assert abs(drag(mixer.point("IN03", 0.5), mixer.point("IN03", 0.9))) < 60, "but for what grows above"
    assert (mixer.numbers["IN03"], mixer.numbers["IN04"]) == (0.9, 0.5)
    centre()
    drag(mixer.point("IN04", 0.2), mixer.point("IN08", 0.8), hold=True)
    painted = [mixer.numbers[slot] for slot in IN[4:9]]
    assert painted == sorted(painted)
    assert painted[-1] == pytest.approx(0.8, abs=0.011)
