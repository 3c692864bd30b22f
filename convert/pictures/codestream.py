"""What a compressed frame says of itself, by its markers and without decoding: JPEG, JPEG-LS, JPEG 2000 and RLE.

A JPEG is checked by its markers: start, tables, size, one scan without foreign markers, end. This finds truncated and
overwritten files. It does not find damage inside the entropy-coded data that leaves the markers alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from pydicom import uid

from convert.pictures.picture import MAX_PIXELS, Header, UnusablePicture

BASELINE = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}  # a baseline stream is a valid extended one
HUFFMAN = {*BASELINE, uid.JPEGLossless, uid.JPEGLosslessSV1}
JPEG = {*HUFFMAN, uid.JPEGLSLossless, uid.JPEGLSNearLossless}
JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}

_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers of JPEG; F7 is that of JPEG-LS
_SEQUENTIAL, _LOSSY = {0xC0, 0xC1}, {0xC0, 0xC1, 0xC2}
_COMMENTS = {*range(0xE0, 0xF0), 0xFE}
EOI = b"\xff\xd9"
"""Ends JPEG, JPEG-LS and JPEG 2000 alike."""
UNLIKELY = b"\x5a\x33\xc7\x1d" * 16
"""Goes on the data of a JPEG, to find out whether they are complete."""
INCOMPLETE = "broken JPEG: its data end before its last pixel, expected data for every pixel"
_RLE_READ = [*range(2, 130), 1, *[2] * 127]
_RLE_WRITTEN = [*range(1, 129), 0, *range(128, 1, -1)]
"""Bytes that are read and written by what a run of RLE begins with, PS3.5 G.3.1: literals, nothing, or one repeated."""
_RGB_IDS = (b"RGB", b"rgb")
_PLAIN_JFIF = 14  # bytes of a JFIF segment without a thumbnail: nothing but a version and a density


class Codestream(NamedTuple):
    """A compressed frame and what its markers say.

    Attributes:
        data: From its start to its end marker, without what pads it to an even length.
        components: Samples of a pixel; 0 where the frame does not say it.
        precision: Bits of a sample; 0 where the frame does not say it.
        luma_first: Whether the first of three components is the luma; None where the header has to say.
        is_grey_baseline: A grey baseline JPEG that is sound by its markers and that no reader would turn.
        comments: Start and end of the segments that are no part of the picture and may hold names.
        spectral_end: Where a scan's end of the spectrum is stated wrongly; 0 if nowhere.
    """

    data: bytes
    components: int = 0
    precision: int = 0
    luma_first: bool | None = None
    is_grey_baseline: bool = False
    comments: tuple[tuple[int, int], ...] = ()
    spectral_end: int = 0

    def without_comments(self) -> bytes:
        """The same picture without COM and APPn segments, which may name a patient."""
        if not self.comments:
            return self.data
        starts = [0, *(end for _, end in self.comments)]
        ends = [*(start for start, _ in self.comments), len(self.data)]
        return b"".join(self.data[start:end] for start, end in zip(starts, ends, strict=True))

    def for_decoders(self) -> bytes:
        """The same picture with a scan header that decoders accept.

        Some writers state 0 for the end of the spectral selection, where a sequential scan always has 63.
        """
        at = self.spectral_end
        return self.data[:at] + b"\x3f" + self.data[at + 1 :] if at else self.data


def read_codestream(frame: bytes, syntax: uid.UID, header: Header) -> Codestream:
    """Read a compressed frame's markers.

    Args:
        frame: The whole frame, its fragments joined.
        syntax: Its transfer syntax, a compressed one.
        header: Says how large it has to be.

    Raises:
        UnusablePicture: Truncated, broken, or of another size than the header says.
    """
    if syntax == uid.RLELossless:
        _check_rle(frame, header)
    if syntax not in JPEG | JPEG_2000:
        return Codestream(frame)
    data = frame.rstrip(b"\0")
    if not data.endswith(EOI) and data[:-1].endswith(EOI):
        data = data[:-1]  # the byte that makes an odd length even should be zero, and often is not
    if not data.endswith(EOI):
        raise UnusablePicture(f"truncated {syntax.name}: ends with {frame[-4:].hex()}, expected the end marker ffd9")
    return _jpeg(data, syntax, header) if syntax in JPEG else _jpeg_2000(data, header)


def _check_size(height: int, width: int, header: Header) -> None:
    if (height, width) != (header.height, header.width):
        raise UnusablePicture(f"frame of {height} x {width} pixels, header says {header.height} x {header.width}")


def _jpeg(frame: bytes, syntax: uid.UID, header: Header) -> Codestream:
    """Walk the markers up to the scan."""
    segments: dict[int, bytes] = {}
    comments = []
    if not frame.startswith(b"\xff\xd8"):
        raise UnusablePicture(f"broken JPEG: starts with {frame[:4].hex()}, expected {syntax.name}")
    at = 2
    while 0xDA not in segments:
        while frame[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if not at + 4 <= end <= len(frame) or frame[at] != 0xFF:
            raise UnusablePicture(f"broken JPEG: no marker segment at byte {at}, expected {syntax.name}")
        marker, content = frame[at + 1], frame[at + 4 : end]
        segments[marker] = content
        if marker in _COMMENTS and not (content.startswith(b"JFIF\0") and len(content) == _PLAIN_JFIF):
            comments.append((at, end))
        at = end
    start = next((marker for marker in segments if marker in _SOF and len(segments[marker]) >= 6), None)
    if start is None:
        raise UnusablePicture("broken JPEG: no start of frame before the scan")
    precision, height, width, components = struct.unpack(">BHHB", segments[start][:6])
    _check_size(height, width, header)
    is_grey_baseline = components == 1 and start == 0xC0 and precision == 8 and syntax in BASELINE
    if is_grey_baseline:
        _check_baseline(frame, segments, at)
    return Codestream(
        frame,
        components,
        precision,
        luma_first=_luma_first(segments, start) if components == 3 and start in _LOSSY else None,
        is_grey_baseline=is_grey_baseline and 0xE1 not in segments,  # Exif may ask readers to turn the picture
        comments=tuple(comments),
        spectral_end=at - 2 if start in _SEQUENTIAL and segments[0xDA].endswith(b"\0\0\0") else 0,
    )


def _check_baseline(frame: bytes, segments: dict[int, bytes], at: int) -> None:
    """Refuse a baseline JPEG that lacks tables or, from its scan's data on, has a marker before its end."""
    if not {0xDB, 0xC4} <= segments.keys():
        raise UnusablePicture("broken JPEG: no quantisation or Huffman table before the scan")
    stray = _first_stray_marker(frame, at)
    if stray is not None and frame[stray:] != EOI:
        found = frame[stray : stray + 2].hex()
        raise UnusablePicture(f"broken JPEG: marker {found} amid its data, expected none before the end")


def _luma_first(segments: dict[int, bytes], start: int) -> bool | None:
    """Whether three components are luma and chroma, as libjpeg finds it out; None where only DICOM's header says it."""
    if segments[start][6::3][:3] in _RGB_IDS:
        return False
    if segments.get(0xE0, b"").startswith(b"JFIF\0"):
        return True
    adobe = segments.get(0xEE, b"")
    return adobe[11] != 0 if adobe.startswith(b"Adobe") and len(adobe) >= 12 else None


def _first_stray_marker(frame: bytes, start: int) -> int | None:
    """Where, from `start` on, the first byte FF is that is no stuffed, fill or restart byte's; None if nowhere."""
    scan = np.frombuffer(frame, np.uint8, offset=start)
    marks = np.flatnonzero(scan[:-1] == 0xFF)
    second = scan[marks + 1]
    stray = marks[(second != 0x00) & (second != 0xFF) & ((second < 0xD0) | (second > 0xD7))]
    return start + int(stray[0]) if len(stray) else None


def _jpeg_2000(frame: bytes, header: Header) -> Codestream:
    """Read the size segment, which is the first one; in a JP2 file it is in a box."""
    at = 0
    if frame[4:8] == b"jP  ":
        while frame[at + 4 : at + 8] != b"jp2c":
            length = int.from_bytes(frame[at : at + 4], "big")
            if length < 8 or at + length >= len(frame):
                raise UnusablePicture("broken JP2: no codestream in it, expected one")
            at += length
        at += 16 if frame[at : at + 4] == b"\0\0\0\1" else 8
    if frame[at : at + 4] != b"\xff\x4f\xff\x51" or at + 43 > len(frame):
        raise UnusablePicture(f"broken JPEG 2000: starts with {frame[at : at + 4].hex()}, expected ff4fff51")
    width, height, left, top = struct.unpack_from(">4I", frame, at + 8)
    _check_size(height - top, width - left, header)
    components, depth = struct.unpack_from(">HB", frame, at + 40)
    # A transform of the components gives red, green and blue when it is undone; without one the header has to say.
    cod = frame.find(b"\xff\x52", at, at + 1000)
    transformed = cod >= 0 and frame[cod + 8 : cod + 9] == b"\1"
    return Codestream(frame, components, (depth & 0x7F) + 1, False if transformed else None)


def _check_rle(frame: bytes, header: Header) -> None:
    """Refuse runs that give far more than the image has: decoders write them all out before they look."""
    most = min(header.width * header.height, MAX_PIXELS) + 1024
    offsets = [offset for offset in struct.unpack_from("<15I", frame.ljust(64, b"\0"), 4) if offset]
    for start, end in zip(offsets, [*offsets[1:], len(frame)], strict=True):
        at, count = start, 0
        end = min(end, len(frame))
        while at < end:
            length = frame[at]
            at += _RLE_READ[length]
            count += _RLE_WRITTEN[length]
        if count > most:
            raise UnusablePicture(
                f"RLE that decodes to more than {most:,} bytes, expected {header.height} x {header.width} of each"
            )
