"""Measures that are sums over elements: against numpy in float64, their bounds, and in one pass over many models."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, LANES, UNET, draw, merge_in, model, plan_in, stored, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import read_file

from lib_chilly import compared, summing
from lib_chilly.errors import ArchitectureError, CheckpointError, RecipeError
from lib_chilly.fileio import SourceFile
from lib_chilly.similarity import MEASURES, Question, Similarity, compare, compare_all

WEIGHED = [name for name in MEASURES if name != "asim"]
PERCENT = [name for name in WEIGHED if MEASURES[name].unit]
WIDE = UNET + "input_blocks.1.0.in_layers.0.weight"
NARROW = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def near(seed: int, base: Mapping[str, object], dtype: str = "fp16", share: float = 0.2) -> dict[str, object]:
    """A model with noise in it; one tensor is left as it is."""
    made = dict(base)
    for key, tensor in base.items():
        if key != WIDE:
            noise = share * draw(seed, key, tensor.shape)  # type: ignore[attr-defined]
            made[key] = stored(values(tensor) + noise, dtype)
    return made


def values(tensor: object) -> np.ndarray:
    kinds = {"F16": np.float16, "F32": np.float32}
    return np.frombuffer(tensor.data, kinds[tensor.tag]).astype(np.float64).reshape(tensor.shape)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a; b and c, near it; o, of which a, b and c are children; none with tensors of all kinds alike."""
    o = model(0)
    a = near(1, o)
    return write_models(tmp_path_factory.mktemp("like") / "models", o=o, a=a, b=near(2, a, "fp32"), c=near(3, a, share=1.0))


def figures(folder: Path, a: str, b: str, measure: str, **how: object) -> Similarity:
    below = {"ancestor": plan_in(folder, "o")} if measure == "delta" else {}
    return compare(plan_in(folder, a), plan_in(folder, b), measure, **{**below, **how})  # type: ignore[arg-type]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(100 * (a @ b) / np.sqrt((a @ a) * (b @ b)))


def cka(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    return float(100 * np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def stable_rank(a: np.ndarray, b: np.ndarray) -> float:
    sizes = np.linalg.svd((b - a).reshape(len(a), -1), compute_uv=False) ** 2
    return float(sizes.sum() / sizes[0]) if sizes[0] else 0.0


def by_numpy(folder: Path, measure: str, lane: str) -> float:
    of_a, of_b, of_o = (
        {key: values(tensor) for key, tensor in read_file(folder / f"{name}.safetensors").items()} for name in "abo"
    )
    keys = LANES[lane]
    whole = {"cka": cka, "stable_rank": stable_rank}.get(measure)
    if whole:
        found = [whole(of_a[key], of_b[key]) for key in keys if of_a[key].ndim > 1]
        return sum(found) / len(found)
    a, b, o = (np.concatenate([each[key].reshape(-1) for key in keys]) for each in (of_a, of_b, of_o))
    return {
        "cosine": lambda: cosine(a, b),
        "l2": lambda: 100 * (1 - np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))),
        "delta": lambda: cosine(a - o, b - o),
        "sign": lambda: 100 * np.mean(np.sign(a) == np.sign(b)),
        "equal": lambda: 100 * np.mean(a == b),
    }[measure]()


@pytest.mark.parametrize("measure", WEIGHED)
def test_measure_is_that_of_numpy_in_every_lane_and_in_its_totals(folder, measure):
    found = figures(folder, "a", "b", measure)
    assert sorted(found.blocks) == sorted(LANES)
    expected = {lane: by_numpy(folder, measure, lane) for lane in LANES}
    assert found.blocks == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert max(expected.values()) - min(expected.values()) > 1e-6
    ins = [value for lane, value in expected.items() if lane.startswith(("IN", "M00"))]
    assert found.totals["input"] == pytest.approx(np.mean(ins), rel=1e-6)
    assert found.totals["all"] == pytest.approx(np.mean(list(expected.values())), rel=1e-6)


@pytest.mark.parametrize("measure", WEIGHED)
def test_identical_models_are_exactly_100_percent_alike_and_have_no_difference(folder, measure):
    assert set(figures(folder, "c", "c", measure).blocks.values()) == {100.0 if measure in PERCENT else 0.0}


@pytest.mark.parametrize("measure", WEIGHED)
def test_measure_is_the_same_whichever_model_comes_first(folder, measure):
    one, other = figures(folder, "b", "c", measure).blocks, figures(folder, "c", "b", measure).blocks
    assert one == (pytest.approx(other, rel=1e-12) if measure == "cka" else other)


@pytest.mark.parametrize(
    ("measure", "twice", "turned"),
    [("cosine", 100, 80), ("l2", 200 / 3, 80), ("sign", 100, 80), ("equal", 0, 20), ("cka", 100, 100)],
)
def test_scaled_and_turned_copies_are_as_alike_as_the_documentation_says(tmp_path, measure, twice, turned):
    a = model(4, "fp32", size=32)
    write_models(
        tmp_path,
        a=a,
        twice={key: stored(2 * values(tensor), "fp32") for key, tensor in a.items()},
        turned={key: stored(values(tensor)[..., ::-1].copy(), "fp32") for key, tensor in a.items()},
    )
    lane = "IN05"
    assert figures(tmp_path, "a", "twice", measure).blocks[lane] == pytest.approx(twice, abs=1e-4)
    found = figures(tmp_path, "a", "turned", measure).blocks[lane]
    assert found == pytest.approx(100, abs=1e-9) if turned == 100 else found < turned


def test_zeros_are_alike_and_like_nothing_else(tmp_path):
    a = model(1)
    zeros = {key: stored(np.zeros(tensor.shape), "fp16") for key, tensor in a.items()}
    write_models(tmp_path, a=a, z=zeros, y=zeros)
    for measure in ("cosine", "l2"):
        assert set(figures(tmp_path, "z", "y", measure).blocks.values()) == {100.0}
        assert set(figures(tmp_path, "a", "z", measure).blocks.values()) == {0.0}


@settings(max_examples=8, deadline=None)
@given(threads=st.integers(1, 4), task=st.integers(1, 5), measure=st.sampled_from(["cosine", "l2", "delta", "sign", "equal"]))
def test_no_digit_depends_on_threads_or_on_how_much_one_takes_at_once(folder, threads, task, measure):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "LEAF_ELEMENTS", 100)  # six to a tensor
        expected = figures(folder, "a", "b", measure).blocks
        patch.setattr(summing, "TASK_LEAVES", task)
        assert figures(folder, "a", "b", measure, threads=threads).blocks == expected


def test_many_models_in_one_pass_have_the_figures_of_each_pair_by_itself(folder):
    names, pairs = "oabc", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    plans = [plan_in(folder, name) for name in names]
    for measure in ("cosine", "equal", "cka"):
        found = compare_all(Question(plans, pairs, measure, with_equal=True), threads=2)
        for (a, b), each in zip(pairs, found, strict=True):
            assert each.blocks == figures(folder, names[a], names[b], measure).blocks
            if measure == "cosine":
                assert each.equal == figures(folder, names[a], names[b], "equal").blocks


def test_each_file_is_read_once_in_a_ranking(folder, monkeypatch):
    read: dict[str, int] = {}
    real = SourceFile.read_into

    def counted(file: SourceFile, buffer: memoryview, offset: int) -> None:
        read[file.path.name] = read.get(file.path.name, 0) + len(buffer)
        real(file, buffer, offset)

    plans = [plan_in(folder, name) for name in "oabc"]
    monkeypatch.setattr(SourceFile, "read_into", counted)
    compare_all(Question(plans, [(0, 1), (0, 2), (0, 3)], "cosine"), threads=2)
    weights = {
        plan.sources[0].checkpoint.path.name: sum(info.size_bytes for info in plan.sources[0].tensors.values()) for plan in plans
    }
    assert read == weights


def test_figures_of_keys_and_components_stand_beside_those_of_lanes(folder):
    plans = [plan_in(folder, name) for name in "ab"]
    by_key = compare_all(Question(plans, [(0, 1)], "equal", by="key"))[0]
    assert by_key.parts[WIDE] == 100.0 and by_key.parts[CONV_IN] < 50 and len(by_key.parts) == sum(map(len, LANES.values()))
    by_component = compare_all(Question(plans, [(0, 1)], "cosine", by="component"))[0]
    assert (
        list(by_component.parts) == ["text_encoder", "unet", "vae"]
        and by_component.blocks == figures(folder, "a", "b", "cosine").blocks
    )


def test_merge_is_compared_as_its_saved_file_would_be(folder, tmp_path):
    mix = "weighted_sum(b, c, alpha={IN*: 0.3, M00: 0.8, *: 0})"
    merge_in(folder, mix, tmp_path / "saved.safetensors", options={"dtype": "fp32"})
    (tmp_path / "a.safetensors").symlink_to(folder / "a.safetensors")
    assert figures(folder, "a", mix, "l2").blocks == pytest.approx(figures(tmp_path, "a", "saved", "l2").blocks, abs=1e-4)


def test_sign_looks_at_deltas_where_there_is_an_ancestor(folder):
    plain = figures(folder, "a", "b", "sign").blocks
    of_deltas = figures(folder, "a", "b", "sign", ancestor=plan_in(folder, "o")).blocks
    assert plain["OUT05"] > 80 and of_deltas["OUT05"] < plain["OUT05"]


def test_sign_of_deltas_counts_what_neither_changed_as_alike(folder):
    found = figures(folder, "a", "b", "sign", ancestor=plan_in(folder, "o")).blocks
    of_a, of_b, of_o = ({key: values(each) for key, each in read_file(folder / f"{name}.safetensors").items()} for name in "abo")
    a, b, o = (np.concatenate([each[key].reshape(-1) for key in LANES["IN05"]]) for each in (of_a, of_b, of_o))
    assert found["IN05"] == pytest.approx(100 * np.mean(np.sign(a - o) == np.sign(b - o)))
    assert "0 is a sign of its own" in MEASURES["sign"].says and "bit" not in MEASURES["equal"].says


def test_zeros_of_both_signs_are_equal_as_the_measure_says(tmp_path):
    a = {key: stored(np.zeros(tensor.shape), "fp16") for key, tensor in model(1).items()}
    write_models(tmp_path, a=a, b={key: stored(-values(tensor), "fp16") for key, tensor in a.items()})
    assert set(figures(tmp_path, "a", "b", "equal").blocks.values()) == {100.0}


def test_memory_does_not_grow_with_leaves_times_pairs(tmp_path, monkeypatch):
    write_models(tmp_path, a=model(1, only=[WIDE], size=40))
    plans = [plan_in(tmp_path, "a")] * 8
    pairs = [(a, b) for b in range(8) for a in range(b)]
    peaks = []
    for elements in (1 << 16, 1 << 16, 4):
        monkeypatch.setattr(summing, "LEAF_ELEMENTS", elements)
        tracemalloc.start()
        compare_all(Question(plans, pairs, "equal"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 40 * 40 / 4 * len(pairs) * 24 / 4


@pytest.mark.parametrize("measure", ["cka", "stable_rank"])
def test_matrices_are_read_piece_by_piece(tmp_path, monkeypatch, measure):
    tall, wide = (stored(draw(1, name, shape), "fp32") for name, shape in (("tall", (96, 20)), ("wide", (20, 12, 3, 3))))
    a = model(1, "fp32") | {WIDE: tall, NARROW: wide}
    write_models(tmp_path, o=a, a=a, b=near(2, a, "fp32"), c=near(3, a, "fp32", 1.0))
    assert figures(tmp_path, "a", "b", measure).blocks["IN01"] == pytest.approx(by_numpy(tmp_path, measure, "IN01"), rel=1e-6)
    lengths: list[int] = []
    real = compared.Values.fill

    def noted(self: compared.Values, number: int, key: str, start: int, out: torch.Tensor) -> None:
        lengths.append(out.numel())
        real(self, number, key, start, out)

    monkeypatch.setattr(compared.Values, "fill", noted)
    monkeypatch.setattr("lib_chilly.grams.PIECE_ELEMENTS", 700)
    for name in "bc":
        expected = {lane: by_numpy(tmp_path, measure, lane) for lane in LANES} if name == "b" else None
        found = figures(tmp_path, "a", name, measure)
        assert expected is None or found.blocks == pytest.approx(expected, rel=1e-6)
    assert max(lengths) <= 700
    assert set(figures(tmp_path, "a", "a", measure).blocks.values()) == {100.0 if measure == "cka" else 0.0}


def test_broken_model_has_no_figure_where_it_is_broken_and_the_others_have_theirs(folder, tmp_path):
    broken = model(1, "fp32")
    tensor = values(broken[CONV_IN]).copy()
    tensor.flat[3] = np.nan
    write_models(tmp_path, x=broken | {CONV_IN: stored(tensor, "fp32")}, y=model(2), z=model(3))
    plans = [plan_in(tmp_path, name) for name in "yxz"]
    for measure in ("cosine", "equal", "cka"):
        of_x, of_z = compare_all(Question(plans, [(0, 1), (0, 2)], measure))
        assert "IN00" not in of_x.blocks and of_x.totals["input"] is None and of_x.totals["output"] is not None
        assert of_x.notes == (
            "'x' holds NaN, Inf or numbers too large for float32 in 1 tensor, "
            f"such as '{CONV_IN}': its blocks that have any are left out.",
        )
        assert len(of_z.blocks) == len(LANES) and of_z.notes == ()
    with pytest.raises(CheckpointError, match=r"x.safetensors' holds NaN or Inf in 1 value of"):
        compare(plans[0], plans[1], "cosine")


def test_ancestor_s_nan_is_said_of_the_ancestor_alone(tmp_path):
    spoilt = model(0, "fp32")
    tensor = values(spoilt[CONV_IN]).copy()
    tensor.flat[3] = np.inf
    own = model(2, "fp32")
    write_models(
        tmp_path, o=spoilt | {CONV_IN: stored(tensor, "fp32")}, a=model(1), b=own, x=own | {CONV_IN: stored(tensor, "fp32")}
    )
    ancestor, (a, b, x) = plan_in(tmp_path, "o"), (plan_in(tmp_path, name) for name in "abx")
    of_b, of_x = compare_all(Question([a, b, x], [(0, 1), (0, 2)], "delta", ancestor=ancestor))
    assert [note.split(" holds")[0] for note in of_b.notes] == ["the ancestor 'o'"]
    assert [note.split(" holds")[0] for note in of_x.notes] == ["'x'", "the ancestor 'o'"]
    assert "IN00" not in of_b.blocks and of_b.totals["output"] is not None
    with pytest.raises(CheckpointError, match=r"o.safetensors' holds NaN or Inf in 1 value of"):
        compare(a, b, "delta", ancestor=ancestor)


@pytest.mark.parametrize("measure", ["cosine", "cka"])
def test_recipe_s_replacement_of_nan_holds_where_one_source_stands_alone(folder, tmp_path, measure):
    broken = dict(model(1))
    tensor = values(broken[CONV_IN]).copy()
    tensor.flat[3] = np.nan
    write_models(tmp_path, x=broken | {CONV_IN: stored(tensor, "fp16")}, y=model(2), z=model(3))
    mix = 'M = weighted_sum(x, y, alpha={IN01: 0.5, *: 0})\nsave(on_nan="take:y")'
    merge_in(tmp_path, mix, tmp_path / "saved.safetensors", options={"dtype": "fp32"})
    merged, saved = figures(tmp_path, "z", mix, measure), figures(tmp_path, "z", "saved", measure)
    assert merged.blocks["IN00"] == pytest.approx(saved.blocks["IN00"], abs=1e-4) and merged.notes == ()


def test_what_only_one_has_is_left_out_and_said(tmp_path):
    write_models(tmp_path, a=model(1), b=model(2, without=["VAE"]), i=model(3, channels=9))
    without = figures(tmp_path, "a", "b", "cosine")
    assert "VAE" not in without.blocks and without.notes == ("2 tensors that only one of them has were left out, of VAE.",)
    inpainting = figures(tmp_path, "a", "i", "cosine")
    assert "IN00" in inpainting.blocks and inpainting.notes == (f"'{CONV_IN}' was left out: they have different input channels.",)


def test_what_cannot_be_measured_is_refused_in_a_sentence(folder, tmp_path):
    write_models(tmp_path, a=model(1), s=model(2, size=16))
    with pytest.raises(ArchitectureError, match=r"has shape .* in 'a' and .* in 's'"):
        figures(tmp_path, "a", "s", "cosine")
    with pytest.raises(RecipeError, match="since an ancestor; name it with --ancestor"):
        figures(folder, "a", "b", "delta", ancestor=None)
