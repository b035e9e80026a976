"""What fails is said, and leaves the model, the settings and what comes after as they were."""

from __future__ import annotations

import pytest
from drawing import ALPHA
from house import House
from samples import MIX, of_users
from webuis import Webui

pytestmark = pytest.mark.timeout(900)


def test_merge_that_cannot_be_used_unsaved_leaves_the_user_s_model_chosen(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    webui.call("preview", MIX.replace("0.3", "0.7"))  # another merge is the loaded model now, and gives way to the one that fails
    failed = webui.call("amiss.keep_that_fails", MIX, "M [recipe-")
    assert "too little memory" in failed["error"] and of_users(failed) == of_users(before)
    assert failed["held"] == []
    assert webui.call("plain")["picture"] == plain["picture"]
    assert webui.call("keep")["chosen"].startswith("M [recipe-")


def test_file_that_cannot_be_loaded_leaves_the_user_s_model_chosen(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    failed = webui.call("amiss.load_file_that_fails", "B")
    assert "could not load 'B.safetensors'" in failed["error"] and of_users(failed) == of_users(before)
    assert webui.call("plain")["picture"] == plain["picture"]


def test_file_that_is_chosen_already_is_loaded_in_the_place_of_a_merge(webui: House):
    before = webui.call("state")
    assert webui.call("preview")["loaded"].startswith("M [recipe-")
    done = webui.call("amiss.load_file_of", "A")
    assert done["title"] == done["saved"] == done["chosen"] == done["loaded"] == before["chosen"]


def test_merge_that_is_in_use_stays_so_when_the_scripts_are_loaded_anew(webui: House):
    kept = webui.call("keep")
    assert webui.call("amiss.run_scripts_anew")["chosen"] == kept["title"]
    assert webui.call("plain")["loaded"] == kept["title"]


def test_vae_that_is_chosen_and_gone_counts_as_none(webui: House):
    webui.call("option", sd_vae="gone.safetensors")
    try:
        failed = webui.call("preview", "M = weighted_sum(noVae, noVae, alpha=0.5)")
    finally:
        webui.call("option", sd_vae="Automatic")
    assert "no whole VAE" in failed["error"]


def test_setting_that_is_frozen_is_named(webui: House):
    webui.call("flag", freeze_specific_settings="CLIP_stop_at_last_layers")
    try:
        failed = webui.call("preview", clip_skip=2)
        assert "--freeze-specific-settings" in failed["error"] and "clip" in failed["error"].lower() and failed["built"] == 0
        assert "picture" in webui.call("preview")
    finally:
        webui.call("flag", freeze_specific_settings=None)


def test_values_that_are_too_large_are_said_below_every_picture_of_the_merge(webui: House):
    webui.call("amiss.large_values", "A", "large")
    try:
        recipes = [f"M = add_difference(large, large, B, alpha={{BASE: 1, *: {other}}})" for other in ("0", "0", "0.1")]
        made = [webui.call("preview", recipe, seed=seed) for seed, recipe in enumerate(recipes)]
        assert not [each["error"] for each in made if "error" in each]
    finally:
        webui.call("remove", "large")
    assert [sum("too large" in note for note in each) for each in (one["notes"] for one in made)] == [1, 1, 1]


@pytest.mark.parametrize("bad", [0, 2], ids=["first", "last"])
def test_cell_whose_sampling_fails_says_so_and_the_others_are_right(webui: House, bad: int):
    before = webui.call("state")
    whole = webui.call("grid", [ALPHA, "0.2,0.5,0.8"], recipe=MIX)
    grid = webui.call("amiss.sampling_fails", [ALPHA, "0.2,0.5,0.8"], bad, recipe=MIX)
    assert grid["written"] == ["the webui made no picture. Its console says why."]
    right = [cell for cell in range(3) if cell != bad]
    assert [grid["pictures"][cell] for cell in right] == [whole["pictures"][cell] for cell in right]
    assert of_users(grid) == of_users(before)


@pytest.mark.parametrize("names", [["B", "spoiled"], ["spoiled", "B"]], ids=["last", "first"])
def test_cell_without_its_several_pictures_says_why(spoiled: House, names: list[str]):
    """Of a cell's pictures the webui makes a grid of its own, amid the other cells."""
    several = {"n_iter": 2, "do_not_save_grid": False}
    grid = spoiled.call("amiss.words_of_grid", ["[ChillyMerge] model B", names], recipe=MIX, **several)
    assert len(grid["written"]) == 1 and "NaN" in grid["written"][0]


def test_failed_cell_amid_merges_that_come_again_spoils_no_other(spoiled: House):
    axes = ["[ChillyMerge] model B", ["B", "spoiled"]], ["[ChillyMerge] parameter", "MIX.alpha = 0.3, 0.5, 0.30"]
    grid = spoiled.call("amiss.words_of_grid", *axes, recipe="MIX = weighted_sum(A, B, alpha=0.1)")
    assert len(grid["written"]) == 3 and all("NaN" in said for said in grid["written"])
    assert grid["built"] == 2 and len(grid["held"]) <= 1


def test_picture_that_the_webui_saves_has_its_recipe(real: Webui):
    real.call("fresh")
    saved = real.call("amiss.saved_infotexts", MIX)
    (infotext,) = saved["texts"]
    assert infotext.count("ChillyMerge recipe: ") == 1 and "weighted_sum(A, B, alpha=0.3)" in infotext
    assert "ChillyMerge recipe" not in saved["infotext"]
