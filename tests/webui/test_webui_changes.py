"""What the user changes around us counts: settings, styles, lists of models, the queue."""

from __future__ import annotations

import pytest
from house import House
from samples import MIX, SMALL

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
    assert webui.call("page_picture", styles=["oil"])["infotext"].startswith("oil painting of ")
    webui.call("changes.write_style", "oil", "etching of {prompt}")
    try:
        assert webui.call("page_picture", styles=["oil"])["infotext"].startswith("etching of ")
    finally:
        webui.call("changes.write_style", "oil", "oil painting of {prompt}")


def test_picture_that_was_made_before_is_there_at_once_where_nothing_was_changed(webui: House):
    assert webui.call("page_picture")["seconds"] == webui.call("page_picture")["seconds"]


def test_picture_with_a_schedule_and_a_style_is_kept_in_the_history(webui: House):
    row = webui.call("changes.keep_picture", sampler="DPM++ 2M", scheduler="Karras", styles=["oil"])
    assert (row["params"]["scheduler"], row["params"]["styles"]) == ("Karras", ["oil"])
    webui.call("ask", "history_change", id=row["id"], delete=True)


def test_list_that_is_made_anew_amid_a_picture_is_not_touched_where_no_file_has_come_or_gone(webui: House):
    webui.call("changes.copy_quietly", "A", "written")
    amid = webui.call("changes.list_anew", is_busy=True, register="written")
    assert amid["untouched"] == amid["listed"] and "written" in amid["listed"]
    webui.call("changes.copy_quietly", "A", "came")
    assert "came" in webui.call("changes.list_anew", is_busy=True)["listed"]
    for name in ("written", "came"):
        webui.call("remove", name)
    webui.call("changes.list_anew", is_busy=True)
    amid = webui.call("changes.list_anew", is_busy=True)
    assert {"written", "came"} & set(amid["listed"]) == set() and amid["queue"]
    assert webui.call("changes.list_anew", is_busy=False)["untouched"] == []


def test_folders_are_read_once_by_the_webui_and_once_by_us_when_a_model_has_come(webui: House):
    assert webui.call("changes.folders_read", "come") == {"found": True, "webui": 1, "ours": 1}


def test_list_that_we_make_anew_is_made_by_those_too_who_replaced_the_function_after_us(webui: House):
    assert webui.call("changes.list_anew_around_us", "come") == {"calls": 1, "listed": True, "queue": True}


def test_model_that_the_webui_lists_after_its_own_refresh_is_found(webui: House):
    assert "there is no model 'quiet'" in webui.call("preview_error", "X = quiet")
    webui.call("changes.copy_quietly", "A", "quiet")
    webui.call("changes.list_anew", is_busy=False)
    assert webui.call("preview_error", "X = quiet") == ""
    webui.call("remove", "quiet")


def test_model_that_nobody_has_listed_is_looked_for_once_more(webui: House):
    webui.call("preview_error", "X = A")
    webui.call("changes.copy_quietly", "A", "unseen")
    webui.call("changes.look_again_after", 3600)
    assert "there is no model 'unseen'" in webui.call("preview_error", "X = unseen")
    webui.call("changes.look_again_after", 0)
    assert webui.call("preview_error", "X = unseen") == ""
    webui.call("changes.look_again_after", 2)
    webui.call("remove", "unseen")


@pytest.mark.parametrize(
    ("question", "wanted"), [("preview", {"params": SMALL, "pictures": [{"id": "merged", "of": "merged"}]}), ("alike", {})]
)
def test_what_waits_for_the_webui_can_be_stopped_and_leaves_the_queue_free(webui: House, question: str, wanted: dict):
    text = "M = weighted_sum(A, B, alpha=0.6125)\nS = weighted_sum(A, M, alpha=0.25)"
    done = webui.call("changes.stop_while_the_webui_is_at_work", question, text=text, **wanted)
    assert (done["waiting"], done["stopped"]) == ("waiting for the webui, which is at work", "stopped")
    assert done["queue"] and done["held"] == []
    assert "picture" in webui.call("preview")


def test_ctrl_c_while_something_waits_for_the_webui_leaves_the_queue_free(webui: House):
    done = webui.call("changes.interrupt_while_the_webui_is_at_work")
    assert done["heard"] and done["queue"]


def test_stop_in_the_moment_in_which_the_turn_comes_leaves_the_queue_free(webui: House):
    done = webui.call("changes.stop_as_the_turn_comes")
    assert done["stopped"] and done["queue"]


def test_file_that_is_saved_while_the_webui_is_at_work_is_compared_with_its_picture_afterwards(webui: House):
    webui.call("preview", MIX)
    saved = webui.call("changes.save_while_the_webui_is_at_work", "while busy", MIX)
    assert saved["seen"] == ["working", "waiting for the webui, which is at work"]
    assert saved["report"]["as_shown"] is True


def test_file_that_waits_to_be_compared_keeps_no_other_from_being_saved(webui: House):
    webui.call("preview", MIX)
    other = "N = weighted_sum(A, B, alpha=0.7)"
    saved = webui.call("changes.save_two_while_the_webui_is_at_work", MIX, other, "unshown", until="done")
    assert saved == {"seen": [["working", True], ["done", True]], "as_shown": [True, None]}
    saved = webui.call("changes.save_two_while_the_webui_is_at_work", MIX, MIX, "shown", until="working")
    assert saved == {"seen": [["working", True], ["working", True]], "as_shown": [True, True]}


def test_file_is_compared_with_its_picture_also_where_others_were_made_since(webui: House):
    for recipe in (MIX, "M = A", "M = B"):
        webui.call("preview", recipe)
    saved = webui.call("changes.save_while_the_webui_is_at_work", "compared", MIX)
    assert saved["report"]["as_shown"] is True


def test_file_is_compared_with_its_picture_also_where_something_was_interrupted_before(webui: House):
    for recipe in (MIX, "M = A", "M = B"):
        webui.call("preview", recipe)
    assert webui.call("changes.save_after_an_interrupt", "after a stop", MIX)["as_shown"] is True


def test_stop_while_a_saved_file_waits_to_be_compared_leaves_the_file_saved_and_not_compared(webui: House):
    webui.call("preview", MIX)
    saved = webui.call("changes.save_while_the_webui_is_at_work", "not compared", MIX, stop=True)
    assert saved["seen"][0] == "done" and saved["report"]["checked"] and saved["report"]["as_shown"] is None


def test_file_that_no_picture_is_of_does_not_wait_for_the_webui(webui: House):
    webui.call("preview", MIX)
    saved = webui.call("changes.save_while_the_webui_is_at_work", "other", "N = weighted_sum(A, B, alpha=0.7)")
    assert saved["seen"][0] == "done" and saved["report"]["as_shown"] is None
