"""Members of a zip, read so that whatever is wrong with one of them is one exception with a reason in one line."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

from common.errors import UnreadableError

_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError)


def read_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo, most: int = -1) -> bytes:
    """The content of a member, checked against its checksum when all of it is read.

    Args:
        archive: An open zip.
        member: Its name or entry in the zip's directory.
        most: Read at most so many bytes; -1 reads all.

    Raises:
        UnreadableError: It is damaged, encrypted, too large, or compressed in a way that Python does not know.
    """
    entry = archive.getinfo(member) if isinstance(member, str) else member
    try:
        with archive.open(entry) as file:
            return file.read(most)
    except RuntimeError as error:  # NotImplementedError is one, too
        if entry.flag_bits & _ENCRYPTED:
            raise UnreadableError("encrypted in the zip; extract it with its password") from error
        kind = zipfile.compressor_names.get(entry.compress_type, "")  # type: ignore[attr-defined]
        name = f"method {entry.compress_type}{f', {kind}' if kind else ''}"
        raise UnreadableError(f"unknown compression in the zip ({name}); extract it and zip it as deflate") from error
    except MemoryError as error:
        raise UnreadableError(f"too large for this machine's memory ({entry.file_size:,} bytes)") from error
    except _DAMAGED as error:
        raise UnreadableError(f"damaged in the zip ({describe(error)})") from error


def describe(error: Exception) -> str:
    """What an exception says, in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
