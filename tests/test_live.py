"""What is merged in memory is the file: same keys, dtypes and bits; only what changed is merged again, into the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, UNET, draw, merge_in, model, plan_in, stored, tiny, write_file, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from updates import StopAfter, differing, keys_of

from lib_chilly.architecture import load
from lib_chilly.engine import merge
from lib_chilly.errors import CheckpointError, Interrupted
from lib_chilly.host.shown import is_in_file
from lib_chilly.live import LiveWeights
from lib_chilly.memory import BLOCK_BYTES
from lib_chilly.resident import ResidentWeights

SCALED = UNET + "input_blocks.7.1.transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a, b and c of SD 1.x, of which one lacks its VAE and one is fp32; an inpainting one; x and y of SDXL."""
    for seed, name in enumerate("abcxy"):
        tiny(
            tmp_path_factory,
            f"live-{name}",
            "sdxl" if name in "xy" else "sd1",
            seed=seed,
            dtype="fp32" if name == "c" else "fp16",
        )
    tiny(tmp_path_factory, "live-i", "sd1", seed=9, inpainting=True)
    tiny(tmp_path_factory, "live-n", "sd1", seed=8, without=("vae",))
    return tmp_path_factory.getbasetemp() / "tiny-models"


Weights = LiveWeights | ResidentWeights


@pytest.fixture(scope="module", params=["files", "cpu", "cuda"])
def make(request: pytest.FixtureRequest) -> Callable[[], Weights]:
    """What merges in memory: from the files, or with the sources resident on a device."""
    if request.param == "files":
        return lambda: LiveWeights(2)
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return lambda: ResidentWeights(request.param, 2)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("weighted_sum(live-a, live-b, alpha=0.3)", {}),
        ("weighted_sum(live-a, live-b, alpha=0.3)", {"dtype": "bf16"}),
        ("weighted_sum(live-a, live-b, alpha=0.3)", {"dtype": "fp32", "position_ids": "rebuild"}),
        ("weighted_sum(live-a, live-b, alpha=0.3)", {"dtype": "fp8_scaled"}),
        ("weighted_sum(live-a, live-b, alpha=0.3)", {"dtype": "fp8_e4m3fn", "vae": "live-c", "vae_dtype": "source"}),
        ("weighted_sum(live-a, live-n, alpha={VAE: 0.5, *: 0.7})", {"vae": "drop", "discard": "*norm*"}),
        ("live-i + 0.8 * (live-c - live-a)", {"compute": "float64"}),
        ("weighted_sum(live-x, live-y, alpha={IN*: 0.2, CLIP_G: 1, *: 0.5})", {}),
    ],
)
def test_tensors_are_those_of_the_file_with_every_option_that_changes_numbers(make, folder, tmp_path, recipe, options):
    merge_in(folder, recipe, tmp_path / "m.safetensors", options=options)
    live = make()
    change = live.update(plan_in(folder, recipe, **options))
    assert differing(live.tensors, tmp_path / "m.safetensors") == []
    assert change.keys == set(live.tensors)


WEIGHTS = st.fractions(0, 1, max_denominator=20).map(lambda weight: f"{float(weight):.4f}")


@pytest.fixture(scope="module")
def follower(make: Callable[[], Weights]) -> Weights:
    return make()


@settings(max_examples=8, deadline=None)
@given(
    weights=st.dictionaries(st.sampled_from(["IN*", "M00", "OUT03", "OUT*", "TIME", "VAE", "CLIP_L", "attn2"]), WEIGHTS),
    rest=WEIGHTS,
    sdxl=st.booleans(),
)
def test_updates_in_any_order_leave_the_tensors_of_the_file(folder, tmp_path_factory, follower, weights, rest, sdxl):
    rules = ", ".join(f"{pattern}: {weight}" for pattern, weight in {**weights, "*": rest}.items())
    one, other = ("live-x", "live-y") if sdxl else ("live-a", "live-b")
    recipe = f"weighted_sum({one}, {other}, alpha={{{rules}}})"
    output = tmp_path_factory.getbasetemp() / "live.safetensors"
    merge_in(folder, recipe, output)
    follower.update(plan_in(folder, recipe))
    assert differing(follower.tensors, output) == []


@pytest.mark.parametrize(("alpha", "name"), [("0", "live-a"), ("1", "live-b")])
def test_alpha_0_and_1_give_the_operand_s_bits(make, folder, alpha, name):
    live = make()
    live.update(plan_in(folder, f"weighted_sum(live-a, live-b, alpha={alpha})"))
    assert differing(live.tensors, folder / f"{name}.safetensors") == []


def test_update_merges_the_changed_lanes_alone_and_writes_into_the_same_memory(make, folder):
    live, done = make(), []
    live.update(plan_in(folder, "weighted_sum(live-a, live-b, alpha=0.3)"))
    places = {key: tensor.data_ptr() for key, tensor in live.tensors.items()}
    before = {key: tensor.clone() for key, tensor in live.tensors.items()}
    changed = plan_in(folder, "weighted_sum(live-a, live-b, alpha={M00: 0.6, OUT05: 0.1, *: 0.3})")
    change = live.update(changed, on_bytes=done.append)
    expected = keys_of({"M00", "OUT05"}, live.tensors)
    assert change.keys == expected and len(expected) > 60
    assert sum(done) == sum(job.size_bytes for job in changed.jobs if job.key in expected)
    assert {key: tensor.data_ptr() for key, tensor in live.tensors.items()} == places
    assert {key for key in before if not torch.equal(before[key], live.tensors[key])} == expected
    assert live.update(changed).keys == set()


def test_source_that_is_no_longer_the_same_file_is_read_again(make, tmp_path):
    write_models(tmp_path, one=model(1), two=model(2))
    live = make()
    live.update(plan_in(tmp_path, "weighted_sum(one, two, alpha={M00: 0.5, *: 0})"))
    write_file(tmp_path / "two.safetensors", model(3), {"new": "yes"})
    plan = plan_in(tmp_path, "weighted_sum(one, two, alpha={M00: 0.5, *: 0})")
    assert live.update(plan).keys == keys_of({"M00"}, live.tensors)
    merge_in(tmp_path, "weighted_sum(one, two, alpha={M00: 0.5, *: 0})", tmp_path / "m")
    assert differing(live.tensors, tmp_path / "m") == []


def test_keys_and_dtypes_that_the_result_no_longer_has_are_gone(make, folder, tmp_path):
    live = make()
    live.update(plan_in(folder, "mean(live-a, live-b)"))
    change = live.update(plan_in(folder, "mean(live-a, live-b)", vae="drop"))
    assert len(change.removed) == 248 and not change.keys
    change = live.update(plan_in(folder, "mean(live-a, live-b)", dtype="bf16"))
    assert change.removed == set() and len(change.keys) == 1130
    merge_in(folder, "mean(live-a, live-b)", tmp_path / "m", options={"dtype": "bf16"})
    assert differing(live.tensors, tmp_path / "m") == []


def test_one_component_without_its_prefix_gives_the_same_keys_as_its_file(make, folder, tmp_path):
    prefix = load("sd1").components["unet"][0]
    for name in "ab":
        tensors = {
            key.removeprefix(prefix): stored(tensor.numpy(), "fp16")
            for key, tensor in load_file(folder / f"live-{name}.safetensors").items()
            if key.startswith(prefix)
        }
        write_file(tmp_path / f"{name}.safetensors", tensors)
    merge_in(tmp_path, "mean(a, b)", tmp_path / "m")
    live = make()
    live.update(plan_in(tmp_path, "mean(a, b)"))
    assert differing(live.tensors, tmp_path / "m") == []
    assert "input_blocks.0.0.weight" in live.tensors


# ---- what does not end ----


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of several blocks."""
    folder = tmp_path_factory.mktemp("large")
    names = [f"{UNET}middle_block.1.transformer_blocks.0.{name}.weight" for name in ("attn1.to_q", "attn1.to_k", "attn2.to_q")]
    shape = (1024, BLOCK_BYTES // 1024)
    for seed, name in enumerate(("one", "two")):
        write_models(folder, **{name: model(seed, extras={key: stored(draw(seed, key, shape), "fp16") for key in names})})
    return folder


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_stopped_update_hands_out_nothing_and_the_next_finishes_it(large, tmp_path, asked):
    first, second = (f"weighted_sum(one, two, alpha={alpha})" for alpha in ("0.3", "0.6"))
    live = LiveWeights()
    live.update(plan_in(large, first))
    with pytest.raises(Interrupted):
        live.update(plan_in(large, second), should_stop=StopAfter(asked))
    with pytest.raises(RuntimeError, match="not whole"):
        _ = live.tensors
    for recipe in (second, first):
        change = live.update(plan_in(large, recipe))
        merge_in(large, recipe, tmp_path / "m")
        assert differing(live.tensors, tmp_path / "m") == []
        assert change.keys == set(live.tensors)  # the update that was stopped had begun with all


def test_source_with_nan_is_named_and_a_better_recipe_goes_on_from_there(make, tmp_path):
    values = draw(5, CONV_IN, (24, 4, 3, 3))
    values[0, 0, 0, 0] = np.nan
    write_models(tmp_path, one=model(1), two=model(2, extras={CONV_IN: stored(values, "fp16")}))
    live = make()
    live.update(plan_in(tmp_path, "one"))
    with pytest.raises(CheckpointError, match="holds NaN or Inf in 1 value"):
        live.update(plan_in(tmp_path, "mean(one, two)"))
    recipe = "weighted_sum(one, two, alpha={IN00: 0, *: 0.5})"
    live.update(plan_in(tmp_path, recipe))
    merge_in(tmp_path, recipe, tmp_path / "m")
    assert differing(live.tensors, tmp_path / "m") == []


def test_closed_weights_are_empty_and_an_update_makes_them_anew(make, folder):
    live = make()
    live.update(plan_in(folder, "live-a"))
    live.close()
    with pytest.raises(RuntimeError, match="not whole"):
        _ = live.tensors
    assert len(live.update(plan_in(folder, "live-a")).keys) == 1131


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32", "fp8_scaled"])
def test_digest_of_the_memory_is_that_of_the_file(folder: Path, tmp_path: Path, dtype: str):
    plan = plan_in(folder, "weighted_sum(live-a, live-b, alpha=0.3)", dtype=dtype)
    report = merge(plan, tmp_path / "m.safetensors")
    weights = LiveWeights(2)
    assert is_in_file(weights, plan, tmp_path / "m.safetensors", report.sha256) is None
    weights.update(plan)
    assert is_in_file(weights, plan, tmp_path / "m.safetensors", report.sha256) is True
    next(iter(weights.tensors.values())).view(-1).view(torch.uint8)[0] ^= 1
    assert is_in_file(weights, plan, tmp_path / "m.safetensors", report.sha256) is False
    weights.update(plan_in(folder, "weighted_sum(live-a, live-b, alpha=0.4)", dtype=dtype))
    assert is_in_file(weights, plan, tmp_path / "m.safetensors", report.sha256) is None
    weights.close()


def test_header_that_is_longer_than_its_file_is_not_asked_for(tmp_path: Path):
    write_models(tmp_path, one=model(1))
    weights, plan, other = LiveWeights(1), plan_in(tmp_path, "one"), tmp_path / "other"
    weights.update(plan)
    other.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    assert is_in_file(weights, plan, other, "0" * 64) is None
    weights.close()
