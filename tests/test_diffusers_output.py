"""diffusers folders as output: bit-equal both ways, with the small files that loading needs, and whole or not there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import KEYS, merge_in, model, plan_in, stored, tiny, write_file, write_models
from reference import Stored, read_file

from lib_chilly import cli
from lib_chilly.architecture import load
from lib_chilly.diffusers_folder import REST
from lib_chilly.engine import merge
from lib_chilly.errors import CheckpointError, Interrupted, MergeError, OutputError
from lib_chilly.folder_writer import FolderWriter
from lib_chilly.synth import synthesise
from lib_chilly.writer import TEMPORARY_SUFFIX

UNET = "unet/diffusion_pytorch_model.safetensors"
SOURCE = {"dtype": "source"}
SOURCE_FOLDER = {"format": "diffusers", "dtype": "source"}
V_PRED = {"v_pred": stored(np.zeros(0), "fp16"), "ztsnr": stored(np.zeros(0), "fp16")}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for architecture in ("sd1", "sd2", "sdxl"):
        tiny(tmp_path_factory, f"{architecture}_one", architecture, seed=0)
    tiny(tmp_path_factory, "sd1_paint", "sd1", seed=5, inpainting=True)
    tiny(tmp_path_factory, "sd1_blind", "sd1", seed=6, without=("vae",))
    return tmp_path_factory.getbasetemp() / "tiny-models"


def data_of(path: Path) -> dict[str, Stored]:
    return dict(sorted(read_file(path).items()))


def folder_of(models: Path, recipe: str, output: Path, **how: object) -> Path:
    merge_in(models, recipe, output, options=SOURCE_FOLDER, **how)
    return output


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def give_tokenizer(folder: Path) -> None:
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/vocab.json").write_text('{"a": 0}')
    (folder / "tokenizer/merges.txt").write_text("a b")


def json_of(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


# ---- round trips ----


def of_many_types(tensors: dict[str, Stored], seed: int) -> dict[str, Stored]:
    """The same keys in types that take turns, with buffers and keys that diffusers has no name for."""
    kinds = ("fp32", "fp16", "bf16")
    rng = np.random.default_rng(seed)
    found = {}
    for number, (key, tensor) in enumerate(sorted(tensors.items())):
        is_integer = tensor.tag == "I64"
        found[key] = tensor if is_integer else stored(rng.normal(size=tensor.shape), kinds[number % 3])
    return found | V_PRED | {"betas": stored(np.linspace(0, 1, 7), "fp32"), "somebody.s/own key": stored([1, 2], "I32")}


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_file_to_folder_to_file_is_bit_equal_for_every_key(models: Path, tmp_path: Path, architecture: str):
    given = write_file(tmp_path / "given.safetensors", of_many_types(read_file(models / f"{architecture}_one.safetensors"), 3))
    folder = folder_of(tmp_path, "given", tmp_path / "made")
    merge_in(tmp_path, "made", tmp_path / "back.safetensors", options=SOURCE)
    assert data_of(tmp_path / "back.safetensors") == data_of(given)
    assert {"betas", "v_pred", "ztsnr", "somebody.s/own key"} <= set(read_file(folder / REST))


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_folder_to_file_to_folder_is_bit_equal_for_every_key(models: Path, tmp_path: Path, architecture: str):
    first = folder_of(models, f"{architecture}_one", tmp_path / "first")
    merge_in(tmp_path, "first", tmp_path / "file.safetensors", options=SOURCE)
    second = folder_of(tmp_path, "file", tmp_path / "second")
    third = folder_of(tmp_path, "first", tmp_path / "third")
    names = [path.relative_to(first) for path in first.rglob("*.safetensors")]
    assert len(names) == {"sd1": 3, "sd2": 4, "sdxl": 5}[architecture]
    for name in names:
        assert data_of(first / name) == data_of(second / name) == data_of(third / name)


def test_folder_is_the_same_for_any_number_of_threads_and_way_of_reading(models: Path, tmp_path: Path):
    first = snapshot(folder_of(models, "sdxl_one", tmp_path / "a", threads=1))
    assert snapshot(folder_of(models, "sdxl_one", tmp_path / "b", threads=3, use_mmap=True)) == first


def test_merge_into_a_folder_has_the_numbers_of_the_merge_into_a_file(models: Path, tmp_path: Path):
    recipe = "M = 0.25 * sd1_one + 0.75 * sd1_paint"
    report = merge_in(models, recipe, tmp_path / "m", options={"format": "diffusers"})
    whole = merge_in(models, recipe, tmp_path / "file.safetensors")
    merge_in(tmp_path, "m", tmp_path / "back.safetensors")
    assert data_of(tmp_path / "back.safetensors") == data_of(tmp_path / "file.safetensors")
    assert report.keys == whole.keys and report.change == pytest.approx(whole.change)
    assert report.read_bytes == whole.read_bytes
    assert report.written_bytes == sum(path.stat().st_size for path in (tmp_path / "m").rglob("*") if path.is_file())


# ---- what loading needs ----


def test_every_part_says_what_made_it_and_that_torch_may_read_it(models: Path, tmp_path: Path):
    folder = folder_of(models, "sdxl_one", tmp_path / "m")
    for path in folder.rglob("*.safetensors"):
        raw = path.read_bytes()
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        assert metadata["format"] == "pt" and "sdxl_one" in metadata["chillymerge"]


@pytest.mark.parametrize(
    ("name", "pipeline", "channels"),
    [
        ("sd1_one", "StableDiffusionPipeline", 4),
        ("sd1_paint", "StableDiffusionInpaintPipeline", 9),
        ("sd2_one", "StableDiffusionPipeline", 4),
        ("sdxl_one", "StableDiffusionXLPipeline", 4),
    ],
)
def test_configs_are_those_of_the_model_that_is_written(models: Path, tmp_path: Path, name: str, pipeline: str, channels: int):
    folder = folder_of(models, name, tmp_path / "m")
    index = json_of(folder, "model_index.json")
    assert index["_class_name"] == pipeline
    assert json_of(folder, "unet/config.json")["in_channels"] == channels
    parts = {part for part in index if isinstance(index[part], list) and index[part][0]}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == parts - {"tokenizer", "tokenizer_2"}
    assert json_of(folder, "scheduler/scheduler_config.json")["_class_name"] == index["scheduler"][1]


def test_markers_stand_in_the_scheduler_too(tmp_path: Path, models: Path):
    write_file(tmp_path / "v.safetensors", read_file(models / "sd1_one.safetensors") | V_PRED)
    scheduler = json_of(folder_of(tmp_path, "v", tmp_path / "m"), "scheduler/scheduler_config.json")
    assert scheduler["prediction_type"] == "v_prediction" and scheduler["rescale_betas_zero_snr"] is True


@pytest.mark.parametrize(
    ("options", "prediction", "pixels"),
    [({}, "epsilon", 512), ({"prediction": "epsilon"}, "epsilon", 512), ({"prediction": "v"}, "v_prediction", 768)],
)
def test_folder_of_sd2_is_sampled_as_the_recipe_says_and_where_nothing_says_it_that_is_said(
    models: Path, tmp_path: Path, options: dict, prediction: str, pixels: int
):
    report = merge_in(models, "sd2_one", tmp_path / "m", options=SOURCE_FOLDER | options)
    assert json_of(tmp_path / "m", "scheduler/scheduler_config.json")["prediction_type"] == prediction
    assert json_of(tmp_path / "m", "unet/config.json")["sample_size"] * 8 == pixels
    assert any("nothing says whether the model predicts epsilon or v" in note for note in report.notes) is not bool(options)


def test_config_beside_a_source_says_how_the_folder_is_sampled(models: Path, tmp_path: Path):
    shutil.copy(models / "sd2_one.safetensors", tmp_path / "a.safetensors")
    (tmp_path / "a.yaml").write_text("model:\n  params:\n    parameterization: v\n")
    folder_of(tmp_path, "a", tmp_path / "m")
    assert json_of(tmp_path / "m", "scheduler/scheduler_config.json")["prediction_type"] == "v_prediction"


def test_model_that_gives_nothing_to_the_unet_does_not_say_how_the_folder_is_sampled(models: Path, tmp_path: Path):
    shutil.copy(models / "sd1_one.safetensors", tmp_path / "a.safetensors")
    donor = folder_of(models, "sd1_one", tmp_path / "donor")
    (donor / "scheduler/scheduler_config.json").write_text('{"_class_name": "X", "prediction_type": "v_prediction"}')
    give_tokenizer(donor)
    made = folder_of(tmp_path, "M = weighted_sum(donor, a, alpha={CLIP_L: 0, *: 1})", tmp_path / "made")
    assert json_of(made, "scheduler/scheduler_config.json")["prediction_type"] == "epsilon"
    assert (made / "tokenizer/merges.txt").exists()


@pytest.mark.parametrize(
    ("said", "known"), [('"v_prediction"', "v"), ('"epsilon"', "epsilon"), ("null", "unknown"), ('["v"]', "unknown")]
)
def test_scheduler_of_a_source_folder_says_what_it_predicts(models: Path, tmp_path: Path, said: str, known: str):
    folder = folder_of(models, "sd1_one", tmp_path / "m")
    for path in folder.rglob("*.safetensors"):
        write_file(path, read_file(path), {"format": "pt"})
    config = folder / "scheduler/scheduler_config.json"
    config.write_text(f'{{"prediction_type": {said}}}')
    assert plan_in(tmp_path, "m").sources[0].prediction == known
    merge_in(tmp_path, "m", tmp_path / "again", options={"format": "diffusers"})
    assert json_of(tmp_path / "again", "scheduler/scheduler_config.json")["prediction_type"] == json.loads(said)
    config.write_text("no json")
    assert plan_in(tmp_path, "m").sources[0].prediction == "unknown"


def test_part_that_the_result_lacks_is_null_in_the_index(models: Path, tmp_path: Path):
    folder = folder_of(models, "sd1_blind", tmp_path / "m")
    assert json_of(folder, "model_index.json")["vae"] == [None, None]
    assert not (folder / "vae").exists()
    merge_in(tmp_path, "m", tmp_path / "back.safetensors", options=SOURCE)
    assert data_of(tmp_path / "back.safetensors") == data_of(models / "sd1_blind.safetensors")


def test_small_files_are_those_of_the_first_source_that_has_them(models: Path, tmp_path: Path):
    donor = folder_of(models, "sd1_one", tmp_path / "donor")
    give_tokenizer(donor)
    (donor / "tokenizer/weights.bin").write_bytes(b"no text")
    (donor / "vae/config.json").write_text('{"scaling_factor": 0.5}')
    (donor / "scheduler/scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    shutil.copy(models / "sd1_paint.safetensors", tmp_path)
    made = tmp_path / "made"
    report = merge_in(tmp_path, "M = 0.5 * sd1_paint + 0.5 * donor", made, options={"format": "diffusers"})
    assert sorted(path.name for path in (made / "tokenizer").iterdir()) == ["merges.txt", "vocab.json"]
    assert json_of(made, "vae/config.json") == {"scaling_factor": 0.5}
    assert json_of(made, "model_index.json")["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert json_of(made, "unet/config.json")["in_channels"] == 9
    assert [note for note in report.notes if "tokenizer" in note] == [
        "'tokenizer/weights.bin' of 'donor' is left out: it is no file of a tokenizer."
    ]


@pytest.mark.parametrize("lone", ["tokenizer_config.json", "vocab.json", "merges.txt"])
def test_folder_without_a_vocabulary_is_no_tokenizer_and_the_next_source_gives_one(models: Path, tmp_path: Path, lone: str):
    half, whole = (folder_of(models, "sd1_one", tmp_path / name) for name in ("half", "whole"))
    (half / "tokenizer").mkdir()
    (half / "tokenizer" / lone).write_text('{"half": 1}')
    alone = merge_in(tmp_path, "half", tmp_path / "alone", options={"format": "diffusers"})
    said = "'tokenizer' of 'half' is left out: a tokenizer has vocab.json and merges.txt, or tokenizer.json."
    assert said in alone.notes
    assert any("no source has the files of tokenizer:" in note for note in alone.notes)
    assert not (tmp_path / "alone/tokenizer").exists()
    give_tokenizer(whole)
    merge_in(tmp_path, "M = mean(half, whole)", tmp_path / "made", options={"format": "diffusers"})
    assert sorted(path.name for path in (tmp_path / "made/tokenizer").iterdir()) == ["merges.txt", "vocab.json"]


def test_fast_tokenizer_by_itself_is_a_tokenizer(models: Path, tmp_path: Path):
    donor = folder_of(models, "sd1_one", tmp_path / "donor")
    (donor / "tokenizer").mkdir()
    (donor / "tokenizer/tokenizer.json").write_text('{"version": "1.0"}')
    report = merge_in(tmp_path, "donor", tmp_path / "made", options={"format": "diffusers"})
    assert json_of(tmp_path / "made", "tokenizer/tokenizer.json") == {"version": "1.0"}
    assert not any("tokenizer" in note for note in report.notes)


@pytest.mark.parametrize(
    "name", ["tokenizer/vocab.json", "tokenizer/merges.txt", "vae/config.json", "scheduler/scheduler_config.json"]
)
@pytest.mark.parametrize("through", ["link", "linked folder", "false cache"])
def test_file_outside_a_source_folder_never_comes_into_the_output(models: Path, tmp_path: Path, name: str, through: str):
    secret = tmp_path / "elsewhere" / Path(name).name
    secret.parent.mkdir()
    secret.write_text('{"secret": 1}')
    place = tmp_path / "models--x" / "snapshots" / "0" / "donor"
    place.parent.mkdir(parents=True)
    donor = folder_of(models, "sd1_one", place)
    (donor / "tokenizer").mkdir()
    (donor / name).unlink(missing_ok=True)
    if through == "false cache":
        (tmp_path / "models--x" / "blobs").symlink_to(secret.parent)
        (donor / name).symlink_to(tmp_path / "models--x" / "blobs" / secret.name)
    elif through == "link" or any((donor / name).parent.iterdir()):
        (donor / name).symlink_to(secret)
    else:
        (donor / name).parent.rmdir()
        (donor / name).parent.symlink_to(secret.parent)
    report = merge_in(place.parent, "donor", tmp_path / "made", options={"format": "diffusers"})
    assert not any(b"secret" in content for content in snapshot(tmp_path / "made").values())
    said = f"'{name}' of 'donor' is left out: it is a link that leads out of the model's folder."
    assert report.notes.count(said) == 1


def test_files_that_hugging_face_s_cache_links_to_are_the_model_s_own(models: Path, tmp_path: Path):
    cached = tmp_path / "models--x" / "snapshots" / "0"
    cached.mkdir(parents=True)
    donor = folder_of(models, "sd1_one", cached / "donor")
    give_tokenizer(donor)
    (donor / "tokenizer/vocab.json").unlink()
    blobs = tmp_path / "models--x" / "blobs"
    blobs.mkdir()
    (blobs / "c0ffee").write_text('{"mine": 1}')
    (donor / "tokenizer/vocab.json").symlink_to("../../../../blobs/c0ffee")
    merge_in(cached, "donor", tmp_path / "made", options={"format": "diffusers"})
    assert json_of(tmp_path / "made", "tokenizer/vocab.json") == {"mine": 1}


@pytest.mark.parametrize("content", [b"root:x:0:0", b"[" * 200_000, b"\xff\xff"])
def test_tokenizer_s_json_that_is_none_is_left_out_and_said(models: Path, tmp_path: Path, content: bytes):
    donor = folder_of(models, "sd1_one", tmp_path / "donor")
    give_tokenizer(donor)
    (donor / "tokenizer/vocab.json").write_bytes(content)
    report = merge_in(tmp_path, "donor", tmp_path / "made", options={"format": "diffusers"})
    assert not (tmp_path / "made/tokenizer").exists()
    assert "'tokenizer/vocab.json' of 'donor' is left out: it is no text or no JSON, or too large." in report.notes


def test_tokenizers_that_no_source_has_are_said(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = merge_in(models, "sdxl_one", tmp_path / "m", options={"format": "diffusers"})
    said = "no source has the files of tokenizer, tokenizer_2: copy them from another SDXL folder."
    assert said in report.notes
    arguments = ["merge", "sdxl_one", "--models", models, "--format", "diffusers", "-o", tmp_path / "n"]
    assert cli.main([str(argument) for argument in arguments]) == cli.DONE
    printed = capsys.readouterr().out
    assert printed.count(f"note: {said}") == 1
    assert "bytes of fp16 and small configs, needs about" in printed


# ---- refusals ----


@pytest.mark.parametrize("architecture", ["sdxl-refiner", "sd3", "flux", "vae"])
def test_architecture_that_is_not_written_as_a_folder_is_refused_while_planning(
    tmp_path_factory: pytest.TempPathFactory, architecture: str
):
    path = tiny(tmp_path_factory, f"{architecture}-a", architecture)
    said = rf"{load(architecture).title} is not written as a diffusers folder; SD 1.x, SD 2.x and SDXL are. Use format=safe"
    with pytest.raises(OutputError, match=said):
        plan_in(path.parent, f"M = mean({path.stem})\nsave(format=diffusers)")


def test_depth_model_which_no_pipeline_takes_is_refused(models: Path, tmp_path: Path):
    key = load("sd2").conv_in.key
    tensors = read_file(models / "sd2_one.safetensors")
    write_models(tmp_path, a=tensors | {key: stored(np.zeros((5, 5, 3, 3)), "fp16")})
    with pytest.raises(OutputError, match=r"no pipeline of diffusers is made of SD 2.x with 5 input channels"):
        plan_in(tmp_path, "a", format="diffusers")


def test_command_that_is_refused_says_so_before_it_prints_a_plan(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "q.chilly").write_text("sd1_one")
    common = ["--models", str(models), "--format", "diffusers", "--dtype", "fp8_scaled"]
    for command in (["merge", "sd1_one", "-o", str(tmp_path / "m")], ["plan", "sd1_one"], ["queue", str(tmp_path / "q.chilly")]):
        assert cli.main([*command, *common]) == cli.MISTAKE
        out, error = capsys.readouterr()
        assert out == "" and "scaled fp8 is not read from diffusers folders" in error
    (tmp_path / "m").write_text("mine")
    assert cli.main(["merge", "sd1_one", "-o", str(tmp_path / "m"), "--models", str(models)]) == cli.MISTAKE
    out, error = capsys.readouterr()
    assert out == "" and "exists" in error


def test_scaled_fp8_is_refused_and_plain_fp8_is_written(models: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="scaled fp8 is not read from diffusers folders"):
        merge_in(models, "sd1_one", tmp_path / "m", options={"format": "diffusers", "dtype": "fp8_scaled"})
    merge_in(models, "sd1_one", tmp_path / "m", options={"format": "diffusers", "dtype": "fp8_e4m3fn"})
    assert read_file(tmp_path / "m" / UNET)["mid_block.attentions.0.proj_in.weight"].tag == "F8_E4M3"


def test_config_beside_a_source_is_not_put_beside_a_folder(models: Path, tmp_path: Path):
    shutil.copy(models / "sd1_one.safetensors", tmp_path / "a.safetensors")
    (tmp_path / "a.yaml").write_text("model: {}")
    merge_in(tmp_path, "a", tmp_path / "m", options={"format": "diffusers"})
    assert not (tmp_path / "m.yaml").exists()


def test_result_without_a_unet_is_refused(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch):
    plan = plan_in(models, "sd1_one", format="diffusers")
    plan = dataclasses.replace(plan, jobs=tuple(job for job in plan.jobs if job.lane == "VAE"))
    with pytest.raises(OutputError, match="the result has no U-Net"):
        merge(plan, tmp_path / "m", source_hashes=False)
    assert not list(tmp_path.glob("m*"))


def test_two_keys_of_one_name_are_refused(tmp_path: Path):
    twin = {"unet/conv_in.weight": stored(np.zeros(2), "fp16")}
    folder = write_models(tmp_path / "models", a=model(1, extras=twin))
    with pytest.raises(OutputError, match=r"two keys would be 'conv_in.weight' in 'unet/diffusion_pytorch_model.safetensors'"):
        merge_in(folder, "a", tmp_path / "m", options={"format": "diffusers"})


def test_keys_of_wrong_shape_are_written_as_they_are(models: Path, tmp_path: Path):
    """A fused tensor that has no thirds, projections that are no matrices: hostile, and no reason to fail."""
    extras = {
        "first_stage_model.decoder.mid.attn_1.q.weight": stored(np.ones((2, 3, 2, 2)), "fp16"),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": stored(np.float32(7), "fp16"),
    }
    write_models(tmp_path / "models", a=read_file(models / "sd1_one.safetensors") | extras)
    folder_of(tmp_path / "models", "a", tmp_path / "m")
    merge_in(tmp_path, "m", tmp_path / "back.safetensors", options=SOURCE)
    merge_in(tmp_path / "models", "a", tmp_path / "file.safetensors", options=SOURCE)
    assert data_of(tmp_path / "back.safetensors") == data_of(tmp_path / "file.safetensors")


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt"])
def test_folder_is_not_given_a_file_s_name(models: Path, tmp_path: Path, name: str):
    with pytest.raises(OutputError, match=r"the output is a diffusers folder; name it '.*/m', not 'm\."):
        folder_of(models, "sd1_one", tmp_path / name)


# ---- whole or not there ----


def test_folder_that_stands_there_is_replaced_whole_and_only_if_asked(models: Path, tmp_path: Path):
    target = folder_of(models, "sdxl_one", tmp_path / "m")
    before = snapshot(target)
    with pytest.raises(OutputError, match=r"exists\. Choose another name, or pass --overwrite"):
        folder_of(models, "sd1_one", target, overwrite=False)
    assert snapshot(target) == before
    folder_of(models, "sd1_one", target)
    assert snapshot(target) == snapshot(folder_of(models, "sd1_one", tmp_path / "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "other"]


def test_source_folder_can_be_overwritten_by_its_own_merge(models: Path, tmp_path: Path):
    target = folder_of(models, "sd1_one", tmp_path / "m")
    before = data_of(target / UNET)
    folder_of(tmp_path, "m", target)
    assert data_of(target / UNET) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thesis.doc", ""),
        ("unet/my_notes.md", ""),
        ("unet/diffusion_pytorch_model.bin", ""),
        ("unet/diffusion_pytorch_model.safetensors.bak", ""),
        ("text_encoder/diffusion_pytorch_model.safetensors", ""),
        ("tokenizer/mine.py", ""),
        ("tokenizer/notes.txt", ""),
        ("scheduler/old.json", ""),
        ("safety_checker/config.json", "safety_checker/"),
        ("feature_extractor/preprocessor_config.json", "feature_extractor/"),
        ("image_encoder/config.json", "image_encoder/"),
        ("vae/old/config.json", "vae/old/"),
        (".git/HEAD", ".git/"),
    ],
)
def test_folder_that_holds_other_things_is_never_replaced(models: Path, tmp_path: Path, name: str, said: str):
    target = folder_of(models, "sd1_one", tmp_path / "m")
    (target / Path(name).parent).mkdir(parents=True, exist_ok=True)
    (target / name).write_text("mine")
    before = snapshot(target)
    with pytest.raises(OutputError) as refused:
        folder_of(models, "sd1_one", target)
    assert str(refused.value) == (
        f"the folder '{target}' holds '{said or name}', which no merge writes and which would be lost: the folder is not "
        "replaced. Move that away, or choose another name."
    )
    with pytest.raises(OutputError, match=re.escape(f"holds '{said or name}'")):
        synthesise("sd1", "tiny", target, file_format="diffusers")
    assert snapshot(target) == before


def test_folder_in_a_part_is_never_replaced_even_when_it_is_a_link_or_empty(models: Path, tmp_path: Path):
    target = folder_of(models, "sd1_one", tmp_path / "m")
    (target / "unet/runs").mkdir()
    with pytest.raises(OutputError, match="holds 'unet/runs/', which"):
        folder_of(models, "sd1_one", target)
    (target / "unet/runs").rmdir()
    (target / "vae").rename(tmp_path / "elsewhere")
    (target / "vae").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="holds 'vae', which"):
        folder_of(models, "sd1_one", target)


def test_folder_of_everything_that_is_read_is_replaced(models: Path, tmp_path: Path):
    target = folder_of(models, "sd1_one", tmp_path / "m")
    give_tokenizer(target)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (target / "tokenizer" / name).write_text("{}")
    for stem in ("vae/diffusion_pytorch_model", "text_encoder/model"):
        for end in ("-00001-of-00002", ".fp16", ".fp16-00001-of-00002", "-00001-of-00002.fp16"):
            (target / f"{stem}{end}.safetensors").write_bytes(b"")
        for end in ("", ".fp16"):
            (target / f"{stem}.safetensors.index{end}.json").write_text("{}")
    folder_of(models, "sd1_one", target)
    assert snapshot(target) == snapshot(folder_of(models, "sd1_one", tmp_path / "other"))


def test_file_is_never_replaced_by_a_folder_nor_a_folder_by_a_file(models: Path, tmp_path: Path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(OutputError, match="is no folder and is never replaced"):
        folder_of(models, "sd1_one", tmp_path / "m")
    (tmp_path / "n").mkdir()
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        merge_in(models, "sd1_one", tmp_path / "n")


def stopped(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_in(models, "sd1_one", format="diffusers")
    count = iter(range(100))
    merge(plan, target, overwrite=True, source_hashes=False, should_stop=lambda: next(count) > 0)


def broken(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = model(1)
    bad[KEYS[-1]] = stored(np.full(bad[KEYS[-1]].shape, np.nan), "fp16")
    folder_of(write_models(target.parent.parent / "bad", a=bad), "a", target)


def not_renamed(models: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename
    rename = lambda self, other: real(self, other) if Path(other) != target or ".old" in str(self) else fail()  # noqa: E731
    monkeypatch.setattr(Path, "rename", rename)
    folder_of(models, "sd1_one", target)


def fail() -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("stood", [True, False], ids=["old folder", "no folder"])
@pytest.mark.parametrize("go_wrong", [stopped, broken, not_renamed])
def test_failure_at_any_place_leaves_what_stood_there(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go_wrong: Callable, stood: bool
):
    target = tmp_path / "out" / "m"
    target.parent.mkdir()
    if stood:
        folder_of(models, "sdxl_one", target)
    before = snapshot(target)
    with pytest.raises(MergeError) as raised:
        go_wrong(models, target, monkeypatch)
    assert isinstance(raised.value, (Interrupted, CheckpointError, OutputError))
    assert snapshot(target) == before
    assert [path.name for path in target.parent.iterdir()] == (["m"] if stood else [])


def test_temporary_of_a_killed_writer_is_removed_by_the_next_merge_but_a_living_one_stays(models: Path, tmp_path: Path):
    target = tmp_path / "m"
    if os.fork() == 0:
        FolderWriter(target, 0, overwrite=True).write("unet/config.json", b"half")
        os._exit(9)
    os.wait()
    assert len(list(tmp_path.glob(f".*{TEMPORARY_SUFFIX}*"))) == 2
    with FolderWriter(tmp_path / "living", 0, overwrite=True) as living:
        folder_of(models, "sd1_one", target)
        assert living.path.is_dir()
        assert len(list(tmp_path.glob(f".*{TEMPORARY_SUFFIX}*"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_folder_that_somebody_else_made_meanwhile_is_not_replaced(tmp_path: Path):
    target = tmp_path / "m"
    with FolderWriter(target, 0, overwrite=False) as writer:
        target.mkdir()
        (target / "theirs").touch()
        with pytest.raises(OutputError, match="was written by somebody else meanwhile"):
            writer.commit()
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


# ---- the command line ----


def test_command_writes_a_folder_and_reports_the_sha256_that_inspect_gives(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["merge", "sd1_one", "--models", models, "--format", "diffusers", "-o", f"{tmp_path / 'm'}/", "--json"]
    assert cli.main([str(argument) for argument in arguments]) == cli.DONE
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == str(tmp_path / "m")
    assert cli.main(["inspect", str(tmp_path / "m"), "--json"]) == cli.DONE
    assert json.loads(capsys.readouterr().out)["hashes"] == {"sha256": facts["sha256"]}
    assert len(facts["data_sha256"]) == 64
