"""The webui's flags, and our extension switched off and on: each in a webui that was started so, as few as can be."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from asking import ask, ended
from samples import MIX, SMALL
from webuis import NO_WEBUI, PAIR, Webui, webui_python

from lib_chilly.family import MEMBERS, build_family

pytestmark = pytest.mark.timeout(600)


def started(folder: Path, *flags: str, **given: object) -> Webui:
    if not os.environ.get("CHILLY_WEBUI"):
        pytest.skip(NO_WEBUI)
    return Webui(Path(os.environ["CHILLY_WEBUI"]), webui_python(), folder, *flags, **given)


@pytest.fixture(scope="module")
def without_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    house = started(tmp_path_factory.mktemp("nowebui"), "--nowebui", "--api-auth", "ann:one,bob:two")
    yield house
    house.close()


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webui]:
    flags = ("--subpath", "x", "--gradio-auth", "ann:one", "--medvram", "--lowram", "--no-hashing")
    house = started(tmp_path_factory.mktemp("subpath"), *flags)
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


def test_below_a_path_with_medvram_and_lowram_and_without_hashing_merges_are_saved_and_shown(below: Webui):
    job = ended(below.url, ask(below.url, "POST", "merge", {"recipe": MIX, "name": "hashed by us"})[1])
    assert job["state"] == "done", job
    titles = [model["title"] for model in below.get("sdapi/v1/sd-models")]
    assert f"hashed by us.safetensors [{job['saved']['short_hash']}]" in titles
    job = ended(below.url, ask(below.url, "POST", "preview", {"recipe": MIX, "params": SMALL})[1])
    assert job["state"] == "done", job
    merged, plain = below.call("preview")["picture"], below.call("plain")["picture"]
    below.call("choose", "hashed by us")
    assert below.call("plain")["picture"] == merged != plain


GONE = "M [recipe-0123456789]"
"""The title of a merge of an earlier session, as settings may hold it."""


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict, Webui]]:
    """What there was while our extension was disabled; and the webui with it enabled again, computing in half precision, started
    with a model that lies elsewhere."""
    folder = tmp_path_factory.mktemp("switched")
    house = started(folder, is_ours_there=False, sd_model_checkpoint=GONE)
    try:
        page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(house.url).read().decode()
        ids = [str(each["props"].get("elem_id")) for each in house.get("config")["components"]]
        seen = {"page": page, "ids": ids, "api": ask(house.url, "GET", "methods")[0], **house.get("probe/loaded")}
        seen["picture"], seen["log"] = house.draw()[1], house.log.read_text("utf-8", "replace")
        house.close()
        (member,) = (replace(member, name="mine") for member in MEMBERS if PAIR.get(member.name) == "A")
        (folder / "elsewhere").mkdir()
        list(build_family(folder / "elsewhere", (member,)))
        house.boot("--ckpt", str(folder / "elsewhere" / "mine.safetensors"), is_half=True)
        yield seen, house
    finally:
        house.close()


def test_nothing_of_an_extension_that_is_disabled_is_there_and_its_titles_do_no_harm(switched: tuple[dict, Webui]):
    seen, _ = switched
    assert (seen["modules"], seen["api"]) == ([], 404) and "chillymerge" not in seen["patched"]
    assert re.findall(r'(?:src|href)="[^"]*chilly[^"]*"', seen["page"]) == []
    assert not [name for name in seen["ids"] if name.startswith("chilly")]
    assert "lib_chilly" not in seen["log"]
    assert seen["title"].startswith("A.safetensors") and ", Model: A" in seen["picture"]


def test_extension_that_is_enabled_again_is_as_before(switched: tuple[dict, Webui]):
    _, house = switched
    ids = {each["props"].get("elem_id") for each in house.get("config")["components"]}
    assert {"chilly_go", "chilly_reply", "chilly_arrived"} <= ids and ask(house.url, "GET", "methods")[0] == 200
    assert "chillymerge" in house.get("probe/loaded")["patched"] and "Model hash: recipe-" in house.first["infotext"]


def test_model_of_the_start_that_lies_elsewhere_is_mixed_in_half_precision_and_stays_chosen(switched: tuple[dict, Webui]):
    """With few pictures: a VAE in half precision takes a processor many seconds."""
    _, house = switched
    before, text = house.call("state"), "M = weighted_sum(mine, B, alpha=0.3)"
    merged = house.call("preview", text)
    assert merged["picture"] == house.first["picture"]  # of A, of which it is a copy
    assert before["chosen"].startswith("mine.safetensors")
    assert house.call("refresh")["chosen"] == merged["chosen"] == before["chosen"]
    job = ended(house.url, ask(house.url, "POST", "merge", {"recipe": text, "name": "below/new"})[1])
    assert job["state"] == "done" and (house.models / "below" / "new.safetensors").is_file()
    plain = house.call("plain")
    assert plain["loaded"] == before["chosen"] and plain["picture"] != merged["picture"]
    house.call("choose", "below/new")
    assert house.call("plain")["picture"] == merged["picture"]
