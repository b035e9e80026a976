"""The linear assignment: which row gets which column, so that the sum of what they score is the largest.

By shortest augmenting paths, as Crouse 2016, On implementing 2D rectangular assignment algorithms, and exactly: the webui has
scipy only by way of other packages, and which of equal optima is found must not hang on who solves it.
"""

from __future__ import annotations

import numpy as np


def best_columns(scores: np.ndarray) -> np.ndarray:
    """For each row the column that is assigned to it.

    Args:
        scores: (n, n), finite, of any floating type; the path is found in float64. Not modified.

    Returns:
        (n,) int64, a permutation; equal optima give the same one on any machine.
    """
    size = len(scores)
    of_row, of_column = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    high = scores.max(axis=0).astype(np.float64) if size else np.zeros(0)  # of each column
    row_best = np.zeros(size)
    for row in range(size):
        lost = high - scores[row]
        column = int(lost.argmin())
        row_best[row] = lost[column]
        if of_column[column] < 0:
            of_row[row], of_column[column] = column, row
    prices = -high
    for row in np.flatnonzero(of_row < 0):
        _augment(scores, int(row), row_best, prices, of_row, of_column)
    return of_row


def _augment(
    scores: np.ndarray, start: int, rows: np.ndarray, columns: np.ndarray, of_row: np.ndarray, of_column: np.ndarray
) -> None:
    """Give a row a column, and those before it others, along the path that costs least; keeps the duals optimal.

    Cost of (row, column) is its score with the sign turned; never below rows[row] + columns[column], and equal where assigned.
    """
    size = len(scores)
    reached, before = np.full(size, np.inf), np.zeros(size, np.int64)
    is_open = np.ones(size, bool)
    seen_rows, row, least = [start], start, 0.0
    while True:
        found = (least - rows[row]) - columns - scores[row]
        is_better = is_open & (found < reached)
        reached[is_better], before[is_better] = found[is_better], row
        column = int(np.where(is_open, reached, np.inf).argmin())
        least, is_open[column] = reached[column], False
        row = int(of_column[column])
        if row < 0:
            break
        seen_rows.append(row)
    rows[start] += least
    others = seen_rows[1:]
    rows[others] += least - reached[of_row[others]]
    closed = ~is_open
    columns[closed] -= least - reached[closed]
    while True:
        row = int(before[column])
        of_column[column] = row
        of_row[row], column = column, of_row[row]
        if row == start:
            return


def best_of_blocks(tables: list[np.ndarray], blocks: int) -> list[np.ndarray]:
    """The best orders of units that may change places inside their block, and with whole blocks.

    Args:
        tables: (n, n) scores of units, of each set of units that change places by themselves inside blocks; the blocks move in
            all sets together. Each has n / blocks units a block, in a row.

    Returns:
        For each table the column of each row.
    """
    width = len(tables[0]) // blocks
    if blocks == 1:
        return [best_columns(table) for table in tables]
    views = [table.reshape(blocks, width, blocks, width) for table in tables]
    # No order of a block scores more than this; so what is best with these in the place of what is not known yet, and takes
    # known ones alone, is the best.
    worth = sum(
        np.minimum(view.max(axis=3).sum(axis=1, dtype=np.float64), view.max(axis=1).sum(axis=2, dtype=np.float64))
        for view in views
    )
    known: dict[tuple[int, int], list[np.ndarray]] = {}
    while True:
        taken = list(enumerate(best_columns(worth).tolist()))
        if all(pair in known for pair in taken):
            break
        for row, column in (pair for pair in taken if pair not in known):
            parts = [view[row, :, column, :] for view in views]
            orders = known[row, column] = [best_columns(part) for part in parts]
            worth[row, column] = sum(
                part[np.arange(width), order].sum(dtype=np.float64) for part, order in zip(parts, orders, strict=True)
            )
    return [
        np.concatenate([column * width + known[row, column][number] for row, column in taken]) for number in range(len(tables))
    ]
