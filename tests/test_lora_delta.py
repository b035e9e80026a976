"""What a LoRA adds to a weight: every kind against float64 numpy after its formula, and against layers run one after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import stored, write_file
from hypothesis import given, settings
from hypothesis import strategies as st
from loras import KERNEL, KERNEL_KEY, LINEAR, LINEAR_KEY, Arrays, delta_of, drawn, lora, tensors, write_lora

from lib_chilly import lora_delta
from lib_chilly.errors import CheckpointError
from lib_chilly.exact_product import ExactProduct
from lib_chilly.lora_file import open_lora

SHAPE, WINDOWED = (6, 10), (6, 10, 3, 3)


def core(left: np.ndarray, inner: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("oa,abkl,bi->oikl", left, inner, right[:, :, 0, 0] if right.ndim == 4 else right)


def of_lora(t: Arrays) -> np.ndarray:
    return np.einsum("or,r...->o...", t["lora_up.weight"].reshape(len(t["lora_up.weight"]), -1), t["lora_down.weight"])


def of_loha(t: Arrays) -> np.ndarray:
    return (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"])


KINDS: dict[str, tuple[Arrays, int | None, tuple[int, ...], Callable[[Arrays], np.ndarray]]] = {
    "LoRA": (lora(1, 6, 10, 3), 3, SHAPE, of_lora),
    "LoRA of a larger rank than the weight": (lora(1, 6, 10, 33), 33, SHAPE, of_lora),
    "LoCon": (lora(1, 6, 10, 3, (3, 3)), 3, WINDOWED, of_lora),
    "LoCon, 1 x 1 kernels for a matrix": (lora(1, 6, 10, 3, (1, 1)), 3, SHAPE, lambda t: of_lora(t)[:, :, 0, 0]),
    "LoCon with a core": (
        tensors(1, lora_up__weight=(6, 2, 1, 1), lora_mid__weight=(2, 3, 3, 3), lora_down__weight=(3, 10, 1, 1)),
        3,
        WINDOWED,
        lambda t: core(t["lora_up.weight"][:, :, 0, 0], t["lora_mid.weight"], t["lora_down.weight"]),
    ),
    "LoHa": (tensors(1, hada_w1_a=(6, 3), hada_w1_b=(3, 10), hada_w2_a=(6, 3), hada_w2_b=(3, 10)), 3, SHAPE, of_loha),
    "LoHa, kernel": (
        tensors(1, hada_w1_a=(6, 3), hada_w1_b=(3, 90), hada_w2_a=(6, 3), hada_w2_b=(3, 90)),
        3,
        WINDOWED,
        lambda t: of_loha(t).reshape(WINDOWED),
    ),
    "LoHa with cores": (
        tensors(1, hada_w1_a=(2, 6), hada_w1_b=(2, 10), hada_w2_a=(2, 6), hada_w2_b=(2, 10))
        | tensors(2, hada_t1=(2, 2, 3, 3), hada_t2=(2, 2, 3, 3)),
        2,
        WINDOWED,
        lambda t: core(t["hada_w1_a"].T, t["hada_t1"], t["hada_w1_b"]) * core(t["hada_w2_a"].T, t["hada_t2"], t["hada_w2_b"]),
    ),
    "LoKr": (tensors(1, lokr_w1=(2, 5), lokr_w2=(3, 2)), None, SHAPE, lambda t: np.kron(t["lokr_w1"], t["lokr_w2"])),
    "LoKr of products": (
        tensors(1, lokr_w1_a=(2, 4), lokr_w1_b=(4, 5), lokr_w2_a=(3, 1), lokr_w2_b=(1, 2)),
        1,
        SHAPE,
        lambda t: np.kron(t["lokr_w1_a"] @ t["lokr_w1_b"], t["lokr_w2_a"] @ t["lokr_w2_b"]),
    ),
    "LoKr, kernel": (
        tensors(1, lokr_w1=(2, 5), lokr_w2=(3, 2, 3, 3)),
        None,
        WINDOWED,
        lambda t: np.kron(t["lokr_w1"][:, :, None, None], t["lokr_w2"]),
    ),
    "LoKr, kernel of a product": (
        tensors(1, lokr_w1_a=(2, 4), lokr_w1_b=(4, 5), lokr_w2_a=(3, 2), lokr_w2_b=(2, 2 * 9)),
        2,
        WINDOWED,
        lambda t: np.kron(
            (t["lokr_w1_a"] @ t["lokr_w1_b"])[:, :, None, None], (t["lokr_w2_a"] @ t["lokr_w2_b"]).reshape(3, 2, 3, 3)
        ),
    ),
    "LoKr with a core": (
        tensors(1, lokr_w1=(2, 5), lokr_w2_a=(4, 3), lokr_w2_b=(4, 2), lokr_t2=(4, 4, 3, 3)),
        4,
        WINDOWED,
        lambda t: np.kron(t["lokr_w1"][:, :, None, None], core(t["lokr_w2_a"].T, t["lokr_t2"], t["lokr_w2_b"])),
    ),
    "difference": (tensors(1, diff=WINDOWED), None, WINDOWED, lambda t: t["diff"]),
}


def placed(shape: tuple[int, ...]) -> tuple[str, str]:
    return (LINEAR, LINEAR_KEY) if len(shape) == 2 else (KERNEL, KERNEL_KEY)


@pytest.mark.parametrize(("own", "rank", "shape", "formula"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_kind_adds_what_its_formula_says_rounded_once(tmp_path: Path, own, rank, shape, formula, alpha):
    layer, key = placed(shape)
    with_alpha = own | ({} if alpha is None else {"alpha": np.float64(alpha)})
    found = open_lora(write_lora(tmp_path / "a.safetensors", **{layer: with_alpha}))
    assert [module.rank for module in found.modules[key]] == [rank]
    expected = formula(own) * -0.7 * (1 if alpha is None or rank is None else alpha / rank)
    exact = delta_of(found, key, shape, -0.7, dtype=torch.float64).numpy()
    np.testing.assert_allclose(exact, expected, rtol=1e-11, atol=1e-13)
    single = delta_of(found, key, shape, -0.7)
    assert single.dtype == torch.float32 and single.shape == shape
    assert np.array_equal(single.numpy(), exact.astype(np.float32))
    assert np.abs(expected).max() > 0.001


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp8_e4m3fn"])
def test_factors_of_every_stored_type_are_read_as_what_they_are(tmp_path: Path, dtype: str):
    own = lora(1, 6, 10, 3)
    path = write_lora(tmp_path / "a.safetensors", dtype, **{LINEAR: own})
    torch_dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn}[dtype]
    held = {end: torch.from_numpy(values).to(torch_dtype).double().numpy() for end, values in own.items()}
    np.testing.assert_allclose(delta_of(path, LINEAR_KEY, SHAPE).numpy(), of_lora(held), rtol=2e-7, atol=1e-12)


def test_scale_of_a_file_stands_for_alpha_over_rank(tmp_path: Path):
    own = lora(1, 6, 10, 3)
    path = write_lora(tmp_path / "a.safetensors", **{LINEAR: own | {"alpha": np.float64(7), "scale": np.float64(0.25)}})
    np.testing.assert_allclose(delta_of(path, LINEAR_KEY, SHAPE).numpy(), 0.25 * of_lora(own), rtol=1e-6, atol=1e-7)


def test_linear_layer_with_the_delta_does_what_base_and_lora_do_together(tmp_path: Path):
    own = lora(1, 6, 10, 3)
    path = write_lora(tmp_path / "a.safetensors", **{LINEAR: own | {"alpha": np.float64(6)}})
    weight, given_ = torch.randn(6, 10), torch.randn(5, 10)
    up, down = (torch.from_numpy(own[f"lora_{name}.weight"]).float() for name in ("up", "down"))
    beside = given_ @ weight.T + 0.8 * (6 / 3) * ((given_ @ down.T) @ up.T)
    torch.testing.assert_close(given_ @ (weight + delta_of(path, LINEAR_KEY, SHAPE, 0.8)).T, beside, rtol=1e-5, atol=1e-5)


def test_convolution_with_the_delta_does_what_its_three_convolutions_do(tmp_path: Path):
    own = tensors(1, lora_up__weight=(6, 2, 1, 1), lora_mid__weight=(2, 3, 3, 3), lora_down__weight=(3, 10, 1, 1))
    path = write_lora(tmp_path / "a.safetensors", **{KERNEL: own})
    up, mid, down = (torch.from_numpy(own[f"lora_{name}.weight"]).float() for name in ("up", "mid", "down"))
    weight, picture = torch.randn(WINDOWED), torch.randn(2, 10, 7, 7)
    conv = torch.nn.functional.conv2d
    beside = conv(picture, weight, padding=1) + conv(conv(conv(picture, down), mid, padding=1), up)
    torch.testing.assert_close(
        conv(picture, weight + delta_of(path, KERNEL_KEY, WINDOWED), padding=1), beside, rtol=1e-4, atol=1e-4
    )


FUSED = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"
TE2 = "lora_te2_text_model_encoder_layers_7_self_attn_{}_proj"


def test_parts_of_a_fused_weight_change_their_own_rows_alone(tmp_path: Path):
    own = {TE2.format(head): lora(seed, 4, 4, 2) for seed, head in enumerate("qv")}
    path = write_lora(tmp_path / "a.safetensors", **own)
    q, v = (of_lora(each) for each in own.values())
    expected = np.concatenate((q, np.zeros((4, 4)), v))
    np.testing.assert_allclose(delta_of(path, FUSED, (12, 4)).numpy(), expected, rtol=2e-7, atol=1e-12)
    found = open_lora(path)
    for rows in ((0, 3), (3, 9), (9, 12)):
        part = delta_of(found, FUSED, (12, 4), rows=rows)
        assert torch.equal(part, delta_of(found, FUSED, (12, 4))[slice(*rows)])


def test_fused_layers_of_flux_are_changed_as_diffusers_changes_their_parts(tmp_path: Path):
    converter = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    sizes = {f"lora_unet_double_blocks_{n}_img_attn_qkv": 9216 for n in range(19)} | {"lora_unet_single_blocks_3_linear1": 21504}
    own = {layer: lora(n, rows, 1, 2) | {"alpha": np.float64(1)} for n, (layer, rows) in enumerate(sizes.items())}
    flat = {f"{layer}.{end}": torch.as_tensor(values).float() for layer, each in own.items() for end, values in each.items()}
    apart = {key: stored(values.numpy(), "fp32") for key, values in converter._convert_kohya_flux_lora_to_diffusers(flat).items()}
    whole, parts = write_lora(tmp_path / "a.safetensors", **own), write_file(tmp_path / "b.safetensors", apart)
    for key, count, rows in (("double_blocks.7.img_attn.qkv", 3, 9216), ("single_blocks.3.linear1", 4, 21504)):
        weight = f"model.diffusion_model.{key}.weight"
        assert len(open_lora(parts).modules[weight]) == count
        ours, theirs = (delta_of(path, weight, (rows, 1)).numpy() for path in (whole, parts))
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-7)


def test_projection_that_the_checkpoint_holds_turned_is_turned(tmp_path: Path):
    own = lora(1, 6, 10, 2)
    path = write_lora(tmp_path / "a.safetensors", lora_te2_text_projection=own)
    (key,) = open_lora(path).modules
    np.testing.assert_allclose(delta_of(path, key, (10, 6)).numpy(), of_lora(own).T, rtol=2e-7, atol=1e-12)
    with pytest.raises(ValueError, match="no rows apart"):
        delta_of(path, key, (10, 6), rows=(0, 5))


def test_last_modulation_of_flux_has_its_halves_exchanged_rows_apart_or_not(tmp_path: Path):
    path = write_lora(tmp_path / "a.safetensors", **{"transformer.norm_out.linear": tensors(1, diff=(6, 4))})
    (key,) = open_lora(path).modules
    expected = np.roll(tensors(1, diff=(6, 4))["diff"], 3, axis=0)
    assert np.array_equal(delta_of(path, key, (6, 4)).numpy(), expected.astype(np.float32))
    assert np.array_equal(delta_of(path, key, (6, 4), rows=(1, 5)).numpy(), expected[1:5].astype(np.float32))


def test_biases_and_norms_are_added_as_they_are(tmp_path: Path):
    norm = "lora_unet_down_blocks_0_resnets_0_norm1"
    own = {KERNEL: lora(1, 6, 10, 2, (3, 3)) | tensors(1, diff_b=(6,)), norm: tensors(1, w_norm=(10,), b_norm=(10,))}
    path = write_lora(tmp_path / "a.safetensors", **own)
    in_layers = "model.diffusion_model.input_blocks.1.0.in_layers"
    for key, values in {
        f"{in_layers}.2.bias": own[KERNEL]["diff_b"],
        f"{in_layers}.0.weight": own[norm]["w_norm"],
        f"{in_layers}.0.bias": own[norm]["b_norm"],
    }.items():
        assert np.array_equal(delta_of(path, key, values.shape, 0.5).numpy(), (0.5 * values).astype(np.float32))


def test_bias_of_an_up_matrix_is_scaled_as_the_matrix_is(tmp_path: Path):
    own = lora(1, 6, 10, 2) | tensors(1, lora_up__bias=(6,)) | {"alpha": np.float64(1)}
    path = write_lora(tmp_path / "a.safetensors", **{LINEAR.replace("to_q", "to_out_0"): own})
    expected = (own["lora_up.bias"] / 2).astype(np.float32)
    assert np.array_equal(delta_of(path, LINEAR_KEY.replace("to_q.weight", "to_out.0.bias"), (6,)).numpy(), expected)


# ---- what needs the weight ----

BASE = np.asarray(drawn(9, "base", WINDOWED))


def row_decomposed(new: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((new.reshape(len(new), -1) ** 2).sum(1))
    return new * (magnitude / lengths).reshape(-1, *[1] * (new.ndim - 1))


def column_decomposed(new: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((np.swapaxes(new, 0, 1).reshape(new.shape[1], -1) ** 2).sum(1))
    return new * (magnitude / lengths).reshape(1, -1, *[1] * (new.ndim - 2))


DORA = {
    "input channels, matrix": ("dora_scale", SHAPE, (1, 10), column_decomposed),
    "input channels, kernel": ("dora_scale", WINDOWED, (1, 10, 1, 1), column_decomposed),
    "rows, matrix": ("dora_scale", SHAPE, (6, 1), row_decomposed),
    "rows, kernel": ("dora_scale", WINDOWED, (6, 1, 1, 1), row_decomposed),
    "PEFT, matrix": ("lora_magnitude_vector", SHAPE, (6,), row_decomposed),
    "PEFT, kernel": ("lora_magnitude_vector.weight", WINDOWED, (1, 6, 1, 1), row_decomposed),
}


@pytest.mark.parametrize(("end", "shape", "stored_as", "formula"), DORA.values(), ids=DORA)
def test_dora_brings_the_changed_weight_to_its_magnitudes(tmp_path: Path, end, shape, stored_as, formula):
    layer, key = placed(shape)
    base = np.ascontiguousarray(BASE[..., 0, 0] if len(shape) == 2 else BASE)
    own = lora(1, 6, 10, 3, shape[2:]) | {"alpha": np.float64(2), end: np.abs(drawn(3, "m", stored_as)) + 0.5}
    found = open_lora(write_lora(tmp_path / "a.safetensors", **{layer: own}))
    (module,) = found.modules[key]
    assert module.needs_base and module.rows_apart(shape) == (formula is row_decomposed)
    full = formula(base + (2 / 3) * of_lora(own), own[end].reshape(-1))
    for strength in (1.0, 0.4, -0.5):
        ours = delta_of(found, key, shape, strength, base, dtype=torch.float64).numpy()
        np.testing.assert_allclose(ours, strength * (full - base), rtol=1e-11, atol=1e-13)
    if module.rows_apart(shape):
        whole = delta_of(found, key, shape, 1.0, base)
        assert torch.equal(delta_of(found, key, shape, 1.0, base[2:5], rows=(2, 5)), whole[2:5])
    with pytest.raises(ValueError, match="not given"):
        delta_of(found, key, shape)


def test_dora_of_a_fused_part_looks_at_its_own_rows_alone(tmp_path: Path):
    base = drawn(2, "base", (12, 4))
    own = lora(1, 4, 4, 2) | {"dora_scale": np.abs(drawn(3, "m", (1, 4))) + 0.5}
    path = write_lora(tmp_path / "a.safetensors", **{TE2.format("k"): own})
    expected = np.zeros((12, 4))
    expected[4:8] = column_decomposed(base[4:8] + of_lora(own), own["dora_scale"][0]) - base[4:8]
    np.testing.assert_allclose(delta_of(path, FUSED, (12, 4), 1.0, base).numpy(), expected, rtol=3e-7, atol=1e-9)


def test_magnitudes_of_a_square_weight_are_for_what_their_shape_says(tmp_path: Path):
    base = drawn(2, "base", (4, 4))
    magnitude = np.array([1.0, 2.0, 3.0, 4.0])
    new = base + of_lora(lora(1, 4, 4, 2))
    for end, stored_as, formula in (
        ("dora_scale", (1, 4), column_decomposed),
        ("dora_scale", (4, 1), row_decomposed),
        ("lora_magnitude_vector", (1, 4), row_decomposed),
    ):
        own = lora(1, 4, 4, 2) | {end: magnitude.reshape(stored_as)}
        path = write_lora(tmp_path / "a.safetensors", **{LINEAR: own})
        found = delta_of(path, LINEAR_KEY, (4, 4), 1.0, base, dtype=torch.float64).numpy()
        np.testing.assert_allclose(found, formula(new, magnitude) - base, rtol=1e-11, atol=1e-13)


def test_row_that_dora_leaves_without_length_stays_zero(tmp_path: Path):
    own = {"lora_up.weight": np.zeros((6, 1)), "lora_down.weight": np.ones((1, 10)), "dora_scale": np.ones((6, 1))}
    path = write_lora(tmp_path / "a.safetensors", **{LINEAR: own})
    assert not delta_of(path, LINEAR_KEY, SHAPE, 1.0, np.zeros(SHAPE)).any()


IA3 = {
    "LyCORIS, rows": ({"weight": drawn(1, "w", (6,)), "on_input": np.float64(0)}, WINDOWED, lambda f: f.reshape(6, 1, 1, 1)),
    "LyCORIS, inputs": ({"weight": drawn(1, "w", (1, 10)), "on_input": np.float64(1)}, SHAPE, lambda f: f.reshape(1, 10)),
    "LyCORIS, kernel": (
        {"weight": drawn(1, "w", (1, 10, 1, 1)), "on_input": np.float64(1)},
        WINDOWED,
        lambda f: f.reshape(1, 10, 1, 1),
    ),
    "PEFT, rows": ({"ia3_l": drawn(1, "w", (6, 1))}, SHAPE, lambda f: f - 1),
    "PEFT, inputs": ({"ia3_l": drawn(1, "w", (1, 10))}, SHAPE, lambda f: f - 1),
}


@pytest.mark.parametrize(("own", "shape", "factors"), IA3.values(), ids=IA3)
def test_ia3_multiplies_rows_or_inputs_of_the_weight(tmp_path: Path, own, shape, factors):
    layer, key = placed(shape)
    base = np.ascontiguousarray(BASE[..., 0, 0] if len(shape) == 2 else BASE)
    found = open_lora(write_lora(tmp_path / "a.safetensors", **{layer: own}))
    assert found.modules[key][0].needs_base and found.modules[key][0].rows_apart(shape)
    ours = delta_of(found, key, shape, 0.6, base, dtype=torch.float64).numpy()
    np.testing.assert_allclose(ours, 0.6 * base * factors(next(iter(own.values()))), rtol=1e-12, atol=1e-15)
    part = delta_of(found, key, shape, 0.6, base[1:4], rows=(1, 4), dtype=torch.float64).numpy()
    assert np.array_equal(part, ours[1:4])


# ---- bits ----


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 70), st.integers(1, 9), st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
@settings(max_examples=15, deadline=None)
def test_product_has_the_same_bits_in_any_order_and_float64s_precision(seed, rows, rank, columns, spread):
    generator = np.random.default_rng(seed)
    left = generator.normal(0, spread, (rows, rank)).astype(np.float32) * 10.0 ** generator.integers(-6, 6, (rows, rank))
    right = generator.normal(0, 1, (rank, columns)).astype(np.float32)
    found = ExactProduct(torch.from_numpy(left), torch.from_numpy(right)).rows(0, rows)
    order = generator.permutation(rank)
    mixed = ExactProduct(torch.from_numpy(left[:, order].copy()), torch.from_numpy(right[order].copy()))
    assert torch.equal(torch.cat([mixed.rows(row, row + 1) for row in range(rows)]), found)
    largest = np.abs(left).max(1)[:, None] * np.abs(right).max(0)
    assert np.all(np.abs(found.numpy() - left @ right.astype(np.float64)) <= rank * largest * 2.0**-38)


def test_threads_blocks_and_slabs_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shape = (96, 160)
    own = {key: values * 1.0001 for key, values in lora(1, *shape, 40).items()} | {"alpha": np.float64(13)}
    base = drawn(4, "base", shape)
    for more in ({}, {"dora_scale": np.ones((1, 160))}, {"dora_scale": np.ones((96, 1))}):
        found = open_lora(write_lora(tmp_path / "a.safetensors", **{LINEAR: own | more}))
        whole = delta_of(found, LINEAR_KEY, shape, 0.3, base)
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if threads > 1 else 3)
        try:
            assert torch.equal(delta_of(found, LINEAR_KEY, shape, 0.3, base), whole)
        finally:
            torch.set_num_threads(threads)
        if found.modules[LINEAR_KEY][0].rows_apart(shape):
            parts = [
                delta_of(found, LINEAR_KEY, shape, 0.3, base[row : row + 7], rows=(row, min(row + 7, 96)))
                for row in range(0, 96, 7)
            ]
            monkeypatch.setattr(lora_delta, "BLOCK_ELEMENTS", 1000)
            assert torch.equal(torch.cat(parts), whole) and torch.equal(delta_of(found, LINEAR_KEY, shape, 0.3, base), whole)
            monkeypatch.undo()


# ---- what is refused ----


def test_nan_in_a_tensor_is_found_and_named(tmp_path: Path):
    own = lora(1, 6, 10, 2)
    own["lora_down.weight"][0, 3] = np.nan
    path = write_lora(tmp_path / "sick.safetensors", **{LINEAR: own})
    with pytest.raises(CheckpointError, match=rf"'sick.safetensors' holds NaN or Inf in 1 value of '{LINEAR}.lora_down.weight'"):
        delta_of(path, LINEAR_KEY, SHAPE)


def test_result_that_float32_does_not_hold_is_refused(tmp_path: Path):
    path = write_lora(
        tmp_path / "huge.safetensors", **{LINEAR: {name: values * 1e30 for name, values in lora(1, 6, 10, 2).items()}}
    )
    with pytest.raises(CheckpointError, match=rf"'huge.safetensors' adds more to '{LINEAR_KEY}' than float32 holds"):
        delta_of(path, LINEAR_KEY, SHAPE)


@pytest.mark.parametrize(
    ("own", "shape", "said"),
    [
        (lora(1, 6, 10, 2), (6, 11), r"is made for 6 x 10, and its place in '.*', of shape \[6, 11\], has 6 x 11"),
        (lora(1, 6, 10, 2), (), r"is for a matrix or a kernel; '.*' has shape \[\]"),
        (
            lora(1, 6, 10, 2) | {"dora_scale": np.ones((1, 7))},
            SHAPE,
            r"has shape \[1, 7\], which is one number neither for each of 6 rows nor for each of 10 input channels",
        ),
        ({"ia3_l": np.ones((7, 1))}, SHAPE, "has 7 factors; its place in .* has 6 rows and 10 input channels"),
    ],
)
def test_module_for_other_sizes_is_refused_with_both(tmp_path: Path, own: Arrays, shape: tuple[int, ...], said: str):
    path = write_lora(tmp_path / "other.safetensors", **{LINEAR: own})
    with pytest.raises(CheckpointError, match=said):
        delta_of(path, LINEAR_KEY, shape, 1.0, np.ones(shape))


ROLES = (
    ("lora_up.weight", "lora_down.weight"),
    ("lora_up.weight", "lora_mid.weight", "lora_down.weight"),
    ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    ("lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    ("diff", "dora_scale"),
    ("weight", "on_input"),
)


@given(st.data(), st.sampled_from(ROLES), st.lists(st.sampled_from([1, 2]), min_size=1, max_size=2, unique=True))
@settings(max_examples=60, deadline=None)
def test_tensors_of_any_shapes_make_a_delta_or_are_refused(tmp_path_factory, data, roles: tuple[str, ...], sizes: list[int]):
    shapes = {role: data.draw(st.lists(st.sampled_from(sizes), min_size=2, max_size=4), role) for role in roles}
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    write_lora(path, **{LINEAR: {role: np.ones(shape) for role, shape in shapes.items()}})
    shape = tuple(data.draw(st.lists(st.sampled_from(sizes), min_size=1, max_size=4), "weight"))
    try:
        found = delta_of(path, LINEAR_KEY, shape, 1.0, np.ones(shape))
    except CheckpointError as error:
        found, said = None, str(error)
    assert said.isprintable() if found is None else found.shape == shape
