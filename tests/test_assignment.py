"""Assignments against all permutations that there are."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.assignment import best_columns, best_of_blocks


def score(table: np.ndarray, order: np.ndarray) -> float:
    return float(table[np.arange(len(table)), order].sum())


def drawn(size: int, seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return {
        "drawn": lambda: rng.normal(size=(size, size)),
        "ties": lambda: rng.integers(0, 3, (size, size)).astype(np.float32),
        "zeros": lambda: np.zeros((size, size)),
        "huge": lambda: rng.normal(size=(size, size)) * 1e30,
        "near": lambda: rng.normal(size=(size, size)) * 1e-9 + 3 * np.eye(size)[rng.permutation(size)],
    }[kind]()


@given(size=st.integers(0, 6), seed=st.integers(0, 999), kind=st.sampled_from(("drawn", "ties", "zeros", "huge", "near")))
@settings(max_examples=120, deadline=None)
def test_assignment_is_the_best_of_all_permutations(size: int, seed: int, kind: str) -> None:
    table = drawn(size, seed, kind)
    before = table.copy()
    order = best_columns(table)
    assert sorted(order.tolist()) == list(range(size)) and np.array_equal(table, before)
    best = max(score(table, np.array(each, int)) for each in itertools.permutations(range(size)))
    assert np.isclose(score(table, order), best, rtol=1e-12, atol=1e-12 * np.abs(table).max(initial=0))


def test_large_assignment_finds_a_planted_permutation_and_no_better_swap_is_left() -> None:
    rng = np.random.default_rng(0)
    planted = rng.permutation(300)
    table = rng.normal(size=(300, 300))
    order = best_columns(table)
    swapped = table[:, order]
    gains = swapped + swapped.T - np.diag(swapped)[:, None] - np.diag(swapped)[None]
    assert gains.max() <= 1e-12
    table[np.arange(300), planted] += 20
    assert np.array_equal(best_columns(table), planted)


@given(blocks=st.integers(1, 3), width=st.integers(1, 3), sets=st.integers(1, 2), seed=st.integers(0, 999), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_blocks_move_as_wholes_and_score_the_most(blocks: int, width: int, sets: int, seed: int, ties: bool) -> None:
    tables = [drawn(blocks * width, seed + number, "ties" if ties else "drawn") for number in range(sets)]
    orders = best_of_blocks(tables, blocks)
    for order in orders:
        assert sorted(order.tolist()) == list(range(blocks * width))
        assert np.array_equal(*(each.reshape(blocks, width) // width for each in (order, orders[0])))

    def inner(table: np.ndarray, row: int, column: int) -> float:
        part = table[row * width : (row + 1) * width, column * width : (column + 1) * width]
        return max(score(part, np.array(each)) for each in itertools.permutations(range(width)))

    worth = [[sum(inner(table, row, column) for table in tables) for column in range(blocks)] for row in range(blocks)]
    best = max(sum(worth[row][each[row]] for row in range(blocks)) for each in itertools.permutations(range(blocks)))
    assert np.isclose(sum(score(table, order) for table, order in zip(tables, orders, strict=True)), best)
    assert all(
        (order.reshape(blocks, width) // width == (order.reshape(blocks, width) // width)[:, :1]).all() for order in orders
    )
