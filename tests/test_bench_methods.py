"""`bench --methods`: that every method is called as it can be, and what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import model, plan_in, write_models

from bench.methods import BARS, measured_methods, recipe_of, table
from lib_chilly.errors import RecipeError
from lib_chilly.signature import Cost


def test_every_method_that_does_not_fold_is_planned_as_it_is_measured(tmp_path: Path):
    folder = write_models(tmp_path, a=model(1), b=model(2), c=model(3))
    methods = {method.name: method for method in measured_methods()}
    assert {"ties", "dare", "della", "breadcrumbs"} <= methods.keys() and not {"mean", "lora", "adjust"} & methods.keys()
    for method in methods.values():
        assert any(job.nodes for job in plan_in(folder, recipe_of(method)).jobs), method.name
    assert all(methods[name].cost in BARS for name in ("ties", "dare", "della", "breadcrumbs"))


def test_weighted_sum_is_not_measured_against_itself():
    with pytest.raises(RecipeError, match="'mean' is not measured"):
        measured_methods(["mean"])


def test_ratio_beyond_its_bar_stands_out():
    row = {"method": "ties", "cost": "selection", "bar": BARS[Cost.SELECTION], "wall": 2.0, "cpu": 2.0, "wall_ratio": 3.0}
    row |= {"peak_bytes": 5 << 20, "planned_bytes": 6 << 20}
    rows = [row | {"cpu_ratio": 12.0}, row | {"cpu_ratio": 12.1}]
    slow = table({"device": "cpu", "elements": 1000, "rounds": 1, "rows": rows}).splitlines()[-2:]
    assert slow == [
        "| `ties` | selection | 2.00 | 3.0 | 12.0 | 12 | 5 | 6 |",
        "| `ties` | selection | 2.00 | 3.0 | **12.1** | 12 | 5 | 6 |",
    ]
