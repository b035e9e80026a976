"""Sources that stay in memory: what there is no room for, where results are written, and which ways of summing are trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, LANE_OF, UNET, draw, merge_in, model, plan_in, stored, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from updates import StopAfter, differing, keys_of

from lib_chilly import pass_choice
from lib_chilly.errors import CheckpointError, Interrupted
from lib_chilly.pass_choice import make_pass, ways
from lib_chilly.passes import Group, PairwisePass, Signature
from lib_chilly.resident import ResidentWeights

SIX = "0.5 * a + 0.3 * b + 0.2 * c + 0.7 * (d - e) + -0.1 * (f - b)"
BIAS = UNET + "input_blocks.3.0.emb_layers.1.bias"


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six models: fp16, bf16, fp32, dtypes in turns, one without some lanes, and one whose tensors end anywhere."""
    dtypes = {"a": "fp16", "b": "fp16", "c": "bf16", "d": "fp32", "e": ("fp16", "fp32", "bf16"), "f": "fp16"}
    without = {"e": ("VAE", "OUT03", "TIME")}
    models = {name: model(seed, kind, without=without.get(name, ()), size=67) for seed, (name, kind) in enumerate(dtypes.items())}
    return write_models(tmp_path_factory.mktemp("resident"), **models)


def merged_is(live: ResidentWeights, folder: Path, recipe: str, output: Path, **options: str) -> bool:
    """Whether an update gives the file's bits."""
    merge_in(folder, recipe, output, options=options)
    live.update(plan_in(folder, recipe, **options))
    return differing(live.tensors, output) == []


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_six_sources_of_all_dtypes_give_the_file_s_bits(device, folder, tmp_path, dtype):
    assert merged_is(ResidentWeights(device, 2), folder, SIX, tmp_path / "m", dtype=dtype)


@pytest.mark.parametrize("way", ["triton", "jiterator", "pairwise"])
@pytest.mark.parametrize("recipe", [SIX, "weighted_sum(a, b, alpha={IN*: 0.3, M00: 1, OUT03: 0, attn2: 0.45, *: 0.7})"])
def test_every_way_gives_the_file_s_bits(device, folder, tmp_path, way, recipe):
    if way != "pairwise" and (device == "cpu" or way not in ways()):
        pytest.skip(f"there is no GPU that has {way} here")
    live = ResidentWeights(device, way=way)
    assert merged_is(live, folder, recipe, tmp_path / "m")
    assert way in {one_pass.name for _, _, one_pass in live._table.passes()}


SHARES = st.fractions(-2, 2, max_denominator=50).map(lambda share: f"{float(share):.5f}")


@settings(max_examples=15, deadline=None)
@given(shares=st.lists(SHARES, min_size=2, max_size=6), dtype=st.sampled_from(["fp16", "bf16", "fp32"]))
def test_any_coefficients_of_any_number_of_sources_give_the_file_s_bits(folder, tmp_path_factory, shares, dtype):
    recipe = "a" + "".join(f" + {share} * ({one} - {two})" for share, one, two in zip(shares, "bcdefa", "abcdef", strict=False))
    output = tmp_path_factory.getbasetemp() / "shares.safetensors"
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        assert merged_is(ResidentWeights(device), folder, recipe.replace("+ -", "- "), output, dtype=dtype)


def test_models_taken_in_and_out_of_a_recipe_leave_the_file_s_bits(device, folder, tmp_path):
    live = ResidentWeights(device, 2)
    for recipe in ("a", "mean(a, b)", "mean(a, b, e)", "mean(b, e)", "mean(e, b)", "weighted_sum(a, f, alpha=0)", "a"):
        assert merged_is(live, folder, recipe, tmp_path / "m"), recipe


# ---- room ----


@pytest.mark.parametrize(
    ("device_bytes", "host_bytes"), [(0, 0), (0, 30_000), (30_000, 0), (200_000, 100_000), (0, None), (100_000, None)]
)
def test_what_there_is_no_room_for_is_read_again_and_the_bits_are_the_same(device, folder, tmp_path, device_bytes, host_bytes):
    live = ResidentWeights(device, 2, device_bytes=device_bytes, host_bytes=host_bytes)
    for recipe in (SIX, "mean(a, b)", "weighted_sum(a, b, alpha={M00: 0.2, *: 0.5})"):
        assert merged_is(live, folder, recipe, tmp_path / "m")


def test_room_of_models_that_are_gone_is_used_again(device, folder, tmp_path):
    size = (folder / "a.safetensors").stat().st_size
    live = ResidentWeights(device, 2, device_bytes=0, host_bytes=2 * size)
    for recipe in ("mean(a, b)", "mean(b, f)", "mean(a, f)", "mean(a, b)"):
        live.update(plan_in(folder, recipe))
        assert sum(len(source.loaded) for source in live._sources.values()) == 2 * len(LANE_OF)


def test_tensors_are_read_when_a_coefficient_first_asks_for_them(device, folder, tmp_path):
    live = ResidentWeights(device, 2)
    assert merged_is(live, folder, "weighted_sum(a, b, alpha={M00: 0.2, *: 0})", tmp_path / "m")
    one, other = live._sources.values()
    assert other.loaded.keys() == keys_of({"M00"}, dict.fromkeys(LANE_OF)) and len(one.loaded) == len(LANE_OF)
    plan = plan_in(folder, "weighted_sum(a, b, alpha={M00: 0.6, *: 0})")
    (folder / "b.safetensors").rename(folder / "away")
    try:  # what is here is not read again
        assert live.update(plan).keys == other.loaded.keys()
    finally:
        (folder / "away").rename(folder / "b.safetensors")


# ---- where results are written, and what stops on the way ----


def test_results_are_written_into_given_tensors_that_fit_and_beside_the_others(device, folder, tmp_path):
    shape = (67, 67)
    fitting = [key for key in LANE_OF if key.endswith("attn1.to_q.weight")]
    into = {key: torch.zeros(shape, dtype=torch.float16, device=device) for key in fitting}
    wrong = {
        UNET + "middle_block.1.transformer_blocks.0.norm1.weight": torch.zeros(shape, dtype=torch.float32, device=device),
        UNET + "time_embed.0.weight": torch.zeros((67, 134), dtype=torch.float16, device=device)[:, ::2],
        UNET + "out.0.weight": torch.zeros(5, dtype=torch.float16, device=device),
    }
    live = ResidentWeights(device, 2, into | wrong)
    for alpha in ("0.3", "0.8"):
        assert merged_is(live, folder, f"weighted_sum(a, b, alpha={alpha})", tmp_path / "m")
        assert all(live.tensors[key].data_ptr() == given.data_ptr() for key, given in into.items())
    assert not any(given.any() for given in wrong.values())


@pytest.mark.parametrize("asked", [0, 5])
def test_stopped_first_update_hands_out_nothing_and_the_next_finishes_it(device, folder, tmp_path, asked):
    live = ResidentWeights(device)
    with pytest.raises(Interrupted):
        live.update(plan_in(folder, "mean(a, b)"), should_stop=StopAfter(asked))
    with pytest.raises(RuntimeError, match="not whole"):
        _ = live.tensors
    assert merged_is(live, folder, "mean(a, b)", tmp_path / "m")


def test_update_stopped_before_its_pass_is_made_up_for(device, folder, tmp_path):
    live = ResidentWeights(device)
    live.update(plan_in(folder, "mean(a, b)"))
    for then in ("weighted_sum(a, b, alpha=0.3)", "mean(a, b)"):
        with pytest.raises(Interrupted):
            live.update(plan_in(folder, "weighted_sum(a, b, alpha=0.3)"), should_stop=StopAfter(0))
        assert merged_is(live, folder, then, tmp_path / "m")
        live.update(plan_in(folder, "mean(a, b)"))


def test_source_with_nan_is_replaced_by_the_named_one_in_the_keys_that_have_it(device, tmp_path):
    values = draw(5, CONV_IN, (24, 4, 3, 3))
    values[0, 0, 0, 0] = np.nan
    write_models(tmp_path, one=model(1), two=model(2, extras={CONV_IN: stored(values, "fp16")}))
    live = ResidentWeights(device)
    with pytest.raises(CheckpointError, match="holds NaN or Inf in 1 value"):
        live.update(plan_in(tmp_path, "mean(one, two)"))
    assert merged_is(live, tmp_path, "mean(one, two)", tmp_path / "m", on_nan="take:one")


def test_overflow_is_counted_when_asked_for(device, tmp_path):
    values = draw(5, CONV_IN, (24, 4, 3, 3))
    values[0, 0] = 60_000
    write_models(tmp_path, one=model(1), two=model(2, extras={CONV_IN: stored(values, "fp16")}))
    live = ResidentWeights(device)
    live.update(plan_in(tmp_path, "one + 2 * (two - one)"))
    assert live.overflow() == {CONV_IN: 9}
    live.update(plan_in(tmp_path, "mean(one, two)"))
    assert live.overflow() == {}


# ---- ways of summing ----


def group_of(device: str, dtype: torch.dtype = torch.float16) -> Group:
    parts = [torch.randn(5000).to(dtype).to(device) for _ in range(3)]
    name = {torch.float16: "fp16", torch.float32: "fp32"}[dtype]
    return Group(Signature((name, name), name, "float32"), [tuple(parts)])


def test_way_that_contracts_products_and_sums_is_not_taken(monkeypatch):
    class Contracted(PairwisePass):
        name = "contracted"

        def _work(self, tasks):
            for out, pieces, weights in tasks:
                total = pieces[0].float() * weights[0]
                for piece, weight in zip(pieces[1:], weights[1:], strict=True):
                    total = (total.double() + piece.double() * weight).float()  # as one operation, rounded once
                out.copy_(total)

    class Honest(PairwisePass):
        name = "honest"

    for way, taken in ((Contracted, PairwisePass), (Honest, Honest)):
        monkeypatch.setattr(pass_choice, "ways", lambda way=way: {way.name: way})
        assert type(make_pass(group_of("cpu"))) is taken


def test_way_that_fails_is_not_taken(monkeypatch):
    class Failing(PairwisePass):
        name = "failing"

        def _work(self, tasks):
            raise RuntimeError("no compiler")

    monkeypatch.setattr(pass_choice, "ways", lambda: {"failing": Failing})
    assert type(make_pass(group_of("cpu"))) is PairwisePass


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_gpu_has_the_faster_ways(dtype):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    names = list(ways())
    assert make_pass(group_of("cuda", dtype)).name == names[0]
    assert make_pass(group_of("cuda", dtype), "jiterator").name == "jiterator"


def test_keys_that_lie_side_by_side_are_one_run_where_their_coefficients_are_the_same():
    counts, at = (100, 64, 7), (0, 128, 192)
    buffers = [torch.arange(256, dtype=torch.float32) for _ in range(2)]
    other = [torch.zeros(count) for count in counts]
    rows = [tuple(b[start : start + count] for b in buffers) for start, count in zip(at, counts, strict=True)]
    apart = [(row[0], part) for row, part in zip(rows, other, strict=True)]
    weights, everything = np.array([[1.0], [1.0], [1.0]]), np.ones(3, bool)
    signature = Signature(("fp32",), "fp32", "float32")
    assert list(Group(signature, rows).runs(weights, everything)) == [(0, 199)]
    assert list(Group(signature, apart).runs(weights, everything)) == [(0, 100), (1, 64), (2, 7)]
    assert list(Group(signature, rows).runs(np.array([[1.0], [1.0], [2.0]]), everything)) == [(0, 192), (2, 7)]
    assert list(Group(signature, rows).runs(weights, np.array([True, False, True]))) == [(0, 100), (2, 7)]


def test_gpu_updates_allocate_nothing_and_take_one_launch(folder):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    if "triton" not in ways():
        pytest.skip("there is no Triton for this GPU here")
    live = ResidentWeights("cuda")
    plans = [plan_in(folder, f"weighted_sum(a, b, alpha={{M00: {alpha}, *: 0.3}})") for alpha in ("0.2", "0.4")]
    for plan in plans * 2:
        live.update(plan)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for number in range(1000):
        live.update(plans[number % 2])
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        live.update(plans[0])
        torch.cuda.synchronize()
    assert sum("_sum_tiles" in event.name for event in profile.events()) == 1
