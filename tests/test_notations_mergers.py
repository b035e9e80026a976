"""The webui's, model-mixer's and sd-mecha's recipes: read, said, written again; hostile ones are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.errors import RecipeError
from lib_chilly.notations import read_recipe, recipe_from_metadata
from lib_chilly.notations.metadata import LARGEST_JSON
from lib_chilly.recipe_text import parse_recipe

SHA = {"A.safetensors": "1" * 64, "sub/B.safetensors": "2" * 64, "C.ckpt": "3" * 64}
MODELS = {sha: {"name": name, "legacy_hash": "deadbeef", "sd_merge_recipe": None} for name, sha in SHA.items()}
ONE, TWO, THREE = (f'"{name} [{sha[:10]}]"' for name, sha in SHA.items())


def webui(**changes: object) -> dict[str, object]:
    recipe = {
        "type": "webui",
        "primary_model_hash": "1" * 64,
        "secondary_model_hash": "2" * 64,
        "tertiary_model_hash": "3" * 64,
        "interp_method": "Weighted sum",
        "multiplier": 0.3,
        "save_as_half": True,
        "custom_name": "",
        "config_source": 0,
        "bake_in_vae": "None",
        "discard_weights": "",
        "is_inpainting": False,
        "is_instruct_pix2pix": False,
        **changes,
    }
    return {"format": "pt", "sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(MODELS)}


def canonical(metadata: Mapping[str, object]) -> str:
    imported = recipe_from_metadata(metadata)
    assert imported is not None
    text = imported.recipe.canonical()
    assert parse_recipe(text) == read_recipe(text) == imported.recipe
    return text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"result = weighted_sum({ONE}, {TWO}, alpha=0.3)\nsave(dtype=fp16)\n"),
        (
            {"interp_method": "Add difference", "save_as_half": False, "custom_name": "my mix"},
            f'result = add_difference({ONE}, {TWO}, {THREE}, alpha=0.3)\nsave(dtype=source, title="my mix")\n',
        ),
        (
            {"interp_method": "No interpolation", "bake_in_vae": "ema.vae.pt", "secondary_model_hash": None},
            f"result = {ONE}\nsave(dtype=fp16, vae=ema.vae.pt)\n",
        ),
        ({"primary_model_hash": None}, f"result = weighted_sum({ONE}, {TWO}, alpha=0.3)\nsave(dtype=fp16)\n"),
    ],
)
def test_webui_merges_become_recipes(changes: dict, expected: str):
    assert canonical(webui(**changes)) == expected


def test_webui_notes_say_what_differs():
    imported = recipe_from_metadata(webui(discard_weights="^model_ema", primary_model_hash=None))
    assert imported is not None
    said = " ".join(imported.notes)
    assert "files' own dtype" in said and "'^model_ema'" in said and "the first of sd_merge_models" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interp_method": "Sigmoid"}, "no method here for 'Sigmoid'"),
        ({"interp_method": None}, "it names no method; the webui has"),
        ({"multiplier": None}, "the multiplier is missing or no number"),
        ({"secondary_model_hash": None}, "does not name the secondary model"),
        ({"secondary_model_hash": "4" * 64}, "does not name the secondary model"),
    ],
)
def test_webui_metadata_that_cannot_be_read_are_one_sentence(changes: dict, said: str):
    with pytest.raises(RecipeError) as caught:
        recipe_from_metadata(webui(**changes))
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for the webui's metadata: ")


INFOTEXT = """\
a cat, (masterpiece:1.2)
Negative prompt: low quality
Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: mix, \
ModelMixer model a: A.safetensors [1111111111], ModelMixer max models: 3, ModelMixer base model: v1-5-pruned.ckpt, \
ModelMixer use model b: True, ModelMixer model b: "B, the second.safetensors [2222222222]", ModelMixer merge mode b: Sum, \
ModelMixer alpha b: 0.4, ModelMixer mbw mode b: False, ModelMixer use elemental b: False, ModelMixer calcmode b: Normal, \
ModelMixer use model c: True, ModelMixer model c: C.ckpt, ModelMixer merge mode c: Add-Diff, ModelMixer alpha c: 1, \
ModelMixer mbw mode c: True, ModelMixer use elemental c: True, ModelMixer calcmode c: Normal, \
ModelMixer mbw c: "BASE,INP*,MID,OUT*", \
ModelMixer mbw weights c: "0,1,1,1,1,1,1,1,1,1,1,1,1,0.5,0,0,0,0,0,0,0,0,0,0,0,0.25", \
ModelMixer elemental c: "IN04:attn2:0.6,:time_embed:0.1", ModelMixer use model d: False, ModelMixer model d: None, Version: 1
"""
NUMBERS = "0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.25"
RULES = "TIME: 0.25, FINAL: 0.25, IN04/attn2: 0.6, TIME/*time_embed*: 0.1, VAE: 0"


def test_infotext_of_model_mixer_is_a_step_for_each_model():
    recipe = read_recipe(INFOTEXT)
    assert recipe.canonical() == (
        'STEP1 = weighted_sum("A.safetensors [1111111111]", "B, the second.safetensors [2222222222]", alpha=0.4)\n'
        f"result = add_difference(STEP1, C.ckpt, v1-5-pruned.ckpt, alpha={{*: [{NUMBERS}], {RULES}}})\n"
    )
    assert read_recipe(recipe.canonical()) == recipe
    assert recipe.notes[0] == "The recipe was read from model-mixer's infotext."
    assert "TIME and FINAL take the last block's number" in " ".join(recipe.notes)
    assert read_recipe(INFOTEXT.replace(", ModelMixer", "\nModelMixer")) == recipe


def infotext(**fields: str) -> str:
    """A model b mixed into model a; names have spaces for underscores."""
    given = {"model_a": "A", "use_model_b": "True", "model_b": "B", "merge_mode_b": "Sum", "alpha_b": "0.5", **fields}
    return ", ".join(
        f"ModelMixer {name.replace('_', ' ')}: {json.dumps(value) if ',' in value else value}" for name, value in given.items()
    )


def blocks(weights: str, chosen: str) -> str:
    return read_recipe(infotext(mbw_mode_b="True", mbw_b=chosen, mbw_weights_b=weights)).canonical()


def test_chosen_blocks_take_the_numbers_that_are_theirs():
    zeros = ["0"] * 26
    zeros[5], zeros[13] = "0.1", "0.2"
    expected = f"result = weighted_sum(A, B, alpha={{*: [{', '.join(zeros)}], TIME: 0, FINAL: 0, VAE: 0}})\n"
    assert blocks("0.1,0.2", "IN04,M00") == blocks("0.1 0.2", "IN04,MID") == expected
    assert "[0, 0.3, 0.3, 0.3, " in blocks("0.3", "INP*")


def test_list_of_twenty_is_that_of_sdxl():
    ones = ", ".join(["1"] * 20)
    assert f"alpha={{*: [{ones}], TIME: 1, FINAL: 1, VAE: 0, LABEL: 0}}" in blocks(",".join(["1"] * 20), "BASE,INP*,MID,OUT*")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"merge_mode_b": "DARE"}, "no method here yet for model-mixer's mode 'DARE'"),
        ({"calcmode_b": "Cosine"}, "calculation 'Cosine'"),
        ({"merge_mode_b": "Add-Diff"}, "Add-Diff needs the base model's name"),
        ({"use_model_b": "False"}, "no model is mixed into model a"),
        ({"alpha_b": "0"}, "no model is mixed into model a"),
        ({"model_b": "None"}, "does not name model b"),
        ({"model_a": "None"}, "does not name model a"),
        ({"alpha_b": "half"}, "alpha b is 'half'"),
        ({"mbw_mode_b": "True", "mbw_b": "IN77", "mbw_weights_b": "1"}, "no block 'IN77'"),
        ({"mbw_mode_b": "True", "mbw_b": "IN04", "mbw_weights_b": ""}, "number 1 of mbw weights b"),
        (
            {"mbw_mode_b": "True", "mbw_b": "INP*,OUT*", "mbw_weights_b": ",".join(["0.5"] * 19)},
            "mean one thing on SD 1.x and another on SDXL",
        ),
    ],
)
def test_infotext_that_cannot_be_read_is_one_sentence(fields: dict, said: str):
    with pytest.raises(RecipeError) as caught:
        read_recipe(infotext(**fields))
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for model-mixer's infotext: ")


def mixer(**changes: object) -> dict[str, object]:
    recipe = {
        "type": "sd-webui-model-mixer",
        "blocks": "BASE,IN00",
        "mbw": False,
        "weights_alpha": [[0.4] * 26, [1.0] + [0.0] * 24 + [0.25]],
        "weights_alpha_orig": ["", "1,0"],
        "alpha": [0.4, 0.5],
        "model_a": "A",
        "base_model": None,
        "mode": ["Sum", "Sum"],
        "calcmode": ["Normal", "Normal"],
        "elemental": ["", ""],
        "use_elemental": [False, False],
        "adjust": "",
        "uses": [True, True],
        "use_mbws": [False, True],
        "model_b": "sub/B",
        "model_c": "C",
        "recipe": "A + ...",
        **changes,
    }
    models = {"2" * 64: {"name": "sub/B", "legacy_hash": None}}
    return {"sd_merge_recipe": json.dumps(recipe), "sd_merge_models": json.dumps(models)}


def test_metadata_of_model_mixer_is_a_step_for_each_model():
    numbers = ", ".join(["1", *["0"] * 24, "0.25"])
    assert canonical(mixer()) == (
        'STEP1 = weighted_sum(A, "sub/B [2222222222]", alpha=0.4)\n'
        f"result = weighted_sum(STEP1, C, alpha={{*: [{numbers}], TIME: 0.25, FINAL: 0.25, VAE: 0}})\n"
    )


def test_adjust_of_model_mixer_is_the_last_step():
    text = canonical(mixer(adjust="1,0,0,0,-2"))
    assert text.endswith("result = adjust(STEP2, IN=1, brightness=-2)\n") and "STEP2 = weighted_sum(STEP1, C, " in text
    assert canonical(mixer(adjust="0,0,0,0,0,0,0,0")) == canonical(mixer(adjust=None)) == canonical(mixer())


def test_model_with_the_name_of_a_step_is_not_taken_for_it():
    text = canonical(mixer(model_c="STEP1"))
    assert text.startswith("STEP1_2 = weighted_sum(A") and "weighted_sum(STEP1_2, STEP1, " in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": None}, "'mode' is no list"),
        ({"mode": ["Sum"] * 100}, "'mode' is no list of at most"),
        ({"alpha": [0.4]}, None),
        ({"alpha": []}, "'alpha' has 0 entries"),
        ({"mode": ["Sum", "TIES"]}, "mode 'TIES'"),
        ({"calcmode": ["Rebasin", "Normal"]}, "calculation 'Rebasin'"),
        ({"weights_alpha": [0, {}]}, "weights_alpha of model_c is no list"),
        ({"model_c": ["x"]}, "does not name model_c"),
    ],
)
def test_metadata_of_model_mixer_that_cannot_be_read_are_one_sentence(changes: dict, said: str | None):
    if said is None:
        assert canonical(mixer(**changes)) == canonical(mixer())
        return
    with pytest.raises(RecipeError) as caught:
        recipe_from_metadata(mixer(**changes))
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for model-mixer's metadata: ")


MECHA = r"""version 0.1.0
# made by hand
model "C:\\Users\\me\\ghostmix.safetensors" model_config="sd1-ldm" merge_space="weight"
model "pure/v1-5-pruned" model_config="sd1-ldm" merge_space="weight"
merge "subtract" &0 &1
model "dream shaper" model_config="sd1-ldm" merge_space="weight"
merge "add_difference" &3 &2 alpha=0.5
merge "fallback" &4 &3
merge "n_average" &5 &0 &1
merge "weighted_sum" &6 &3 alpha=0.25
"""


def test_mecha_recipe_is_a_step_for_each_merge():
    recipe = read_recipe(MECHA)
    assert recipe.canonical() == (
        'STEP1 = add_difference("dream shaper", ghostmix.safetensors, "pure/v1-5-pruned", alpha=0.5)\n'
        'STEP2 = mean(STEP1, ghostmix.safetensors, "pure/v1-5-pruned")\n'
        'result = weighted_sum(STEP2, "dream shaper", alpha=0.25)\n'
    )
    assert read_recipe(recipe.canonical()) == recipe
    assert "no key is dropped" in recipe.notes[-1]


def test_mecha_recipe_in_metadata_is_found():
    imported = recipe_from_metadata({"mecha_recipe": MECHA})
    assert imported is not None and imported.recipe == read_recipe(MECHA)


def mecha(*lines: str) -> str:
    return "\n".join(["version 0.1.0", 'model "a" "sd1" "base"', 'model "b" "sd1" "base"', *lines])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['merge "weighted_sum" &0 &1'], "result = weighted_sum(a, b, alpha=0.5)"),
        (['merge "weighted_sum" &0 &1 0.25'], "result = weighted_sum(a, b, alpha=0.25)"),
        (['merge "weighted_sum" a=&0 b=&1 alpha=1e-1'], "result = weighted_sum(a, b, alpha=0.1)"),
        (
            ['merge "subtract" &0 &1', 'merge "scale" &2 alpha=2', 'merge "add_difference" &1 &3'],
            "STEP1 = a - b\nSTEP2 = 2 * STEP1\nresult = b + 1 * STEP2",
        ),
        (
            ['literal 0.3 model_config="singleton-mecha"', 'merge "weighted_sum" &0 &1 alpha=&2'],
            "result = weighted_sum(a, b, alpha=0.3)",
        ),
    ],
)
def test_mecha_lines_become_steps(lines: list[str], expected: str):
    assert read_recipe(mecha(*lines)).canonical() == expected + "\n"


def test_mecha_weights_for_blocks_become_a_list_whose_time_is_the_base():
    names = ["BASE", *(f"IN{i:02}" for i in range(12)), "M00", *(f"OUT{i:02}" for i in range(12))]
    numbers = " ".join(f"{name}={index / 100}" for index, name in enumerate(names))
    text = mecha(
        f"dict {numbers}",
        'literal &2 model_config="sd1-supermerger_blocks" merge_space="param"',
        'merge "convert_sd1_blocks_to_ldm" &3',
        'merge "weighted_sum" &0 &1 alpha=&4',
    )
    assert "alpha={*: [0, 0.01, 0.02, " in read_recipe(text).canonical() and "0.25], TIME: 0})" in read_recipe(text).canonical()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version 0.2.0\n", "it is of version 0.2.0; 0.1.0 is read"),
        (mecha(), "its last line is no merge"),
        (mecha('merge "ties_sum" &0 &1'), "line 4: there is no method here yet for sd-mecha's 'ties_sum'"),
        (mecha('merge "slerp" &0 &1 alpha=0.5'), "sd-mecha's 'slerp'"),
        (mecha('merge "weighted_sum" &0 &7'), "line 4: '&7' means no line above"),
        (mecha('merge "weighted_sum" &0 &2'), "'&2' means no line above"),
        (mecha('merge "weighted_sum" &0'), "'weighted_sum' has other arguments"),
        (mecha('merge "weighted_sum" &0 &1 gamma=2'), "'weighted_sum' has other arguments"),
        (mecha('merge "weighted_sum" &0 &1 alpha="x"'), "'x' stands where a number was expected"),
        (
            mecha("dict sd1_txt_default=0", 'merge "weighted_sum" &0 &1 alpha=&2'),
            "does not name all of SD 1.x's or SDXL's blocks",
        ),
        (mecha("dict BASE=0", 'merge "weighted_sum" &0 &2'), "&2 is no model"),
        (mecha('model "lora" model_config="sd1-kohya" merge_space="delta"'), "is of the kind 'sd1-kohya'"),
        (mecha('merge "weighted_sum &0'), "cannot be read"),
        (mecha('parameter "a" "BASE"'), "'parameter' is no instruction"),
        (mecha(*['merge "weighted_sum" &0 &1'] * 1200), "it has 1203 lines"),
    ],
)
def test_mecha_recipe_that_cannot_be_read_is_one_sentence(text: str, said: str):
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert said in str(caught.value) and str(caught.value).startswith("this was taken for sd-mecha's recipe: ")


@given(
    st.lists(
        st.tuples(st.sampled_from(["weighted_sum", "n_average"]), st.integers(0, 99), st.integers(0, 99), st.integers(0, 1000)),
        min_size=1,
        max_size=12,
    )
)
def test_any_chain_of_mecha_merges_comes_back(merges: list[tuple[str, int, int, int]]):
    lines = []
    for index, (method, a, b, alpha) in enumerate(merges):
        tail = f" alpha={alpha / 1000}" if method == "weighted_sum" else ""
        lines.append(f'merge "{method}" &{a % (index + 2)} &{b % (index + 2)}{tail}')
    recipe = read_recipe(mecha(*lines))
    assert read_recipe(recipe.canonical()) == recipe == parse_recipe(recipe.canonical())
    assert {model.name for model in recipe.models()} <= {"a", "b"}


@pytest.mark.parametrize(
    "metadata",
    [{}, {"format": "pt"}, {"sd_merge_recipe": None}, {"sd_merge_recipe": "null"}, {"mecha_recipe": 3}, {"mecha_recipe": "x"}],
)
def test_metadata_without_a_recipe_are_none(metadata: dict):
    assert recipe_from_metadata(metadata) is None


def test_our_own_recipe_is_left_to_its_own_reader():
    assert recipe_from_metadata({"sd_merge_recipe": {"type": "chillymerge"}}) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        (7, "no JSON object"),
        ({"type": "SDNext"}, "a recipe of type 'SDNext' is not read"),
        ({"type": ["webui"]}, "the recipe names no type; known types are"),
        ({}, "the recipe names no type; known types are"),
        ("[" * 100_000, "no JSON"),
        (" " * (LARGEST_JSON + 1), "at most"),
        ('{"type": "webui", "multiplier": ' + "9" * 1_000_000 + ', "interp_method": "Weighted sum"}', "does not name"),
    ],
)
def test_lies_in_metadata_are_one_sentence_and_cost_little(value: object, said: str):
    started = time.perf_counter()
    with pytest.raises(RecipeError, match=said) as caught:
        recipe_from_metadata({"sd_merge_recipe": value})
    assert len(str(caught.value)) < 400
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "holds no recipe"),
        ('{"a": 1}', "holds no recipe"),
        ("{not json}", "line 1, column 2: the JSON text is no JSON that can be read: it breaks here"),
        ('{"type":', "line 1, column 9: .* it ends too early"),
        ('\ufeff\n {"type": "webui",\n  "multiplier": 0.3 0.4}\ufeff\n', "line 3, column 21: .* it breaks here"),
        ('{"type": "x"}', "a recipe of type 'x'"),
    ],
)
def test_json_text_that_is_no_recipe_is_one_sentence(text: str, said: str):
    with pytest.raises(RecipeError, match=said):
        read_recipe(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
LISTS = SCALARS | st.lists(SCALARS, max_size=4)
HOSTILE = LISTS | st.lists(LISTS, max_size=4) | st.dictionaries(st.text(max_size=8), LISTS, max_size=4)


@pytest.mark.parametrize("make", [webui, mixer], ids=["webui", "model-mixer"])
@given(data=st.data())
def test_any_value_in_the_place_of_any_other_is_read_or_refused(make, data: st.DataObject):
    metadata = make()
    recipe = json.loads(str(metadata["sd_merge_recipe"]))
    for name in data.draw(st.lists(st.sampled_from(sorted(recipe)), min_size=1, max_size=3)):
        if name != "type":
            recipe[name] = data.draw(HOSTILE)
    models = data.draw(st.one_of(st.just(metadata["sd_merge_models"]), HOSTILE))
    try:
        imported = recipe_from_metadata({"sd_merge_recipe": recipe, "sd_merge_models": models})
    except RecipeError:
        return
    assert imported is not None and parse_recipe(imported.recipe.canonical()) == imported.recipe


@pytest.mark.parametrize(
    "text",
    [
        "ModelMixer model a: " + '"' + "\\" * 200_000,
        "ModelMixer model a: A, " + "ModelMixer " * 50_000,
        "ModelMixer model a: A" + " " * 200_000,
        "ModelMixer model a: A" + ",ModelMixer b:" * 70_000,
        "version 0.1.0\n" + 'merge "' + "\\" * 19_000,
        "1,2024.01.01 00.00.00," + '"' * 100_001,
        "1,2024.01.01 00.00.00," + " x 0.5 + " * 20_000 + ",,,,,,0.5,0.5,Weight sum,False",
        "IN00 " * 90_000 + ":attn:1",
        "IN00:" + " " * 480 + "x",
        "{" * 60_000,
    ],
    ids=range(10),
)
def test_hostile_text_costs_little(text: str):
    started = time.perf_counter()
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert len(str(caught.value)) < 2000
    assert time.perf_counter() - started < 5
