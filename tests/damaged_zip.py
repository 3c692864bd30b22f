"""Zips of which one member is spoiled in the ways that zips are in the field."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

REASONS = {
    "damaged": "damaged in the zip",
    "encrypted": "encrypted in the zip",
    "deflate64": "unknown compression in the zip (method 9, deflate64)",
}
"""Kind of damage -> how the reason starts."""


def write_zip(path: Path, files: Mapping[str, bytes], spoiled: str, kind: str) -> Path:
    """Write a deflated zip.

    Args:
        path: The zip.
        files: Content by name.
        spoiled: The name of the member that cannot be read.
        kind: See `REASONS`.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        entry = archive.getinfo(spoiled)
    data = bytearray(path.read_bytes())
    local = entry.header_offset
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(spoiled.encode()))
    if kind == "damaged":
        start = local + 30 + len(spoiled.encode())
        data[start : start + 8] = bytes(byte ^ 0xFF for byte in data[start : start + 8])
    elif kind == "encrypted":
        data[local + 6] |= 1
        data[central + 8] |= 1
    else:
        data[local + 8] = data[central + 10] = 9
    path.write_bytes(data)
    return path
