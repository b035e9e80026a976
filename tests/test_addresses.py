"""What an axis, a slider or an API field names: STEP.parameter, STEP.parameter.LANE or a constant, and the recipe it makes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.addresses import addresses, set_value
from lib_chilly.architecture import load
from lib_chilly.blocks import resolve
from lib_chilly.errors import RecipeError
from lib_chilly.expression import Binary, ListValue, ModelRef, Negative, Node, Number, PresetValue, Rules, number_node
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe

RECIPE = """\
ratio = 0.15
X = weighted_sum(A, B, alpha=ratio)
Y = add_difference(X, B, C)
X.alpha = 0.5 * sum_twice(A, B, C, beta=0.1) + 0.5 * Y  # a step with a dot in its name
M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.3, OUT*: 0.8, *: 0.1}, beta=[0, 1])
save(dtype=bf16)
"""


def line(text: str, address: str, value: Fraction | float | Node) -> str:
    """The one line of the canonical text that setting a value changes."""
    recipe = parse_recipe(text)
    before, after = (each.canonical().splitlines() for each in (recipe, set_value(recipe, address, value)))
    (changed,) = [new for old, new in zip(before, after, strict=True) if old != new]
    return changed


def alpha(value: str) -> str:
    return f"M = weighted_sum(A, B, alpha={value})"


def refusal(text: str, address: str, value: Fraction | float | Node = 0.5) -> str:
    with pytest.raises(RecipeError) as caught:
        set_value(parse_recipe(text), address, value)
    return str(caught.value)


# ---- what can be set ----


def test_addresses_are_constants_parameters_of_steps_and_those_of_the_result_alone():
    assert addresses(parse_recipe(RECIPE)) == (
        "ratio",
        "X.alpha",
        "Y.alpha",
        "X.alpha.alpha",
        "X.alpha.beta",
        "M.alpha",
        "M.beta",
        "alpha",
        "beta",
    )
    assert addresses(parse_recipe("M = 0.5 * A + 0.5 * B")) == ()


def test_every_address_can_be_set_alone_and_with_a_lane():
    recipe = parse_recipe(RECIPE)
    for address in addresses(recipe):
        changed = set_value(recipe, address, Fraction(1, 3))
        assert changed != recipe and "1 / 3" in changed.canonical()
        assert changed == set_value(changed, address, Fraction(1, 3))
        if address not in recipe.constants:
            assert "IN00: 1 / 3" in set_value(recipe, f"{address}.IN00", Fraction(1, 3)).canonical()


SET = {
    "ratio": "ratio = 0.25",
    "X.alpha": "X = weighted_sum(A, B, alpha=0.25)",
    "Y.alpha": "Y = add_difference(X, B, C, alpha=0.25)",
    "X.alpha.beta": "X.alpha = 0.5 * sum_twice(A, B, C, beta=0.25) + 0.5 * Y",
    "X.alpha.alpha": "X.alpha = 0.5 * sum_twice(A, B, C, beta=0.1, alpha=0.25) + 0.5 * Y",
    "M.beta": "M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.3, OUT*: 0.8, *: 0.1}, beta=0.25)",
    "beta": "M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.3, OUT*: 0.8, *: 0.1}, beta=0.25)",
    "alpha": "M = triple_sum(Y, X.alpha, C, alpha=0.25, beta=[0, 1])",
    "X.alpha.IN05": "X = weighted_sum(A, B, alpha={*: ratio, IN05: 0.25})",
    "X.alpha.alpha.IN05": "X.alpha = 0.5 * sum_twice(A, B, C, beta=0.1, alpha={*: 0.5, IN05: 0.25}) + 0.5 * Y",
    "Y.alpha.BASE": "Y = add_difference(X, B, C, alpha={*: 1, BASE: 0.25})",
    "beta.M00": "M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.3, OUT*: 0.8, *: 0.1}, beta={*: [0, 1], M00: 0.25})",
    "M.alpha.IN04": "M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.25, OUT*: 0.8, *: 0.1}, beta=[0, 1])",
    "M.alpha.OUT03": "M = triple_sum(Y, X.alpha, C, alpha={attn2: 1, IN04: 0.3, OUT*: 0.8, *: 0.1, OUT03: 0.25}, beta=[0, 1])",
}


@pytest.mark.parametrize(("address", "changed"), SET.items(), ids=SET)
def test_setting_an_address_changes_that_line_alone(address: str, changed: str):
    assert line(RECIPE, address, 0.25) == changed


LANES = {
    "0.4": "{*: 0.4, IN01: 0.9}",
    "[0, 1, 0.5]": "{*: [0, 1, 0.5], IN01: 0.9}",
    "preset(GRAD_V)": '{*: preset("GRAD_V"), IN01: 0.9}',
    "{}": "{IN01: 0.9}",
    "{OUT*: 1}": "{OUT*: 1, IN01: 0.9}",
    "{IN01: 0.2, OUT*: 1}": "{IN01: 0.9, OUT*: 1}",
    "{IN01: 0.2, attn2: 1}": "{IN01: 0.9, attn2: 1}",
    "{IN01: 0.2, *: 1}": "{IN01: 0.9, *: 1}",
    "{IN01: 0.2, IN01: 0.3}": "{IN01: 0.9}",
    "{IN01: 0.2, IN*: 1}": "{IN*: 1, IN01: 0.9}",
    "{IN01: 0.2, IN00-IN05: 1, M00: 0}": "{IN00-IN05: 1, M00: 0, IN01: 0.9}",
    "{IN01: 0.2, OUT00-OUT05: 1}": "{IN01: 0.9, OUT00-OUT05: 1}",
    "{IN01: 0.2, IN01/attn2: 1}": "{IN01: 0.9, IN01/attn2: 1}",
}


@pytest.mark.parametrize(("before", "after"), LANES.items(), ids=LANES)
def test_lane_becomes_a_rule_and_what_was_there_stays(before: str, after: str):
    assert line(alpha(before), "alpha.IN01", 0.9) == alpha(after)


@pytest.mark.parametrize("before", LANES)
def test_lane_that_was_set_has_the_value_and_every_other_lane_its_own(before: str):
    def lanes(text: str) -> dict[str, Fraction]:
        recipe = parse_recipe(text.replace("[0, 1, 0.5]", f"[{'0, 1, ' * 13}]"))
        (weights,) = Checker.of(recipe).parameters(recipe.calls()[0]).values()
        found = resolve(weights, load("sd1"), Fraction(0))
        return {lane: found.of("", lane)[0] for lane in load("sd1").lanes}

    assert lanes(line(alpha(before), "M.alpha.IN01", 0.9)) == {**lanes(alpha(before)), "IN01": Fraction(9, 10)}


def test_lane_of_any_architecture_can_be_set():
    for lane in ("BASE", "TIME", "FINAL", "CLIP_L", "CLIP_G", "LABEL", "VAE", "M00", "OUT11"):
        assert line(alpha("0.5"), f"M.alpha.{lane}", 1) == alpha(f"{{*: 0.5, {lane}: 1}}")


def test_plain_parameter_means_the_step_that_is_saved():
    text = "X = weighted_sum(A, B)\nY = weighted_sum(B, A)"
    assert line(text, "alpha", 0.25) == "Y = weighted_sum(B, A, alpha=0.25)"
    assert line(f"{text}\nsave(step=X)", "alpha", 0.25) == "X = weighted_sum(A, B, alpha=0.25)"
    assert line(f"{text}\nsave(step=X)", "Y.alpha", 0.25) == "Y = weighted_sum(B, A, alpha=0.25)"
    assert line("weighted_sum(A, B)", "result.alpha", 0) == "result = weighted_sum(A, B, alpha=0)"


def test_constant_comes_before_a_parameter_and_the_longest_name_of_a_step_before_a_shorter_one():
    assert line("alpha = 0.3\nM = weighted_sum(A, B, alpha=alpha)", "alpha", 0.25) == "alpha = 0.25"
    assert line("M.alpha = 0.3\nM = weighted_sum(A, B, alpha=M.alpha)", "M.alpha", 0.25) == "M.alpha = 0.25"
    assert addresses(parse_recipe("M.alpha = 0.3\nM = weighted_sum(A, B, alpha=M.alpha)")) == ("M.alpha", "alpha")
    both = "M = weighted_sum(A, B)\nM.alpha = weighted_sum(A, B)\nZ = mean(A, M)"
    assert line(both, "M.alpha.alpha", 0.25) == "M.alpha = weighted_sum(A, B, alpha=0.25)"
    assert line(both, "M.alpha", 0.25) == "M = weighted_sum(A, B, alpha=0.25)"
    assert line(both, "M.alpha.IN00", 0.25) == "M = weighted_sum(A, B, alpha={*: 0.5, IN00: 0.25})"


def test_step_is_named_as_it_is_whatever_its_letters():
    assert line('"my mix.v2" = weighted_sum(A, B)', "my mix.v2.alpha", 0) == '"my mix.v2" = weighted_sum(A, B, alpha=0)'
    assert line("mod\u00e8le = weighted_sum(A, B)", "mode\u0300le.alpha", 0) == "mod\u00e8le = weighted_sum(A, B, alpha=0)"


def test_whole_right_side_is_meant_before_a_call_inside_it_and_two_inside_are_not_guessed_at():
    assert line("M = weighted_sum(A, weighted_sum(B, C))", "alpha", 0) == "M = weighted_sum(A, weighted_sum(B, C), alpha=0)"
    assert addresses(parse_recipe("M = 0.5 * weighted_sum(A, B) + 0.5 * sum_twice(A, B, C)")) == ("M.beta", "beta")
    assert addresses(parse_recipe("M = mean(weighted_sum(A, B), C)")) == ("M.alpha", "alpha")


# ---- values ----

VALUES: dict[str, tuple[Fraction | float | Node, str]] = {
    "float": (0.1, "0.1"),
    "float as its shortest text": (0.1 + 0.2, "0.30000000000000004"),
    "integer": (1, "1"),
    "negative zero": (-0.0, "0"),
    "negative": (-0.5, "-0.5"),
    "small": (1e-7, "0.0000001"),
    "large": (1e22, "1" + "0" * 22),
    "fraction": (Fraction(1, 3), "1 / 3"),
    "decimal fraction": (Fraction(3, 8), "0.375"),
    "negative fraction": (Fraction(-2, 3), "-(2 / 3)"),
    "numpy float": (np.float64(0.3), "0.3"),
    "numpy integer": (np.int64(1), "1"),
    "list": (ListValue((number_node(1.0), number_node(Fraction(1, 3)))), "[1, 1 / 3]"),
    "preset": (PresetValue("GRAD_V"), 'preset("GRAD_V")'),
    "rules": (Rules((("IN*", number_node(0.5)), ("*", PresetValue("GRAD_V")))), '{IN*: 0.5, *: preset("GRAD_V")}'),
    "expression": (Binary("-", Number(Fraction(1)), Number(Fraction(1, 4))), "1 - 0.25"),
}


@pytest.mark.parametrize(("value", "text"), VALUES.values(), ids=VALUES)
def test_value_may_be_a_number_a_list_a_preset_or_rules(value: Fraction | float | Node, text: str):
    assert line(alpha("0.7"), "M.alpha", value) == alpha(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("inf")])
def test_value_that_is_no_number_is_refused(value: float):
    assert "is no number that can be set" in refusal(alpha("0.7"), "alpha", value)


def test_number_that_no_recipe_could_hold_is_refused():
    assert "more than 120 digits" in refusal(alpha("0.7"), "alpha", 5e-324)
    assert "too large" in refusal(alpha("0.7"), "alpha", Fraction(10**101, 3))


UNFIT = {
    "list in a lane": ("alpha.IN00", ListValue(()), "'IN00' takes a number"),
    "rules in a lane": ("alpha.IN00", Rules(()), "'{}' is no number"),
    "model": ("alpha", ModelRef("A"), "'A' is no number"),
    "list as a constant": ("ratio", ListValue((Number(Fraction(1)),)), "lists and rules are values of parameters"),
    "model as a constant": ("spare", ModelRef("A"), "cannot be written in a recipe"),
    "rules that say something else": ("alpha", Rules((("IN00: 1}, alpha={IN00", Number(Fraction(1))),)), "given 'alpha' twice"),
    "text in a pattern": ("alpha", Rules((("IN00: 1, IN01", Number(Fraction(1))),)), "cannot be written in a recipe"),
    "sum that is no model": ("half", 0.3, "the coefficients of 'M' add to 0.8"),
    "division by zero": ("two", 0, "division by zero"),
}


@pytest.mark.parametrize(("address", "value", "message"), UNFIT.values(), ids=UNFIT)
def test_value_that_does_not_fit_is_refused(address: str, value: Node | float, message: str):
    text = "spare = 1\nratio = 0.3\nhalf = 0.5\ntwo = 2\nM = half * weighted_sum(A, B, alpha=ratio / two) + 0.5 * A"
    assert message in refusal(text, address, value)


def test_error_of_a_value_is_shown_in_the_text_that_it_makes():
    message = refusal("# a comment\nhalf   = 0.5\n\nM = half * A + 0.5 * B", "half", 0.3)
    assert message.splitlines()[1:] == ["  M = half * A + 0.5 * B", "      ^"] and message.startswith("line 2, column 5: ")


# ---- addresses that there are not ----

UNKNOWN = {
    "M.alhpa": "Did you mean 'M.alpha'?",
    "aplha": "Did you mean 'alpha'?",
    "ratoi": "Did you mean 'ratio'?",
    "Xx.alpha": "Did you mean 'X.alpha'?",
    "M.alpha.IN99": "Did you mean 'M.alpha.IN",
    "M.alpha.in04": "Did you mean 'M.alpha.IN",
    "M": "",
    "": "",
    "M.": "",
    "M.alpha.": "Did you mean 'M.alpha'?",
    ".alpha": "Did you mean '",
    "M.alpha.IN00.IN00": "Did you mean 'M.alpha.IN00'?",
    "ratio.IN00": "Did you mean",
    "M.alpha.attn2": "Did you mean 'M.alpha",
    "X.beta": "Did you mean",
    "save.dtype": "",
    "m" * 100_000: "",
}


@pytest.mark.parametrize(("address", "hint"), UNKNOWN.items(), ids=lambda text: text[:20])
def test_unknown_address_is_refused_with_the_nearest_and_all_that_there_are(address: str, hint: str):
    message = refusal(RECIPE, address)
    assert (
        hint in message
        and "Known: ratio, X.alpha, Y.alpha, X.alpha.alpha, X.alpha.beta, M.alpha, M.beta, alpha, beta." in message
    )
    assert len(message) < 400


def test_recipe_without_anything_to_set_says_so():
    assert refusal("M = A", "alpha") == "there is no 'alpha' to set. Known: nothing."


# ---- the recipe that is made ----


def test_setting_makes_a_new_recipe_with_its_own_text_and_leaves_the_old_one_alone():
    recipe = parse_recipe("M = A + B\nN = weighted_sum(M, C)  # x")
    canonical = recipe.canonical()
    changed = set_value(recipe, "N.alpha", 0.25)
    assert recipe.canonical() == canonical and recipe.text.endswith("# x")
    assert changed.text == changed.canonical() == "M = mean(A, B)\nN = weighted_sum(M, C, alpha=0.25)\n"
    assert changed.notes == recipe.notes == ("M: a sum of 2 models is read as their mean.",)
    assert changed.text[changed.calls()[1].position :].startswith("weighted_sum")


def test_setting_the_value_that_stands_there_changes_nothing():
    recipe = parse_recipe(RECIPE)
    assert set_value(recipe, "ratio", 0.15) == recipe
    assert set_value(recipe, "M.alpha.IN04", Fraction(3, 10)) == recipe


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*addresses(parse_recipe(RECIPE)), "M.alpha.IN04", "X.alpha.M00"]),
            st.integers(-200, 200).map(lambda number: number / 100),
        ),
        max_size=5,
    )
)
def test_any_settings_one_after_another_give_a_recipe_in_which_the_last_of_each_holds(values: list[tuple[str, float]]):
    recipe = parse_recipe(RECIPE)
    for address, value in values:
        recipe = set_value(recipe, address, value)
        assert set_value(recipe, address, value) == recipe == parse_recipe(recipe.canonical())
    expected = dict(values)
    if "ratio" in expected:
        number = recipe.constants["ratio"]
        exact = -number.operand.value if isinstance(number, Negative) else number.value  # type: ignore[union-attr]
        assert float(exact) == expected["ratio"]
