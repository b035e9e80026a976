"""The history as somebody uses it: find, note, pin, compare, open again, delete, export; what stands in it is never obeyed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from browsing import READY, Site, check_accessibility, wait_for_view

from lib_chilly.history import FILE, Entry, History

HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"


def fill(site: Site) -> None:
    """Three entries, as earlier work leaves them, and nothing of other tests."""
    history = History(site.home / FILE)
    for kept in list(history.every()):
        history.delete(kept.number)
    history.add(
        Entry("picture", "Morning", "A = mean(NED, chilloutmix)\n", prompt="hills", params={"seed": 7, "prompt": "hills"})
    )
    history.add(
        Entry("file", "Evening", "A = 0.7 * NED + 0.3 * r34_e4\n", file={"name": "A.safetensors", "bytes": 5, "sha256": "ab"})
    )
    history.add(
        Entry("picture", HOSTILE, "A = NED\n", note=HOSTILE, prompt=HOSTILE, sources=(HOSTILE,), thumbnail=HOSTILE.encode())
    )


def rows(page: Any) -> list[str]:
    return page.locator(".chilly-kept-row h3").all_inner_texts()


def wait_for_rows(page: Any, *titles: str) -> None:
    page.wait_for_function(
        """titles => JSON.stringify([...document.querySelectorAll('.chilly-kept-row h3')].map((row) => row.textContent))
            === JSON.stringify(titles)""",
        arg=list(titles),
    )


def entry(page: Any, title: str) -> Any:
    return page.locator(".chilly-kept-row", has=page.get_by_role("heading", name=title, exact=True))


def test_history_is_searched_noted_compared_opened_deleted_and_exported(page, site):
    fill(site)
    page.reload()
    page.wait_for_selector(READY)
    page.evaluate("chilly.look('B = NED\\n')")
    kept = page.locator("[data-strip=kept]")
    assert kept.inner_text() == "Kept (1)", "the one with a thumbnail"
    page.locator("#chilly_history_button").click()
    wait_for_rows(page, HOSTILE, "Evening", "Morning")
    sources = page.locator(".chilly-history :is(img, script)").evaluate_all("nodes => nodes.map((node) => node.src)")
    assert all(source.startswith("data:image/") for source in sources)
    check_accessibility(page)

    entry(page, "Morning").get_by_role("textbox").fill("best so far")
    page.keyboard.press("Enter")
    entry(page, "Morning").get_by_role("button", name="Pin Morning").click()
    entry(page, "Morning").get_by_role("button", name="Unpin Morning").wait_for()
    page.locator("#chilly_history_search").fill("best")
    wait_for_rows(page, "Morning")
    page.locator("#chilly_history_search").fill("")
    wait_for_rows(page, HOSTILE, "Evening", "Morning")

    for title in ("Morning", "Evening"):
        entry(page, title).get_by_role("checkbox").check()
    page.locator("#chilly_history_compare").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.get_by_text("differs").count() > 0
    check_accessibility(page)
    page.keyboard.press("Escape")

    with page.expect_download() as download:
        page.locator("#chilly_history_export").click()
    exported = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert {kept["title"] for kept in exported["entries"]} == {"Morning", "Evening"}

    hostile = entry(page, HOSTILE)
    hostile.get_by_role("button", name="Delete").click()
    page.keyboard.press("Enter")  # on Keep, which is asked first
    page.evaluate("chilly.ask('models').then(() => null)")  # what was asked before is answered
    assert len(rows(page)) == 3
    hostile.get_by_role("button", name="Delete").click()
    hostile.get_by_role("button", name="Delete").click()
    wait_for_rows(page, "Evening", "Morning")
    page.wait_for_function("kept => kept.textContent === 'Kept'", arg=kept.element_handle())  # what is deleted is in no strip
    assert page.evaluate("window.hacked") is None

    entry(page, "Morning").get_by_role("button", name="Open recipe").click()
    wait_for_view(page, "view.text.startsWith('A = mean')")
    assert not page.locator("#chilly_history").is_visible()
    page.locator("#chilly_undo_recipe").click()
    wait_for_view(page, "view.text === 'B = NED\\n'")
