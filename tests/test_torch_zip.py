"""The .ckpt reader: torch's own files are found byte for byte, and only what lies in it as it is."""

from __future__ import annotations

import collections
import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forging import FakeStorage, FakeTensor, Named, archive, forged, forged_file, records_of, saved, tensor_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.dtypes import DTYPES, torch_dtype
from lib_chilly.errors import CheckpointError
from lib_chilly.header import Checkpoint

FOUR = torch.tensor([1.0, 2.0, 3.0, 4.0])


def open_bytes(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "model.ckpt"
    path.write_bytes(content)
    return open_checkpoint(path)


def assert_found(content: bytes, found: Checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    assert found.tensors.keys() == tensors.keys()
    for key, tensor in tensors.items():
        info = found.tensors[key]
        assert (torch_dtype(info.dtype), info.shape) == (tensor.dtype, tuple(tensor.shape))
        assert content[info.offset :][: info.size_bytes] == tensor_bytes(tensor)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_tensor_of_each_dtype_is_found_with_its_bytes(tmp_path: Path, dtype, protocol):
    tensors = {"x": torch.arange(6).reshape(2, 3).to(torch_dtype(dtype)), "number": torch.tensor(1).to(torch_dtype(dtype))}
    content = saved(tensors, pickle_protocol=protocol)
    found = open_bytes(tmp_path, content)
    assert (found.format, found.metadata, found.consumed) == ("ckpt", {}, ())
    assert_found(content, found, tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64], ids=str)
def test_views_of_one_storage_are_found_where_they_lie(tmp_path: Path, dtype):
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = {"row": whole[2], "whole": whole, "rows": whole[1:3], "again": whole, "none": whole[4:], "thin": whole[1:2]}
    content = saved(tensors)
    found = open_bytes(tmp_path, content)
    assert_found(content, found, tensors)
    assert found.tensors["row"].offset == found.tensors["whole"].offset + 12 * dtype.itemsize


def test_tensors_stand_in_the_order_of_the_file(tmp_path: Path):
    whole = torch.arange(6.0)
    found = open_bytes(tmp_path, saved({"end": whole[4:], "start": whole[:2], "other": torch.ones(1)}))
    assert list(found.tensors) == ["start", "end", "other"]


@pytest.mark.parametrize("size", [(3, 1, 1), (1, 4), (2, 1, 3)], ids=str)
def test_any_stride_along_a_dimension_of_one_is_contiguous(tmp_path: Path, size):
    tensor = torch.arange(float(np.prod(size))).reshape(size)
    strides = tuple(77 if length == 1 else step for length, step in zip(size, tensor.stride(), strict=True))
    content = saved({"x": tensor.as_strided(size, strides)})
    assert_found(content, open_bytes(tmp_path, content), {"x": tensor})


def test_training_checkpoint_gives_the_tensors_of_its_state_dict_only(tmp_path: Path):
    layer = torch.nn.Linear(3, 2).half()
    tensors = layer.state_dict() | {"betas": torch.linspace(0, 1, 5)}
    value = {
        "epoch": 3,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": tensors | {"note": "text", 7: torch.ones(1)},
        "callbacks": {"score": np.float32(0.5), "array": np.arange(3), "set": {1, 2}, "bytes": b"\xff", "list": [torch.ones(2)]},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, dtype=torch.complex64).t()}}, "groups": ({"lr": 1e-4},)}],
        "counts": collections.defaultdict(int, a=1),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "stray": torch.ones(2),
    }
    content = saved(value)
    assert_found(content, open_bytes(tmp_path, content), tensors)


def test_class_of_a_training_tool_may_be_named_and_is_not_imported(tmp_path: Path):
    callback = Named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    found = open_bytes(tmp_path, forged_file({"state_dict": {"x": FakeTensor()}, callback: {"best": FakeTensor()}}))
    assert list(found.tensors) == ["x"]
    assert "pytorch_lightning" not in sys.modules


@pytest.mark.parametrize("records", [{"byteorder": None}, {"version": None}, {"extra": b"x"}], ids=str)
def test_file_with_other_records_around_its_tensors_is_read(tmp_path: Path, records):
    known = records_of(saved({"x": torch.nn.Parameter(FOUR)})) | records
    content = archive({name: data for name, data in known.items() if data is not None})
    assert_found(content, open_bytes(tmp_path, content), {"x": FOUR})


def test_digest_changes_with_the_list_of_tensors_and_with_the_records(tmp_path: Path):
    records = records_of(saved({"x": FOUR}))
    contents = [saved({"x": FOUR}), saved({"y": FOUR}), archive(records | {"more": b"1"}), archive(records | {"more": b"2"})]
    digests = [open_bytes(tmp_path, content).header_digest for content in contents]
    assert len(set(digests)) == len(digests)
    assert open_bytes(tmp_path, contents[0]).header_digest == digests[0]


def test_reading_imports_no_torch_and_no_numpy(tmp_path: Path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(saved({"x": FOUR, "score": np.float64(1)}))
    code = (
        "import sys, pathlib\nfrom lib_chilly.checkpoint import open_checkpoint\n"
        "open_checkpoint(pathlib.Path(sys.argv[1]))\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param({"x": FOUR.reshape(2, 2).t()}, "'x' is stored as a view (shape (2, 2), strides (1, 2))", id="transposed"),
        pytest.param({"x": FOUR[::2]}, "'x' is stored as a view", id="every second"),
        pytest.param({"x": FOUR[:1].expand(4)}, "'x' is stored as a view", id="expanded"),
        pytest.param({"x": torch.ones(2, dtype=torch.complex64).conj().imag}, "'x' is stored as a view", id="negated"),
        pytest.param({"x": torch.ones(2, dtype=torch.complex64)}, "'x' is of type complex64; known are float64", id="complex"),
        pytest.param({"x": torch.ones(2, device="meta")}, "_rebuild_meta_tensor_no_storage", id="without data"),
        pytest.param({"x": torch.ones(2).to_sparse()}, "_rebuild_sparse_tensor", id="sparse"),
        pytest.param({"a\ud800": FOUR}, "'a\\ud800' is a key with half a character", id="half a character"),
        pytest.param({"note": "text"}, "holds no tensors at its top level or under 'state_dict'", id="no tensors"),
        pytest.param({"state_dict": {}, "x": FOUR}, "found nothing", id="empty state dict"),
        pytest.param({"model": {"x": FOUR}, "epoch": 1}, "found 'model', 'epoch'", id="tensors in another place"),
        pytest.param({0: FOUR}, "holds no tensors", id="keys that are numbers"),
        pytest.param([FOUR], "holds no tensors", id="a list"),
        pytest.param(FOUR, "holds no tensors", id="one tensor"),
    ],
)
def test_file_whose_tensors_cannot_be_streamed_is_refused(tmp_path: Path, value, says):
    with pytest.raises(CheckpointError, match=r"'model\.ckpt'") as caught:
        open_bytes(tmp_path, saved(value))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(FakeTensor(shape=(5,)), id="shape beyond the storage"),
        pytest.param(FakeTensor(offset=1), id="offset that pushes it beyond"),
        pytest.param(FakeTensor(offset=2**70), id="offset of 70 bits"),
        pytest.param(FakeTensor(offset=-1), id="negative offset"),
        pytest.param(FakeTensor(offset=0.0), id="offset that is a float"),
        pytest.param(FakeTensor(shape=(-4,), stride=(1,)), id="negative size"),
        pytest.param(FakeTensor(shape=(2**62,) * 64, stride=(1,) * 64), id="a product of a thousand digits"),
        pytest.param(FakeTensor(shape=(0, 1 << 20_000), stride=(1, 1)), id="a size of six thousand digits"),
        pytest.param(FakeTensor(shape=(1,) * 65, stride=(1,) * 65), id="65 dimensions"),
        pytest.param(FakeTensor(shape=(2, 2)), id="fewer strides than sizes"),
        pytest.param(FakeTensor(shape=[4]), id="shape that is a list"),
        pytest.param(FakeTensor(shape=(True,)), id="shape of booleans"),
        pytest.param(FakeTensor(storage=FakeStorage(elements=5)), id="storage larger than its record"),
        pytest.param(FakeTensor(storage=FakeStorage(elements=3), shape=(3,)), id="storage smaller than its record"),
        pytest.param(FakeTensor(storage=FakeStorage(elements=-4)), id="storage of negative size"),
        pytest.param(FakeTensor(storage=FakeStorage(elements=1 << 20_000)), id="storage of six thousand digits"),
        pytest.param(FakeTensor(storage=FakeStorage(kind="torch LongStorage")), id="storage of another type"),
        pytest.param(FakeTensor(storage=FakeStorage(key="9")), id="storage that is not there"),
        pytest.param(FakeTensor(storage=FakeStorage(key="../data.pkl")), id="storage outside its folder"),
        pytest.param(
            FakeTensor(
                storage=FakeStorage(kind="torch.storage UntypedStorage", elements=16),
                function="_rebuild_tensor_v3",
                shape=(17,),
                rest=(False, None, Named("torch", "float8_e5m2")),
            ),
            id="fp8 beyond its storage",
        ),
    ],
)
def test_forged_tensor_is_refused_in_one_short_sentence(tmp_path: Path, tensor):
    with pytest.raises(CheckpointError, match=r"^'model\.ckpt'.* (Download it again|Save it once.*)\.$") as caught:
        open_bytes(tmp_path, forged_file({"x": FakeTensor(), "forged": tensor}))
    assert len(str(caught.value)) < 2500


LAYOUT = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
        st.sampled_from(DTYPES),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@given(LAYOUT)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_torch_saves_is_found_with_the_same_bytes(tmp_path: Path, layout):
    tensors = {key + ".weight": torch.randint(0, 2, shape).to(torch_dtype(dtype)) for key, dtype, shape in layout}
    content = saved(tensors)
    assert_found(content, open_bytes(tmp_path, content), tensors)


RECORDS = {"data.pkl": forged({"x": FakeTensor()}), "data/0": b"\0" * 16}
SAMPLE = saved({"state_dict": {"a": FOUR, "b": FOUR[1:], "c": torch.ones(3, dtype=torch.bfloat16)}, "epoch": 3})
USED = [place for place, byte in enumerate(SAMPLE) if byte not in b"Z\0"]  # torch pads with Z; changes there say nothing


@given(st.lists(st.tuples(st.sampled_from(USED), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_file_opens_or_is_refused_and_nothing_else(tmp_path: Path, changes, cut):
    content = bytearray(SAMPLE)
    for place, value in changes:
        content[place] = value
    with contextlib.suppress(CheckpointError):
        found = open_bytes(tmp_path, bytes(content[: len(content) - cut]))
        assert all(0 <= info.offset <= info.offset + info.size_bytes <= len(SAMPLE) for info in found.tensors.values())


@given(st.lists(st.tuples(st.integers(0, len(RECORDS["data.pkl"]) - 1), st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_pickle_with_a_right_checksum_opens_or_is_refused_and_nothing_else(tmp_path: Path, changes):
    pickled = bytearray(RECORDS["data.pkl"])
    for place, value in changes:
        pickled[place] = value
    with contextlib.suppress(CheckpointError):
        open_bytes(tmp_path, archive(RECORDS | {"data.pkl": bytes(pickled)}))
