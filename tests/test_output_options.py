"""What save(...) says of the output: dtypes of its components, fp8 with and without scales, its keys, and what lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import (
    CLIP,
    CONV_IN,
    KEYS,
    LANE_OF,
    UNET,
    VAE,
    draw,
    merge_in,
    model,
    plan_in,
    stored,
    tiny,
    write_file,
    write_models,
)
from hypothesis import given
from hypothesis import strategies as st
from reference import Stored, read_file, scaled_fp8, weighted
from safetensors import safe_open

from lib_chilly.engine import merge
from lib_chilly.errors import ArchitectureError, MergeError, OutputError
from lib_chilly.measure import scale_of
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.synth import synthesise

MIX = "M = weighted_sum(a, b, alpha=0.3)"
SHARES = (Fraction("0.7"), Fraction("0.3"))
MARKER = UNET + "scaled_fp8"
MATRIX = UNET + "input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
COPIED = ("position_ids", "sigmas")
KEPT = (VAE, "vae.", "embedding", ".shared.", "relative_attention_bias")
"""What the keys of VAEs and of embeddings have in them."""


def refusal(folder: Path, text: str, **options: str) -> str:
    with pytest.raises(MergeError) as caught:
        plan_in(folder, text, **options)
    return str(caught.value)


def terms(key: str, *models: Mapping[str, Stored]) -> list[tuple[Fraction, np.ndarray]]:
    return [(share, tensors[key].values) for share, tensors in zip(SHARES, models, strict=True)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Stored], dict[str, Stored]]:
    """Two small models a and b, and the folder that they lie in."""
    a, b = model(1), model(2, "fp32")
    return write_models(tmp_path_factory.mktemp("pair"), a=a, b=b), a, b


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl", "sd3", "flux"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(folder, recipe, tensors of its first and of its second model): all keys of an architecture."""
    first = tiny(tmp_path_factory, f"{request.param}-one", request.param, seed=5)
    second = tiny(tmp_path_factory, f"{request.param}-two", near=first, drift=0.3, seed=6, dtype="fp32")
    text = f"M = weighted_sum({request.param}-one, {request.param}-two, alpha=0.3)"
    return first.parent, text, read_file(first), read_file(second)


# ---- fp8 ----


def test_plain_fp8_of_a_whole_checkpoint_equals_numpy_and_leaves_small_tensors_and_embeddings_fp16(whole, tmp_path: Path):
    folder, text, one, two = whole
    merge_in(folder, text, tmp_path / "out.tmp", options={"dtype": "fp8_e4m3fn", "text_encoder_dtype": "fp8_e4m3fn"})
    written = read_file(tmp_path / "out.tmp")
    assert written.keys() == one.keys()
    for key, tensor in written.items():
        if key.endswith(COPIED):
            continue
        narrow = len(tensor.shape) > 1 and key.endswith("weight") and not any(part in key for part in KEPT)
        assert tensor.tag == ("F8_E4M3" if narrow else "F16"), key
        assert tensor.data == weighted(terms(key, one, two), "fp8_e4m3fn" if narrow else "fp16"), key


def test_scaled_fp8_of_a_whole_checkpoint_equals_numpy_in_values_scales_and_marker(whole, tmp_path: Path):
    folder, text, one, two = whole
    report = merge_in(folder, text, tmp_path / "out.tmp", options={"dtype": "fp8_scaled"})
    written = read_file(tmp_path / "out.tmp")
    scaled = {key for key in one if key.startswith(UNET) and key.endswith(".weight") and len(one[key].shape) == 2}
    assert len(scaled) > 100
    assert written.keys() == one.keys() | {key.removesuffix("weight") + "scale_weight" for key in scaled} | {MARKER}
    assert written[MARKER] == Stored("F8_E4M3", (2,), b"\0\0")
    for key in one:
        if key in scaled:
            data, scale = scaled_fp8(terms(key, one, two))
            assert (written[key].tag, written[key].data) == ("F8_E4M3", data), key
            assert written[key.removesuffix("weight") + "scale_weight"] == stored(scale, "fp32"), key
        elif not key.endswith(COPIED):
            assert (written[key].tag, written[key].data) == ("F16", weighted(terms(key, one, two), "fp16")), key
    assert report.warnings == ()


def test_scaled_fp8_read_back_is_within_the_rounding_of_what_was_summed(whole, tmp_path: Path):
    folder, text, one, two = whole
    merge_in(folder, text, tmp_path / "scaled.safetensors", options={"dtype": "fp8_scaled"})
    merge_in(tmp_path, "M = scaled", tmp_path / "back.tmp", options={"dtype": "fp32"})
    back = read_file(tmp_path / "back.tmp")
    assert back.keys() == one.keys()
    for key, tensor in back.items():
        if not key.startswith(UNET) or not key.endswith(".weight") or len(tensor.shape) != 2:
            continue
        exact = sum(float(share) * values for share, values in terms(key, one, two))
        half_step = np.maximum(np.abs(exact) * 2.0**-4, np.abs(exact).max() / 448 * 2.0**-10)
        noise = 2.0**-21 * sum(abs(float(share)) * np.abs(values) for share, values in terms(key, one, two))  # of float32
        assert (np.abs(tensor.values - exact) <= half_step + noise).all(), key


def test_scaled_fp8_of_a_float64_sum_equals_numpy(pair, tmp_path: Path):
    folder, a, b = pair
    merge_in(folder, MIX, tmp_path / "out.tmp", options={"dtype": "fp8_scaled", "compute": "float64"})
    assert read_file(tmp_path / "out.tmp")[MATRIX].data == scaled_fp8(terms(MATRIX, a, b), "float64")[0]


def test_file_in_scaled_fp8_opens_in_the_format_s_own_library(pair, tmp_path: Path):
    merge_in(pair[0], MIX, tmp_path / "out.safetensors", options={"dtype": "fp8_scaled"})
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        weight, scale = file.get_tensor(MATRIX), file.get_tensor(MATRIX.removesuffix("weight") + "scale_weight")
        assert (weight.dtype, scale.dtype, scale.shape) == (torch.float8_e4m3fn, torch.float32, ())
        assert weight.to(torch.float32).abs().max() == 448
        assert file.get_tensor(MARKER).numel() == 2


@pytest.mark.parametrize("values", [[0.0, -0.0], [1e-40, -3e-39], [2.0**-149, 0.0]], ids=["zeros", "subnormals", "smallest"])
def test_scale_of_a_tensor_that_is_nearly_nothing_is_one(tmp_path: Path, values: list[float]):
    extras = {MATRIX: stored([values], "fp32")}
    write_models(tmp_path, a=model(1, extras=extras))
    report = merge_in(tmp_path, "M = a", tmp_path / "out.tmp", options={"dtype": "fp8_scaled"})
    written = read_file(tmp_path / "out.tmp")
    assert written[MATRIX.removesuffix("weight") + "scale_weight"].values == 1
    assert not written[MATRIX].values.any()
    assert report.warnings == ()


@given(st.floats(0, 3.4028234663852886e38, width=32))
def test_scale_brings_the_largest_value_to_fp8_s_largest_number_and_never_beyond_its_rounding(largest: float):
    quotient = np.float32(largest) / np.float32(scale_of(largest))
    assert quotient <= 448 * (1 + 2.0**-22)
    assert scale_of(largest) == 1 or quotient >= 448 * (1 - 2.0**-22)


def test_values_that_overflow_the_sum_are_counted_and_saturate_in_scaled_fp8(tmp_path: Path):
    a, b = [[3e38, -3e38, 1.0, 1e38]], [[-3e38, 3e38, 1.0, 1e38]]
    write_models(tmp_path, a=model(1, extras={MATRIX: stored(a, "fp32")}), b=model(2, extras={MATRIX: stored(b, "fp32")}))
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=-0.5)", tmp_path / "out.tmp", options={"dtype": "fp8_scaled"})
    written = read_file(tmp_path / "out.tmp")
    np.testing.assert_array_equal(written[MATRIX].values[0, :3], [448, -448, 0])
    assert report.overflow == {MATRIX: 2}
    assert any(f"too large for fp8_e4m3fn, became 448, its largest number: 2 in '{MATRIX}'." in w for w in report.warnings)


def test_sources_of_scaled_tensors_are_read_twice_and_the_plan_says_so(pair, tmp_path: Path):
    plan = plan_in(pair[0], MIX, dtype="fp8_scaled")
    once = plan_in(pair[0], MIX, dtype="fp8_e4m3fn").reads_bytes
    matrices = [key for key in KEYS if key.startswith(UNET) and key.endswith(".weight") and key != CONV_IN]
    assert plan.reads_bytes == once + sum(len(tensors[key].data) for key in matrices for tensors in pair[1:])
    report = merge_in(pair[0], MIX, tmp_path / "out.tmp", options={"dtype": "fp8_scaled"})
    assert (report.read_bytes, report.written_bytes) == (plan.reads_bytes, (tmp_path / "out.tmp").stat().st_size)
    assert any(f"{len(matrices)} matrices are written as scaled fp8; their sources are read twice" in n for n in plan.notes)


def test_nan_in_a_scaled_tensor_is_named_or_replaced(tmp_path: Path):
    values = draw(1, MATRIX, (24, 24))
    broken = values.copy()
    broken[3, 4] = np.nan
    write_models(
        tmp_path, a=model(1, extras={MATRIX: stored(values, "fp32")}), b=model(2, extras={MATRIX: stored(broken, "fp32")})
    )
    with pytest.raises(MergeError, match=f"'b.safetensors' holds NaN or Inf in 1 value of '{MATRIX}'"):
        merge_in(tmp_path, MIX, tmp_path / "out.tmp", options={"dtype": "fp8_scaled"})
    assert not (tmp_path / "out.tmp").exists()
    merge_in(tmp_path, MIX, tmp_path / "out.tmp", options={"dtype": "fp8_scaled", "on_nan": "take:a"})
    sums = terms(MATRIX, read_file(tmp_path / "a.safetensors"), read_file(tmp_path / "a.safetensors"))
    written = read_file(tmp_path / "out.tmp")
    scale = written[MATRIX.removesuffix("weight") + "scale_weight"].values
    assert written[MATRIX].values[3, 4] * scale == pytest.approx(sums[0][1][3, 4], rel=2.0**-4)


def test_tensor_that_stands_where_a_scale_belongs_is_refused(tmp_path: Path):
    stray = MATRIX.removesuffix("weight") + "scale_weight"
    a = model(1, extras={stray: stored([1.0, 2.0], "fp32")})
    del a[MATRIX]
    write_models(tmp_path, a=a, b=model(2))
    assert f"'{stray}' of a source stands where a scale is to be written" in refusal(tmp_path, MIX, dtype="fp8_scaled")


# ---- dtypes of components ----


def test_each_component_has_its_own_dtype_and_its_sums_their_own_type(pair, tmp_path: Path):
    folder, a, b = pair
    options = {"dtype": "bf16", "text_encoder_dtype": "fp16", "vae_dtype": "fp32"}
    merge_in(folder, MIX, tmp_path / "out.tmp", options=options)
    dtypes = {"CLIP_L": "fp16", "VAE": "fp32"}
    for key, tensor in read_file(tmp_path / "out.tmp").items():
        assert tensor.data == weighted(terms(key, a, b), dtypes.get(LANE_OF[key], "bf16")), key


def test_fp8_is_for_the_unet_unless_a_component_asks_for_it(pair, tmp_path: Path):
    def tags(**options: str) -> dict[str, str]:
        merge_in(pair[0], MIX, tmp_path / "out.tmp", options=options)
        written = read_file(tmp_path / "out.tmp")
        return {name: written[key].tag for name, key in (("unet", MATRIX), ("clip", CLIP_KEY), ("vae", VAE_KEY))}

    assert tags(dtype="fp8_e4m3fn") == {"unet": "F8_E4M3", "clip": "F16", "vae": "F16"}
    assert tags(dtype="fp8_scaled", vae_dtype="fp32") == {"unet": "F8_E4M3", "clip": "F16", "vae": "F32"}
    assert tags(dtype="fp8_scaled", text_encoder_dtype="fp8_e4m3fn") == {"unet": "F8_E4M3", "clip": "F8_E4M3", "vae": "F16"}
    assert tags(unet_dtype="fp8_scaled", dtype="bf16") == {"unet": "F8_E4M3", "clip": "BF16", "vae": "BF16"}


CLIP_KEY, VAE_KEY = CLIP + "encoder.layers.0.self_attn.k_proj.weight", VAE + "decoder.conv_in.weight"


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("dtype=fp16, unet_dtype=fp16, vae_dtype=fp16", "dtype=fp16"),
        ("dtype=fp8_scaled, vae_dtype=fp16, unet_dtype=fp8_scaled", "dtype=fp8_scaled"),
        ("vae_dtype=fp32", "dtype=fp16, vae_dtype=fp32"),
        ("vae=keep, yaml=copy, ema=drop, position_ids=keep, on_nan=stop", "dtype=fp16"),
        ("vae=drop, yaml=drop, title=x", "dtype=fp16, vae=drop, yaml=drop, title=x"),
        ('discard=" *.attn1.* ,, betas*,"', "discard"),
        ("compute=float32, vae_dtype=bf16", "dtype=fp16, vae_dtype=bf16"),
        ("compute=float32, vae_dtype=fp32", "dtype=fp16, vae_dtype=fp32, compute=float32"),
    ],
)
def test_options_that_say_what_is_done_anyway_are_left_out_of_the_canonical_recipe(tmp_path: Path, given: str, canonical: str):
    write_models(tmp_path, a=model(1, size=2, extras={"betas": stored([0.5], "fp32")}), b=model(2, size=2))
    text = plan_in(tmp_path, f"{MIX}\nsave({given})").recipe.canonical()
    if canonical == "discard":
        canonical = 'dtype=fp16, discard="*.attn1.*,betas*"'
    assert text == f"{MIX}\nsave({canonical})\n"
    assert plan_in(tmp_path, text).recipe == parse_recipe(text)


# ---- the VAE ----

VAE_PARTS = {"decoder.conv_in.weight": (24, 4, 3, 3), "encoder.conv_out.bias": (8,), "quant_conv.bias": (24,)}


def vae_file(seed: int, prefix: str = "", dtype: str = "fp32") -> dict[str, Stored]:
    return {prefix + key: stored(draw(seed, key, shape), dtype) for key, shape in VAE_PARTS.items()}


@pytest.fixture
def with_vaes(tmp_path: Path) -> Path:
    """Two models with a VAE, one without, and a VAE in several spellings."""
    extra = {"loss.logvar": stored([1.0], "fp32"), "model_ema.decay": stored([1.0], "fp32")}
    fitting = vae_file(7, VAE)
    models = {name: model(number, without=["VAE"]) for number, name in enumerate("abc")}
    return write_models(
        tmp_path,
        a=models["a"] | vae_file(1, VAE, "fp16"),
        b=models["b"] | vae_file(2, VAE, "fp16"),
        no_vae=models["c"],
        bare=vae_file(7) | extra,
        prefixed=fitting,
        flux_like=vae_file(7, "vae."),
        checkpoint=model(9, without=["VAE"]) | fitting,
    )


@pytest.mark.parametrize("name", ["bare", "prefixed", "flux_like", "checkpoint"])
def test_vae_is_taken_whole_from_a_checkpoint_or_a_file_in_either_spelling(with_vaes: Path, tmp_path: Path, name: str):
    text = f"{MIX}\nsave(vae={name}, vae_dtype=fp32)"
    report = merge_in(with_vaes, text, tmp_path / "out.tmp", source_hashes=False)
    written, plan = read_file(tmp_path / "out.tmp"), plan_in(with_vaes, text)
    assert {key: tensor for key, tensor in written.items() if key.startswith(VAE)} == vae_file(7, VAE)
    assert {key for key in written if not key.startswith(VAE)} == set(model(0, without=["VAE"]))
    assert [source.name for source in plan.sources] == ["a", "b", name]
    assert f"the VAE is that of '{name}', whatever the steps say of it." in " ".join(plan.notes)
    assert not any("lacks" in note for note in plan.notes)
    assert {label: dict(row.exact) for label, row in plan.rows.items() if row.lane == "VAE"} == {"VAE": {2: 1}}
    assert report.change["VAE"] is None
    header = (tmp_path / "out.tmp").read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    assert [source["name"] for source in json.loads(metadata["chillymerge"])["sources"]] == ["a", "b", name]


def test_vae_is_taken_from_a_diffusers_folder(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    one, two = (tiny(tmp_path_factory, f"sd1-seed-{seed}", seed=seed) for seed in (5, 6))
    folder = write_models(tmp_path / "models", one=read_file(one), two=read_file(two))
    merge(plan_in(folder, "M = two", format="diffusers"), folder / "parts", source_hashes=False)
    merge_in(folder, 'M = one\nsave(vae="parts/")', tmp_path / "out.tmp")
    vaes = ({k: t for k, t in read_file(path).items() if k.startswith(VAE)} for path in (tmp_path / "out.tmp", two))
    assert next(vaes) == next(vaes)


@pytest.fixture(scope="module")
def true_vaes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of several architectures as they are released, and the VAE of one of them by itself."""
    folder = tmp_path_factory.mktemp("vaes")
    for name in ("sd1", "sd2", "sdxl", "flux", "vae"):
        synthesise(name, "tiny", folder / f"{name}.safetensors", seed=1)
    return folder


@pytest.mark.parametrize(("model_name", "vae"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sdxl", "sd2"), ("sd1", "flux")])
def test_vae_for_other_latents_is_refused_whatever_its_shapes(true_vaes: Path, model_name: str, vae: str):
    with pytest.raises(ArchitectureError, match=r"VAE for latents of .*another kind"):
        plan_in(true_vaes, f"M = {model_name}\nsave(vae={vae})")


@pytest.mark.parametrize(("vae", "is_told"), [("sd2", True), ("vae", False)])
def test_vae_that_nothing_tells_apart_is_said_to_be_so(true_vaes: Path, vae: str, is_told: bool):
    notes = " ".join(plan_in(true_vaes, f"M = sd1\nsave(vae={vae})").notes)
    assert ("Nothing in the file tells" in notes) is not is_told


def test_vae_is_rounded_once_to_the_output_s_dtype(with_vaes: Path, tmp_path: Path):
    merge_in(with_vaes, f"{MIX}\nsave(vae=bare)", tmp_path / "out.tmp")
    assert {k: t for k, t in read_file(tmp_path / "out.tmp").items() if k.startswith(VAE)} == vae_file(7, VAE, "fp16")


def test_vae_of_one_of_the_recipe_s_models_is_taken_without_another_source(with_vaes: Path, tmp_path: Path):
    merge_in(with_vaes, f"{MIX}\nsave(vae=b)", tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert {k: t for k, t in written.items() if k.startswith(VAE)} == vae_file(2, VAE, "fp16")
    assert len(plan_in(with_vaes, f"{MIX}\nsave(vae=b)").sources) == 2


def test_vae_is_baked_into_a_model_that_has_none(with_vaes: Path, tmp_path: Path):
    merge_in(with_vaes, "M = no_vae\nsave(vae=bare, vae_dtype=fp32)", tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert {k: t for k, t in written.items() if k.startswith(VAE)} == vae_file(7, VAE)


def test_dropped_vae_is_neither_written_nor_read_and_is_said(with_vaes: Path, tmp_path: Path):
    report = merge_in(with_vaes, f"{MIX}\nsave(vae=drop)", tmp_path / "out.tmp")
    assert set(read_file(tmp_path / "out.tmp")) == set(model(0, without=["VAE"]))
    assert any(note.startswith(f"{len(VAE_PARTS)} keys are not written, as save(...) says: {VAE}") for note in report.notes)
    bytes_of_vae = sum(len(tensor.data) for tensor in vae_file(1, dtype="fp16").values())
    assert plan_in(with_vaes, MIX).reads_bytes - report.read_bytes == 2 * bytes_of_vae


def test_hash_in_the_vae_s_title_is_checked(with_vaes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))
    with pytest.raises(MergeError, match=r"'bare\.safetensors' has the hash .* the recipe says 0123456789"):
        merge_in(with_vaes, f'{MIX}\nsave(vae="bare.safetensors [0123456789]")', tmp_path / "out.tmp")


def test_vae_that_does_not_fit_is_refused_in_a_sentence(with_vaes: Path):
    folder = with_vaes
    write_file(folder / "partial.safetensors", {k: t for k, t in vae_file(7).items() if "quant" not in k})
    write_file(folder / "wide.safetensors", vae_file(7) | {"quant_conv.bias": stored(np.zeros(30), "fp32")})
    write_file(folder / "latents.safetensors", vae_file(7) | {"decoder.conv_in.weight": stored(np.zeros((24, 16, 3, 3)), "fp32")})
    write_file(folder / "parts.safetensors", vae_file(7) | {"decoder.mid_block.resnets.0.conv1.bias": stored([1.0], "fp32")})
    write_file(folder / "strange.safetensors", {"lora.up": stored([1.0], "fp32")})
    key = VAE + "quant_conv.bias"
    for name, said in {
        "partial": f"'partial.safetensors' does not fit 'a': '{key}' of shape (24,) is not in it.",
        "wide": f"'wide.safetensors' does not fit 'a': '{key}' of shape (24,) has shape (30,) there.",
        "strange": "'strange.safetensors' has no VAE. Name a checkpoint with one, or a VAE file.",
        "no_vae": "'no_vae.safetensors' has no VAE.",
        "parts": "'parts.safetensors' is spelled as diffusers does.",
        "nobody": "save option 'vae': there is no model 'nobody'",
    }.items():
        assert said in refusal(folder, MIX, vae=name)
    assert "4 latent channels are needed" in refusal(folder, "M = no_vae", vae="latents")


# ---- EMA copies and discarded keys ----

EMA = "model_ema.diffusion_modelinput_blocks41transformer_blocks0attn1to_qweight"


def test_kept_ema_copies_are_merged_with_the_weights_of_the_keys_that_they_are_copies_of(tmp_path: Path):
    counts = {"model_ema.num_updates": stored(5, "I32"), "model_ema.decay": stored(np.float32(0.5), "fp32")}
    a = model(1, extras={EMA: stored(draw(3, EMA, (24, 24)), "fp32"), **counts})
    b = model(2, extras={EMA: stored(draw(4, EMA, (24, 24)), "fp32")})
    write_models(tmp_path, a=a, b=b)
    text = "M = weighted_sum(a, b, alpha={IN04: 0.3, *: 0.9})\nsave(ema=keep, dtype=fp8_scaled)"
    merge_in(tmp_path, text, tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert (written[EMA].tag, written[EMA].data) == ("F16", weighted(terms(EMA, a, b), "fp16"))
    assert {key: written[key] for key in counts} == counts
    assert "1 EMA copies are merged with the weights of the keys that they are copies of." in plan_in(tmp_path, text).notes


def test_ema_copies_that_one_source_has_are_that_source_s(tmp_path: Path):
    write_models(tmp_path, a=model(1), b=model(2, extras={EMA: stored(draw(4, EMA, (24, 24)), "fp16")}))
    merge_in(tmp_path, f"{MIX}\nsave(ema=keep)", tmp_path / "out.tmp")
    assert read_file(tmp_path / "out.tmp")[EMA] == stored(draw(4, EMA, (24, 24)), "fp16")


def test_discarded_keys_are_neither_written_nor_read_and_are_said(pair, tmp_path: Path):
    text = f'{MIX}\nsave(discard="cond_stage_model.*, *.attn?.*")'
    report = merge_in(pair[0], text, tmp_path / "out.tmp")
    left = {key for key in KEYS if not key.startswith("cond_stage_model.") and ".attn" not in key}
    assert set(read_file(tmp_path / "out.tmp")) == left
    assert any(note.startswith(f"{len(KEYS) - len(left)} keys are not written, as save(...) says:") for note in report.notes)
    assert report.read_bytes == plan_in(pair[0], text).reads_bytes < plan_in(pair[0], MIX).reads_bytes


def test_discarded_weight_takes_its_scale_with_it(pair, tmp_path: Path):
    merge_in(pair[0], f'{MIX}\nsave(dtype=fp8_scaled, discard="{UNET}*")', tmp_path / "out.tmp")
    assert set(read_file(tmp_path / "out.tmp")) == {key for key in KEYS if not key.startswith(UNET)}


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("cond_stage.*", "save option 'discard': 'cond_stage.*' fits no key of the output."),
        ("VAE", "'VAE' fits no key of the output. Globs fit whole keys, such as 'cond_stage_model."),
        (f"*.attn1.*,{MATRIX}s", f"fits no key of the output. Did you mean '{MATRIX}'?"),
        ("[a-z]*", "'[a-z]*' fits no key"),
        ("*", "save(...) leaves nothing of the output. Take a glob of 'discard' out of it."),
        (" , ,", "the option discard is empty. Give it globs of keys, or leave it out."),
    ],
)
def test_discard_that_fits_nothing_or_everything_is_refused(pair, glob: str, said: str):
    assert said in refusal(pair[0], MIX, discard=glob)


# ---- the .yaml ----


@pytest.fixture
def with_yaml(tmp_path: Path) -> Path:
    """Models a, b and c, of which b and c have a .yaml."""
    folder = write_models(tmp_path / "models", a=model(1), b=model(2), c=model(3))
    (folder / "b.yaml").write_text("model: b\n")
    (folder / "c.yaml").write_text("model: c\n")
    return folder


@pytest.mark.parametrize(("choice", "content"), [(None, "b"), ("copy", "b"), ("c.safetensors", "c"), ("drop", None)])
def test_yaml_of_the_first_or_the_named_source_goes_beside_the_output(with_yaml: Path, tmp_path: Path, choice, content):
    (tmp_path / "out").mkdir()
    report = merge_in(with_yaml, "M = mean(a, b, c)", tmp_path / "out" / "x.y.safetensors", options={"yaml": choice})
    found = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.yaml")}
    assert found == ({"x.y.yaml": f"model: {content}\n"} if content else {})
    said = f"'{content}.yaml', which lies beside '{content}', is copied beside the output, unless that is a folder."
    assert (said in report.notes) == bool(content)
    assert len(list((tmp_path / "out").iterdir())) == 1 + len(found)


def test_other_yaml_beside_the_output_is_replaced_only_when_overwriting(with_yaml: Path, tmp_path: Path):
    output, beside = tmp_path / "out.safetensors", tmp_path / "out.yaml"
    beside.write_text("mine")
    with pytest.raises(OutputError, match=r"out\.yaml' exists and is not the config of 'b'"):
        merge_in(with_yaml, "M = b", output, overwrite=False)
    assert (beside.read_text(), output.exists()) == ("mine", False)
    merge_in(with_yaml, "M = b", output, overwrite=True)
    assert beside.read_text() == "model: b\n"
    output.unlink()
    merge_in(with_yaml, "M = b", output, overwrite=False)  # the same text is no other file
    assert output.exists()


def test_no_yaml_is_left_where_the_merge_fails(with_yaml: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    write_file(with_yaml / "b.safetensors", model(2, extras={MATRIX: stored([[np.nan]], "fp32")}))
    with pytest.raises(MergeError, match="NaN"):
        merge_in(with_yaml, "M = b", tmp_path / "out" / "x.safetensors")
    assert list((tmp_path / "out").iterdir()) == []


def test_link_under_a_yaml_s_name_that_leads_to_another_kind_of_file_is_not_followed(tmp_path: Path):
    folder = write_models(tmp_path / "models", a=model(1))
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    (folder / "a.yaml").symlink_to(secret)
    assert plan_in(folder, "M = a").sidecar is None
    assert "'a.yaml' beside 'a' cannot be copied: it is a link to another kind" in refusal(folder, "M = a", yaml="a")
    note = "'a.yaml', which lies beside 'a', is passed over: it is a link to another kind of file."
    assert plan_in(folder, "M = a").notes.count(note) == 1
    (folder / "a.yaml").unlink()
    (folder / "a.yaml").symlink_to("a.yaml")
    assert plan_in(folder, "M = a").sidecar is None


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"x" * ((1 << 20) + 1), b""], ids=["no text", "too long", "empty"])
def test_file_that_is_no_config_is_not_copied(tmp_path: Path, content: bytes):
    folder = write_models(tmp_path, a=model(1))
    (folder / "a.yaml").write_bytes(content)
    plan = plan_in(folder, "M = a")
    assert plan.sidecar is None
    assert sum("'a.yaml', which lies beside 'a', is passed over: it " in note for note in plan.notes) == 1
    assert not any("passed over" in note for note in plan_in(folder, "M = a", yaml="drop").notes)


def test_yaml_that_is_a_link_inside_hugging_face_s_cache_is_the_model_s_own(tmp_path: Path):
    folder = tmp_path / "models--me--a" / "snapshots" / "0"
    folder.parent.mkdir(parents=True)
    write_models(folder, a=model(1))
    blob = tmp_path / "models--me--a" / "blobs" / "c0ffee"
    blob.parent.mkdir()
    blob.write_text("model: a\n")
    (folder / "a.yaml").symlink_to(blob)
    sidecar = plan_in(folder, "M = a").sidecar
    assert sidecar is not None and sidecar.content == b"model: a\n"
    blob.unlink()
    blob.symlink_to(write_file(tmp_path / "secret", {}))
    assert plan_in(folder, "M = a").sidecar is None


@pytest.mark.parametrize(("recipe", "choice"), [("M = a", "copy"), ("M = b", "drop")])
def test_stale_yaml_beside_an_output_that_has_none_is_refused_or_removed(with_yaml: Path, tmp_path: Path, recipe, choice):
    output, stale = tmp_path / "out.safetensors", tmp_path / "out.yaml"
    stale.write_text("model: another\n")
    with pytest.raises(OutputError, match=r"out\.yaml' exists, .* Delete it, or pass --overwrite") as caught:
        merge_in(with_yaml, recipe, output, options={"yaml": choice}, overwrite=False)
    assert str(stale) in str(caught.value)
    assert (stale.read_text(), output.exists()) == ("model: another\n", False)
    report = merge_in(with_yaml, recipe, output, options={"yaml": choice}, overwrite=True)
    assert (stale.exists(), output.exists()) == (False, True)
    assert "'out.yaml', which lay beside the output, is removed." in report.notes


def test_stale_yaml_stays_where_the_merge_fails(with_yaml: Path, tmp_path: Path):
    (tmp_path / "x.yaml").write_text("model: another\n")
    write_file(with_yaml / "a.safetensors", model(1, extras={MATRIX: stored([[np.nan]], "fp32")}))
    with pytest.raises(MergeError, match="NaN"):
        merge_in(with_yaml, "M = a", tmp_path / "x.safetensors", overwrite=True)
    assert (tmp_path / "x.yaml").read_text() == "model: another\n"


def test_output_under_a_config_s_name_is_refused(with_yaml: Path, tmp_path: Path):
    with pytest.raises(OutputError, match=r"name it '.*x\.safetensors', not 'x\.yaml'"):
        merge_in(with_yaml, "M = b", tmp_path / "x.yaml")


def test_yaml_of_a_model_that_has_none_or_is_not_there_is_refused(with_yaml: Path):
    assert "'a.yaml' is not beside 'a'" in refusal(with_yaml, "M = mean(a, b)", yaml="a")
    assert "is copy, drop or a model of this recipe (a, b); here it is 'c'" in refusal(with_yaml, "M = mean(a, b)", yaml="c")
