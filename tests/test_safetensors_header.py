"""The safetensors reader: whatever the format's own library writes is found, and nothing that it would refuse gets past.

The hostile headers are written byte by byte; a header is JSON text here, so that it can say what no dict can.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from lib_chilly.dtypes import BY_NAME, DTYPES, torch_dtype
from lib_chilly.errors import CheckpointError
from lib_chilly.fileio import SourceFile
from lib_chilly.header import Checkpoint
from lib_chilly.safetensors_header import MAX_HEADER_BYTES, read_safetensors

ENTRY = '{"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}'


def read(path: Path) -> Checkpoint:
    with SourceFile(path) as file:
        return read_safetensors(file)


def read_bytes(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return read(path)


def file_bytes(header: str | bytes, data: bytes = b"\0" * 4) -> bytes:
    raw = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return len(raw).to_bytes(8, "little") + raw + data


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def entry(dtype: str = '"F16"', shape: str = "[2]", offsets: str = "[0, 4]") -> str:
    return f'{{"a": {{"dtype": {dtype}, "shape": {shape}, "data_offsets": {offsets}}}}}'


def two(first: tuple[int, int], second: tuple[int, int]) -> str:
    """Two tensors of bytes at the given offsets."""
    places = {"a": first, "b": second}
    return json.dumps(
        {key: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]} for key, (begin, end) in places.items()}
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_tensor_of_each_dtype_is_found_with_its_bytes(tmp_path: Path, dtype):
    tensor = torch.arange(6).reshape(2, 3).to(torch_dtype(dtype))
    save_file({"x": tensor}, tmp_path / "model.safetensors")
    info = read(tmp_path / "model.safetensors").tensors["x"]
    assert (info.dtype, info.shape, info.elements, info.scale) == (dtype, (2, 3), 6, None)
    assert (tmp_path / "model.safetensors").read_bytes()[info.offset :][: info.size_bytes] == tensor_bytes(tensor)


def test_checkpoint_says_what_identifies_the_file(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_bytes(f'{{"a": {ENTRY}}}  '))
    found = read(path)
    assert (found.path, found.format, found.consumed, found.metadata) == (path, "safetensors", (), {})
    assert (found.size_bytes, found.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert found.header_digest == hashlib.sha256(path.read_bytes()[:-4]).hexdigest()


def test_tensors_stand_in_the_order_of_the_file_not_of_the_header(tmp_path: Path):
    assert list(read_bytes(tmp_path, file_bytes(two((3, 4), (0, 3)))).tensors) == ["b", "a"]


def test_empty_tensors_anywhere_are_fine(tmp_path: Path):
    header = json.loads(two((0, 2), (2, 4)))
    for key, place in {"start": 0, "middle": 2, "end": 4}.items():
        header[key] = {"dtype": "F32", "shape": [3, 0], "data_offsets": [place, place]}
    found = read_bytes(tmp_path, file_bytes(json.dumps(header)))
    assert list(found.tensors) == ["start", "a", "middle", "b", "end"]
    assert found.tensors["middle"].size_bytes == 0


def test_a_number_without_dimensions_is_fine(tmp_path: Path):
    found = read_bytes(tmp_path, file_bytes(entry(shape="[]", offsets="[0, 2]"), b"\0\0"))
    assert (found.tensors["a"].shape, found.tensors["a"].elements) == ((), 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "has 0 bytes", id="empty file"),
        pytest.param(b"\x01\0\0", "has 3 bytes", id="seven bytes at most"),
        pytest.param(b"\0" * 8, "starts with '{'", id="header of no bytes"),
        pytest.param((100).to_bytes(8, "little"), "cut short: its header promises 108 bytes, the file has 8", id="length alone"),
        pytest.param(file_bytes('{"a": 1}')[:12], "promises 16 bytes, the file has 12. Download", id="header cut short"),
        pytest.param(
            file_bytes(entry(), b"\0"), "is cut short: its header promises 73 bytes, the file has 70", id="data cut short"
        ),
        pytest.param(b"\xff" * 32, "18 446 744 073 709 551 615 bytes", id="length beyond all bounds"),
        pytest.param((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "100 000 001 bytes", id="length over the bound"),
        pytest.param(file_bytes(entry(), b"\0" * 9), "the rest belongs to no tensor", id="bytes behind the last tensor"),
    ],
)
def test_file_of_the_wrong_length_is_refused(tmp_path: Path, content, says):
    with pytest.raises(CheckpointError, match=r"'model.safetensors'.*Download it again\.$") as caught:
        read_bytes(tmp_path, content)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        pytest.param(b'{"\xff": 1}', "not UTF-8 text (byte 10)", id="not UTF-8"),
        pytest.param(' {"a": 1}', "starts with '{'", id="leading space"),
        pytest.param("[1]", "starts with '{'", id="a list"),
        pytest.param('{"a": ', "no valid JSON", id="unfinished"),
        pytest.param("{} {}", "no valid JSON", id="two objects"),
        pytest.param("{}\0", "no valid JSON", id="padded with NUL"),
        pytest.param('{"a": ' + "[" * 200_000, "nested too deeply", id="nested lists"),
        pytest.param('{"a": ' * 200_000, "nested too deeply", id="nested objects"),
        pytest.param(f'{{"a": {ENTRY}, "a": {ENTRY}}}', "'a' stands twice", id="key twice"),
        pytest.param('{"__metadata__": {}, "__metadata__": {}}', "'__metadata__' stands twice", id="metadata twice"),
        pytest.param(entry(shape='[2], "shape": [2]'), "once each", id="shape twice"),
        pytest.param(entry(shape='[2], "extra": 1'), "dtype, shape and data_offsets", id="a field too many"),
        pytest.param('{"a": {"dtype": "F16", "shape": [2]}}', "dtype, shape and data_offsets", id="a field too few"),
        pytest.param('{"a": {}}', "described by nothing", id="no field"),
        pytest.param('{"a": [2]}', "described by a list", id="entry is a list"),
        pytest.param('{"a": null}', "described by null", id="entry is null"),
        pytest.param('{"a": 0.5}', "described by a number", id="entry is a number"),
        pytest.param('{"a": true}', "described by true or false", id="entry is true"),
        pytest.param('{"a": "F16"}', "described by text", id="entry is text"),
        pytest.param(f'{{"\\ud800": {ENTRY}}}', r"'\ud800' is a key with half a character", id="lone surrogate in the key"),
        pytest.param(entry(dtype='"F4"'), "of type 'F4'; known are F64, F32", id="unknown type"),
        pytest.param(entry(dtype='"f16"'), "of type 'f16'", id="type in small letters"),
        pytest.param(entry(dtype="16"), "of type a number", id="type is a number"),
        pytest.param(entry(dtype="[]"), "of type a list", id="type is a list"),
        pytest.param(entry(shape="2"), "a shape that is no list", id="shape is a number"),
        pytest.param(entry(shape="[2.0]"), "a shape that is no list", id="shape of floats"),
        pytest.param(entry(shape="[true, 2]"), "a shape that is no list", id="shape of booleans"),
        pytest.param(entry(shape='["2"]'), "a shape that is no list", id="shape of texts"),
        pytest.param(entry(shape="[-1, -2]"), "a shape that is no list", id="negative sizes"),
        pytest.param(entry(shape="[NaN]"), "holds NaN", id="NaN"),
        pytest.param(entry(shape="[-Infinity]"), "holds -Infinity", id="minus infinity"),
        pytest.param(entry(shape="[1e999]"), "a shape that is no list", id="a float that overflows"),
        pytest.param(entry(shape=f"[{2**63}]"), "a shape that is no list", id="a size over 63 bits"),
        pytest.param(entry(shape=f"[0, {10**30}]"), "a shape that is no list", id="a size of 31 digits"),
        pytest.param(entry(shape=f"[{'9' * 1_000_000}]"), "a shape that is no list", id="a size of a million digits"),
        pytest.param(entry(shape=f"[{'1,' * 100_000}2]"), "a shape that is no list", id="100 001 dimensions"),
        pytest.param(entry(shape=str([2**62] * 64)), "more bytes than a file can have", id="a product of a thousand digits"),
        pytest.param(entry(shape="[3]"), "takes 6 bytes, its place has 4", id="shape larger than its place"),
        pytest.param(entry(dtype='"I64"', shape="[]"), "takes 8 bytes, its place has 4", id="type larger than its place"),
        pytest.param(entry(shape="[0]"), "takes 0 bytes, its place has 4", id="shape smaller than its place"),
        pytest.param(entry(offsets="[0]"), "data_offsets", id="one offset"),
        pytest.param(entry(offsets="[0, 4, 8]"), "data_offsets", id="three offsets"),
        pytest.param(entry(offsets="[4, 0]"), "data_offsets", id="end before begin"),
        pytest.param(entry(offsets="[-4, 0]"), "data_offsets", id="negative offset"),
        pytest.param(entry(offsets="[0, 4.0]"), "data_offsets", id="a float offset"),
        pytest.param(entry(offsets="[false, 4]"), "data_offsets", id="a boolean offset"),
        pytest.param(entry(offsets='{"0": 4}'), "data_offsets", id="offsets are an object"),
        pytest.param(entry(offsets=f"[{2**63 - 5}, {2**63 - 1}]"), "belong to no tensor", id="offsets far outside"),
        pytest.param(entry(offsets="[1, 5]"), "1 bytes before 'a' belong to no tensor", id="hole at the start"),
        pytest.param(two((0, 2), (3, 4)), "1 bytes before 'b' belong to no tensor", id="hole in the middle"),
        pytest.param(two((0, 3), (2, 4)), "'b' and 'a' overlap by 1 bytes", id="overlap by one byte"),
        pytest.param(two((0, 4), (0, 4)), "overlap by 4 bytes", id="the same place twice"),
        pytest.param(two((0, 4), (2, 2)), "'b' and 'a' overlap", id="an empty tensor inside another"),
        pytest.param('{"__metadata__": [["a", "b"]]}', "__metadata__ is a list", id="metadata is a list"),
        pytest.param('{"__metadata__": "text"}', "__metadata__ is text", id="metadata is text"),
        pytest.param('{"__metadata__": {"a": ' + "[" * 100_000, "nested too deeply", id="nested metadata"),
    ],
)
def test_hostile_header_is_refused_in_one_sentence_that_names_the_file(tmp_path: Path, header, says):
    with pytest.raises(CheckpointError) as caught:
        read_bytes(tmp_path, file_bytes(header))
    message = str(caught.value)
    assert says in message
    assert message.startswith("'model.safetensors'")
    assert message.endswith((" Download it again.", " Use another release.", " Use its fp16 release."))
    assert len(message) < 3000
    assert message.isprintable()


def test_key_that_would_spoil_a_terminal_is_shown_escaped_and_shortened(tmp_path: Path):
    key = "\x1b[31m\n" + "x" * 10_000
    with pytest.raises(CheckpointError) as caught:
        read_bytes(tmp_path, file_bytes(json.dumps({key: 1})))
    assert "'\\x1b[31m\\nxxx" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_metadata_that_are_null_are_none_here_and_in_the_format_s_own_library(tmp_path: Path):
    header = f'{{"__metadata__": null, "a": {ENTRY}}}'
    assert read_bytes(tmp_path, file_bytes(header)).metadata == {}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert list(file.keys()) == ["a"] and not file.metadata()


def test_odd_metadata_is_read_as_text(tmp_path: Path):
    metadata = (
        '{"text": "t", "number": 1.5, "null": null, "yes": true, "dict": {"a": [1, "ü"]}, "half": "a\\ud800b", '
        f'"twice": "first", "twice": "last", "digits": {"7" * 5000}, "\\udc00": "key", "inner": {{"a": 1, "a": 2}}}}'
    )
    found = read_bytes(tmp_path, file_bytes(f'{{"__metadata__": {metadata}, "a": {ENTRY}}}'))
    assert found.metadata == {
        "text": "t",
        "number": "1.5",
        "null": "null",
        "yes": "true",
        "dict": '{"a": [1, "\\u00fc"]}',
        "half": "a?b",
        "twice": "last",
        "digits": "7" * 5000,
        "?": "key",
        "inner": '{"a": 2}',
    }
    assert list(found.tensors) == ["a"]


def test_metadata_of_ten_megabytes_is_read_whole(tmp_path: Path):
    text = "é" * 5_000_000
    found = read_bytes(tmp_path, file_bytes(json.dumps({"__metadata__": {"long": text}}, ensure_ascii=False), b""))
    assert found.metadata["long"] == text


def test_reading_a_header_imports_no_torch(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_bytes(entry()))
    code = (
        "import sys, pathlib\nfrom lib_chilly.checkpoint import open_checkpoint\n"
        "open_checkpoint(pathlib.Path(sys.argv[1]))\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=root)


KEYS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).filter(lambda key: key != "__metadata__")
SHAPES = st.lists(st.integers(0, 4), max_size=4)
KINDS = st.sampled_from(["fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2", "int64", "uint8", "bool"])


@given(st.dictionaries(KEYS, st.tuples(KINDS, SHAPES), max_size=6), st.dictionaries(KEYS, st.text(st.characters(codec="utf-8"))))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_safetensors_saves_reads_back_with_the_same_bytes(tmp_path: Path, layout, metadata):
    tensors = {
        key: torch.randint(0, 2, shape).to(torch_dtype(BY_NAME[name])).reshape(shape) for key, (name, shape) in layout.items()
    }
    content = save(tensors, metadata or None)  # safetensors 0.8 writes {} of no tensors as invalid JSON
    found = read_bytes(tmp_path, content)
    assert found.metadata == metadata
    assert found.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        info = found.tensors[key]
        assert (torch_dtype(info.dtype), info.shape) == (tensor.dtype, tuple(tensor.shape))
        assert content[info.offset :][: info.size_bytes] == tensor_bytes(tensor)


SAMPLE = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16), "c": torch.ones(0)}, {"recipe": "a + b"})


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 20))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_file_opens_or_is_refused_and_nothing_else(tmp_path: Path, changes, cut):
    content = bytearray(SAMPLE)
    for place, value in changes:
        content[place] = value
    with contextlib.suppress(CheckpointError):
        found = read_bytes(tmp_path, bytes(content[: len(content) - cut]))
        assert sum(info.size_bytes for info in found.tensors.values()) <= len(SAMPLE)
