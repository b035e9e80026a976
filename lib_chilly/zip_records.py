"""The records of a zip archive that torch wrote: where their bytes lie in the file; unpacks nothing.

zipfile reads the table of contents; where a record's bytes begin is taken from the header in front of them, since the
padding that torch puts there to align tensors is not in the table.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib

from .errors import CheckpointError
from .fileio import SourceFile
from .header import grouped, quoted

MAX_DIRECTORY_BYTES = 16_000_000  # a model's has some 100 000
_LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # signature, flags, method, length of the name, length of the extra field
_UNREADABLE_FLAGS = 0x2061  # encrypted, patched, strongly encrypted, masked headers


class ZipRecords:
    """The records below the one folder of an archive.

    Attributes:
        directory: the table of contents, as it stands in the file.
    """

    def __init__(self, file: SourceFile, name: str, size_bytes: int):
        self._file = file
        self._name = name
        try:
            with zipfile.ZipFile(_Window(file, name, size_bytes)) as archive:
                entries = archive.infolist()
                self._data_end = archive.start_dir
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
            raise CheckpointError(
                f"{name} is cut short or damaged: a .ckpt ends with its table of contents, this one's cannot be read. "
                "Download it again."
            ) from None
        self.directory = file.read(self._data_end, size_bytes - self._data_end)
        self._entries = {entry.orig_filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise CheckpointError(f"{name} has two records of one name, so that readers may differ. Use another release.")
        for entry in entries:
            self._refuse_packed(entry)
        roots = [path.removesuffix("data.pkl") for path in self._entries if path.rpartition("/")[2] == "data.pkl"]
        if len(roots) > 1:
            raise CheckpointError(
                f"{name} has {len(roots)} lists of tensors (data.pkl), so that readers may differ. Use another release."
            )
        self._root = roots[0] if roots else ""
        self._used: dict[str, tuple[int, int]] = {}

    def __contains__(self, record: str) -> bool:
        return self._root + record in self._entries

    def place(self, record: str) -> tuple[int, int]:
        """First byte, from the start of the file, and size in bytes of `record`.

        Raises:
            CheckpointError: there is no such record, or its header is damaged.
        """
        entry = self._entries.get(self._root + record)
        if entry is None:
            raise CheckpointError(
                f"{self._name} lacks the record {quoted(record)}, which its list of tensors names. Download it again."
            )
        if record not in self._used:
            self._used[record] = (entry.header_offset, self._data_start(entry))
        return self._used[record][1], entry.file_size

    def read(self, record: str, limit: int) -> bytes:
        """The bytes of a small record, checked against its checksum.

        Raises:
            CheckpointError: it has more than `limit` bytes, or is damaged.
        """
        offset, size = self.place(record)
        if size > limit:
            raise CheckpointError(
                f"{self._name}: its record {quoted(record)} has {grouped(size)} bytes, {grouped(limit)} are the most. "
                "Use another release."
            )
        data = self._file.read(offset, size)
        if zlib.crc32(data) != self._entries[self._root + record].CRC:
            raise CheckpointError(f"{self._name}: its record {quoted(record)} does not fit its checksum. Download it again.")
        return data

    def refuse_overlaps(self) -> None:
        """Check that no two of the records used so far share a byte, their headers included.

        Raises:
            CheckpointError: two do.
        """
        ends = [(begin, start + self.place(record)[1], record) for record, (begin, start) in self._used.items()]
        end, previous = 0, ""
        for begin, record_end, record in sorted(ends):
            if begin < end:
                raise CheckpointError(
                    f"{self._name}: its records {quoted(previous)} and {quoted(record)} overlap. Download it again."
                )
            end, previous = record_end, record

    def _refuse_packed(self, entry: zipfile.ZipInfo) -> None:
        packed = entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size
        if packed or entry.flag_bits & _UNREADABLE_FLAGS:
            state = "compressed" if packed else "encrypted"
            raise CheckpointError(
                f"{self._name}: its record {quoted(entry.orig_filename)} is {state}; torch stores records as they are. "
                "Use the original file."
            )

    def _data_start(self, entry: zipfile.ZipInfo) -> int:
        name = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")
        head_end = entry.header_offset + _LOCAL_HEADER.size + len(name)
        if entry.header_offset >= 0 and head_end <= self._data_end:
            head = self._file.read(entry.header_offset, head_end - entry.header_offset)
            signature, flags, method, name_length, extra_length = _LOCAL_HEADER.unpack_from(head)
            start = head_end + extra_length
            is_named = signature == b"PK\x03\x04" and name_length == len(name) and head[_LOCAL_HEADER.size :] == name
            is_stored = method == zipfile.ZIP_STORED and not flags & _UNREADABLE_FLAGS
            if is_named and is_stored and start + entry.file_size <= self._data_end:
                return start
        raise CheckpointError(
            f"{self._name}: its record {quoted(entry.orig_filename)} does not lie where the table of contents says. "
            "Download it again."
        )


class _Window(io.RawIOBase):
    """A SourceFile as zipfile wants it, refusing reads so long that only a hostile table of contents asks for them."""

    def __init__(self, file: SourceFile, name: str, size_bytes: int):
        self._file, self._name, self._size_bytes = file, name, size_bytes
        self._position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        if position < 0:
            raise OSError("a place before the start of the file")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        rest = max(self._size_bytes - self._position, 0)
        size = rest if size is None or size < 0 else min(size, rest)
        if size > MAX_DIRECTORY_BYTES:
            raise CheckpointError(
                f"{self._name}: its table of contents has {grouped(size)} bytes, {grouped(MAX_DIRECTORY_BYTES)} are the most. "
                "Use another release."
            )
        data = self._file.read(self._position, size)
        self._position += size
        return data
