"""Random weights: letters become decimals, by seed, variant and place alone, and a file says which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from checkpoints import metadata_of, model, write_models
from hypothesis import given
from hypothesis import strategies as st

from lib_chilly.errors import RecipeError
from lib_chilly.expression import spell
from lib_chilly.notations import read_recipe
from lib_chilly.random_weights import Draw
from lib_chilly.recipe import Recipe
from lib_chilly.recipe_text import parse_recipe

Run = Callable[..., tuple[int, str, str]]


def drawn(text: str, seed: int = 1, variant: int = 1, limits: tuple[Fraction, Fraction] | None = None) -> Recipe:
    return read_recipe(text, Draw(seed, variant, limits))


def numbers(recipe: Recipe, step: str = "M") -> list[Fraction]:
    """The list that a step's only call has as its alpha."""
    ((_, value),) = recipe.steps[step].expression.parameters  # type: ignore[union-attr]
    return [Fraction(spell(item)) for item in value.items]  # type: ignore[union-attr]


def listed(*items: str) -> str:
    return f"M = weighted_sum(a, b, alpha=[{', '.join(items)}])"


def test_numbers_of_a_seed_are_the_same_for_ever():
    text = listed("R", "U", "X(0.2, 0.6)", "0.5", "R")
    assert drawn(text).canonical() == "M = weighted_sum(a, b, alpha=[0.357, -0.457, 0.426, 0.5, 0.868])\n"
    shares = [hashlib.sha256(f"1\0001\0M/0\0alpha\0{place}".encode()).digest()[:8] for place in (0, 1, 2, 4)]
    exact = [int.from_bytes(share, "big") / 2**64 for share in shares]
    limits = [(0, 1), (-0.5, 1.5), (0.2, 0.6), (0, 1)]
    expected = [round(low + (high - low) * share, 3) for share, (low, high) in zip(exact, limits, strict=True)]
    assert expected == [0.357, -0.457, 0.426, 0.868]


@pytest.mark.parametrize(
    ("letter", "low", "high"),
    [
        ("R", "0", "1"),
        ("U", "-0.5", "1.5"),
        ("X(0.2, 0.6)", "0.2", "0.6"),
        ("X(-1, -0.5)", "-1", "-0.5"),
        ("X(2/3, 3/4)", "2/3", "3/4"),
    ],
)
def test_letters_are_uniform_in_their_limits(letter: str, low: str, high: str):
    low_limit, high_limit = Fraction(low), Fraction(high)
    found = [number for seed in range(20) for number in numbers(drawn(listed(*[letter] * 100), seed))]
    assert low_limit <= min(found) and max(found) <= high_limit
    shares = [(number - low_limit) / (high_limit - low_limit) for number in found]
    tenths = [sum(tenth <= share * 10 < tenth + 1 for share in shares) for tenth in range(10)]
    assert all(130 < count < 270 for count in tenths)  # 200 expected, with a deviation of 13
    assert abs(sum(shares) / len(shares) - Fraction(1, 2)) < 0.03


def test_numbers_are_decimals_as_a_person_would_type_them():
    assert all((number * 1000).denominator == 1 for number in numbers(drawn(listed(*"RU" * 50))))
    close = numbers(drawn(listed(*["X(0.25, 0.2501)"] * 50)))
    assert len(set(close)) > 10 and all(Fraction("0.25") <= number <= Fraction("0.2501") for number in close)
    assert all((number * 10**6).denominator == 1 for number in close)


def test_limits_that_are_equal_give_that_number():
    assert numbers(drawn(listed("X(0.3, 0.3)"))) == [Fraction("0.3")]


def test_x_without_limits_takes_those_that_are_given_for_all():
    limits = Fraction("0.4"), Fraction("0.5")
    assert all(limits[0] <= number <= limits[1] for number in numbers(drawn(listed(*"X" * 50), limits=limits)))
    alone, beside = (numbers(drawn(listed(text), limits=limits)) for text in ("X", "X(0.4, 0.5)"))
    assert alone == beside


@given(
    st.integers(),
    st.integers(1, 9),
    st.lists(st.sampled_from(["R", "U", "X(0.2, 0.6)", "0.5"]), min_size=2, max_size=26),
    st.data(),
)
def test_number_of_a_place_depends_on_no_other_place(seed: int, variant: int, items: list[str], data: st.DataObject):
    place = data.draw(st.integers(0, len(items) - 1))
    before = numbers(drawn(listed(*items), seed, variant))
    items[place] = data.draw(st.sampled_from(["R", "U", "0.25", "X(0, 0.5)"]))
    after = numbers(drawn(listed(*items), seed, variant))
    assert before[:place] + before[place + 1 :] == after[:place] + after[place + 1 :]


def test_seed_variant_step_call_and_parameter_each_draw_anew():
    text = "M = sum_twice(a, b, c, alpha=R, beta=R)\nN = 0.5 * weighted_sum(M, b, alpha=R) + 0.5 * weighted_sum(M, c, alpha=R)"
    found = [
        spell(value)
        for seed, variant in ((1, 1), (1, 2), (2, 1), (11, 1))
        for call in drawn(text, seed, variant).calls()
        for _, value in call.parameters
    ]
    assert len(found) == len(set(found)) == 16


def test_other_lines_and_the_order_of_parameters_change_nothing():
    one = drawn("M = sum_twice(a, b, c, alpha=R, beta=U)")
    other = drawn("k = 0.5\nZ = weighted_sum(a, b, alpha=R)\nM = sum_twice(a, b, Z, beta=U, alpha=R)")
    assert dict(one.calls()[0].parameters) == dict(other.calls()[-1].parameters)


def test_letters_stand_wherever_a_parameter_has_a_number():
    text = 'M = weighted_sum(a, b, alpha={*: [R, R], IN*: U, "x.*": 1, attn2: 0.5 * R, M00: X(0.2, 0.6)})'.replace('"x.*"', "x.*")
    draw = Draw(3)
    recipe = read_recipe(text, draw)
    assert draw.count == 5 and not set("RUX") & set(recipe.canonical().replace("weighted_sum", ""))
    assert parse_recipe(recipe.canonical()) == recipe


def test_names_that_are_letters_stay_names():
    recipe = drawn("X = 0.25\nM = weighted_sum(R, U, alpha=[X, R])\nsave(title=R)")
    assert [node.name for node in recipe.models()] == ["R", "U"] and recipe.option("title") == "R"
    assert recipe.canonical().startswith("X = 0.25\nM = weighted_sum(R, U, alpha=[X, 0.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (listed("0.5", "X"), "X has no limits"),
        (listed("X(1)"), "X takes its two limits"),
        (listed("X(0, 1, 2)"), "X takes its two limits"),
        (listed("X(0, high=1)"), "X takes its two limits"),
        (listed("X(0.6, 0.2)"), "the lower limit, then the higher one"),
        (listed("X(0, 1e-90)"), "at least 1e-9 apart"),
        (listed("X(a, 1)"), "'a' is no number"),
        (listed("X(R, 1)"), "'R' is no number"),
        (listed("R(0, 1)"), "is no number"),
        (listed("r"), "'r' is no number"),
    ],
)
def test_limits_that_are_none_are_refused_at_their_place(text: str, said: str):
    with pytest.raises(RecipeError, match=said) as caught:
        drawn(text)
    assert caught.value.position is not None and "^" in str(caught.value)


@pytest.mark.parametrize("item", ["R", "U", "X", "X(0.2, 0.6)"])
def test_letters_without_a_seed_are_refused_with_what_to_do(item: str):
    with pytest.raises(RecipeError, match="needs a seed: --seed N"):
        read_recipe(listed(item))


# ---- the command line ----


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("random") / "models", a=model(1), b=model(2))


RECIPE = "M = weighted_sum(a, b, alpha={*: R, IN*: X})"


def recorded(path: Path) -> str:
    return json.loads(metadata_of(path)["chillymerge"])["recipe"]


def test_variants_are_files_of_their_own_each_with_its_numbers_and_each_can_be_run_again(run: Run, models: Path, tmp_path: Path):
    options = ["--models", models, "--seed", "7", "--limits", "0.4,0.5"]
    assert run("merge", RECIPE, "-o", tmp_path / "mix.safetensors", "--variants", "3", *options)[0] == 0
    paths = [tmp_path / f"mix-v{variant}.safetensors" for variant in (1, 2, 3)]
    assert sorted(tmp_path.glob("*.safetensors")) == paths
    assert len({recorded(path) for path in paths}) == len({path.read_bytes() for path in paths}) == 3
    limits = Fraction("0.4"), Fraction("0.5")
    assert [recorded(path) for path in paths] == [
        drawn(f"{RECIPE}\nsave(dtype=fp16)", 7, variant, limits).canonical() for variant in (1, 2, 3)
    ]
    for path in paths:
        assert run("merge", recorded(path), "-o", tmp_path / "again.safetensors", "--models", models, "--overwrite")[0] == 0
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_without_variants_the_file_is_that_of_variant_1(run: Run, models: Path, tmp_path: Path):
    options = ["--models", models, "--seed", "7", "--limits=-0.5,0.5"]
    assert run("merge", RECIPE, "-o", tmp_path / "one.safetensors", *options)[0] == 0
    assert run("merge", RECIPE, "-o", tmp_path / "{variant}.of 1.safetensors", "--variants", "1", *options)[0] == 0
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "1.of 1.safetensors").read_bytes()


def test_plan_shows_the_numbers_that_a_merge_of_that_seed_takes(run: Run, models: Path, tmp_path: Path):
    options = ["--models", models, "--seed", "7", "--limits", "0,1", "--json"]
    plan = json.loads(run("plan", RECIPE, *options)[1])
    both = json.loads(run("merge", RECIPE, "-o", tmp_path / "mix.safetensors", "--variants", "2", *options)[1])["variants"]
    assert [facts["recipe"] == plan["recipe"] for facts in both] == [True, False]
    assert [Path(facts["output"]).name for facts in both] == ["mix-v1.safetensors", "mix-v2.safetensors"]


def test_variant_that_cannot_be_written_is_said_before_the_first_is(run: Run, models: Path, tmp_path: Path):
    (tmp_path / "mix-v3.safetensors").write_text("mine")
    options = ["--models", models, "--seed", "7", "--limits", "0,1", "--variants", "3"]
    code, out, error = run("merge", RECIPE, "-o", tmp_path / "mix.safetensors", *options)
    assert (code, out) == (2, "") and "mix-v3.safetensors' exists" in error
    assert not (tmp_path / "mix-v1.safetensors").exists() and (tmp_path / "mix-v3.safetensors").read_text() == "mine"


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        (RECIPE, [], "needs a seed: --seed N"),
        (RECIPE, ["--seed", "1"], "X has no limits"),
        (RECIPE, ["--variants", "2"], "say --seed N too"),
        (RECIPE, ["--limits", "0,1"], "say --seed N too"),
        ("0.5 * a + 0.5 * b", ["--seed", "1"], "nothing to draw"),
        (RECIPE, ["--seed", "1", "--limits", "0.6,0.2"], "argument --limits: '0.6,0.2' has the higher limit first"),
        (RECIPE, ["--seed", "1", "--limits", "1e999999999,2"], "is not LOW,HIGH"),
        (RECIPE, ["--seed", "1", "--limits", "1"], "is not LOW,HIGH"),
        (RECIPE, ["--seed", "x"], "invalid int value"),
        (RECIPE, ["--seed", "1", "--variants", "0"], "not a whole number between 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_with_seeds_are_said(run: Run, models: Path, tmp_path: Path, recipe: str, options: list[str], said: str):
    code, out, error = run("merge", recipe, "-o", tmp_path / "mix.safetensors", "--models", models, *options)
    assert (code, out) == (2, "") and said in error
    assert not (tmp_path / "mix.safetensors").exists()
