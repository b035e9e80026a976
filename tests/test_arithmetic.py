"""Every element of a merged file against numpy: coefficients, each product and each sum rounded once, and one last rounding."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from checkpoints import BETAS, CONV_IN, KEYS, LANE_OF, UNET, draw, merge_in, model, plan_in, stored, tiny, write_models
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import TAGS, Stored, decoded, encoded, nearest, read_file, rounded, weighted

from lib_chilly import memory
from lib_chilly.errors import CheckpointError

Models = Mapping[str, Mapping[str, Stored]]
Share = Callable[[str, str], Fraction]
"""(key, lane) -> the second model's share there."""

DTYPES = ["fp16", "bf16", "fp32", "source"]
SLOTS = ["BASE", *(f"IN{i:02}" for i in range(12)), "M00", *(f"OUT{i:02}" for i in range(12))]
FOLLOWS = {"CLIP_L": "BASE", "VAE": "BASE", "TIME": "IN00", "FINAL": "OUT11"}
A_KEY = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def wrong_elements(output: Path, expected: Mapping[str, bytes]) -> dict[str, int]:
    """Key to how many of its elements are not the expected ones, bit by bit."""
    written = read_file(output)
    assert written.keys() == expected.keys()
    wrong = {}
    for key, tensor in written.items():
        size = reference.FORMATS[tensor.tag].size
        assert len(tensor.data) == len(expected[key])
        got, want = (np.frombuffer(data, f"V{size}") for data in (tensor.data, expected[key]))
        if count := int((got != want).sum()):
            wrong[key] = count
    return wrong


def output_dtype(option: str, first: Stored) -> str:
    return option if option != "source" else next(name for name, tag in TAGS.items() if tag == first.tag)


# ---- the reference itself ----


@settings(deadline=None)
@given(st.floats(width=64, allow_nan=False, allow_infinity=False), st.sampled_from(["F16", "BF16", "F32", "F8_E5M2", "F8_E4M3"]))
def test_reference_rounding_is_the_nearest_by_integers(value: float, tag: str):
    form = reference.FORMATS[tag]
    exact = nearest(Fraction(value), form.precision, form.lowest)
    got = float(rounded(np.array(value), tag))
    assert got == (float(exact) if abs(exact) <= form.largest else np.copysign(form.beyond, value))


@pytest.mark.parametrize(
    ("tag", "kind"),
    [("F16", torch.float16), ("BF16", torch.bfloat16), ("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)],
)
def test_reference_formats_are_those_of_torch(tag: str, kind: torch.dtype):
    size = reference.FORMATS[tag].size
    codes = np.arange(256**size, dtype=np.uint8 if size == 1 else np.uint16)
    theirs = torch.from_numpy(codes.view(np.int8 if size == 1 else np.int16)).view(kind).to(torch.float64).numpy()
    ours = decoded(codes.tobytes(), tag, codes.shape)
    np.testing.assert_array_equal(ours, theirs)
    finite = np.isfinite(ours)
    assert encoded(ours[finite], tag) == codes[finite].tobytes()


# ---- block weights ----

NUMBERS = ["0.1", "0.9", "0.3", "0", "0.7", "1", "0.123456789", "0.05", "0.95", "0.5", "0.25", "0.6", "0.2",
           "0.33", "0.41", "0.77", "1", "0", "0.15", "0.85", "0.45", "0.55", "0.65", "0.35", "0.01", "0.99"]  # fmt: skip


def by_list(key: str, lane: str) -> Fraction:
    return Fraction(dict(zip(SLOTS, NUMBERS, strict=True))[FOLLOWS.get(lane, lane)])


def by_preset(key: str, lane: str) -> Fraction:
    """GRAD_V: 0 for BASE, from 1 at IN00 down to 0 at M00 and up to 1 at OUT11 in twelfths of ten decimals."""
    slot = FOLLOWS.get(lane, lane)
    return Fraction(0) if slot == "BASE" else Fraction(f"{abs(SLOTS.index(slot) - 13) / 12:.10f}")


def by_rules(key: str, lane: str) -> Fraction:
    value = Fraction("0.45")
    if lane in ("CLIP_L", "VAE"):
        value = Fraction("0.2")
    if ".attn2." in key:
        value = Fraction("0.9")
    if lane == "TIME" or lane in SLOTS[SLOTS.index("IN03") : SLOTS.index("OUT01") + 1]:
        value = Fraction("0.3") if lane != "TIME" else Fraction(1)
    if lane in ("IN04", "IN05", "IN06", "IN07", "IN08") and ".attn2." in key:
        value = Fraction(1, 3)
    if lane.startswith("OUT0") and key.endswith("to_q.weight"):
        value = Fraction("0.7")
    return value


def by_rules_over_a_list(key: str, lane: str) -> Fraction:
    return Fraction("0.25") if key.endswith(".bias") else Fraction(0) if lane == "FINAL" else by_list(key, lane)


BLOCK_WEIGHTS: Mapping[str, tuple[str, Share]] = {
    "one number": ("0.3", lambda key, lane: Fraction("0.3")),
    "26 numbers": (f"[{', '.join(NUMBERS)}]", by_list),
    "preset": ('{*: preset("GRAD_V")}', by_preset),
    "rules": (
        "{BASE: 0.2, attn2: 0.9, IN03-OUT01: 0.3, *: 0.45, IN04-IN08/attn2: 1/3, TIME: 1, "
        "model.diffusion_model.output_blocks.?.*.to_q.weight: 0.7}",
        by_rules,
    ),
    "rules over a list": (f"{{FINAL: 0, bias: 0.25, *: [{', '.join(NUMBERS)}]}}", by_rules_over_a_list),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Models]:
    models = {"first": model(1, ("fp16", "bf16", "fp32")), "second": model(2, ("fp32", "fp16"))}
    return write_models(tmp_path_factory.mktemp("pair"), **models), models


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", BLOCK_WEIGHTS)
def test_weighted_sum_with_block_weights_equals_numpy_in_every_element(pair, tmp_path: Path, weights, dtype):
    folder, models = pair
    text, share = BLOCK_WEIGHTS[weights]
    merge_in(folder, f"M = weighted_sum(first, second, alpha={text})", tmp_path / "out.safetensors", options={"dtype": dtype})
    expected = {}
    for key, first in models["first"].items():
        alpha = share(key, LANE_OF[key])
        terms = [(1 - alpha, first.values), (alpha, models["second"][key].values)]
        expected[key] = weighted(terms, output_dtype(dtype, first))
    assert wrong_elements(tmp_path / "out.safetensors", expected) == {}


# ---- the card's recipe ----

CARD = """
ratio     = 0.15
pyAB      = mean(pyro_pov_a, pyro_pov_b)
MERGE1    = (1 - ratio) * analogDiffusion_10 + ratio * pyAB
MERGE1Fix = 0.95 * MERGE1 + 0.05 * v1-5-pruned-emaonly
MERGE2    = MERGE1Fix + 1 * (F222_v1 - v1-5-pruned-emaonly)
BASE_V0   = 0.75 * MERGE2 + 0.25 * r34_e4
"""
COEFFICIENTS = {
    "pyro_pov_a": Fraction("0.0534375"), "pyro_pov_b": Fraction("0.0534375"), "analogDiffusion_10": Fraction("0.605625"),
    "v1-5-pruned-emaonly": Fraction("-0.7125"), "F222_v1": Fraction("0.75"), "r34_e4": Fraction("0.25"),
}  # fmt: skip
"""In the order of the sum."""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Models]:
    dtypes = [("bf16", "fp16"), "fp8_e4m3fn", "fp16", ("fp32", "fp64"), "fp64", ("fp8_e5m2", "fp32", "fp16")]
    models = {name: model(seed, dtype) for seed, (name, dtype) in enumerate(zip(COEFFICIENTS, dtypes, strict=True))}
    return write_models(tmp_path_factory.mktemp("six"), **models), models


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compute", [None, "float32", "float64"])
def test_card_recipe_over_mixed_dtypes_equals_numpy_in_every_element(six, tmp_path: Path, dtype, compute):
    folder, models = six
    merge_in(folder, CARD, tmp_path / "out.safetensors", options={"dtype": dtype} | ({"compute": compute} if compute else {}))
    expected = {
        key: weighted([(c, models[name][key].values) for name, c in COEFFICIENTS.items()], output_dtype(dtype, first), compute)
        for key, first in models["pyro_pov_a"].items()
    }
    assert wrong_elements(tmp_path / "out.safetensors", expected) == {}


def test_card_recipe_in_fp16_differs_from_float64_rounded_once_at_near_ties_only(six, tmp_path: Path):
    folder, models = six
    merge_in(folder, CARD, tmp_path / "out.safetensors")
    differing = total = 0
    for key, tensor in read_file(tmp_path / "out.safetensors").items():
        exact = reference.exact_sum([(c, models[name][key].values) for name, c in COEFFICIENTS.items()])
        once = rounded(exact, "F16")
        differing += int((tensor.values != once).sum())
        total += once.size
        np.testing.assert_allclose(tensor.values, exact, rtol=2**-11 + 2**-20, atol=2**-25 + 2**-22)
    assert differing / total < 0.02


def test_sum_runs_in_the_order_of_the_text_not_of_the_names_or_files(tmp_path: Path):
    # In float32 to the bit: (z + a) + m is not (a + m) + z.
    models = {name: model(seed, "fp32", only=[A_KEY]) for seed, name in enumerate("zam")}
    write_models(tmp_path, **models)
    text = "unused = mean(m, a)\nD = z - a\nM = m + 0.1 * D"
    merge_in(tmp_path, text, tmp_path / "out.tmp", options={"dtype": "fp32", "compute": "float32"})
    terms = {"z": Fraction("0.1"), "a": Fraction("-0.1"), "m": Fraction(1)}
    expected = {key: weighted([(c, models[n][key].values) for n, c in terms.items()], "fp32", "float32") for key in models["z"]}
    other = {key: weighted([(terms[n], models[n][key].values) for n in "mza"], "fp32", "float32") for key in models["z"]}
    assert wrong_elements(tmp_path / "out.tmp", expected) == {}
    assert wrong_elements(tmp_path / "out.tmp", other) != {}


# ---- one rounding at the end ----


def near_ties(tag: str) -> np.ndarray:
    """Numbers midway between neighbours of a format and just beside it, nearer than float32 can tell; with subnormals."""
    form = reference.FORMATS[tag]
    random = np.random.default_rng(5)
    exponents = random.integers(form.lowest, 15 if tag == "F16" else 120, 1500)
    counts = random.integers(0, 2**form.precision // 2, 1500) * 2 + random.integers(0, 2, 1500)
    middles = np.ldexp(counts + 0.5, np.minimum(exponents, 15 - form.precision if tag == "F16" else 120))
    beside = middles * (1 + random.choice([0.0, 2.0**-40, -(2.0**-40), 2.0**-52, 2.0**-26], 1500))
    return np.concatenate([beside, -beside, [0.0, -0.0, 2.0**-24, 2.0**-25, 2.0**-26, 5e-324]])


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("text", ["M = weighted_sum(a, b, alpha=0.5)", "M = weighted_sum(b, a, alpha=1)"], ids=["sum", "copy"])
def test_compute_float64_rounds_straight_to_16_bits(tmp_path: Path, dtype, text):
    values = near_ties(TAGS[dtype])
    tensors = model(1, "fp64", only=[]) | {A_KEY: stored(values, "fp64")}
    write_models(tmp_path, a=tensors, b=tensors)
    merge_in(tmp_path, text, tmp_path / "out.tmp", options={"dtype": dtype, "compute": "float64"})
    got = read_file(tmp_path / "out.tmp")[A_KEY]
    form = reference.FORMATS[TAGS[dtype]]
    exact = [float(nearest(Fraction(value), form.precision, form.lowest)) for value in values]
    np.testing.assert_array_equal(got.values, exact)
    np.testing.assert_array_equal(np.signbit(got.values), np.signbit(values))
    if dtype == "fp16":
        np.testing.assert_array_equal(got.values, values.astype(np.float16).astype(np.float64))
        assert (values.astype(np.float32).astype(np.float16) != values.astype(np.float16)).mean() > 0.1, (
            "too few near ties to tell"
        )


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_operand_taken_whole_is_rounded_once_whatever_its_dtype(tmp_path: Path, dtype):
    values = near_ties(TAGS[dtype])
    write_models(
        tmp_path,
        a=model(1, "fp64", only=[]) | {A_KEY: stored(values, "fp64")},
        b=model(2, only=[]) | {A_KEY: stored(values[::-1], "fp16")},
    )
    merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0)", tmp_path / "out.tmp", options={"dtype": dtype})
    np.testing.assert_array_equal(read_file(tmp_path / "out.tmp")[A_KEY].values, rounded(values, TAGS[dtype]))


# ---- scaled fp8 ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("ending", "kind"), [("scale_weight", "fp32"), ("weight_scale", "bf16")])
def test_scaled_fp8_counts_with_its_scale_which_is_not_written(tmp_path: Path, dtype, ending, kind):
    layer = A_KEY.removesuffix(".weight")
    raw, scale = stored(draw(3, A_KEY, (24, 24), 100), "fp8_e4m3fn"), stored(np.float32(0.00371), kind, shape=(1,))
    extras = {
        A_KEY: raw,
        f"{layer}.{ending}": scale,
        f"{layer}.scale_input": stored(1.0, "fp32"),
        "scaled_fp8": stored([], "fp8_e4m3fn"),
    }
    models = {"a": model(1, only=[A_KEY], extras=extras), "b": model(2, only=[A_KEY])}
    write_models(tmp_path, **models)
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.4)", tmp_path / "out.tmp", options={"dtype": dtype})
    got = read_file(tmp_path / "out.tmp")
    assert got.keys() == models["b"].keys()
    kind = {"fp16": np.float32, "bf16": np.float32, "fp32": np.float64, "source": np.float32}[dtype]
    values = raw.values.astype(kind) * kind(scale.values[0])
    want = weighted(
        [(Fraction("0.6"), values), (Fraction("0.4"), models["b"][A_KEY].values)], "fp16" if dtype == "source" else dtype
    )
    assert got[A_KEY].data == want
    assert report.written_bytes == (tmp_path / "out.tmp").stat().st_size


# ---- A (+) A is A ----


def every_number(dtype: str) -> Stored:
    """All finite numbers of a 16-bit format; for fp32 those of bf16 with odd bits behind them."""
    if dtype == "fp32":
        codes = (np.arange(65536, dtype=np.uint32) << 16) + 0x1357
        codes = codes[np.isfinite(codes.view(np.float32))]
        return Stored("F32", codes.shape, codes.tobytes())
    codes = np.arange(65536, dtype=np.uint16)
    finite = codes[np.isfinite(decoded(codes.tobytes(), TAGS[dtype], codes.shape))]
    return Stored(TAGS[dtype], finite.shape, finite.tobytes())


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a_fp16 and b_fp16, equal files of every number; so for bf16 and fp32."""
    models = {}
    for dtype in ("fp16", "bf16", "fp32"):
        models[f"a_{dtype}"] = models[f"b_{dtype}"] = model(1, dtype, only=[CONV_IN]) | {A_KEY: every_number(dtype)}
    return write_models(tmp_path_factory.mktemp("twins"), **models)


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("second", ["a", "b"], ids=["itself", "equal file"])
@pytest.mark.parametrize(
    "text", [*(f"weighted_sum(A, B, alpha={n})" for n in (0, 0.1, 0.3, 0.5, 1)), "mean(A, B)", "mean(A, B, A)", "A + 1 * (B - A)"]
)
def test_model_merged_with_itself_is_itself_bit_for_bit(twins: Path, tmp_path: Path, dtype, second, text):
    text = text.replace("A", f"a_{dtype}").replace("B", f"{second}_{dtype}")
    report = merge_in(twins, f"M = {text}", tmp_path / "out.safetensors", options={"dtype": dtype})
    source, output = read_file(twins / f"a_{dtype}.safetensors"), read_file(tmp_path / "out.safetensors")
    assert {key: tensor for key, tensor in output.items() if tensor != source[key]} == {}
    assert report.warnings == ()


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize(("alpha", "winner"), [(0, 0), (1, 1)])
def test_alpha_zero_and_one_give_the_operands_bytes_whatever_the_other_holds(twins: Path, tmp_path: Path, dtype, alpha, winner):
    others = model(9, dtype, only=[CONV_IN]) | {A_KEY: stored(np.full(every_number(dtype).shape, np.nan), dtype)}
    names = ("a", "b") if winner == 0 else ("b", "a")
    write_models(tmp_path, **{names[0]: read_file(twins / f"a_{dtype}.safetensors"), names[1]: others})
    report = merge_in(tmp_path, f"M = weighted_sum(a, b, alpha={alpha})", tmp_path / "out.tmp", options={"dtype": "source"})
    assert read_file(tmp_path / "out.tmp") == read_file(tmp_path / f"{names[0]}.safetensors")
    assert report.keys["IN04"] == {"merged": 0, "copied": 1}


# ---- the ends of the range ----


def two_values(folder: Path, dtype: str, a: list[float], b: list[float]) -> None:
    write_models(
        folder, a=model(1, dtype, only=[]) | {A_KEY: stored(a, dtype)}, b=model(1, dtype, only=[]) | {A_KEY: stored(b, dtype)}
    )


def test_subnormals_and_signed_zeros_are_kept_right(tmp_path: Path):
    a = [2.0**-24, -(2.0**-24), 3 * 2.0**-24, -0.0, 0.0, -0.0, 2.0**-14, 1023 * 2.0**-24]
    b = [2.0**-24, 2.0**-24, 2 * 2.0**-24, -0.0, -0.0, 0.0, -(2.0**-14), 1024 * 2.0**-24]
    two_values(tmp_path, "fp16", a, b)
    merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.5)", tmp_path / "out.tmp")
    got = read_file(tmp_path / "out.tmp")[A_KEY].values
    # 2.5 steps go to the even 2, 1023.5 to the even 1024.
    np.testing.assert_array_equal(got, [2.0**-24, 0, 2 * 2.0**-24, -0.0, 0.0, 0.0, 0.0, 1024 * 2.0**-24])
    np.testing.assert_array_equal(np.signbit(got), [False, False, False, True, False, False, False, False])


def test_overflow_beyond_fp16_becomes_inf_counted_and_warned_of(tmp_path: Path):
    a = [65504.0, -65504.0, 60000.0, 65504.0, 1.0, 65519.0, 65520.0, -65520.0]
    two_values(tmp_path, "fp32", a, a)
    report = merge_in(tmp_path, "M = a + 1 * (a - b)", tmp_path / "same.tmp")
    np.testing.assert_array_equal(read_file(tmp_path / "same.tmp")[A_KEY].values, [*a[:5], 65504.0, np.inf, -np.inf])
    assert [warning for warning in report.warnings if "became Inf" in warning] == [
        f"2 values in 1 key, too large for fp16, became Inf: 2 in '{A_KEY}'."
    ]
    two_values(tmp_path, "fp16", [65504.0, -65504.0, 60000.0, 2.0], [0.0, 0.0, 61000.0, 1.0])
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=-0.5)", tmp_path / "more.tmp")
    np.testing.assert_array_equal(read_file(tmp_path / "more.tmp")[A_KEY].values, [np.inf, -np.inf, 59520.0, 2.5])
    assert any(warning.startswith("2 values in 1 key, too large") for warning in report.warnings)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_overflow_of_the_sum_itself_is_counted_and_warned_of(tmp_path: Path, dtype):
    # 1.5 * 3e38 is beyond float32, in which a bf16 output is summed; the difference of two such is NaN there.
    two_values(tmp_path, dtype, [3e38, -3e38, 1.0, 2.0], [0.0, 0.0, 3e38, 2.0])
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=-0.5)", tmp_path / "out.tmp", options={"dtype": dtype})
    got = read_file(tmp_path / "out.tmp")[A_KEY].values
    assert got[0] == np.inf
    assert got[1] == -np.inf
    assert got[3] == 2
    assert any(warning.startswith("2 values in 1 key, too large") for warning in report.warnings)


def test_values_near_the_end_of_fp16_cause_no_warning(tmp_path: Path):
    two_values(tmp_path, "fp16", [65504.0] * 5000, [65504.0, -65504.0] * 2500)
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.5)", tmp_path / "out.tmp")
    np.testing.assert_array_equal(read_file(tmp_path / "out.tmp")[A_KEY].values, [65504.0, 0.0] * 2500)
    assert report.warnings == ()


def test_change_in_the_report_is_relative_to_the_first_source(tmp_path: Path):
    two_values(tmp_path, "fp16", [3.0, 4.0], [4.0, 3.0])
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha={IN04: 0.5, OUT*: 1, *: 0})", tmp_path / "out.tmp")
    assert report.change["IN04"] == pytest.approx(np.sqrt(0.5) / 5)
    assert report.change["IN11"] == 0


def test_schedule_buffers_are_copied_in_their_own_dtype(tmp_path: Path):
    write_models(
        tmp_path,
        a=model(1, only=[], extras={BETAS: stored([0.1, 0.2], "fp64")}),
        b=model(2, only=[], extras={BETAS: stored([7.0, 8.0], "fp32")}),
    )
    merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.9)", tmp_path / "out.tmp")
    assert read_file(tmp_path / "out.tmp")[BETAS] == stored([0.1, 0.2], "fp64")


def test_keys_of_these_tests_have_the_lanes_that_the_planner_gives_them(pair):
    folder, _ = pair
    plan = plan_in(folder, "M = mean(first, second)")
    assert {job.key: job.lane for job in plan.jobs} == {key: LANE_OF[key] for key in KEYS}


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize(
    ("dtype", "spread", "became"), [("fp8_e4m3fn", 130, "448, its largest number"), ("fp8_e5m2", 20000, "Inf")]
)
def test_fp8_output_equals_numpy_and_overflow_is_counted(tmp_path: Path, dtype, spread, became, compute):
    # `source` asks for it where the first model is fp8 without scales.
    form = reference.FORMATS[TAGS[dtype]]
    a = np.clip(draw(1, A_KEY, (60, 60), spread), -form.largest, form.largest)
    models = {
        "a": model(1, dtype, only=[]) | {A_KEY: stored(a, dtype)},
        "b": model(2, "fp32", only=[]) | {A_KEY: stored(draw(2, A_KEY, (60, 60), 3 * spread), "fp32")},
    }
    write_models(tmp_path, **models)
    options = {"dtype": "source", "compute": compute}
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.4)", tmp_path / "out.tmp", options=options)
    terms = {key: [(Fraction("0.6"), models["a"][key].values), (Fraction("0.4"), models["b"][key].values)] for key in models["a"]}
    assert wrong_elements(tmp_path / "out.tmp", {key: weighted(sums, dtype, compute) for key, sums in terms.items()}) == {}
    # Half a step beyond the largest number still goes to it: 464 to 448, as the even one.
    limit = form.largest + float(np.spacing(np.float64(form.largest))) * 2 ** (52 - form.precision)
    beyond = reference.exact_sum(terms[A_KEY])
    count = int((np.abs(beyond) > limit).sum())
    assert count > 0
    assert [warning for warning in report.warnings if "too large" in warning] == [
        f"{count} values in 1 key, too large for {dtype}, became {became}: {count} in '{A_KEY}'."
    ]


def test_sum_in_which_nothing_counts_is_zero_and_reads_nothing(tmp_path: Path):
    write_models(tmp_path, a=model(1), b=model(2))
    report = merge_in(tmp_path, "M = free_sum(a, b, alpha=0, beta=0)", tmp_path / "out.tmp")
    assert report.read_bytes == 0
    assert {tensor.data.strip(b"\0") for tensor in read_file(tmp_path / "out.tmp").values()} == {b""}


# ---- whole checkpoints, and tensors larger than a slab ----


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize(("architecture", "keys"), [("sd1", 1131), ("sdxl", 2515)])
def test_every_key_of_a_whole_checkpoint_equals_numpy(
    tmp_path_factory: pytest.TempPathFactory, tmp_path, architecture, keys, dtype
):
    first = tiny(tmp_path_factory, f"{architecture}-one", architecture, seed=5)
    second = tiny(tmp_path_factory, f"{architecture}-two", near=first, drift=0.3, seed=6, dtype="fp32")
    text = f"M = weighted_sum({architecture}-one, {architecture}-two, alpha=0.3)"
    merge_in(first.parent, text, tmp_path / "out.tmp", options={"dtype": dtype})
    one, two, written = read_file(first), read_file(second), read_file(tmp_path / "out.tmp")
    assert written.keys() == one.keys()
    assert len(written) == keys
    for key, tensor in written.items():
        if key.endswith("position_ids"):
            assert tensor == one[key]
        else:
            assert tensor.shape == one[key].shape
            assert tensor.data == weighted([(Fraction("0.7"), one[key].values), (Fraction("0.3"), two[key].values)], dtype), key


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_tensor_larger_than_a_slab_equals_numpy_in_every_element(tmp_path: Path, dtype):
    count = memory.SLAB_ELEMENTS + 12345
    models = {name: model(seed, only=[]) | {A_KEY: stored(draw(seed, A_KEY, (count,)), "fp16")} for seed, name in enumerate("ab")}
    write_models(tmp_path, **models)
    merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.3)", tmp_path / "out.tmp", options={"dtype": dtype})
    terms = [(Fraction("0.7"), models["a"][A_KEY].values), (Fraction("0.3"), models["b"][A_KEY].values)]
    assert read_file(tmp_path / "out.tmp")[A_KEY].data == weighted(terms, dtype)


# ---- what is not finite ----


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("alpha", ["0.5", "1"], ids=["sum", "copy"])
def test_source_that_is_not_finite_is_named_with_key_and_count_and_nothing_is_written(tmp_path: Path, bad, alpha):
    two_values(tmp_path, "fp16", [1.0, 2.0, 3.0], [bad, 1.0, bad])
    with pytest.raises(CheckpointError, match=f"'b.safetensors' holds NaN or Inf in 2 values of '{re.escape(A_KEY)}'"):
        merge_in(tmp_path, f"M = weighted_sum(a, b, alpha={alpha})", tmp_path / "out.tmp")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("alpha", ["0.5", "1"], ids=["sum", "copy"])
def test_elements_that_are_not_finite_are_taken_from_the_model_that_on_nan_names(tmp_path: Path, alpha):
    two_values(tmp_path, "fp16", [1.0, 2.0, 3.0, 5.0], [np.nan, 1.0, np.inf, -np.inf])
    report = merge_in(tmp_path, f"M = weighted_sum(a, b, alpha={alpha})", tmp_path / "out.tmp", options={"on_nan": "take:a"})
    got = read_file(tmp_path / "out.tmp")[A_KEY].values
    np.testing.assert_array_equal(got, [1.0, 1.5 if alpha == "0.5" else 1.0, 3.0, 5.0])
    assert report.warnings == (
        f"NaN or Inf was replaced: 3 values in 1 key, as in '{A_KEY}'.",
        "'b': IN04: 3 values are NaN or Inf: likely broken.",
    )
    assert all(change is None or np.isfinite(change) for change in report.change.values())


def test_fp64_source_beyond_float32_is_an_overflow_not_a_broken_source(tmp_path: Path):
    two_values(tmp_path, "fp64", [1e300, 1.0], [2e300, 3.0])
    report = merge_in(tmp_path, "M = weighted_sum(a, b, alpha=0.5)", tmp_path / "out.tmp")
    np.testing.assert_array_equal(read_file(tmp_path / "out.tmp")[A_KEY].values, [np.inf, 2.0])
    assert any(warning.startswith("1 value in 1 key, too large") for warning in report.warnings)
