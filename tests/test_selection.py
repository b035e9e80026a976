"""Selection by magnitude: exactly what sorting would select, equal magnitudes by index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.selection import Selection, kept, largest, magnitude_at, smallest

FLOATS = {32: torch.float32, 64: torch.float64}
FEW = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0 + 2**-20, 2.0**-140, -(2.0**-140), 6e4, 1e-6])
VALUES = st.sampled_from([32, 64]).flatmap(
    lambda bits: st.lists(FEW | st.floats(width=bits, allow_nan=False, allow_infinity=False), min_size=1, max_size=40).map(
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


def slabs(values: torch.Tensor, size: int = 7) -> list[torch.Tensor]:
    return list(values.reshape(-1).split(size))


def selected(selection: Selection, values: torch.Tensor, size: int = 7) -> np.ndarray:
    masks = torch.cat(list(selection.masks(slabs(values, size))))
    assert set(masks.tolist()) <= {0, -1}
    return masks.bool().numpy().reshape(values.shape)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.data())
def test_every_count_selects_what_a_stable_sort_does(values: torch.Tensor, data: st.DataObject):
    size = values.numel()
    count = data.draw(st.integers(1, size))
    most, least = largest(slabs(values), count, size), smallest(slabs(values), count)
    np.testing.assert_array_equal(selected(most, values), mask(values, places(values, True)[:count]))
    np.testing.assert_array_equal(selected(least, values), mask(values, places(values, False)[:count]))
    if count < size:
        assert magnitude_at(slabs(values), count).item() == abs(values[places(values, False)[count]].item())


@pytest.mark.parametrize("dtype", FLOATS.values())
def test_deltas_of_16_bits_with_many_equal_at_the_rank_are_selected_by_index(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(1)
    values = (torch.randn(3, 1000, generator=generator) * 50).round().to(dtype) / 8
    for count in (1, 29, 1500, 2999, 3000):
        order = places(values, True), places(values, False)
        np.testing.assert_array_equal(
            selected(largest(slabs(values, 701), count, 3000), values, 701), mask(values, order[0][:count])
        )
        np.testing.assert_array_equal(selected(smallest(slabs(values, 701), count), values, 701), mask(values, order[1][:count]))


@pytest.mark.parametrize(
    ("density", "elements", "count"),
    [(0.5, 0, 0), (0.0, 9, 0), (0.01, 9, 1), (0.29, 100, 29), (0.5, 5, 2), (1.0, 7, 7), (1.5, 7, 7), (-1.0, 7, 0)],
)
def test_density_keeps_the_nearest_number_and_at_least_one(density: float, elements: int, count: int):
    assert kept(density, elements) == count
