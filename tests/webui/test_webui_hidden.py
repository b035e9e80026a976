"""With --hide-ui-dir-config nobody who asks learns in which folders the webui's models and data lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import ask, ended
from house import House
from samples import MIX

from lib_chilly.host.hidden import without_folders

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def hiding(webui: House) -> Iterator[House]:
    webui.call("flag", hide_ui_dir_config=True)
    yield webui
    webui.call("flag", hide_ui_dir_config=False)


def is_in(house: House, said: object) -> bool:
    """Whether the folder of the models, or one above it, can be read in a reply."""
    return any(json.dumps(str(folder))[1:-1] in json.dumps(said) for folder in list(house.models.parents)[:-2])


def test_page_knows_names_of_folders_and_files_alone(hiding: House):
    started = hiding.call("ask", "start")
    assert started["output"] == hiding.models.name and not is_in(hiding, started)
    hiding.call("flag", hide_ui_dir_config=False)
    assert is_in(hiding, hiding.call("ask", "start"))


def test_name_that_fits_several_files_or_none_is_said_without_folders(hiding: House):
    folder = hiding.models / "below"
    folder.mkdir()
    for name in ("two.safetensors", "two.ckpt"):
        (folder / name).touch()
    try:
        hiding.call("refresh")
        several, none = (hiding.call("preview_error", f"X = {name}") for name in ("two", "nothing"))
        assert "'below/two.safetensors'" in several and f"no model 'nothing' in '{hiding.models.name}'" in none
        assert not is_in(hiding, [several, none])
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        hiding.call("refresh")


def test_api_knows_names_of_files_alone_and_works_as_ever(hiding: House):
    inspected = ask(hiding.url, "GET", "inspect", model="A")
    assert inspected[0] == 200 and inspected[1]["file"] == "A.safetensors"
    planned = ask(hiding.url, "POST", "plan", {"recipe": MIX})
    assert [source["file"] for source in planned[1]["sources"]] == ["A.safetensors", "B.safetensors"]
    refused = ask(hiding.url, "POST", "plan", {"recipe": "X = nothing"})
    assert refused[0] == 422 and not is_in(hiding, [inspected, planned, refused])
    saved = ended(hiding.url, ask(hiding.url, "POST", "merge", {"recipe": MIX, "name": "hidden"})[1])
    hiding.call("remove", "hidden")
    assert saved["state"] == "done" and not is_in(hiding, saved)


def test_pictures_and_names_that_only_begin_alike_are_left_as_they_are():
    picture = '"data:image/png;base64,iVBORw0K/sd/AAAA/sd"'
    text = f'{{"a": "/sd/x.safetensors", "b": "/sd-models/x", "c": "in /sd.", "image": {picture}}}'
    hidden = without_folders(text, [Path("/sd")])
    assert hidden == f'{{"a": "x.safetensors", "b": "/sd-models/x", "c": "in sd.", "image": {picture}}}'
