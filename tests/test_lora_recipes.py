"""LoRAs in recipes: what they add, in which keys, in which order, under which names, and what is said of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CLIP, CONV_IN, UNET, draw, merge_in, metadata_of, model, plan_in, stored, write_file, write_models
from reference import Stored, read_file, weighted
from test_same_bytes import cut
from updates import differing

from lib_chilly.errors import ArchitectureError, CheckpointError, RecipeError
from lib_chilly.inspection import describe, inspect_file
from lib_chilly.live import LiveWeights
from lib_chilly.memory import peak_memory_bytes
from lib_chilly.models import ModelLibrary
from lib_chilly.notations import read_recipe
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.report import plan_facts
from lib_chilly.synth import synthesise
from lib_chilly.verification import verify

IN01 = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
OUT03 = "output_blocks.3.1.transformer_blocks.0.attn1.to_q"
MATRICES = {f"lora_unet_{name.replace('.', '_')}": f"{UNET}{name}.weight" for name in (IN01, OUT03)}
IN01_KEY, OUT03_KEY = MATRICES.values()
NORM = f"{UNET}input_blocks.1.1.transformer_blocks.0.norm1.weight"


def lora(seed: int, rank: int = 4, alpha: float = 2.0, layers: tuple[str, ...] = tuple(MATRICES)) -> dict[str, Stored]:
    tensors = {}
    for layer in layers:
        tensors[f"{layer}.lora_down.weight"] = stored(draw(seed, f"{layer} down", (rank, 24), 0.3), "fp16")
        tensors[f"{layer}.lora_up.weight"] = stored(draw(seed, f"{layer} up", (24, rank), 0.3), "fp16")
        tensors[f"{layer}.alpha"] = stored(np.float32(alpha), "fp32")
    return tensors


def added(file: Path, layer: str) -> np.ndarray:
    """alpha / rank * up @ down in float64."""
    tensors = read_file(file)
    up, down = (tensors[f"{layer}.lora_{name}.weight"].values.astype(np.float64) for name in ("up", "down"))
    return float(tensors[f"{layer}.alpha"].values) / len(down) * (up @ down)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("webui")
    write_models(home / "Lora", grain=lora(11), dust=lora(12, rank=2, layers=tuple(MATRICES)[:1]), B=lora(13))
    return write_models(home / "Stable-diffusion", A=model(1), B=model(2), inpainting=model(3, channels=9))


@pytest.fixture(scope="module")
def grain(folder: Path) -> Path:
    return folder.parent / "Lora" / "grain.safetensors"


def merged(folder: Path, text: str, tmp_path: Path, **options: str) -> dict[str, Stored]:
    merge_in(folder, text, tmp_path / "out.safetensors", options=options)
    return read_file(tmp_path / "out.safetensors")


def of(folder: Path, name: str, key: str) -> np.ndarray:
    return read_file(folder / f"{name}.safetensors")[key].values


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_lora_is_added_to_the_bit_and_other_keys_are_the_models(folder, grain, tmp_path, dtype):
    found = merged(folder, "Z = 0.6 * A + 0.4 * B + 0.8 * lora(grain, scale=0.5)", tmp_path, dtype=dtype)
    parts = [(Fraction("0.6"), "A"), (Fraction("0.4"), "B")]
    for layer, key in MATRICES.items():
        terms = [(weight, of(folder, name, key)) for weight, name in parts]
        assert found[key].data == weighted([*terms, (Fraction("0.4"), added(grain, layer))], dtype), key
    assert found[NORM].data == weighted([(weight, of(folder, name, NORM)) for weight, name in parts], dtype)
    assert found.keys() == read_file(folder / "A.safetensors").keys()


def test_lora_comes_last_in_the_sum_wherever_it_stands(folder, tmp_path):
    first = merged(folder, "Z = 0.8 * lora(grain) + A + lora(dust)", tmp_path)
    plan = plan_in(folder, "Z = 0.8 * lora(grain) + A + lora(dust)")
    assert [source.name for source in plan.sources] == ["A", "grain", "dust"]
    assert first == merged(folder, "Z = A + 0.8 * lora(grain) + lora(dust)", tmp_path)


def test_scale_by_blocks_adds_nothing_where_nothing_is_said(folder, grain, tmp_path):
    found = merged(folder, "Z = A + lora(grain, scale={OUT*: 0.7})", tmp_path)
    assert found[IN01_KEY] == read_file(folder / "A.safetensors")[IN01_KEY]
    layer = next(layer for layer, key in MATRICES.items() if key == OUT03_KEY)
    terms = [(Fraction(1), of(folder, "A", OUT03_KEY)), (Fraction("0.7"), added(grain, layer))]
    assert found[OUT03_KEY].data == weighted(terms, "fp16")


def test_file_is_the_same_for_any_threads_and_cuts_and_in_memory(folder, tmp_path, monkeypatch):
    text = "Z = 0.6 * A + 0.4 * B + 0.8 * lora(grain) - 0.3 * lora(dust)"
    merged(folder, text, tmp_path)
    weights = LiveWeights(threads=2)
    weights.update(plan_in(folder, text))
    assert differing(weights.tensors, tmp_path / "out.safetensors") == []
    change = weights.update(plan_in(folder, text.replace("0.3", "0.2")))
    assert change.keys == {IN01_KEY}
    weights.close()
    cut(monkeypatch, 37, 130)
    for threads in (1, 16):
        report = merge_in(folder, text, tmp_path / "cut.safetensors", threads)
        assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()
        assert report.read_bytes == plan_in(folder, text).reads_bytes


def test_lora_below_another_method_and_on_an_inpainting_model(folder, grain, tmp_path):
    layer = "lora_unet_input_blocks_0_0"
    shapes = {"lora_down": (4, 4, 3, 3), "lora_up": (24, 4, 1, 1)}
    first = {f"{layer}.{name}.weight": stored(draw(5, name, shape), "fp16") for name, shape in shapes.items()}
    write_models(tmp_path / "lora", first=first)
    write_models(tmp_path / "models", inpainting=model(3, channels=9), A=model(1))
    found = merged(tmp_path / "models", "Z = inpainting + 1 * lora(first) + 0 * (A - A)", tmp_path)[CONV_IN].values
    before = of(folder, "inpainting", CONV_IN)
    up, down = (first[f"{layer}.{name}.weight"].values.astype(np.float64) for name in ("lora_up", "lora_down"))
    expected = weighted(
        [(Fraction(1), before[:, :4]), (Fraction(1), (up[:, :, 0, 0] @ down.reshape(4, -1)).reshape(24, 4, 3, 3))], "fp16"
    )
    assert found[:, :4].astype(np.float16).tobytes() == expected
    assert (found[:, 4:] == before[:, 4:]).all()


def test_plan_says_what_matches_what_does_not_and_reads_it_once(folder, grain, tmp_path):
    extra = {"lora_unet_nowhere.lora_up.weight": stored(np.zeros((2, 2)), "fp16")}
    layer = "lora_te_text_model_encoder_layers_5_self_attn_q_proj"
    write_models(tmp_path / "Lora", odd=lora(11) | extra | lora(4, layers=(layer,)))
    plan = make_plan(parse_recipe("Z = A + 0.5 * lora(odd)"), ModelLibrary([folder], [tmp_path / "Lora"]))
    (said,) = [note for note in plan.notes if "LoRA" in note]
    assert "the LoRA 'odd' changes 2 weights" in said
    assert f"1 more that it is for is in no model here: {CLIP}encoder.layers.5.self_attn.q_proj.weight" in said
    assert "1 tensor of it is of no use: 'lora_unet_nowhere.lora_up.weight'" in said
    facts = plan_facts(plan, 1)
    assert facts["sources"][1]["dtype"] == "fp16"
    assert facts["folded"]["IN01"] == {"A": 1, "odd": 0.5} and facts["folded"]["IN01|-odd"] == {"A": 1}
    assert "IN02|-odd" in facts["folded"] and "IN02" not in facts["folded"]
    model_bytes = sum(len(tensor.data) for tensor in read_file(folder / "A.safetensors").values())
    assert facts["reads_bytes"] == model_bytes + sum(len(tensor.data) for tensor in lora(11).values())


def test_name_means_the_lora_whatever_models_and_steps_are_called(folder, tmp_path):
    steps = "grain = 0.5 * A + 0.5 * B\nZ = grain + 0.5 * lora(grain) + 0.1 * lora(B)"
    plan = plan_in(folder, steps)
    assert [source.checkpoint.path.parent.name for source in plan.sources] == [*["Stable-diffusion"] * 2, *["Lora"] * 2]
    assert parse_recipe(steps).canonical() == steps + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Z = A + lora(gran)", "there is no LoRA 'gran'. Did you mean 'grain'?"),
        ("Z = A + lora(A - B)", "takes the name of a LoRA file"),
        ("Z = A + lora(0.5)", "takes the name of a LoRA file"),
        ("Z = lora(grain)", "is a delta"),
        ("Z = free_sum(lora(grain))", "the recipe names no model, only LoRAs"),
        ("Z = 0.5 * A + 0.5 * lora(grain)", "add to 0.5"),
        ("Z = weighted_sum(A, lora(grain))", "is a delta"),
        ("Z = A + lora(grain, B)", "lora takes 1 model"),
        ("Z = A + 1 * lora(A)", "'A.safetensors'"),
    ],
)
def test_lora_that_cannot_be_meant_is_said(folder, text, said):
    with pytest.raises((RecipeError, CheckpointError), match=said.replace(".", r"\.").replace("?", r"\?")):
        plan_in(folder, text)


def test_lora_that_is_called_as_a_model_is_told_apart_in_the_plan(folder):
    facts = plan_facts(plan_in(folder, "Z = B + 0.5 * lora(B)"), 1)
    assert [source["name"] for source in facts["sources"]] == ["B", "lora(B)"]
    assert facts["folded"]["IN01"] == {"B": 1, "lora(B)": 0.5} and "IN02|-lora(B)" in facts["folded"]


def test_lora_that_changes_nothing_here_is_refused(folder, tmp_path):
    layer = "lora_unet_input_blocks_2_1_transformer_blocks_0_attn2_to_v"
    write_models(tmp_path / "Lora", other=lora(1, layers=(layer,)))
    library = ModelLibrary([folder], [tmp_path / "Lora"])
    with pytest.raises(RecipeError, match=r"'other\.safetensors' changes nothing here: none of the recipe's models has"):
        make_plan(parse_recipe("Z = A + lora(other)"), library)


def test_lora_of_another_architecture_or_size_is_refused(folder, tmp_path):
    sdxl = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"
    tall = {f"{next(iter(MATRICES))}.lora_{name}.weight": stored(np.ones((3, 3)), "fp16") for name in ("up", "down")}
    write_models(tmp_path / "Lora", sdxl=lora(1, layers=(sdxl,)), tall=tall)
    library = ModelLibrary([folder], [tmp_path / "Lora"])
    for name, said in (("sdxl", "SDXL"), ("tall", "is made for 3 x 3")):
        with pytest.raises((ArchitectureError, CheckpointError), match=said):
            make_plan(parse_recipe(f"Z = A + lora({name})"), library)


def test_header_names_the_lora_and_its_hash(folder, grain, tmp_path):
    merge_in(folder, "Z = A + 0.5 * lora(grain)", tmp_path / "out.safetensors", source_hashes=True)
    record = metadata_of(tmp_path / "out.safetensors")["chillymerge"]
    assert '"name":"grain"' in record.replace(": ", ":") and "lora(grain)" in record


def test_file_with_a_lora_is_verified_and_made_again_though_the_lora_was_renamed(folder, grain, tmp_path):
    text = "Z = A + 0.5 * lora(grain) + 0.1 * lora(B)"
    merge_in(folder, text, tmp_path / "out.safetensors", source_hashes=True)
    models = write_models(tmp_path / "Stable-diffusion", A=model(1), other=model(5))
    loras = write_models(tmp_path / "Lora", renamed=lora(11), B=lora(13), grain=lora(14))
    found = verify(tmp_path / "out.safetensors", [models])
    assert (found.verdict, found.says) == ("same", ["'grain' was found by its sha256 as 'renamed.safetensors'."])
    (loras / "renamed.safetensors").unlink()
    found = verify(tmp_path / "out.safetensors", [models])
    assert found.verdict == "unknown" and found.lacking == ["grain"]
    assert "is another 'grain' than the recorded one" in found.says[0]


def test_inspect_says_that_a_file_is_a_lora(grain, folder, dora):
    facts = inspect_file(grain)
    assert facts["architecture"] is None and facts["lora"] == {
        "architecture": "sd1",
        "title": "SD 1.x",
        "weights": 2,
        "kinds": {"lora": 2},
        "ranks": [4],
        "needs_model": False,
        "unmatched": {},
    }
    assert "LoRA for SD 1.x" in describe(facts)[0] and "  changes 2 weights: lora 2, rank 4" in describe(facts)
    assert "  what it adds depends on the model: lora_on(NAME, MODEL)" in describe(inspect_file(dora))
    assert inspect_file(folder / "A.safetensors")["lora"] is None


def test_lora_among_the_models_is_verified_and_made_again_from_there(tmp_path):
    models = write_models(tmp_path / "all", A=model(1), grain=lora(11))
    merge_in(models, "Z = A + 0.5 * lora(grain)", tmp_path / "out.safetensors", source_hashes=True)
    assert verify(tmp_path / "out.safetensors", [models]).verdict == "same"
    (models / "grain.safetensors").unlink()
    found = verify(tmp_path / "out.safetensors", [models])
    assert found.lacking == ["grain"] and "Name its folder with --loras DIR" in found.says[0]
    elsewhere = write_models(tmp_path / "elsewhere", grain=lora(11))
    assert verify(tmp_path / "out.safetensors", [models], loras=[elsewhere]).verdict == "same"


def test_lora_for_models_of_which_none_is_read_is_refused(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    synthesise("sd3", "tiny", models / "three.safetensors")
    write_models(tmp_path / "lora", grain=lora(11))
    with pytest.raises(ArchitectureError, match=r"is a LoRA for SD 1\.x; those for .* are not read"):
        plan_in(models, "Z = three + lora(grain)")


def test_nan_is_not_replaced_by_a_lora(folder):
    with pytest.raises(RecipeError, match=r"'grain', which is no model of this recipe: A\."):
        plan_in(folder, "Z = A + lora(grain)", on_nan="take:grain")


def test_plan_counts_what_large_differences_hold(tmp_path):
    layer = next(iter(MATRICES))
    key = MATRICES[layer]
    big = {key: stored(np.zeros((1500, 1500)), "fp16")}
    write_models(tmp_path / "lora", big={f"{layer}.diff": stored(np.zeros((1500, 1500)), "fp32")})
    models = write_models(tmp_path / "models", A=model(1, only=[key], extras=big))
    without, with_it = (peak_memory_bytes(plan_in(models, text), 1) for text in ("Z = 1 * A", "Z = A + lora(big)"))
    assert with_it - without >= 2 * 1500 * 1500 * 4


def test_lora_with_nan_stops_by_name(folder, tmp_path):
    broken = lora(1)
    key = f"{next(iter(MATRICES))}.lora_up.weight"
    values = broken[key].values.copy()
    values[1, 1] = np.nan
    write_models(tmp_path / "Lora", broken=broken | {key: stored(values, "fp16")})
    plan = make_plan(parse_recipe("Z = A + lora(broken)"), ModelLibrary([folder], [tmp_path / "Lora"]))
    from lib_chilly.engine import merge

    with pytest.raises(CheckpointError, match=r"'broken\.safetensors' holds NaN or Inf in 1 value of 'lora_unet.*lora_up"):
        merge(plan, tmp_path / "out.safetensors", threads=1, source_hashes=False)
    assert list(tmp_path.glob("out*")) == []


@pytest.fixture(scope="module")
def dora(folder: Path) -> Path:
    """A DoRA: what grain adds, and a length for every row."""
    layer = next(iter(MATRICES))
    magnitudes = {f"{layer}.dora_scale": stored(np.abs(draw(9, "magnitudes", (24, 1), 1)), "fp32")}
    return write_file(folder.parent / "Lora" / "dora.safetensors", lora(11, layers=(layer,)) | magnitudes)


def test_dora_is_put_on_the_model_that_is_named(folder, dora, tmp_path):
    text = "Z = 0.7 * A + 0.3 * B + 0.8 * lora_on(dora, 0.5 * A + 0.5 * B)"
    found = merged(folder, text, tmp_path)
    layer, key = next(iter(MATRICES.items()))
    a, b = (of(folder, name, key) for name in "AB")
    base = weighted([(Fraction(1, 2), a), (Fraction(1, 2), b)], "fp32", "float32")
    weight = np.frombuffer(base, np.float32).reshape(24, 24).astype(np.float64)
    changed = weight + added(dora, layer)
    magnitudes = read_file(dora)[f"{layer}.dora_scale"].values.astype(np.float64)
    changed *= magnitudes / np.linalg.norm(changed, axis=1, keepdims=True)
    terms = [(Fraction("0.7"), a), (Fraction("0.3"), b), (Fraction("0.8"), changed - weight)]
    assert np.abs(found[key].values - np.frombuffer(weighted(terms, "fp16"), np.float16).reshape(24, 24)).max() <= 2**-11
    assert found[NORM] == merged(folder, "Z = 0.7 * A + 0.3 * B", tmp_path)[NORM]
    facts = plan_facts(plan_in(folder, text), 1)
    assert facts["folded"]["IN01"] is None and facts["folded"]["IN01|-dora"] == {"A": 0.7, "B": 0.3}


def test_dora_without_its_model_is_refused_and_plain_loras_are_the_same_on_one(folder, dora, tmp_path):
    with pytest.raises(RecipeError, match=r"is no plain LoRA.*Name that model: lora_on\(NAME, MODEL\)"):
        plan_in(folder, "Z = A + lora(dora)")
    assert merged(folder, "Z = A + lora_on(grain, B, scale=0.5)", tmp_path) == merged(
        folder, "Z = A + lora(grain, scale=0.5)", tmp_path
    )


SEVENTEEN = "1,0,0,0,0,0,0,0,0.5,1,1,1,0,0,0,0,0"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("A <lora:film-grain:0.8>", "result = A + lora(film-grain, scale=0.8)\n"),
        ("<lora:g:0.8> + A", "result = lora(g, scale=0.8) + A\n"),
        ("MIX = A\n<lora:g:0.8> <lora:h:1>\n", "MIX = A + lora(g, scale=0.8) + lora(h)\n"),
        ("Z = A - <lora:grain:0.5> # <lora:x:1>", "Z = A - lora(grain, scale=0.5)\n"),
        ("Z = 0.6 * A + 0.4 * B <lora:a b:-0.3> <lyco:c>", 'Z = 0.6 * A + 0.4 * B + lora("a b", scale=-0.3) + lora(c)\n'),
        ("Z = 0.5 * (A + <lora:g:1>) + 0.5 * B", "Z = 0.5 * (A + lora(g)) + 0.5 * B\n"),
        ("A <lora:g:0.2:0.9>", "result = A + lora(g, scale={BASE: 0.2, *: 0.9})\n"),
        ("A <lora:g:te=0.5:unet=0.5>", "result = A + lora(g, scale=0.5)\n"),
        (
            f"A <lora:g:0.8:lbw={SEVENTEEN}>",
            "result = A + lora(g, scale={OUT03: 0.4, OUT04: 0.8, OUT05: 0.8, OUT06: 0.8, TIME: 0.8, LABEL: 0.8, FINAL: 0.8,"
            " CLIP_L: 0.8})\n",
        ),
    ],
)
def test_lora_of_a_prompt_is_read_as_it_stands(text, canonical):
    def lanes(recipe: str) -> set[str]:
        return set(recipe.strip().partition("{")[2].rstrip("})").split(", "))

    found = read_recipe(text).canonical()
    if "lbw" in text:  # the lanes' order is the architecture's; those that it does not have are left out
        assert lanes(found) == lanes(canonical) - {"LABEL: 0.8"}
    else:
        assert found == canonical


def test_lora_of_a_prompt_that_is_not_read_is_said():
    for text, said in (("A <lora:g:strong>", "is no number such as"), ("A <lora:g:0.8:lbw=1,2>", "this one has 2")):
        with pytest.raises(RecipeError, match=said):
            read_recipe(text)
    assert any("acts at some steps" in note for note in read_recipe("A <lora:g:0.8:stop=10>").notes)


def test_quoted_tag_is_a_name():
    assert read_recipe('Z = "<lora:x:1>"').models()[0].name == "<lora:x:1>"


def test_values_of_a_lora_that_are_too_large_or_none_are_said_as_what_they_are(folder, tmp_path):
    layer, key = next(iter(MATRICES.items()))
    tensors = lora(11)
    for name, value in (("huge", 1e30), ("nan", np.nan)):
        spoilt = {
            f"{layer}.lora_{part}.weight": stored(np.full(size, value), "fp32")
            for part, size in (("down", (4, 24)), ("up", (24, 4)))
        }
        write_file(folder.parent / "Lora" / f"{name}.safetensors", {**tensors, **spoilt})
    with pytest.raises(CheckpointError) as caught:
        merged(folder, "Z = slerp(A + lora(huge), B)", tmp_path)
    assert f"'huge.safetensors' adds values as large as 2e+60 to '{key}', more than float32 holds." in str(caught.value)
    merged(folder, "Z = slerp(A + lora(huge), B)", tmp_path, compute="float64")
    for options in ({}, {"on_nan": "take:A"}):  # of which no element is spared
        with pytest.raises(CheckpointError, match=r"'nan.safetensors' holds NaN or Inf in 96 values of .*Use another release"):
            merged(folder, "Z = A + lora(nan)", tmp_path, **options)


def test_lora_for_ordinary_models_goes_into_the_channels_that_an_inpainting_model_shares_with_them(folder, tmp_path):
    layer = "lora_unet_input_blocks_0_0"
    wide = of(folder, "inpainting", CONV_IN)
    parts = {"down": draw(5, "down", (2, 4, 3, 3), 0.3), "up": draw(5, "up", (len(wide), 2, 1, 1), 0.3)}
    write_file(
        folder.parent / "Lora" / "first.safetensors", {f"{layer}.lora_{n}.weight": stored(v, "fp32") for n, v in parts.items()}
    )
    found = merged(folder, "Z = inpainting + 0.5 * lora(first)", tmp_path, dtype="fp32")[CONV_IN].values
    product = np.einsum(
        "or,rchw->ochw",
        *(parts[n].astype(np.float32).astype(np.float64).reshape(s) for n, s in (("up", (-1, 2)), ("down", (2, 4, 3, 3)))),
    )
    np.testing.assert_allclose(found[:, :4], wide[:, :4] + 0.5 * product, rtol=1e-6, atol=1e-7)
    assert (found[:, 4:] == wide[:, 4:]).all()
    bad = {f"{layer}.lora_{n}.weight": stored(v[:, :3] if n == "down" else v, "fp32") for n, v in parts.items()}
    write_file(folder.parent / "Lora" / "bad.safetensors", bad)
    with pytest.raises(CheckpointError, match=r"of shape .*, 9, 3, 3"):
        merged(folder, "Z = inpainting + lora(bad)", tmp_path)
