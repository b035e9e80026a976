"""Which webui a test runs in: the double always, the real one where CHILLY_WEBUI names a checkout of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import FLAGS, chromium
from house import Double, ForgeDouble, House
from webuis import NO_FORGE, NO_WEBUI, Forge, Webui, webui_python


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
def real_forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """A real Forge, booted once for all tests."""
    checkout = os.environ.get("CHILLY_FORGE")
    if not checkout:
        pytest.skip(NO_FORGE)
    house = Forge(Path(checkout), webui_python("CHILLY_FORGE_PYTHON"), tmp_path_factory.mktemp("forge"))
    yield house
    house.close()


@pytest.fixture(scope="session")
def forge_double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeDouble]:
    house = ForgeDouble(tmp_path_factory.mktemp("forge_double"))
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


@pytest.fixture
def spoiled(webui: House) -> Iterator[House]:
    """A webui with a model `spoiled`, whose merges fail while they are made."""
    webui.call("spoil", "B", "spoiled")
    yield webui
    webui.call("remove", "spoiled")


@pytest.fixture(params=["forge_double", "real_forge"])
def forge(request: pytest.FixtureRequest) -> House:
    """A Forge as after its start; a test with it runs in both."""
    house: House = request.getfixturevalue(request.param)
    return house
