"""Selection by magnitude: exactly what sorting would select, equal magnitudes by index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly import selection
from lib_chilly.selection import kept, largest, magnitude_at, ranked, smallest

FLOATS = {32: torch.float32, 64: torch.float64}
FEW = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0 + 2**-20, 2.0**-140, -(2.0**-140), 6e4, 1e-6])
VALUES = st.sampled_from([32, 64]).flatmap(
    lambda bits: st.lists(FEW | st.floats(width=bits, allow_nan=False, allow_infinity=False), max_size=40).map(
        lambda found: torch.tensor(found, dtype=FLOATS[bits])
    )
)


def places(values: torch.Tensor, is_largest: bool) -> np.ndarray:
    """Elements' numbers by magnitude, equal ones by number."""
    magnitudes = np.abs(values.numpy().ravel())
    return np.argsort(-magnitudes if is_largest else magnitudes, kind="stable")


def mask(values: torch.Tensor, chosen: np.ndarray) -> np.ndarray:
    found = np.zeros(values.numel(), bool)
    found[chosen] = True
    return found.reshape(values.shape)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.data())
def test_every_count_selects_what_a_stable_sort_does(values: torch.Tensor, data: st.DataObject):
    start, stop = sorted(data.draw(st.integers(0, values.numel())) for _ in range(2))
    order = places(values, True)
    np.testing.assert_array_equal(largest(values, stop).numpy(), mask(values, order[:stop]))
    np.testing.assert_array_equal(smallest(values, stop).numpy(), mask(values, places(values, False)[:stop]))
    np.testing.assert_array_equal(ranked(values, start, stop).numpy(), mask(values, order[start:stop]))
    for rank in {start, stop} - {values.numel()}:
        assert magnitude_at(values, rank).item() == abs(values[order[rank]].item())


@pytest.mark.parametrize("dtype", FLOATS.values())
def test_selection_over_several_slabs_is_that_of_one(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype):
    """Deltas of 16-bit models: few different values, many of them equal at the rank."""
    generator = torch.Generator().manual_seed(1)
    values = (torch.randn(3, 1000, generator=generator) * 50).round().to(dtype) / 8
    monkeypatch.setattr(selection, "_SLAB", 701)
    for count in (1, 29, 1500, 2999, 3000):
        np.testing.assert_array_equal(largest(values, count).numpy(), mask(values, places(values, True)[:count]))
        np.testing.assert_array_equal(smallest(values, count).numpy(), mask(values, places(values, False)[:count]))


def test_values_that_are_not_contiguous_are_selected_by_their_own_order():
    values = torch.arange(12.0).reshape(3, 4).T
    assert largest(values, 4).tolist() == [[False, False, r >= 0] for r in range(4)]


@pytest.mark.parametrize(
    ("density", "elements", "count"),
    [(0.5, 0, 0), (0.0, 9, 0), (0.01, 9, 1), (0.29, 100, 29), (0.5, 5, 2), (1.0, 7, 7), (1.5, 7, 7), (-1.0, 7, 0)],
)
def test_density_keeps_the_nearest_number_and_at_least_one(density: float, elements: int, count: int):
    assert kept(density, elements) == count
