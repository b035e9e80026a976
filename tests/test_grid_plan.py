"""The order in which a grid's merges are made: what it counts is what is merged again, and no order moves less."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from checkpoints import LANES as LANE_KEYS
from checkpoints import model, plan_in, write_models

from lib_chilly import grid_plan
from lib_chilly.architecture import load
from lib_chilly.grid_plan import Merges, best_nesting, best_order, moved_bytes
from lib_chilly.live import LiveWeights
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.ui.open_step import OpenStep
from lib_chilly.ui.picture_wants import read_wanted

ALPHAS, LANES = ("0.2", "0.4", "0.6"), ("0.1", "0.3", "0.5", "0.7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {"a": model(1), "b": model(2), "c": model(3, "fp32", without=("VAE", "OUT03"))}
    return write_models(tmp_path_factory.mktemp("grid"), **models)


def merges_of(folder: Path, *texts: str) -> Merges:
    merges = Merges()
    for text in texts:
        merges.add(plan_in(folder, text))
    return merges


def lattice(folder: Path) -> list[str]:
    """Every alpha with every weight of one block, the block outside."""
    return [f"weighted_sum(a, b, alpha={{*: {alpha}, M00: {lane}}})" for lane in LANES for alpha in ALPHAS]


class Numbers(Merges):
    """Costs that are no files'."""

    def __init__(self, costs: np.ndarray):
        super().__init__()
        self._costs = costs

    def __len__(self) -> int:
        return self._costs.shape[1]

    def costs(self) -> np.ndarray:
        return self._costs


def length(costs: np.ndarray, order: tuple[int, ...]) -> int:
    return int(costs[-1, order[0]] + sum(costs[pair] for pair in itertools.pairwise(order)))


def test_what_is_counted_is_what_an_update_merges_again(folder):
    texts = ("mean(a, b)", "weighted_sum(a, b, alpha={M00: 1, *: 0.5})", "mean(a, c)", "c", "mean(a, b, c)", "a", "mean(b, a)")
    costs, live = merges_of(folder, *texts).costs(), LiveWeights()
    for before, number in itertools.pairwise((-1, 0, 1, 2, 3, 4, 5, 6, 2, 1, 0)):
        plan = plan_in(folder, texts[number])
        merged = []
        live.update(plan, on_stale=merged.extend)
        assert costs[before, number] == sum(moved_bytes(plan, job) for job in merged), (texts[before], texts[number])
    plans = [plan_in(folder, text) for text in texts]
    assert costs[-1].tolist() == [plan.reads_bytes + plan.data_bytes for plan in plans]


def test_recipes_with_the_same_result_are_one_merge(folder):
    merges = Merges()
    texts = ("mean(a, b)", "c", "X = 0.5 * a + 0.5 * b", "mean(a, c)", "weighted_sum(a, b, alpha=0.5)", "c")
    assert [merges.add(plan_in(folder, text)) for text in texts] == [0, 1, 0, 2, 0, 1] and len(merges) == 3


def test_lattice_is_walked_to_and_fro_with_what_changes_everything_outside(folder):
    merges = merges_of(folder, *lattice(folder))
    order, costs = best_order(merges), merges.costs()
    everything, lane, plan = costs[-1, 0], costs[0, len(ALPHAS)], plan_in(folder, "mean(a, b)")
    assert lane == sum(moved_bytes(plan, job) for job in plan.jobs if job.lane == "M00")
    others = everything - lane
    assert order.moved_bytes == everything + (len(ALPHAS) - 1) * others + len(ALPHAS) * (len(LANES) - 1) * lane
    assert order.given_bytes > 3 * order.moved_bytes
    assert [number % len(ALPHAS) for number in order.merges[:: len(LANES)]] in ([0, 1, 2], [2, 1, 0])


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_no_order_of_few_merges_moves_less(count):
    rows = random.Random(count)
    for _ in range(5):
        costs = np.array([[rows.randrange(100) for _ in range(count)] for _ in range(count + 1)])
        found = best_order(Numbers(costs))
        assert length(costs, found.merges) == found.moved_bytes
        assert found.moved_bytes == min(length(costs, order) for order in itertools.permutations(range(count)))


def test_order_of_many_merges_is_never_worse_than_the_given_one_and_the_same_each_time(monkeypatch):
    rows = random.Random(1)
    ratios = []
    for count in (1, 2, 5, 9) * 4:
        places = [(rows.randrange(100), rows.randrange(100)) for _ in range(count)]
        costs = np.array([[abs(x - u) + abs(y - v) for u, v in places] for x, y in [*places, (0, 0)]])
        exact = best_order(Numbers(costs))
        with monkeypatch.context() as patch:
            patch.setattr(grid_plan, "_MOST_EXACT", 0)
            found = best_order(Numbers(costs))
            assert found == best_order(Numbers(costs))
        assert (
            sorted(found.merges) == list(range(count)) and found.moved_bytes == length(costs, found.merges) <= found.given_bytes
        )
        ratios.append(found.moved_bytes / exact.moved_bytes)
    assert min(ratios) >= 1 and max(ratios) < 1.2, ratios


def test_no_step_of_bettering_makes_an_order_longer_where_ways_there_and_back_differ():
    rows = random.Random(2)
    costs = np.array([[rows.randrange(100) for _ in range(40)] for _ in range(41)])
    found = best_order(Numbers(costs))
    given = grid_plan._nearest(costs)
    assert found.moved_bytes == length(costs, found.merges) < length(costs, tuple(given)) < found.given_bytes


def test_loop_that_changes_everything_is_the_outermost_unless_that_moves_more(folder):
    merges = Merges()
    alphas = [merges.add(plan_in(folder, f"weighted_sum(a, b, alpha={{*: {alpha}, M00: 0.1}})")) for alpha in ALPHAS]
    lanes = [merges.add(plan_in(folder, f"weighted_sum(a, b, alpha={{*: 0.2, M00: {lane}}})")) for lane in LANES]
    everything, lane = merges.costs()[[-1, alphas[0]], [0, lanes[1]]]
    moved = everything * len(ALPHAS) + lane * (len(LANES) - 1) * len(ALPHAS)
    assert best_nesting(merges, [alphas, lanes]) == ((0, 1), moved) and best_nesting(merges, [lanes, alphas]) == ((1, 0), moved)
    assert best_nesting(merges, [alphas, alphas])[0] == best_nesting(merges, [lanes[:1], alphas])[0] == (0, 1)
    assert best_nesting(merges, [lanes, alphas, [lanes[0], lanes[0]]])[0] == (1, 0, 2)


@pytest.mark.parametrize("alpha", ["0.3", "{IN*: 0.2, OUT*: 0.8}"])
def test_order_of_the_page_s_pictures_is_nearly_the_best(folder, alpha):
    step = OpenStep(parse_recipe(f"M = weighted_sum(a, b, alpha={alpha})"), None, None)
    wanted = [{"id": f"variant {number}", "variant": number, "seed": 1} for number in range(4)]
    wanted += [{"id": f"strength {share}", "strength": share} for share in (0, 0.25, 0.5, 0.75, 1)]
    wanted += [{"id": lane, "block": lane} for lane in LANE_KEYS if lane.startswith(("IN", "M0", "OUT"))]
    wanted += [{"id": name, "of": name} for name in ("merged", "a", "b")]
    merges = Merges()
    for each in read_wanted(step, wanted, load("sd1")):
        merges.add(make_plan(each.recipe, ModelLibrary([folder])))
    order = best_order(merges)
    assert len(merges) > 30 and order.given_bytes < 1.15 * order.moved_bytes
