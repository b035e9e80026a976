"""The webui's live preview on our page: what a picture looks like while it is made."""

from __future__ import annotations

import pytest
from house import House

pytestmark = pytest.mark.timeout(600)


def test_picture_in_the_making_is_shown_where_the_webui_shows_its_own_and_is_the_same_at_the_end(webui: House):
    without = webui.call("page_lives", enabled=False)
    webui.call("fresh")
    webui.call("forget_pictures")
    made = webui.call("page_lives")
    assert without["lives"] == [] and len(made["lives"]) >= 2
    assert {name for name, _, _ in made["lives"]} == {"merged"}
    numbers = [number for _, number, _ in made["lives"]]
    assert numbers == sorted(set(numbers))
    assert all(image.startswith("data:image/jpeg;base64,") for _, _, image in made["lives"])
    assert len({image for _, _, image in made["lives"]}) > 1
    assert made["image"] == without["image"]
