"""The records of a .ckpt: no trick of a zip archive gets past."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from forging import FakeStorage, FakeTensor, archive, forged, forged_file

from lib_chilly import torch_zip, zip_records
from lib_chilly.checkpoint import open_checkpoint
from lib_chilly.errors import CheckpointError
from lib_chilly.header import Checkpoint


def open_bytes(folder: Path, content: bytes) -> Checkpoint:
    path = folder / "model.ckpt"
    path.write_bytes(content)
    return open_checkpoint(path)


def patched(content: bytes, name: bytes, at: int, value: bytes, *, local: bool) -> bytes:
    """Overwrite part of a record's header, the local one or the one in the table of contents."""
    signature, name_at = (b"PK\x03\x04", 30) if local else (b"PK\x01\x02", 46)
    start = next(
        place
        for place in range(len(content))
        if content[place : place + 4] == signature and content[place + name_at :].startswith(name)
    )
    return content[: start + at] + value + content[start + at + len(value) :]


GOOD = forged_file({"x": FakeTensor(), "y": FakeTensor(storage=FakeStorage("1"))})
PICKLE = forged({"x": FakeTensor()})
RECORDS = {"data.pkl": PICKLE, "data/0": b"\0" * 16}


def doubled() -> bytes:
    """An archive with two records of one name."""
    buffer = io.BytesIO(archive(RECORDS))
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("archive/data/0", b"\1" * 16)
    return buffer.getvalue()


def overlapping() -> bytes:
    """An archive in which the record data/1 begins inside data/0, with a header of its own there."""
    inner = archive({"data/1": b"\1" * 16})[: 30 + len("archive/data/1") + 16]
    outer = archive(
        {"data.pkl": forged({"x": tensor_of("0", len(inner)), "y": tensor_of("1", 16)}), "data/0": inner, "data/1": b"\1" * 16}
    )
    return patched(outer, b"archive/data/1", 42, struct.pack("<I", outer.index(inner)), local=False)


def tensor_of(key: str, size: int) -> FakeTensor:
    return FakeTensor(shape=(size,), storage=FakeStorage(key, size, "torch ByteStorage"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(archive(RECORDS, compression=zipfile.ZIP_DEFLATED), "'archive/data.pkl' is compressed", id="compressed"),
        pytest.param(patched(GOOD, b"archive/data/0", 8, b"\1", local=False), "'archive/data/0' is encrypted", id="encrypted"),
        pytest.param(
            patched(GOOD, b"archive/data/0", 6, b"\1", local=True), "does not lie where", id="encrypted in its own header"
        ),
        pytest.param(
            patched(GOOD, b"archive/data/0", 8, b"\x08", local=True), "does not lie where", id="compressed in its own header"
        ),
        pytest.param(patched(GOOD, b"archive/data/0", 20, b"\x11", local=False), "is compressed", id="two sizes"),
        pytest.param(patched(GOOD, b"archive/data/0", 42, b"\xff\xff", local=False), "does not lie where", id="behind the end"),
        pytest.param(
            patched(GOOD, b"archive/data/0", 28, b"\xff\xff", local=True), "does not lie where", id="padding beyond the end"
        ),
        pytest.param(
            patched(GOOD, b"archive/data/0", 30, b"x", local=True), "does not lie where", id="another name in its own header"
        ),
        pytest.param(patched(GOOD, b"archive/data/0", 0, b"xx", local=True), "does not lie where", id="no header"),
        pytest.param(
            patched(patched(GOOD, b"archive/data/1", 20, b"\0\1", local=False), b"archive/data/1", 24, b"\0\1", local=False),
            "does not lie where",
            id="larger than the file",
        ),
        pytest.param(patched(GOOD, b"archive/data.pkl", 16, b"\0\0", local=False), "does not fit its checksum", id="checksum"),
        pytest.param(doubled(), "two records of one name", id="two records of one name"),
        pytest.param(overlapping(), "records 'data/0' and 'data/1' overlap", id="overlapping records"),
        pytest.param(archive(RECORDS | {"byteorder": b"big"}), "byte order 'big'; only 'little' is read", id="big-endian"),
        pytest.param(archive(RECORDS | {"byteorder": b"x" * 99}), "'byteorder' has 99 bytes", id="long byte order"),
        pytest.param(archive(RECORDS | {"inner/data.pkl": PICKLE}), "has 2 lists of tensors", id="two lists of tensors"),
        pytest.param(archive({"data/0": b""}), "without a checkpoint's list of tensors", id="no list of tensors"),
        pytest.param(archive(RECORDS | {"constants.pkl": b""}), "is a TorchScript program", id="TorchScript"),
        pytest.param(archive({"data.pkl": PICKLE}), "lacks the record 'data/0'", id="missing record"),
        pytest.param(GOOD[:-5], "is cut short or damaged", id="cut short at the end"),
        pytest.param(GOOD[:200], "is cut short or damaged", id="cut short in the middle"),
        pytest.param(GOOD[:4], "is cut short or damaged", id="cut short at the start"),
    ],
)
def test_trick_of_a_zip_archive_is_refused_in_one_sentence(tmp_path: Path, content, says):
    with pytest.raises(CheckpointError, match=r"^'model\.ckpt'.*\.$") as caught:
        open_bytes(tmp_path, content)
    assert says in str(caught.value)


def test_untampered_archive_opens(tmp_path: Path):
    assert list(open_bytes(tmp_path, GOOD).tensors) == ["x", "y"]


def test_list_of_tensors_over_the_bound_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch_zip, "MAX_PICKLE_BYTES", 100)
    with pytest.raises(CheckpointError, match=r"its record 'data\.pkl' has \d+ bytes, 100 are the most"):
        open_bytes(tmp_path, GOOD)


def test_table_of_contents_over_the_bound_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(zip_records, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(CheckpointError, match="its table of contents has"):
        open_bytes(tmp_path, GOOD)
