"""The last plans of a server: made once for all who ask, and again where a file is another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checkpoints import model, write_models

from lib_chilly.architecture import load
from lib_chilly.errors import RecipeError
from lib_chilly.host.standalone import StandaloneHost
from lib_chilly.notations import read_recipe
from lib_chilly.ui.open_step import OpenStep
from lib_chilly.ui.picture_wants import read_wanted
from lib_chilly.ui.plans import Plans

TEXT = "K = mean(A, B)\nM = weighted_sum(K, C, alpha={})\n"


@pytest.fixture
def host(tmp_path: Path) -> StandaloneHost:
    write_models(tmp_path, A=model(1), B=model(2), C=model(3))
    return StandaloneHost([tmp_path])


def operands(weight: str) -> list[str]:
    """The recipes of the open step's A and B."""
    wants = [{"id": name, "of": name} for name in "ab"]
    return [each.recipe.canonical() for each in read_wanted(OpenStep(read_recipe(TEXT.format(weight))), wants, load("sd1"))]


def test_plan_is_made_once_however_its_recipe_is_spelled(host: StandaloneHost):
    plans = Plans(host)
    first = plans.of(read_recipe("M = mean(A, B)"))
    assert plans.of(read_recipe("M =  mean( A,B )  # so")) is first
    assert plans.of(read_recipe("M = mean(B, A)")) is not first


def test_plan_is_made_anew_where_a_file_is_another(host: StandaloneHost, tmp_path: Path):
    plans, recipe = Plans(host), read_recipe("M = mean(A, B)")
    first = plans.of(recipe)
    os.utime(tmp_path / "A.safetensors", ns=(1, 1))
    second = plans.of(recipe)
    assert second is not first and plans.of(recipe) is second
    host.refresh_checkpoints()  # names may mean other files
    assert plans.of(recipe) is not second
    (tmp_path / "A.safetensors").unlink()
    host.refresh_checkpoints()
    with pytest.raises(RecipeError, match="no model 'A'"):
        plans.of(recipe)


def test_operands_of_a_step_are_the_same_while_its_weights_move():
    assert operands("0.3") == operands("{IN04: 0.7}") == ["K = mean(A, B)\n", "result = C\nsave(dtype=source)\n"]
