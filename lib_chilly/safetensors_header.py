"""Read the header of a safetensors file, trusting none of it; reads no tensor and needs no torch.

Refuses whatever the format's own library refuses, and keys that stand twice. Only `__metadata__` is read leniently:
its values become text whatever they are, of two equal keys the last counts, and null is none.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter
from typing import NoReturn, TypeGuard

from .dtypes import BY_TAG
from .errors import CheckpointError
from .fileio import SourceFile
from .header import MAX_DIMENSIONS, MAX_SIZE, Checkpoint, TensorInfo, grouped, is_text, quoted

MAX_HEADER_BYTES = 100_000_000  # as the safetensors library
_LENGTH_BYTES = 8
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


class _WithTwin(dict):
    """A JSON object in which `twin` stood twice."""

    twin: str


def read_safetensors(file: SourceFile) -> Checkpoint:
    """Read the header of `file` and check that its tensors fill the rest of it, without a gap.

    Raises:
        CheckpointError: no safetensors file, cut short, damaged or hostile.
    """
    size_bytes, mtime_ns = file.identity()
    name = quoted(file.path.name)
    raw = _header_bytes(file, name, size_bytes)
    try:
        header = _parse(raw[_LENGTH_BYTES:], name)
        metadata = _metadata(header.pop("__metadata__", {}), name)
    except RecursionError:
        raise CheckpointError(f"{name}: its header is nested too deeply to be a list of tensors. Download it again.") from None
    return Checkpoint(
        path=file.path,
        format="safetensors",
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        header_digest=hashlib.sha256(raw).hexdigest(),
        tensors=_tensors(header, name, len(raw), size_bytes),
        metadata=metadata,
    )


def metadata_of_head(head: bytes, file_name: str) -> dict[str, str]:
    """The metadata of a file of which only the beginning is there; what its tensors are is not checked.

    Raises:
        CheckpointError: it is no header, or `head` ends before it does.
    """
    name, length = quoted(file_name), int.from_bytes(head[:_LENGTH_BYTES], "little")
    if head[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{" or length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{name} is no checkpoint: a safetensors header starts with '{{', this one does not.")
    if _LENGTH_BYTES + length > len(head):
        raise CheckpointError(
            f"{name} has a header of {grouped(length)} bytes, of which {grouped(len(head))} are looked at here. Put the "
            "file into the models folder: ./chilly inspect reads all of it."
        )
    try:
        return _metadata(_parse(head[_LENGTH_BYTES : _LENGTH_BYTES + length], name).get("__metadata__"), name)
    except RecursionError:
        raise CheckpointError(f"{name}: its header is nested too deeply to be a list of tensors.") from None


def _header_bytes(file: SourceFile, name: str, size_bytes: int) -> bytes:
    """The eight bytes of the length, and the header itself."""
    if size_bytes < _LENGTH_BYTES:
        raise CheckpointError(f"{name} has {size_bytes} bytes, too few for a checkpoint: 8 are the least. Download it again.")
    length = int.from_bytes(file.read(0, _LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{name} is no checkpoint, or damaged: as safetensors it would have a header of {grouped(length)} bytes, and "
            f"{grouped(MAX_HEADER_BYTES)} are the most. Download it again."
        )
    promised = _LENGTH_BYTES + length
    if length == 0 or (size_bytes > _LENGTH_BYTES and file.read(_LENGTH_BYTES, 1) != b"{"):
        raise CheckpointError(
            f"{name} is no checkpoint, or damaged: a safetensors header starts with '{{', this one does not. Download it again."
        )
    if promised > size_bytes:
        raise _cut_short(name, promised, size_bytes)
    return file.read(0, promised)


def _cut_short(name: str, promised: int, size_bytes: int) -> CheckpointError:
    return CheckpointError(
        f"{name} is cut short: its header promises {grouped(promised)} bytes, the file has {grouped(size_bytes)}. "
        "Download it again."
    )


def _parse(raw: bytes, name: str) -> dict[str, object]:
    def refuse_constant(constant: str) -> NoReturn:
        raise CheckpointError(f"{name}: its header holds {constant}, which JSON does not have. Download it again.")

    try:
        header = json.loads(raw.decode(), object_pairs_hook=_object, parse_int=_whole_number, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{name}: its header is not UTF-8 text (byte {grouped(_LENGTH_BYTES + error.start)}). Download it again."
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f"{name}: its header is no valid JSON ({error.msg} at character {grouped(error.pos)}). Download it again."
        ) from None
    if isinstance(header, _WithTwin):
        raise CheckpointError(
            f"{name}: {quoted(header.twin)} stands twice in its header, so that readers may differ. Use another release."
        )
    return header


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(key for key, _ in pairs)
    doubled = _WithTwin(found)
    doubled.twin = counts.most_common(1)[0][0]
    return doubled


def _whole_number(digits: str) -> int | str:
    """A number that a file can mean; more digits stay text, since turning millions of them into an int takes hours."""
    return int(digits) if len(digits) < 25 else digits


def _metadata(value: object, name: str) -> dict[str, str]:
    if value is None:  # as the format's own library
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{name}: its __metadata__ is {_kind(value)}, an object of texts was expected. Download it again.")
    return {_clean(key): _clean(text if isinstance(text, str) else json.dumps(text)) for key, text in value.items()}


def _clean(text: str) -> str:
    return text if is_text(text) else text.encode(errors="replace").decode()


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _tensors(header: dict[str, object], name: str, data_start: int, size_bytes: int) -> dict[str, TensorInfo]:
    # Twelve models have the same keys and shapes: each is kept once.
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
    found = {sys.intern(key): _place(key, entry, name, data_start, shapes) for key, entry in header.items()}
    # An empty tensor lies at the same byte as the one after it, and goes first.
    tensors = dict(sorted(found.items(), key=lambda item: (item[1].offset, item[1].size_bytes)))
    end, previous = data_start, ""
    for key, info in tensors.items():
        if info.offset < end:
            raise CheckpointError(
                f"{name}: {quoted(key)} and {quoted(previous)} overlap by {grouped(end - info.offset)} bytes. Download it again."
            )
        if info.offset > end:
            raise CheckpointError(
                f"{name}: {grouped(info.offset - end)} bytes before {quoted(key)} belong to no tensor. Download it again."
            )
        end, previous = info.offset + info.size_bytes, key
    if end > size_bytes:
        raise _cut_short(name, end, size_bytes)
    if end < size_bytes:
        raise CheckpointError(
            f"{name}: its header promises {grouped(end)} bytes, the file has {grouped(size_bytes)}; "
            "the rest belongs to no tensor. Download it again."
        )
    return tensors


def _place(key: str, entry: object, name: str, data_start: int, shapes: dict[tuple[int, ...], tuple[int, ...]]) -> TensorInfo:
    """Check what the header says of one tensor, by itself."""
    subject = f"{name}: {quoted(key)}"
    if not is_text(key):
        raise CheckpointError(f"{subject} is a key with half a character in it. Use another release.")
    if not isinstance(entry, dict) or isinstance(entry, _WithTwin) or entry.keys() != _ENTRY_KEYS:
        found = " and ".join(sorted(map(quoted, list(entry)[:5]))) if isinstance(entry, dict) else _kind(entry)
        raise CheckpointError(
            f"{subject} is described by {found or 'nothing'}; dtype, shape and data_offsets, once each, were expected. "
            "Download it again."
        )
    tag, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(tag, str) or tag not in BY_TAG:
        shown = quoted(tag) if isinstance(tag, str) else _kind(tag)
        raise CheckpointError(f"{subject} is of type {shown}; known are {', '.join(BY_TAG)}. Use its fp16 release.")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{subject} has a shape that is no list of at most {MAX_DIMENSIONS} sizes. Download it again.")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{subject} has data_offsets that are not its first byte and its end. Download it again.")
    begin, end = offsets
    expected = math.prod(shape) * BY_TAG[tag].size_bytes
    if expected != end - begin:
        takes = f"{grouped(expected)} bytes" if expected <= MAX_SIZE else "more bytes than a file can have"
        raise CheckpointError(
            f"{subject}: shape {shape} of {tag} takes {takes}, its place has {grouped(end - begin)}. Download it again."
        )
    sizes = tuple(shape)
    return TensorInfo(BY_TAG[tag], shapes.setdefault(sizes, sizes), data_start + begin, end - begin)


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    """Whether `value` is a list of whole numbers that can be sizes; true and false are numbers to Python, but not here."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size <= MAX_SIZE for size in value)
