"""Folding: any linear recipe comes to the one weighted sum that exact fractions give, rounded to the nearest numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from checkpoints import LANES, UNET, model, plan_in, write_models
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import nearest

from lib_chilly.errors import RecipeError
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import Plan, make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.report import plan_facts
from lib_chilly.rounding import to_float32, to_float64

CARD = """
ratio     = 0.15
pyAB      = mean(pyro_pov_a, pyro_pov_b)
MERGE1    = (1 - ratio) * analogDiffusion_10 + ratio * pyAB
MERGE1Fix = 0.95 * MERGE1 + 0.05 * v1-5-pruned-emaonly
MERGE2    = MERGE1Fix + 1 * (F222_v1 - v1-5-pruned-emaonly)
BASE_V0   = 0.75 * MERGE2 + 0.25 * r34_e4
"""
TABLE = {
    "pyro_pov_a": Fraction("0.0534375"),
    "pyro_pov_b": Fraction("0.0534375"),
    "analogDiffusion_10": Fraction("0.605625"),
    "v1-5-pruned-emaonly": Fraction("-0.7125"),
    "F222_v1": Fraction("0.75"),
    "r34_e4": Fraction("0.25"),
}
"""The card's own table, in the order of the sum."""

SOURCES = ("ma", "mb", "mc", "md", "me")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {name: model(1, only=[]) for name in (*SOURCES, *TABLE)}
    return write_models(tmp_path_factory.mktemp("sources"), **models, NED=model(2))


@pytest.fixture(scope="module")
def library(folder: Path) -> ModelLibrary:
    return ModelLibrary([folder])


def exact(plan: Plan, row: str) -> dict[str, Fraction]:
    return {plan.sources[number].name: plan.rows[row].exact[number] for number in sorted(plan.rows[row].exact)}


# ---- the card ----


def test_card_folds_to_its_own_table_in_the_order_of_the_sum(folder):
    plan = plan_in(folder, CARD)
    assert list(exact(plan, "IN11").items()) == list(TABLE.items())
    assert plan_facts(plan, threads=1)["folded"] == {
        lane: {name: float(weight) for name, weight in TABLE.items()} for lane in ("CLIP_L", "IN11")
    }


def test_card_with_block_weights_takes_ned_or_the_table_lane_by_lane(tmp_path: Path):
    write_models(tmp_path, **{name: model(1) for name in (*TABLE, "NED")})
    alpha = [1] * 14 + [0] * 12
    plan = plan_in(tmp_path, f"{CARD}V1_NED = weighted_sum(BASE_V0, NED, alpha={alpha})")
    for lane in LANES:
        from_ned = lane in ("CLIP_L", "VAE", "TIME", "M00") or lane.startswith("IN")
        assert exact(plan, lane) == ({"NED": 1} if from_ned else TABLE)
    assert set(plan.rows) == set(LANES)


# ---- random recipes ----


@dataclass(frozen=True)
class Said:
    """A piece of a recipe and what it comes to; `binds` is 1 for sums, 2 for products, 3 for the rest."""

    text: str
    value: Mapping[str, Fraction]
    binds: int = 3

    def below(self, binding: int) -> str:
        return self.text if self.binds >= binding else f"({self.text})"


def combined(*terms: tuple[Fraction, Said]) -> dict[str, Fraction]:
    total: dict[str, Fraction] = {}
    for weight, said in terms:
        for name, coefficient in said.value.items():
            total[name] = total.get(name, Fraction(0)) + weight * coefficient
    return total


NUMBERS = st.one_of(
    st.integers(-2000, 2000).map(lambda n: (f"{'-' * (n < 0)}{abs(n) // 1000}.{abs(n) % 1000:03}", Fraction(n, 1000))),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: (f"({pair[0]}/{pair[1]})", Fraction(*pair))),
    st.integers(1, 99).map(lambda n: (f"(1 - 0.{n:02})", 1 - Fraction(n, 100))),
    st.integers(1, 999).map(lambda n: (f"{n}e-3", Fraction(n, 1000))),
)
"""(text, value)."""


OPERANDS = (0, 2, 3, 3, 3, 3, 2, 2, 1, 3, 3, 1)
"""How many models each kind of expression has: drawing one that is not used takes its time, too."""


@st.composite
def models(draw: st.DrawFn, steps: Sequence[Said], deltas: Sequence[Said], depth: int) -> Said:
    kind = draw(st.integers(0, 11)) if depth else 0
    if kind == 0:
        return draw(st.sampled_from([Said(name, {name: Fraction(1)}) for name in SOURCES] + list(steps)))
    one = models(steps, deltas, depth - 1)
    some_delta = delta_of(steps, deltas, depth - 1)
    a, b, c = (draw(one) if number < OPERANDS[kind] else None for number in range(3))
    (x, alpha), (y, beta) = draw(NUMBERS), draw(NUMBERS)
    if kind == 1:
        return Said(f"weighted_sum({a.text}, {b.text}, alpha={x})", combined((1 - alpha, a), (alpha, b)))
    if kind == 2:
        return Said(f"mean({a.text}, {b.text}, {c.text})", combined(*((Fraction(1, 3), m) for m in (a, b, c))))
    if kind == 3:
        return Said(
            f"add_difference({a.text}, {b.text}, {c.text}, alpha={x})", combined((Fraction(1), a), (alpha, b), (-alpha, c))
        )
    if kind == 4:
        terms = ((1 - beta) * (1 - alpha), a), ((1 - beta) * alpha, b), (beta, c)
        return Said(f"sum_twice({a.text}, {b.text}, {c.text}, alpha={x}, beta={y})", combined(*terms))
    if kind == 5:
        terms = (1 - alpha - beta, a), (alpha, b), (beta, c)
        return Said(f"triple_sum({a.text}, {b.text}, {c.text}, beta={y}, alpha={x})", combined(*terms))
    if kind == 6 and alpha * beta != 1:
        terms = (1 / (1 - alpha * beta), a), (-alpha * beta / (1 - alpha * beta), b)
        return Said(f"weighted_subtraction({a.text}, {b.text}, alpha={x}, beta={y})", combined(*terms))
    if kind == 7:
        return Said(f"{x} * {a.below(2)} + {b.below(3)} * (1 - {x})", combined((alpha, a), (1 - alpha, b)), 1)
    if kind == 8:
        change = draw(some_delta)
        return Said(f"{a.below(1)} + {change.below(2)} * {y}", combined((Fraction(1), a), (beta, change)), 1)
    if kind == 9:
        return Said(f"({a.below(1)} + {b.below(2)} + {c.below(2)}) / 3", combined(*((Fraction(1, 3), m) for m in (a, b, c))), 2)
    if kind == 10:  # a bracket that is neither a model nor a delta
        text = f"{x} * ({y} * {a.below(2)} - 0.5 * {b.below(2)}) + {c.below(2)} * (1 - {x} * ({y} - 0.5))"
        return Said(text, combined((alpha * beta, a), (-alpha / 2, b), (1 - alpha * (beta - Fraction(1, 2)), c)), 1)
    change = draw(some_delta)
    return Said(f"{a.below(1)} - {change.below(2)} / 7", combined((Fraction(1), a), (Fraction(-1, 7), change)), 1)


@st.composite
def delta_of(draw: st.DrawFn, steps: Sequence[Said], deltas: Sequence[Said], depth: int) -> Said:
    one = models(steps, deltas, max(0, depth - 1))
    kind = draw(st.integers(0, 6)) if depth else draw(st.integers(0, 1))
    if kind == 1 and deltas:
        return draw(st.sampled_from(list(deltas)))
    if kind <= 2:
        a, b = draw(one), draw(one)
        return Said(f"{a.below(1)} - {b.below(2)}", combined((Fraction(1), a), (Fraction(-1), b)), 1)
    deeper = delta_of(steps, deltas, depth - 1)
    d, e = draw(deeper), draw(deeper)
    x, alpha = draw(NUMBERS)
    if kind == 3:
        return Said(f"{x} * {d.below(2)}", combined((alpha, d)), 2)
    if kind == 4:
        return Said(f"-{d.below(3)} + {e.below(2)}", combined((Fraction(-1), d), (Fraction(1), e)), 1)
    if kind == 5:
        return Said(f"weighted_sum({d.text}, {e.text}, alpha={x})", combined((1 - alpha, d), (alpha, e)))
    return Said(f"mean({d.text}, {e.text})", combined((Fraction(1, 2), d), (Fraction(1, 2), e)))


@st.composite
def recipes(draw: st.DrawFn) -> tuple[str, Said]:
    """(text, what its result comes to)."""
    steps: list[Said] = []
    deltas: list[Said] = []
    lines = []
    for number in range(draw(st.integers(0, 3))):
        is_delta = draw(st.booleans())
        said = draw((delta_of if is_delta else models)(steps, deltas, 2))
        lines.append(f"s{number} = {said.text}")
        (deltas if is_delta else steps).append(Said(f"s{number}", said.value))
    result = draw(models(steps, deltas, 3))
    return "\n".join([*lines, f"result = {result.text}"]), result


@settings(max_examples=80, deadline=None)
@given(recipe=recipes())
def test_folding_is_evaluating_with_fractions_when_all_sources_hold_the_key(library, recipe):
    text, result = recipe
    plan = make_plan(parse_recipe(text), library)
    got = exact(plan, "IN11")
    assert got == {name: weight for name, weight in result.value.items() if weight}
    assert sum(got.values()) == 1
    assert list(got) == [name for name in order_of(text) if name in got]
    again = parse_recipe(plan.recipe.canonical())
    assert again.canonical() == plan.recipe.canonical()
    assert exact(make_plan(again, library), "IN11") == got


def order_of(text: str) -> list[str]:
    """Sources in which the steps that the result uses first name them."""
    lines = dict(line.split(" = ", 1) for line in text.splitlines())
    used, todo = set(), ["result"]
    while todo:
        used.add(step := todo.pop())
        todo += re.findall(r"\bs\d\b", lines[step])
    return list(dict.fromkeys(re.findall(r"\bm[a-e]\b", "\n".join(body for name, body in lines.items() if name in used))))


# ---- what the sum holds ----


def test_source_whose_coefficients_cancel_is_neither_read_nor_in_the_sum(folder):
    plan = plan_in(folder, "M = ma + 0.3 * (mb - mc) - 0.3 * mb + 0.3 * mc")
    assert exact(plan, "IN11") == {"ma": 1}
    assert {job.reads() == {0} for job in plan.jobs} == {True}


def test_name_with_and_without_its_suffix_is_one_source(folder):
    plan = plan_in(folder, "M = 0.5 * ma + 0.2 * ma.safetensors + 0.3 * mb")
    assert [source.name for source in plan.sources] == ["ma", "mb"]
    assert exact(plan, "IN11") == {"ma": Fraction("0.7"), "mb": Fraction("0.3")}


def test_symlink_to_a_model_is_the_same_source(tmp_path: Path):
    write_models(tmp_path, ma=model(1, only=[]))
    (tmp_path / "mb.safetensors").symlink_to(tmp_path / "ma.safetensors")
    assert exact(plan_in(tmp_path, "M = 0.6 * ma + 0.4 * mb"), "IN11") == {"ma": 1}


def test_free_sum_keeps_its_numbers_and_warns(folder):
    plan = plan_in(folder, "M = free_sum(ma, mb, mc, alpha=0.5, beta=0.75)")
    assert exact(plan, "IN11") == {"ma": Fraction(1, 2), "mb": Fraction(3, 4), "mc": 1}
    assert any("need not add to 1" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("M = 0.5 * ma + 0.4 * mb", "0.9"),
        ("M = ma + 0.1 * mb", "1.1"),
        ("M = ma + mb - mc + md", "2"),
        ("D = ma - 0.9 * mb\nM = mc + D", "0.1"),
        ("M = 1/3 * ma + 0.6666666666666667 * mb", "almost 1"),
    ],
)
def test_sum_of_neither_a_model_nor_a_delta_is_refused_with_the_sum(folder, text, total):
    with pytest.raises(RecipeError, match=rf"add to {re.escape(total)}\b.*a model needs 1, a delta 0"):
        plan_in(folder, text)


def test_coefficients_are_exact_decimals_not_binary_floats(folder):
    plan = plan_in(folder, "M = 0.1 * ma + 0.2 * mb + 0.7 * mc")
    assert exact(plan, "IN11") == {"ma": Fraction(1, 10), "mb": Fraction(2, 10), "mc": Fraction(7, 10)}
    (job,) = (job for job in plan.jobs if job.lane == "IN11")
    assert [weight for _, weight in job.terms] == [float(np.float32(x)) for x in ("0.1", "0.2", "0.7")]


def test_coefficient_too_large_for_float32_is_refused_and_fits_float64(folder):
    text = "M = ma + 1e39 * (mb - mc)"
    with pytest.raises(RecipeError, match="too large for float32"):
        plan_in(folder, text)
    assert exact(plan_in(folder, text, dtype="fp32"), "IN11")["mb"] == 10**39


def test_weighted_subtraction_by_everything_is_refused(folder):
    with pytest.raises(RecipeError, match="divides by zero with alpha = 1, beta = 1"):
        plan_in(folder, "M = weighted_subtraction(ma, mb, alpha=1, beta=1)")


@pytest.mark.parametrize("method", ["weighted_sum(ma, mb, alpha=2/3)", "mean(ma, ma, mb)", "1/3 * mb + 2/3 * ma"])
def test_thirds_stay_thirds_until_they_are_rounded_once(tmp_path: Path, method):
    key = UNET + "input_blocks.1.0.in_layers.0.weight"
    write_models(tmp_path, ma=model(1, only=[key]), mb=model(2, only=[key]))
    plan = plan_in(tmp_path, f"M = {method}", dtype="fp32")
    (job,) = (job for job in plan.jobs if job.key == key)
    assert sorted(weight for _, weight in job.terms) == [1 / 3, 2 / 3]


# ---- rounding a coefficient ----


def near_a_tie(count: int, exponent: int, beside: int) -> Fraction:
    """Midway between two float32 numbers, or beside it by so little that float64 cannot tell."""
    return (count + Fraction(1, 2)) * Fraction(2) ** exponent * (1 + Fraction(beside, 2**70))


RATIONALS = st.one_of(
    st.fractions(-3, 3),
    st.builds(near_a_tie, st.integers(0, 2**24 - 1), st.integers(-149, 100), st.sampled_from((-1, 0, 1))),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(Fraction),
    st.builds(lambda n, d: Fraction(n, 10**d), st.integers(-(10**12), 10**12), st.integers(0, 60)),
)


@settings(max_examples=100, deadline=None)
@given(RATIONALS)
@example(Fraction(float(np.finfo(np.float32).max)))
@example(Fraction(2) ** -150)
@example(Fraction(2) ** -150 * 3)
@example(Fraction(2) ** -151)
@example(1 + Fraction(1, 2**24) + Fraction(1, 2**60))
def test_to_float32_gives_the_nearest_and_of_two_the_even_one(value: Fraction):
    got = to_float32(value)
    single = np.float32(got)
    assert float(single) == got
    distance = abs(Fraction(got) - value)
    for neighbour in (np.nextafter(single, np.float32(end)) for end in (-3.4e38, 3.4e38)):
        if neighbour != single:
            other = abs(Fraction(float(neighbour)) - value)
            assert distance < other or (distance == other and int(single.view(np.int32)) % 2 == 0)
    assert Fraction(got) == nearest(value, 24, -149)


@settings(max_examples=100, deadline=None)
@given(RATIONALS)
def test_to_float64_gives_the_nearest(value: Fraction):
    assert Fraction(to_float64(value)) == nearest(value, 53, -1074)


Rounding = Callable[[Fraction], float]


@pytest.mark.parametrize("rounding", [to_float32, to_float64])
def test_rounding_is_odd_and_monotonic(rounding: Rounding):
    values = sorted(
        near_a_tie(count, exponent, beside) for count in (0, 7, 2**24 - 1) for exponent in (-149, 0, 60) for beside in (-1, 0, 1)
    )
    got = [rounding(value) for value in values]
    assert got == sorted(got)
    assert [rounding(-value) for value in values] == [-x for x in got]


def test_source_that_counts_zero_in_a_lane_is_not_read_there(tmp_path: Path):
    key = UNET + "input_blocks.1.0.in_layers.0.weight"
    write_models(tmp_path, ma=model(1, only=[key]), mb=model(2, only=[key]))
    plan = plan_in(tmp_path, "M = weighted_sum(ma, mb, alpha={IN01: 0, *: 0.5})")
    assert {job.lane: job.reads() for job in plan.jobs} == {"IN01": {0}, "IN11": {0, 1}, "CLIP_L": {0, 1}}
