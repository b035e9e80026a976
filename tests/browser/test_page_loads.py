"""The page comes up on every gradio, asks and is answered, goes on after a reload, obeys no name, and asks nobody else."""

from __future__ import annotations

import http.client
import os
from typing import Any

from browsing import READY, Site, open_page, wait_for_view

RECIPE = "A = 0.7 * NED + 0.3 * chilloutmix\n"
PAINT = "performance.getEntriesByName('first-contentful-paint').map(paint => paint.startTime)"


def ask(page: Any, name: str, given: dict[str, Any]) -> Any:
    """A question of the page, and its reply or its problem."""
    return page.evaluate(
        "([name, given]) => chilly.ask(name, given).catch(({message, field}) => ({problem: {message, field}}))", [name, given]
    )


def ask_and_go_on(page: Any, site: Site) -> None:
    """What holds on every gradio: questions in order, problems as sentences, a reload, hostile names."""
    page.wait_for_function("() => !chilly.start.more")
    facts = {model["name"]: model for model in page.evaluate("chilly.start.models")}
    size = (site.models[0] / "NED.safetensors").stat().st_size
    assert facts["NED"] == {"name": "NED", "title": "NED.safetensors", "architecture": "sd1", "bytes": size, "dtype": "fp16"}
    assert facts["F222_v1"]["dtype"] == "fp32" and len(facts) == len(list(site.models[0].glob("*.safetensors")))
    many = page.evaluate("Promise.all(Array.from({length: 12}, () => chilly.ask('models', {}))).then((all) => all.length)")
    assert many == 12
    assert ask(page, "nothing", {})["problem"]["message"].startswith("there is no question 'nothing'.")
    assert ask(page, "models", {"again": "yes"})["problem"]["field"] == "again"
    page.evaluate("text => chilly.look(text)", RECIPE)
    wait_for_view(page, f"view.text === {RECIPE!r}")
    name = page.evaluate("chilly.page")
    page.reload()
    page.wait_for_selector(READY)
    assert page.evaluate("[chilly.page, chilly.text]") == [name, RECIPE]
    assert page.evaluate("window.hacked") is None
    assert page.locator("#chilly_page img").count() == 0


def test_page_on_the_current_gradio_asks_is_answered_and_goes_on_after_a_reload(page, site):
    ask_and_go_on(page, site)


def test_page_in_a_tab_that_is_not_open_asks_nothing_before_it_is_seen(site, new_context):
    page = new_context(site).new_page()
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => {"
        " const sheet = document.head.appendChild(document.createElement('style'));"
        " sheet.id = 'closed'; sheet.textContent = '#chilly_page { display: none }'; })"
    )
    page.goto(site.url)
    page.wait_for_selector("#chilly_page[data-state=unseen]", state="attached")
    page.wait_for_timeout(500)
    assert page.evaluate("[chilly.start, chilly.page]") == [None, ""]
    page.evaluate("document.getElementById('closed').remove()")
    page.wait_for_selector(READY)


def test_two_tabs_of_one_browser_do_not_disturb_each_other(site, new_context):
    context = new_context(site)
    left, right = open_page(context, site.url), open_page(context, site.url)
    left.evaluate("text => chilly.look(text)", RECIPE)
    right.evaluate("text => chilly.look(text)", "B = NED\n")
    for tab, text in ((left, RECIPE), (right, "B = NED\n")):
        tab.reload()
        tab.wait_for_selector(READY)
        assert tab.evaluate("chilly.text") == text
    assert left.evaluate("chilly.page") != right.evaluate("chilly.page")


def test_duplicate_of_a_tab_is_a_page_of_its_own_with_the_same_recipe(page):
    page.evaluate("text => chilly.look(text)", RECIPE)
    wait_for_view(page, f"view.text === {RECIPE!r}")
    with page.context.expect_page() as opened:  # as a browser's "Duplicate": what the session keeps is copied
        page.evaluate("() => void window.open(location.href)")
    twin = opened.value
    twin.wait_for_selector(READY)
    assert twin.evaluate("chilly.text") == RECIPE
    names = page.evaluate("chilly.page"), twin.evaluate("chilly.page")
    assert names[0] != names[1]
    for tab, name in zip((page, twin), names, strict=True):
        tab.reload()
        tab.wait_for_selector(READY)
        assert tab.evaluate("chilly.page") == name


def test_newest_look_wins_and_edits_are_never_lost(page):
    texts = [f"A = {name}\n" for name in ("NED", "chilloutmix", "r34_e4")]
    seen = page.evaluate("texts => Promise.all(texts.map((text) => chilly.look(text))).then((all) => all.map(Boolean))", texts)
    assert (seen, page.evaluate("chilly.text")) == ([True, False, True], texts[2])
    page.evaluate("chilly.undo()")
    wait_for_view(page, f"view.text === {texts[0]!r}")
    page.evaluate("chilly.redo()")
    wait_for_view(page, f"view.text === {texts[2]!r}")


def test_model_that_was_put_there_meanwhile_is_offered_when_a_field_is_opened(page, models):
    new = models / "put there.safetensors"
    os.link(models / "NED.safetensors", new)
    try:
        page.get_by_label("Model A, the base").first.click()
        page.get_by_role("option", name="put there").wait_for()
    finally:
        new.unlink()


def test_first_paint_is_measured_by_the_browser(site, new_context, capsys):
    page = open_page(new_context(site, locale="en-GB"), site.url)  # a window that has read nothing yet
    (milliseconds,) = page.evaluate(PAINT)
    with capsys.disabled():
        print(f"\nfirst contentful paint: {milliseconds:.0f} ms")


def test_server_answers_this_machine_alone_and_hands_out_no_files(site):
    def status(path: str, method: str = "GET", **headers: str) -> int:
        connection = http.client.HTTPConnection(site.url.removeprefix("http://"), timeout=60)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status

    host = site.url.removeprefix("http://")
    assert status("/") == status("/", Host=host.replace("127.0.0.1", "localhost")) == status("/", Origin=site.url) == 200
    assert status("/", Host="evil.example") == status("/", Host="") == status("/config", Origin="http://evil.example") == 403
    assert status("/config", Origin="null") == status("/config", Origin="http://127.0.0.1:1") == 403
    model = str(site.models[0] / "NED.safetensors")
    paths = [f"/file={model}", f"/gradio_api/file={model}", "/upload", "/gradio_api/upload", "/docs", "/openapi.json"]
    paths += ["/chilly/../style.css", "/chilly/%2e%2e/README.md", "/chilly/", "/proxy=http://example.com/"]
    assert {path: status(path) for path in paths} == dict.fromkeys(paths, 404)
    assert status("/chilly/style.css") == 200
    assert status("/assets/../../../../etc/passwd") in (403, 404)
