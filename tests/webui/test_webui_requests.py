"""Requests with more in them than one picture see the merge in all of it: hires, batches, LoRA, other scripts' models."""

from __future__ import annotations

import pytest
from house import House
from samples import ALPHAS, MIX, OTHER, of_users
from webuis import Webui

pytestmark = pytest.mark.timeout(600)

HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.7}
LORA = "polka dots (a red circle:1.6) <lora:polka-dots:1>"
BATCHES = {"n_iter": 2, "batch_size": 2}


@pytest.fixture
def saved(webui: House):
    """The merge's file, called `saved`."""
    webui.call("save", "saved")
    webui.call("choose", "A")
    yield
    webui.call("choose", "A")
    webui.call("remove", "saved")


@pytest.mark.parametrize(
    "fields",
    [
        HIRES,
        {**HIRES, "hr_checkpoint_name": "B"},
        {**HIRES, "hr_checkpoint_name": "B", "n_iter": 2},
        BATCHES,
        {**BATCHES, "refiner_checkpoint": "B", "refiner_switch_at": 0.5},
    ],
)
def test_every_picture_of_a_request_is_that_of_the_saved_file(webui: House, saved: None, fields: dict):
    before, plain = webui.call("state"), webui.call("plain")
    merged = webui.call("pictures", **fields)
    assert webui.call("plain")["picture"] == plain["picture"]  # with it the hash that the webui shows is A's again
    assert of_users(webui.call("state")) == of_users(before)
    webui.call("choose", "saved")
    assert webui.call("plain", **fields)["pictures"] == merged["pictures"]
    assert len(set(merged["pictures"])) == fields.get("n_iter", 1) * fields.get("batch_size", 1)


@pytest.mark.parametrize("fields", [{}, {**HIRES, "hr_checkpoint_name": "B", "n_iter": 2}])
def test_lora_in_the_prompt_acts_on_the_merge_and_leaves_nothing_behind(real: Webui, fields: dict):
    real.call("fresh")
    plain, merged = real.call("plain"), real.call("preview")
    dotted = real.call("pictures", prompt=LORA, **fields)["pictures"]
    assert real.call("preview")["picture"] == merged["picture"]
    assert real.call("pictures", prompt=LORA, **fields)["pictures"] == dotted
    assert real.call("plain")["picture"] == plain["picture"]
    both = [real.call("preview", recipe, prompt=LORA)["picture"] for recipe in (OTHER, MIX)]
    alone = real.call("preview", prompt=LORA.partition("<")[0].strip())["picture"]
    assert len({*both, alone}) == 3
    real.call("save", "saved")
    assert real.call("plain", prompt=LORA, **fields)["pictures"] == dotted
    assert real.call("plain", prompt=LORA)["pictures"] == both[1:]
    real.call("choose", "A")
    real.call("remove", "saved")
    assert real.call("plain")["picture"] == plain["picture"]


@pytest.mark.parametrize("checkpoint", [None, "B"])
def test_script_that_draws_over_pictures_of_a_kept_merge_gets_and_leaves_the_merge(webui: House, checkpoint: str | None):
    pictures = webui.call("pictures", **BATCHES)["pictures"]
    over = webui.call("requests.detail", **({"override_settings": {"sd_model_checkpoint": "B"}} if checkpoint else {}))
    kept = webui.call("keep")
    if not checkpoint:
        over = webui.call("requests.detail")
    made = webui.call("requests.detailed", checkpoint, **BATCHES)
    assert made["before"] == pictures and made["after"] == [over] * 4
    assert made["chosen"] == kept["title"]
    assert webui.call("requests.detailed", checkpoint)["before"] == pictures[:1]


def test_script_that_draws_over_cells_with_another_model_does_not_cost_the_cells(webui: House):
    over = webui.call("requests.detail", override_settings={"sd_model_checkpoint": "B"})
    alone = [webui.call("pictures", recipe, **BATCHES)["pictures"] for recipe in (MIX, OTHER)]
    plain, before = webui.call("plain"), webui.call("state")
    grid = webui.call("requests.detailed_grid", "B", ALPHAS, **BATCHES)
    assert grid["before"] == [*alone[0], *alone[1]] and grid["pictures"][:2] == [over, over]
    assert webui.call("plain")["picture"] == plain["picture"] and of_users(webui.call("state")) == of_users(before)


def test_cell_during_which_another_model_is_chosen_is_still_taken_back(webui: House):
    grid = webui.call("grid", x=ALPHAS, recipe=MIX, amid="choose B", n_iter=2)
    assert grid["dark"][0] > 0.5 and grid["dark"][1] < 0.5


def settled(real: Webui, **options: object) -> dict:
    """As fresh; after fp8 is switched, the webui itself loads the next model a little otherwise than all that follow."""
    real.call("fresh", **options)
    for name in "BA":
        real.call("choose", name)
    return real.call("state")


def test_merge_that_the_webui_stores_in_fp8_is_drawn_as_its_file_is(real: Webui):
    settled(real)
    whole, plain = real.call("preview"), real.call("plain")
    before = settled(real, fp8_storage="Enable")
    try:
        small, merged = real.call("plain"), real.call("preview")
        assert of_users(merged) == of_users(before) and "FP8 weight: Enable" in merged["infotext"]
        assert len({each["picture"] for each in (whole, plain, small, merged)}) == 4
        assert real.call("save", "saved")["loaded"] and real.call("plain")["picture"] == merged["picture"]
        real.call("choose", "A")
        real.call("remove", "saved")
        assert real.call("plain")["picture"] == small["picture"]
    finally:
        settled(real)
    assert (real.call("preview")["picture"], real.call("plain")["picture"]) == (whole["picture"], plain["picture"])
