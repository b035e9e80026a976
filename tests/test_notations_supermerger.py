"""SuperMerger's metadata, history rows and element lines become recipes, and what it would have done otherwise is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.errors import RecipeError
from lib_chilly.notations import read_recipe, recipe_from_metadata
from lib_chilly.recipe_text import parse_recipe

SHA = {"analog": "6ce0161689" + "a" * 54, "dream": "cc6cb27103" + "b" * 54, "v1-5": "1a189f0be6" + "c" * 54}
TITLES = {name: f'"{name} [{sha[:10]}]"' for name, sha in SHA.items()}
MODELS = {sha: {"name": name, "legacy_hash": sha[10:18]} for name, sha in SHA.items()}
HALVES = [0.5] * 12 + [0.25] + [0.1] * 12


def recipe(**changes: object) -> dict[str, object]:
    """What SuperMerger writes for a weighted sum of two models."""
    return {
        "type": "sd-webui-supermerger",
        "weights_alpha": None,
        "weights_beta": None,
        "weights_alpha_orig": None,
        "weights_beta_orig": None,
        "model_a": SHA["analog"],
        "model_b": SHA["dream"],
        "model_c": SHA["analog"],
        "base_alpha": 0.3,
        "base_beta": 0.25,
        "mode": "Weight sum",
        "mbw": False,
        "elemental_merge": "",
        "calcmode": "normal",
        "Off": [""],
        **changes,
    }


def metadata(**changes: object) -> dict[str, object]:
    return {"format": "pt", "sd_merge_recipe": json.dumps(recipe(**changes)), "sd_merge_models": json.dumps(MODELS)}


def step(found: Mapping[str, object]) -> str:
    """The one step that metadata come to, without its name."""
    imported = recipe_from_metadata(found)
    assert imported is not None and imported.notation == "SuperMerger's metadata"
    assert read_recipe(imported.recipe.canonical()) == imported.recipe == parse_recipe(imported.recipe.canonical())
    (line,) = imported.recipe.canonical().splitlines()
    return line.removeprefix("result = ")


A, B, C = TITLES.values()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"weighted_sum({A}, {B}, alpha=0.3)"),
        ({"mode": "Weight sum:A*(1-alpha)+B*alpha"}, f"weighted_sum({A}, {B}, alpha=0.3)"),
        ({"mode": "Add difference", "model_c": SHA["v1-5"], "base_alpha": 1}, f"add_difference({A}, {B}, {C}, alpha=1)"),
        ({"mode": "Triple sum", "model_c": SHA["v1-5"]}, f"triple_sum({A}, {B}, {C}, alpha=0.3, beta=0.25)"),
        ({"mode": "sum Twice", "model_c": SHA["v1-5"]}, f"sum_twice({A}, {B}, {C}, alpha=0.3, beta=0.25)"),
        ({"base_alpha": "-0.25"}, f"weighted_sum({A}, {B}, alpha=-0.25)"),
    ],
)
def test_each_mode_of_the_metadata_becomes_its_method(changes: dict, expected: str):
    assert step(metadata(**changes)) == expected


def test_block_weights_are_one_list_with_the_base_first():
    numbers = ", ".join(["0.3", *map(str, HALVES)])
    assert step(metadata(mbw=True, weights_alpha=HALVES)) == f"weighted_sum({A}, {B}, alpha=[{numbers}])"


def test_block_weights_of_sdxl_lose_the_number_that_nothing_reads():
    found = step(metadata(mbw=True, weights_alpha=[0.5] * 19 + [0]))
    assert found == f"weighted_sum({A}, {B}, alpha=[0.3, {', '.join(['0.5'] * 19)}])"


def test_beta_has_block_weights_of_its_own():
    found = step(metadata(mode="sum Twice", model_c=SHA["v1-5"], mbw=True, weights_alpha=[0.5] * 25, weights_beta=[1] * 25))
    halves, ones = ", ".join(["0.3", *["0.5"] * 25]), ", ".join(["0.25", *["1"] * 25])
    assert found == f"sum_twice({A}, {B}, {C}, alpha=[{halves}], beta=[{ones}])"


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        ("IN04-IN08:attn2:0.6", "IN04-IN08/attn2: 0.6"),
        ("IN04 - IN08:attn2:0.6", None),
        ("IN08-IN04:attn2:0.6", "IN04-IN08/attn2: 0.6"),
        (":attn2:1", "attn2: 1"),
        (":attn:0.5", "*/*attn*: 0.5"),
        (
            "OUT03 OUT04 OUT05:attn2 attn1.to_out:0.5",
            "OUT03-OUT05/attn2: 0.5, OUT03-OUT05/*attn1.to_out*: 0.5",
        ),
        ("OUT06:attn:0.5,OUT06:attn2.to_k:0.2", "OUT06/*attn*: 0.5, OUT06/*attn2.to_k*: 0.2"),
        ("OUT06:attn:0.5\nBASE::0.2\n", "OUT06/*attn*: 0.5, BASE: 0.2"),
        ("IN00 OUT11::1", "IN00: 1, OUT11: 1, TIME: 1, FINAL: 1"),
        ("NOT OUT04:attn2:1", None),
        ("M00 BASE IN11:bias:0", "BASE/*bias*: 0, IN11-M00/*bias*: 0"),
        ("NOT IN00-OUT10::1", "BASE: 1, OUT11: 1, FINAL: 1"),
        ("IN00:time_embed.0:1", "TIME/*time_embed.0*: 1"),
        ("OUT00:attn2:1", "OUT00/attn2: 1"),
    ],
)
def test_element_lines_become_rules(lines: str, rules: str | None):
    if rules is None and lines.startswith("NOT"):
        rules = "IN00-OUT03/attn2: 1, OUT05-OUT11/attn2: 1"
    if rules is None:
        with pytest.raises(RecipeError, match=r"range|block"):
            step(metadata(elemental_merge=lines))
        return
    expected = f"weighted_sum({A}, {B}, alpha={{*: 0.3, {rules}}})"
    assert step(metadata(elemental_merge=lines)) == expected
    assert step(metadata(elemental_merge=lines.replace("\n", ",").split(","))) == expected


def test_element_lines_stand_behind_block_weights():
    found = step(metadata(mbw=True, weights_alpha=HALVES, elemental_merge="IN04:attn2:0.6"))
    assert found.endswith("0.1], IN04/attn2: 0.6})") and "alpha={*: [0.3, 0.5, " in found


def test_on_sdxl_the_first_block_holds_label_and_the_last_is_out08():
    found = step(metadata(mbw=True, weights_alpha=[0.5] * 20, elemental_merge="IN00 OUT08::1"))
    assert found.endswith("IN00: 1, OUT08: 1, TIME: 1, LABEL: 1, FINAL: 1})")


def notes(**changes: object) -> str:
    imported = recipe_from_metadata(metadata(**changes))
    assert imported is not None and imported.notes == imported.recipe.notes
    return " ".join(imported.notes)


def test_notes_say_which_keys_the_original_would_have_kept():
    said = notes()
    assert said.startswith("The recipe was read from SuperMerger's metadata.")
    assert "kept A's text_projection, positional_embedding and logit_scale" in said and "Adjust" in said and "fp16" in said


def test_notes_on_elements_say_what_is_matched_otherwise():
    assert "shifted" not in notes() and "SD 1.x's" not in notes()
    assert "On SDXL, IN00 is LABEL" in notes(elemental_merge="IN00::1")
    assert "shifted" in notes(mbw=True, weights_alpha=[0.5] * 20, elemental_merge="M00::1")
    assert "'ff' stands in 'model.diffusion_model.'" in notes(elemental_merge="IN04:ff:1")
    assert "'IN00:attn2:1' matches no key, there as here" in notes(elemental_merge="IN00:attn2:1")
    assert "'OUT00:attn2:1' matches no key" in notes(mbw=True, weights_alpha=HALVES, elemental_merge="OUT00:attn2:1")
    assert "'IN04:attn2' is no Blocks:Elements:Ratio line" in notes(elemental_merge="IN04:attn2")


def test_excluded_blocks_and_elements_keep_the_first_model_in_every_parameter():
    found = step(metadata(mode="Triple sum", model_c=SHA["v1-5"], Exclude=["IN04", "VAE", "print", "attn2"]))
    rules = "IN04: 0, VAE: 0, */*attn2*: 0"
    assert found == f"triple_sum({A}, {B}, {C}, alpha={{*: 0.3, {rules}}}, beta={{*: 0.25, {rules}}})"


def test_only_included_blocks_take_part():
    assert step(metadata(Include=["OUT03", "OUT04"])) == f"weighted_sum({A}, {B}, alpha={{*: 0, OUT03: 0.3, OUT04: 0.3}})"
    assert step(metadata(Include=["attn2", "absent"])) == f"weighted_sum({A}, {B}, alpha={{*: 0, */*attn2*: 0.3}})"
    assert step(metadata(Include=["print"])) == f"weighted_sum({A}, {B}, alpha=0)"
    assert step(metadata(Include=[""])) == f"weighted_sum({A}, {B}, alpha=0.3)"
    found = step(metadata(Include=["BASE", "M00"], mbw=True, weights_alpha=HALVES))
    assert found == f"weighted_sum({A}, {B}, alpha={{*: 0, BASE: 0.3, M00: 0.25}})"


def test_metadata_encoded_twice_or_parsed_already_are_read():
    once = metadata()
    twice = {name: json.dumps(value) for name, value in once.items()}
    parsed = {"sd_merge_recipe": recipe(), "sd_merge_models": MODELS}
    assert step(once) == step(twice) == step(parsed)


def test_metadata_pasted_as_text_are_a_recipe():
    text = json.dumps(metadata(), indent=2)
    assert read_recipe(text) == read_recipe("\ufeff" + text) == recipe_from_metadata(metadata()).recipe
    assert "from SuperMerger's metadata" in read_recipe(text).notes[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calcmode": "cosineA"}, "SuperMerger's calculation 'cosineA' is not read here"),
        ({"calcmode": "trainDifference", "mode": "Add difference"}, "calculation 'trainDifference'"),
        ({"mode": "Mean"}, "mode 'Mean'"),
        ({"mode": 7}, "names no mode, such as 'Weight sum'"),
        ({"mode": None}, "names no mode"),
        ({"calcmode": ["normal"]}, "names no calculation, such as 'normal'"),
        ({"model_b": None}, "does not name model B"),
        ({"model_b": "f" * 64}, "does not name model B"),
        ({"model_b": {"a": 1}}, "does not name model B"),
        ({"base_alpha": "R"}, "a random weight"),
        ({"base_alpha": float("nan")}, "a number between -1000 and 1000"),
        ({"base_alpha": True}, "base_alpha is missing or no number"),
        ({"base_alpha": "1e400000000"}, "a number between"),
        ({"mbw": True, "weights_alpha": [0.5, "U"]}, "number 2 of weights_alpha is 'U', a random weight"),
        ({"mbw": True, "weights_alpha": 5}, "weights_alpha is no list"),
        ({"mbw": True, "weights_alpha": [0.5] * 100_000}, "weights_alpha is no list"),
        ({"mode": "Triple sum", "base_beta": None}, "does not say beta"),
        ({"elemental_merge": 3}, "no text"),
        ({"elemental_merge": "IN04:NOT attn:1"}, "NOT of elements"),
        ({"elemental_merge": "IN12:attn:1"}, "names the block 'IN12'"),
        ({"elemental_merge": "IN04:a(t:1"}, "is no part of a key's name"),
        ({"elemental_merge": "IN04:attn:R"}, "a random weight"),
        ({"elemental_merge": "IN04:attn:1," * 400}, "400 element lines"),
        ({"Include": ["attn2"], "mbw": True, "weights_alpha": HALVES}, "Include"),
        ({"Exclude": ["a}b"]}, "'a}b' is neither a block nor a part"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_that_names_the_notation(changes: dict, said: str):
    with pytest.raises(RecipeError) as caught:
        recipe_from_metadata(metadata(**changes))
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for SuperMerger's metadata: ")


@pytest.mark.parametrize("models", [None, "", "[]", "{}", 3, [1, 2], {SHA["analog"]: 4, SHA["dream"]: {"name": None}}])
def test_models_that_have_no_names_are_refused(models: object):
    with pytest.raises(RecipeError, match=r"does not name model A|no JSON"):
        recipe_from_metadata({**metadata(), "sd_merge_models": models})


def test_hash_that_is_a_lie_is_left_out():
    models = {"not a hash": {"name": "analog"}, SHA["dream"]: {"name": "dream"}}
    found = {"sd_merge_recipe": recipe(model_a="not a hash"), "sd_merge_models": models}
    assert step(found) == f"weighted_sum(analog, {B}, alpha=0.3)"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "x" * 301, "", "None"])
def test_name_that_no_file_can_have_is_refused(name: str):
    models = {**MODELS, SHA["dream"]: {"name": name}}
    with pytest.raises(RecipeError, match="name"):
        recipe_from_metadata({"sd_merge_recipe": recipe(), "sd_merge_models": models})


NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).filter(
    lambda name: name.strip() == name and name.isprintable() and name != "None"
)
WEIGHTS = st.integers(-2000, 2000).map(lambda thousandths: thousandths / 1000)


@given(names=st.tuples(NAMES, NAMES), weights=st.lists(WEIGHTS, min_size=26, max_size=26))
def test_any_names_and_weights_come_back_out_of_the_canonical_text(names: tuple[str, str], weights: list[float]):
    models = {sha: {"name": name} for sha, name in zip(SHA.values(), names, strict=False)}
    found = {"sd_merge_recipe": recipe(mbw=True, base_alpha=weights[0], weights_alpha=weights[1:]), "sd_merge_models": models}
    imported = recipe_from_metadata(found)
    assert imported is not None
    again = read_recipe(imported.recipe.canonical())
    assert again == imported.recipe
    (call,) = again.calls()
    assert len(call.operands) == 2
    from lib_chilly.recipe_check import Checker

    assert Checker.of(again).weights(call.parameters[0][1]).default == tuple(Fraction(repr(weight)) for weight in weights)


def row(formula: str, *rest: object) -> str:
    """A line of mergehistory.csv as csv.writer writes it, with the columns up to `use MBW` first."""
    text = io.StringIO()
    csv.writer(text).writerow([7, "2024.03.01 12.30.45", formula, *rest])
    return text.getvalue()


HEADINGS = (
    '"ID","time","name","weights alpha","weights beta","model A","model B","model C","alpha","beta","mode","use MBW",'
    '"plus lora","custum name","save setting","use ID"\n'
)
WEIGHT_SUM = "Weight sum:A*(1-alpha)+B*alpha"


def plain(alpha: float = 0.3, *tail: object) -> str:
    formula = f"analog x {round(1 - alpha, 3)} + dream v2 x {round(alpha, 3)}"
    return row(formula, "", "", "6ce0161689", "cc6cb27103", "6ce0161689", alpha, 0.25, WEIGHT_SUM, False, *tail)


def test_row_of_the_history_is_a_recipe_with_names_from_its_formula():
    tail = ("my mix", "['save model', 'fp16', 'Reset CLIP ids']", "[]", "", "normal", 0, "", 0.3, "Off", "[]", "")
    expected = (
        'result = weighted_sum("analog [6ce0161689]", "dream v2 [cc6cb27103]", alpha=0.3)\n'
        'save(dtype=fp16, position_ids=rebuild, title="my mix")\n'
    )
    assert read_recipe(plain(0.3, *tail)).canonical() == read_recipe(HEADINGS + plain(0.3, *tail)).canonical() == expected
    assert read_recipe(plain()).canonical().endswith("save(dtype=source)\n")
    assert read_recipe(plain(0.3, *tail)).notes[0] == "The recipe was read from a row of SuperMerger's history."


@pytest.mark.parametrize(
    ("formula", "mode", "mbw", "expected"),
    [
        ("a-1 + (b -  c.2) x 0.3", "Add difference:A+(B-C)*alpha", False, "add_difference(a-1, b, c.2, alpha=0.3)"),
        ("a x 0.45 + b x 0.3 + c x 0.25", "Triple sum", False, "triple_sum(a, b, c, alpha=0.3, beta=0.25)"),
        ("(a x 0.7 +b x 0.3) x 0.75 + c x 0.25", "sum Twice", False, "sum_twice(a, b, c, alpha=0.3, beta=0.25)"),
        ("a x (1-alpha) + b x alpha (0.1,0.1)", "Weight sum", True, "weighted_sum(a, b, alpha=[A])"),
        ("a + (b - c) x alpha (0.1,0.1)", "Add difference", True, "add_difference(a, b, c, alpha=[A])"),
        (
            "a x (1-alpha-beta) + b x alpha + c x beta (alpha = 0.1,0.1,beta = 0.25,0.2)",
            "Triple sum",
            True,
            "triple_sum(a, b, c, alpha=[A], beta=[B])",
        ),
        (
            "(a x (1-alpha) + b x alpha)x(1-beta)+  c x beta (0.1,0.1)_(0.2,0.2)",
            "sum Twice",
            True,
            "sum_twice(a, b, c, alpha=[A], beta=[B])",
        ),
    ],
)
def test_every_formula_of_the_history_gives_its_models_names(formula: str, mode: str, mbw: bool, expected: str):
    lists = [",".join(["0.1"] * 26), ",".join(["0.2"] * 26)] if mbw else ["", ""]
    text = row(formula, *lists, "", "", "", 0.3, 0.25, mode, mbw)
    expected = expected.replace("[A]", f"[{', '.join(['0.1'] * 26)}]").replace("[B]", f"[{', '.join(['0.2'] * 26)}]")
    assert read_recipe(text).canonical().splitlines()[0] == f"result = {expected}"


def test_elements_and_excluded_blocks_of_a_row_become_rules():
    tail = ("", "[]", "[]", "IN04:attn2:0.6,IN05:attn1:0.2", "normal", 0, "0,0,0", 0.3, "Exclude", "['M00', 'VAE']", "")
    rules = "IN04/attn2: 0.6, IN05/attn1: 0.2, M00: 0, VAE: 0"
    assert f"alpha={{*: 0.3, {rules}}}" in read_recipe(plain(0.3, *tail)).canonical()


@pytest.mark.parametrize(
    ("adjust", "choice", "chosen", "expected"),
    [
        ("1,2,0,0", "Off", "", "IN=1, OUT=2"),
        (
            "1,-2.5,3,4,5,6,7,8,9",
            "Off",
            "",
            "IN=1, OUT=-2.5, OUT2=3, contrast=4, brightness=5, cyan_red=6, magenta_green=7, yellow_blue=8",
        ),
        ("0,0,0,10", "Off", "", "contrast=10"),
        ("0,0,0,0,0,0,0,0", "Off", "", None),
        ("3", "Off", "", None),
        ("", "Off", "", None),
        ("1,2,0,0", "Exclude", "IN00", "OUT=2"),
        ("1,2,3,4", "Exclude", "OUT11", "IN=1"),
        ("1,2,0,0", "Exclude", "Adjust", None),
        ("1,2,0,4", "Exclude", "out.2", "IN=1, OUT=2"),
        ("1,2,0,0", "Include", "M00", None),
        ("1,2,0,0", "Include", "Adjust", "IN=1, OUT=2"),
    ],
)
def test_adjust_of_a_row_is_the_last_step_where_its_tensors_took_part(
    adjust: str, choice: str, chosen: str, expected: str | None
):
    tail = ("", "[]", "[]", "", "normal", 0, adjust, 0.3, choice, f"['{chosen}']", "")
    found = read_recipe(plain(0.3, *tail))
    last = found.canonical().splitlines()[-2]
    assert last == f"result = adjust(STEP1, {expected})" if expected else last.startswith("result = weighted_sum(")
    assert any("has no comma" in note for note in found.notes) == (adjust == "3")


def test_adjust_among_excluded_and_included_blocks_means_its_tensors():
    layers = "model.diffusion_model.input_blocks.0.0.*: {}, model.diffusion_model.out.0.*: {}, model.diffusion_model.out.2.*: {}"
    assert step(metadata(Exclude=["Adjust"])) == f"weighted_sum({A}, {B}, alpha={{*: 0.3, {layers.format(0, 0, 0)}}})"
    found = step(metadata(Include=["Adjust"], mbw=True, weights_alpha=HALVES))
    assert found == f"weighted_sum({A}, {B}, alpha={{*: 0, {layers.format(0.5, 0.1, 0.1)}}})"


ALONE = "*/*to_out*: 1, */*proj_out*: 1, */*norm*: 1"


def test_self_is_the_first_model_times_a_number_that_0_leaves_alone():
    assert step(metadata(calcmode="self", base_alpha=1.1)) == f"free_sum({A}, alpha={{*: 1.1, {ALONE}}})"
    assert step(metadata(calcmode="self", base_alpha=0)) == f"free_sum({A}, alpha={{*: 1, {ALONE}}})"
    found = step(
        metadata(calcmode="self", mbw=True, weights_alpha=[0, *[0.9] * 24], elemental_merge="IN04:attn2:0", Exclude=["M00"])
    )
    numbers = ", ".join(["0.3", "1", *["0.9"] * 24])
    assert found == f"free_sum({A}, alpha={{*: [{numbers}], IN04/attn2: 1, M00: 1, {ALONE}}})"
    found = step(metadata(calcmode="self", mode="Add difference", Include=["OUT03"], base_alpha=0.9))
    assert found == f"free_sum({A}, alpha={{*: 1, OUT03: 0.9, {ALONE}}})"
    text = plain().replace("dream v2 x 0.3", "dream v2 x 0.3_self").rstrip("\r\n") + ',,[],[],,self,0,"1,0"\r\n'
    first, last, _ = read_recipe(text).canonical().splitlines()
    assert (
        first == f'STEP1 = free_sum("analog [6ce0161689]", alpha={{*: 0.3, {ALONE}}})' and last == "result = adjust(STEP1, IN=1)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADINGS, "here are 0 rows"),
        (plain() * 2, "here are 2 rows"),
        ("7,2024.03.01 12.30.45,a x 0.7 + b x 0.3\n", "the row has 3 columns"),
        (row("a + b", "", "", "", "", "", 0.3, 0, WEIGHT_SUM, False), "the models' names cannot be told apart"),
        (row("a x 0.7 + b x 0.7 + c x 0.3", "", "", "", "", "", 0.3, 0, WEIGHT_SUM, False), "cannot be told apart"),
        (row("a x 0.7 + b x 0.3", "", "", "", "", "", "R", 0, WEIGHT_SUM, False), "alpha is 'R', a random weight"),
        (plain(0.3, "", "[]", "[]", "", "tensor"), "calculation 'tensor'"),
    ],
)
def test_row_that_cannot_be_read_is_one_sentence(text: str, said: str):
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for a row of SuperMerger's history: ")


PLAIN_NAMES = st.text("abcXYZ019._-é漢", min_size=1, max_size=12).filter(lambda name: name.strip() == name)


@given(names=st.tuples(PLAIN_NAMES, PLAIN_NAMES, PLAIN_NAMES), alpha=WEIGHTS, beta=WEIGHTS)
def test_any_row_of_a_triple_sum_comes_back(names: Sequence[str], alpha: float, beta: float):
    a, b, c = names
    formula = f"{a} x {round(1 - alpha - beta, 3)} + {b} x {round(alpha, 3)} + {c} x {round(beta, 3)}"
    found = read_recipe(row(formula, "", "", "", "", "", alpha, beta, "Triple sum", False))
    assert [model.name for model in found.models()] == list(names)
    assert read_recipe(found.canonical()) == found


def test_element_lines_alone_are_answered_with_their_translation():
    with pytest.raises(RecipeError) as caught:
        read_recipe("IN04-IN08:attn2:0.6\nOUT06::0.2")
    assert "Write weighted_sum(A, B, alpha={*: 0.5, IN04-IN08/attn2: 0.6, OUT06: 0.2})" in str(caught.value)
