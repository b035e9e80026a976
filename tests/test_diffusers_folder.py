"""diffusers folders as sources: which files they are read from, what their tensors are called, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from checkpoints import merge_in, plan_in, tiny, write_file
from reference import Stored, read_file

from lib_chilly import cli
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.engine import merge
from lib_chilly.errors import CheckpointError, MergeError, RecipeError
from lib_chilly.hashes import hash_checkpoints
from lib_chilly.inspection import inspect_file
from lib_chilly.models import ModelLibrary

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
CLIP = "text_encoder/model.safetensors"
OPEN_CLIP = "text_encoder_2/model.safetensors"
QUERY = "text_model.encoder.layers.3.self_attn.q_proj.weight"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILLY_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two made-up models of each architecture, as files and, by the name with `_folder`, as diffusers folders."""
    for seed, name in enumerate(("one", "two")):
        for architecture in ("sd1", "sd2", "sdxl"):
            path = tiny(tmp_path_factory, f"{architecture}_{name}", architecture, seed=seed)
            folder = path.with_name(f"{path.stem}_folder")
            if not folder.exists():
                merge_in(path.parent, path.stem, folder, options={"format": "diffusers", "dtype": "source"})
    return tmp_path_factory.getbasetemp() / "tiny-models"


@pytest.fixture
def folder(library: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a model's folder, in `tmp_path/models` under the name `m`."""

    def copy(architecture: str) -> Path:
        return Path(shutil.copytree(library / f"{architecture}_one_folder", tmp_path / "models" / "m"))

    return copy


def data_of(path: Path) -> dict[str, Stored]:
    return dict(sorted(read_file(path).items()))


def merged_alone(folder: Path, output: Path) -> dict[str, Stored]:
    merge_in(folder.parent, folder.name, output, options={"dtype": "source"})
    return data_of(output)


def rewrite(path: Path, change: Callable[[dict[str, Stored]], Mapping[str, Stored]]) -> None:
    """Write a file again with its tensors changed."""
    write_file(path, change(read_file(path)), {"format": "pt"})


def renamed(old: str, new: str) -> Callable[[dict[str, Stored]], dict[str, Stored]]:
    return lambda tensors: {key.replace(old, new): tensor for key, tensor in tensors.items()}


# ---- the same model ----


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_folder_is_the_same_model_as_its_file(library: Path, tmp_path: Path, architecture: str):
    given = merged_alone(library / f"{architecture}_one_folder", tmp_path / "out.safetensors")
    assert given == data_of(library / f"{architecture}_one.safetensors")


@pytest.mark.parametrize("use_mmap", [False, True])
@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_merge_with_folders_gives_the_bytes_of_the_merge_with_files(
    library: Path, tmp_path: Path, architecture: str, use_mmap: bool
):
    one, two = f"{architecture}_one", f"{architecture}_two"
    merge_in(library, f"M = 0.3 * {one} + 0.7 * {two}", tmp_path / "files.safetensors")
    for number, (left, right) in enumerate([(f"{one}_folder", two), (one, f"{two}_folder"), (f"{one}_folder", f"{two}_folder")]):
        output = tmp_path / f"{number}.safetensors"
        merge_in(library, f"M = 0.3 * {left} + 0.7 * {right}", output, threads=number + 1, use_mmap=use_mmap)
        assert data_of(output) == data_of(tmp_path / "files.safetensors")


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_sharded_weights_are_read_as_their_index_lists_them(folder: Callable, library: Path, tmp_path: Path, variant: str):
    path = folder("sdxl")
    for name in (UNET, OPEN_CLIP):
        shard(path / name, 3, variant)
    assert merged_alone(path, tmp_path / "out.safetensors") == data_of(library / "sdxl_one.safetensors")


def shard(path: Path, count: int, variant: str) -> None:
    """Cut a file as diffusers shards it; keys that are one tensor elsewhere come to lie in different files."""
    tensors, stem = read_file(path), path.stem
    path.unlink()
    weight_map = {}
    for number in range(count):
        name = f"{stem}{variant}-{number + 1:05}-of-{count:05}.safetensors"
        part = dict(list(tensors.items())[number::count])
        write_file(path.with_name(name), part, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = f"{stem}.safetensors.index{variant}.json"
    path.with_name(index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_fp16_variant_is_read_where_the_plain_weights_are_missing(folder: Callable, library: Path, tmp_path: Path):
    path = folder("sd1")
    shutil.copy(path / VAE, path / "vae/diffusion_pytorch_model.fp16.safetensors")
    (path / UNET).rename(path / "unet/diffusion_pytorch_model.fp16.safetensors")
    (path / "vae/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not read")
    assert merged_alone(path, tmp_path / "out.safetensors") == data_of(library / "sd1_one.safetensors")


def test_vae_attention_is_read_in_the_old_spelling_too(folder: Callable, library: Path, tmp_path: Path):
    path = folder("sd1")
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        rewrite(path / VAE, renamed(f"attentions.0.{new}.", f"attentions.0.{old}."))
    assert "decoder.mid_block.attentions.0.query.weight" in read_file(path / VAE)
    assert merged_alone(path, tmp_path / "out.safetensors") == data_of(library / "sd1_one.safetensors")


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_text_encoder_is_read_without_the_outer_name_too(folder: Callable, library: Path, tmp_path: Path, architecture: str):
    path = folder(architecture)
    rewrite(path / CLIP, renamed("text_model.", ""))
    assert merged_alone(path, tmp_path / "out.safetensors") == data_of(library / f"{architecture}_one.safetensors")


def test_keys_without_an_original_name_are_copied_and_come_back(folder: Callable, tmp_path: Path):
    path = folder("sdxl")
    positions = Stored("I64", (1, 77), np.arange(77, dtype=np.int64).tobytes())
    rewrite(path / OPEN_CLIP, lambda tensors: tensors | {"text_model.embeddings.position_ids": positions})
    file = tmp_path / "models" / "file.safetensors"
    assert merged_alone(path, file)["text_encoder_2/text_model.embeddings.position_ids"] == positions
    merge_in(file.parent, "file", tmp_path / "again", options={"format": "diffusers", "dtype": "source"})
    assert data_of(tmp_path / "again" / OPEN_CLIP) == data_of(path / OPEN_CLIP)


# ---- names and facts ----


def test_folder_below_the_models_is_a_model_and_its_parts_are_none(folder: Callable, tmp_path: Path):
    path = folder("sd1")
    library = ModelLibrary([tmp_path / "models"])
    assert library.files == (("m/", path),)
    assert library.find("m") == library.find("m/") == path
    assert ModelLibrary([path]).find("m") == path
    with pytest.raises(RecipeError, match="there is no model 'diffusion_pytorch_model'"):
        library.find("diffusion_pytorch_model")


def test_rest_of_a_folder_is_no_model_and_the_model_in_one_file_beside_its_parts_is(folder: Callable):
    path = folder("sd1")
    for name in ("rest.safetensors", "whole.safetensors"):
        (path / name).write_bytes(b"")
    (path.parent / "rest.safetensors").write_bytes(b"")
    library = ModelLibrary([path.parent])
    assert [name for name, _ in library.files] == ["rest.safetensors", "m/", "m/whole.safetensors"]
    assert library.find("rest") == path.parent / "rest.safetensors"


def test_name_that_fits_a_file_and_a_folder_lists_both_and_a_slash_means_the_folder(folder: Callable, tmp_path: Path):
    path = folder("sd1")
    file = tmp_path / "models" / "m.safetensors"
    file.write_bytes(b"")
    library = ModelLibrary([tmp_path / "models"])
    with pytest.raises(RecipeError, match=r"'m' fits 2 files.*Write \"m\.safetensors\" or \"m/\"\.$"):
        library.find("m")
    assert library.find("m/") == path and library.find("m.safetensors") == file
    assert plan_in(tmp_path / "models", 'X = "m/"').sources[0].name == "m"


def test_plan_and_inspect_describe_a_folder_as_the_checkpoint_that_it_is(library: Path):
    path = library / "sdxl_one_folder"
    facts = inspect_file(path)
    assert (facts["format"], facts["architecture"], facts["missing"], facts["unknown_keys"]) == ("diffusers", "sdxl", [], [])
    assert facts["components"] == inspect_file(library / "sdxl_one.safetensors")["components"]
    assert facts["bytes"] == sum(file.stat().st_size for file in path.rglob("*.safetensors"))
    assert facts["recipe"] == inspect_file(path / UNET)["recipe"] == "result = sdxl_one\nsave(format=diffusers, dtype=source)\n"
    assert plan_in(library, "sdxl_one_folder").architecture.name == "sdxl"


def test_sha256_of_a_folder_is_that_of_its_sorted_sha256sum_lines(folder: Callable):
    path = folder("sdxl")
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.safetensors"))
    assert len(names) == 5
    lines = "".join(f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert hash_checkpoints([open_checkpoint(path)]) == [expected]
    assert inspect_file(path)["hashes"] == {"sha256": expected}


def test_cached_sha256_of_a_folder_is_forgotten_when_a_part_changes(folder: Callable):
    path = folder("sd1")
    before = hash_checkpoints([open_checkpoint(path)])
    raw = bytearray((path / VAE).read_bytes())
    raw[-1] ^= 1
    (path / VAE).write_bytes(raw)
    assert hash_checkpoints([open_checkpoint(path)]) != before


def test_part_that_changes_after_its_header_was_read_stops_the_merge(folder: Callable, tmp_path: Path):
    path = folder("sd1")
    plan = plan_in(path.parent, "m")
    (path / CLIP).write_bytes((path / CLIP).read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=r"'model.safetensors' changed while it was read"):
        merge(plan, tmp_path / "out.safetensors", source_hashes=False)
    assert not (tmp_path / "out.safetensors").exists()


def test_nan_in_a_part_is_named_and_can_be_taken_from_another(folder: Callable, library: Path, tmp_path: Path):
    path = folder("sdxl")
    shutil.copy(library / "sdxl_one.safetensors", path.parent / "whole.safetensors")

    def spoil(tensors: dict[str, Stored]) -> dict[str, Stored]:
        return tensors | {key: spoilt(tensors[key]) for key in (QUERY, "text_projection.weight")}

    rewrite(path / OPEN_CLIP, spoil)
    with pytest.raises(CheckpointError, match=r"'m' holds NaN or Inf in 1 value of 'conditioner.*(in_proj|text_proj)"):
        merge_in(path.parent, "M = 0.5 * m + 0.5 * whole", tmp_path / "out.safetensors")
    options = {"on_nan": "take:whole"}
    merge_in(path.parent, "M = 0.5 * m + 0.5 * whole", tmp_path / "out.safetensors", options=options)
    assert data_of(tmp_path / "out.safetensors") == data_of(library / "sdxl_one.safetensors")


def spoilt(tensor: Stored) -> Stored:
    """Its last element NaN."""
    return tensor._replace(data=tensor.data[:-2] + b"\x00\x7e")


# ---- what is refused ----


def pickled(path: Path) -> None:
    (path / UNET).rename((path / UNET).with_suffix(".bin"))


def missing(path: Path) -> None:
    (path / UNET).unlink()


def other_pipeline(path: Path) -> None:
    (path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}')


def no_json(path: Path) -> None:
    (path / "model_index.json").write_text("[" * 100_000)


def entry_that_is_no_list(path: Path) -> None:
    index = json.loads((path / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps(index | {"vae": "AutoencoderKL"}))


def index_that_leads_out(path: Path) -> None:
    missing(path)
    (path / "unet/diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')


def index_without_its_shard(path: Path) -> None:
    missing(path)
    (path / "unet/diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')


def index_of_numbers(path: Path) -> None:
    missing(path)
    (path / "unet/diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')


def no_query(path: Path) -> None:
    rewrite(path / OPEN_CLIP, lambda tensors: {key: tensor for key, tensor in tensors.items() if key != QUERY})


def query_of_another_type(path: Path) -> None:
    rewrite(path / OPEN_CLIP, lambda tensors: tensors | {QUERY: tensors[QUERY]._replace(tag="BF16")})


def both_spellings(path: Path) -> None:
    rewrite(path / VAE, lambda tensors: tensors | renamed("to_q", "query")(tensors))


def key_twice(path: Path) -> None:
    rewrite(path / CLIP, lambda tensors: tensors | renamed("text_model.", "")(tensors))


def rest_that_is_a_part(path: Path) -> None:
    rewrite(path / "rest.safetensors", lambda tensors: tensors | {"unet/conv_in.weight": next(iter(tensors.values()))})


def refiner(path: Path) -> None:
    rewrite(path / UNET, lambda tensors: tensors | {"down_blocks.3.resnets.0.conv1.weight": tensors["conv_in.weight"]})


def cut_short(path: Path) -> None:
    (path / VAE).write_bytes((path / VAE).read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (pickled, r"its unet has 'diffusion_pytorch_model.bin'.*Convert it in a tool that you trust: .*save_pretrained"),
        (missing, r"its unet has no weights: '.*unet/diffusion_pytorch_model.safetensors' is missing"),
        (other_pipeline, r"'m' is a diffusers folder of 'FluxPipeline' without a unet.*single-file release"),
        (no_json, r"'m/model_index.json' is no JSON object"),
        (entry_that_is_no_list, r"'m': 'model_index.json' has no list for 'vae'.*Download it again"),
        (index_that_leads_out, r"its unet has an index that lists '../../secret.safetensors', which is no file beside it"),
        (index_without_its_shard, r"its unet lacks 'b.safetensors', which its index lists"),
        (index_of_numbers, r"its unet has an index, .* that does not list files"),
        (
            no_query,
            r"'m': 'text_encoder_2/.*layers.3.self_attn.[kqv]_proj.weight' and its kin.*are not three of one type and shape",
        ),
        (query_of_another_type, r"are not three of one type and shape"),
        (both_spellings, r"'m' holds 'first_stage_model..*mid.attn_1.q..*' twice, in an old and in today's spelling"),
        (key_twice, r"'m' holds 'text_encoder/text_model..*' twice"),
        (rest_that_is_a_part, r"'m' holds 'unet/conv_in.weight' twice"),
        (refiner, r"'m' is a diffusers folder of a model whose names are not known.*single-file release"),
        (cut_short, r"'diffusion_pytorch_model.safetensors' is cut short"),
    ],
)
def test_folder_that_cannot_be_read_whole_is_refused_in_a_sentence(folder: Callable, spoil: Callable, says: str):
    path = folder("sdxl")
    spoil(path)
    with pytest.raises(MergeError, match=says) as refused:
        plan_in(path.parent, "m")
    assert "\n" not in str(refused.value)


def test_folder_without_an_index_is_no_model(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"is a folder; a checkpoint file or a diffusers folder \(with model_index.json\)"):
        open_checkpoint(tmp_path)


# ---- made again ----


def test_file_made_from_a_folder_is_made_again_from_its_header(folder: Callable, tmp_path: Path):
    path = folder("sd1")
    made, again, moved = (tmp_path / f"{name}.safetensors" for name in ("made", "again", "moved"))
    common = ["--models", str(path.parent)]
    assert cli.main(["merge", "m", "-o", str(made), *common]) == cli.DONE
    assert cli.main(["merge", "--from", str(made), "-o", str(again), *common]) == cli.DONE
    path.rename(path.with_name("other"))
    assert cli.main(["merge", "--from", str(made), "-o", str(moved), *common]) == cli.DONE
    assert made.read_bytes() == again.read_bytes() == moved.read_bytes()
