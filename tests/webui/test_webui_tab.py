"""The tab and the page's questions in the webui."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house import ROOT, Double, House
from samples import MIX
from webuis import Webui

pytestmark = pytest.mark.timeout(600)


def test_tab_is_there_and_its_button_asks_the_page_s_service(double: Double):
    tab = double.call("tab")
    assert (tab["title"], tab["element"]) == ("ChillyMerge", "chillymerge")
    names = ["arrived", "go", "reply", "send_img2img", "send_txt2img", "sent_image", "sent_text"]
    assert sorted(tab["kept"]) == [f"chilly_{name}" for name in names]
    assert {"A", "B"} <= {model["name"] for model in tab["reply"]["reply"]["models"]}


LIGHT = {"lib_chilly", "lib_chilly.errors", "lib_chilly.host", "lib_chilly.ui", "lib_chilly.ui.tab"}


def heavy(imported: list[str]) -> list[str]:
    """What of ours is more than a webui needs that shows its page, and has told nobody anything of ours yet."""
    ours = [name for name in imported if name not in LIGHT and not name.startswith("gradio")]
    of_hosts = ("lib_chilly.host.webui_", "lib_chilly.host.api_routes", "lib_chilly.host.api_forms", "lib_chilly.host.base")
    return [name for name in ours if not name.startswith(of_hosts)]


def test_page_that_is_built_and_not_opened_imports_nothing_of_the_engine_in_the_double(double: Double):
    imported = double.start["imported_for_page"]
    assert "lib_chilly.ui.tab" in imported and "lib_chilly.host.api_routes" in imported
    assert heavy(imported) == []


def test_page_that_is_built_and_not_opened_imports_nothing_of_the_engine(real: Webui):
    imported = real.get("probe/imported")["imported"]
    assert "lib_chilly.ui.tab" in imported and "lib_chilly.host.api_routes" in imported
    assert heavy(imported) == []


def test_page_begins_with_the_webui_s_models_and_samplers(webui: House):
    started = webui.call("ask", "start")
    assert {"A", "B", "noVae"} <= {model["name"] for model in started["models"]}
    assert "other" not in {model["name"] for model in started["models"]}
    assert {"Euler a", "DPM++ 2M", "DDIM"} <= set(started["samplers"])
    assert (started["host"], started["output"]) == ("webui", str(webui.models))


def test_what_is_registered_at_the_start_says_itself_whose_it_is(webui: House):
    assert webui.call("amiss.looks_for_whose_callback_it_is") == 0


def test_page_offers_the_webui_s_schedules_and_styles_and_pictures_follow_them(webui: House):
    started = webui.call("ask", "start")
    assert "Karras" in started["schedulers"] and started["styles"] == ["oil"]
    plain, other = webui.call("preview", sampler="DPM++ 2M"), webui.call("preview", sampler="DPM++ 2M", scheduler="Exponential")
    assert "Schedule type: Exponential" in other["infotext"] and other["picture"] != plain["picture"]
    found = webui.call("ask", "paste", text=other["infotext"])["params"]
    assert (found["sampler"], found["scheduler"]) == ("DPM++ 2M", "Exponential")
    assert webui.call("preview", styles=["oil"])["infotext"].startswith("oil painting of ")
    for name, value in (("scheduler", "Kerras"), ("styles", ["oils"]), ("styles", "oil"), ("styles", [["oil"]])):
        wanted = {"text": MIX, "params": {"prompt": "", name: value}, "pictures": [{"id": "merged", "of": "merged"}]}
        assert webui.call("ask", "preview", **wanted)["field"] == name


def test_models_are_compared_looked_at_and_described_in_the_tab(webui: House):
    measured = webui.call("follow", webui.call("ask", "alike", text=MIX, measure="cosine")["job"])
    assert measured["state"] == "done" and 0 < measured["report"]["totals"]["all"] < 100
    looked = webui.call("follow", webui.call("ask", "health", text=MIX)["job"])
    assert [file["name"] for file in looked["report"]["files"]] == ["A", "B"]
    webui.call("page_save", "described")
    card = webui.call("follow", webui.call("ask", "card", name="described")["job"])
    assert ["file", "described.safetensors"] in card["report"]["sections"][0]["rows"]
    webui.call("choose", "A")
    webui.call("remove", "described")


def test_settings_have_one_switch_and_it_saves_pictures_of_merges(webui: House):
    assert webui.call("settings") == {"chillymerge_save_pictures": False}
    assert not webui.call("saves_pictures")
    webui.call("option", chillymerge_save_pictures=True)
    try:
        assert webui.call("saves_pictures")
    finally:
        webui.call("option", chillymerge_save_pictures=False)


def test_picture_of_the_page_has_its_recipe_and_the_hash_of_a_recipe(webui: House):
    picture = webui.call("page_picture")
    assert picture["digest"] == webui.call("preview")["picture"]
    assert "Model hash: recipe-" in picture["infotext"] and "Model: M," in picture["infotext"]
    assert "weighted_sum(A, B, alpha=0.3)" in picture["infotext"]


def test_file_that_the_page_saves_is_listed_with_its_hash_and_loaded_on_demand(webui: House):
    merged = webui.call("preview")
    done = webui.call("page_save", "kept")
    title = f"kept.safetensors [{done['saved']['short_hash']}]"
    assert done["saved"]["checked"] and done["saved"]["can_load"] and done["saved"]["as_shown"] is True
    assert done["load"] == {"title": title} and done["chosen"] == done["loaded"] == title
    assert webui.call("plain")["picture"] == merged["picture"]
    webui.call("choose", "A")
    webui.call("remove", "kept")


def test_file_that_is_saved_below_the_folder_is_listed_under_its_folder_with_its_hash(webui: House):
    merged = webui.call("preview")
    done = webui.call("page_save", "mixes/2026/new")
    title = f"mixes/2026/new.safetensors [{done['saved']['short_hash']}]"
    assert done["saved"]["file"] == "mixes/2026/new.safetensors" and done["read"] == []
    assert done["load"] == {"title": title} and done["chosen"] == done["loaded"] == title
    assert webui.call("plain")["picture"] == merged["picture"] and title in webui.call("refresh")["listed"]
    assert "mixes/2026/new" in {model["name"] for model in webui.call("ask", "models", again=True)["models"]}
    webui.call("choose", "A")
    webui.call("remove", "mixes/2026/new")


def test_merge_that_is_used_unsaved_is_the_current_model(webui: House):
    merged = webui.call("preview")
    used = webui.call("page_use")
    assert used["chosen"] == used["loaded"] == used["use"]["title"] and "[recipe-" in used["chosen"]
    assert webui.call("plain")["picture"] == merged["picture"]


def test_name_that_leads_out_of_the_folder_is_neither_saved_nor_loaded(webui: House):
    for question in ("save", "load"):
        given = {"text": MIX} if question == "save" else {}
        assert "message" in webui.call("ask", question, name="../outside", **given)


def test_installer_is_silent_and_the_entry_is_short():
    done = subprocess.run([sys.executable, "install.py"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len((ROOT / "scripts" / "chillymerge.py").read_text("utf-8").splitlines()) < 60
