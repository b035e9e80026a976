"""How alike two models are: against the formula step by step in numpy, and on merges, other architectures, odd files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CLIP, UNET, merge_in, plan_in, tiny
from safetensors.torch import load_file, save_file
from supermergers import NEEDED

from bench.asim import asimilarity
from bench.picturable import picturable
from lib_chilly.errors import ArchitectureError, CheckpointError, Interrupted, RecipeError
from lib_chilly.similarity import MEASURES, Question, Similarity, compare, compare_all, shared_layers, totals

PLACES = {
    **{f"IN{n:02}": f"input_blocks.{n}" for n in (1, 2, 4, 5, 7, 8)},
    "M00": "middle_block",
    **{f"OUT{n:02}": f"output_blocks.{n}" for n in range(3, 12)},
}
"""Where SD 1.x and 2.x have attention, in the order of SuperMerger's table."""


def answers(given: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """What a layer makes of its input, element by element."""
    queries, keys, values = given @ q.T, given @ k.T, given @ v.T
    logits = queries @ keys.T
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    sums = [sum(column) for column in values.T]
    return np.array([[weight * each for weight, each in zip(row, sums, strict=True)] for row in weights])


def by_hand(a: Path, b: Path) -> dict[str, float]:
    """SuperMerger's table: its seed, the input, then the numbers that six linear layers take for themselves."""
    models = [{key: value.double().numpy() for key, value in load_file(path).items()} for path in (a, b)]
    found = {}
    state = torch.get_rng_state()
    torch.manual_seed(2244096)
    for lane, place in PLACES.items():
        prefix = f"{UNET}{place}.1.transformer_blocks.0.attn1.to_"
        width = models[0][f"{prefix}q.weight"].shape[0]
        given = torch.randn([width, width]).double().numpy()
        for _ in range(6):
            torch.nn.Linear(width, width, bias=False)
        left, right = (answers(given, *(model[f"{prefix}{name}.weight"] for name in "qkv")) for model in models)
        norms = np.maximum(np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1), 1e-8)
        found[lane] = 100 * float(((left * right).sum(1) / norms).mean())
    torch.set_rng_state(state)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models a and b, and c, which is a with noise in it."""
    folder = tmp_path_factory.mktemp("alike")
    for seed, name in enumerate("ab"):
        picturable(folder / f"{name}.safetensors", seed=seed)

    def stir(tensors: dict[str, torch.Tensor]) -> None:
        draw = torch.Generator().manual_seed(5)
        for key, tensor in tensors.items():
            if "attn1" in key:
                tensors[key] = (tensor + 0.2 * tensor.std() * torch.randn(tensor.shape, generator=draw)).half()

    picturable(folder / "c.safetensors", change=stir)
    return folder


def alike(folder: Path, a: str, b: str, **how: object) -> Similarity:
    return compare(plan_in(folder, a), plan_in(folder, b), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("other", ["b", "c"])
def test_asim_is_supermerger_s_table(folder, other):
    found = alike(folder, "a", other, threads=2)
    expected = by_hand(folder / "a.safetensors", folder / f"{other}.safetensors")
    assert list(found.blocks) == list(expected)
    assert found.blocks == pytest.approx(expected, abs=2e-3)
    assert all(value < 99.9 for value in expected.values()) and found.notes == ()


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left right^T in float32, by oneDNN where torch has it."""
    if not torch.backends.mkldnn.is_available():
        return left @ right.T
    return torch.nn.functional.linear(left.to_mkldnn(), right.to_mkldnn()).to_dense()


def one_layer(given: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A layer's answer in float32, step by step."""
    queries, keys = product(given, q), product(given, k)
    attention = torch.softmax(product(queries, keys), dim=-1)
    return attention * (v @ given.sum(dim=0))


@pytest.mark.parametrize(
    ("stream", "seed", "unused", "threads_of_ours", "has_onednn"),
    [
        ("supermerger", 2244096, 6, 1, True),
        ("supermerger", 2244096, 6, 3, True),
        ("original", 114514, 3, 2, True),
        ("supermerger", 2244096, 6, 2, False),
    ],
)
def test_asim_is_the_step_by_step_figure_of_one_thread_to_the_last_bit(
    folder, monkeypatch, stream, seed, unused, threads_of_ours, has_onednn
):
    if not has_onednn:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    models = [{key: value.float() for key, value in load_file(folder / f"{name}.safetensors").items()} for name in "ac"]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    expected = {}
    for lane, place in PLACES.items():
        prefix = f"{UNET}{place}.1.transformer_blocks.0.attn1.to_"
        given = torch.randn(models[0][f"{prefix}q.weight"].shape)
        for _ in range(unused):
            torch.nn.Linear(*given.shape, bias=False)
        left, right = (one_layer(given, *(model[f"{prefix}{name}.weight"] for name in "qkv")) for model in models)
        expected[lane] = 100.0 * torch.cosine_similarity(left, right).mean().item()
    torch.set_num_threads(threads)
    torch.set_rng_state(state)
    assert alike(folder, "a", "c", stream=stream, threads=threads_of_ours).blocks == expected


@NEEDED
def test_asim_is_what_supermerger_s_own_function_says(folder):
    models = [load_file(folder / f"{name}.safetensors") for name in "ab"]
    state = torch.get_rng_state()
    said = [figure for _, _, figure in asimilarity()(*models, False)]
    torch.set_rng_state(state)
    found = alike(folder, "a", "b").blocks
    assert list(found.values()) == pytest.approx(said, abs=1.5e-3)  # theirs is rounded to 3 decimals


def test_streams_draw_other_inputs(folder):
    assert alike(folder, "a", "c").blocks != alike(folder, "a", "c", stream="original").blocks


def test_asim_of_many_in_one_pass_is_that_of_each_by_itself(folder):
    plans = [plan_in(folder, name) for name in "abc"]
    alone = [alike(folder, *names).blocks for names in ("ab", "ac", "bc")]
    for threads in (1, 2, 4):
        found = compare_all(Question(plans, [(0, 1), (0, 2), (1, 2)]), threads=threads)
        assert [each.blocks for each in found] == alone


def test_asim_of_sd2_is_by_the_same_rule(tmp_path):
    for seed, name in enumerate("ab"):
        picturable(tmp_path / f"{name}.safetensors", "sd2", seed)
    expected = by_hand(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert alike(tmp_path, "a", "b").blocks == pytest.approx(expected, abs=2e-3)


def test_asim_leaves_torch_s_own_random_numbers_alone(folder):
    torch.manual_seed(3)
    before = torch.rand(4)
    torch.manual_seed(3)
    alike(folder, "a", "c")
    assert torch.equal(torch.rand(4), before)


def test_model_is_100_percent_alike_itself_and_the_same_whichever_comes_first(folder):
    assert set(alike(folder, "a", "a").blocks.values()) == {100.0}
    assert alike(folder, "a", "c").blocks == pytest.approx(alike(folder, "c", "a").blocks, abs=1e-4)


def test_merge_is_compared_as_its_saved_file_would_be(folder, tmp_path):
    mix = "weighted_sum(a, b, alpha={IN*: 0.3, M00: 0.8, OUT05: 1, *: 0})"
    merge_in(folder, mix, tmp_path / "saved.safetensors", options={"dtype": "fp32"})
    (tmp_path / "a.safetensors").symlink_to(folder / "a.safetensors")
    merged = alike(folder, "a", mix)
    assert merged.blocks == pytest.approx(alike(tmp_path, "a", "saved").blocks, abs=1e-3)
    assert merged.blocks["OUT03"] == 100.0 and merged.blocks["M00"] < 99.9
    assert merged.blocks["OUT05"] == pytest.approx(alike(folder, "a", "b").blocks["OUT05"], abs=1e-4)


def test_rounding_of_what_would_be_saved_takes_no_part(folder):
    plain = alike(folder, "a", "b").blocks
    for dtype in ("bf16", "fp8_scaled"):
        rounded = compare(plan_in(folder, "a", dtype=dtype), plan_in(folder, "b", dtype=dtype))
        assert rounded.blocks == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize(
    ("architecture", "blocks", "layers", "has_input"),
    [("sdxl", 11, 70, True), ("sd3", 24, 24, False), ("flux", 57, 57, False)],
)
def test_layers_of_other_architectures_are_found_by_their_keys(tmp_path_factory, architecture, blocks, layers, has_input):
    a = tiny(tmp_path_factory, f"{architecture}-a", architecture)
    tiny(tmp_path_factory, f"{architecture}-near", architecture, near=a, drift=0.3)
    plans = [plan_in(a.parent, f"{architecture}-{name}") for name in ("a", "near")]
    assert len(shared_layers(*plans)[0]) == layers
    found = compare(*plans)
    assert len(found.blocks) == blocks and set(compare(plans[0], plans[0]).blocks.values()) == {100.0}
    assert all(0 < value < 100 for value in found.blocks.values())
    assert (found.totals["input"] is not None, found.totals["output"] is not None) == (has_input, has_input)
    assert found.totals["all"] == pytest.approx(sum(found.blocks.values()) / blocks)


def test_fused_matrix_is_queries_then_keys_then_values(tmp_path_factory, tmp_path):
    path = tiny(tmp_path_factory, "flux-a", "flux")
    tensors = load_file(path)
    key = UNET + "single_blocks.0.linear1.weight"
    width = tensors[key].shape[1]
    tensors[key] = tensors[key].clone()
    tensors[key][3 * width :] += 1  # what stands below belongs to another layer
    save_file(tensors, tmp_path / "below.safetensors")
    tensors[key][2 * width : 3 * width] += 1 + torch.arange(width).half()[:, None]
    save_file(tensors, tmp_path / "values.safetensors")
    (tmp_path / "a.safetensors").symlink_to(path)
    assert alike(tmp_path, "a", "below").blocks["S00"] == 100.0
    assert alike(tmp_path, "a", "values").blocks["S00"] < 100.0


CARD = {
    "ChillyMixBaseV0": (
        [93.2390, 95.7006, 90.4897, 92.1093, 83.8271, 85.8409, 73.0998],
        [91.6694, 91.3029, 93.1590, 93.6105, 94.5325, 96.1938, 99.4821, 99.6246, 99.9055],
        (87.7581, 95.4978),
    ),
    "neverEndingDream": (
        [99.8909, 99.2414, 98.8610, 99.2940, 98.3178, 98.3939, 96.9688],
        [91.5396, 91.6970, 91.1852, 92.7715, 94.1585, 96.0288, 99.3220, 99.1343, 99.9986],
        (98.7097, 95.0928),
    ),
}
"""The model card's rows, total input and total output."""


@pytest.mark.parametrize("name", CARD)
def test_totals_are_those_of_the_model_card(name):
    ins, outs, (total_input, total_output) = CARD[name]
    rows = dict(zip(PLACES, [*ins, *outs], strict=True))
    found = totals(rows)
    assert (round(found["input"], 4), round(found["output"], 4)) == (total_input, total_output)
    assert found["all"] == pytest.approx(sum(rows.values()) / 16)
    assert totals({"D00": 50.0, "S00": 100.0}) == {"input": None, "output": None, "all": 75.0}


def test_part_of_a_row_has_the_model_card_s_mean():
    outs = dict(zip(list(PLACES)[7:13], CARD["neverEndingDream"][1][:6], strict=True))
    assert list(outs)[-1] == "OUT08" and round(totals(outs)["output"], 4) == 92.8968


def test_what_cannot_be_compared_is_refused_in_a_sentence(folder, tmp_path_factory, tmp_path):
    xl = tiny(tmp_path_factory, "sdxl-a", "sdxl")
    with pytest.raises(ArchitectureError, match=r"'a' is SD 1\.x, 'sdxl-a' is SDXL"):
        compare(plan_in(folder, "a"), plan_in(xl.parent, "sdxl-a"))
    with pytest.raises(RecipeError, match=r"no measure 'magic'\. There are: asim"):
        alike(folder, "a", "b", measure="magic")
    picturable(tmp_path / "text.safetensors", without=UNET + "input_blocks.1.1")
    found = compare(plan_in(folder, "a"), plan_in(tmp_path, "text"))
    assert "IN01" not in found.blocks and found.notes == ("1 layer that only one of both has were left out.",)
    with pytest.raises(ArchitectureError, match="no layers in common"):
        compare(plan_in(folder, "a"), plan_in(tmp_path, "text", discard="*attn1*"))


def test_models_of_two_widths_are_refused_by_name_of_the_key(folder, tmp_path_factory):
    small = tiny(tmp_path_factory, "sd1-small")
    with pytest.raises(ArchitectureError, match=r"attn1.to_q.weight' has shape .* in 'a' and .* in 'sd1-small'"):
        compare(plan_in(folder, "a"), plan_in(small.parent, "sd1-small"))


def test_nan_in_a_layer_is_said_with_its_file(folder, tmp_path):
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[UNET + "middle_block.1.transformer_blocks.0.attn1.to_v.weight"][0, 0] = float("nan")

    def spoil_elsewhere(tensors: dict[str, torch.Tensor]) -> None:
        tensors[CLIP + "final_layer_norm.bias"][0] = float("nan")

    picturable(tmp_path / "broken.safetensors", change=spoil)
    with pytest.raises(CheckpointError, match="broken"):
        compare(plan_in(folder, "a"), plan_in(tmp_path, "broken"))
    picturable(tmp_path / "elsewhere.safetensors", change=spoil_elsewhere)
    assert set(compare(plan_in(folder, "a"), plan_in(tmp_path, "elsewhere")).blocks.values()) == {100.0}


def test_answers_too_large_for_float32_are_said(folder, tmp_path):
    def blow(tensors: dict[str, torch.Tensor]) -> None:
        for letter in "qk":
            key = UNET + f"middle_block.1.transformer_blocks.0.attn1.to_{letter}.weight"
            tensors[key] = torch.full(tensors[key].shape, 1e30)

    picturable(tmp_path / "huge.safetensors", change=blow)
    found = compare(plan_in(folder, "a"), plan_in(tmp_path, "huge"))
    assert list(found.blocks) == [lane for lane in PLACES if lane != "M00"]
    assert found.notes == ("M00 has no figure: the answers there are too large for float32.",)


def test_progress_goes_layer_by_layer_and_stopping_stops(folder):
    seen: list[tuple[int, int, str]] = []
    alike(folder, "a", "b", on_layer=lambda *said: seen.append(said))
    assert seen == [(number, 16, lane) for number, lane in enumerate(PLACES)]
    with pytest.raises(Interrupted):
        alike(folder, "a", "b", should_stop=lambda: len(seen) > 20, on_layer=lambda *said: seen.append(said))
    assert len(seen) == 21


def test_every_measure_says_what_it_is():
    assert all(measure.name == name and measure.says.endswith(".") for name, measure in MEASURES.items())
