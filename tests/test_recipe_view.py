"""What the page shows of a recipe: cards of all lines that can be read, the mixer's weights, the exact fold, mistakes."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from checkpoints import draw, model, stored, write_file, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import load
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.synth import synthesise
from lib_chilly.ui.comes_to import Knowledge
from lib_chilly.ui.open_step import OpenStep
from lib_chilly.ui.recipe_view import view_of

CARD = """\
# chillyMixBase V1-NED
ratio = 0.15
pyAB = pyro_a + pyro_b
MERGE1 = (1 - ratio) * analog + ratio * pyAB   # a comment
FIX = MERGE1*0.95 + 0.05 * v1-5
MERGE2 = FIX + 1 * (F222 - v1-5)
BASE_V0 = 0.75 * MERGE2 + 0.25 * r34
V1_NED = weighted_sum(BASE_V0, NED, alpha=[1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0])
save(dtype=fp16)
"""
NAMES = ("pyro_a", "pyro_b", "analog", "v1-5", "F222", "r34", "NED")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ModelLibrary:
    folder = tmp_path_factory.mktemp("models")
    models = {name: model(number, size=2) for number, name in enumerate(NAMES)}
    models["bare"] = model(9, size=2, without=("VAE",))
    models |= {f"stranger{number}": {"blocks.0.weight": stored(draw(number, "a", (2, 2)), "F16")} for number in (1, 2)}
    write_models(folder, **models)
    for number in (1, 2):
        synthesise("vae", "tiny", folder / f"vae{number}.safetensors", seed=number)
    return ModelLibrary([folder])


@pytest.fixture
def look(library):
    knowledge = Knowledge()
    return lambda text, step=None, parameter=None: view_of(text, step, parameter, library, knowledge)


def card(view, name):
    return next(step for step in view["steps"] if step["name"] == name)


# ---- which blocks ----


def test_files_of_no_known_architecture_have_no_mixer_and_the_view_says_why(look):
    view = look("MIX = 0.5*stranger1 + 0.5*stranger2\n")
    assert (view["mixer"], view["architecture"]) == (None, None)
    assert view["unmixed"] == "'stranger1' is of no architecture that is known here, so it has no blocks to weigh."
    assert not view["ok"] and not any("blocks shown" in note for note in view["notes"])


def test_vaes_alone_have_no_mixer_and_beside_a_model_that_is_absent_they_tell_nothing(look):
    view = look("MIX = 0.5*vae1 + 0.5*vae2\n")
    assert (view["ok"], view["architecture"], view["mixer"]) == (True, "vae", None)
    assert view["unmixed"] == "A VAE by itself has no blocks to weigh: its one weight stands in the step's card."
    assert look("MIX = 0.5*vae1 + 0.5*absent\n")["architecture"] is None


# ---- cards ----


def test_sums_are_read_as_the_method_that_they_are_and_stay_as_typed(look):
    view = look(CARD)
    assert view["ok"] and view["errors"] == []
    assert [(step["name"], step["method"]) for step in view["steps"]] == [
        ("pyAB", "mean"),
        ("MERGE1", "weighted_sum"),
        ("FIX", "weighted_sum"),
        ("MERGE2", "add_difference"),
        ("BASE_V0", "weighted_sum"),
        ("V1_NED", "weighted_sum"),
    ]
    assert card(view, "FIX")["expression"] == "MERGE1*0.95 + 0.05 * v1-5"
    assert "".join(text for text, _ in card(view, "MERGE1")["formula"]) == "0.85 analog + 0.15 pyAB"
    assert card(view, "MERGE1")["parameters"][0] | {"low": 0, "high": 1} == {
        **{"name": "alpha", "text": "ratio", "value": 0.15, "low": 0, "high": 1},
        **{"per_block": True, "blocks": False},
    }
    assert [operand["role"] for operand in card(view, "MERGE2")["operands"]] == ["A", "B", "minus C"]
    assert card(view, "MERGE2")["whole"] and card(view, "V1_NED")["share"] == pytest.approx(14 / 26)
    assert view["constants"] == [{"name": "ratio", "text": "0.15", "value": 0.15}]
    assert view["result"] == view["step"] == "V1_NED" and view["save"] == {"dtype": "fp16"}


def test_card_of_adjust_has_a_slider_for_each_number_and_names_those_that_do_something(look):
    found = card(look("X = adjust(analog, IN=3, yellow_blue=-0.5)\n"), "X")
    ranges = {each["name"]: (each["low"], each["high"], each["per_block"]) for each in found["parameters"]}
    assert len(ranges) == 8 and ranges["IN"] == (-6, 6, False) and ranges["yellow_blue"] == (-10, 10, False)
    assert "".join(text for text, _ in found["formula"]) == "adjust of analog, IN 3, yellow_blue −0.5"


@pytest.mark.parametrize(
    ("right_side", "method", "alpha"),
    [
        ("0.3 * A + 0.7 * B", "weighted_sum", 0.7),
        ("A * 0.3 + B * 0.7", "weighted_sum", 0.7),
        ("A / 2 + B / 2", "weighted_sum", 0.5),
        ("1.2 * A - 0.2 * B", "weighted_sum", -0.2),
        ("A + (B - C)", "add_difference", 1),
        ("A + 0.5 * B - 0.5 * C", "add_difference", 0.5),
        ("A - 0.5 * C + 0.5 * B", "add_difference", 0.5),
        ("A - 0.5 * (B - C)", "add_difference", -0.5),
        ("0.2 * A + 0.3 * B + 0.5 * C", "expression", None),
        ("A", "expression", None),
        ("0.5 * (A + B)", "expression", None),
        ("A + 2 * (0.5 * B - 0.5 * C)", "expression", None),
    ],
)
def test_what_a_sum_is_read_as(library, look, right_side, method, alpha):
    text = f"A = NED\nB = F222\nC = r34\nX = {right_side}"
    step = card(look(text), "X")
    assert step["method"] == method
    if alpha is not None:
        assert step["parameters"][0]["value"] == pytest.approx(alpha)
        called = f"A = NED\nB = F222\nC = r34\nX = {method}({'A, B' if method == 'weighted_sum' else 'A, B, C'}, alpha={alpha})"
        rows = [
            {label: row.exact for label, row in make_plan(parse_recipe(each), library).rows.items()} for each in (text, called)
        ]
        assert rows[0] == rows[1]


def test_lines_that_can_be_read_are_cards_beside_lines_that_cannot(look):
    view = look('A = NED + + F222\nB = mean(NED, r34)\nC = "open\nD = 0.5 * A + 0.5 * B\n')
    assert not view["ok"] and view["fold"] is None
    assert [step["name"] for step in view["steps"]] == ["B", "D"]
    assert [error["line"] for error in view["errors"]] == [1, 3]
    assert card(view, "D")["operands"][0] == {"role": "A", "text": "A", "kind": "step", "missing": False}


def test_mistakes_are_placed_in_utf16_units_and_come_with_fixes(look):
    text = "🎨 = NED\nX = 0.5 * 🎨 + 0.5 * F222\n".replace("🎨", '"🎨🎨"') + "Y = 0.5 * X + 0.5 * NEDD\n"
    view = look(text)
    (error,) = view["errors"]
    units = text.encode("utf-16-le")
    assert units[2 * error["start"] : 2 * error["end"]].decode("utf-16-le") == "NEDD"
    assert (error["line"], error["column"]) == (3, 21)
    assert error["message"] == "Line 3: there is no model 'NEDD'. Did you mean 'NED'?"
    assert look(error["fixes"][0]["text"])["ok"]
    last = view["steps"][-1]
    assert units[2 * last["start"] : 2 * last["end"]].decode("utf-16-le") == "Y = 0.5 * X + 0.5 * NEDD"


def test_empty_text_is_no_recipe_and_no_mistake(look):
    for text in ("", "\n\n", "# only a comment\n"):
        view = look(text)
        assert (view["ok"], view["errors"], view["steps"], view["step"], view["mixer"]) == (False, [], [], None, None)


def test_model_card_that_a_page_begins_with_is_shown_in_our_notation(look):
    view = look("NED x 0.5 + F222 x 0.5 = MIX")
    assert view["ok"] and view["text"].startswith("MIX = ")


# ---- the mixer ----


@pytest.mark.parametrize(
    ("right_side", "sides", "pair", "from_a"),
    [
        ("add_difference(NED, F222, r34)", ("NED", "F222 − r34"), ["NED", "F222"], True),
        ("weighted_subtraction(NED, F222)", ("NED", "F222"), ["NED", "F222"], True),
        ("sum_twice(NED, F222, r34)", ("NED", "F222"), ["NED", "F222"], False),
        ("triple_sum(NED, F222, r34)", ("NED", "F222"), ["NED", "F222"], False),
        ("free_sum(NED, F222)", ("nothing", "NED"), ["NED", "F222"], False),
        ("free_sum(NED)", ("nothing", "NED"), ["NED"], False),
    ],
)
def test_mixer_tells_the_models_of_a_step_from_what_its_weights_stand_for(library, look, right_side, sides, pair, from_a):
    mixer = look(f"X = {right_side}")["mixer"]
    assert ((mixer["a"], mixer["b"]), mixer["pair"], mixer["from_a"]) == (sides, pair, from_a)
    zero = OpenStep(parse_recipe(f"X = {right_side}")).strength(Fraction(0), load("sd1"))
    shares = {row.exact.get(0) for row in make_plan(zero, library).rows.values() if set(row.exact) == {0}}
    assert (shares == {Fraction(1)}) == from_a, "nothing of a curve is A"


def test_mixer_shows_the_engines_numbers_and_which_lanes_follow(look):
    mixer = look(CARD)["mixer"]
    assert (mixer["a"], mixer["b"], mixer["net"], mixer["on"], mixer["whole"]) == ("BASE_V0", "NED", "sd1", True, False)
    assert (mixer["pair"], mixer["from_a"]) == (["BASE_V0", "NED"], True)
    assert mixer["list"] == [1.0] * 14 + [0.0] * 12
    assert set(mixer["linked"]) == {"CLIP_L", "TIME", "FINAL", "VAE"}
    assert mixer["values"]["FINAL"] == 0 and mixer["values"]["TIME"] == 1
    view = look("X = weighted_sum(NED, F222, alpha={*: [" + "0.5, " * 26 + "], TIME: 0.2, CLIP_L: 0.1, IN04-IN08/attn2: 0.6})")
    mixer = view["mixer"]
    assert mixer["values"]["TIME"] == 0.2 and mixer["values"]["BASE"] == mixer["values"]["VAE"] == 0.5
    assert mixer["linked"] == ["FINAL", "VAE"] and mixer["rules"] == "IN04-IN08:attn2:0.6"
    assert look("X = weighted_sum(NED, F222, alpha={IN*: 1})")["mixer"]["linked"] == ["CLIP_L", "FINAL", "VAE"]


def test_mixer_works_where_files_are_missing_and_says_whose_blocks_it_shows(look):
    view = look("X = weighted_sum(nobody, nothing, alpha=1.2)")
    assert not view["ok"] and view["architecture"] is None
    assert view["mixer"]["net"] == "sd1" and view["mixer"]["outside"] == ["alpha is 1.2, outside 0 to 1"]
    assert any("blocks shown are those of SD 1.x" in note for note in view["notes"])
    assert [operand["missing"] for operand in view["steps"][0]["operands"]] == [True, True]
    assert look("X = weighted_sum(nobody, NED, alpha=0.2)")["architecture"] == "sd1"


def test_second_parameter_is_shown_when_asked_for(look):
    text = "X = sum_twice(NED, F222, r34, alpha=0.2, beta=0.3)"
    assert look(text)["mixer"]["alpha"] == 0.2
    mixer = look(text, "X", "beta")["mixer"]
    assert (mixer["parameter"], mixer["alpha"], mixer["a"], mixer["b"]) == ("beta", 0.3, "NED and F222", "r34")
    assert mixer["addresses"] == [{"step": "X", "parameter": "alpha"}, {"step": "X", "parameter": "beta"}]


# ---- what it comes to ----


def test_fold_is_exact_and_shows_what_block_weights_mix(look):
    fold = look(CARD)["fold"]
    assert fold["of"] == "BASE_V0" and fold["sum"] == "1"
    assert {row["name"]: row["text"] for row in fold["rows"]} == {
        **{"F222": "+0.75", "analog": "+0.6056", "r34": "+0.25"},
        **{"pyro_a": "+0.0534", "pyro_b": "+0.0534", "v1-5": "−0.7125"},
    }
    assert [group["lanes"] for group in fold["lanes"]] == [
        "V1_NED, CLIP_L, TIME, IN00-M00, VAE",
        "V1_NED, OUT00-OUT11, FINAL",
    ]
    assert look(CARD, "MERGE2")["fold"]["formula"].endswith("− 0.95 v1-5 + F222")


def test_lanes_that_a_source_lacks_stand_apart_from_the_fold(look):
    fold = look("X = 0.75 * NED + 0.25 * bare")["fold"]
    assert [row["text"] for row in fold["rows"]] == ["+0.75", "+0.25"]
    assert [(group["lanes"], group["rows"][0]["text"]) for group in fold["lanes"]] == [("VAE (not in bare)", "+1")]


NUMBERS = st.integers(-150, 150).map(lambda number: Fraction(number, 100))


@settings(max_examples=25, deadline=None)
@given(st.lists(NUMBERS, min_size=26, max_size=26), st.dictionaries(st.sampled_from(["attn2", "TIME", "IN04-IN08/ff"]), NUMBERS))
def test_view_while_weights_change_says_what_a_plan_says(library, numbers, rules):
    shown = ", ".join(map(str, map(float, numbers)))
    weights = "".join(f", {pattern}: {float(value)}" for pattern, value in rules.items())
    text = f"A = 0.5 * NED + 0.5 * bare\nX = weighted_sum(A, F222, alpha={{*: [{shown}]{weights}}})"
    knowledge = Knowledge()
    view_of("A = 0.5 * NED + 0.5 * bare\nX = weighted_sum(A, F222, alpha=0.5)", None, None, library, knowledge)
    view = view_of(text, None, None, library, knowledge)
    assert view["ok"]
    plan = make_plan(parse_recipe(text).with_options(step="X"), library)
    said_of_weights = f"A with F222: {view['words']}"
    assert sorted(view["warnings"]) == sorted(plan.warnings)
    assert sorted(view["notes"]) == sorted(note for note in plan.notes if note != said_of_weights)
    assert view["plan"]["reads_bytes"] <= plan.reads_bytes
    groups = view["fold"]["lanes"] or [{"rows": view["fold"]["rows"]}]
    exact = {tuple(sorted((plan.sources[n].name, float(value)) for n, value in row.exact.items())) for row in plan.rows.values()}
    found = {tuple(sorted((row["name"], row["value"]) for row in group["rows"])) for group in groups}
    found |= {tuple(sorted((row["name"], row["value"]) for row in view["fold"]["rows"]))} if view["fold"]["of"] == "X" else set()
    assert found - {()} == exact - {()}


def test_file_that_is_replaced_is_seen_at_the_next_look(tmp_path):
    folder = write_models(tmp_path / "m", one=model(1, size=2), two=model(2, size=2))
    library, knowledge = ModelLibrary([folder]), Knowledge()
    text = "X = 0.5 * one + 0.5 * two"
    assert view_of(text, None, None, library, knowledge)["fold"]["lanes"] is None
    (folder / "two.safetensors").unlink()
    write_models(folder, two=model(2, size=2, without=("VAE",)))
    assert view_of(text, None, None, library, knowledge)["fold"]["lanes"][0]["lanes"] == "VAE (not in two)"


# ---- hostile texts ----


@settings(max_examples=75, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ABab 01.,+-*/()[]{}:#=\"\\\n×−é🎨\x00<>&'_%")), max_size=60), st.booleans())
def test_any_text_has_a_view_that_is_json(library, text, whole):
    view = view_of(f"NEW = weighted_sum(NED, F222, alpha=0.5)\n{text}" if whole else text, "NEW", None, library, Knowledge())
    json.dumps(view, allow_nan=False)
    assert view["ok"] == (view["errors"] == [] and bool(view["steps"]))
    for error in view["errors"]:
        assert 0 <= error["start"] <= error["end"] <= len(view["text"].encode("utf-16-le", "surrogatepass")) // 2


def test_names_with_markup_are_texts_and_no_more(look):
    view = look('X = 0.5 * "<img src=x onerror=alert(1)>" + 0.5 * "../../etc/passwd"')
    assert [operand["text"] for operand in view["steps"][0]["operands"]] == ["<img src=x onerror=alert(1)>", "../../etc/passwd"]
    assert all(operand["missing"] for operand in view["steps"][0]["operands"]) and not view["ok"]


def test_architecture_of_a_broken_file_is_unknown_and_says_why(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    view = view_of("X = bad", None, None, ModelLibrary([tmp_path]), Knowledge())
    assert view["architecture"] is None and "bad.safetensors" in view["errors"][0]["message"]


def test_many_different_weights_are_said_by_the_model_that_a_block_is_mostly_from(look):
    view = look("MIX = weighted_sum(NED, r34, alpha=preset(COSINE))\n")
    assert view["words"] == (
        "BASE and OUT11 from NED, IN00 from r34, IN01 to IN09 mostly r34, IN10 to OUT01 about half, the rest mostly NED"
    )
    few = look("MIX = weighted_sum(NED, r34, alpha={*: 0.5, IN04: 0.123})\n")
    assert few["words"] == "BASE, IN00 to IN03 and IN05 to OUT11 0.5 of r34, the rest 0.123 of r34"


def test_model_that_first_has_no_part_in_the_unet_is_refused_once_it_has(tmp_path):
    for number, prediction in enumerate(("epsilon", "v")):
        write_file(tmp_path / f"{prediction}.safetensors", model(number, size=2), {"modelspec.prediction_type": prediction})
    library, knowledge = ModelLibrary([tmp_path]), Knowledge()
    views = [
        view_of(f"MIX = weighted_sum(epsilon, v, alpha={alpha})\n", None, None, library, knowledge) for alpha in ("0", "0.5", "0")
    ]
    assert [view["ok"] for view in views] == [True, False, True]
    assert "'v' predicts v" in views[1]["errors"][0]["message"]


# ---- LoRAs ----


def test_lora_counts_in_the_keys_that_it_changes_and_the_view_follows_its_file(look, library):
    key = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    name = key.removeprefix("model.diffusion_model.").replace(".", "_")
    tensors = {f"lora_unet_{name}.lora_{part}.weight": stored(draw(1, part, (2, 2)), "fp16") for part in ("up", "down")}
    absent = look("MIX = NED + 0.5 * lora(grain)\n")
    assert not absent["ok"] and "there is no LoRA 'grain'" in json.dumps(absent["errors"])
    write_models(library.folders[0] / "lora", grain=tensors)
    library = ModelLibrary(library.folders)
    view = view_of("MIX = NED + 0.5 * lora(grain)\n", None, None, library, Knowledge())
    assert view["ok"], view["errors"]
    assert any("the LoRA 'grain' changes 1 weight" in note for note in view["notes"])
    assert "grain" in json.dumps(view["fold"], ensure_ascii=False)
    (library.folders[0] / "lora" / "grain.safetensors").unlink()
