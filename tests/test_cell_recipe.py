"""The recipe of a cell is the same whatever the order of its axes, and recipes have names."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pytest

from lib_chilly.architecture import load
from lib_chilly.errors import MergeError, RecipeError
from lib_chilly.hashes import use_folder
from lib_chilly.history import Entry, History
from lib_chilly.number_lists import presets
from lib_chilly.ui.axis_values import exact_number
from lib_chilly.ui.cell_recipe import LORA, METHOD, RECIPE, SEED, VALUE, WEIGHTS, Coordinate, cell_recipe
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
    "lora": ("M = A + lora(x)", (value(0.5, LORA),), "M = A + lora(x, scale=0.5)"),
    "lora of a step, and its blocks": (
        "L = lora(x, scale={OUT*: 1})\nM = weighted_sum(A + L, B, alpha=0.3)",
        (value(0.5, LORA), value(0.7, "alpha"), value("0.2", "L.scale.IN04")),
        "M = weighted_sum(A + L, B, alpha=0.7)",
    ),
    "constant called lora": ("lora = 0.5\nM = A + lora * (B - A)", (value(0.7, LORA),), "M = A + lora * (B - A)"),
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


def test_strength_of_a_lora_needs_one_lora():
    assert "no LoRA whose strength could be set" in refusal(MIX, value(0.5, LORA))
    assert "2 LoRAs, so that STEP.scale says which" in refusal("M = A + lora(x) + lora(y)", value(0.5, LORA))
    assert lines("L = lora(x, scale={OUT*: 1})\nM = A + L", value(0.5, LORA))[0] == "L = lora(x, scale={OUT*: 0.5})"
