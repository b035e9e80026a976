"""Small text files: read up to a limit, whatever they are, and refused in one sentence."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from lib_chilly.errors import RecipeError
from lib_chilly.text_files import read_text


def test_text_loses_its_byte_order_mark_and_the_kind_of_its_line_ends(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n\xc3\xbc")
    assert read_text(path, path.stat().st_size, "recipe") == "a\nb\nc\n\u00fc"


@pytest.mark.parametrize("content", [b"1234\n5", b"\xff\xfe" * 3])
def test_file_of_one_byte_too_many_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"^the recipe '.*x' is too large: 5 bytes are the most; is it a model\?$"):
        read_text(path, 5, "recipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_pipe_that_never_ends_is_left_at_the_limit(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    written: list[int] = []

    def pour() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            while True:
                written.append(pipe.write(b"#" * 4096))

    pouring = threading.Thread(target=pour, daemon=True)
    pouring.start()
    with pytest.raises(RecipeError, match="too large"):
        read_text(path, 10_000, "recipe")
    pouring.join(10)
    assert not pouring.is_alive() and sum(written) < 1 << 20


def test_folder_and_missing_file_are_named_with_the_system_s_words(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RecipeError, match=r"^the recipe '.*' cannot be read: [A-Z][a-z ]+\.$"):
            read_text(path, 5, "recipe")
