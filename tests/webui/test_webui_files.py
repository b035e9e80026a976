"""A file written here opens in the real webui; runs where CHILLY_WEBUI names a checkout of it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from reference import read_file
from webuis import Webui

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.engine import merge
from lib_chilly.models import ModelLibrary
from lib_chilly.notations import recipe_from_metadata
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from training.judge import judge
from training.look import CAPTIONS

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def merged(real: Webui) -> Iterator[Webui]:
    """The real one with a merge M; what the tests write into its folder is taken out of it at the end."""
    real.call("fresh")
    before = set(real.models.iterdir())
    written(real, "M", "weighted_sum(A, B, alpha=0.3)")
    yield real
    real.choose("A")
    for path in set(real.models.iterdir()) - before:
        path.unlink()
    real.call("fresh")


def written(webui: Webui, name: str, recipe: str) -> None:
    """A merge of the webui's models beside them."""
    plan = make_plan(parse_recipe(recipe), ModelLibrary([webui.models]))
    merge(plan, webui.models / f"{name}.safetensors", overwrite=True)


def test_every_key_of_a_merged_file_reaches_the_webui_s_model(merged: Webui):
    title = merged.choose("M")
    found = merged.get("probe/weights")
    assert found["title"].startswith("M.safetensors") and title.startswith("M.safetensors")
    assert (found["missing"], found["unused"], found["other"], found["taken"]) == ([], [], [], 1131)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_webui_paints_what_it_is_asked_for_with_the_family_s_base(merged: Webui, caption: str):
    merged.choose("A")
    with Image.open(io.BytesIO(merged.paint(caption, steps=20)[0])) as image:
        assert judge(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 127.5 - 1) == caption


def test_webui_draws_with_a_merged_file_and_names_its_hash(merged: Webui):
    written(merged, "likeA", "weighted_sum(A, B, alpha=0)")
    pictures, said = {}, {}
    for name in ("A", "B", "M", "likeA"):
        merged.choose(name)
        pictures[name], said[name] = merged.draw()
    assert pictures["likeA"] == pictures["A"]
    assert len({pictures["A"], pictures["B"], pictures["M"]}) == 3
    sha256 = hashlib.sha256((merged.models / "M.safetensors").read_bytes()).hexdigest()
    assert f"Model hash: {sha256[:10]}, Model: M" in said["M"]


def test_webui_s_read_metadata_shows_our_header(merged: Webui):
    shown = json.loads(merged.get("probe/metadata", title=merged.choose("M"))["text"])
    assert (
        shown["sd_merge_recipe"]["type"] == "chillymerge"
        and "weighted_sum(A, B, alpha=0.3)" in shown["sd_merge_recipe"]["recipe"]
    )
    assert [entry["name"] for entry in shown["sd_merge_models"].values()] == ["A", "B"]
    assert shown["modelspec.sai_model_spec"] == "1.0.0"


def test_merge_of_the_webui_is_made_again_from_its_header_up_to_its_own_roundings(merged: Webui):
    titles = [merged.choose(name) for name in "AB"]
    done = merged.get("probe/merge", primary=titles[0], secondary=titles[1], multiplier=0.3, name="theirs")
    assert done["said"].startswith("Checkpoint saved")
    imported = recipe_from_metadata(open_checkpoint(merged.models / "theirs.safetensors").metadata)
    assert imported is not None and imported.notation == "the webui's metadata"
    written(merged, "ours", imported.recipe.canonical())
    files = [read_file(merged.models / f"{name}.safetensors") for name in ("A", "B", "ours", "theirs")]
    assert files[2].keys() == files[3].keys() and len(files[2]) == 1131
    for key in files[2]:
        a, b, ours, theirs = (np.asarray(file[key].values, np.float64) for file in files)
        # The webui rounds both products and their sum to fp16, we only the sum.
        steps = [np.maximum(np.abs(part) * 2.0**-11, 2.0**-25) for part in (0.7 * a, 0.3 * b, ours, theirs)]
        assert (np.abs(ours - theirs) <= sum(steps)).all(), key
        assert files[2][key].tag == files[3][key].tag


def test_webui_merges_our_files_and_carries_their_recipe(merged: Webui):
    titles = [merged.choose(name) for name in ("M", "A")]
    done = merged.get("probe/merge", primary=titles[0], secondary=titles[1], multiplier=0.5, name="again")
    assert done["said"].startswith("Checkpoint saved")
    metadata = open_checkpoint(merged.models / "again.safetensors").metadata
    models = json.loads(metadata["sd_merge_models"])
    assert {entry["name"] for entry in models.values()} == {"M.safetensors", "A.safetensors", "B"}
    imported = recipe_from_metadata(metadata)
    assert imported is not None and imported.recipe.canonical().startswith('result = weighted_sum("M.safetensors [')
