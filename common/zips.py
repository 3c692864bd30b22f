"""Zips that others made: clean names, bounded reads, and one exception for whatever is wrong with a member."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from common.errors import UnreadableError
from common.files import MOST_OF_A_PICTURE, too_large
from common.walking import escape, is_clutter

_ENCRYPTED, _IS_UTF8 = 0x1, 0x800  # bits of a member's flags
_UNICODE_PATH = 0x7075  # an extra field of Info-ZIP's: the name in UTF-8
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, OverflowError)
"""What zipfile raises of a zip or a member that is not whole; of these an OSError can be the disk's fault as well."""
_CHUNK = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""Names that are clean as they are, and no clutter: nearly all."""


class Archive:
    """A zip, read without extracting it.

    Attributes:
        names: Its files, sorted; with `/` whatever the zip has, in Unicode whatever its program forgot to say, and
            escaped as `walking.escape` does. Hidden ones and what systems leave are not among them.
    """

    names: list[str]

    def __init__(self, file: Path | BinaryIO) -> None:
        """Open it.

        Raises:
            UnreadableError: It is no zip, or damaged.
        """
        try:
            self._zip = zipfile.ZipFile(file)
        except (*DAMAGED, RuntimeError, IndexError, MemoryError) as error:
            raise UnreadableError(f"not a readable zip ({describe(error)})") from error
        self._entries: dict[str, list[zipfile.ZipInfo]] = {}
        for entry in self._zip.infolist():
            name = entry.filename
            if not _PLAIN.fullmatch(name):
                name = clean_name(entry)
                if not name or is_clutter(name):
                    continue
            self._entries.setdefault(name, []).append(entry)
        self.names = sorted(self._entries)

    def read(self, name: str, *, most: int = -1, limit: int = MOST_OF_A_PICTURE) -> bytes:
        """The content of a file; see `read_member`.

        Args:
            name: One of `names`.
            most: Read at most so many bytes; -1 reads all.
            limit: See `read_member`.

        Raises:
            UnreadableError: It is not there, there twice with different content, or see `read_member`.
        """
        return read_member(self._zip, self._entry(name), most, limit)

    def open_inner(self, name: str) -> Archive:
        """Open a zip in this zip, where it lies.

        Raises:
            UnreadableError: It is no zip, or compressed once more, so that nothing in it can be found without unpacking
                all of it.
        """
        entry = self._entry(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise UnreadableError("a zip that is compressed once more in its zip; extract it")
        if not isinstance(self._zip.filename, str):
            raise UnreadableError("a zip in a zip in a zip; extract it")
        path = self._zip.filename
        try:
            with open(path, "rb") as file:  # its own handle: others read the outer zip meanwhile
                file.seek(entry.header_offset)
                name_length, extra_length = struct.unpack("<26xHH", file.read(30))
            window = _Window(path, entry.header_offset + 30 + name_length + extra_length, entry.file_size)
        except DAMAGED as error:
            raise UnreadableError(f"damaged in the zip ({describe(error)})") from error
        return Archive(io.BufferedReader(window))

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entries = self._entries.get(name)
        if entries is None:
            raise UnreadableError("not in the zip")
        if len(entries) > 1 and len({(entry.CRC, entry.file_size) for entry in entries}) > 1:
            raise UnreadableError(f"{len(entries)} times in the zip, with different content; keep one")
        return entries[-1]


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  # closed with the window
        self._start, self._size, self._place = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the start of the zip")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._place)
        data = self._file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def clean_name(entry: zipfile.ZipInfo) -> str:
    """A member's name as `walking.files_below` would give it, were it extracted; empty for a folder."""
    name = _in_unicode(entry).replace("\\", "/")  # as old programs of Windows write it
    if name.endswith("/"):
        return ""
    return "/".join(escape(part) for part in PurePosixPath(name).parts if part != "/")


def _in_unicode(entry: zipfile.ZipInfo) -> str:
    """The name in Unicode: without the flag that it is UTF-8, it is taken for code page 437, which few use."""
    name = entry.filename
    if entry.flag_bits & _IS_UTF8 or name.isascii():
        return name
    try:
        raw = name.encode("cp437")
    except UnicodeEncodeError:
        return name
    said = _unicode_path(entry.extra, raw)
    try:
        return (said or raw).decode("utf-8")
    except UnicodeDecodeError:
        return name


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """The name in Info-ZIP's extra field; empty where there is none, or one of an older name."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[1:5] == struct.pack("<I", zlib.crc32(raw)):
            return field[5:]
    return b""


def read_member(
    archive: zipfile.ZipFile, member: str | zipfile.ZipInfo, most: int = -1, limit: int = MOST_OF_A_PICTURE
) -> bytes:
    """The content of a member, checked against its checksum when all of it is read.

    Args:
        archive: An open zip.
        member: Its name or entry in the zip's directory.
        most: Read at most so many bytes; -1 reads all.
        limit: Refuse a member that has more bytes than this; a few kilobytes of zip can become gigabytes.

    Raises:
        UnreadableError: It is damaged, encrypted, too large, or compressed in a way that Python does not know.
    """
    entry = archive.getinfo(member) if isinstance(member, str) else member
    if entry.file_size > limit and most < 0:
        raise too_large(entry.file_size, limit)
    try:
        with archive.open(entry) as file:
            # Without a number, zipfile unpacks up to 2 GiB, however few bytes the directory promises.
            return file.read(entry.file_size + 1 if most < 0 else most)
    except RuntimeError as error:  # NotImplementedError is one, too
        if entry.flag_bits & _ENCRYPTED:
            raise UnreadableError("encrypted in the zip; extract it with its password") from error
        kind = zipfile.compressor_names.get(entry.compress_type, "")  # type: ignore[attr-defined]
        name = f"method {entry.compress_type}{f', {kind}' if kind else ''}"
        raise UnreadableError(f"unknown compression in the zip ({name}); extract it and zip it as deflate") from error
    except MemoryError as error:
        raise UnreadableError(f"too large for this machine's memory ({entry.file_size:,} bytes)") from error
    except DAMAGED as error:
        raise UnreadableError(f"damaged in the zip ({describe(error)})") from error


def unpack_gzip(data: bytes, limit: int) -> bytes:
    """The content of a `.gz`.

    Args:
        data: The file's.
        limit: Refuse content of more bytes than this.

    Raises:
        UnreadableError: It is damaged, or too large.
    """
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise too_large(size, limit, at_least=True)
            return b"".join(parts)
    except UnreadableError:
        raise
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UnreadableError(f"damaged .gz ({describe(error)})") from error


def describe(error: BaseException) -> str:
    """What an exception says, in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
