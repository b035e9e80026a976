"""Fixes of a recipe's errors: what one click writes is what was meant, and the error is gone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from checkpoints import model, write_file, write_models
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.errors import CheckpointError, MergeError, RecipeError
from lib_chilly.models import ModelLibrary
from lib_chilly.notations import read_recipe
from lib_chilly.plan import make_plan
from lib_chilly.ui.draft import read_draft
from lib_chilly.ui.fixes import fixes_of

ONES, FINE = ", ".join("1" * 26), "0." + "3" * 150


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ModelLibrary:
    folder = write_models(tmp_path_factory.mktemp("models"), A=model(1), B=model(2), C=model(3), NED=model(4))
    (folder / "sub").mkdir()
    write_file(folder / "sub" / "B.safetensors", model(5))
    write_file(folder / "my model.safetensors", model(6))
    return ModelLibrary([folder])


def problem(text: str, library: ModelLibrary) -> MergeError | None:
    """What is wrong with a recipe, as a page finds it out."""
    try:
        make_plan(read_recipe(text), library)
    except MergeError as error:
        return error
    return None


def fixed(text: str, library: ModelLibrary) -> dict[str, str]:
    """Label to text of each fix of what is wrong with a recipe."""
    error = problem(text, library)
    assert error is not None, f"nothing is wrong with {text!r}"
    return {fix["label"]: fix["text"] for fix in fixes_of(error, text, library)}


@pytest.mark.parametrize(
    ("text", "label", "new"),
    [
        # names
        ("M = weighted_sum(A, NDE, alpha=0.3)", "Use NED", "M = weighted_sum(A, NED, alpha=0.3)"),
        ("M = 0.5 * A + 0.5 * ned # NED, ned", "Use NED", "M = 0.5 * A + 0.5 * NED # NED, ned"),
        ("M = mean(A, my-model)", "Use my model", 'M = mean(A, "my model")'),
        ('M = mean(A, "NDE")', "Use NED", 'M = mean(A, "NED")'),
        ("M = mean(A, B)", "Use sub/B", 'M = mean(A, "sub/B")'),
        ("MIX = mean(A, C)\nN = mean(mix, A)", "Use MIX", "MIX = mean(A, C)\nN = mean(MIX, A)"),
        ("r = 0.3\nM = (1-r) * A + r * C", "Use 1 - r", "r = 0.3\nM = (1 - r) * A + r * C"),
        ("ratio = 0.3\nM = ratoi * A + 0.7 * C", "Use ratio", "ratio = 0.3\nM = ratio * A + 0.7 * C"),
        # a minus without spaces
        ("M = A + C-NED", "Use C - NED", "M = A + C - NED"),
        ("M = A + (C-NED)", "C - NED", "M = A + (C - NED)"),
        # commas, brackets, quotes, signs
        ("M = weighted_sum(A C, alpha=0.3)", "Put the comma", "M = weighted_sum(A, C, alpha=0.3)"),
        (
            f"M = weighted_sum(A, C, alpha=[{ONES.replace(',', '')}])",
            "Put the comma",
            f"M = weighted_sum(A, C, alpha=[{ONES}])",
        ),
        ("M = mean(A, C,, NED)", "Take out the ,", "M = mean(A, C, NED)"),
        ("M = weighted_sum(A, C, alpha=0.3 # B", "Close the (", "M = weighted_sum(A, C, alpha=0.3) # B"),
        ("M = mean(A, C\nN = mean(M, A)", "Close the (", "M = mean(A, C)\nN = mean(M, A)"),
        (f"M = weighted_sum(A, C, alpha=[{ONES})", "Put the ]", f"M = weighted_sum(A, C, alpha=[{ONES}])"),
        ("M = 0.5 * A + 0.5 * C)", "Take out the )", "M = 0.5 * A + 0.5 * C"),
        ('M = weighted_sum("my model, C, alpha=0.3)', "Close the quotes", 'M = weighted_sum("my model", C, alpha=0.3)'),
        ("M = 0.5 A + 0.5 * C", "Multiply", "M = 0.5 * A + 0.5 * C"),
        ("M = 0.5 * A + + 0.5 * C", "Take out the +", "M = 0.5 * A + 0.5 * C"),
        ("M = 0.5 * A + 0.5 * C +", "Take out the +", "M = 0.5 * A + 0.5 * C"),
        ('M = weighted_sum(A, C, alpha={"IN00": 1})', "Take the quotes away", "M = weighted_sum(A, C, alpha={IN00: 1})"),
        # sums
        ("M = 0.7 * A + 0.2 * C # 90 %", "Make it 0.3 * C", "M = 0.7 * A + 0.3 * C # 90 %"),
        ("M = A * 0.7 + C*.2", "Make it 0.3 * C", "M = A * 0.7 + C*0.3"),
        ("M = 0.7 * A + C", "Make it 0.3 * C", "M = 0.7 * A + 0.3 * C"),
        ("M = 2 * A - 0.5 * C", "Make it 1 * C", "M = 2 * A - 1 * C"),
        ("M = 0.7 * A + 0.2 * C", "Divide by 0.9", "M = (0.7 * A + 0.2 * C) / 0.9"),
        ("M = 0.7 * A + 0.2 * C", "Mean it: free_sum(...)", "M = free_sum(0.7 * A + 0.2 * C)"),
        ("0.7 * A + 0.2 * C", "Make it 0.3 * C", "0.7 * A + 0.3 * C"),
        # lines
        ("N = mean(M, C)\nM = mean(A, C)", "Move M up", "M = mean(A, C)\nN = mean(M, C)\n"),
        ("N = mean(M, C)\nM = mean(K, C)\nK = mean(A, C)", "Move M up", "K = mean(A, C)\nM = mean(K, C)\nN = mean(M, C)\n"),
        (
            "M = mean(A, C)\nM = mean(M, A)\nN = mean(M, NED)\nsave(step=M)",
            "Call it M_2",
            "M = mean(A, C)\nM_2 = mean(M, A)\nN = mean(M_2, NED)\nsave(step=M_2)",
        ),
        ("M = mean(A, C)\nmean(M, A)", "Call it MIX", "M = mean(A, C)\nMIX = mean(M, A)"),
        # methods, parameters, presets, blocks, options
        ("M = wieghted_sum(A, C, alpha=0.3)", "Use weighted_sum", "M = weighted_sum(A, C, alpha=0.3)"),
        ("M = weighted_sum(A, C, alfa=0.3)", "Use alpha", "M = weighted_sum(A, C, alpha=0.3)"),
        ("M = weighted_sum(A, C, alpha=preset(grad_w))", "Use GRAD_V", "M = weighted_sum(A, C, alpha=preset(GRAD_V))"),
        ('M = weighted_sum(A, C, alpha=preset("GRAD-V"))', "Use GRAD_V", 'M = weighted_sum(A, C, alpha=preset("GRAD_V"))'),
        ("M = weighted_sum(A, C, alpha={IN4: 1})", "Use IN04", "M = weighted_sum(A, C, alpha={IN04: 1})"),
        ("M = weighted_sum(A, C, alpha={M00: 1, atn1: 1})", "Use attn1", "M = weighted_sum(A, C, alpha={M00: 1, attn1: 1})"),
        ("M = mean(A, C)\nsave(dtyp=bf16)", "Use dtype", "M = mean(A, C)\nsave(dtype=bf16)"),
        ("M = mean(A, C)\nsave(dtype=FP16)", "Use fp16", "M = mean(A, C)\nsave(dtype=fp16)"),
        ("M = mean(A, C)\nsave(step=m)", "Use M", "M = mean(A, C)\nsave(step=M)"),
        (f"M = {FINE} * A + 0.5 * C", "Use 0.333333333333333", "M = 0.333333333333333 * A + 0.5 * C"),
        # a model card
        ("- MIX = A x 0.5 + NDE x 0.5", "Use NED", "- MIX = A x 0.5 + NED x 0.5"),
    ],
)
def test_fix_of_a_mistake_writes_what_was_meant_and_nothing_else(text: str, label: str, new: str, library: ModelLibrary):
    assert fixed(text, library).get(label) == new


@pytest.mark.parametrize("text", ["M = mean(A, C", "M = 0.7 * A + 0.2 * C", "M = mean(A, NDE)", "N = mean(M, C)\nM = mean(A, C)"])
def test_fixed_recipe_can_be_planned(text: str, library: ModelLibrary):
    found = fixed(text, library)
    assert found
    assert [problem(new, library) for new in found.values()] == [None] * len(found)


@pytest.mark.parametrize(
    "text",
    [
        "M = mean(A, nothing_like_it)",
        "M = xyzzy(A, C)",
        "M = A - C",
        "M = weighted_sum(A)",
        "M = A * C",
        'M = "',
        'M = mean("my model, C)',
        "",
    ],
)
def test_mistake_without_a_certain_fix_has_none(text: str, library: ModelLibrary):
    assert fixed(text, library) == {}


def test_other_errors_of_the_same_sentence_stay_for_later_clicks(library: ModelLibrary):
    text = "M = A + C-NED\nN = M + C-NED"
    once = fixed(text, library)["Use C - NED"]
    assert once == "M = A + C - NED\nN = M + C-NED"
    assert fixed(once, library)["Use C - NED"] == "M = A + C - NED\nN = M + C - NED"


def test_each_of_several_mistakes_has_its_own_fixes(library: ModelLibrary):
    text = "K = mean(A, C\nM = weighted_sum(A C, alpha=0.3)\nN = 0.7 * M + 0.2 * A\nO = wieghted_sum(C, A)"
    errors = read_draft(text).errors
    assert len(errors) == 4
    for error, right in zip(errors, ("C)\n", "A, C, alpha", "0.3 * A", "weighted_sum(C"), strict=True):
        new = fixes_of(error, text, library)[0]["text"]
        assert right in new and len(read_draft(new).errors) == 3


def test_error_of_a_file_has_no_fix(library: ModelLibrary):
    assert fixes_of(CheckpointError("'A' is damaged."), "M = mean(A, C)", library) == []


def test_error_of_another_mergers_text_has_no_fix(library: ModelLibrary):
    text = '{"type": "webui", "interp_method": "Weighted sum", "primary_model_hash": "0123", "multiplier": 2}'
    assert fixed(text, library) == {}


def test_fixes_of_a_hostile_text_take_no_time(library: ModelLibrary):
    lines = "\n".join(f"M{number} = 0.5 * A + 0.5 * C" for number in range(1500))
    for text in (
        f"{lines}\nN = weighted_sum(A C)",
        f"{lines[:15_000]}\nN = mean(A C)",
        "M = " + "(" * 400,
        f"{lines}\nM = [1 {'1 ' * 900}]",
        "M = " + '"' * 401,
    ):
        with pytest.raises(RecipeError) as caught:
            read_recipe(text)
        started = time.perf_counter()
        fixes_of(caught.value, text, library)
        assert time.perf_counter() - started < 30


GOOD = (
    "r = 0.3\nM1 = (1 - r) * A + r * C\n"
    f'M2 = weighted_sum(M1, "my model", alpha=[{ONES}])\nM3 = M2 + 1 * (NED - A)\nsave(dtype=bf16, title="x y")'
)
MARKS = st.sampled_from([*'()[]{},=+-*/"# \n.:', "A", "M3", "0.5", "alpha"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 2), MARKS | st.just("")), min_size=1, max_size=2))
def test_no_fix_leaves_the_error_where_it_was(library: ModelLibrary, slips: list[tuple[int, int, str]]):
    text = GOOD
    for place, taken, put in slips:
        text = text[:place] + put + text[place + taken :]
    error = problem(text, library)
    for fix in fixes_of(error, text, library) if error else ():
        again = problem(fix["text"], library)
        assert again is None or str(again) != str(error)


def test_fix_is_no_longer_than_its_button(library: ModelLibrary, tmp_path: Path):
    long = "x" * 200
    write_file(tmp_path / f"{long}.safetensors", model(1))
    error = problem(f"M = mean({long}y, {long})", ModelLibrary([tmp_path]))
    (fix,) = fixes_of(error, f"M = mean({long}y, {long})", ModelLibrary([tmp_path]))
    assert len(fix["label"]) < 80 and long in fix["text"] and f"{long}y" not in fix["text"]
