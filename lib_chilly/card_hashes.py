"""Every hash that sites and programs name a file by, in one read of it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .fileio import SourceFile

_CHUNK_BYTES = 1 << 18
_AUTOV1_START, _AUTOV1_BYTES = 0x100000, 0x10000


def site_hashes(path: Path, is_safetensors: bool, on_bytes: Callable[[int], None] = lambda count: None) -> dict[str, str]:
    """Name to hex: sha256, AutoV1 (of 64 KiB behind the first MiB, so of little), AutoV2, AutoV3 of a safetensors file, CRC32,
    and BLAKE3 where the package `blake3` is installed.

    Args:
        on_bytes: told how many more bytes were read; what it raises stops the work.
    """
    whole, data, blake, crc = hashlib.sha256(), hashlib.sha256(), _blake3(), 0
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with SourceFile(path) as file:
        size, mtime_ns = file.identity()
        start = min(size, 8 + int.from_bytes(file.read(0, 8), "little")) if is_safetensors else size
        offset = 0
        while offset < size:
            part = buffer[: min(len(buffer), (start if offset < start else size) - offset)]
            file.read_into(part, offset)
            whole.update(part)
            crc = zlib.crc32(part, crc)
            if blake is not None:
                blake.update(bytes(part))
            if offset >= start:
                data.update(part)
            offset += len(part)
            on_bytes(len(part))
        some = file.read(_AUTOV1_START, min(_AUTOV1_BYTES, max(0, size - _AUTOV1_START)))
        file.check_unchanged(size, mtime_ns)
    found = {"sha256": whole.hexdigest(), "AutoV1": hashlib.sha256(some).hexdigest()[:8], "AutoV2": whole.hexdigest()[:10]}
    found |= {"AutoV3": data.hexdigest()[:12]} if is_safetensors else {}
    found["CRC32"] = f"{crc:08X}"
    return found | ({"BLAKE3": blake.hexdigest()} if blake is not None else {})


def _blake3() -> Any:
    try:
        from blake3 import blake3
    except ImportError:
        return None
    return blake3()
