"""Draws: those of the paper's generator, whatever the slab, and as even and unrelated as they should be."""

from __future__ import annotations

import draws as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.draws import uniforms
from lib_chilly.signature import Place

KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Answers that the generator's authors publish with it."""


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_reference_gives_the_authors_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: str):
    words = reference.philox(tuple(np.array([word]) for word in counter), key)
    assert " ".join(f"{word:08x}" for word in words[0]) == answer


PLACES = st.one_of(st.integers(0, 70), st.integers(2**34 - 70, 2**34 + 70), st.integers(2**50, 2**60))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20), PLACES, st.integers(0, 70), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_draws_equal_the_reference_at_any_place(tensor: str, start: int, count: int, seed: int, stream: int):
    drawn = uniforms(Place(tensor, start), count, seed, stream)
    assert drawn.dtype == torch.float32 and drawn.shape == (count,)
    np.testing.assert_array_equal(drawn.numpy(), reference.uniforms(tensor, start, count, seed, stream))


@pytest.mark.parametrize("cut", [1, 4, 2**18, 2**18 + 3, 300_000])
def test_draws_of_two_parts_are_those_of_the_whole(cut: int):
    """The whole is longer than the generator makes at once."""
    whole = uniforms(Place("k"), 300_001, 7, 1)
    parts = uniforms(Place("k"), cut, 7, 1), uniforms(Place("k", cut), 300_001 - cut, 7, 1)
    assert torch.equal(torch.cat(parts), whole)
    np.testing.assert_array_equal(whole.numpy(), reference.uniforms("k", 0, 300_001, 7, 1))


def test_seed_as_a_float_is_the_same_seed():
    """Parameters reach methods as floats."""
    assert torch.equal(uniforms(Place("k"), 9, float(2**32 - 1), 0), uniforms(Place("k"), 9, 2**32 - 1, 0))


def test_tensor_with_half_of_a_surrogate_pair_in_its_name_has_draws():
    assert uniforms(Place("\ud800"), 4, 0, 0).shape == (4,)


@pytest.mark.parametrize("other", [("k", 8, 0), ("k", 7, 1), ("K", 7, 0)])
def test_draws_of_another_seed_stream_or_tensor_are_unrelated(other: tuple[str, int, int]):
    key, seed, stream = other
    one, two = uniforms(Place("k"), 1 << 16, 7, 0), uniforms(Place(key), 1 << 16, seed, stream)
    assert abs(np.corrcoef(one.numpy(), two.numpy())[0, 1]) < 0.02


def test_draws_are_even():
    counts = np.histogram(uniforms(Place("k"), 1 << 18, 1, 0).numpy(), 64, (0, 1))[0]
    assert ((counts - 4096.0) ** 2 / 4096).sum() < 120  # chi-squared with 63 degrees: p < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_draws_on_cuda_are_those_of_the_cpu():
    place = Place("k", 2**34 - 3)
    assert torch.equal(uniforms(place, 300_001, 7, 1, "cuda").cpu(), uniforms(place, 300_001, 7, 1))
