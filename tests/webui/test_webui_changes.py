"""What the user changes around us counts: settings, styles, lists of models, the queue."""

from __future__ import annotations

import pytest
from house import House

pytestmark = pytest.mark.timeout(600)


def test_picture_after_a_setting_of_the_webui_s_was_changed_is_made_anew(webui: House):
    first = webui.call("page_picture")
    webui.call("fresh", sd_vae="other.safetensors")
    other = webui.call("page_picture")
    assert other["digest"] != first["digest"] and "other.safetensors" in " ".join(other["says"])
    assert "other.safetensors" not in " ".join(first["says"])
    webui.call("fresh")
    assert webui.call("page_picture")["digest"] == first["digest"]


def test_picture_after_a_style_was_written_anew_has_its_new_text(webui: House):
    assert webui.call("changes.page_picture_of", styles=["oil"])["infotext"].startswith("oil painting of ")
    webui.call("changes.write_style", "oil", "etching of {prompt}")
    try:
        assert webui.call("changes.page_picture_of", styles=["oil"])["infotext"].startswith("etching of ")
    finally:
        webui.call("changes.write_style", "oil", "oil painting of {prompt}")


def test_picture_that_was_made_before_is_there_at_once_where_nothing_was_changed(webui: House):
    assert webui.call("page_picture")["seconds"] == webui.call("page_picture")["seconds"]


def test_picture_with_a_schedule_and_a_style_is_kept_in_the_history(webui: House):
    row = webui.call("changes.keep_picture", sampler="DPM++ 2M", scheduler="Karras", styles=["oil"])
    assert (row["params"]["scheduler"], row["params"]["styles"]) == ("Karras", ["oil"])
    webui.call("ask", "history_change", id=row["id"], delete=True)
