"""The webui's flags that are about who may ask and from where, each in a webui that was started with them."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import ask, ended
from house import NO_WEBUI, Webui, webui_python
from samples import MIX, SMALL

pytestmark = pytest.mark.timeout(600)


def started(folder: Path, *flags: str) -> Webui:
    if not os.environ.get("CHILLY_WEBUI"):
        pytest.skip(NO_WEBUI)
    return Webui(Path(os.environ["CHILLY_WEBUI"]), webui_python(), folder, *flags)


@pytest.fixture(scope="module")
def without_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    house = started(tmp_path_factory.mktemp("nowebui"), "--nowebui", "--api-auth", "ann:one,bob:two")
    yield house
    house.close()


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    house = started(tmp_path_factory.mktemp("subpath"), "--subpath", "x", "--gradio-auth", "ann:one", "--medvram", "--no-hashing")
    yield house
    house.close()


def test_without_a_page_the_api_merges_and_makes_pictures_for_who_knows_the_password(without_page: Webui):
    url, login = without_page.url, "bob:two"
    for wrong in ("", "ann:two", "eve:one"):
        assert ask(url, "GET", "methods", login=wrong)[0] == 401
        assert ask(url, "POST", "merge", {"recipe": MIX}, wrong)[0] == 401
    assert ask(url, "GET", "methods", login=login)[0] == 200
    job = ended(url, ask(url, "POST", "merge", {"recipe": MIX, "name": "served"}, login)[1], login)
    assert job["state"] == "done" and (without_page.models / "served.safetensors").is_file()
    job = ended(url, ask(url, "POST", "preview", {"recipe": MIX, "params": SMALL}, login)[1], login)
    assert job["state"] == "done" and "Model hash: recipe-" in job["pictures"][0]["infotext"]


def test_without_a_page_the_webui_s_own_api_is_behind_the_same_password(without_page: Webui):
    with pytest.raises(urllib.error.HTTPError, match="401"):
        without_page.get("sdapi/v1/sd-models")


def test_below_a_path_the_page_of_who_has_logged_in_has_our_tab_and_scripts(below: Webui):
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        browser.open(f"{below.url}/config")
    browser.open(f"{below.url}/login", urllib.parse.urlencode({"username": "ann", "password": "one"}).encode())
    page = browser.open(f"{below.url}/").read().decode()
    scripts = re.findall(r'src="(file=[^"]*/chilly_[a-z_]+\.js\?[^"]*)"', page)
    assert len(scripts) > 30  # relative, so that they are found below the path
    assert browser.open(f"{below.url}/{scripts[0]}").status == 200
    config = json.loads(browser.open(f"{below.url}/config").read())
    assert {"chilly_go", "chilly_reply", "chilly_arrived"} <= {each["props"].get("elem_id") for each in config["components"]}


def test_gradio_auth_leaves_both_apis_open_as_the_webui_does(below: Webui):
    assert below.get("sdapi/v1/sd-models") and ask(below.url, "GET", "methods")[0] == 200


def test_below_a_path_with_medvram_and_without_hashing_merges_are_saved_and_shown(below: Webui):
    job = ended(below.url, ask(below.url, "POST", "merge", {"recipe": MIX, "name": "hashed by us"})[1])
    assert job["state"] == "done", job
    titles = [model["title"] for model in below.get("sdapi/v1/sd-models")]
    assert f"hashed by us.safetensors [{job['saved']['short_hash']}]" in titles
    job = ended(below.url, ask(below.url, "POST", "preview", {"recipe": MIX, "params": SMALL})[1])
    assert job["state"] == "done", job
