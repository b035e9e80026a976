"""What may stand in the field of an axis, and the recipe of a cell: the same whatever the order of its axes."""

from __future__ import annotations

import contextlib
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.architecture import load
from lib_chilly.errors import MergeError, RecipeError
from lib_chilly.expression import spell
from lib_chilly.hashes import use_folder
from lib_chilly.history import Entry, History
from lib_chilly.number_lists import presets
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.axis_values import MOST_VALUES, exact_number, read_value, split_recipes, split_settings, split_values
from lib_chilly.ui.cell_recipe import METHOD, RECIPE, SEED, VALUE, WEIGHTS, Coordinate, cell_recipe
from lib_chilly.ui.recipe_names import recipe_named, recipe_names

MIX = "M = weighted_sum(A, B, alpha=0.3)"


def value(value: str | float, address: str = WEIGHTS) -> Coordinate:
    return Coordinate(VALUE, value if isinstance(value, str) else exact_number(value), address)


def lines(text: str, *cell: Coordinate) -> list[str]:
    return cell_recipe(text, cell, lambda recipe: load("sd1")).canonical().splitlines()


def line(text: str, *cell: Coordinate) -> str:
    return lines(text, *cell)[-1]


def refusal(text: str, *cell: Coordinate) -> str:
    with pytest.raises(MergeError) as caught:
        line(text, *cell)
    return str(caught.value)


# ---- values ----

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


# ---- the recipe of a cell ----

CELLS: dict[str, tuple[str, tuple[Coordinate, ...], str]] = {
    "number": (MIX, (value(0.5, "alpha"),), "M = weighted_sum(A, B, alpha=0.5)"),
    "number of a sum": ("M = 0.7 * A + 0.3 * B", (value(0.5, "alpha"),), "M = weighted_sum(A, B, alpha=0.5)"),
    "number of a step that is a sum": (
        "M = 0.7 * A + 0.3 * B\nN = mean(M, B)",
        (value(0.5, "M.alpha"),),
        "N = mean(M, B)",
    ),
    "weights": (MIX, (value("GRAD_V"),), 'M = weighted_sum(A, B, alpha=preset("GRAD_V"))'),
    "rules of a sum": ("M = 0.7 * A + 0.3 * B", (value("OUT*: 1"),), "M = weighted_sum(A, B, alpha={OUT*: 1})"),
    "lane": (MIX, (value("0.9", "M.alpha.IN04"),), "M = weighted_sum(A, B, alpha={*: 0.3, IN04: 0.9})"),
    "lane of weights": (
        MIX,
        (value("0.9", "M.alpha.IN04"), value("GRAD_V")),
        'M = weighted_sum(A, B, alpha={*: preset("GRAD_V"), IN04: 0.9})',
    ),
    "strength": (MIX, (value(0.5, "alpha"), value("IN00: 1, *: 0.2")), "M = weighted_sum(A, B, alpha={IN00: 0.5, *: 0.1})"),
    "strength by a constant": (
        "alpha = 0.3\nM = weighted_sum(A, B, alpha=alpha)",
        (value(0.5, "alpha"), value("IN00: 1")),
        "M = weighted_sum(A, B, alpha={IN00: 0.5})",
    ),
    "strength of 1": (MIX, (value(1, "alpha"), value("GRAD_V")), 'M = weighted_sum(A, B, alpha=preset("GRAD_V"))'),
    "method": (
        MIX,
        (value("sum_twice", METHOD), value(0.2, "beta"), value("C", "C")),
        "M = sum_twice(A, B, C, alpha=0.3, beta=0.2)",
    ),
    "models": (MIX, (value("my model.safetensors [0123456789]", "A"), value("C", "B")), "M = weighted_sum"),
    "seed": ("M = weighted_sum(A, B, alpha={*: R})", (Coordinate(SEED, 7),), "M = weighted_sum(A, B, alpha={*: 0.624})"),
    "recipe": (MIX, (Coordinate(RECIPE, "X = weighted_sum(C, D)"), value(0.25, "alpha")), "X = weighted_sum(C, D, alpha=0.25)"),
}


@pytest.mark.parametrize("name", CELLS)
def test_recipe_of_a_cell_does_not_depend_on_the_order_of_the_axes(name: str):
    text, cell, expected = CELLS[name]
    found = {line(text, *order) for order in itertools.permutations(cell)}
    assert len(found) == 1 and found.pop().startswith(expected)


def test_step_that_is_no_result_is_set_by_its_address():
    text = "M = weighted_sum(A, B)\nN = mean(M, C)"
    assert lines(text, value(0.1, "M.alpha")) == ["M = weighted_sum(A, B, alpha=0.1)", "N = mean(M, C)"]
    assert lines(text, value("add_difference", "M.method"), value("X", "M.C")) == [
        "M = add_difference(A, B, X)",
        "N = mean(M, C)",
    ]
    assert lines(text, value("X", "B")) == ["M = weighted_sum(A, B)", "N = mean(M, X)"]


def test_preset_times_a_number_is_that_of_the_architecture():
    text = line(MIX, value(0.5, "alpha"), value("GRAD_V"))
    halves = [number / 2 for number in presets()["GRAD_V"]]
    assert [Fraction(part) for part in text.partition("[")[2].rstrip("])").split(", ")] == halves
    sdxl = cell_recipe(MIX, (value(0.5, "alpha"), value("GRAD_V")), lambda recipe: load("sdxl")).canonical()
    assert sdxl.count(",") == text.count(",") - 6  # 20 numbers


def test_options_and_other_lines_of_the_recipe_stay():
    text = f"unused = 2\n{MIX}  # mine\nsave(dtype=bf16)"
    assert lines(text, value(0.5, "alpha")) == ["unused = 2", "M = weighted_sum(A, B, alpha=0.5)", "save(dtype=bf16)"]


REFUSED: dict[str, tuple[str, tuple[Coordinate, ...], str]] = {
    "two numbers": (MIX, (value(0.5, "alpha"), value(0.2, "M.alpha")), "two axes set 'M.alpha'"),
    "two weights": (MIX, (value("GRAD_V"), value("GRAD_A", "alpha")), "two axes set 'alpha'"),
    "two seeds": (MIX, (Coordinate(SEED, 1), Coordinate(SEED, 2)), "two axes set the seed"),
    "two recipes": (MIX, (Coordinate(RECIPE, MIX), Coordinate(RECIPE, MIX)), "two axes set the recipe"),
    "two methods": (MIX, (value("mean", METHOD), value("mean", "M.method")), "two axes set 'M.method'"),
    "no such address": (MIX, (value(0.5, "M.aplha"),), "Did you mean 'M.alpha'?"),
    "no such parameter": (MIX, (value(0.5, "beta"),), "there is no 'beta' to set"),
    "no such lane": (MIX, (value(0.5, "M.alpha.IN99"),), "there is no 'M.alpha.IN99' to set"),
    "no such method": (MIX, (value("mena", METHOD),), "Did you mean 'mean'?"),
    "no such operand": (MIX, (value("C", "C"),), "has 2 operands"),
    "nothing to weigh": ("M = A", (value("GRAD_V"),), "no block weights to set"),
    "nothing to draw": (MIX, (Coordinate(SEED, 1),), "has no random weights"),
    "nothing drawn": ("M = weighted_sum(A, B, alpha=R)", (value(0.5, "alpha"),), "needs a seed"),
    "no model": ("half = 0.5\nM = half * A + 0.5 * B", (value(0.3, "half"),), "add to 0.8"),
    "no recipe": ("M = ", (value(0.3, "alpha"),), "ends too early"),
}


@pytest.mark.parametrize(("text", "cell", "said"), REFUSED.values(), ids=REFUSED)
def test_cell_that_cannot_be_is_refused(text: str, cell: tuple[Coordinate, ...], said: str):
    for order in itertools.permutations(cell):
        refused = refusal(text, *order)
        assert said in refused or ("two axes" in said and "two axes" in refused)


# ---- recipes by name ----


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.delenv("CHILLY_HOME", raising=False)
    use_folder(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.chilly").write_text("X = mean(A, B)")
    (tmp_path / "recipes" / "notes.md").write_text("no recipe")
    kept = History(tmp_path / "history.sqlite")
    for text in ("M = A", "M = B"):
        kept.add(Entry("picture", "first try", text))
    yield kept
    use_folder(None)


def test_recipes_are_named_by_their_files_and_by_the_titles_of_the_history(history: History):
    names = recipe_names(history)
    assert names[0] == "mine" and "chillymix-card" in names and "notes" not in names
    assert recipe_named("mine", history) == "X = mean(A, B)"
    (older,) = (name for name in names if name.startswith("first try #"))
    assert (recipe_named("first try", history), recipe_named(older, history)) == ("M = B", "M = A")


def test_text_of_a_recipe_is_its_own_name_and_a_wrong_name_is_refused_with_the_nearest(history: History):
    assert recipe_named(MIX, history) == MIX
    with pytest.raises(RecipeError, match=r"there is no recipe 'frist try'. Did you mean 'first try'?"):
        recipe_named("frist try", history)
