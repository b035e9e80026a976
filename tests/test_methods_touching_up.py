"""Adjust: SuperMerger's formulas in six tensors of a U-Net, and every other tensor as it was."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CONV_IN, UNET, merge_in, plan_in, tiny, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import read_file
from supermergers import NEEDED

from bench.supermerger import supermerger_s_own
from lib_chilly.errors import RecipeError
from lib_chilly.live import LiveWeights
from lib_chilly.methods.touching_up import adjust
from lib_chilly.node_kernel import _called
from lib_chilly.resident import ResidentWeights
from lib_chilly.signature import Place
from lib_chilly.sources import ema_key

NAMES = ("IN", "OUT", "OUT2", "contrast", "brightness", "cyan_red", "magenta_green", "yellow_blue")
KEYS = [UNET + name for name in ("input_blocks.0.0.weight", "input_blocks.0.0.bias", "out.0.weight", "out.0.bias")]
KEYS += [UNET + "out.2.weight", UNET + "out.2.bias"]
LATENTS = {"sd1": "SD", "sd2": "SD", "sdxl": "SDXL", "sdxl-refiner": "SDXL"}
VALUES = (3.0, -2.0, 1.5, 2.0, -1.0, 0.5, 4.0, -3.0)
SAID = ", ".join(f"{name}={value:g}" for name, value in zip(NAMES, VALUES, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for architecture in (*LATENTS, "sd3", "flux"):
        path = tiny(tmp_path_factory, architecture, architecture)
    tiny(tmp_path_factory, "other", seed=1)
    tiny(tmp_path_factory, "inpainting", inpainting=True)
    return path.parent


def adjusted(key: str, tensor: np.ndarray, values: tuple[float, ...], latents: str) -> np.ndarray:
    """What SuperMerger's page says of each tensor, in float64."""
    detail, out, out2, contrast, bright, red, green, blue = values
    if latents == "SD":
        shift = [contrast, red - bright + blue, bright / 3 + red - green, bright * 2 / 3 - green + blue]
    else:
        shift = [contrast, red - green - blue, blue - green, bright]
    change = {
        KEYS[0]: lambda t: t * (1 - 0.01 * detail),
        KEYS[1]: lambda t: t * (1 + 0.02 * detail),
        KEYS[2]: lambda t: t * (1 - 0.01 * out),
        KEYS[3]: lambda t: t * (1 + 0.02 * out),
        KEYS[4]: lambda t: t * (1 - 0.01 * out2),
        KEYS[5]: lambda t: t + 0.02 * np.array(shift),
    }
    return change[key](tensor) if key in change else tensor


@pytest.mark.parametrize("architecture", LATENTS)
def test_file_has_six_adjusted_tensors_and_every_other_as_it_was(folder: Path, tmp_path: Path, architecture: str) -> None:
    before = read_file(folder / f"{architecture}.safetensors")
    merge_in(folder, f"adjust({architecture}, {SAID})", tmp_path / "out.safetensors")
    merge_in(folder, f"adjust({architecture}, {SAID})", tmp_path / "wide.safetensors", options={"dtype": "fp32"})
    found, wide = (read_file(tmp_path / f"{name}.safetensors") for name in ("out", "wide"))
    assert found.keys() == before.keys()
    assert [key for key in found if found[key].data != before[key].data] == [key for key in found if key in KEYS]
    for key in KEYS:
        expected = adjusted(key, before[key].values.astype(np.float64), VALUES, LATENTS[architecture])
        np.testing.assert_allclose(wide[key].values, expected, rtol=1e-7, atol=1e-8)
        single = adjusted(key, before[key].values.astype(np.float32), VALUES, LATENTS[architecture])
        assert np.abs(found[key].values - single).max() <= np.abs(single).max() * 2**-11, key


@given(seed=st.integers(0, 999), latents=st.sampled_from(("SD", "SDXL")), cut=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_each_tensor_is_what_the_formulas_say_wherever_it_is_cut(seed: int, latents: str, cut: int) -> None:
    values = tuple(np.random.default_rng(seed).uniform(-10, 10, len(NAMES)).tolist())
    tensor = torch.tensor([0.5, -0.25, 3.0, -0.125], dtype=torch.float64)
    options = dict(zip(NAMES, values, strict=True))
    for key in (*KEYS, UNET + "time_embed.0.weight"):
        parts = (
            adjust(part, **options, place=Place(key, start, latents)) for part, start in ((tensor[:cut], 0), (tensor[cut:], cut))
        )
        expected = adjusted(key, tensor.numpy(), values, latents)
        np.testing.assert_allclose(torch.cat(list(parts)).numpy(), expected, rtol=1e-14, atol=1e-15)


def test_bias_that_blocks_cut_is_that_of_the_whole_file(folder: Path) -> None:
    plan = plan_in(folder, f"adjust({next(iter(LATENTS))}, contrast=2, yellow_blue=-4)")
    (job,) = [job for job in plan.jobs if job.key.endswith("out.2.bias")]
    (node,) = job.nodes
    whole = torch.tensor([0.5, -0.25, 3.0, -0.125])
    parts = [_called(node, [whole[start : start + 2]], job.shape, Place(job.key, start)) for start in (0, 2)]
    assert torch.equal(torch.cat(parts), _called(node, [whole], job.shape, Place(job.key)))


def test_neutral_values_read_and_give_the_model_as_it_is(folder: Path, tmp_path: Path) -> None:
    plan = plan_in(folder, "adjust(sd1, IN=0, contrast=0)")
    assert not any(job.nodes for job in plan.jobs) and plan.rows.keys() == plan_in(folder, "sd1").rows.keys()
    merge_in(folder, "adjust(sd1)", tmp_path / "out.safetensors")
    assert {key: each.data for key, each in read_file(tmp_path / "out.safetensors").items()} == {
        key: each.data for key, each in read_file(folder / "sd1.safetensors").items()
    }


def test_all_keys_but_those_it_changes_still_fold(folder: Path, tmp_path: Path) -> None:
    plan = plan_in(folder, "X = 0.5 * sd1 + 0.5 * other\nY = 0.5 * adjust(X, OUT=2) + 0.5 * other")
    assert [job.key for job in plan.jobs if job.nodes] == [UNET + "out.0.bias", UNET + "out.0.weight"]
    labels = [label for label, row in plan.rows.items() if row.nodes]
    assert sorted(labels) == ["FINAL/out.0.bias", "FINAL/out.0.weight"]
    assert {tuple(row.exact.values()) for row in plan.rows.values() if not row.nodes} == {(Fraction(1, 4), Fraction(3, 4))}
    merge_in(folder, "adjust(adjust(sd1, IN=2), IN=-4, OUT2=1)", tmp_path / "twice.safetensors", options={"dtype": "fp32"})
    found, before = read_file(tmp_path / "twice.safetensors"), read_file(folder / "sd1.safetensors")
    for key, factor in {CONV_IN: 0.98 * 1.04, KEYS[1]: 1.04 * 0.92, KEYS[4]: 0.99}.items():
        np.testing.assert_allclose(found[key].values, before[key].values.astype(np.float64) * factor, rtol=1e-7)


@pytest.mark.parametrize("make", [LiveWeights, lambda: ResidentWeights("cpu")], ids=["live", "resident"])
def test_weights_in_memory_follow_each_number(folder: Path, make: Callable[[], LiveWeights | ResidentWeights]) -> None:
    weights, before = make(), read_file(folder / "sd1.safetensors")
    for brightness, told in ((2, None), (-4, {KEYS[5]}), (0, {KEYS[5]})):
        change = weights.update(plan_in(folder, f"adjust(sd1, IN=1, brightness={brightness})", dtype="fp32"))
        assert told is None or change.keys == told
        expected = adjusted(KEYS[5], before[KEYS[5]].values.astype(np.float64), (1, 0, 0, 0, brightness, 0, 0, 0), "SD")
        np.testing.assert_allclose(weights.tensors[KEYS[5]].numpy(), expected, rtol=1e-6)
    weights.close()


def test_extra_channels_and_ema_copies_are_adjusted_as_the_rest(folder: Path, tmp_path: Path) -> None:
    merge_in(folder, "adjust(weighted_sum(inpainting, sd1), IN=5)", tmp_path / "out.safetensors", options={"dtype": "fp32"})
    merge_in(folder, "weighted_sum(inpainting, sd1)", tmp_path / "plain.safetensors", options={"dtype": "fp32"})
    found, plain = (read_file(tmp_path / f"{name}.safetensors")[CONV_IN].values for name in ("out", "plain"))
    assert found.shape[1] == 9
    np.testing.assert_allclose(found, plain * 0.95, rtol=1e-6)
    tensors = read_file(folder / "sd1.safetensors")
    tensors[ema_key(KEYS[1])] = tensors[KEYS[3]]
    copied = write_models(tmp_path / "ema", ema=tensors)
    merge_in(copied, "adjust(ema, IN=5)\nsave(ema=keep, dtype=fp32)", tmp_path / "out.safetensors")
    found = read_file(tmp_path / "out.safetensors")[ema_key(KEYS[1])].values
    np.testing.assert_allclose(found, tensors[KEYS[3]].values * 1.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adjust(sd3, IN=1)", "SD 3 has no key 'model.diffusion_model.input_blocks.0.0.weight'"),
        ("adjust(flux, brightness=1)", "Flux.1 has no key 'model.diffusion_model.out.2.bias'"),
        ("adjust(sd1, OUT={IN00: 1})", "'OUT' of adjust is one number for all blocks"),
        ("adjust(sd1 - other, IN=1)", "takes a model"),
    ],
)
def test_what_cannot_be_adjusted_is_refused_in_the_plan(folder: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_in(folder, text)
    assert said in str(caught.value)


@NEEDED
@pytest.mark.parametrize("latents", ["SD", "SDXL"])
def test_numbers_are_those_of_supermerger_s_own_function(latents: str) -> None:
    own = supermerger_s_own("mergers/mergers.py", "fineman", "colorcalc", "COLS", "COLSXL")
    *factors, shift = own["fineman"](",".join(map(str, VALUES)), latents == "SDXL")
    tensor, options = torch.full((4,), 0.5, dtype=torch.float64), dict(zip(NAMES, VALUES, strict=True))
    for key, factor in zip(KEYS, [*factors, None], strict=True):
        expected = tensor + torch.tensor(shift, dtype=torch.float64) if factor is None else tensor * factor
        torch.testing.assert_close(adjust(tensor, **options, place=Place(key, 0, latents)), expected, rtol=1e-14, atol=0)
