"""A picture of a merge that cannot be made, or is stopped, leaves the user's model and settings as they were."""

from __future__ import annotations

import pytest
from house import House
from samples import OTHER, of_users

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("how", ["gone", "shape"])
def test_merge_that_cannot_be_loaded_leaves_the_user_s_model_whole(webui: House, how: str):
    before, plain = webui.call("state"), webui.call("plain")
    failed = webui.call("broken", how)
    assert {"gone": "no longer in memory", "shape": "made no picture: RuntimeError"}[how] in failed["error"]
    assert of_users(failed) == of_users(before)
    assert webui.call("plain")["picture"] == plain["picture"]


def test_merge_that_cannot_be_loaded_after_one_that_was_let_go_leaves_the_user_s_model_whole(webui: House):
    plain = webui.call("plain")
    webui.call("preview")
    webui.call("forget_merge")
    assert "size mismatch" in webui.call("broken", "shape", OTHER)["error"]
    after = webui.call("plain")
    assert after["picture"] == plain["picture"] and after["hooked"]


@pytest.mark.parametrize("loaded", ["another merge", "the refiner of a picture before"])
def test_merge_that_cannot_be_loaded_leaves_the_user_s_choice_whatever_was_loaded(webui: House, loaded: str):
    before, plain = webui.call("state"), webui.call("plain")
    if loaded == "another merge":
        webui.call("preview", OTHER)
    else:
        assert webui.call("plain", refiner_checkpoint="B", refiner_switch_at=0.5)["loaded"].startswith("B.safetensors")
    assert of_users(webui.call("broken", "shape")) == of_users(before)
    assert webui.call("plain")["picture"] == plain["picture"]


@pytest.mark.parametrize(
    ("amid", "said"),
    [("out of memory", "too little memory"), ("interrupt", "stopped"), ("skip", "stopped"), ("cancel", "stopped")],
)
def test_picture_that_ends_early_is_said_and_nothing_is_changed(webui: House, amid: str, said: str):
    before, plain, merged = webui.call("state"), webui.call("plain"), webui.call("preview", steps=20)
    failed = webui.call("preview", amid=amid, steps=20)
    assert said in failed["error"] and failed["interrupted"] == (amid != "out of memory")
    assert of_users(failed) == of_users(before)
    assert webui.call("preview", steps=20)["picture"] == merged["picture"]
    assert webui.call("plain")["picture"] == plain["picture"]


def test_merge_that_fails_leaves_everything_as_before(webui: House):
    before, plain, merged = webui.call("state"), webui.call("plain"), webui.call("preview")
    webui.call("spoil", "B", "spoiled")
    failed = webui.call("preview", "M = weighted_sum(A, spoiled, alpha=0.5)")
    webui.call("remove", "spoiled")
    assert "'spoiled" in failed["error"] and "NaN" in failed["error"] and not failed["interrupted"]
    assert of_users(failed) == of_users(before) and failed["held"] == []
    assert webui.call("plain")["picture"] == plain["picture"]
    assert webui.call("preview")["picture"] == merged["picture"]


def test_result_that_lacks_parts_is_refused(webui: House):
    assert "has no whole VAE" in webui.call("preview", "X = noVae")["error"]
    webui.call("fresh", sd_vae="other.safetensors")
    assert "other.safetensors" in webui.call("preview", "X = noVae")["notes"][0]
