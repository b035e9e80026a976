"""Opening a checkpoint: the format is told by content, strangers are named, scaled fp8 finds its scales."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from forging import saved
from safetensors.torch import save

from lib_chilly.checkpoint import Checkpoint, TensorInfo, open_checkpoint
from lib_chilly.errors import CheckpointError

FP8 = torch.ones(2, 3).to(torch.float8_e4m3fn)
ONE = torch.tensor(0.5)


def open_bytes(folder: Path, content: bytes, name: str = "model.safetensors") -> Checkpoint:
    path = folder / name
    path.write_bytes(content)
    return open_checkpoint(path)


def refusal(folder: Path, content: bytes, name: str = "model.safetensors") -> str:
    with pytest.raises(CheckpointError) as caught:
        open_bytes(folder, content, name)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.pt", "model", "модель.bin"])
@pytest.mark.parametrize(("write", "format"), [(save, "safetensors"), (saved, "ckpt")], ids=["safetensors", "zip"])
def test_format_is_told_by_content_whatever_the_suffix(tmp_path: Path, write, format, name):
    found = open_bytes(tmp_path, write({"x": ONE}), name)
    assert (found.format, found.path, list(found.tensors)) == (format, tmp_path / name, ["x"])
    assert isinstance(found.tensors["x"], TensorInfo)


STRANGERS = {
    "legacy pickle": (saved({"x": ONE}, _use_new_zipfile_serialization=False), "is in the legacy pickle format"),
    "web page": (b"\n<!DOCTYPE html>\n<html><head><title>Not found</title>", "is a web page saved under a model's name"),
    "web page with a mark": (b"\xef\xbb\xbf<html lang='en'>", "is a web page"),
    "XML error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "JSON error": (b'{"error": "Unauthorized", "message": "You need to be logged in"}', "is a JSON text"),
    "short JSON error": (b'{"code":{}}', "is a JSON text"),
    "GGUF": (b"GGUF\x03\0\0\0\xd2\x04\0\0\0\0\0\0", "is a GGUF file"),
    "GGUF of 123 tensors": (b"GGUF\x03\0\0\0{\0\0\0\0\0\0\0", "is a GGUF file"),
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 4265380512\n",
        "is a Git LFS pointer, not the model itself. Run 'git lfs pull'",
    ),
    "text": (b"see the other download\n", "is no checkpoint, or damaged"),
    "zeros": (b"\0" * 1000, "is no checkpoint, or damaged"),
    "nothing": (b"", "has 0 bytes"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_file_that_is_no_model_is_named_for_what_it_is(tmp_path: Path, stranger, name):
    content, says = STRANGERS[stranger]
    message = refusal(tmp_path, content, name)
    assert message.startswith(f"'{name}' ")
    assert says in message


@pytest.mark.parametrize("low_byte", [0x80, ord("<"), ord("{"), ord("G"), ord("P"), ord("v")], ids=hex)
def test_header_whose_length_looks_like_a_stranger_is_read(tmp_path: Path, low_byte):
    header = b'{"__metadata__":{"a":"b"}}'
    length = low_byte + 256 * 0x22  # the second byte is a quotation mark, as in JSON
    found = open_bytes(tmp_path, length.to_bytes(8, "little") + header.ljust(length))
    assert found.metadata == {"a": "b"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda path: None, "cannot be read: No such file", id="missing"),
        pytest.param(os.mkdir, "is a folder; a checkpoint file or a diffusers folder (with model_index.json)", id="folder"),
        pytest.param(
            lambda path: os.mkfifo(path),
            "is no regular file",
            id="pipe",
            marks=pytest.mark.xfail(not hasattr(os, "mkfifo"), reason="no pipes here", raises=AttributeError),
        ),
        pytest.param(lambda path: path.symlink_to("nowhere"), "cannot be read: No such file", id="dangling link"),
    ],
)
def test_path_that_is_no_file_is_refused(tmp_path: Path, make, says):
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_file_name_that_would_spoil_a_terminal_is_shown_escaped(tmp_path: Path):
    assert refusal(tmp_path, b"<html>", "a\x1b[31m\n.ckpt").startswith("'a\\x1b[31m\\n.ckpt' is a web page")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("layer.weight.quant_state.bitsandbytes__nf4", "nf4"),
        ("layer.weight.quant_state.bitsandbytes__fp4", "bitsandbytes 4-bit"),
        ("layer.weight.absmax", "bitsandbytes 4-bit"),
        ("layer.weight.quant_map", "bitsandbytes 4-bit"),
        ("layer.SCB", "bitsandbytes 8-bit"),
    ],
)
def test_quantised_model_is_refused_with_its_kind(tmp_path: Path, key, kind):
    content = save({"layer.weight": torch.ones(8, 1).to(torch.uint8), key: torch.ones(2)})
    message = refusal(tmp_path, content)
    assert message == (
        f"'model.safetensors' is quantised to {kind} ('{key}'), which cannot be merged. Use its fp16 or fp8 release."
    )


@pytest.mark.parametrize("write", [save, saved], ids=["safetensors", "zip"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
@pytest.mark.parametrize(
    ("scale_key", "marks"),
    [
        ("a.scale_weight", ["a.scale_input", "scaled_fp8"]),
        ("a.weight_scale", ["a.input_scale", "a.comfy_quant", "model.diffusion_model.scaled_fp8"]),
    ],
    ids=["scaled_fp8", "comfy_quant"],
)
def test_scaled_fp8_is_paired_with_its_scale_and_rid_of_its_marks(tmp_path: Path, write, shape, scale_key, marks):
    tensors = {"a.weight": FP8, "a.bias": torch.ones(2), "b.weight": FP8.clone(), scale_key: ONE.reshape(shape).clone()}
    content = write(tensors | {mark: torch.ones(1) for mark in marks})
    found = open_bytes(tmp_path, content)
    assert set(found.tensors) == {"a.weight", "a.bias", "b.weight"}
    assert set(found.consumed) == {scale_key, *marks}
    scale = found.tensors["a.weight"].scale
    assert scale is not None
    assert content[scale.offset :][: scale.size_bytes] == b"\0\0\0\x3f"
    assert found.tensors["b.weight"].scale is None
    assert found.tensors["a.bias"].scale is None


def test_scale_without_its_weight_stays_a_tensor(tmp_path: Path):
    found = open_bytes(tmp_path, save({"a.scale_weight": ONE, "scale_weight": ONE.clone(), "a.weights": FP8}))
    assert set(found.tensors) == {"a.scale_weight", "scale_weight", "a.weights"}
    assert found.consumed == ()


@pytest.mark.parametrize(
    ("weight", "scale", "says"),
    [
        pytest.param(
            FP8, torch.ones(2), "'a.weight_scale' has shape (2,) of fp32; one floating-point scale", id="a scale per row"
        ),
        pytest.param(FP8, torch.ones(0), "has shape (0,)", id="no scale"),
        pytest.param(FP8, torch.ones(1, dtype=torch.uint8), "of uint8", id="scale that is an integer"),
        pytest.param(FP8.to(torch.int8), ONE, "'a.weight_scale' scales a tensor of int8", id="int8 weight"),
    ],
)
def test_scale_of_another_kind_is_refused(tmp_path: Path, weight, scale, says):
    message = refusal(tmp_path, save({"a.weight": weight, "a.weight_scale": scale}))
    assert says in message
    assert message.endswith(". Use its fp16 release.")


def test_keys_that_only_resemble_marks_stay(tmp_path: Path):
    keys = ["img_attn.norm.query_norm.scale", "logit_scale", "a.weight_scale_shift_table", "scaled_fp8.weight"]
    found = open_bytes(tmp_path, save({key: torch.ones(2) for key in keys}))
    assert set(found.tensors) == set(keys)
