"""Pictures for a page: those of the host, from memory where they were made before, stopped and overtaken."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import SMALL, family_pair, picture, plan_on

from lib_chilly.host.base import GenParams, Progress
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.similarity import Question, compare
from lib_chilly.ui.alike import Alike, figures
from lib_chilly.ui.infotext import read_infotext
from lib_chilly.ui.job import Job
from lib_chilly.ui.picture_cache import Kept, PictureCache
from lib_chilly.ui.png import AMPLIFIED
from lib_chilly.ui.png_text import png_texts
from lib_chilly.ui.questions import Room
from lib_chilly.ui.service import Service
from lib_chilly.workers import single_threaded_torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

PARAMS = {"prompt": "a red circle on blue", **SMALL}
MIX = "V = weighted_sum(a, b, alpha={IN*: 0.3, M00: 0.8, *: 0.4})  # so"
OF = [{"id": name, "of": name} for name in ("merged", "a", "b")]
OVER = ("done", "stopped", "failed")


class Browser:
    """One tab: it asks the service as the page does."""

    def __init__(self, service: Service, name: str = "tab1"):
        self.service, self.name = service, name

    def ask(self, question: str, **given: Any) -> dict[str, Any]:
        request = {"id": 5, "page": self.name, "ask": question, "with": given}
        reply = json.loads(self.service.answer(json.dumps(request)))
        assert reply["id"] == 5
        return reply

    def start(self, text: str, *pictures: dict, params: dict | None = None, **more: Any) -> dict[str, Any]:
        given = {"text": text, "params": {**PARAMS, **(params or {})}, "pictures": list(pictures), **more}
        reply = self.ask("preview", **given)
        assert "reply" in reply, reply
        return reply["reply"]["job"]

    def poll(self, job: dict, seen: int = 0) -> dict[str, Any]:
        return self.ask("poll", jobs=[{"job": job["job"], "seen": seen}])["reply"]["jobs"][0]

    def wait(self, job: dict, texts: list[str] | None = None) -> dict[str, Any]:
        """The job when it is over."""
        for _ in range(12000):
            reply = self.poll(job)
            if texts is not None and reply["text"] not in texts:
                texts.append(reply["text"])
            if reply["state"] in OVER:
                return reply
            time.sleep(0.005)
        raise AssertionError(reply)

    def pictures(self, text: str, *pictures: dict, **more: Any) -> dict[str, dict]:
        """Pictures by their ids."""
        job = self.wait(self.start(text, *pictures, **more))
        assert (job["state"], job["problem"]) == ("done", None)
        return {each["id"]: each for each in job["pictures"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family_pair(tmp_path_factory)


@pytest.fixture(scope="module")
def host(folder: Path) -> StandaloneHost:
    return StandaloneHost([folder], threads=2)


@pytest.fixture(scope="module")
def service(host: StandaloneHost) -> Iterator[Service]:
    service = Service(Room(host))
    yield service
    service.close()


@pytest.fixture
def tab(service: Service) -> Browser:
    return Browser(service)


def opened(url: str) -> Any:
    from PIL import Image

    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def pixels(found: dict, name: str = "image") -> np.ndarray:
    return np.asarray(opened(found[name]).convert("RGB"))


def test_merge_and_its_operands_are_the_host_s_pictures(tab, host):
    found = tab.pictures(MIX, *OF)
    assert list(found) == ["merged", "a", "b"]
    for name, recipe in (("merged", MIX), ("a", "a"), ("b", "b")):
        assert np.array_equal(pixels(found[name]), picture(host, recipe))
        assert found[name]["seed"] == 0 and found[name]["seconds"] > found[name]["merge_seconds"] > 0


def test_picture_that_was_made_before_comes_at_once_however_its_recipe_is_written(tab):
    first = tab.pictures(MIX, *OF)
    other = "x = a\nV2 = weighted_sum(x, b, alpha={M00: 4/5, IN*: 0.3, *: 0.4})"
    job = tab.start(other, *OF[:1], {"id": "again", "of": "merged"}, lane="other")
    assert job["state"] == "done"
    found = tab.poll(job)["pictures"]
    assert [each["id"] for each in found] == ["merged", "again"]
    assert np.array_equal(pixels(found[0]), pixels(first["merged"]))
    assert "V2 = weighted_sum" in found[0]["infotext"] and "V2" not in first["merged"]["infotext"]
    assert tab.start(other, *OF, params={"seed": 1})["state"] == "waiting"


def test_picture_of_a_file_that_was_replaced_is_made_anew(folder, tmp_path):
    for name in "ab":
        shutil.copy(folder / f"{name}.safetensors", tmp_path / f"{name}.safetensors")
    service = Service(Room(StandaloneHost([tmp_path])))
    tab = Browser(service)
    before = tab.pictures("x = a", OF[0])["merged"]
    shutil.copy(folder / "b.safetensors", tmp_path / "new")
    (tmp_path / "new").replace(tmp_path / "a.safetensors")
    after = tab.pictures("x = a", OF[0])["merged"]
    service.close()
    assert not np.array_equal(pixels(after), pixels(before))


def test_picture_says_its_parameters_and_its_recipe_in_one_line_and_in_the_file(tab, host):
    found = tab.pictures(MIX + "\nW = V", OF[0], step="V", params={"prompt": '星, "so"\nand on', "seed": 4})["merged"]
    facts = "Steps: 2, Sampler: Euler, CFG scale: 3, Seed: 4, Size: 64x64, ChillyMerge recipe: "
    assert found["infotext"].startswith('星, "so"\nand on\n' + facts)
    recipe = json.loads(found["infotext"].rpartition(facts)[2])
    assert recipe == "V = weighted_sum(a, b, alpha={IN*: 0.3, M00: 0.8, *: 0.4})\n"
    assert found["recipe"] == recipe + "W = V\n"
    assert opened(found["image"]).text == {"parameters": found["infotext"]}
    assert np.array_equal(pixels(found), picture(host, recipe, '星, "so"\nand on', seed=4))
    chunk = png_texts(base64.b64decode(found["image"].partition(",")[2]), "x.png")["parameters"]
    read = read_infotext(chunk, host.samplers(), GenParams(""))
    review = tab.ask("paste", file={"name": "x.png", "head": found["image"].partition(",")[2]})["reply"]
    assert (review["text"], review["params"]["seed"]) == (recipe, 4)
    assert (read.recipe, read.params.seed, read.params.prompt) == (recipe, 4, '星, "so"\nand on')


def test_plain_text_stands_in_the_chunk_that_every_reader_knows(tab):
    data = base64.b64decode(tab.pictures(MIX, OF[0])["merged"]["image"].partition(",")[2])
    assert data[37:52] == b"tEXtparameters\0" and data[52:].startswith(b"a red circle on blue\nSteps: 2")


def test_strengths_blocks_and_variants_are_the_pictures_of_their_recipes(tab, host):
    asked = [{"id": "s", "strength": 0.5}, {"id": "v", "variant": 1, "seed": 3}, {"id": "M00", "block": "M00", "to": 0}]
    found = tab.pictures(MIX, *asked, lane="strip")
    assert list(found) == ["M00", "s", "v"]
    assert found["s"]["recipe"] == "V = weighted_sum(a, b, alpha={IN*: 0.15, M00: 0.4, *: 0.2})\n"
    for each in found.values():
        assert np.array_equal(pixels(each), picture(host, each["recipe"]))
    merged = picture(host, MIX)
    apart = np.abs(pixels(found["M00"]).astype(int) - merged.astype(int))
    assert apart.any() and np.array_equal(pixels(found["M00"], "difference"), np.minimum(255, AMPLIFIED * apart))
    assert found["M00"]["amplified"] == AMPLIFIED and found["s"]["difference"] is None


def test_block_after_block_only_what_was_moved_is_merged_again(tab):
    asked = [{"id": lane, "block": lane} for lane in ("IN04", "OUT03")]
    found = tab.pictures(MIX, OF[0], *asked, params={"seed": 77}, lane="blocks")
    assert [each["blocks"] for each in found.values()] == [found["merged"]["blocks"], 1, 2]


def test_map_of_blocks_counts_the_pictures_that_were_asked_for(tab):
    texts: list[str] = []
    asked = [{"id": lane, "block": lane} for lane in ("IN04", "OUT03")]
    job = tab.wait(tab.start(MIX, *asked, params={"seed": 78, "steps": 20}, lane="blocks"), texts)
    counted = {text.partition(":")[0] for text in texts if text.startswith("picture")}
    assert len(job["pictures"]) == 2 and counted == {"picture 1 of 2", "picture 2 of 2"}


def test_thread_that_began_while_another_saved_has_all_cores(folder):
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(2)
    host = StandaloneHost([folder])
    inner = threading.Thread(target=lambda: found.append((torch.get_num_threads(), picture(host, "a"), torch.get_num_threads())))

    def save() -> None:
        with single_threaded_torch():
            inner.start()
            inner.join()

    outer = threading.Thread(target=save)
    outer.start()
    outer.join()
    torch.set_num_threads(before)
    assert (found[0][0], found[0][2]) == (2, 2)


def test_job_tells_what_it_does(tab):
    texts: list[str] = []
    tab.wait(tab.start("x = weighted_sum(a, b, alpha=0.11)", *OF[:2], params={"steps": 6, "seed": 5}), texts)
    said = " ".join(texts)
    assert "picture 1 of 2: " in said and "picture 2 of 2: " in said and " of 6" in said


def test_stopped_job_keeps_what_it_has_and_the_next_picture_is_right(tab, host):
    job = tab.start("x = weighted_sum(a, b, alpha=0.17)", *OF, params={"steps": 300, "seed": 6})
    while " of 300" not in tab.poll(job)["text"]:
        time.sleep(0.005)
    tab.ask("stop", job=job["job"])
    reply = tab.wait(job)
    assert (reply["state"], reply["pictures"], reply["problem"]) == ("stopped", [], None)
    assert np.array_equal(pixels(tab.pictures(MIX, OF[0], params={"seed": 8})["merged"]), picture(host, MIX, seed=8))


def test_newer_picture_overtakes_the_older_and_other_tabs_go_on(tab, service):
    other = Browser(service, "tab2")
    old = tab.start("x = weighted_sum(a, b, alpha=0.21)", OF[0], params={"steps": 300, "seed": 9})
    theirs = other.start("x = a", OF[0], params={"seed": 9})
    new = tab.start("x = weighted_sum(a, b, alpha=0.22)", OF[0], params={"seed": 9})
    assert tab.wait(new)["state"] == other.wait(theirs)["state"] == "done"
    assert tab.wait(old)["state"] == "stopped"
    assert tab.ask("start")["reply"]["jobs"][-1]["job"] == new["job"]
    assert all(job["pictures"] == [] for job in tab.ask("start")["reply"]["jobs"])


@pytest.mark.parametrize(
    ("change", "said", "field"),
    [
        ({"text": "x = weighted_sum(a, nobody)"}, "no model 'nobody'", None),
        ({"text": "x = a - b"}, "delta", None),
        ({"text": "x = a\nsave(vae=drop)"}, "needs a VAE", None),
        ({"text": "x = 3 *"}, "line 1", None),
        ({"step": "nobody"}, "no step 'nobody'", "step"),
        ({"params": {"prompt": "x", "width": 65}}, "the width is 65", "width"),
        ({"pictures": [{"id": "x", "block": "D00"}]}, "SD 1.x has no block 'D00'", "pictures"),
        ({"pictures": [{"id": "x", "strength": 10**400}]}, "'strength' is a number", "pictures"),
        ({"lane": ""}, "a lane has", "lane"),
    ],
)
def test_what_cannot_be_made_is_a_problem_at_once(tab, change, said, field):
    reply = tab.ask("preview", **{"text": MIX, "params": PARAMS, "pictures": OF, **change})
    assert said in reply["problem"]["message"] and "\n" not in reply["problem"]["message"]
    assert reply["problem"]["field"] == field


def test_time_is_said_in_the_host_s_words(tab, host):
    reply = tab.ask("estimate", text=MIX, params=PARAMS)["reply"]
    assert reply["seconds"] > 0 and reply["says"].startswith("about ")


def test_alike_reports_what_was_compared_and_knows_it_the_next_time(tab, host):
    text = "M = weighted_sum(a, b, alpha={IN*: 0.5, *: 0})\nV = weighted_sum(a, M)"
    job = tab.wait(tab.ask("alike", text=text)["reply"]["job"])
    expected = compare(plan_on(host, "a"), plan_on(host, text, step="M"))
    report = job["report"]
    assert (job["state"], report["a"], report["b"], report["measure"]) == ("done", "a", "M", "asim")
    assert report["blocks"] == pytest.approx(expected.blocks, abs=1e-3) and report["blocks"]["OUT11"] == 100.0
    assert report["totals"] == pytest.approx(expected.totals, abs=1e-3)
    again = tab.ask("alike", text="Other = weighted_sum(a, M)".join(text.split("V = weighted_sum(a, M)")))["reply"]["job"]
    assert (again["state"], again["report"]) == ("done", report)
    assert "no measure 'magic'" in tab.ask("alike", text=text, measure="magic")["problem"]["message"]
    assert "made of one model" in tab.ask("alike", text="x = a")["problem"]["message"]


def test_comparison_that_waits_for_a_picture_can_be_stopped(tab, host):
    with host.exclusive(Progress()):
        job = tab.ask("alike", text="M = weighted_sum(a, b, alpha=0.375)\nV = weighted_sum(a, M)")["reply"]["job"]
        while tab.poll(job)["state"] != "working":  # else it is stopped before it has begun to wait
            time.sleep(0.005)
        tab.ask("stop", job=job["job"])
        assert tab.wait(job)["state"] == "stopped"


def test_comparison_gives_others_a_turn_after_every_layer(host):
    job, pieces = Job(1, "tab1", "alike", None, None), 0
    asked = Question((plan_on(host, "a"), plan_on(host, "b")), ((0, 1),), "asim")
    for _ in Alike(host).find(("key",), asked, lambda found: {"blocks": dict(found[0].blocks)}, job):
        pieces += 1
        with host.exclusive(Progress()):  # a picture could be made now
            assert pieces == 17 or job.progress.text.endswith(f"layer {pieces} of 16")
    assert pieces == 17 and job.report is not None and len(job.report["blocks"]) == 16


def test_alike_says_100_only_of_what_is_that():
    assert figures({"IN01": 99.99996, "M00": 100.0, "VAE": None}) == {"IN01": 99.9999, "M00": 100.0, "VAE": None}
    assert figures({"all": 12.34567, "l2": 310.5}) == {"all": 12.3457, "l2": 310.5}


def test_cache_lets_go_of_what_was_used_longest_ago():
    def kept(size: int) -> Kept:
        return Kept(b"x" * size, "", 0, (), 0.0, 0.0, 0)

    cache = PictureCache(100)
    for name in ("one", "two"):
        cache.put(name, kept(40))
    cache.get("one")
    cache.put("three", kept(40))
    assert [cache.get(name) is not None for name in ("one", "two", "three")] == [True, False, True]
    cache.put("one", kept(60))
    assert cache.get("three") and cache.get("one")
    cache.put("large", kept(101))
    assert cache.get("large") is None
