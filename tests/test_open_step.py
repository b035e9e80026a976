"""The recipes of pictures that a page wants of a step: its operands, its curve at other strengths, other block weights."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lib_chilly.architecture import Architecture, load
from lib_chilly.blocks import resolve
from lib_chilly.errors import MergeError, RecipeError
from lib_chilly.fold import Folder
from lib_chilly.recipe import Recipe
from lib_chilly.recipe_check import Checker
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.open_step import OpenStep
from lib_chilly.ui.picture_params import read_params
from lib_chilly.ui.picture_wants import MOST_PICTURES, Wanted, read_wanted
from lib_chilly.ui.problem import FieldError

SD1, SDXL = load("sd1"), load("sdxl")
CHAIN = (
    "w = 0.3\nM = weighted_sum(NED, base, alpha={IN*: w, M00: 0.8, *: 0.4})  # mixed\n"
    "V = 0.95 * M + 0.05 * pyro\nW = add_difference(V, porn, base)\nsave(dtype=fp32, vae=x)"
)


def wanted(text: str, *pictures: object, step: str | None = None, architecture: Architecture = SD1, **how: str) -> list[Wanted]:
    return read_wanted(OpenStep(parse_recipe(text), step, **how), pictures, architecture)


def one(text: str, picture: dict, **how: object) -> Recipe:
    (found,) = wanted(text, {"id": "x", **picture}, **how)  # type: ignore[arg-type]
    return found.recipe


def weights(recipe: Recipe, architecture: Architecture = SD1) -> dict[str, Fraction]:
    """Lane to the number that the last call's first parameter has there."""
    call = recipe.calls()[-1]
    given = Checker.of(recipe).parameters(call)
    resolved = resolve(next(iter(given.values())), architecture, Fraction(0))
    return {lane: resolved.of("", lane)[0] for lane in architecture.lanes}


def shares(recipe: Recipe) -> dict[str, Fraction]:
    """Model to its coefficient; of a recipe without block weights."""
    names = list(dict.fromkeys(model.name for model in recipe.models()))
    folder = Folder(recipe, {name: number for number, name in enumerate(names)})
    numbers = {
        (number, name): weights.default
        for number, call in enumerate(recipe.calls())
        for name, weights in folder.checker.parameters(call).items()
    }
    return {names[number]: share for number, share in folder.fold(numbers, frozenset(range(len(names)))).form.terms.items()}


# ---- operands ----


def test_merge_of_an_earlier_step_is_that_step_with_the_recipe_s_options():
    recipe = one(CHAIN, {"of": "merged"}, step="M")
    assert recipe.result == "M" and (recipe.option("dtype"), recipe.option("vae")) == ("fp32", "x")


@pytest.mark.parametrize(
    ("step", "of", "expected"),
    [
        ("M", "a", "result = NED\nsave(dtype=source)\n"),
        ("M", "b", "result = base\nsave(dtype=source)\n"),
        ("V", "b", "result = pyro\nsave(dtype=source)\n"),
        ("V", "a", "w = 0.3\nM = weighted_sum(NED, base, alpha={IN*: w, M00: 0.8, *: 0.4})\nsave(dtype=fp32, vae=x)\n"),
        ("W", "b", "result = porn\nsave(dtype=source)\n"),
    ],
)
def test_operand_is_a_model_as_it_is_stored_or_a_step_as_it_would_be_saved(step, of, expected):
    (found,) = wanted(CHAIN, {"id": "x", "of": of}, step=step)
    assert found.own_text == expected


def test_operand_that_is_an_expression_gets_a_line_of_its_own():
    text = "A_of_X = c\nX = weighted_sum(0.5 * a + 0.5 * b, A_of_X, alpha=0.25)"
    recipe = one(text, {"of": "a"})
    assert recipe.result == "A_of_X_" and shares(recipe) == {"a": Fraction(1, 2), "b": Fraction(1, 2)}


def test_step_of_one_model_has_no_b():
    assert one("x = NED", {"of": "a"}).canonical() == "result = NED\nsave(dtype=source)\n"
    with pytest.raises(MergeError, match="made of one model; there is no B"):
        one("x = NED", {"of": "b"})


# ---- strength ----


@pytest.mark.parametrize(
    "value", ["0.4", "-0.4 / 3", "{IN*: 0.3, OUT05/attn2: 1, *: 0.5}", 'preset("GRAD_V")', f"[{', '.join(['0.1', '0.7'] * 13)}]"]
)
@pytest.mark.parametrize("architecture", [SD1, SDXL], ids=lambda row: row.name)
def test_strength_scales_every_number_of_the_curve(value, architecture):
    text = f"x = weighted_sum(a, b, alpha={value})"
    before, after = parse_recipe(text), one(text, {"strength": 0.25}, architecture=architecture)
    expected = {lane: number / 4 for lane, number in weights(before, architecture).items()}
    assert weights(after, architecture) == expected


def test_strength_of_a_parameter_that_is_not_written_scales_its_default():
    assert shares(one("x = add_difference(a, b, c)", {"strength": 0.5})) == {"a": 1, "b": Fraction(1, 2), "c": Fraction(-1, 2)}


def test_strength_of_a_sum_is_that_of_the_weighted_sum_that_it_is():
    recipe = one(CHAIN, {"strength": 0.5}, step="V")
    assert recipe.canonical().split("\n")[2] == "V = weighted_sum(M, pyro, alpha=0.025)"


@pytest.mark.parametrize("text", ["x = mean(a, b, c)", "x = a / 3 + b / 3 + c / 3"])
def test_strength_of_what_has_no_weights_is_the_way_from_a(text):
    found = shares(one(text, {"strength": 0.5}))
    assert found == {"a": Fraction(2, 3), "b": Fraction(1, 6), "c": Fraction(1, 6)}


def test_parameter_that_is_named_is_the_one_that_is_scaled():
    text = "x = sum_twice(a, b, c, alpha=0.4, beta=0.6)"
    expected = "x = sum_twice(a, b, c, alpha=0.4, beta=0.3)\nsave(step=x)\n"
    assert one(text, {"strength": 0.5}, parameter="beta").canonical() == expected
    with pytest.raises(FieldError, match=r"no block weights 'gamma'\. There are: alpha, beta") as refused:
        one(text, {"strength": 0.5}, parameter="gamma")
    assert refused.value.field == "parameter"


# ---- blocks and variants ----


def test_block_is_moved_and_everything_else_stays():
    before = weights(parse_recipe(CHAIN).with_options(step="M"))
    assert weights(one(CHAIN, {"block": "IN04", "to": 0.9}, step="M")) == {**before, "IN04": Fraction("0.9")}
    assert weights(one(CHAIN, {"block": "VAE"}, step="V"))["VAE"] == 1


def test_what_has_no_block_weights_says_so():
    for picture in ({"block": "IN04"}, {"variant": 1}):
        with pytest.raises(MergeError, match="no block weights to change"):
            one("x = mean(a, b)", picture)


@pytest.mark.parametrize("architecture", [SD1, SDXL], ids=lambda row: row.name)
def test_variant_is_drawn_within_limits_by_seed_and_number(architecture):
    def drawn(**more: float) -> dict[str, Fraction]:
        picture = {"variant": 2, "seed": 7, "low": 0.2, "high": 0.6, **more}
        return weights(one("x = weighted_sum(a, b, alpha=0.3)", picture, architecture=architecture), architecture)

    numbers = drawn()
    assert numbers == drawn() and numbers != drawn(variant=3) and numbers != drawn(seed=8)
    assert all(Fraction("0.2") <= number <= Fraction("0.6") for number in numbers.values())
    assert len(set(numbers.values())) > 10
    with pytest.raises(RecipeError, match="lower limit"):
        drawn(low=0.7)


# ---- the text to go on with, and the recipe of the picture alone ----


def test_text_to_go_on_with_keeps_all_other_lines_and_what_was_saved():
    (found,) = wanted(CHAIN + "\n", {"id": "x", "strength": 0.5}, step="V")
    plain = parse_recipe(CHAIN).canonical()
    assert found.text == plain.replace("V = 0.95 * M + 0.05 * pyro", "V = weighted_sum(M, pyro, alpha=0.025)")
    assert found.own_text == "".join(line + "\n" for line in found.text.split("\n") if line and not line.startswith("W ="))
    assert parse_recipe(found.own_text).result == "V"


def test_text_to_go_on_with_keeps_a_step_that_was_to_be_saved():
    text = "M = weighted_sum(a, b)\nN = weighted_sum(M, c)\nsave(step=M)\n"
    found = wanted(text, {"id": "x", "of": "merged"}, {"id": "y", "strength": 1}, step="N")
    assert [each.text.split("\n")[-2] for each in found] == ["save(step=M)", "save(step=M)"]


# ---- what a page may ask ----


def test_pictures_come_in_the_order_in_which_they_are_best_made():
    asked = [
        {"id": "v", "variant": 1},
        {"id": "s", "strength": 0.5},
        {"id": "IN01", "block": "IN01"},
        {"id": "b", "of": "b"},
        {"id": "IN00", "block": "IN00"},
        {"id": "merged", "of": "merged"},
    ]
    assert [each.id for each in wanted(CHAIN, *asked, step="M")] == ["b", "merged", "IN01", "IN00", "s", "v"]


@pytest.mark.parametrize(
    "picture",
    [
        None,
        {},
        {"id": "x"},
        {"of": "a"},
        {"id": 3, "of": "a"},
        {"id": "x" * 101, "of": "a"},
        {"id": "x", "of": "c"},
        {"id": "x", "of": []},
        {"id": "x", "of": "a", "strength": 1},
        {"id": "x", "strength": "1"},
        {"id": "x", "strength": True},
        {"id": "x", "strength": 1e9},
        {"id": "x", "strength": float("nan")},
        {"id": "x", "block": "D00"},
        {"id": "x", "block": {}},
        {"id": "x", "block": "IN04", "to": None},
        {"id": "x", "variant": 0.5},
        {"id": "x", "variant": 1, "seed": -1},
    ],
)
def test_picture_that_is_none_is_refused_at_its_field(picture):
    with pytest.raises(FieldError) as refused:
        wanted(CHAIN, picture, step="M")
    assert refused.value.field == "pictures"


def test_number_of_pictures_and_their_ids_are_bounded():
    for pictures in ([], [{"id": str(n), "of": "a"} for n in range(MOST_PICTURES + 1)], [{"id": "x", "of": "a"}] * 2):
        with pytest.raises(FieldError):
            wanted(CHAIN, *pictures, step="M")


def test_step_that_is_not_there_is_refused_at_its_field():
    with pytest.raises(FieldError, match=r"no step 'Z'\. Steps: M, V, W") as refused:
        OpenStep(parse_recipe(CHAIN), "Z")
    assert refused.value.field == "step"


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"width": 65}, "width", "the width is 65; it is a multiple of 8"),
        ({"height": 8}, "height", "the height is 8"),
        ({"steps": 0}, "steps", "there are 0 steps"),
        ({"steps": 2.5}, "steps", "steps is a whole number"),
        ({"steps": True}, "steps", "steps is a whole number"),
        ({"cfg": 0.5}, "cfg", "the cfg scale is 0.5"),
        ({"cfg": "7"}, "cfg", "the cfg is a number"),
        ({"seed": -1}, "seed", "the seed is -1"),
        ({"clip_skip": 99}, "clip_skip", "clip skip is 99"),
        ({"sampler": "Magic"}, "sampler", "no sampler 'Magic' here. There are Euler"),
        ({"prompt": 3}, "prompt", "the prompt is text"),
        ({"negative_prompt": "x" * 20_001}, "negative_prompt", "has 20001 characters; at most 20000"),
        ({"script": "x"}, "params", "no parameter 'script'"),
    ],
)
def test_parameter_that_does_not_fit_is_said_at_its_field(given, field, said):
    with pytest.raises(FieldError, match=said) as refused:
        read_params({"prompt": "a cat", "steps": 4, "sampler": "Euler", **given}, ["Euler"])
    assert refused.value.field == field


def test_parameters_that_are_not_said_have_their_defaults():
    params = read_params({"prompt": "a cat", "cfg": 5}, ["Euler a"])
    assert (params.prompt, params.cfg, params.steps, params.width) == ("a cat", 5.0, 20, 512)
