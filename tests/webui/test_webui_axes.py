"""Our axes in the webui's X/Y/Z plot: every cell is of its own merge, each merge is made once."""

from __future__ import annotations

import base64
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from drawing import ALPHA, MODEL_B, PARAMETER, PRESET, drawn, recipe_in, unchanged
from house import Double, House
from samples import MIX
from webuis import Webui, pixels

pytestmark = pytest.mark.timeout(900)


def test_axes_are_there_once_however_often_they_are_registered(webui: House):
    labels = [label for label in webui.call("axes") if "ChillyMerge" in label]
    assert len(labels) == len(set(labels)) > 10 and {ALPHA, PRESET, PARAMETER, MODEL_B} <= set(labels)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.12345678, "0.12345678"), (1234567.0, "1234567"), (0.1 + 0.2, "0.3"), (-1.0, "-1"), (1e-8, "0.00000001")],
)
def test_number_beside_a_cell_is_the_one_that_is_merged(double: Double, value: float, said: str):
    assert double.call("changes.axis_label", "alpha", value) == f"alpha: {said}"


def test_cell_of_alpha_and_preset_is_the_picture_of_its_recipe_by_itself(webui: House):
    before, plain = webui.call("state"), webui.call("plain")
    grid = drawn(webui, [ALPHA, "0.25,1"], [PRESET, ["GRAD_V", "MID12_50"]], recipe=MIX)
    assert grid["built"] == len(set(grid["pictures"])) == 4 and unchanged(grid) == unchanged(before)
    recipes = [recipe_in(infotext) for infotext in grid["infotexts"]]
    assert recipes[1].startswith('M = weighted_sum(A, B, alpha=preset("GRAD_V"))')
    assert recipes[2].startswith("M = weighted_sum(A, B, alpha=[0, 0, 0, 0, 0, 0, 0.125,")
    assert [webui.call("preview", recipe)["picture"] for recipe in recipes] == grid["pictures"]
    assert webui.call("plain")["picture"] == plain["picture"]


def test_each_merge_is_made_once_whatever_the_order_of_the_axes(webui: House):
    axes = {"a": [ALPHA, "0.2,0.6"], "p": [PRESET, ["GRAD_V", "MID12_50"]], "s": ["Seed", "1,2"]}
    found = {}
    for order in itertools.permutations(axes):
        grid = drawn(webui, *(axes[name] for name in order), recipe=MIX)
        assert grid["built"] == 4, order
        for number, picture in enumerate(grid["pictures"]):
            places = dict(zip(order, (number % 2, number // 2 % 2, number // 4), strict=True))
            found.setdefault(tuple(sorted(places.items())), set()).add(picture)
    assert [len(pictures) for pictures in found.values()] == [1] * 8 and len(set.union(*found.values())) == 8


@pytest.mark.parametrize(
    ("alphas", "presets", "distinct"),
    [("0,1", ["GRAD_V", "MID12_50", "FLAT_25"], 4), ("0.9,0.3", ["FLAT_25", "FLAT_75"], 3)],
    ids=["one beside the other", "others between them"],
)
def test_cells_with_the_same_merge_share_it(webui: House, alphas: str, presets: list[str], distinct: int):
    axes = [ALPHA, alphas], [PRESET, presets]
    for order in (axes, axes[::-1]):
        grid = drawn(webui, *order, recipe=MIX)
        assert grid["built"] == distinct == len(set(grid["pictures"])) == len(set(map(recipe_in, grid["infotexts"])))
        assert len(grid["held"]) == 1, "nothing is put aside when the grid has ended"


def test_axes_of_addresses_set_steps_lanes_and_constants(webui: House):
    text = "ratio = 0.5\nX = weighted_sum(A, B, alpha=ratio)\nM = weighted_sum(X, A)"
    lanes, constants = [PARAMETER, "X.alpha.IN04 = 0-1 [2]"], [f"{PARAMETER}, a second", "ratio = 0.25; M.alpha = GRAD_V"]
    grid = drawn(webui, lanes, None, constants, recipe=text)
    assert [recipe_in(infotext).splitlines()[:3] for infotext in grid["infotexts"]] == [
        ["ratio = 0.25", "X = weighted_sum(A, B, alpha={*: ratio, IN04: 0})", "M = weighted_sum(X, A)"],
        ["ratio = 0.25", "X = weighted_sum(A, B, alpha={*: ratio, IN04: 1})", "M = weighted_sum(X, A)"],
        ["ratio = 0.5", "X = weighted_sum(A, B, alpha={*: ratio, IN04: 0})", 'M = weighted_sum(X, A, alpha=preset("GRAD_V"))'],
        ["ratio = 0.5", "X = weighted_sum(A, B, alpha={*: ratio, IN04: 1})", 'M = weighted_sum(X, A, alpha=preset("GRAD_V"))'],
    ]
    assert len(set(grid["pictures"])) == 4


@pytest.mark.parametrize("values", ["0-1 (+0.4)", "0.1-0.3 (+0.1)", "1-0 (-0.5)", "0-1", "0-1 [4]", "0.15, 0-0.4(+0.2)"])
def test_ranges_of_a_number_are_those_of_the_webui_also_behind_an_address(webui: House, values: str):
    of_webui, behind = (drawn(webui, axis, recipe=MIX, steps=1) for axis in ([ALPHA, values], [PARAMETER, f"alpha = {values}"]))
    recipes = [[recipe_in(infotext) for infotext in grid["infotexts"]] for grid in (of_webui, behind)]
    assert recipes[0] == recipes[1] and len(set(recipes[0])) > 1
    assert of_webui["pictures"] == behind["pictures"]


def test_recipes_methods_and_models_are_axes(webui: House):
    recipes = ["[ChillyMerge] recipe", ["X = weighted_sum(A, B, alpha=0.2)", "Y = weighted_sum(B, A, alpha=0.1)"]]
    grid = drawn(webui, recipes, ["[ChillyMerge] method", ["weighted_sum", "mean"]])
    lines = [recipe_in(infotext).splitlines()[0] for infotext in grid["infotexts"]]
    assert lines == [*recipes[1], "X = mean(A, B)", "Y = mean(B, A)"]
    models = drawn(webui, [MODEL_B, ["A.safetensors", "B"]], recipe=MIX)
    assert models["pictures"][0] == webui.call("plain")["picture"] != models["pictures"][1]
    random = drawn(webui, ["[ChillyMerge] seed of random weights", "1-3"], recipe="M = weighted_sum(A, B, alpha=R)")
    assert len(set(random["pictures"])) == 3


def test_density_and_the_strength_of_a_lora_are_axes(webui: House):
    axes = ["[ChillyMerge] density", "0.2,0.9"], ["[ChillyMerge] LoRA strength", "0,1"]
    grid = drawn(webui, *axes, recipe="L = lora(grain)\nM = ties(B, base=A, density=0.5) + L")
    recipes = [recipe_in(infotext) for infotext in grid["infotexts"]]
    assert [recipe.splitlines()[:2] for recipe in recipes] == [
        [f"L = lora(grain, scale={scale})", f"M = ties(B, base=A, density={density}) + L"]
        for scale in (0, 1)
        for density in (0.2, 0.9)
    ]
    assert grid["built"] == len(set(grid["pictures"])) == 4
    assert [webui.call("preview", recipe)["picture"] for recipe in recipes] == grid["pictures"]


def test_cells_of_rules_and_of_a_second_parameter_are_the_pictures_of_their_recipes(webui: House):
    rules = ["[ChillyMerge] block weights", "OUT*: 0.8, attn2: 1; IN04-IN08:attn2:0.6"]
    grid = drawn(webui, rules, ["[ChillyMerge] beta", "0.1,0.6"], recipe="M = sum_twice(A, B, A, alpha=0.3)")
    recipes = [recipe_in(infotext) for infotext in grid["infotexts"]]
    assert [recipe.splitlines()[0] for recipe in recipes] == [
        f"M = sum_twice(A, B, A, alpha={{{rule}}}, beta={beta})"
        for beta in (0.1, 0.6)
        for rule in ("OUT*: 0.8, attn2: 1", "IN04-IN08/attn2: 0.6")
    ]
    assert len(set(grid["pictures"])) == 4
    assert [webui.call("preview", recipe)["picture"] for recipe in recipes] == grid["pictures"]


def test_axes_act_on_the_recipe_of_the_page_unless_the_request_brings_one(webui: House):
    webui.call("on_page", "P = weighted_sum(B, A, alpha=0.5)")
    grid = drawn(webui, [ALPHA, "0.2"])
    assert recipe_in(grid["infotexts"][0]).startswith("P = weighted_sum(B, A, alpha=0.2)")
    assert recipe_in(drawn(webui, [ALPHA, "0.2"], recipe=MIX)["infotexts"][0]).startswith("M = ")
    webui.call("on_page", "")
    assert "there is no recipe" in webui.call("grid", [ALPHA, "0.2"])["error"]


def test_refiner_beside_our_axis_sees_each_merge_once(webui: House):
    alone = drawn(webui, [ALPHA, "0.1,0.9"], recipe=MIX)
    axes = [ALPHA, "0.1,0.9"], ["Refiner checkpoint", ["A.safetensors", "B.safetensors"]]
    refined = drawn(webui, *axes, recipe=MIX, refiner_switch_at=0.5)
    assert refined["built"] == 2 and len({*alone["pictures"], *refined["pictures"]}) == 6


def test_refresh_amid_a_grid_changes_no_cell_skip_ends_one_and_interrupt_all(webui: House):
    before = webui.call("state")
    undisturbed = drawn(webui, [ALPHA, "0.1,0.9"], recipe=MIX)
    assert drawn(webui, [ALPHA, "0.1,0.9"], recipe=MIX, amid="refresh")["pictures"] == undisturbed["pictures"]
    skipped = drawn(webui, [ALPHA, "0.5,0.1,0.9"], recipe=MIX, amid="skip")
    assert skipped["pictures"][1:] == undisturbed["pictures"] and skipped["built"] == 3
    stopped = drawn(webui, [ALPHA, "0.1,0.5,0.9"], recipe=MIX, amid="interrupt")
    assert stopped["built"] <= 1 and unchanged(webui.call("state")) == unchanged(before)
    assert drawn(webui, [ALPHA, "0.1,0.9"], recipe=MIX)["pictures"] == undisturbed["pictures"]


def test_grid_of_the_webui_s_own_axes_is_untouched(webui: House):
    plain = [webui.call("plain", seed=seed)["picture"] for seed in (1, 2)]
    grid = drawn(webui, ["Seed", "1,2"])
    assert grid["pictures"] == plain and grid["built"] == 0 and "ChillyMerge" not in grid["infotexts"][0]


def test_grid_of_img2img_is_of_the_merges(webui: House):
    before = webui.call("state")
    grid = drawn(webui, [ALPHA, "0.3,0.8"], ["Seed", "1,2"], recipe=MIX, from_picture=True)
    assert grid["built"] == 2 and len(set(grid["pictures"])) == 4 and unchanged(grid) == unchanged(before)
    assert recipe_in(grid["infotexts"][2]).splitlines()[0] == MIX
    webui.call("save", "from")
    try:
        of_file = drawn(webui, ["Seed", "1,2"], from_picture=True)
        assert of_file["pictures"] == [grid["pictures"][0], grid["pictures"][2]]
        assert webui.call("plain")["picture"] not in grid["pictures"]
    finally:
        webui.call("choose", "A")
        webui.call("remove", "from")


def test_recipes_of_different_architectures_each_have_the_list_of_their_own(double: Double):
    double.call("fresh")
    recipes = ["[ChillyMerge] recipe", [MIX, "X = weighted_sum(XL, XL)"]]
    grid = drawn(double, [PRESET, ["GRAD_V", "MID12_50"]], [ALPHA, "0.5,1"], recipes)
    lists = [recipe_in(infotext).partition("[")[2].partition("]")[0] for infotext in grid["infotexts"]]
    assert [len(each.split(", ")) if each else 0 for each in lists] == [26, 26, 0, 0, 20, 20, 0, 0]
    assert grid["built"] == 8 and grid["loaded"].startswith("A.safetensors")


def test_grid_through_the_api_has_its_recipes_and_a_request_may_bring_one_without_a_grid(real: Webui):
    real.call("fresh")
    scripts = real.get("sdapi/v1/script-info")
    labels = next(each["args"][0]["choices"] for each in scripts if each["name"] == "x/y/z plot" and not each["is_img2img"])
    args = [labels.index(ALPHA), "0.2,0.8", [], 0, "", [], 0, "", [], False, True, False, False, False, False, False, 0, False]
    asked = {"prompt": "a dog", "seed": 1, "steps": 3, "width": 64, "height": 64, "sampler_name": "Euler"}
    ours = {"alwayson_scripts": {"ChillyMerge": {"args": [MIX]}}}
    grid = real.post("sdapi/v1/txt2img", script_name="x/y/z plot", script_args=args, **asked, **ours)
    infotexts = json.loads(grid["info"])["infotexts"]
    assert [recipe_in(text).split("\n")[0] for text in infotexts[1:]] == [MIX.replace("0.3", "0.2"), MIX.replace("0.3", "0.8")]
    alone = real.post("sdapi/v1/txt2img", **asked, alwayson_scripts={"ChillyMerge": {"args": [MIX.replace("0.3", "0.8")]}})
    cells = [pixels(base64.b64decode(picture)) for picture in grid["images"][1:]]
    assert pixels(base64.b64decode(alone["images"][0])) == cells[1] != cells[0]
    assert recipe_in(json.loads(alone["info"])["infotexts"][0]) == recipe_in(infotexts[2])
    plain = real.post("sdapi/v1/txt2img", **asked)
    assert "ChillyMerge" not in plain["info"]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda more: real.post("sdapi/v1/txt2img", **asked, **more), ({}, ours)))
    assert both[0]["images"] == plain["images"] != both[1]["images"]


def test_loop_over_what_changes_all_of_the_merge_is_the_outer_one_whichever_axis_it_is(double: Double):
    lane, whole = "M.alpha.M00 = 0.1, 0.5, 0.9", "ratio = 0.2, 0.4, 0.6"
    text = "ratio = 0.5\nM = weighted_sum(A, B, alpha=ratio)"
    moved, pictures = set(), set()
    for first, second in ((lane, whole), (whole, lane)):
        double.call("fresh")
        grid = drawn(double, [PARAMETER, first], [f"{PARAMETER}, a second", second], recipe=text)
        moved.add(grid["moved"])
        pictures.add(tuple(sorted(grid["pictures"])))
    one = drawn(double, [PARAMETER, lane], recipe=text.replace("0.5", "0.6"))
    assert len(pictures) == len(moved) == 1 and len(*pictures) == 9
    assert one["built"] == 3 and 0 < one["moved"] < moved.pop() / 3, "each ratio is merged once, beside it a block alone"
