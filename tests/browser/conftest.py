"""One server and one browser for all tests of the page; a test has tabs of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import FLAGS, PATIENCE_SECONDS, Site, Watch, chromium, open_page
from gradios import OLD_GRADIO, gradio_python

from lib_chilly.family import build_family

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1<'
"""What a model's name may hold where the page must not care."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family, and one whose name is hostile."""
    folder = tmp_path_factory.mktemp("page") / "models"
    folder.mkdir()
    list(build_family(folder))
    os.link(folder / "NED.safetensors", folder / f"{HOSTILE}.safetensors")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = chromium()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's server on the gradio that the tests' own Python has."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("site")
    (folder / "out").mkdir()
    site = Site(sys.executable, [models], folder / "out", folder / "home")
    yield site
    site.end()


@pytest.fixture(scope="session", params=sorted(OLD_GRADIO))
def old_site(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page's server on the gradio that webuis have; a test with it runs once on each."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "out").mkdir()
    site = Site(gradio_python(request.param), [models], folder / "out", folder / "home")
    yield site
    site.end()


@pytest.fixture(scope="session")
def windows() -> dict[tuple[str, str], tuple[Any, Watch]]:
    """The windows of the browser, by their site and options."""
    return {}


@pytest.fixture
def new_context(browser: Any, windows: dict[tuple[str, str], tuple[Any, Watch]]) -> Iterator[Callable[..., Any]]:
    """Make a browser's window, for a site; after the test its tabs are closed, and nothing may have gone wrong in any of them.

    What it has read is kept for the next test with such a window, as a browser does; what the page knows, it keeps in its tab.
    """
    used: list[tuple[Any, Watch]] = []

    def make(site: Site, **options: Any) -> Any:
        name = (site.url, repr(options))
        if name not in windows:
            context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
            context.set_default_timeout(PATIENCE_SECONDS * 1000)
            windows[name] = context, Watch(context, site.url)
        used.append(windows[name])
        return windows[name][0]

    yield make
    for context, _ in used:
        for tab in context.pages:
            tab.close()
    for _, watch in used:
        watch.check()


@pytest.fixture
def page(new_context: Callable[..., Any], site: Site) -> Any:
    """The page, just opened."""
    return open_page(new_context(site), site.url)
