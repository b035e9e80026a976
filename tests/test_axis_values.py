"""What may stand in the field of an axis."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.errors import RecipeError
from lib_chilly.expression import spell
from lib_chilly.number_lists import presets
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.axis_values import MOST_VALUES, exact_number, read_value, split_recipes, split_settings, split_values

MIX = "M = weighted_sum(A, B, alpha=0.3)"

SPLIT = {
    "GRAD_V, FLAT_25": ["GRAD_V", "FLAT_25"],
    "0, 1, 0.5": ["0, 1, 0.5"],
    "0,1;1,0\n1,1": ["0,1", "1,0", "1,1"],
    "[0, 1], [1, 0]": ["[0, 1]", "[1, 0]"],
    '"0,1","1,0"': ["0,1", "1,0"],
    "OUT*: 0.8, attn2: 1; IN00: 1": ["OUT*: 0.8, attn2: 1", "IN00: 1"],
    '{IN00: 1, *: 0}, preset("GRAD_V"), GRAD_A': ["{IN00: 1, *: 0}", 'preset("GRAD_V")', "GRAD_A"],
    " 0.3 ;": ["0.3"],
    "": [],
    "((": ["(("],
    '"': ['"'],
}


@pytest.mark.parametrize(("text", "values"), SPLIT.items(), ids=SPLIT)
def test_values_stand_apart_by_semicolons_and_by_commas_where_they_are_no_list(text: str, values: list[str]):
    assert split_values(text) == values


def test_names_of_recipes_stand_apart_by_commas_and_texts_by_semicolons():
    assert split_recipes("mine, first try #2") == ["mine", "first try #2"]
    assert split_recipes(f'{MIX}; "one, two"; r = 0.5\nX = mean(A, B); mine') == [
        MIX,
        "one, two",
        "r = 0.5\nX = mean(A, B)",
        "mine",
    ]


def test_names_of_recipes_may_hold_what_texts_of_recipes_hold():
    assert split_recipes('"mix (v2)",other') == ["mix (v2)", "other"]
    assert split_recipes('"a = b, c", "d"; M = mean("x, y", B)') == ["a = b, c", "d", 'M = mean("x, y", B)']
    known = ["mix (v2)", "a; b", 'say "no"', "other", "open ("]
    # As the webui's own button writes them.
    assert split_recipes('mix (v2),a; b,"say ""no""",open (,other', known) == ["mix (v2)", "a; b", 'say "no"', "open (", "other"]
    assert split_recipes(f"mix (v2), other; {MIX}", known) == ["mix (v2)", "other", MIX]


SETTINGS = {
    "M.alpha = 0-1 [3]": ["M.alpha = 0", "M.alpha = 0.5", "M.alpha = 1"],
    "M.alpha.IN04 = 0.1, 0.2; ratio=1-5 (+2), 9": [
        *("M.alpha.IN04 = 0.1", "M.alpha.IN04 = 0.2", "ratio = 1", "ratio = 3", "ratio = 5", "ratio = 9")
    ],
    "ratio = -1-1 [3]": ["ratio = -1", "ratio = 0", "ratio = 1"],
    "ratio = 1-0 (-0.5)": ["ratio = 1", "ratio = 0.5", "ratio = 0"],
    "ratio = 1-3": ["ratio = 1", "ratio = 2", "ratio = 3"],
    "ratio = 0-1 [4]": ["ratio = 0", "ratio = 0.33333333", "ratio = 0.66666667", "ratio = 1"],
    "ratio = 0-1 (+0.4)": ["ratio = 0", "ratio = 0.4", "ratio = 0.8", "ratio = 1.2"],
    "ratio = 1-0.5": ["ratio = 1"],
    "M.alpha = [0, 1], GRAD_V": ["M.alpha = [0, 1]", "M.alpha = GRAD_V"],
    "M.alpha = 0.1\n0.2": ["M.alpha = 0.1", "M.alpha = 0.2"],
    "M.B = one, two-3": ["M.B = one", "M.B = two-3"],
}


@pytest.mark.parametrize(("text", "values"), SETTINGS.items(), ids=SETTINGS)
def test_settings_are_an_address_and_values_with_the_ranges_of_the_webui(text: str, values: list[str]):
    assert split_settings(text) == values
    assert [each for setting in values for each in split_settings(setting)] == values


HUNDREDTHS = st.integers(-300, 300).map(lambda number: number / 100)


@given(first=HUNDREDTHS, last=HUNDREDTHS, step=HUNDREDTHS.filter(bool))
def test_range_with_a_step_has_the_values_that_the_webui_s_arithmetic_gives(first: float, last: float, step: float):
    text = f"ratio = {first}-{last} ({step:+})"
    values = np.arange(first, last + step, step)
    if not values.size:
        with pytest.raises(RecipeError, match="has no values"):
            split_settings(text)
    else:
        assert [float(each.partition(" = ")[2]) for each in split_settings(text)] == pytest.approx(values.tolist(), abs=1e-8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.3", "has no address"),
        ("= 3", "has no address"),
        ("ratio = 3-1", "has no values"),
        ("ratio = 1-5 (+0)", "has no values"),
        ("ratio = 1-5 (+.)", "is no step"),
        (f"ratio = 0-{MOST_VALUES}", "at most"),
        ("ratio = 0-999999999 (+0.000000001)", "at most"),
        ("ratio = 0-1 [9999]", "at most"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, said: str):
    with pytest.raises(RecipeError, match=said):
        split_settings(text)


@given(st.text(alphabet="01-.,;:()[]{}\"'\\ =a\n+*", max_size=60))
def test_any_text_of_an_axis_is_split_or_refused_in_a_sentence(text: str):
    assert all(isinstance(each, str) for each in split_values(text))
    for way in (split_settings, lambda text: read_value(text, Checker(""))):
        with contextlib.suppress(RecipeError):
            way(text)


VALUES = {
    "0.25": "0.25",
    "1/3": "1 / 3",
    "ratio / 2": "ratio / 2",
    "GRAD_V": 'preset("GRAD_V")',
    'preset("GRAD_V")': 'preset("GRAD_V")',
    "0, 1, 0.5": "[0, 1, 0.5]",
    "[0, ratio]": "[0, ratio]",
    "OUT*: 0.8, attn2: 1": "{OUT*: 0.8, attn2: 1}",
    "{*: preset(GRAD_V), TIME: 0.2}": '{*: preset("GRAD_V"), TIME: 0.2}',
    "IN04-IN08:attn2:0.6": "{IN04-IN08/attn2: 0.6}",
    "SMOOTHSTEP*2": 'preset("SMOOTHSTEP*2")',
}


@pytest.mark.parametrize(("text", "spelled"), VALUES.items(), ids=VALUES)
def test_value_is_a_number_a_list_a_preset_or_rules(text: str, spelled: str):
    assert spell(read_value(text, Checker.of(parse_recipe(f"ratio = 0.5\n{MIX}")))) == spelled


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_value_by_its_name(name: str):
    assert spell(read_value(name, Checker(""))) == f'preset("{name}")'


@pytest.mark.parametrize(
    "text", ["", "GRADV", "[0, 1", "A + B", "{IN00: [1]}", "0.3)", "_=1", "1 2", "mean(A)", '"x"', "1, alpha=2"]
)
def test_value_that_is_none_is_refused(text: str):
    with pytest.raises(RecipeError, match=r"no value|is empty"):
        read_value(text, Checker(""))


def test_number_is_taken_as_it_is_shown():
    assert exact_number(0.1 + 0.2) == Fraction(3, 10)
    assert exact_number(1e-9) == 0 and exact_number(-0.5) == Fraction(-1, 2) and exact_number(1) == 1
