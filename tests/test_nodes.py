"""Calls that do not fold: where they stand in a sum, what they are given, and that they change no promise of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, LANE_OF, UNET, VAE, merge_in, model, plan_in, stored, write_models
from reference import TAGS, encoded, read_file, rounded, summed
from test_same_bytes import cut
from updates import differing, keys_of

from lib_chilly import registry
from lib_chilly.errors import CheckpointError, RecipeError
from lib_chilly.live import LiveWeights
from lib_chilly.memory import peak_memory_bytes
from lib_chilly.origins import origins
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.registry import merge_method
from lib_chilly.report import plan_facts
from lib_chilly.resident import ResidentWeights
from lib_chilly.signature import Alike, Model, Place, Reach, Weight

KEY = UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
seen: list[tuple[str, int, tuple[int, ...], tuple[float, ...]]] = []
"""What the methods were called with: key, first element, shape, alpha."""


@pytest.fixture(scope="module", autouse=True)
def methods() -> Iterator[None]:
    """Two methods that are in no list: one for elements, one for whole tensors against a base."""
    registry.all_methods()
    before = dict(registry._METHODS)

    @merge_method(
        title="Bend",
        formula="A + alpha * (B - A) * |B - A|",
        source="here",
        reach=Reach.ELEMENT,
        ends={("alpha", 0): "a", ("alpha", 1): "b"},
    )
    def bend(a: Alike, b: Alike, *, alpha: Weight = 0.5, place: Place) -> Any:
        """Bend A towards B."""
        seen.append((place.key, place.start, tuple(a.shape), (alpha,)))
        return a + (b - a) * abs(b - a) * alpha

    @merge_method(title="Peak", formula="", source="here", reach=Reach.TENSOR)
    def peak(*models: Model, base: Model, alpha: Weight = 1.0) -> Any:
        """The base, and the largest difference of each model from it, everywhere."""
        seen.append(("", 0, tuple(base.shape), (alpha,)))
        return base + sum((each - base).abs().max() for each in models) * alpha if base.numel() else base

    yield
    registry._METHODS.clear()
    registry._METHODS.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {name: model(seed, only=[KEY, CONV_IN]) for seed, name in enumerate(("A", "B", "C", "D"))}
    wide = {"wide": model(7, "fp32", only=[KEY, CONV_IN], channels=9), "bare": model(8, without=["VAE"], only=[KEY, CONV_IN])}
    return write_models(tmp_path_factory.mktemp("models"), **models, **wide)


def values(folder: Path, name: str, key: str = KEY) -> np.ndarray:
    return read_file(folder / f"{name}.safetensors")[key].values.astype(np.float32)


def merged(folder: Path, text: str, tmp_path: Path, **options: Any) -> Path:
    output = tmp_path / "out.safetensors"
    merge_in(folder, text, output, **options)
    return output


def fp16(result: np.ndarray) -> bytes:
    assert result.dtype == np.float32
    return encoded(rounded(result.astype(np.float64), TAGS["fp16"]), TAGS["fp16"])


def bent(a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    return a + (b - a) * abs(b - a) * np.float32(alpha)


def test_call_takes_sums_and_is_a_term_of_one_to_the_bit(folder, tmp_path):
    output = merged(folder, "X = 0.7 * A + 0.3 * B\nY = bend(X, C, alpha=0.3)\nZ = 0.4 * Y + 0.6 * D", tmp_path)
    a, b, c, d = (values(folder, name) for name in "ABCD")
    x = summed([(Fraction("0.7"), a), (Fraction("0.3"), b)], "float32")
    assert read_file(output)[KEY].data == fp16(np.float32(0.4) * bent(x, c, 0.3) + np.float32(0.6) * d)


def test_term_stands_where_its_call_stands_in_the_text(folder, tmp_path):
    text = "Z = 0.1 * D + 0.3 * bend(B, C) + 0.6 * A"
    a, b, c, d = (values(folder, name) for name in "ABCD")
    in_order = np.float32(0.1) * d + np.float32(0.3) * bent(b, c, 0.5) + np.float32(0.6) * a
    other = np.float32(0.3) * bent(b, c, 0.5) + (np.float32(0.1) * d + np.float32(0.6) * a)
    assert in_order.tobytes() != other.tobytes()
    output = merged(folder, text, tmp_path, options={"dtype": "fp32", "compute": "float32"})
    assert read_file(output)[KEY].data == in_order.tobytes()


def test_place_of_a_term_does_not_depend_on_which_lane_was_folded_first(folder, tmp_path):
    text = "Z = 0.2 * A + 0.3 * bend(B, C, alpha={%s *: 0.4}) + 0.3 * B + 0.2 * bend(C, D)"
    rows = plan_in(folder, text % "BASE: 0.1, IN00: 0.2, ").rows.values()
    assert len(rows) == 4 and {tuple(name[:1] for name, _ in row.named("ABCD")) for row in rows} == {("A", "b", "B", "b")}


def test_operand_without_terms_is_zeros(folder, tmp_path):
    found = read_file(merged(folder, "Z = A + bend(B - B, C - C)", tmp_path))
    assert found[KEY].data == read_file(folder / "A.safetensors")[KEY].data


def test_identity_of_steps_used_twice_stays_small(folder):
    lines = ["S0 = bend(A, B)"] + [f"S{n} = bend(S{n - 1}, 0.5 * S{n - 1} + 0.5 * C)" for n in range(1, 40)]
    assert len(repr(origins(plan_in(folder, "\n".join(lines)))[KEY])) < 5_000


def test_sums_for_float32_files_are_taken_in_float64(folder, tmp_path):
    output = merged(folder, "Z = 0.5 * bend(A, B) + 0.5 * C", tmp_path, options={"dtype": "fp32"})
    a, b, c = (values(folder, name).astype(np.float64) for name in "ABC")
    expected = 0.5 * (a + (b - a) * abs(b - a) * 0.5) + 0.5 * c
    assert read_file(output)[KEY].data == expected.astype(np.float32).tobytes()


def test_whole_tensor_comes_in_its_shape_and_with_its_base(folder, tmp_path):
    seen.clear()
    output = merged(folder, "Z = peak(A, B, base=C, alpha=0.5)", tmp_path)
    a, b, c = (values(folder, name) for name in "ABC")
    expected = c + (np.abs(a - c).max() + np.abs(b - c).max()) * np.float32(0.5)
    assert read_file(output)[KEY].data == fp16(expected)
    assert {shape for _, _, shape, _ in seen} == {tensor.shape for tensor in read_file(folder / "A.safetensors").values()}


def test_call_used_twice_is_made_once(folder, tmp_path):
    seen.clear()
    merged(folder, "X = bend(A, B)\nZ = peak(X, C, base=D) + 0.5 * (X - C)", tmp_path)
    keys = [key for key, *_ in seen if key]
    assert len(keys) == len(set(keys)) > 0


NESTED = "X = bend(A, B, alpha={IN*: 0.3, *: 0.6})\nY = 0.4 * X + 0.6 * C\nZ = peak(Y, B, base=D, alpha={M00: 0.2, *: 0.1})"


@pytest.mark.parametrize("dtype", ["fp16", "fp32", "fp8_scaled"])
def test_file_is_the_same_for_any_threads_slabs_and_blocks_and_in_memory(folder, tmp_path, monkeypatch, dtype):
    usual = merged(folder, NESTED, tmp_path, options={"dtype": dtype}).read_bytes()
    weights = LiveWeights(threads=2)
    weights.update(plan_in(folder, NESTED, dtype=dtype))
    assert differing(weights.tensors, tmp_path / "out.safetensors") == []
    weights.close()
    cut(monkeypatch, 61, 300)
    for threads in (1, 16):
        merge_in(folder, NESTED, tmp_path / "cut.tmp", threads, {"dtype": dtype})
        assert (tmp_path / "cut.tmp").read_bytes() == usual


def test_other_weight_of_one_lane_changes_no_other_lane(folder, tmp_path):
    before = read_file(merged(folder, NESTED, tmp_path))
    after = read_file(merged(folder, NESTED.replace("M00: 0.2", "M00: 0.3, VAE: 0.4"), tmp_path))
    changed = {LANE_OF.get(key) for key in before if before[key] != after[key]}
    assert changed <= {"M00", "VAE"}
    weights = LiveWeights()
    weights.update(plan_in(folder, "Z = bend(A, B, alpha={IN01: 0.2, *: 0.5})"))
    change = weights.update(plan_in(folder, "Z = bend(A, B, alpha={IN01: 0.3, *: 0.5})"))
    assert change.keys == keys_of({"IN01"}, weights.tensors) == {KEY}
    weights.close()


@pytest.mark.parametrize(("alpha", "model_of"), [(0, "A"), (1, "B")])
def test_end_of_a_parameter_gives_that_model_and_reads_no_other(folder, tmp_path, alpha, model_of):
    text = f"Z = bend(A, B, alpha={alpha})"
    plan = plan_in(folder, text)
    assert {number for job in plan.jobs for number in job.reads()} == {"AB".index(model_of)}
    assert plan_facts(plan, 1)["folded"]["IN01"] == {model_of: 1}
    found, expected = read_file(merged(folder, text, tmp_path)), read_file(folder / f"{model_of}.safetensors")
    assert {key: tensor.data for key, tensor in found.items()} == {key: tensor.data for key, tensor in expected.items()}


def test_keys_that_an_operand_lacks_are_the_first_that_holds_them(folder, tmp_path):
    key = VAE + "quant_conv.bias"
    write_models(tmp_path, bare=model(8, without=["VAE"], only=[KEY]), **{n: model(i, only=[key]) for i, n in enumerate("AB")})
    a, b = values(tmp_path, "A", key), values(tmp_path, "B", key)
    for text, expected in {
        "Z = bend(bare, A)": a,
        "Z = bend(A, bare)": a,
        "Z = peak(A, bare, base=B)": b + np.abs(a - b).max(),
        "Z = peak(bare, A, base=bare)": a,
        "Z = peak(bare, base=B)": b,
    }.items():
        assert read_file(merged(tmp_path, text, tmp_path))[key].data == fp16(expected), text


def test_extra_channels_are_a_key_that_only_their_models_have(folder, tmp_path):
    found = read_file(merged(folder, "Z = bend(A, wide, alpha=0.3)", tmp_path))[CONV_IN].values.astype(np.float32)
    a, wide = values(folder, "A", CONV_IN), values(folder, "wide", CONV_IN)
    assert fp16(found[:, :4]) == fp16(bent(a, wide[:, :4], 0.3))
    assert fp16(found[:, 4:]) == fp16(wide[:, 4:])


def test_not_finite_source_below_a_call_stops_or_is_replaced(folder, tmp_path):
    broken = values(folder, "B").copy()
    broken[3, 5] = np.nan
    write_models(tmp_path, A=model(0, only=[KEY]), C=model(2, only=[KEY]), B=model(1, extras={KEY: stored(broken, "fp16")}))
    text = "Z = 0.5 * peak(A, B, base=C) + 0.5 * bend(A, C)"
    with pytest.raises(CheckpointError, match=r"'B\.safetensors' holds NaN or Inf in 1 value of '.*to_q"):
        merged(tmp_path, text, tmp_path)
    assert not (tmp_path / "out.safetensors").exists()
    report = merge_in(tmp_path, text, tmp_path / "out.safetensors", options={"on_nan": "take:A"})
    found = read_file(tmp_path / "out.safetensors")[KEY].values
    assert np.isfinite(found).all()
    assert found[3, 5] == np.float16(values(tmp_path, "A")[3, 5])
    assert any("1 value" in sentence for sentence in report.warnings)


def test_plan_names_calls_and_says_that_they_are_not_linear(folder):
    facts = plan_facts(plan_in(folder, "Z = bend(A, B, alpha={IN01: 0, *: 0.5})"), 1)
    assert facts["folded"]["IN01"] == {"A": 1} and facts["folded"]["IN00"] is None
    assert facts["reproducible"] == "bitwise"
    assert facts["reads_bytes"] == sum(
        len(tensor.data) * (1 if key == KEY else 2) for key, tensor in read_file(folder / "A.safetensors").items()
    )


def test_plan_counts_the_memory_of_whole_tensors(tmp_path):
    key = UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    large = {key: stored(np.zeros((2048, 2048)), "fp16")}
    write_models(tmp_path, A=model(0, only=[key], extras=large), B=model(1, only=[key], extras=large))
    sums, whole = (peak_memory_bytes(plan_in(tmp_path, text), 1) for text in ("Z = 0.5 * A + 0.5 * B", "Z = peak(A, base=B)"))
    assert whole - sums > 4 * 2048 * 2048 * 4


def test_resident_weights_go_from_sums_to_calls_and_back(folder, tmp_path):
    weights = ResidentWeights("cpu")
    for alpha in (0.5, 0, 0.25):
        text = f"Z = bend(A, B, alpha={alpha})"
        weights.update(plan_in(folder, text))
        assert differing(weights.tensors, merged(folder, text, tmp_path)) == [], alpha
    weights.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Z = peak(A, B)", r"peak needs base=MODEL: peak\(A, B, \.\.\., base=BASE, alpha=1\)"),
        ("Z = peak(A, base=0.5)", "'0.5' stands where a model was expected"),
        ("Z = peak(A, base=A - B)", "peak takes a model; 'A - B' is a delta"),
        ("Z = peak(A, base=B, base=C)", "peak is given 'base' twice"),
        ("Z = peak(A, bas=B)", "Did you mean 'base'"),
        ("Z = peak(base=B)", "peak takes one or more models, here are none"),
        ("Z = bend(A, B, C)", "bend takes 2 models, here are 3"),
    ],
)
def test_operand_with_a_name_that_is_wrong_is_said(text, said):
    with pytest.raises(RecipeError, match=said):
        parse_recipe(text)


def test_operand_with_a_name_reads_back_from_the_canonical_text():
    text = "X = A - B\nZ = peak(C, base=0.5 * A + 0.5 * B, alpha={IN*: 0.5})\n"
    assert parse_recipe(text).canonical() == text
    assert [reference.name for reference in parse_recipe(text).models()] == ["C", "A", "B"]


def test_delta_of_calls_is_a_delta(folder, tmp_path):
    a, b, c = (values(folder, name) for name in "ABC")
    output = merged(folder, "D1 = bend(A - C, B - C)\nZ = A + D1", tmp_path)
    assert read_file(output)[KEY].data == fp16(a + bent(a - c, b - c, 0.5))


def test_methods_get_one_torch_thread(folder, tmp_path, monkeypatch):
    threads = set()
    monkeypatch.setattr(torch.Tensor, "abs", lambda self, own=torch.Tensor.abs: threads.add(torch.get_num_threads()) or own(self))
    merged(folder, "Z = peak(A, base=B)", tmp_path, threads=2)
    assert threads == {1}
