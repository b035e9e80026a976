"""Tensors that lie in pieces, or turned, read as what they mean: any range, against numpy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_chilly.architecture import load
from lib_chilly.dtypes import BY_NAME
from lib_chilly.header import Checkpoint, StoredFile, TensorInfo
from lib_chilly.reading import OpenSource, Reader
from lib_chilly.sources import Source
from lib_chilly.tensor_views import joined, runs, squared, third, turned, windowed

FP16, FP32 = BY_NAME["fp16"], BY_NAME["fp32"]


def placed(array: np.ndarray, offset: int, file: int) -> TensorInfo:
    return TensorInfo(BY_NAME["fp32"], array.shape, offset, array.nbytes, file=file)


def checkpoint_of(folder: Path, contents: list[bytes]) -> Checkpoint:
    parts = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.safetensors"
        path.write_bytes(content)
        parts.append(StoredFile(path, path.stat().st_size, path.stat().st_mtime_ns))
    return Checkpoint(folder, "diffusers", sum(map(len, contents)), 0, "", {}, parts=tuple(parts))


def read(checkpoint: Checkpoint, info: TensorInfo, start: int, count: int, use_mmap: bool) -> tuple[np.ndarray, int]:
    source = Source("m", checkpoint, load("sd1"), {"key": info}, ())
    with OpenSource(source, use_mmap) as opened:
        reader = Reader([opened])
        values, scale = reader.read(0, "key", start, count)
        assert scale is None
        return values.clone().numpy(), reader.read_bytes


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(1, 4), min_size=1, max_size=4), width=st.integers(1, 5), data=st.data(), use_mmap=st.booleans())
def test_any_range_of_joined_pieces_is_that_of_the_tensors_below_each_other(tmp_path_factory, rows, width, data, use_mmap):
    arrays = [np.random.default_rng(n).normal(size=(count, width)).astype(np.float32) for n, count in enumerate(rows)]
    whole = np.concatenate(arrays)
    checkpoint = checkpoint_of(tmp_path_factory.mktemp("pieces"), [b"\0" * 4 * n + a.tobytes() for n, a in enumerate(arrays)])
    info = joined([placed(array, 4 * n, n) for n, array in enumerate(arrays)])
    assert info is not None and info.shape == whole.shape
    start = data.draw(st.integers(0, whole.size - 1))
    count = data.draw(st.integers(1, whole.size - start))
    values, read_bytes = read(checkpoint, info, start, count, use_mmap)
    assert np.array_equal(values, whole.reshape(-1)[start:][:count]) and read_bytes == 4 * count


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), data=st.data(), use_mmap=st.booleans())
def test_any_range_of_a_turned_matrix_is_that_of_its_transpose(tmp_path_factory, rows, columns, data, use_mmap):
    array = np.random.default_rng(7).normal(size=(rows, columns)).astype(np.float32)
    checkpoint = checkpoint_of(tmp_path_factory.mktemp("turned"), [b"\0\0\0\0" + array.tobytes()])
    info = turned(placed(array, 4, 0))
    assert info.shape == (columns, rows) and turned(info) == placed(array, 4, 0)
    start = data.draw(st.integers(0, array.size - 1))
    count = data.draw(st.integers(1, array.size - start))
    assert np.array_equal(read(checkpoint, info, start, count, use_mmap)[0], array.T.reshape(-1)[start:][:count])


def test_thirds_of_one_tensor_and_of_joined_ones_lie_where_their_rows_do():
    whole = TensorInfo(FP16, (6, 4), 100, 48)
    assert [third(n)(whole) for n in range(3)] == [TensorInfo(FP16, (2, 4), 100 + 16 * n, 16) for n in range(3)]
    assert joined([third(n)(whole) for n in range(3)]) == dataclasses.replace(
        whole, pieces=tuple(third(n)(whole) for n in range(3))
    )
    parts = [TensorInfo(FP16, (2, 4), 10, 16, file=2), TensorInfo(FP16, (2, 4), 90, 16), TensorInfo(FP16, (2, 4), 50, 16, file=1)]
    fused = joined(parts)
    assert fused is not None and [third(n)(fused) for n in range(3)] == parts
    uneven = joined([TensorInfo(FP16, (1, 4), 10, 8), TensorInfo(FP16, (5, 4), 100, 40, file=1)])
    assert uneven is not None and runs(third(0)(uneven), 0, 8) == [(0, 10, 8), (1, 100, 8)]
    assert runs(third(2)(uneven), 3, 2) == [(1, 130, 4)]


@pytest.mark.parametrize(
    "other",
    [
        TensorInfo(FP32, (2, 4), 50, 32),
        TensorInfo(FP16, (2, 5), 50, 20),
        TensorInfo(FP16, (), 50, 2),
        TensorInfo(FP16, (2, 4), 50, 16, scale=TensorInfo(FP32, (), 0, 4)),
        TensorInfo(FP16, (2, 4), 50, 16, transposed=True),
    ],
    ids=["type", "width", "number", "scaled", "turned"],
)
def test_tensors_that_do_not_fit_below_each_other_are_not_joined(other: TensorInfo):
    assert joined([TensorInfo(FP16, (2, 4), 10, 16), other]) is None


def test_matrix_and_its_convolution_of_one_pixel_are_the_same_bytes():
    matrix = TensorInfo(FP16, (2, 4), 10, 16)
    assert windowed(matrix).shape == (2, 4, 1, 1)
    assert squared(windowed(matrix)) == matrix
