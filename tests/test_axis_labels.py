"""Labels beside the cells of a grid."""

from __future__ import annotations

import pytest

from lib_chilly.ui.axis_labels import label_of

LIST = "0,0,0,0.5," + "1," * 21 + "0.25"
SAID = [
    ("alpha", 0.1 + 0.2, "alpha: 0.3"),
    ("seed of random weights", 3, "seed of random weights: 3"),
    ("preset", "GRAD_V", "preset: GRAD_V"),
    ("model B", "NED.safetensors [0123456789]", "model B: NED"),
    ("model B", "sub/v1.5.ckpt", "model B: sub/v1.5"),
    ("model A", ".safetensors", "model A: .safetensors"),
    ("block weights", LIST, "block weights: 0 x3, 0.5, 1 x21, 0.25"),
    ("block weights", "OUT*: 0.8,attn2: 1", "block weights: OUT*: 0.8, attn2: 1"),
    ("parameter", f"MIX.alpha = {LIST}", "MIX.alpha = 0 x3, 0.5, 1 x21, 0.25"),
    ("parameter, a second", "v1.5.alpha = 0.5", "v1.5.alpha = 0.5"),
    ("recipe", "M = weighted_sum(A, B,\n  alpha=0.3)", "recipe: M = weighted_sum(A, B, alpha=0.3)"),
]


@pytest.mark.parametrize(("axis", "value", "said"), SAID)
def test_label_says_the_value_briefly(axis: str, value: object, said: str):
    assert label_of(axis, value) == said


@pytest.mark.parametrize("value", ["x" * 500, "1, 2, 3, " * 100, "é" * 90, "0.1," * 999 + "2"])
def test_label_of_a_long_value_is_cut(value: str):
    assert len(label_of("recipe", value)) <= 60 + len("recipe: ")
