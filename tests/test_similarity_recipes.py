"""The recipes that `similarity` writes: they mean the models that were compared, or there is none and a sentence says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CONV_IN, LANES, model, plan_in, stored, write_file, write_models
from reference import Stored
from test_likeness import near, values

from lib_chilly.architecture import load
from lib_chilly.errors import RecipeError
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.similarity_edits import replaced_below, weighted_by

Run = Callable[..., tuple[int, str, str]]
COSINE = ("--measure", "cosine")


def spoilt(tensors: dict[str, Stored], keys: list[str]) -> dict[str, Stored]:
    """A NaN in some of a model's tensors."""
    made = dict(tensors)
    for key in keys:
        array = values(tensors[key]).copy()
        array.flat[3] = np.nan
        made[key] = stored(array, "fp16")
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a; b and c, near it; x, which is b with a NaN in IN00; `none`, of NaN alone."""
    a = model(1)
    b = near(2, a)
    every = [key for keys in LANES.values() for key in keys]
    return write_models(
        tmp_path_factory.mktemp("recipes") / "models",
        a=a,
        b=b,
        c=near(3, a),
        x=spoilt(b, [CONV_IN]),
        none=spoilt(a, every),
    )


@pytest.fixture
def said(run: Run, models: Path) -> Callable[..., str]:
    """What is said where nothing is written."""

    def refusal(*arguments: object) -> str:
        code, out, error = run("similarity", *arguments, *COSINE, "--models", models)
        assert code == 2 and "weighted_sum" not in out and "Traceback" not in error
        return error

    return refusal


def test_recipe_is_not_written_of_the_first_of_several_models_of_a_folder(said, run, models, tmp_path):
    write_models(tmp_path, b=model(2), c=model(3))
    assert "name one OTHER" in said("a", tmp_path, "--as-weights")
    assert "name one OTHER" in said("a", tmp_path, "--replace-below", "100", "--with", "x")
    (tmp_path / "c.safetensors").unlink()
    code, out, _ = run("similarity", "a", tmp_path, *COSINE, "--models", models, "--as-weights")
    assert code == 0 and parse_recipe(out).models()[1].name == "b"


def test_model_is_not_taken_for_a_step_of_its_name(said):
    other = "c = 0.5 * a + 0.5 * b"
    assert "has a step 'c'" in said("a", other, "--replace-below", "100", "--with", "c")
    assert "has a step 'a'" in said("a", "a = 0.5 * c + 0.5 * b", "--as-weights")
    for edit in (
        lambda recipe: replaced_below(recipe, "c", {"IN00": 1.0}, 90, load("sd1")),
        lambda recipe: weighted_by("c", recipe, {"IN00": 1.0}),
    ):
        with pytest.raises(RecipeError, match="has a step 'c'"):
            edit(parse_recipe(other))


def test_new_step_has_no_name_that_a_line_above_uses_for_a_model():
    found = weighted_by("b", parse_recipe("unused = MIX + 1 * (c - d)\nN = 0.5 * a + 0.5 * c"), {"IN00": 50.0})
    assert found.result == "MIX2"


def test_two_files_of_one_name_are_not_mixed_up(said, models, tmp_path):
    write_file(tmp_path / "a.safetensors", model(5))
    assert "are two files called 'a'" in said("a", tmp_path / "a.safetensors", "--as-weights")
    assert "are two files called 'a'" in said(tmp_path / "a.safetensors", "1 * a", "--as-weights")
    assert "are two files called 'a'" in said(
        "b", "0.5 * a + 0.5 * c", "--replace-below", "99", "--with", tmp_path / "a.safetensors"
    )


@pytest.mark.parametrize("name", ["wide\u3000space", "line\u2028end", "cafe\u0301"])
def test_recipe_spells_names_so_that_it_can_be_read_again(run, models, tmp_path, name):
    folder = write_models(tmp_path / "models", **{name: model(2)})
    code, out, _ = run("similarity", models / "a.safetensors", name, *COSINE, "--models", folder, "--as-weights")
    assert code == 0
    write_file(folder / "a.safetensors", model(1))
    assert plan_in(folder, out).sources[1].checkpoint.path.name.startswith(name[:3])


def test_broken_block_is_replaced_as_one_that_is_below(run, models):
    code, out, _ = run("similarity", "a", "x", *COSINE, "--models", models, "--replace-below", "1", "--with", "c")
    assert code == 0 and out.splitlines()[-1] == "MIX = weighted_sum(x, c, alpha={IN00: 1, *: 0})"
    code, out, _ = run("similarity", "a", "none", *COSINE, "--models", models, "--replace-below", "1", "--with", "c")
    assert code == 0 and {
        plan_in(models, out).sources[n].name for row in plan_in(models, out).rows.values() for n in row.exact
    } == {"c"}
    error = run("similarity", "x", "b", *COSINE, "--models", models, "--replace-below", "1", "--with", "c")[2]
    assert "no block is below 1" in error  # b is whole


def test_table_stands_there_although_no_block_is_below(run, models):
    code, out, error = run("similarity", "a", "b", *COSINE, "--models", models, "--replace-below", "1", "--with", "c")
    assert code == 2 and "b against a, cosine in %" in out and "no block is below 1" in error
    code, out, error = run("similarity", "a", "b", *COSINE, "--models", models, "--replace-below", "1", "--with", "c", "--json")
    assert (code, out) == (2, "") and "no block is below 1" in error


def test_nothing_is_written_where_no_block_has_a_figure(said):
    assert "no block has a figure" in said("none", "b", "--as-weights")
    assert "no block has a figure" in said("none", "b", "--replace-below", "90", "--with", "c")
