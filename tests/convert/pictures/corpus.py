"""Small DICOM files, each with one oddity that radiographs of the world have, and the grey values they must give.

The files are put together byte by byte (`dicom_bytes`); the values are worked out here from what was put in, never by
the code under test. `CASES` are checked through conversion and prediction alike.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.pixels import get_encoder

from tests.convert.pictures.dicom_bytes import (
    BIG_ENDIAN,
    DEFLATED,
    DX,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    JPEG_2000,
    JPEG_EXTENDED,
    JPEG_LS,
    RLE,
    Typed,
    element,
    encapsulated,
    file_meta,
    image,
)

FOR_PROCESSING, COLOUR = "for processing", "colour made grey"
WINDOW, RESCALE = "window ignored", "rescale ignored"


class Case(NamedTuple):
    """A file and what it must give.

    Attributes:
        name: The oddity.
        data: The file.
        grey: Expected grey values, shape (height, width); None where it has to be refused.
        reason: Part of the reason for refusing, a regular expression.
        tolerance: Grey values that a lossy compression may be off.
        stored: `passed through` or `decoded`.
        notes: What the manifest notes.
    """

    name: str
    data: bytes
    grey: np.ndarray | None = None
    reason: str = ""
    tolerance: int = 0
    stored: str = "decoded"
    notes: tuple[str, ...] = ()


def _picture() -> np.ndarray:
    """40 rows, 48 columns, a ramp with some texture, from 0 to 255."""
    rows, columns = np.mgrid[0:40, 0:48]
    grey = (rows * 5 + columns * 4 + 9 * ((rows // 4 + columns // 4) % 2)).astype(float)
    grey = np.floor(grey * 255 / grey.max() + 0.5).astype(np.uint8)
    grey[0, 0], grey[-1, -1] = 0, 255
    return grey


GREY = _picture()
TWELVE = GREY.astype(np.uint16) * 16 + 10  # 10 to 4,090
SIGNED = GREY.astype(np.int16) * 8 - 1000  # -1,000 to 1,040
RED, GREEN, BLUE = GREY, GREY[::-1], GREY[:, ::-1]
RGB = np.dstack([RED, GREEN, BLUE])


def stretched(values: np.ndarray) -> np.ndarray:
    """From the lowest and highest value to 0 and 255, halves up."""
    values = values.astype(np.int64)
    low, high = values.min(), values.max()
    return ((values - low) * 510 + (high - low)) // (2 * (high - low))


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.floor(rgb.astype(float) @ (0.299, 0.587, 0.114) + 0.5)


def windowed(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """LINEAR, PS3.3 C.11.2.1.2.1, as the Standard's pseudo code has it."""
    grey = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    grey[values <= center - 0.5 - (width - 1) / 2] = 0
    grey[values > center - 0.5 + (width - 1) / 2] = 255
    return np.floor(grey + 0.5)


# Encoders


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    """By Pillow: YCbCr with a JFIF segment if in colour."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def rgb_jpeg(pixels: np.ndarray) -> bytes:
    """Red, green and blue themselves, with an Adobe segment that says so."""
    return jpeg(pixels, keep_rgb=True)


def without_app(data: bytes, *markers: int) -> bytes:
    """Drop segments."""
    at, kept = 2, data[:2]
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        kept += b"" if data[at + 1] in markers else data[at:end]
        at = end
    return kept + data[at:]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def flat_blocks(levels: np.ndarray, precision: int, spectral_end: int = 63, start: int = 0xC1) -> bytes:
    """A JPEG of sequential DCT whose blocks of 8 x 8 pixels have one value each; their DC term is all there is.

    Args:
        levels: A value per block, shape (blocks down, blocks across).
        precision: 8 or 12 bits.
        spectral_end: What the scan header says; only 63 is right.
        start: The frame's marker, of Extended or, for 8 bits, Baseline.
    """
    bits = ""
    before = 0
    for level in levels.ravel().tolist():
        dc = level - (1 << precision - 1)  # 8 times that, quantised by 8
        difference, before = dc - before, dc
        size = abs(difference).bit_length()
        bits += f"{size:04b}"  # every code has 4 bits
        if size:
            bits += f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}"
        bits += "0"  # end of block
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    height, width = levels.shape[0] * 8, levels.shape[1] * 8
    dc_codes = bytes([0, 0, 0, 15]) + bytes(12) + bytes(range(15))
    ac_codes = bytes([1]) + bytes(15) + bytes([0])
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\x00\x08" + b"\1" * 63)
        + segment(start, struct.pack(">BHHB", precision, height, width, 1) + b"\1\x11\0")
        + segment(0xC4, b"\0" + dc_codes)
        + segment(0xC4, b"\x10" + ac_codes)
        + segment(0xDA, b"\1\1\0" + bytes([0, spectral_end, 0]))
        + data
        + b"\xff\xd9"
    )


LEVELS = np.array([[0, 100, 1000], [2048, 3000, 4095]], np.uint16)
BLOCKS = np.kron(LEVELS, np.ones((8, 8), np.uint16))


def rle(planes: list[np.ndarray]) -> bytes:
    """One segment a plane of bytes: rows as a run where they are even, else as literals."""
    segments = []
    for plane in planes:
        content = b""
        for row in plane.tolist():
            run = len(set(row)) == 1
            content += bytes([257 - len(row), row[0]]) if run else bytes([len(row) - 1, *row])
        segments.append(content + b"\0" * (len(content) % 2))
    starts = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(starts))) + b"".join(segments)


def by_pydicom(syntax: str, values: np.ndarray, bits: int, photometric: str = "MONOCHROME2") -> bytes:
    """JPEG-LS or JPEG 2000, without loss."""
    options = {
        "rows": values.shape[0],
        "columns": values.shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 1 if values.ndim == 2 else 3,
        "bits_allocated": 8 * values.itemsize,
        "bits_stored": bits,
        "pixel_representation": int(values.dtype.kind == "i"),
        "photometric_interpretation": photometric,
        "planar_configuration": 0,
    }
    plugin = {JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}[syntax]
    return get_encoder(uid.UID(syntax)).encode(values, encoding_plugin=plugin, **options)


def in_jp2(codestream: bytes, height: int, width: int, components: int = 1) -> bytes:
    """A JP2 file, as some archives put into DICOM."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content) + 8) + kind + content

    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, 7, 7, 0, 0))
    header += box(b"colr", struct.pack(">BBBI", 1, 0, 0, 17))
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", header)
        + box(b"jp2c", codestream)
    )


def compressed(syntax: str, *fragments: bytes, values: np.ndarray = GREY, bits: int = 8, **elements: Any) -> bytes:
    """An image whose pixel data are these fragments."""
    signed = values.dtype.kind == "i"
    elements = {"PixelData": encapsulated(*fragments), **elements}
    return image(values[..., 0] if values.ndim == 3 else values, bits, signed, syntax=syntax, **elements)


def coloured(photometric: str, content: bytes, planes: int = 0, **elements: Any) -> bytes:
    """A native image of three samples."""
    return image(
        GREY,
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        PlanarConfiguration=planes,
        PixelData=Typed("OB", content),
        **elements,
    )


# The files


def _written_in_many_ways() -> Iterator[Case]:
    whole = image(GREY)
    body = whole[len(file_meta(EXPLICIT)) :]
    implicit = image(GREY, syntax=IMPLICIT)[len(file_meta(IMPLICIT)) :]
    yield Case("explicit VR", whole, GREY)
    yield Case("implicit VR", image(GREY, syntax=IMPLICIT), GREY)
    yield Case("big endian, bytes", image(GREY, syntax=BIG_ENDIAN), GREY)
    swapped = GREY.reshape(-1, 2)[:, ::-1].tobytes()
    yield Case("big endian, bytes in words", image(GREY, syntax=BIG_ENDIAN, PixelData=Typed("OW", swapped)), GREY)
    yield Case("big endian, 12 bits", image(TWELVE, 12, syntax=BIG_ENDIAN), stretched(TWELVE))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    yield Case("deflated", file_meta(DEFLATED) + deflater.compress(body) + deflater.flush(), GREY)
    yield Case("no preamble, explicit VR", body, GREY)
    yield Case("no preamble, implicit VR", implicit, GREY)
    yield Case("no file header, explicit VR", bytes(128) + b"DICM" + body, GREY)
    yield Case("file header says implicit VR, which it is not", file_meta(IMPLICIT) + body, GREY)
    yield Case("file header says explicit VR, which it is not", file_meta(EXPLICIT) + implicit, GREY)
    padding = element(0xFFFCFFFC, "OB", bytes(10), implicit=False, order="<")
    yield Case("trailing padding", whole + padding, GREY)
    yield Case("an odd number of pixels", image(GREY[:5, :7]), GREY[:5, :7])
    for frames in ("", "0", "1", " 1"):
        yield Case(f"number of frames {frames!r}", image(GREY, NumberOfFrames=frames), GREY)


def _values() -> Iterator[Case]:
    yield Case("MONOCHROME1", image(255 - GREY, PhotometricInterpretation="MONOCHROME1"), GREY)
    yield Case("12 bits", image(TWELVE, 12), stretched(TWELVE))
    yield Case("16 bits signed", image(SIGNED, 16, True), stretched(SIGNED))
    left = GREY.astype(np.uint16) << 8 | 0x3
    yield Case("8 bits at the left of 16", image(left, 16, BitsStored=8, HighBit=15), GREY)
    yield Case("overlay above the stored bits", image(TWELVE | 0x8000, 12), stretched(TWELVE))
    wide = TWELVE.astype("<u4") * 1000
    form = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": Typed("OW", wide.tobytes())}
    yield Case("32 bits", image(TWELVE, 16, **form), stretched(TWELVE))
    padded = TWELVE.copy()
    padded[:, :4] = 4092
    expected = np.hstack([np.zeros((40, 4)), stretched(TWELVE[:, 4:])])
    yield Case("padding", image(padded, 12, PixelPaddingValue=4092), expected)
    padded[:5, :4] = 4095
    ends = {"PixelPaddingValue": 4092, "PixelPaddingRangeLimit": 4095}
    yield Case("a range of padding", image(padded, 12, **ends), expected)
    inverted = np.hstack([np.zeros((40, 4)), 255 - stretched(TWELVE[:, 4:])])
    yield Case("padding of MONOCHROME1", image(padded, 12, PhotometricInterpretation="MONOCHROME1", **ends), inverted)
    raw = {"SOPClassUID": DX, "PresentationIntentType": "FOR PROCESSING"}
    yield Case("for processing", image(TWELVE, 12, **raw), stretched(TWELVE), notes=(FOR_PROCESSING,))
    yield Case("an even picture", image(np.full((4, 4), 9), 12, WindowCenter="50", WindowWidth="2"), np.zeros((4, 4)))


def _windows_and_tables() -> Iterator[Case]:
    def window(center: str, width: str, **more: Any) -> bytes:
        return image(TWELVE, 12, WindowCenter=center, WindowWidth=width, **more)

    narrow = windowed(TWELVE.astype(float), 2000, 1000)
    yield Case("a window", window("2000", "1000"), narrow)
    yield Case("several windows", window("2000\\40", "1000\\400"), narrow)
    yield Case("a first window of width 0", window("2000\\2000", "0\\1000"), narrow)
    yield Case("an empty first window", window("\\2000", "\\1000"), narrow)
    yield Case("a first window of words", window("auto\\2000", "auto\\1000"), narrow)
    yield Case("a decimal comma", window("2000,5", "1000,0"), windowed(TWELVE.astype(float), 2000.5, 1000))
    yield Case("a window of no end", window("0", "1e308"), reason="window 0 / 1e\\+308 .*one grey level")
    yield Case("a window of width 0", window("0", "0"), stretched(TWELVE))
    for center, width in (("wide", "1000"), ("2000", "x"), ("2000", "-1000"), ("2000", ""), ("", "1000"), ("5", "0.5")):
        data = window(center, width)
        yield Case(f"window {center!r} / {width!r}", data, stretched(TWELVE), notes=(WINDOW,))
    data = image(TWELVE, 12, RescaleSlope="two", RescaleIntercept="0")
    yield Case("a rescale of words", data, stretched(TWELVE), notes=(RESCALE,))
    exact = np.floor(((TWELVE - 2000.0) / 1000 + 0.5).clip(0, 1) * 255 + 0.5)
    yield Case("LINEAR_EXACT", window("2000", "1000", VOILUTFunction="LINEAR_EXACT"), exact)
    sigmoid = np.floor(255 / (1 + np.exp(-4 * (TWELVE - 2000.0) / 1000)) + 0.5)
    yield Case("SIGMOID", window("2000", "1000", VOILUTFunction="SIGMOID"), sigmoid)
    hounsfield = image(
        SIGNED, 16, True, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="-90", WindowWidth="901"
    )
    yield Case("rescale and window", hounsfield, windowed(SIGNED * 2.0 - 100, -90, 901))

    squares = [entry * entry // 255 for entry in range(256)]
    expected = np.array(squares)[GREY]

    def table(first: int, bits: int, entries: Any, vr: str = "US") -> dict[str, Any]:
        return {"LUTDescriptor": Typed(vr, [256, first, bits]), "LUTData": entries}

    sixteen = table(10, 16, [257 * entry for entry in squares])
    stored = GREY.astype(np.uint16) + 10
    yield Case("VOI LUT of 16 bits", image(stored, 12, VOILUTSequence=[sixteen]), expected)
    empty = {"LUTDescriptor": b"", "LUTData": b""}
    yield Case("a VOI LUT after an empty one", image(stored, 12, VOILUTSequence=[empty, {}, sixteen]), expected)
    yield Case("empty VOI LUTs and a window", window("2000", "1000", VOILUTSequence=[empty, {}]), narrow)
    modality = image(stored, 12, ModalityLUTSequence=[sixteen], WindowCenter="32768", WindowWidth="65536")
    yield Case("modality LUT and window", modality, expected)
    packed = table(10, 8, bytes(squares))
    yield Case("VOI LUT of bytes", image(stored, 12, VOILUTSequence=[packed]), expected)
    below = GREY.astype(np.int16) - 200
    for syntax, name in ((EXPLICIT, "explicit"), (IMPLICIT, "implicit"), (BIG_ENDIAN, "big endian")):
        negative = {"VOILUTSequence": [table(2**16 - 200, 8, squares)]}
        yield Case(f"VOI LUT from -200 on, {name}", image(below, 16, True, syntax=syntax, **negative), expected)
        rescaled = image(stored, 12, syntax=syntax, RescaleSlope="1", RescaleIntercept="-210", **negative)
        yield Case(f"VOI LUT from -200 on after a rescale, {name}", rescaled, expected)
        negative = {"ModalityLUTSequence": [table(2**16 - 200, 8, squares)]}
        data = image(below, 16, True, syntax=syntax, WindowCenter="128", WindowWidth="256", **negative)
        yield Case(f"modality LUT from -200 on, {name}", data, expected)


def _compressed() -> Iterator[Case]:
    plain = without_app(jpeg(GREY), 0xE0)
    plain += b"\0" * (len(plain) % 2)
    parts = [plain[:200], plain[200:400], plain[400:]]
    offsets = struct.pack("<I", 0)
    passed = {"tolerance": 6, "stored": "passed through"}
    yield Case("JPEG", compressed(JPEG, plain), GREY, **passed)
    yield Case("JPEG in three fragments", compressed(JPEG, *parts), GREY, **passed)
    data = compressed(JPEG, PixelData=encapsulated(*parts, offsets=offsets))
    yield Case("JPEG in three fragments, with offsets", data, GREY, **passed)
    table = {"ExtendedOffsetTable": struct.pack("<Q", 0), "ExtendedOffsetTableLengths": struct.pack("<Q", len(plain))}
    yield Case("JPEG with an extended offset table", compressed(JPEG, plain, **table), GREY, **passed)
    odd = plain.rstrip(b"\0")
    odd = odd if len(odd) % 2 else odd[:2] + b"\xff" + odd[2:]  # a fill byte
    for byte in (0x00, 0xFF, 0x20, 0xCC, 0x33, 0xD9):
        data = compressed(JPEG, odd + bytes([byte]))
        yield Case(f"JPEG of odd length, padded with {byte:02X}", data, GREY, **passed)
    yield Case("JPEG of 8 bits in 16", compressed(JPEG, plain, BitsAllocated=16), GREY, **passed)
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    data = compressed(JPEG, plain, BitsAllocated=16, **inverted)
    yield Case("MONOCHROME1, JPEG of 8 bits in 16", data, 255 - GREY, tolerance=6)
    yield Case("progressive JPEG", compressed(JPEG, jpeg(GREY, progressive=True)), GREY, "", 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield Case("JPEG that Exif would turn", compressed(JPEG, jpeg(GREY, exif=exif)), GREY, "", 6)
    for end in (63, 0):
        data = compressed(JPEG_EXTENDED, flat_blocks(LEVELS, 12, end), values=BLOCKS, bits=12)
        yield Case(f"JPEG Extended of 12 bits, end of spectrum {end}", data, stretched(BLOCKS))
        data = compressed(JPEG_EXTENDED, flat_blocks(LEVELS // 16, 8, end), values=BLOCKS)
        yield Case(f"JPEG Extended of 8 bits, end of spectrum {end}", data, BLOCKS // 16)
        data = compressed(JPEG, flat_blocks(LEVELS // 16, 8, end, 0xC0), values=BLOCKS)
        yield Case(f"JPEG Baseline, end of spectrum {end}", data, BLOCKS // 16, stored="passed through")
        data = compressed(JPEG, flat_blocks(LEVELS // 16, 8, end, 0xC0), values=BLOCKS, **inverted)
        yield Case(f"MONOCHROME1, JPEG Baseline, end of spectrum {end}", data, 255 - BLOCKS // 16)

    yield Case("RLE", compressed(RLE, rle([GREY])), GREY)
    yield Case("RLE of even rows", compressed(RLE, rle([np.sort(GREY.T).T // 64 * 64])), np.sort(GREY.T).T // 64 * 64)
    planes = [TWELVE >> 8, TWELVE & 0xFF]
    yield Case("RLE of 12 bits", compressed(RLE, rle(planes), values=TWELVE, bits=12), stretched(TWELVE))
    for syntax, name in ((JPEG_LS, "JPEG-LS"), (JPEG_2000, "JPEG 2000")):
        yield Case(name, compressed(syntax, by_pydicom(syntax, GREY, 8)), GREY)
        data = compressed(syntax, by_pydicom(syntax, TWELVE, 12), values=TWELVE, bits=12)
        yield Case(f"{name} of 12 bits", data, stretched(TWELVE))
        data = compressed(syntax, by_pydicom(syntax, SIGNED, 16), values=SIGNED, bits=16)
        yield Case(f"{name} of 16 bits, signed", data, stretched(SIGNED))
    frame = by_pydicom(JPEG_LS, GREY, 8)
    strange = frame[:2] + segment(0xDB, b"\0" + b"\1" * 64) + frame[2:]
    yield Case("JPEG-LS with a table of JPEG's, which one decoder refuses", compressed(JPEG_LS, strange), GREY)
    jp2 = in_jp2(by_pydicom(JPEG_2000, GREY, 8), *GREY.shape)
    yield Case("JPEG 2000 in a JP2 file", compressed(JPEG_2000, jp2), GREY)


def _colours() -> Iterator[Case]:
    noted = {"notes": (COLOUR,), "tolerance": 1}
    yield Case("RGB", coloured("RGB", RGB.tobytes()), luma(RGB), **noted)
    planes = RED.tobytes() + GREEN.tobytes() + BLUE.tobytes()
    yield Case("RGB in planes", coloured("RGB", planes, 1), luma(RGB), **noted)
    same = np.dstack([GREY] * 3)
    yield Case("RGB of three equal samples", coloured("RGB", same.tobytes()), GREY, notes=(COLOUR,))
    deep = (same.astype("<u2") * 16).tobytes()
    form = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    yield Case("RGB of 12 bits", coloured("RGB", deep, **form), stretched(GREY), notes=(COLOUR,))
    ignored = {"WindowCenter": "10", "WindowWidth": "5", "PixelPaddingValue": 255}
    data = coloured("RGB", same.tobytes(), **ignored)
    yield Case("RGB with a window, which is for grey", data, GREY, notes=(COLOUR,))
    chroma = np.full_like(GREY, 90)
    ybr = np.dstack([GREY, chroma, 255 - chroma])
    yield Case("YBR_FULL", coloured("YBR_FULL", ybr.tobytes()), GREY, notes=(COLOUR,))
    halved = np.dstack([GREY[:, ::2], GREY[:, 1::2], chroma[:, ::2], chroma[:, ::2]])
    yield Case("YBR_FULL_422", coloured("YBR_FULL_422", halved.tobytes()), GREY, notes=(COLOUR,))

    ramp = list(range(255, -1, -1))
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", struct.pack("<256H", *(257 * x for x in ramp))))
    }
    data = image(GREY, PhotometricInterpretation="PALETTE COLOR", **palette)
    yield Case("palette of 16 bits", data, 255 - GREY, notes=(COLOUR,))
    palette |= {key: struct.pack("<256H", *ramp) for key in palette if key.endswith("Data")}
    data = image(GREY, PhotometricInterpretation="PALETTE COLOR", **palette)
    yield Case("palette of 16 bits that uses 8", data, 255 - GREY, notes=(COLOUR,))

    three = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    lossy = {"tolerance": 12, "notes": (COLOUR,)}
    data = compressed(JPEG, jpeg(RGB, subsampling=0), PhotometricInterpretation="YBR_FULL_422", **three)
    yield Case("JPEG in colour", data, luma(RGB), **lossy)
    data = compressed(JPEG, jpeg(RGB, subsampling=0), PhotometricInterpretation="RGB", **three)
    yield Case("JPEG in colour whose header says RGB", data, luma(RGB), **lossy)
    yield Case("JPEG in colour whose header says grey", compressed(JPEG, jpeg(RGB, subsampling=0)), luma(RGB), **lossy)
    bare = without_app(jpeg(RGB, subsampling=0), 0xE0)
    yield Case("JPEG in colour without a word of it", compressed(JPEG, bare), luma(RGB), **lossy)
    data = compressed(JPEG, rgb_jpeg(RGB), PhotometricInterpretation="RGB", **three)
    yield Case("JPEG of red, green and blue", data, luma(RGB), **lossy)
    data = compressed(JPEG, jpeg(GREY), PhotometricInterpretation="YBR_FULL_422", **three)
    yield Case("grey JPEG whose header says colour", data, GREY, tolerance=6, stored="passed through")
    data = compressed(RLE, rle([RED, GREEN, BLUE]), PhotometricInterpretation="RGB", **three)
    yield Case("RLE in colour", data, luma(RGB), **noted)
    frame = by_pydicom(JPEG_2000, RGB, 8, "YBR_RCT")
    data = compressed(JPEG_2000, frame, PhotometricInterpretation="YBR_RCT", **three)
    yield Case("JPEG 2000 in colour", data, luma(RGB), **noted)
    data = compressed(JPEG_LS, by_pydicom(JPEG_LS, RGB, 8, "RGB"), PhotometricInterpretation="RGB", **three)
    yield Case("JPEG-LS in colour", data, luma(RGB), **noted)


def _refused() -> Iterator[Case]:
    flat = image(TWELVE, 12, WindowCenter="90000", WindowWidth="10")
    yield Case("a window beside the values", flat, reason="window 90000 / 10 .*one grey level of all values from 10 to")
    yield Case("two frames", image(GREY, NumberOfFrames="2"), reason="2 frames, expected one")
    report = {"Rows": None, "Columns": None, "PixelData": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}
    yield Case("a report", image(GREY, **report), reason="no image: Basic Text SR Storage")
    yield Case("CMYK", image(GREY, SamplesPerPixel=4, PhotometricInterpretation="CMYK"), reason="4 samples per pixel")
    jp2 = in_jp2(by_pydicom(JPEG_2000, np.vstack([GREY, GREY]), 8), 80, 48)
    yield Case("JP2 of another size", compressed(JPEG_2000, jp2), reason="frame of 80 x 48 pixels, header says 40 x 48")
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 100_000
    yield Case("RLE that goes on and on", compressed(RLE, bomb), reason="RLE that decodes to more than 2,944 bytes")
    frame = by_pydicom(JPEG_LS, GREY, 8)
    spoilt = frame[:200] + bytes(4) + frame[204:]
    yield Case("damaged JPEG-LS", compressed(JPEG_LS, spoilt), reason="cannot be decoded as JPEG-LS Lossless")
    deep = np.full((16, 24), 4000, np.uint16)
    four = compressed(JPEG, flat_blocks(LEVELS, 12), values=deep, bits=8)
    yield Case("12 bits in 8", four, reason="12 bits, header says 8 are allocated")


CASES = [
    *_written_in_many_ways(), *_values(), *_windows_and_tables(), *_compressed(), *_colours(), *_refused(),
]  # fmt: skip
