"""What is written opens elsewhere: in safetensors as it is installed and as old hosts have it, and in diffusers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import draw, merge_in, metadata_of, stored, tiny, write_file
from reference import read_file
from safetensors.torch import load_file

from lib_chilly.diffusers_keys import name_of

OLD = "0.4.2"
"""The safetensors of the webui and of most of its forks."""
READ = """
import hashlib, json, sys
frontend, path, *folder = sys.argv[1:]
sys.path[:0] = folder
import safetensors
if frontend == "pt":
    import torch
    from safetensors.torch import load_file
    raw = lambda tensor: tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
else:
    from safetensors.numpy import load_file
    raw = lambda tensor: tensor.tobytes()
told = lambda tensors: {key: [list(t.shape), hashlib.sha256(raw(t)).hexdigest()] for key, t in tensors.items()}
with safetensors.safe_open(path, framework=frontend) as file:
    one_by_one = {key: file.get_tensor(key) for key in file.keys()}
    found = {"version": safetensors.__version__, "metadata": file.metadata(), "tensors": told(one_by_one)}
assert told(load_file(path)) == found["tensors"]
print(json.dumps(found))
"""
"""Opens a file with both of safetensors' ways and prints what it finds."""


@pytest.fixture(scope="session")
def old_safetensors() -> Path:
    """A folder with the old safetensors; installed once, in the user's cache."""
    if sys.version_info >= (3, 13):
        pytest.skip(f"safetensors {OLD} has no release for this Python")
    kind = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chillymerge-tests"
    folder = cache / f"safetensors-{OLD}-{kind}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--target", str(new)]
        done = subprocess.run([*command, f"safetensors=={OLD}"], capture_output=True, text=True)
        assert done.returncode == 0, f"safetensors {OLD} cannot be installed, which this test needs:\n{done.stderr}"
        with contextlib.suppress(OSError):  # another run was quicker
            new.rename(folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Merged files by the reader that is to open them; numpy knows neither bf16 nor fp8."""
    folder = tmp_path_factory.mktemp("written")
    a, b = (tiny(tmp_path_factory, f"sd1-{letter}", "sd1", seed=seed) for letter, seed in (("a", 0), ("b", 1)))
    more = {"v_pred": stored([], "fp32"), "one": stored(3, "U8"), "betas": stored(np.linspace(0, 1, 5), "fp64")}
    write_file(folder / "a.safetensors", read_file(a) | more)
    write_file(folder / "b.safetensors", read_file(b))
    options = {
        "pt": {"dtype": "fp8_scaled", "vae_dtype": "fp32", "text_encoder_dtype": "bf16"},
        "numpy": {"dtype": "fp16", "vae_dtype": "fp32"},
    }
    for name, how in options.items():
        merge_in(folder, 'M = 0.3 * a + 0.7 * b\nsave(title="Ж ☃")', folder / f"{name}.out", options=how, source_hashes=True)
    return {name: folder / f"{name}.out" for name in options}


@pytest.mark.parametrize("version", ["installed", OLD])
@pytest.mark.parametrize("frontend", ["pt", "numpy"])
def test_written_file_opens_in_safetensors_with_every_byte_and_all_metadata(
    written: Mapping[str, Path], request: pytest.FixtureRequest, frontend: str, version: str
):
    path = written[frontend]
    folder = [str(request.getfixturevalue("old_safetensors"))] if version == OLD else []
    command = [sys.executable, "-I", "-c", READ, frontend, str(path), *folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["version"] == OLD) == (version == OLD)
    assert found["metadata"] == metadata_of(path)
    tensors = read_file(path)
    assert len({tensor.tag for tensor in tensors.values()}) == (7 if frontend == "pt" else 5)
    assert found["tensors"] == {
        key: [list(tensor.shape), hashlib.sha256(tensor.data).hexdigest()] for key, tensor in tensors.items()
    }


# ---- diffusers ----

UNET = "model.diffusion_model."
WIDTHS = {
    *("block_out_channels", "cross_attention_dim", "projection_class_embeddings_input_dim"),
    *("hidden_size", "intermediate_size", "projection_dim", "vocab_size"),
}
HEADS = {"norm_num_groups": 1, "num_attention_heads": 1, "attention_head_dim": 1}


def narrowed(folder: Path) -> None:
    """Give the parts' configs the widths of tiny models, whose layers divide into no groups and heads."""
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        for name in WIDTHS & config.keys():
            value = config[name]
            config[name] = [width // 64 for width in value] if isinstance(value, list) else value // 64
        path.write_text(json.dumps(config | {name: value for name, value in HEADS.items() if name in config}))


def loaded_of(pipeline: object) -> dict[str, torch.Tensor]:
    """Every tensor of a loaded pipeline by its name in a folder."""
    parts = {name: getattr(pipeline, name, None) for name in ("unet", "vae", "text_encoder", "text_encoder_2")}
    return {
        name_of(name, key): tensor
        for name, part in parts.items()
        for key, tensor in (part.state_dict().items() if part else ())
        if not key.endswith("position_ids")
    }


def written_in(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name_of(path.parent.name, key): tensor
        for path in folder.glob("*/*.safetensors")
        for key, tensor in load_file(path).items()
        if not key.endswith("position_ids")
    }


@pytest.fixture
def diffusers(monkeypatch: pytest.MonkeyPatch):
    """diffusers without a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    return pytest.importorskip("diffusers")


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("sd1", {}, 3),
        ("sd1", {"inpainting": True}, 3),
        ("sd2", {}, 3),
        ("sdxl", {}, 4),
        ("sdxl", {"inpainting": True}, 4),
    ],
    ids=["SD 1.x", "SD 1.x inpainting", "SD 2.x", "SDXL", "SDXL inpainting"],
)
def test_written_file_and_folder_load_in_diffusers_offline_with_equal_tensors(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, diffusers, name: str, options: dict, parts: int
):
    one, two = (tiny(tmp_path_factory, f"{name}-{seed}-{len(options)}", name, seed=seed, **options) for seed in range(2))
    recipe = f"M = 0.3 * {one.stem} + 0.7 * {two.stem}"
    merge_in(one.parent, recipe, tmp_path / "file.safetensors")
    merge_in(one.parent, recipe, tmp_path / "folder", options={"format": "diffusers"})
    narrowed(tmp_path / "folder")
    written = written_in(tmp_path / "folder")
    pipeline = getattr(diffusers, json.loads((tmp_path / "folder/model_index.json").read_text())["_class_name"])
    without = {"tokenizer": None, "tokenizer_2": None} if name == "sdxl" else {"tokenizer": None, "safety_checker": None}
    how = {"local_files_only": True, "torch_dtype": torch.float16, **without}
    for loaded in (
        loaded_of(pipeline.from_single_file(str(tmp_path / "file.safetensors"), config=str(tmp_path / "folder"), **how)),
        loaded_of(pipeline.from_pretrained(str(tmp_path / "folder"), **how)),
    ):
        assert loaded.keys() == written.keys()
        assert len({key.partition("/")[0] for key in loaded}) == parts
        assert [key for key, tensor in loaded.items() if not torch.equal(tensor, written[key])] == []


SD3 = {
    **{"patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24, "num_attention_heads": 1},
    **{"attention_head_dim": 24, "caption_projection_dim": 24, "joint_attention_dim": 64, "pooled_projection_dim": 32},
    **{"sample_size": 128, "pos_embed_max_size": 24},
}
"""The transformer of SD 3, with the widths of tiny models."""


def test_written_sd3_transformer_loads_in_diffusers_offline_with_equal_values(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, diffusers
):
    time = f"{UNET}t_embedder.mlp.0.weight"  # diffusers knows one width of its input alone
    for name, seed in (("a", 0), ("b", 1)):
        tensors = read_file(tiny(tmp_path_factory, f"sd3-{name}", "sd3", seed=seed))
        write_file(tmp_path / f"{name}.safetensors", tensors | {time: stored(draw(seed, time, (24, 256)), "fp16")})
    merge_in(tmp_path, "M = 0.3 * a + 0.7 * b", tmp_path / "file.safetensors")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.json").write_text(json.dumps({"_class_name": "SD3Transformer2DModel", **SD3}))
    loaded = diffusers.SD3Transformer2DModel.from_single_file(
        str(tmp_path / "file.safetensors"), config=str(tmp_path / "config"), local_files_only=True, torch_dtype=torch.float16
    ).state_dict()
    written = {key: tensor for key, tensor in load_file(tmp_path / "file.safetensors").items() if key.startswith(UNET)}
    assert len(written) == 491 and len(loaded) > len(written)  # matrices of queries, keys and values are three there
    assert torch.equal(values_of(loaded), values_of(written))


def values_of(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All values in order of size; names and the order of parts differ between readers."""
    return torch.cat([tensor.flatten() for tensor in tensors.values()]).sort().values
