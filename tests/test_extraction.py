"""LoRAs made by recipes: what they hold of a delta, how LoRAs are put together, which bytes they are, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import UNET, draw, metadata_of, model, stored, tiny, write_file, write_models
from reference import Stored, read_file
from test_lora_recipes import IN01_KEY, MATRICES, OUT03_KEY, added, lora
from test_same_bytes import cut

from lib_chilly.addresses import addresses
from lib_chilly.engine import merge
from lib_chilly.errors import CheckpointError, MergeError, RecipeError
from lib_chilly.lora_file import open_lora
from lib_chilly.lora_plan import LoraPlan, plan_output
from lib_chilly.memory import peak_memory_bytes
from lib_chilly.models import ModelLibrary
from lib_chilly.plan import make_plan
from lib_chilly.recipe_text import parse_recipe
from lib_chilly.report import Report
from lib_chilly.ui.comes_to import Knowledge
from lib_chilly.ui.draft import read_draft

WIDE = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"


def extract(folder: Path, text: str, output: Path, threads: int = 2, **options: str) -> Report:
    plan = plan_output(parse_recipe(text), ModelLibrary([folder]), **options)
    return merge(plan, output, threads=threads, source_hashes=False, overwrite=True)


def held(file: Path) -> dict[str, np.ndarray]:
    """Key of a checkpoint to alpha / rank * up @ down, in float64 and the layers' order."""
    found: dict[str, np.ndarray] = {}
    tensors = read_file(file)
    for key, modules in open_lora(file).modules.items():
        parts = []
        for module in sorted(modules, key=lambda module: module.place.share):
            up, down, alpha = (tensors[module.keys[role]].values.astype(np.float64) for role in ("up", "down", "alpha"))
            product = float(alpha) / len(down) * (up.reshape(len(up), -1) @ down.reshape(len(down), -1))
            parts.append(product.T if module.place.is_turned else product)
        found[key] = np.concatenate(parts)
    return found


def test_lora_is_verified_skipped_by_a_queue_and_told_from_another(run, folder: Path, tmp_path: Path):
    queue = tmp_path / "loras.chilly"
    recipes = {"lossy": "S = extract(A - B, rank=3)", "exact": "S = extract(0.5 * lora(grain) + lora(dust))"}
    queue.write_text("".join(f"--- {name}.safetensors\n{text}\n" for name, text in recipes.items()), "utf-8")
    command = ["queue", queue, "--models", folder, "--out", tmp_path, "--json"]
    for status in ("done", "skipped"):
        assert [fact["status"] for fact in json.loads(run(*command)[1])["merges"]] == [status] * 2
    for name in recipes:
        file = tmp_path / f"{name}.safetensors"
        code, out, _ = run("verify", file, "--models", folder)
        assert (code, "are what its recipe makes" in out) == (0, True)
        key = next(key for key in read_file(file) if key.endswith("lora_up.weight"))
        for factor, verdict in ((2, "differs"), (1 + 2**-10, "differs" if name == "exact" else "same")):
            tensors = read_file(file)
            values = (tensors[key].values.astype(np.float64) * factor).astype(np.float32)
            write_file(tmp_path / "x.safetensors", {**tensors, key: stored(values, "fp16")}, metadata_of(file))
            found = json.loads(run("verify", tmp_path / "x.safetensors", "--models", folder, "--json")[1])
            assert found["verdict"] == verdict and (key in found["differing"]) == (verdict == "differs")
            assert verdict == "differs" or "what they add is the same" in found["says"][-1]


def difference(folder: Path, key: str, plus: str = "A", minus: str = "B") -> np.ndarray:
    a, b = (read_file(folder / f"{name}.safetensors")[key].values.astype(np.float64) for name in (plus, minus))
    return (a - b).reshape(len(a), -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("webui")
    write_models(home / "Lora", grain=lora(11), dust=lora(12, rank=2, layers=tuple(MATRICES)[:1]))
    return write_models(home / "Stable-diffusion", A=model(1), B=model(2))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with matrices of 200 x 200, more than are decomposed whole at a low rank."""
    return write_models(tmp_path_factory.mktemp("wide"), **{name: model(n, only=[WIDE], size=200) for n, name in enumerate("AB")})


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 2e-7), ("bf16", 2e-2), ("fp16", 2e-3)])
def test_full_rank_gives_the_delta_back(folder, tmp_path, dtype, tolerance):
    extract(folder, "Z = extract(A - B, rank=1000)", tmp_path / "z.safetensors", dtype=dtype)
    found = held(tmp_path / "z.safetensors")
    assert len(found) > 30
    for key, values in found.items():
        wanted = difference(folder, key)
        assert np.abs(values - wanted).max() <= tolerance * np.abs(wanted).max(), key


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl", "flux"])
def test_lora_on_the_model_gives_the_other_one_in_every_layer(architecture, tmp_path_factory, tmp_path):
    a = tiny(tmp_path_factory, f"extract-{architecture}", architecture, seed=1)
    b = tiny(tmp_path_factory, f"extract-{architecture}-near", architecture, near=a, drift=0.5, seed=2)
    library = ModelLibrary([a.parent], [tmp_path])
    plan = plan_output(parse_recipe(f"Z = extract({b.stem} - {a.stem}, rank=1000)\nsave(dtype=fp32)"), library)
    merge(plan, tmp_path / "z.safetensors", source_hashes=False)
    file = open_lora(tmp_path / "z.safetensors", architecture)
    assert not file.unmatched and file.modules.keys() == plan.layers.keys()
    back = make_plan(parse_recipe(f"{a.stem} + lora(z)"), library)
    merge(back, tmp_path / "back.safetensors", source_hashes=False)
    found, wanted, before = (read_file(path) for path in (tmp_path / "back.safetensors", b, a))
    for key in file.modules:
        largest = np.abs(wanted[key].values.astype(np.float64)).max()
        assert np.abs(found[key].values.astype(np.float64) - wanted[key].values).max() <= 2**-10 * largest, key
    changed = {key for key in wanted if wanted[key].data != before[key].data and len(wanted[key].shape) > 1}
    lacking = {key for key in changed - file.modules.keys() if not key.startswith(("first_stage_model", "vae"))}
    projections = {key: key in file.modules for key in changed if key.endswith(".text_projection")}
    assert set(projections.values()) == {"sd2": {False}, "sdxl": {True}}.get(architecture, set())
    assert [
        key
        for key in lacking
        if not re.search("embedding|shared|relative_attention_bias|cond_stage_model.model.text_projection", key)
    ] == []


def test_sketch_is_nearly_the_best_of_its_rank_and_depends_on_the_seed_alone(wide, tmp_path, monkeypatch):
    output = tmp_path / "z.safetensors"
    extract(wide, "Z = extract(A - B, rank=8)", output, threads=1)
    first, wanted = output.read_bytes(), difference(wide, WIDE)
    singular = np.linalg.svd(wanted, compute_uv=False)
    best = np.sqrt((singular[8:] ** 2).sum())
    assert best <= np.linalg.norm(held(output)[WIDE] - wanted) <= 1.005 * best
    cut(monkeypatch, 3700, 13200)
    extract(wide, "Z = extract(A - B, rank=8)", output, threads=16)
    assert output.read_bytes() == first
    extract(wide, "Z = extract(A - B, rank=8, seed=0)", output)
    zero = read_file(output)
    extract(wide, "Z = extract(A - B, rank=8, seed=1)", output)
    assert read_file(output) != zero


@pytest.mark.parametrize(("text", "power"), [("ratio=0.7", 2), ("quantile=0.4", 1), ("ratio=1", 2)])
def test_share_keeps_as_few_ranks_as_it_needs(folder, tmp_path, text, power):
    extract(folder, f"Z = extract(A - B, {text})", tmp_path / "z.safetensors", dtype="fp32")
    share = float(text.partition("=")[2])
    tensors = read_file(tmp_path / "z.safetensors")
    for key, (module,) in open_lora(tmp_path / "z.safetensors").modules.items():
        sums = np.cumsum(np.linalg.svd(difference(folder, key), compute_uv=False) ** power)
        rank = len(tensors[module.keys["down"]].values)
        assert sums[rank - 1] >= (share - 1e-9) * sums[-1], key
        assert rank == 1 or sums[rank - 2] < (share + 1e-9) * sums[-1], key


def test_rank_caps_a_share(folder, tmp_path):
    report = extract(folder, "Z = extract(A - B, ratio=0.99, rank=3)", tmp_path / "z.safetensors")
    assert "of rank 3." in " ".join(report.notes)


def test_joined_loras_add_what_their_sum_adds(folder, tmp_path):
    text = "Z = extract(0.6 * lora(grain) - 0.4 * lora(dust, scale={IN*: 0.5}))"
    for dtype, tolerance in (("fp32", 1e-7), ("fp16", 1e-3)):
        extract(folder, text, tmp_path / "z.safetensors", dtype=dtype)
        found = held(tmp_path / "z.safetensors")
        assert found.keys() == {IN01_KEY, OUT03_KEY}
        for layer, key in MATRICES.items():
            wanted = 0.6 * added(folder.parent / "Lora" / "grain.safetensors", layer)
            if key == IN01_KEY:
                wanted = wanted - 0.2 * added(folder.parent / "Lora" / "dust.safetensors", layer)
            assert np.abs(found[key] - wanted).max() <= tolerance * np.abs(wanted).max()
    ranks = {key: modules[0].rank for key, modules in open_lora(tmp_path / "z.safetensors").modules.items()}
    assert ranks == {IN01_KEY: 6, OUT03_KEY: 4}


def test_joined_factors_stay_in_range_however_small_alpha_is(folder, tmp_path):
    layer = next(iter(MATRICES))
    weak = {name: stored(tensor.values * 1e-2 if "up" in name else tensor.values, "fp32") for name, tensor in lora(5).items()}
    weak |= {f"{name}.alpha": stored(np.float32(2.0**-12), "fp32") for name in MATRICES}
    models = write_models(tmp_path / "models", A=model(1))
    file = write_file(write_models(tmp_path / "Lora") / "weak.safetensors", weak)
    extract(models, "Z = extract(1 * lora(weak))", tmp_path / "z.safetensors")
    wanted = added(file, layer)
    assert np.abs(held(tmp_path / "z.safetensors")[IN01_KEY] - wanted).max() <= 2e-3 * np.abs(wanted).max()


def test_loras_are_merged_by_singular_values_where_a_rank_is_given(folder, tmp_path):
    extract(folder, "Z = extract(0.6 * lora(grain) + 0.4 * lora(dust), rank=6)", tmp_path / "z.safetensors", dtype="fp32")
    found, layer = held(tmp_path / "z.safetensors"), next(iter(MATRICES))
    grain, dust = (added(folder.parent / "Lora" / f"{name}.safetensors", layer) for name in ("grain", "dust"))
    assert np.abs(found[IN01_KEY] - 0.6 * grain - 0.4 * dust).max() <= 1e-6 * np.abs(grain).max()


def test_layers_that_do_not_change_have_no_modules_and_what_is_lost_is_said(folder, tmp_path):
    changed = model(1) | {key: model(2)[key] for key in (IN01_KEY, f"{UNET}time_embed.2.bias")}
    models = write_models(tmp_path / "models", A=model(1), C=changed, same=model(1))
    report = extract(models, "Z = extract(C - A, rank=4)", tmp_path / "z.safetensors")
    assert held(tmp_path / "z.safetensors").keys() == {IN01_KEY}
    said = " ".join(report.notes)
    assert "1 layer has modules, of rank 4." in said and "34 layers do not change" in said
    assert (
        "1 tensor that no LoRA has modules for changes too, and is not in it: 'model.diffusion_model.time_embed.2.bias'" in said
    )
    for text, why in (("same - A", "no layer changes"), ("A - A", "a LoRA would be empty")):
        with pytest.raises(RecipeError, match=why):
            extract(models, f"Z = extract({text}, rank=4)", tmp_path / "none.safetensors")
    assert list(tmp_path.glob("*none*")) == []


def test_plan_says_the_bytes_and_the_memory(folder, tmp_path):
    plan = plan_output(parse_recipe("Z = extract(A - B, rank=4)"), ModelLibrary([folder]))
    assert isinstance(plan, LoraPlan) and plan.reproducible == "tolerance"
    report = merge(plan, tmp_path / "z.safetensors", source_hashes=False)
    assert report.written_bytes == plan.writes_bytes == (tmp_path / "z.safetensors").stat().st_size
    assert report.read_bytes == plan.reads_bytes
    largest = max(job.elements for job in plan.jobs)
    assert plan.held_bytes(2) >= 2 * 8 * largest and peak_memory_bytes(plan, 2) > plan.held_bytes(2)
    assert "of rank 4" in plan.notes[-1]


def test_command_writes_the_file_and_makes_it_again_from_its_header(folder, tmp_path, run: Callable):
    output, again = tmp_path / "z.safetensors", tmp_path / "again.safetensors"
    code, said, _ = run("merge", "Z = extract(A - B, rank=4)", "--models", folder, "-o", output, "--json")
    facts = json.loads(said)
    assert code == 0 and facts["change"]["IN01"] is None and facts["health"]["result"]["verdict"] == "fine"
    code, _, errors = run("merge", "--from", output, "--models", folder, "-o", again)
    assert (code, errors) == (0, "") and again.read_bytes() == output.read_bytes()
    metadata = metadata_of(output)
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "4"
    assert '"recipe":"Z = extract(A - B, rank=4)\\nsave(dtype=fp16)\\n"' in metadata["chillymerge"]
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Z = extract(A, rank=8)", "extract takes a delta; 'A' is a model"),
        ("Z = extract(A - B, A - B, rank=8)", "extract takes one delta, here are 2"),
        ("Z = extract(A - B, rank=0)", "'rank' of extract is a whole number from 1 to"),
        ("Z = extract(A - B, rank=2.5)", "'rank' of extract is a whole number"),
        ("Z = extract(A - B, ratio=1.5)", "'ratio' of extract is above 0 and at most 1"),
        ("Z = extract(A - B, ratio=0.5, quantile=0.5)", "not both"),
        ("Z = extract(A - B, ranks=8)", "no parameter 'ranks'.*rank"),
        ("Z = extract(A - B, rank=8, rank=9)", "'rank' twice"),
        ("Z = B + extract(A - B, rank=8)", "it is a whole line"),
        ("L = extract(A - B, rank=8)\nZ = B + L", "'L' is a LoRA, which ends a recipe"),
        ("Z = extract(A - B)", "'A' is a model. Say how many ranks are kept"),
        ("Z = extract(A - B, rank=8)\nsave(vae=drop)", "'vae' says nothing of a LoRA"),
        ("Z = extract(A - B, rank=8)\nsave(dtype=fp8_e4m3fn)", "a LoRA is written in fp16, bf16, fp32"),
        ("Z = extract(A - B, rank=8)\nsave(format=diffusers)", "'format' says nothing of a LoRA"),
    ],
)
def test_extraction_that_cannot_be_meant_is_said(folder, text, said):
    with pytest.raises(RecipeError, match=said):
        plan_output(parse_recipe(text), ModelLibrary([folder]))


def test_factors_too_large_for_the_dtype_are_refused_and_leave_nothing(tmp_path):
    huge = {IN01_KEY: stored(draw(3, "huge", (24, 24), 1e12), "fp32")}
    models = write_models(tmp_path / "models", A=model(1), H=model(2) | huge)
    with pytest.raises(MergeError, match="changes by more than fp16 holds"):
        extract(models, "Z = extract(H - A, rank=4)", tmp_path / "z.safetensors")
    assert list(tmp_path.glob("*z*")) == []


def test_joined_lora_with_nan_stops_by_name(tmp_path):
    broken: dict[str, Stored] = lora(1)
    key = f"{next(iter(MATRICES))}.lora_up.weight"
    values = broken[key].values.copy()
    values[1, 1] = np.nan
    models = write_models(tmp_path / "models", A=model(1))
    write_models(tmp_path / "Lora", broken=broken | {key: stored(values, "fp16")})
    with pytest.raises(CheckpointError, match=r"'broken\.safetensors': the layer 'lora_unet.*' holds NaN or Inf"):
        extract(models, "Z = extract(1 * lora(broken))", tmp_path / "z.safetensors")


def test_where_a_model_is_needed_a_lora_is_refused_and_its_recipe_reads_back(folder):
    recipe = parse_recipe("r = 8\nS = weighted_sum(A, B, alpha=0.3)\nZ = extract(S - B, rank=r, seed=3)")
    assert parse_recipe(recipe.canonical()) == recipe
    with pytest.raises(RecipeError, match="'Z' is a LoRA"):
        make_plan(recipe, ModelLibrary([folder]))
    assert [address for address in addresses(recipe) if address.startswith("Z")] == []


def test_page_says_that_it_needs_a_model(folder):
    knowledge, library = Knowledge(), ModelLibrary([folder])
    for text, said in (("Z = A + 0.5 * (A - B)", []), ("Z = extract(A - B, rank=8)", ["the result 'Z' is a LoRA"])):
        errors: list[Exception] = []
        knowledge.comes_to(read_draft(text), "Z", library, errors)
        assert [getattr(error, "message", "").partition(",")[0] for error in errors] == said
