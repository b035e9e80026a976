"""After "Reload UI" of the real webui everything of ours is there once, and nothing of before stands in its way."""

from __future__ import annotations

import pytest
from samples import ALPHAS, MIX, of_users
from webuis import Webui

pytestmark = pytest.mark.timeout(600)


def ours(real: Webui) -> dict[str, int]:
    """How often our tab's button, our axis and our patches are there."""
    ids = [each["props"].get("elem_id") for each in real.get("config")["components"]]
    scripts = {script["name"]: script for script in real.get("sdapi/v1/script-info") if not script["is_img2img"]}
    axes = scripts["x/y/z plot"]["args"][0]["choices"]
    return {"tab": ids.count("chilly_go"), "axis": axes.count(ALPHAS[0]), "patches": len(real.call("patched"))}


def test_reloaded_page_has_our_tab_axes_and_patches_once_and_the_user_s_model(real: Webui):
    before = real.call("fresh")
    plain, merged, cells = real.call("plain"), real.call("preview"), real.call("grid", x=ALPHAS, recipe=MIX)["pictures"]
    assert ours(real) == {"tab": 1, "axis": 1, "patches": 2}
    for _ in range(3):
        real.call("keep")
        real.reload()
        assert ours(real) == {"tab": 1, "axis": 1, "patches": 2}
        after = real.call("state")
        assert (after["chosen"], after["held"], after["config"]) == (before["chosen"], [], before["config"])
        assert real.call("page_picture")["digest"] == merged["picture"]
        assert real.call("grid", x=ALPHAS, recipe=MIX)["pictures"] == cells
        assert real.call("plain")["picture"] == plain["picture"]
        assert of_users(real.call("state")) == of_users(before)
