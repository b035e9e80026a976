"""Which webui a test runs in: the double always, the real one where CHILLY_WEBUI names a checkout of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import FLAGS, chromium
from house import Double, House, Webui, webui_python

NO_WEBUI = "boots the webui: set CHILLY_WEBUI to a checkout of it, CHILLY_WEBUI_PYTHON to a Python with its packages"


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    """The real one, booted once for all tests."""
    checkout = os.environ.get("CHILLY_WEBUI")
    if not checkout:
        pytest.skip(NO_WEBUI)
    house = Webui(Path(checkout), webui_python(), tmp_path_factory.mktemp("webui"))
    yield house
    house.close()


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    house = Double(tmp_path_factory.mktemp("double"))
    yield house
    house.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = chromium()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(params=["double", "real"])
def webui(request: pytest.FixtureRequest) -> House:
    """A webui as after its start, with A loaded; a test with it runs in both."""
    house = request.getfixturevalue(request.param)
    house.call("fresh")
    return house
