"""A value that cannot be stops a grid before its first cell; a cell that fails says why, and the others are right."""

from __future__ import annotations

import pytest
from drawing import ALPHA, MODEL_B, PARAMETER, PRESET, drawn, failed, recipe_in, unchanged
from house import House
from samples import MIX

pytestmark = pytest.mark.timeout(900)


BAD = {
    "no such lane": ([PARAMETER, "alpha.IN04 = 0.1; alpha.IN99 = 0.1"], "Did you mean 'alpha.IN0"),
    "no such address": ([PARAMETER, "aplha = 0.1"], "Did you mean 'alpha'?"),
    "no such parameter": (["[ChillyMerge] beta", "0.1"], "there is no 'beta'"),
    "no such preset": ([PRESET, ["GRAD_V", "GRAD_W"]], "Did you mean 'GRAD_V'?"),
    "no such model": ([MODEL_B, ["B", "Q"]], "there is no model 'Q'"),
    "no such method": (["[ChillyMerge] method", ["mean", "mena"]], "Did you mean 'mean'?"),
    "no such recipe": (["[ChillyMerge] recipe", [MIX, "mine"]], "there is no recipe 'mine'"),
    "recipe that makes no sense": (["[ChillyMerge] recipe", [MIX, "M = weighted_sum(A)"]], "takes 2 models"),
    "list of another length": (["[ChillyMerge] block weights", "GRAD_V; 0, 1, 0.5"], "this one has 3"),
    "part of a model": (["[ChillyMerge] recipe", [MIX, "X = noVae"]], "has no whole VAE"),
    "no number": ([ALPHA, "0.1,nan"], "no number"),
    "no values": ([ALPHA, ""], "has no values"),
}


@pytest.mark.parametrize(("axis", "said"), BAD.values(), ids=BAD)
def test_bad_value_stops_before_the_first_cell(webui: House, axis: list, said: str):
    before = webui.call("state")
    for axes in ((axis, ["Seed", "1,2"]), (["Seed", "1,2"], None, axis)):
        failed = webui.call("grid", *axes, recipe=MIX)
        assert said in failed["error"] and failed["built"] == 0 and unchanged(failed) == unchanged(before)


def test_value_that_fits_no_other_axis_value_stops_before_the_first_cell(webui: House):
    failed = webui.call("grid", ["[ChillyMerge] beta", "0.1"], ["[ChillyMerge] method", ["sum_twice", "mean"]], recipe=MIX)
    assert "there is no 'beta'" in failed["error"] and failed["built"] == 0
    whole = drawn(webui, ["[ChillyMerge] beta", "0.1,0.2"], ["[ChillyMerge] method", ["sum_twice", "triple_sum"]], recipe=MIX)
    assert whole["built"] == 4 and recipe_in(whole["infotexts"][3]).startswith("M = triple_sum(A, B, A, alpha=0.3, beta=0.2)")


def test_cell_that_fails_is_black_with_its_reason_and_the_others_are_right(spoiled: House):
    before, plain = spoiled.call("state"), spoiled.call("plain")
    for names in (["B", "spoiled", "A"], ["spoiled", "B", "A"]):
        grid = drawn(spoiled, [MODEL_B, names], ["Seed", "1,2"], recipe=MIX)
        reasons = failed(grid)
        assert list(reasons) == [cell for cell in range(6) if names[cell % 3] == "spoiled"]
        assert all("'spoiled" in said and "NaN" in said for said in reasons.values())
        for number, name in enumerate(names):
            if name != "spoiled":
                single = spoiled.call("preview", MIX.replace("B", name), seed=2)
                assert grid["pictures"][number + 3] == single["picture"]
        assert unchanged(grid) == unchanged(before)
    assert plain["picture"] not in drawn(spoiled, [MODEL_B, ["spoiled"]], recipe=MIX)["pictures"]
    assert spoiled.call("plain")["picture"] == plain["picture"]


def test_cells_that_fail_on_several_sheets_each_have_their_reason(spoiled: House):
    names, rows = ["spoiled", "B", "A", "spoiled"], [ALPHA, "0.2,0.7"]
    grid = drawn(spoiled, ["Seed", "1,2"], rows, [MODEL_B, names], recipe=MIX)
    reasons = failed(grid)
    assert list(reasons) == [cell for cell in range(16) if names[cell // 4] == "spoiled"]
    assert all("NaN" in said for said in reasons.values())
    flat = drawn(spoiled, ["Seed", "1,2"], rows, recipe=MIX)
    assert grid["pictures"][4:8] == flat["pictures"]


def test_model_that_something_else_has_chosen_is_no_picture_of_a_merge(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    grid = drawn(webui, [ALPHA, "0.1,0.2"], ["Checkpoint name", [before["chosen"]]], recipe=MIX)
    assert list(failed(grid)) == [0, 1] and grid["built"] == 0
    assert all("is chosen for this picture" in said for said in failed(grid).values())
    assert plain["picture"] not in grid["pictures"] and unchanged(webui.call("state")) == unchanged(before)
    assert (
        "is chosen for this picture"
        in webui.call("grid", [ALPHA, "0.1"], recipe=MIX, override_settings={"sd_model_checkpoint": "B"})["error"]
    )
