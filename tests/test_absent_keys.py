"""Keys that some models lack: each method's rule against numpy, extra input channels, and keys that are copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from checkpoints import (
    BETAS,
    CLIP,
    CONV_IN,
    LANE_OF,
    LANES,
    POSITION_IDS,
    merge_in,
    model,
    plan_in,
    stored,
    tiny,
    write_models,
)
from reference import (
    Form,
    Held,
    Stored,
    add_difference,
    free_sum,
    mean,
    read_file,
    share,
    sum_twice,
    triple_sum,
    weighted,
    weighted_subtraction,
    weighted_sum,
)

from lib_chilly.errors import ArchitectureError, CheckpointError

Models = Mapping[str, Mapping[str, Stored]]
Rule = Callable[..., Held]

LACKS = {"A": ["VAE", "TIME", "FINAL"], "B": ["OUT00", "TIME", "IN03"], "C": ["M00", "FINAL", "IN03"], "E": []}
"""Each set of A, B and C lacks some lane together, and no other; E has all."""


@pytest.fixture(scope="module")
def models() -> Models:
    dtypes = {"A": "fp16", "B": ("fp32", "fp16"), "C": "bf16", "E": "fp32"}
    return {name: model(seed, dtypes[name], without=lanes) for seed, (name, lanes) in enumerate(LACKS.items())}


@pytest.fixture(scope="module")
def folder(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("lacking"), **models)


def f(text: str) -> Fraction:
    return Fraction(text)


def delta(plus: Held, minus: Held, weight: Fraction = Fraction(1)) -> Form:
    """`weight * (plus - minus)`, 0 where a side is missing."""
    if plus is None or minus is None:
        return {}
    return added(*((weight, plus), (-weight, minus)))


def added(*terms: tuple[Fraction, Form]) -> Form:
    return free_sum(*terms) or {}


def plus_deltas(base: Held, *deltas: tuple[Fraction, Held, Held]) -> Held:
    """`base + weight * (plus - minus) + ...`: a missing base is replaced by the first that holds, whose deltas count 0."""
    sides = [side for _, *pair in deltas for side in pair]
    stand_in = next((side for side in sides if side is not None), None) if base is None else None
    whole = stand_in if base is None else base
    if whole is None:
        return None
    counted = [delta(p, m, w) for w, p, m in deltas if stand_in is None or (p is not stand_in and m is not stand_in)]
    return added((Fraction(1), whole), *((Fraction(1), form) for form in counted))


def case(text: str, rule: Rule) -> tuple[str, Rule]:
    """A recipe, and its rule with an argument for each of the recipe's models, in lower case."""
    return text if re.match(r"\w+ = ", text) else f"R = {text}", rule


CASES: dict[str, tuple[str, Rule]] = {
    "mean": case("mean(A, B, C)", mean),
    "mean, again": case("mean(C, A, B, A)", lambda a, b, c: mean(c, a, b, a)),
    "plain sum": case("A + B + C", mean),
    "shares": case("0.2 * A + 0.5 * B + 0.3 * C", lambda a, b, c: share((f("0.2"), a), (f("0.5"), b), (f("0.3"), c))),
    "shares, 0": case("0 * A + 0.5 * B + 0.5 * C", lambda a, b, c: share((f("0"), a), (f("0.5"), b), (f("0.5"), c))),
    "bracket": case("0.4 * (A + B) + 0.2 * C", lambda a, b, c: share((f("0.4"), a), (f("0.4"), b), (f("0.2"), c))),
    "weighted_subtraction": case(
        "weighted_subtraction(A, B, alpha=0.5, beta=0.4)", lambda a, b: weighted_subtraction(a, b, f("0.5"), f("0.4"))
    ),
    "free_sum": case(
        "free_sum(A, B, C, alpha=0.5, beta=0.6)", lambda a, b, c: free_sum((f("0.5"), a), (f("0.6"), b), (f("1"), c))
    ),
    "free_sum of a delta": case(
        "free_sum(A, B - C, alpha=0.5)", lambda a, b, c: added((f("0.5"), a or {}), (f("1"), delta(b, c)))
    ),
    "A + B - C": case("A + B - C", lambda a, b, c: add_difference(a, b, c, f("1"))),
    "A - C + B": case("A - C + B", lambda a, b, c: add_difference(a, b, c, f("1")) if a else c or b),
    "A + 1 * (B - C)": case("A + 1 * (B - C)", lambda a, b, c: add_difference(a, b, c, f("1"))),
    "(B - C) * 0.3 + A": case("(B - C) * 0.3 + A", lambda a, b, c: add_difference(a, b, c, f("0.3"))),
    "A + 0.3 * (B - A)": case("A + 0.3 * (B - A)", lambda a, b: plus_deltas(a, (f("0.3"), b, a))),
    "delta over 3": case("A + (B - C) / 3", lambda a, b, c: add_difference(a, b, c, Fraction(1, 3))),
    "negative delta": case("A - (B - C)", lambda a, b, c: add_difference(a, b, c, f("-1"))),
    "delta step": case("D = B - C\nR = A + 0.5 * D", lambda a, b, c: add_difference(a, b, c, f("0.5"))),
    "deltas of one stand-in": case(
        "A + 0.5 * (C - B) + 0.25 * (B - E)", lambda a, b, c, e: plus_deltas(a, (f("0.5"), c, b), (f("0.25"), b, e))
    ),
    "deltas with and without the stand-in": case(
        "A + 0.5 * (B - C) + 0.2 * (C - E)", lambda a, b, c, e: plus_deltas(a, (f("0.5"), b, c), (f("0.2"), c, e))
    ),
    "two delta steps": case(
        "D = B - C\nF = 0.5 * (E - C)\nR = A + D - 0.1 * F",
        lambda a, b, c, e: plus_deltas(a, (f("1"), b, c), (f("-0.05"), e, c)),
    ),
    "mean of deltas": case(
        "D = weighted_sum(A - E, C - B, alpha=0.3)\nR = E + D",
        lambda a, b, c, e: added((f("1"), e), (f("1"), delta(a, e, f("0.7"))), (f("1"), delta(c, b, f("0.3")))),
    ),
    "sum of sums": case(
        "S = 0.5 * A + 0.5 * B\nT = 0.9 * S + 0.1 * C", lambda a, b, c: share((f("0.9"), mean(a, b)), (f("0.1"), c))
    ),
    "nested calls": case(
        "weighted_sum(mean(A, B), add_difference(B, C, A, alpha=0.5), alpha=0.4)",
        lambda a, b, c: weighted_sum(mean(a, b), add_difference(b, c, a, f("0.5")), f("0.4")),
    ),
    "steps": case(
        "M = add_difference(A, B, C, alpha=0.8)\nR = weighted_sum(M, C, alpha=0.25)",
        lambda a, b, c: weighted_sum(add_difference(a, b, c, f("0.8")), c, f("0.25")),
    ),
    "delta of steps": case(
        "M = mean(A, B)\nN = weighted_sum(E, C, alpha=0.3)\nR = A + 0.5 * (M - N)",
        lambda a, b, c, e: plus_deltas(a, (f("0.5"), mean(a, b), weighted_sum(e, c, f("0.3")))),
    ),
    "the card": case(
        "M = 0.15 * mean(A, B) + 0.85 * C\nF = 0.95 * M + 0.05 * E\nG = F + 1 * (B - E)\nH = 0.75 * G + 0.25 * A",
        lambda a, b, c, e: share((f("0.75"), add_difference(card_third(a, b, c, e), b, e, f("1"))), (f("0.25"), a)),
    ),
}

for x in ("0", "0.3", "0.5", "1", "-0.5", "1.5"):
    CASES[f"weighted_sum {x}"] = case(f"weighted_sum(A, B, alpha={x})", lambda a, b, x=x: weighted_sum(a, b, f(x)))
for x in ("0", "0.7", "1"):
    text = f"add_difference(A, B, C, alpha={x})"
    CASES[f"add_difference {x}"] = case(text, lambda a, b, c, x=x: add_difference(a, b, c, f(x)))
for x, y in (("0.3", "0.4"), ("0", "0"), ("1", "0.5"), ("0.5", "1")):
    text = f"sum_twice(A, B, C, alpha={x}, beta={y})"
    CASES[f"sum_twice {x} {y}"] = case(text, lambda a, b, c, x=x, y=y: sum_twice(a, b, c, f(x), f(y)))
for x, y in (("0.3", "0.4"), ("0", "0"), ("0", "1"), ("0.5", "0.5")):
    text = f"triple_sum(A, B, C, alpha={x}, beta={y})"
    CASES[f"triple_sum {x} {y}"] = case(text, lambda a, b, c, x=x, y=y: triple_sum(a, b, c, f(x), f(y)))


def card_third(a: Held, b: Held, c: Held, e: Held) -> Held:
    """The card's third step."""
    return share((f("0.95"), share((f("0.15"), mean(a, b)), (f("0.85"), c))), (f("0.05"), e))


@pytest.mark.parametrize("name", CASES)
def test_keys_that_models_lack_are_settled_as_the_rules_say(folder, models, tmp_path, name):
    text, rule = CASES[name]
    order = list(dict.fromkeys(re.findall(r"\b[ABCE]\b", text)))
    merge_in(folder, text, tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert written.keys() == set().union(*(models[source] for source in order)), "a key was dropped"
    situations = set()
    for key, tensor in written.items():
        held = {source: {source: Fraction(1)} if key in models[source] else None for source in sorted(order)}
        situations.add(tuple(form is None for form in held.values()))
        form = rule(*held.values())
        terms = [(form[source], models[source][key].values) for source in order if source in form]
        expected = weighted(terms, "fp16") if terms else b"\0" * len(tensor.data)
        assert tensor.data == expected, f"{key}: {held} should give {form}"
    assert len(situations) == (3 if len(set(order) - {"E"}) == 2 else 7)


@pytest.mark.parametrize("alpha", ["0", "0.6", "1"])
@pytest.mark.parametrize("text", ["weighted_sum(BASE, noVae, alpha=ALPHA)", "weighted_sum(noVae, BASE, alpha=ALPHA)"])
def test_vae_of_the_only_model_that_has_one_is_taken_byte_for_byte(tmp_path: Path, text, alpha):
    base = model(1)
    write_models(tmp_path, BASE=base, noVae=model(2, without=["VAE"]))
    report = merge_in(tmp_path, f"M = {text}".replace("ALPHA", alpha), tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert {key: written[key] for key in LANES["VAE"]} == {key: base[key] for key in LANES["VAE"]}
    assert report.keys["VAE"] == {"merged": 0, "copied": 2}
    assert "'noVae' lacks 2 keys (VAE 2): the other operands settle them." in plan_in(tmp_path, "M = mean(BASE, noVae)").notes


def test_whole_sd1_checkpoint_without_vae_keeps_every_key_of_the_other(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path):
    base = tiny(tmp_path_factory, "sd1")
    without = tiny(tmp_path_factory, "sd1-noVae", without=("vae",), seed=3)
    report = merge_in(base.parent, "M = weighted_sum(sd1-noVae, sd1, alpha=0)", tmp_path / "out.tmp")
    ours, theirs, lacking = read_file(tmp_path / "out.tmp"), read_file(base), read_file(without)
    assert ours.keys() == theirs.keys()
    vae = {key for key in theirs if key.startswith("first_stage_model.")}
    assert len(vae) == 248
    assert {key: tensor for key, tensor in ours.items() if tensor != (theirs if key in vae else lacking)[key]} == {}
    assert report.keys["VAE"] == {"merged": 0, "copied": 248}


# ---- input channels that only inpainting models have ----


@pytest.fixture(scope="module")
def painters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Models]:
    models = {
        "custom": model(1),
        "v1-5": model(2, "fp32"),
        "inpainting": model(3, channels=9),
        "inpainting2": model(4, "bf16", channels=9),
        "pix2pix": model(5, channels=8),
    }
    return write_models(tmp_path_factory.mktemp("painters"), **models), models


CHANNELS: dict[str, tuple[Form, Form]] = {
    "inpainting + (custom - v1-5)": (
        {"inpainting": f("1"), "custom": f("1"), "v1-5": f("-1")},
        {"inpainting": f("1")},
    ),
    "custom + (inpainting - v1-5)": (
        {"custom": f("1"), "inpainting": f("1"), "v1-5": f("-1")},
        {"inpainting": f("1")},
    ),
    "add_difference(custom, v1-5, inpainting, alpha=0.5)": (
        {"custom": f("1"), "v1-5": f("0.5"), "inpainting": f("-0.5")},
        {"inpainting": f("1")},
    ),
    "weighted_sum(custom, inpainting, alpha=0.3)": ({"custom": f("0.7"), "inpainting": f("0.3")}, {"inpainting": f("1")}),
    "weighted_sum(inpainting, custom, alpha=0.3)": ({"inpainting": f("0.7"), "custom": f("0.3")}, {"inpainting": f("1")}),
    "weighted_sum(custom, inpainting, alpha=0)": ({"custom": f("1")}, {"inpainting": f("1")}),
    "weighted_sum(inpainting, custom, alpha=1)": ({"custom": f("1")}, {"inpainting": f("1")}),
    "weighted_sum(custom, pix2pix, alpha=0.3)": ({"custom": f("0.7"), "pix2pix": f("0.3")}, {"pix2pix": f("1")}),
    "0.5 * custom + 0.2 * inpainting + 0.3 * inpainting2": (
        {"custom": f("0.5"), "inpainting": f("0.2"), "inpainting2": f("0.3")},
        {"inpainting": f("0.4"), "inpainting2": f("0.6")},
    ),
    "free_sum(custom, inpainting, beta=0.5)": ({"custom": f("1"), "inpainting": f("0.5")}, {"inpainting": f("0.5")}),
    "weighted_sum(weighted_sum(custom, inpainting, alpha=0.5), v1-5, alpha=0.5)": (
        {"custom": f("0.25"), "inpainting": f("0.25"), "v1-5": f("0.5")},
        {"inpainting": f("1")},
    ),
    "mean(inpainting, inpainting2)": (
        {"inpainting": f("0.5"), "inpainting2": f("0.5")},
        {"inpainting": f("0.5"), "inpainting2": f("0.5")},
    ),
}


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("text", CHANNELS)
def test_extra_input_channels_are_a_key_that_only_their_models_hold(painters, tmp_path, text, dtype):
    folder, models = painters
    merge_in(folder, f"M = {text}", tmp_path / "out.tmp", options={"dtype": dtype})
    got = read_file(tmp_path / "out.tmp")[CONV_IN]
    channels = 8 if "pix2pix" in text else 9
    assert got.shape == (24, channels, 3, 3)
    values = np.frombuffer(got.data, "V2" if dtype == "fp16" else "V4").reshape(got.shape)
    for form, region in zip(CHANNELS[text], (slice(0, 4), slice(4, channels)), strict=True):
        expected = weighted([(weight, models[name][CONV_IN].values[:, region]) for name, weight in form.items()], dtype)
        assert np.ascontiguousarray(values[:, region]).tobytes() == expected


def test_extra_channels_are_said_in_the_notes_and_stand_in_a_row_of_their_own(painters):
    folder, _ = painters
    plan = plan_in(folder, "M = inpainting + (custom - v1-5)")
    assert {number: float(weight) for number, weight in plan.rows["IN00"].exact.items()} == {0: 1, 1: 1, 2: -1}
    assert plan.rows["IN00|-custom,v1-5"].exact == {0: 1}
    assert f"the extra input channels of '{CONV_IN}' are taken from the models that have them." in plan.notes


def test_models_with_8_and_9_channels_are_refused_together(painters):
    folder, _ = painters
    with pytest.raises(ArchitectureError) as caught:
        plan_in(folder, "M = mean(custom, pix2pix, inpainting)")
    assert str(caught.value) == (
        "'pix2pix' is pix2pix (8 input channels) and 'inpainting' is inpainting (9 input channels): "
        "their extra channels mean different things. Use models of one kind."
    )


@pytest.mark.parametrize(("channel", "message"), [(2, None), (6, "'inpainting.safetensors' holds NaN or Inf in 1 value")])
def test_nan_in_extra_channels_is_replaced_only_by_a_model_that_has_them(tmp_path: Path, channel, message):
    broken = model(1, channels=9)
    values = broken[CONV_IN].values.copy()
    values[3, channel, 1, 1] = np.nan
    write_models(tmp_path, inpainting={**broken, CONV_IN: stored(values, "fp16")}, custom=model(2))
    options = {"on_nan": "take:custom"}
    if message:
        with pytest.raises(CheckpointError, match=message):
            merge_in(tmp_path, "M = mean(inpainting, custom)", tmp_path / "out.tmp", options=options)
        return
    merge_in(tmp_path, "M = mean(inpainting, custom)", tmp_path / "out.tmp", options=options)
    custom = read_file(tmp_path / "custom.safetensors")[CONV_IN].values
    assert read_file(tmp_path / "out.tmp")[CONV_IN].values[3, channel, 1, 1] == custom[3, channel, 1, 1]


def test_conv_in_of_other_width_is_refused_with_both_shapes(tmp_path: Path):
    write_models(tmp_path, a=model(1, channels=9), b=model(2) | {CONV_IN: stored(np.ones((8, 4, 3, 3)), "fp16")})
    with pytest.raises(ArchitectureError, match=r"'a' has shape \(24, 9, 3, 3\), 'b' has \(8, 4, 3, 3\)"):
        plan_in(tmp_path, "M = mean(a, b)")


# ---- keys that are copied ----

COUNT = "model.diffusion_model.input_blocks.4.0.count"
STEPS = "num_timesteps"


def numbered(number: int, without: tuple[str, ...] = ()) -> dict[str, Stored]:
    """A model whose integers say whose they are."""
    extras = {POSITION_IDS: stored(np.full((1, 77), number), "I64"), COUNT: stored([number], "I32"), STEPS: stored(number, "U8")}
    extras[BETAS] = stored([number / 7, 0.5], "fp32")
    return model(number, only=[], extras={key: tensor for key, tensor in extras.items() if key not in without})


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    without = {POSITION_IDS: numbered(4, without=(POSITION_IDS, COUNT, STEPS, BETAS))}
    return write_models(
        tmp_path_factory.mktemp("three"), A=numbered(1), B=numbered(2), C=numbered(3), lacking=without[POSITION_IDS]
    )


TAKEN = {
    "weighted_sum(A, B, alpha=0)": 1,
    "weighted_sum(A, B, alpha=0.4)": 1,
    "weighted_sum(A, B, alpha=0.99)": 1,
    "weighted_sum(A, B, alpha=1)": 2,
    "weighted_sum(B, A, alpha=1)": 1,
    "mean(B, A, C)": 2,
    "0.2 * C + 0.8 * A": 3,
    "0 * C + 1 * A": 1,
    "add_difference(A, B, C, alpha=1)": 1,
    "B - C + A": 2,
    "1 * (C - B) + A": 1,
    "sum_twice(A, B, C, alpha=1, beta=0.5)": 2,
    "sum_twice(A, B, C, alpha=0.5, beta=1)": 3,
    "triple_sum(A, B, C, alpha=0, beta=1)": 3,
    "weighted_subtraction(A, B)": 1,
    "free_sum(B, A)": 2,
    "weighted_sum(lacking, C, alpha=0.2)": 3,
    "weighted_sum(B, lacking, alpha=1)": 2,
    "weighted_sum(weighted_sum(A, B, alpha=1), C, alpha=0.5)": 2,
    "weighted_sum(A, weighted_sum(B, C, alpha=1), alpha=1)": 3,
    "M = weighted_sum(A, B, alpha=1)\nN = add_difference(M, A, C)\nR = mean(N, A)": 2,
    "D = B - C\nR = A + 0.5 * D": 1,
}


@pytest.mark.parametrize("text", TAKEN)
def test_integers_position_ids_and_schedules_are_copied_from_the_first_operand_that_counts(three, tmp_path, text):
    merge_in(three, text if "\n" in text else f"R = {text}", tmp_path / "out.tmp")
    written, source = read_file(tmp_path / "out.tmp"), numbered(TAKEN[text])
    keys = (POSITION_IDS, COUNT, STEPS, BETAS)
    assert {key: written[key].values.flat[0] for key in keys} == {key: source[key].values.flat[0] for key in keys}
    assert {key: written[key] for key in keys} == {key: source[key] for key in keys}


@pytest.mark.parametrize(
    ("alpha", "position_ids", "count"),
    [
        ("[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", 2, 1),
        ("[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", 1, 2),
        ("{IN04: 1}", 1, 2),
        ("{BASE: 1, IN04: 0.5}", 2, 1),
        ("{*: 1, CLIP_L: 0}", 1, 2),
    ],
)
def test_copied_keys_follow_the_block_weight_of_their_lane(three, tmp_path, alpha, position_ids, count):
    merge_in(three, f"R = weighted_sum(A, B, alpha={alpha})", tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert (written[POSITION_IDS].values.flat[0], written[COUNT].values[0]) == (position_ids, count)


@pytest.mark.parametrize("dtype", ["fp16", "fp32", "bf16"])
def test_position_ids_stored_as_floats_are_written_as_int64(tmp_path: Path, dtype):
    floats = stored(np.arange(77).reshape(1, 77), dtype)
    write_models(tmp_path, a=model(1, only=[], extras={POSITION_IDS: floats}), b=model(2, only=[]))
    report = merge_in(tmp_path, "M = mean(a, b)", tmp_path / "out.tmp", options={"dtype": "source"})
    assert read_file(tmp_path / "out.tmp")[POSITION_IDS] == stored(np.arange(77).reshape(1, 77), "I64")
    assert report.warnings == ()


FAULTY = np.arange(77.0).reshape(1, 77) - 0.02 * (np.arange(77) % 5 == 2)


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_faulty_position_ids_are_warned_of_and_mended_only_by_rebuild(tmp_path: Path, dtype):
    faulty = stored(FAULTY, dtype)
    write_models(tmp_path, a=model(1, only=[], extras={POSITION_IDS: faulty}), b=model(2, only=[]))
    report = merge_in(tmp_path, "M = mean(a, b)", tmp_path / "out.tmp")
    assert read_file(tmp_path / "out.tmp")[POSITION_IDS] == stored(faulty.values.astype(np.int64), "I64")
    assert report.warnings == (
        f"'{POSITION_IDS}' is not 0, 1, 2, ...: tokens are read at wrong places. save(position_ids=rebuild) mends it.",
    )
    report = merge_in(tmp_path, "M = mean(a, b)\nsave(position_ids=rebuild)", tmp_path / "out.tmp")
    assert read_file(tmp_path / "out.tmp")[POSITION_IDS] == stored(np.arange(77).reshape(1, 77), "I64")
    assert report.warnings == ()


def test_old_spelling_of_the_text_encoder_is_the_same_key(tmp_path: Path):
    new = model(1, extras={POSITION_IDS: stored(np.arange(77).reshape(1, 77), "I64")})
    old = {key.replace(CLIP, "cond_stage_model.transformer."): tensor for key, tensor in model(2).items()}
    write_models(tmp_path, new=new, old=old)
    merge_in(tmp_path, "M = weighted_sum(old, new, alpha=0.25)", tmp_path / "out.tmp")
    written = read_file(tmp_path / "out.tmp")
    assert written.keys() == new.keys()
    for key, tensor in model(2).items():
        assert written[key].data == weighted([(f("0.75"), tensor.values), (f("0.25"), new[key].values)], "fp16")


def test_ema_copies_are_the_only_keys_that_no_output_has(tmp_path: Path):
    extras = {"model_ema.diffusion_modelout0bias": stored([1, 2], "fp32"), "somebody.else": stored([1.5], "fp32")}
    write_models(tmp_path, a=model(1, extras=extras), b=model(2))
    merge_in(tmp_path, "M = mean(a, b)", tmp_path / "out.tmp")
    assert read_file(tmp_path / "out.tmp").keys() == LANE_OF.keys() | {"somebody.else"}
    assert read_file(tmp_path / "out.tmp")["somebody.else"] == extras["somebody.else"]
    assert "1 EMA copies of 'a' are dropped." in plan_in(tmp_path, "M = mean(a, b)").notes
