"""Pictures of merges in the webui are of the merge, and change nothing of the user's. Each trap is a test in both webuis."""

from __future__ import annotations

import os

import pytest
from house import Double, House
from samples import MIX, OTHER, of_users

pytestmark = pytest.mark.timeout(600)


def test_picture_of_a_merge_is_neither_a_s_nor_b_s_and_nothing_of_the_user_s_is_changed(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    merged = webui.call("preview")
    assert of_users(merged) == of_users(before)
    assert len({webui.call("preview", f"X = {name}")["picture"] for name in "AB"} | {merged["picture"]}) == 3
    assert (
        f"Model hash: {webui.call('paths', 'M = weighted_sum(A, B, alpha=0.3)')[0][1].partition('[')[2][:-1]}"
        in merged["infotext"]
    )
    assert webui.call("plain")["picture"] == plain["picture"]
    assert webui.call("state")["loaded"] == before["loaded"]


def test_picture_that_is_asked_for_while_the_webui_starts_is_the_merge_s(webui: House):
    assert not webui.first["was_loaded"] and "error" not in webui.first, webui.first
    assert webui.first["picture"] == webui.call("preview")["picture"]
    assert webui.call("plain")["picture"] != webui.first["picture"]


def test_picture_of_a_merge_is_that_of_its_saved_file(webui: House):
    merged = webui.call("preview")
    saved = webui.call("save", "saved")
    assert saved["read"] == [] and saved["titles"] == [f"saved.safetensors [{saved['sha256'][:10]}]"]
    assert saved["loaded"] == saved["chosen"] == saved["titles"][0]
    assert webui.call("plain")["picture"] == merged["picture"]
    webui.call("choose", "A")
    webui.call("remove", "saved")


def test_schedule_behind_a_sampler_s_name_is_the_webui_s(webui: House):
    karras = webui.call("preview", sampler="Euler Karras")
    assert "Sampler: Euler, Schedule type: Karras" in karras["infotext"]
    assert karras["picture"] != webui.call("preview")["picture"]


def test_picture_of_a_model_by_itself_is_the_webui_s_own(webui: House):
    assert webui.call("preview", "X = A")["picture"] == webui.call("plain")["picture"]


def test_merges_in_turns_are_each_in_effect_and_the_same_one_twice_is_built_once(webui: House):
    first, again = webui.call("preview"), webui.call("preview", seed=2)
    assert (first["built"], again["built"], again["blocks"]) == (1, 1, 0)
    other, back = webui.call("preview", OTHER), webui.call("preview")
    assert other["picture"] != first["picture"] == back["picture"] and back["built"] == 3
    text = "T = weighted_sum(A, B, alpha={BASE: 1, *: 0})"
    assert webui.call("preview", text)["picture"] not in (first["picture"], webui.call("plain")["picture"])


def test_refresh_amid_two_pictures_leaves_both_of_the_merge(webui: House):
    undisturbed = webui.call("pictures", n_iter=2)
    assert webui.call("pictures", amid="refresh", n_iter=2)["pictures"] == undisturbed["pictures"]
    webui.call("use_as_ckpt", "B")
    assert webui.call("pictures", amid="refresh", n_iter=2)["pictures"] == undisturbed["pictures"]


@pytest.mark.parametrize("how", ["refresh", "refresh by the webui's own function"])
def test_refresh_before_the_webui_begins_leaves_the_picture_of_the_merge(webui: House, how: str):
    undisturbed = webui.call("pictures")
    assert webui.call("pictures", before=how)["pictures"] == undisturbed["pictures"]


def test_model_that_is_chosen_again_after_another_one_is_the_one_that_is_loaded(webui: House):
    plain, merged = webui.call("plain"), webui.call("preview")
    other = webui.call("choose", "B")
    assert other["loaded"].startswith("B.safetensors") and webui.call("plain")["picture"] != plain["picture"]
    assert webui.call("preview")["picture"] == merged["picture"]
    assert webui.call("choose", "A")["loaded"].startswith("A.safetensors")
    assert webui.call("plain")["picture"] == plain["picture"]


def test_model_that_the_user_chooses_amid_a_picture_stays_chosen(webui: House):
    undisturbed = webui.call("preview")
    amid = webui.call("preview", amid="choose B")
    assert amid["picture"] == undisturbed["picture"] and amid["chosen"].startswith("B.safetensors")
    assert webui.call("plain")["loaded"].startswith("B.safetensors")
    webui.call("choose", "A")
    assert "another model was loaded" in webui.call("pictures", amid="choose B", n_iter=2)["error"]


def test_interrupt_that_came_before_does_not_count(webui: House):
    webui.call("stale_interrupt")
    assert "picture" in webui.call("preview")


def test_vae_of_the_settings_is_said_where_it_hides_the_merge_s(webui: House):
    assert webui.call("preview")["notes"] == []
    webui.call("fresh", sd_vae="other.safetensors")
    hidden = webui.call("preview")
    assert "decoded by the VAE other.safetensors" in hidden["notes"][0]
    webui.call("fresh")
    assert webui.call("preview")["picture"] != hidden["picture"]


def test_u_net_that_stands_in_for_the_merge_s_is_said(webui: House):
    assert webui.call("preview", amid="another U-Net")["notes"] == [
        "the U-Net 'fast' stood in for that of the merge: choose SD Unet None in the webui's settings."
    ]
    webui.call("fresh")
    assert webui.call("preview")["notes"] == []


def test_page_that_is_loaded_anew_finds_the_webui_s_functions_and_ours_once(webui: House):
    plain = webui.call("plain")
    merged = webui.call("preview")
    reloaded = webui.call("reload_page")
    assert reloaded["left"] == dict.fromkeys(("list_models", "get_checkpoint_state_dict"), "modules.sd_models")
    assert reloaded["patched"] == ["get_checkpoint_state_dict", "list_models"] and reloaded["held"] == []
    assert webui.call("plain")["picture"] == plain["picture"]
    assert webui.call("preview")["picture"] == merged["picture"]


def test_recipes_and_files_that_differ_have_paths_of_their_own(webui: House):
    one, other = webui.call("paths", MIX, OTHER)
    assert one[0] != other[0] and one[1] != other[1]
    file = webui.models / "B.safetensors"
    before = file.stat()
    try:
        webui.call("touch", "B")
        assert webui.call("paths", MIX)[0] != one
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        webui.call("refresh")
    assert webui.call("paths", MIX)[0] == one


def test_loader_that_empties_what_it_is_given_gets_all_again(webui: House):
    handed = webui.call("handed_out")
    assert handed["first"] == handed["second"] > 1000


def test_another_architecture_is_loaded_and_the_user_s_comes_back(double: Double):
    double.call("fresh", "XL")
    large = double.call("plain")["picture"]
    double.call("fresh")
    plain = double.call("plain")["picture"]
    for _ in range(2):  # at the second time from memory, after the webui has emptied what it was given
        made = double.call("preview", "X = weighted_sum(XL, XL, alpha=0.5)")
        assert (made["picture"], made["built"]) == (large, 1)
        assert double.call("plain")["picture"] == plain != large


def test_settings_that_are_saved_amid_a_picture_do_no_harm_at_the_next_start(webui: House):
    chosen = webui.call("state")["chosen"]
    webui.call("preview", amid="save settings")
    title = webui.call("saved_title")
    started = webui.call("start_with", title)
    assert started == {"chosen": chosen, "ours": True}


@pytest.mark.parametrize("options", [{"sd_checkpoint_cache": 2}, {"sd_checkpoints_limit": 2}])
def test_models_that_the_webui_caches_do_not_mix_up(webui: House, options: dict[str, int]):
    pictures = [webui.call("preview")["picture"], webui.call("preview", OTHER)["picture"], webui.call("plain")["picture"]]
    webui.call("fresh", **options)
    for _ in range(2):
        again = [webui.call("preview")["picture"], webui.call("preview", OTHER)["picture"], webui.call("plain")["picture"]]
        assert again == pictures


def test_merge_in_front_of_a_refiner_and_as_one_gives_the_pictures_of_its_file(webui: House):
    several = {"refiner_switch_at": 0.5, "n_iter": 2}
    webui.call("save", "refining")
    in_front = webui.call("plain", refiner_checkpoint="B", **several)["pictures"]
    webui.call("choose", "A")
    behind = webui.call("plain", refiner_checkpoint="refining", **several)["pictures"]
    webui.call("remove", "refining")
    alone = webui.call("pictures", n_iter=2)["pictures"]
    assert len({*in_front, *behind, *alone}) == 6
    assert webui.call("pictures", refiner_checkpoint="B", **several)["pictures"] == in_front
    assert webui.call("pictures", refiner_checkpoint="the merge", **several)["pictures"] == alone
    title = webui.call("keep")["title"]
    webui.call("choose", "A")
    assert webui.call("plain", refiner_checkpoint=title, **several)["pictures"] == behind


@pytest.mark.parametrize(
    "flags",
    [
        {"freeze_settings": True},
        {"freeze_specific_settings": "sd_vae, sd_model_checkpoint"},
        {"freeze_settings_in_sections": "sd"},
    ],
)
def test_frozen_settings_are_said_before_anything_is_done(webui: House, flags: dict[str, object]):
    webui.call("flag", **flags)
    try:
        failed = webui.call("preview")
        assert "--" + next(iter(flags)).replace("_", "-") in failed["error"] and failed["built"] == 0
        assert not webui.call("can_load")
    finally:
        webui.call("flag", **dict.fromkeys(flags))


def test_merge_that_is_kept_is_the_current_model_until_another_one_is_chosen(webui: House):
    before, merged = webui.call("state"), webui.call("preview")
    kept = webui.call("keep")
    assert kept["built"] == 1 and kept["chosen"] == kept["loaded"] == kept["title"]
    assert webui.call("plain")["picture"] == merged["picture"]
    assert kept["title"] in webui.call("refresh")["listed"]
    other = webui.call("preview", OTHER)
    assert other["picture"] != merged["picture"] and other["chosen"] == kept["title"]
    assert webui.call("plain")["picture"] == merged["picture"]
    webui.call("choose", "B")
    assert webui.call("plain")["loaded"].startswith("B.safetensors")
    webui.call("choose", "A")
    webui.call("keep")
    assert webui.call("drop")["chosen"] == before["chosen"]
    assert webui.call("plain")["loaded"] == before["loaded"]


def test_kept_merge_gives_way_to_the_user_s_model_when_the_page_is_loaded_anew(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    webui.call("keep")
    assert webui.call("reload_page")["chosen"] == before["chosen"]
    assert webui.call("plain")["picture"] == plain["picture"]


def test_two_threads_each_get_their_picture(webui: House):
    recipes = [MIX, OTHER]
    alone = [webui.call("preview", recipe)["picture"] for recipe in recipes]
    assert webui.call("two_threads", *recipes) == alone


def test_model_that_is_put_into_the_folder_is_found(webui: House):
    assert "copied" in webui.call("copy_model", "A", "copied")
    assert webui.call("preview", "X = copied")["picture"] == webui.call("plain")["picture"]
    webui.call("remove", "copied")
    assert "there is no model 'copied'" in webui.call("preview_error", "X = copied")


def test_start_imports_nothing_of_the_engine(double: Double):
    heavy = {"lib_chilly.plan", "lib_chilly.live", "lib_chilly.ui", "lark", "gradio", "lib_chilly.host.webui"}
    assert heavy & set(double.start["imported"]) == set() and len(double.start["imported"]) <= 16
