"""What is broken in a model is found and said, with and without a base; what is healthy is left alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import CLIP, UNET, merge_in, model, plan_in, stored, tiny, trained_family, write_file
from reference import Stored
from safetensors.torch import load_file, save_file
from test_schemas import faults, schema

from lib_chilly import cli
from lib_chilly.architecture import architecture_names, detect, known_keys, load
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.errors import ArchitectureError
from lib_chilly.family import MEMBERS
from lib_chilly.gains import gain_of, judge_gains, times
from lib_chilly.health import Health, health_of
from lib_chilly.sources import source_of
from lib_chilly.synth import _make
from lib_chilly.tensor_statistics import TensorStatistics, _Sketch, measure_tensors

Run = Callable[..., tuple[int, str, str]]
BASE, BROKEN_MEMBER = "v1-5-pruned-emaonly", "F222_v1"
NAMES = tuple(member.name for member in MEMBERS)


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges compare with what the user knows to be good: here with nothing."""
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_family(tmp_path_factory)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory, "healthy", seed=3)


def changed(path: Path, output: Path, **changes: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A file with what stands under keys that hold a text changed."""
    tensors = load_file(path)
    for part, change in changes.items():
        for key in [key for key in tensors if part.replace("__", ".") in key]:
            tensors[key] = change(tensors[key]).contiguous()
    save_file(tensors, output)
    return output


def says(health: Health, lane: str) -> str:
    return "; ".join(health.lanes[lane].says)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("against", [None, BASE], ids=["alone", "based"])
def test_broken_member_of_the_family_is_found_and_no_healthy_one(family: Path, name: str, against: str | None):
    health = health_of(family / f"{name}.safetensors", family / f"{against}.safetensors" if against else None)
    if name != BROKEN_MEMBER:
        assert (health.verdict, health.sentences()) == ("fine", [])
    else:
        assert [lane for lane, found in health.lanes.items() if found.verdict != "fine"] == ["M00"]
        (sentence,) = health.sentences()
        assert sentence.startswith("M00: norms ") and sentence.endswith(": likely broken")
        assert "norms 14x the base's" in sentence or against is None


@pytest.mark.parametrize("architecture", architecture_names())
def test_made_up_models_of_every_architecture_are_healthy(tmp_path_factory: pytest.TempPathFactory, architecture: str):
    path = tiny(tmp_path_factory, f"healthy-{architecture}", architecture, seed=1)
    assert health_of(path).sentences() == []


@pytest.mark.parametrize("architecture", architecture_names())
def test_blocks_of_made_up_models_of_full_size_amplify_alike(architecture: str):
    lanes: dict[str, list[float]] = {}
    row = load(architecture)
    for key, (_, shape) in known_keys(architecture).items():
        lane = row.lane_of(key)
        if lane and len(shape) >= 2:
            rows = _make(key, (4, *shape[1:]), 0)
            lanes.setdefault(lane, []).append(float(rows.square().sum().div(4).sqrt()))
    component_of = {row.lane_of(key): row.component_of(key) for key in known_keys(architecture)}
    gains = {lane: gain_of(component_of[lane], found) for lane, found in lanes.items()}
    assert len(gains) >= 1 and list(judge_gains(gains)) == []


@pytest.mark.parametrize(
    ("part", "change", "lane", "verdict", "words"),
    [
        ("middle_block", lambda t: t * float("nan"), "M00", "broken", "are NaN or Inf"),
        ("output_blocks__3", lambda t: t.float() + 1e6, "OUT03", "broken", "are too large for fp16"),
        ("middle_block", lambda t: t * 0, "M00", "broken", "all of its matrices are zero"),
        ("middle_block__1__proj_in__weight", lambda t: t * 0, "M00", "suspect", "1 of its matrices are zero"),
        ("middle_block__1__proj_in__weight", lambda t: t * 0 + 0.25, "M00", "suspect", "holds one number alone"),
        ("input_blocks__4", lambda t: t * 30, "IN04", "broken", "x those of the other blocks"),
        ("input_blocks__4", lambda t: t / 30, "IN04", "broken", "those of the other blocks"),
        ("first_stage_model", lambda t: t.float() * 1e4, "VAE", "broken", "have exploded"),
        ("first_stage_model", lambda t: t.float() * 1e-5, "VAE", "broken", "have collapsed"),
    ],
)
def test_what_is_wrong_with_a_lane_is_said_without_a_base(
    base: Path, tmp_path: Path, part: str, change: Callable, lane: str, verdict: str, words: str
):
    health = health_of(changed(base, tmp_path / "x.safetensors", **{part: change}))
    assert words in says(health, lane)
    assert (health.lanes[lane].verdict, health.verdict) == (verdict, verdict)


def test_norms_and_spectra_are_compared_with_the_base(base: Path, tmp_path: Path):
    def spiked(tensor: torch.Tensor) -> torch.Tensor:
        """One direction far above all others, at seven times the norm."""
        wide = tensor.float().flatten(1)
        wide[:, 0] = wide.norm()
        return wide.view(tensor.shape)

    assert health_of(base, base).sentences() == []
    assert health_of(base, base).lanes["M00"].against_base == 1
    for factor, verdict in ((1.5, "fine"), (1 / 3, "suspect"), (14, "broken")):
        scaled = changed(base, tmp_path / "x.safetensors", first_stage_model=lambda t, factor=factor: t.float() * factor)
        assert health_of(scaled, base).lanes["VAE"].verdict == verdict
    health = health_of(changed(base, tmp_path / "x.safetensors", encoder__layers__0__mlp__fc1__weight=spiked), base)
    assert says(health, "CLIP_L").startswith("the spectral norm of ") and health.verdict == "suspect"


def test_spectral_norm_is_found_from_below_and_exactly_where_there_is_one_direction_alone():
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(60, 40, generator=generator)
    spike = 50 * torch.outer(torch.nn.functional.normalize(noise[:, 0], dim=0), torch.nn.functional.normalize(noise[0], dim=0))
    for matrix, least in ((noise, 0.6), (noise + spike, 0.6), (spike, 0.9999)):
        sketch = _Sketch(40)
        for rows in matrix.split(7):
            sketch.add(rows)
        truth = float(torch.linalg.matrix_norm(matrix.double(), 2))
        assert least * truth <= (sketch.spectral_norm() or 0) <= truth * 1.0001


def test_statistics_are_those_of_numpy_for_any_number_of_threads(tmp_path: Path):
    values = np.random.default_rng(1).normal(0, 2, (700, 500))
    values[3, 4], values[5, 6], values[7, 8] = np.nan, -np.inf, 70_000
    key = UNET + "input_blocks.11.0.in_layers.0.weight"
    path = write_file(tmp_path / "x.safetensors", model(1, extras={key: stored(values, "fp32")}))
    checkpoint = open_checkpoint(path)
    source = source_of("x", checkpoint, detect({key: info.shape for key, info in checkpoint.tensors.items()}, "x"))
    found = [measure_tensors(source, source, list(source.tensors), threads) for threads in (1, 3)]
    assert found[0] == found[1]
    seen: TensorStatistics = found[0][key].own
    finite = values[np.isfinite(values)].astype(np.float32).astype(np.float64)
    assert (seen.nans, seen.infs, seen.beyond_fp16) == (1, 1, 1)
    assert seen.squares == pytest.approx(float((finite**2).sum()), rel=1e-6)
    assert (seen.low, seen.high) == (finite.min(), finite.max())
    assert found[0][key].product == pytest.approx(seen.squares, rel=1e-4)


def test_missing_keys_are_said_where_a_part_of_a_lane_is_there(base: Path, tmp_path: Path):
    tensors = load_file(base)
    for key in [key for key in tensors if key.startswith(("first_stage_model.", UNET + "middle_block.0."))]:
        del tensors[key]
    save_file(tensors, tmp_path / "x.safetensors")
    health = health_of(tmp_path / "x.safetensors")
    assert "keys are missing, such as 'model.diffusion_model.middle_block.0." in says(health, "M00")
    assert health.verdict == "suspect" and "VAE" not in health.lanes


def without(path: Path, output: Path, *parts: str) -> Path:
    """A file without the keys that hold a text."""
    tensors = {key: tensor for key, tensor in load_file(path).items() if not any(part in key for part in parts)}
    save_file(tensors, output)
    return output


def test_lane_that_is_missing_altogether_is_broken_unless_its_component_is_too(base: Path, tmp_path: Path):
    health = health_of(without(base, tmp_path / "x.safetensors", "input_blocks.5.", "first_stage_model."))
    assert says(health, "IN05").startswith("all of its ") and health.lanes["IN05"].tensors == 0
    assert [lane for lane, found in health.lanes.items() if found.verdict != "fine"] == ["IN05"]
    assert (health.verdict, "VAE" in health.lanes) == ("broken", False)
    json.dumps(health.facts(), allow_nan=False)


@pytest.mark.parametrize(
    ("architecture", "parts"), [("flux", ["guidance_in"]), ("sd2", ["resblocks.23."])], ids=["schnell", "diffusers"]
)
def test_keys_that_whole_relatives_lack_are_not_missed(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, architecture: str, parts: list[str]
):
    whole = tiny(tmp_path_factory, f"healthy-{architecture}", architecture, seed=1)
    assert health_of(without(whole, tmp_path / "x.safetensors", *parts)).sentences() == []


def test_zero_matrix_does_not_hide_that_the_others_have_exploded(base: Path, tmp_path: Path):
    exploded = changed(base, tmp_path / "x.safetensors", first_stage_model=lambda t: t.float() * 1e4)
    health = health_of(changed(exploded, tmp_path / "y.safetensors", decoder__conv_out__weight=lambda t: t * 0))
    assert "1 of its matrices are zero" in says(health, "VAE") and "have exploded" in says(health, "VAE")


def test_whole_network_far_from_what_any_begins_with_is_worth_a_look(base: Path, tmp_path: Path):
    health = health_of(changed(base, tmp_path / "x.safetensors", diffusion_model=lambda t: t.float() * 40))
    assert "those of a network that is not trained yet" in says(health, "M00") and health.verdict == "suspect"
    fresh = torch.nn.Linear(3000, 50).weight.detach()
    assert float(fresh.square().sum().div(50).sqrt()) == pytest.approx(1 / math.sqrt(3), rel=0.02)


def test_half_of_clip_that_sees_pictures_is_no_other_text_encoder(base: Path, tmp_path: Path):
    seeing = f"{CLIP.replace('text_model', 'vision_model')}encoder.layers"
    extra = load_file(base) | {f"{seeing}.{n}.layer_norm1.bias": torch.zeros(12) for n in range(12)}
    save_file(extra, tmp_path / "x.safetensors")
    assert health_of(tmp_path / "x.safetensors").verdict == "fine"


def test_text_encoder_of_another_model_is_found(base: Path, tmp_path: Path):
    token = CLIP + "embeddings.token_embedding.weight"
    wide = changed(base, tmp_path / "1.safetensors", **{"token_embedding": lambda t: t.repeat(1, 2)})
    assert load_file(wide)[token].shape[1] == 2 * load_file(base)[token].shape[1]
    assert "numbers for a token, the U-Net takes" in health_of(wide).sentences()[-1] and health_of(wide).verdict == "broken"
    extra = load_file(base) | {f"{CLIP}encoder.layers.{n}.layer_norm1.bias": torch.zeros(12) for n in range(12, 24)}
    save_file(extra, tmp_path / "2.safetensors")
    assert "12 keys that this model's has not" in health_of(tmp_path / "2.safetensors").sentences()[-1]
    other = changed(base, tmp_path / "3.safetensors", cond_stage_model=lambda t: t.flip(0) if t.is_floating_point() else t)
    assert health_of(other).verdict == "fine"
    assert health_of(other, base).sentences() == ["the text encoder is no kin of the base's, though the U-Net is: worth a look"]


def test_broken_position_ids_and_mixed_dtypes_are_said(base: Path, tmp_path: Path):
    path = changed(base, tmp_path / "x.safetensors", position_ids=lambda t: t.float() * 0.99, middle_block=lambda t: t.float())
    health = health_of(path)
    assert "position_ids' is not 0, 1, 2, ..." in health.sentences()[0] and health.verdict == "suspect"
    assert health.notes == ("the unet is stored as fp16 and fp32.",)


def test_inspect_shows_health_when_asked_and_json_has_its_schema_s_form(run: Run, base: Path, tmp_path: Path):
    broken = changed(base, tmp_path / "x.safetensors", middle_block=lambda t: t * 14)
    assert "health" not in json.loads(run("inspect", broken, "--json")[1])
    code, out, _ = run("inspect", broken, "--health", "--base", base)
    assert code == 0
    assert "  health: likely broken, against healthy.safetensors\n    M00: norms 14x the base's: likely broken\n" in out
    facts = json.loads(run("inspect", broken, "--health", "--json")[1])
    assert facts["health"]["lanes"]["M00"]["verdict"] == "broken"
    assert list(faults(facts, schema("inspect"))) == []
    assert run("inspect", broken, "--base", base)[0] == 2
    other = write_file(tmp_path / "other.safetensors", {"key": stored([1.0], "fp16")})
    facts = json.loads(run("inspect", other, "--health", "--json")[1])
    assert facts["health"] is None and list(faults(facts, schema("inspect"))) == []


@pytest.mark.parametrize("options", [[], ["--health"]], ids=["hashes", "health"])
def test_inspect_can_be_stopped_and_shows_how_far_it_is(
    run: Run, base: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
):
    read: list[int] = []

    @contextmanager
    def bar(title: str) -> Iterator[Callable[[int], None]]:
        yield read.append

    monkeypatch.setattr(cli, "byte_bar", bar)
    assert run("inspect", base, *options)[0] == 0
    assert sum(read) > (1.5 if options else 0.7) * base.stat().st_size  # without its header
    monkeypatch.setattr(cli, "stop_flag", lambda: nullcontext(lambda: True))
    assert run("inspect", base, *options)[0] == 130


def test_base_of_another_architecture_is_refused(base: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tiny(tmp_path_factory, "healthy-sd2", "sd2", seed=1)
    with pytest.raises(ArchitectureError, match="as the base"):
        health_of(base, other)


def test_json_has_no_number_that_json_has_not(tmp_path: Path):
    huge: dict[str, Stored] = {UNET + "middle_block.0.in_layers.0.weight": stored(np.full((4, 4), 1e300), "fp64")}
    path = write_file(tmp_path / "x.safetensors", model(1, extras=huge))
    json.dumps(health_of(path).facts(), allow_nan=False)


def test_merge_warns_of_a_block_that_it_changes_out_of_proportion(base: Path, tmp_path: Path):
    changed(base, tmp_path / "broken.safetensors", middle_block=lambda t: t.float() * 14)
    changed(base, tmp_path / "a.safetensors", diffusion_model=lambda t: t.float() * 1.1)
    changed(base, tmp_path / "b.safetensors")
    report = merge_in(tmp_path, "add_difference(a, b, a, alpha={M00: 40})", tmp_path / "out.safetensors")
    assert [words for words in report.warnings if words.startswith("M00 is changed by ")]
    report = merge_in(tmp_path, "a + 0.75 * (a - b)", tmp_path / "out.safetensors")
    assert report.warnings == ()
    report = merge_in(tmp_path, "a + 0.75 * (broken - b)", tmp_path / "out.safetensors")
    assert [words for words in report.warnings if words.startswith("the result: M00: norms ")]
    assert not [words for words in report.warnings if words.startswith("M00 is changed by ")]


def test_merge_judges_its_sources_and_its_result_in_the_pass(family: Path, tmp_path: Path, run: Run):
    recipe = f"M = 0.85 * NED + 0.15 * {BROKEN_MEMBER}"
    code, out, _ = run("merge", recipe, "--models", family, "-o", tmp_path / "out.safetensors", "--json")
    facts = json.loads(out)
    assert code == 0 and list(faults(facts, schema("merge"))) == []
    verdicts = {name: seen["verdict"] for name, seen in facts["health"]["sources"].items()}
    assert (verdicts, facts["health"]["result"]) == ({"NED": "fine", BROKEN_MEMBER: "broken"}, {"verdict": "fine", "says": []})
    assert [words for words in facts["warnings"] if words.startswith(f"'{BROKEN_MEMBER}': M00: norms 13x those of the other")]
    assert facts["read_bytes"] == facts["reads_bytes"]
    out = run("merge", recipe, "--models", family, "-o", tmp_path / "out.safetensors", "--overwrite")[1]
    assert f"\nhealth: NED healthy, {BROKEN_MEMBER} likely broken, the result healthy\n" in out


def test_folder_is_judged_as_a_file_is(base: Path, tmp_path: Path):
    changed(base, tmp_path / "a.safetensors")
    changed(base, tmp_path / "b.safetensors", middle_block=lambda t: t.float() * 30)
    recipe = "0.5 * a + 0.5 * b"
    file = merge_in(tmp_path, recipe, tmp_path / "out.safetensors").health
    folder = merge_in(tmp_path, recipe, tmp_path / "out", options={"format": "diffusers"}).health
    assert file.facts() == folder.facts() and file.sources["b"].verdict == "broken"


def test_merge_of_healthy_members_finds_all_of_them_healthy(family: Path, tmp_path: Path):
    names = [name for name in NAMES if name != BROKEN_MEMBER and "inpainting" not in name]
    report = merge_in(family, f"M = mean({', '.join(names)})", tmp_path / "out.safetensors")
    assert {seen.verdict for seen in (*report.health.sources.values(), report.health.result)} == {"fine"}


def test_merge_compares_lanes_that_have_no_others_like_them_with_the_other_sources(base: Path, tmp_path: Path):
    for name in "ab":
        changed(base, tmp_path / f"{name}.safetensors")
    changed(base, tmp_path / "c.safetensors", first_stage_model=lambda t: t.float() * 5)
    report = merge_in(tmp_path, "mean(a, b, c)", tmp_path / "out.safetensors")
    assert report.health.facts()["sources"] == {
        "a": {"verdict": "fine", "says": []},
        "b": {"verdict": "fine", "says": []},
        "c": {"verdict": "broken", "says": ["VAE: norms 5x those of the other sources: likely broken"]},
    }


def test_merge_says_which_source_held_nan_and_which_is_zero(base: Path, tmp_path: Path):
    changed(base, tmp_path / "a.safetensors")
    changed(base, tmp_path / "b.safetensors", middle_block__0=lambda t: t.float() * float("nan"))
    changed(base, tmp_path / "c.safetensors", middle_block=lambda t: t * 0)
    report = merge_in(tmp_path, "mean(a, b, c)", tmp_path / "out.safetensors", options={"on_nan": "take:a"})
    assert [seen.verdict for seen in report.health.sources.values()] == ["fine", "broken", "broken"]
    assert "are NaN or Inf" in report.health.sources["b"].says[0]
    assert "M00: all of its matrices are zero: likely broken" in report.health.sources["c"].says


def test_plan_says_what_the_header_tells_of_a_broken_source(base: Path, tmp_path: Path):
    changed(base, tmp_path / "a.safetensors")
    extra = load_file(base) | {f"{CLIP}encoder.layers.{n}.layer_norm1.bias": torch.zeros(12) for n in range(12, 24)}
    save_file(extra, tmp_path / "b.safetensors")
    (words,) = plan_in(tmp_path, "0.5 * a + 0.5 * b").warnings
    assert words.startswith("'b': the text encoder has 12 keys that this") and words.endswith(": likely broken.")
    report = merge_in(tmp_path, "0.5 * a + 0.5 * b", tmp_path / "out.safetensors")
    assert report.warnings == (words,) and report.health.sources["b"].verdict == "broken"


def test_merge_says_that_a_source_lacks_a_lane_without_a_warning(base: Path, tmp_path: Path):
    changed(base, tmp_path / "a.safetensors")
    without(base, tmp_path / "b.safetensors", "input_blocks.5.")
    report = merge_in(tmp_path, "0.5 * a + 0.5 * b", tmp_path / "out.safetensors")
    assert report.health.sources["b"].says[0].startswith("IN05: all of its ") and report.warnings == ()
    assert any(words.startswith("'b' lacks ") and "IN05" in words for words in report.notes)


def test_what_a_pass_says_of_health_is_the_same_for_any_number_of_threads(base: Path, tmp_path: Path):
    changed(base, tmp_path / "a.safetensors")
    changed(base, tmp_path / "b.safetensors", input_blocks__4=lambda t: t.float() * 30)
    found = [merge_in(tmp_path, "0.5 * a + 0.5 * b", tmp_path / "x.safetensors", threads).health for threads in (1, 3)]
    assert found[0] == found[1] and "IN04: norms 22x those" in found[0].sources["b"].says[0]


def test_norms_beyond_all_measure_are_said_in_few_words():
    assert times(14) == "14x" and times(math.inf) == times(1e30) == "more than 1,000,000x"
