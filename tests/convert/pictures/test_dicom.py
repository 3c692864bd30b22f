"""Rendering against known pixels, hand-worked examples of the Standard, and pydicom's own functions."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import DataElement, Dataset, config, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.tag import Tag

from convert.pictures import UnusablePicture, decode_picture, read_picture
from convert.pictures.dicom import read_header, to_picture
from convert.pictures.picture import MAX_PIXELS
from convert.synthetic.dicom_writer import ENCODINGS, write_dicom

pytestmark = pytest.mark.filterwarnings("error", "ignore:::pydicom")  # as it is where pytest has not set its own

LOSSLESS = [name for name in ENCODINGS if not name.startswith("jpeg-baseline")]


@pytest.fixture(scope="module")
def pixels():
    """A gradient with noise, 38 high and 51 wide, that has 0 and 255."""
    noise = np.random.default_rng(7).normal(0, 25, (38, 51))
    picture = np.clip(np.linspace(-20, 275, 51) + noise, 0, 255).astype(np.uint8)
    picture[0, :2] = 0, 255
    return picture


@pytest.fixture(scope="module")
def jpeg_file(pixels):
    return write_dicom(pixels, "jpeg-baseline", image_id="a", patient_age="34", patient_sex="M", view="PA")


@pytest.fixture(scope="module")
def native_file(pixels):
    return write_dicom(pixels, "explicit-vr", image_id="a", patient_age="34", patient_sex="M", view="PA")


def read(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(data))


def edited(data, syntax=None, **elements):
    """The file with elements replaced, or removed where None, without any check of their values."""
    dataset = read(data)
    for keyword, value in elements.items():
        if keyword in dataset:
            del dataset[keyword]
        if value is not None:
            vr = dictionary_VR(keyword)
            vr = {"US or SS": "SS" if dataset.get("PixelRepresentation") else "US", "OB or OW": "OW"}.get(vr, vr)
            if vr in ("DS", "IS"):  # pydicom refuses to hold what is no number
                text = ("\\".join(value) if isinstance(value, list) else value).encode()
                text += b" " * (len(text) % 2)
                dataset[keyword] = RawDataElement(Tag(keyword), vr, len(text), text, 0, False, True)
            else:
                dataset.add(DataElement(Tag(keyword), vr, value, validation_mode=config.IGNORE))
    if "PixelData" in elements and dataset.file_meta.TransferSyntaxUID.is_encapsulated and elements["PixelData"]:
        dataset["PixelData"].is_undefined_length = True
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, dataset)
    content = file.getvalue()
    if syntax is not None:
        old, new = dataset.file_meta.TransferSyntaxUID, uid.UID(syntax)
        pad = [text.encode() + b"\0" * (len(text) % 2) for text in (old, new)]
        elements_of = [b"\x02\x00\x10\x00UI" + struct.pack("<H", len(text)) + text for text in pad]
        length = struct.unpack("<L", content[140:144])[0] + len(pad[1]) - len(pad[0])
        content = content[:140] + struct.pack("<L", length) + content[144:].replace(*elements_of, 1)
    return content


def grey_file(values, bits=None, signed=False, **elements):
    """A native file of stored values."""
    values = np.atleast_2d(values)
    allocated = 8 if bits is not None and bits <= 8 else 16
    stored = values.astype(
        {(8, False): "u1", (8, True): "i1", (16, False): "<u2", (16, True): "<i2"}[allocated, signed]
    )
    content = stored.tobytes()
    base = write_dicom(np.zeros((2, 2), np.uint8), "explicit-vr", image_id="a")
    bits = bits or allocated
    return edited(
        base,
        **{
            "Rows": values.shape[0],
            "Columns": values.shape[1],
            "BitsAllocated": allocated,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(signed),
            "PixelData": content + b"\0" * (len(content) % 2),
            **elements,
        },
    )


def grey(data):
    """Rendered grey values, as one list."""
    picture = to_picture(data)
    assert picture.suffix == ".png"
    return decode_picture(picture.encoded).ravel().tolist()


def frame_of(data):
    return next(generate_frames(read(data).PixelData, number_of_frames=1))


def with_frame(data, frame, **elements):
    return edited(data, PixelData=encapsulate([frame], has_bot=False), **elements)


# Pictures that are kept exactly


@pytest.mark.parametrize("encoding", LOSSLESS)
def test_lossless_encodings_give_back_the_pixels(encoding, pixels):
    picture = to_picture(write_dicom(pixels, encoding, image_id="a"))
    assert (picture.suffix, picture.stored) == (".png", "decoded")
    stored = cv2.imdecode(np.frombuffer(picture.encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, pixels)
    np.testing.assert_array_equal(decode_picture(picture.encoded), pixels)
    assert (picture.header.height, picture.header.width) == pixels.shape


@pytest.mark.parametrize("encoding", ["jpeg-baseline", "jpeg-baseline-fragments"])
@pytest.mark.parametrize("verify", [False, True])
def test_baseline_jpeg_is_passed_through(encoding, verify, pixels):
    data = write_dicom(pixels, encoding, image_id="a")
    picture = to_picture(data, verify=verify)
    assert (picture.suffix, picture.stored) == (".jpg", "passed through")
    assert picture.encoded == frame_of(data).rstrip(b"\0")
    assert np.abs(decode_picture(picture.encoded).astype(int) - pixels).mean() < 8


def test_fragments_are_joined_to_the_same_jpeg(pixels):
    whole, parts = (to_picture(write_dicom(pixels, name, image_id="a")).encoded for name in ENCODINGS[:2])
    assert whole == parts


@pytest.mark.full
def test_a_frame_of_odd_length_is_stored_without_its_pad_byte(jpeg_file, tmp_path):
    frame = frame_of(jpeg_file).rstrip(b"\0")
    frame = frame[:-2] + b"\x00" * (len(frame) % 2 == 0) + frame[-2:]  # an odd length, so that a zero byte is added
    data = with_frame(jpeg_file, frame)
    assert frame_of(data) == frame + b"\0"
    assert to_picture(data).encoded == frame

    # Ultralytics encodes a JPEG anew, in its place, that does not end with the end marker.
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.data.utils import verify_image

    for content, kept in ((to_picture(data).encoded, True), (frame + b"\0", False)):
        file = tmp_path / "picture.jpg"
        file.write_bytes(content)
        assert verify_image(((str(file), 0), ""))[1:3] == (1, 0)  # found, none corrupt
        assert (file.read_bytes() == content) == kept


def test_extended_syntax_with_a_baseline_stream_is_passed_through(jpeg_file):
    assert to_picture(edited(jpeg_file, syntax=uid.JPEGExtended12Bit)).stored == "passed through"


IDENTITIES = [
    {"WindowCenter": "128", "WindowWidth": "256"},  # LINEAR: ((x - 127.5) / 255 + 0.5) * 255 = x
    {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"},
    {"RescaleSlope": "1", "RescaleIntercept": "0"},
    {"PixelPaddingValue": 0},  # black already
    {"PresentationLUTShape": "IDENTITY"},
    {"WindowCenter": "", "WindowWidth": ""},
    {"WindowCenter": "0", "WindowWidth": "0"},
    {"NumberOfFrames": "1"},
]

CHANGES = [
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"WindowCenter": "100", "WindowWidth": "256"},
    {"WindowCenter": "128", "WindowWidth": "256", "VOILUTFunction": "SIGMOID"},
    {"RescaleSlope": "2", "RescaleIntercept": "0"},
    {"RescaleSlope": "1", "RescaleIntercept": "-1024"},
    {"PixelPaddingValue": 255},
    {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3},
    {"PixelRepresentation": 1},
]


@pytest.mark.parametrize("elements", IDENTITIES, ids=str)
def test_a_header_that_changes_nothing_lets_the_jpeg_pass(elements, jpeg_file):
    assert to_picture(edited(jpeg_file, **elements)).stored == "passed through"


@pytest.mark.parametrize("elements", CHANGES, ids=str)
def test_a_header_that_asks_for_another_rendering_is_obeyed(elements, jpeg_file):
    assert to_picture(edited(jpeg_file, **elements)).stored == "decoded"


def test_inverted_jpeg_is_the_negative_of_the_decoded_one(jpeg_file):
    # The decoders of pydicom and OpenCV may differ by one grey value in places.
    positive = decode_picture(frame_of(jpeg_file)).astype(int)
    negative = np.array(grey(edited(jpeg_file, PhotometricInterpretation="MONOCHROME1"))).reshape(positive.shape)
    assert np.abs(positive + negative - 255).max() <= 1


def test_a_progressive_jpeg_is_decoded(jpeg_file, pixels):
    progressive = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert b"\xff\xc2" in progressive
    picture = to_picture(with_frame(jpeg_file, progressive))
    assert picture.stored == "decoded"
    assert np.abs(decode_picture(picture.encoded).astype(int) - decode_picture(progressive)).max() <= 1


def test_a_jpeg_that_readers_would_turn_is_decoded_unturned(jpeg_file, pixels):
    frame = frame_of(jpeg_file)
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turning = frame[:2] + b"\xff\xe1" + struct.pack(">H", len(orientation) + 2) + orientation + frame[2:]
    assert decode_picture(turning).shape == pixels.shape[::-1]  # OpenCV turns it by 90 degrees
    picture = to_picture(with_frame(jpeg_file, turning))
    assert picture.stored == "decoded"
    assert decode_picture(picture.encoded).shape == pixels.shape


def test_a_bare_data_set_is_read(pixels):
    for encoding in ("implicit-vr", "explicit-vr", "big-endian"):
        data = write_dicom(pixels, encoding, image_id="a", view="AP")
        start = 144 + struct.unpack("<L", data[140:144])[0]
        picture = to_picture(data[start:])
        np.testing.assert_array_equal(decode_picture(picture.encoded), pixels)
        assert picture.header == to_picture(data).header


# More than 8 bits, compressed


def by_pydicom(data, syntax, plugin, tmp_path):
    dataset = read(data)
    dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    file = BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


def by_gdcm(data, syntax, plugin, tmp_path):
    gdcm = pytest.importorskip("gdcm")
    native, compressed = tmp_path / "native.dcm", tmp_path / "compressed.dcm"
    native.write_bytes(data)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(native))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(compressed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return compressed.read_bytes()


@pytest.mark.parametrize(
    ("compress", "syntax", "plugin"),
    [
        (by_pydicom, uid.RLELossless, "pydicom"),
        (by_pydicom, uid.JPEGLSLossless, "pyjpegls"),
        (by_pydicom, uid.JPEG2000Lossless, "pylibjpeg"),
        (by_gdcm, uid.JPEGLosslessSV1, ""),
    ],
    ids=["rle", "jpeg-ls", "jpeg-2000", "jpeg-lossless"],
)
@pytest.mark.parametrize(
    ("bits", "signed"), [(10, False), (12, False), (14, False), (16, False), (12, True), (16, True)]
)
def test_deep_values_come_through_every_compression(compress, syntax, plugin, bits, signed, tmp_path):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.random.default_rng(bits).integers(low, high, (38, 52), endpoint=True)
    values[0, :2] = low, high
    data = compress(grey_file(values, bits, signed), syntax, plugin, tmp_path)
    assert read(data).file_meta.TransferSyntaxUID == syntax
    expected = np.floor((values - low) * 255 / (high - low) + 0.5)
    assert grey(data) == expected.ravel().tolist()


# Rendering


def test_linear_windows_by_hand():
    # PS3.3 C.11.2.1.2.1 with c 2048, w 4096: ((x - 2047.5) / 4095 + 0.5) * 255 = x * 255 / 4095
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert grey(grey_file([0, 1365, 2730, 4095], 12, **window)) == [0, 85, 170, 255]
    # c 0, w 100: black up to -50, white from 49 on, ((x + 0.5) / 99 + 0.5) * 255 between
    window = {"WindowCenter": "0", "WindowWidth": "100"}
    assert grey(grey_file([-900, -50, -17, 16, 49, 50, 900], 16, True, **window)) == [0, 0, 85, 170, 255, 255, 255]
    # c 0, w 1: black up to -0.5, white above
    assert grey(grey_file([-2, -1, 0, 1], 16, True, WindowCenter="0", WindowWidth="1")) == [0, 0, 255, 255]


def test_exact_and_sigmoid_windows_by_hand():
    window = {"WindowCenter": "0", "WindowWidth": "100", "VOILUTFunction": "LINEAR_EXACT"}
    # (x / 100 + 0.5) * 255; 0 gives 127.5, rounded up
    values = [-90, -50, -30, 0, 10, 30, 50, 90]
    assert grey(grey_file(values, 16, True, **window)) == [0, 0, 51, 128, 153, 204, 255, 255]
    window["VOILUTFunction"] = "SIGMOID"
    # 255 / (1 + exp(-x / 25)): exp(-1) gives 186.42, exp(1) 68.58, exp(-2) 224.60
    values = [-30000, -25, 0, 25, 50, 30000]
    assert grey(grey_file(values, 16, True, **window)) == [0, 69, 128, 186, 225, 255]


def test_the_first_of_several_windows_counts():
    windows = {"WindowCenter": ["0", "500"], "WindowWidth": ["100", "2000"]}
    assert grey(grey_file([-50, -17, 16, 49], 16, True, **windows)) == [0, 85, 170, 255]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(700, 900.5), (2047.5, 4096), (-300, 50), (1234.25, 3)])
def test_windows_agree_with_pydicom(function, center, width):
    values = np.arange(4096).reshape(64, 64)
    rescale = {"RescaleSlope": "1.5", "RescaleIntercept": "-1024"}
    window = {"WindowCenter": str(center), "WindowWidth": str(width), "VOILUTFunction": function}
    data = grey_file(values, 12, **window, **rescale)
    dataset = read(data)
    with np.errstate(over="ignore"):
        windowed = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = -1024, 1.5 * 4095 - 1024
    expected = (windowed - low) / (high - low) * 255
    assert np.abs(np.array(grey(data)) - expected.ravel()).max() <= 0.5 + 1e-6


def test_monochrome1_is_inverted_after_the_window():
    window = {"WindowCenter": "0", "WindowWidth": "100", "PhotometricInterpretation": "MONOCHROME1"}
    # Inverting the stored values first would give other windows: these are 255 minus those of MONOCHROME2.
    assert grey(grey_file([-900, -50, -17, 16, 49], 16, True, **window)) == [255, 255, 170, 85, 0]


@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY"])
def test_presentation_lut_shape_does_not_invert_again(shape):
    one = grey_file([0, 1, 200, 255], 8, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
    assert grey(one) == [255, 254, 55, 0]
    assert grey(grey_file([0, 1, 200, 255], 8, PresentationLUTShape=shape)) == [0, 1, 200, 255]


def test_without_a_window_8_bits_are_kept_and_others_stretched():
    assert grey(grey_file([10, 20, 30], 8)) == [10, 20, 30]
    assert grey(grey_file([10, 20, 30], 16)) == [0, 128, 255]
    assert grey(grey_file([1000, 1510, 2020], 12)) == [0, 128, 255]
    assert grey(grey_file([-100, -50, 100], 16, True)) == [0, 64, 255]
    assert grey(grey_file([-128, 0, 127], 8, True)) == [0, 128, 255]
    # 8 bits with a rescale are no grey values any more.
    assert grey(grey_file([10, 20, 30], 8, RescaleSlope="-3", RescaleIntercept="7")) == [255, 128, 0]
    assert grey(grey_file([500, 500], 12)) == [0, 0]


FLAT = {
    "window 2725 / 5310 .* from 32744 to 65535": ([32744, 40000, 65535], 16, {}),
    "window -5000 / 10 ": ([-100, 100], 16, {"signed": True, "WindowCenter": "-5000", "WindowWidth": "10"}),
    "window 128 / 1 .* from 0 to 127": ([0, 127], 8, {"WindowCenter": "128", "WindowWidth": "1"}),
    "window 90000 / 2 ": ([0, 9], 16, {"WindowCenter": "90000", "WindowWidth": "2", "VOILUTFunction": "SIGMOID"}),
    "lookup table .* from 0 to 9": ([0, 9], 12, {"VOILUTSequence": [[3, 500, 8], [7, 8, 9]]}),
    "lookup table .* from 5 to 6": ([5, 6], 12, {"ModalityLUTSequence": [[3, 8, 8], [7, 8, 9]]}),
    "from 5 to 6": ([5, 6, 4000], 12, {"WindowCenter": "1000", "WindowWidth": "9", "PixelPaddingValue": 4000}),
}


@pytest.mark.parametrize("reason", FLAT)
def test_several_values_and_one_grey_level_are_refused(reason):
    values, bits, elements = FLAT[reason]
    elements = {key: lut(*value) if key.endswith("Sequence") else value for key, value in elements.items()}
    elements = elements or {"WindowCenter": "2725", "WindowWidth": "5310"}
    with pytest.raises(UnusablePicture, match=reason):
        to_picture(grey_file(values, bits, **elements))


def test_an_even_picture_is_no_fault_of_the_window():
    assert grey(grey_file([9, 9], 12, WindowCenter="1000", WindowWidth="9")) == [0, 0]
    assert grey(grey_file([9, 9, 7], 12, WindowCenter="1000", WindowWidth="9", PixelPaddingValue=7)) == [0, 0, 0]


def test_a_flat_picture_of_a_wide_range_of_32_bits_is_refused():
    values = np.array([[0, 1_000_000, 3_000_000]], "<u4").tobytes()
    form = {"Rows": 1, "Columns": 3, "BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": values}
    with pytest.raises(UnusablePicture, match="one grey level of all values from 0 to 3000000"):
        to_picture(edited(grey_file([0], 16), **form, WindowCenter="-900", WindowWidth="10"))


def test_values_of_32_bits():
    values = np.array([[0, 1_000_000, 3_000_000]], "<u4")
    data = edited(
        grey_file([0], 16, Rows=1, Columns=3), BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=values.tobytes()
    )
    assert grey(data) == [0, 85, 255]


def test_padding_is_black_and_does_not_count():
    assert grey(grey_file([63536 - 65536, 0, 50, 100], 16, True, PixelPaddingValue=-2000)) == [0, 0, 128, 255]
    padded = {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095}
    assert grey(grey_file([4000, 4050, 4095, 0, 50, 100], 12, **padded)) == [0, 0, 0, 0, 128, 255]
    padded |= {"PhotometricInterpretation": "MONOCHROME1"}
    assert grey(grey_file([4000, 4050, 4095, 0, 50, 100], 12, **padded)) == [0, 0, 0, 255, 127, 0]
    assert grey(grey_file([7, 7], 12, PixelPaddingValue=7)) == [0, 0]


def test_bits_above_and_below_the_stored_ones_are_ignored():
    # 12 bits in the upper part of 16, as some old files have them; the low 4 bits are an overlay.
    assert grey(grey_file([0 << 4 | 5, 100 << 4 | 15, 200 << 4], 16, BitsStored=12)) == [0, 128, 255]
    # 12 bits in the lower part, an overlay above
    assert grey(grey_file([0 | 0x8000, 100, 200 | 0xF000], 12)) == [0, 128, 255]
    assert grey(grey_file([0x0FFF, 0x0000, 0x0001], 12, PixelRepresentation=1)) == [0, 128, 255]


def lut(descriptor, content, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
    item.add(DataElement(Tag("LUTData"), vr, content))
    return [item]


def test_voi_lut_ends_and_middle():
    data = grey_file([0, 10, 11, 12, 13, 900], 12, VOILUTSequence=lut([4, 10, 12], [0, 1365, 2730, 4095]))
    assert grey(data) == [0, 0, 85, 170, 255, 255]


def test_voi_lut_with_more_entries_than_grey_values():
    # pydicom 3.0's own apply_voi wraps round at 256 here.
    data = grey_file([0, 4, 400, 1023], 12, VOILUTSequence=lut([1024, 0, 8], [entry // 4 for entry in range(1024)]))
    assert grey(data) == [0, 1, 100, 255]


@pytest.mark.parametrize(("content", "bits"), [(bytes([0, 85, 170, 255]), 8), (struct.pack("<4H", 0, 85, 170, 255), 8)])
def test_voi_lut_as_bytes(content, bits):
    assert grey(grey_file([0, 1, 2, 3], 12, VOILUTSequence=lut([4, 0, bits], content, "OW"))) == [0, 85, 170, 255]


def test_voi_lut_goes_before_a_window_and_after_the_rescale():
    data = grey_file(
        [100, 110, 120],
        12,
        VOILUTSequence=lut([3, -10, 8], [10, 20, 30]),
        RescaleSlope="0.1",
        RescaleIntercept="-20",
        WindowCenter="0",
        WindowWidth="4000",
    )
    assert grey(data) == [10, 20, 30]


def test_voi_lut_of_all_65536_entries():
    sequence = lut([0, 0, 16], np.arange(65536, dtype="<u2").tobytes(), "OW")
    assert grey(grey_file([0, 257 * 99, 65535], 16, VOILUTSequence=sequence)) == [0, 99, 255]


def test_modality_lut_before_the_window():
    table = lut([3, 0, 16], [0, 1365, 4095])
    table[0].ModalityLUTType = "US"
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    assert grey(grey_file([0, 1, 2], 12, ModalityLUTSequence=table, **window)) == [0, 85, 255]


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": "wide", "WindowWidth": "100"},
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "100", "WindowWidth": "-5"},
        {"WindowCenter": "100"},
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"RescaleSlope": "nan", "RescaleIntercept": "x"},
        {"VOILUTSequence": []},
    ],
    ids=str,
)
def test_malformed_rendering_values_count_as_absent(elements):
    assert grey(grey_file([3, 4, 250], 8, **elements)) == [3, 4, 250]


# Size


def test_downscaling_averages_and_is_lossless(native_file, jpeg_file, pixels):
    for data, source in ((native_file, pixels), (jpeg_file, decode_picture(frame_of(jpeg_file)))):
        picture = to_picture(data, size=17)
        assert (picture.suffix, picture.stored) == (".png", "decoded")
        small = decode_picture(picture.encoded)
        assert small.shape == (13, 17)  # 38 * 17 / 51 = 12.67
        assert abs(small.mean() - source.mean()) < 1
        assert (picture.header.width, picture.header.height) == (51, 38)


def test_a_smaller_picture_is_not_enlarged(native_file, jpeg_file, pixels):
    assert to_picture(jpeg_file, size=51) == to_picture(jpeg_file)
    assert decode_picture(to_picture(native_file, size=1000).encoded).shape == pixels.shape
    assert decode_picture(to_picture(native_file, size=1).encoded).shape == (1, 1)
    with pytest.raises(ValueError, match="size is 0"):
        read_picture(native_file, size=0)


# What is refused


def bad_files(pixels, jpeg_file, native_file):
    frame = frame_of(jpeg_file)
    scan = frame.index(b"\xff\xda")
    size = pixels.size
    report = edited(native_file, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Rows=None, Columns=None, PixelData=None)
    colour = cv2.imencode(".jpg", np.dstack([np.hstack([pixels] * 2)] * 3))[1].tobytes()
    stray = frame[: len(frame) // 2] + b"\xff\xc4" + frame[len(frame) // 2 :]
    lossless = write_dicom(pixels, "jpeg-lossless", image_id="a")
    jpeg_2000 = write_dicom(pixels, "jpeg-2000", image_id="a")
    rle = write_dicom(pixels, "rle", image_id="a")
    yield "not DICOM: starts with b''", b""
    yield r"not DICOM: starts with b'\\x89PNG", cv2.imencode(".png", pixels)[1].tobytes()
    yield "not DICOM", b"<!DOCTYPE html><html>" * 99
    yield "not DICOM", bytes(range(256)) * 99
    yield "truncated file", native_file[:132]
    yield "no image: .* or a truncated file", native_file[:700]
    yield "no pixel data in this Secondary Capture Image Storage, or a truncated file", native_file[: -size - 13]
    yield f"truncated pixel data: {size // 2:,} bytes, expected {size:,}", native_file[: -size // 2]
    yield "truncated pixel data: 1,937 bytes", native_file[:-1]
    yield "truncated file", jpeg_file[:-9]
    yield "truncated file", jpeg_file[:-300]
    yield "no pixel data", edited(native_file, PixelData=None)
    yield "no pixel data", edited(native_file, PixelData=b"")
    yield "no image: Basic Text SR Storage", report
    yield "0 rows and 51 columns", edited(native_file, Rows=0)
    yield "38 rows and 0 columns", edited(native_file, Columns=0)
    yield "38 rows and 0 columns", edited(native_file, Columns=None)
    yield "65535 x 65535 pixels", edited(native_file, Rows=65535, Columns=65535)
    yield "expected 3,876", edited(native_file, Rows=76)
    yield "1,938 bytes of pixel data, expected 51", edited(native_file, Rows=1)
    yield (
        "truncated pixel data: 1,938 bytes, expected 5,814",
        edited(native_file, SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    )
    yield "3 samples per pixel, .* 'MONOCHROME2'", edited(native_file, SamplesPerPixel=3)
    yield "1 samples per pixel, .* 'RGB'", edited(native_file, PhotometricInterpretation="RGB")
    yield "4 samples per pixel, .* 'CMYK'", edited(native_file, SamplesPerPixel=4, PhotometricInterpretation="CMYK")
    yield "broken palette", edited(native_file, PhotometricInterpretation="PALETTE COLOR")
    yield "photometric interpretation ''", edited(native_file, PhotometricInterpretation=None)
    yield "frame of 38 x 102 pixels", with_frame(jpeg_file, colour)
    yield "2 frames, expected one", edited(native_file, NumberOfFrames="2")
    yield "1 bits stored in 1 allocated", edited(native_file, BitsAllocated=1, BitsStored=1)
    yield "12 bits stored in 8 allocated", edited(native_file, BitsStored=12)
    yield "floating-point pixel data", edited(native_file, PixelData=None, FloatPixelData=bytes(size * 4))
    yield "native pixel data, expected JPEG Baseline", edited(native_file, syntax=uid.JPEGBaseline8Bit)
    yield (
        "compressed pixel data, expected Explicit VR Little Endian",
        edited(jpeg_file, syntax=uid.ExplicitVRLittleEndian),
    )
    yield "compressed pixel data", edited(native_file, PixelData=frame + b"\0" * (len(frame) % 2))
    yield "transfer syntax 1.2.3.4", edited(native_file, syntax="1.2.3.4")
    yield "transfer syntax .*MPEG2", edited(jpeg_file, syntax=uid.MPEG2MPML)
    yield "transfer syntax .*JPIP", edited(jpeg_file, syntax="1.2.840.10008.1.2.4.94")
    yield "truncated JPEG Baseline .*expected the end marker", with_frame(jpeg_file, frame[: len(frame) // 2])
    yield (
        "truncated JPEG Baseline .*expected the end marker",
        with_frame(jpeg_file, frame[: len(frame) // 2] + bytes(500)),
    )
    yield "broken JPEG: starts with", with_frame(jpeg_file, b"abcd" + frame)
    yield "broken JPEG: no marker segment", with_frame(jpeg_file, b"\xff\xd8\xff\xd9")
    yield "broken JPEG: no marker segment", with_frame(jpeg_file, frame[:2] + b"ab" + frame[2:])
    yield "broken JPEG: no marker segment", with_frame(jpeg_file, frame[:2] + b"\xff\xe0\xff\xff" + frame[2:])
    yield "broken JPEG: no start of frame", with_frame(jpeg_file, frame[:2] + frame[scan:])
    yield "broken JPEG: marker ffc4 amid its data", with_frame(jpeg_file, stray)
    yield "broken JPEG: marker ffd9 amid its data", with_frame(jpeg_file, frame.rstrip(b"\0") + b"x" + frame)
    yield (
        "no quantisation or Huffman table",
        with_frame(jpeg_file, frame[:2] + frame[frame.index(b"\xff\xc0") : frame.index(b"\xff\xc4")] + frame[scan:]),
    )
    yield "frame of 38 x 51 pixels, header says 38 x 50", edited(jpeg_file, Columns=50)
    yield "frame of 38 x 51 pixels, header says 39 x 51", edited(lossless, Rows=39)
    yield "frame of 38 x 51 pixels, header says 39 x 51", edited(jpeg_2000, Rows=39)
    yield "truncated JPEG 2000", with_frame(jpeg_2000, frame_of(jpeg_2000)[:900])
    yield "truncated JPEG Lossless", with_frame(lossless, frame_of(lossless)[:900])
    yield "cannot be decoded as RLE", with_frame(rle, frame_of(rle)[:700])
    yield "cannot be decoded as RLE", with_frame(rle, b"\xff" * 700)
    tables = frame_of(lossless).index(b"\xff\xc4") + 5
    yield (
        "cannot be decoded as JPEG Lossless",
        with_frame(lossless, frame_of(lossless)[:tables] + b"\xff" * 16 + frame_of(lossless)[tables + 16 :]),
    )
    yield "cannot be decoded as JPEG 2000", with_frame(jpeg_2000, frame_of(jpeg_2000)[:60] + b"abc" * 9 + b"\xff\xd9")
    yield (
        r"truncated or damaged pixel data: items of 65,\d+ bytes",
        edited(jpeg_file, PixelData=b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\xff\xff\0\0" + frame),
    )
    yield "frames in the pixel data", edited(jpeg_file, PixelData=encapsulate([frame, frame]))
    yield "broken VOILUTSequence", edited(native_file, VOILUTSequence=lut([9, 0, 8], [1, 2]))
    yield "broken ModalityLUTSequence", edited(native_file, ModalityLUTSequence=[Dataset()])


def test_unusable_files_are_refused_with_one_line(pixels, jpeg_file, native_file):
    for reason, data in bad_files(pixels, jpeg_file, native_file):
        with pytest.raises(UnusablePicture, match=reason) as error:
            to_picture(data)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300


def test_every_truncation_of_a_file_is_refused(jpeg_file, native_file, pixels):
    deflated = write_dicom(pixels, "deflated", image_id="a")
    for data in (jpeg_file, native_file, deflated):
        for length in range(0, len(data) - 8, 41):
            with pytest.raises(UnusablePicture):
                to_picture(data[:length])


def test_random_damage_never_raises_anything_else(jpeg_file, native_file, pixels):
    rng = np.random.default_rng(3)
    files = [jpeg_file, native_file, *(write_dicom(pixels, name, image_id="a") for name in ("implicit-vr", "voi-lut"))]
    refused = 0
    for _ in range(400):
        data = bytearray(files[rng.integers(len(files))])
        for position in rng.integers(128, len(data) if rng.random() < 0.3 else 1300, 3):
            data[position] = rng.integers(256)
        try:
            to_picture(bytes(data))
        except UnusablePicture:
            refused += 1
    assert 20 < refused < 380


def test_verify_accepts_every_whole_file(pixels):
    for encoding in ENCODINGS:
        data = write_dicom(pixels, encoding, image_id="a")
        assert to_picture(data, verify=True) == to_picture(data)


def test_verify_finds_data_that_end_before_the_last_pixel(jpeg_file, pixels):
    frame = frame_of(jpeg_file).rstrip(b"\0")
    for missing in (8, 100, 600):
        data = with_frame(jpeg_file, frame[: -2 - missing] + b"\xff\xd9")
        assert to_picture(data).stored == "passed through"  # what the check of the markers cannot see
        with pytest.raises(UnusablePicture, match=r"broken JPEG: its data end|cannot be decoded"):
            to_picture(data, verify=True)
    lossless = write_dicom(pixels, "jpeg-lossless", image_id="a")
    with pytest.raises(UnusablePicture, match=r"broken JPEG: its data end|cannot be decoded"):
        to_picture(with_frame(lossless, frame_of(lossless)[:800] + b"\xff\xd9"), verify=True)


def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(pixels, monkeypatch):
    data = write_dicom(pixels, "deflated", image_id="a")
    start = 144 + struct.unpack("<L", data[140:144])[0]
    content = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(content)
    zeros = bytes(2**20)
    bomb += b"".join(deflater.compress(zeros) for _ in range(40)) + deflater.flush()
    monkeypatch.setattr("convert.pictures.elements._MAX_INFLATED", 2**24)
    with pytest.raises(UnusablePicture, match=f"expected at most {MAX_PIXELS:,} pixels"):
        to_picture(data[:start] + bomb)


# Header


def test_header_fields(pixels):
    data = write_dicom(
        pixels,
        "jpeg-baseline",
        image_id="img-1",
        patient_id=" 00012 ",
        patient_age="034Y",
        patient_sex="F",
        view="AP",
        pixel_spacing_mm=0.168,
        sop_uid="1.2.3",
    )
    header = read_header(data)
    assert header == to_picture(data).header
    assert (header.width, header.height) == (51, 38)
    assert (header.view, header.sex, header.age_years, header.pixel_spacing_mm) == ("AP", "F", 34, 0.168)
    assert (header.patient_id, header.sop_instance_uid) == ("00012", "1.2.3")


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("34", 34),
        ("034Y", 34),
        ("034y", 34),
        ("0", 0),
        ("150", 150),
        ("155Y", 155),
        ("6M", 0),
        ("011M", 0),
        ("012M", 1),
        ("024M", 2),
        ("030M", 2),
        ("012W", 0),
        ("052W", 0),
        ("053W", 1),
        ("3D", 0),
        ("365D", 0),
        ("366D", 1),
        (" 7 ", 7),
        ("", None),
        (None, None),
        ("Y", None),
        ("-3", None),
        ("61.0", 61),
        ("7.00", 7),
        ("34.5", None),
        ("34.0M", None),
        ("34.", None),
        ("1234", None),
        ("garbage", None),
    ],
)
def test_ages(text, years, native_file):
    assert read_header(edited(native_file, PatientAge=text)).age_years == years


@pytest.mark.parametrize(
    ("elements", "field", "expected"),
    [
        ({"PatientSex": "f"}, "sex", "F"),
        ({"PatientSex": "O"}, "sex", "O"),
        ({"PatientSex": "unknown"}, "sex", None),
        ({"PatientSex": None}, "sex", None),
        ({"ViewPosition": "ap"}, "view", "AP"),
        ({"ViewPosition": "", "SeriesDescription": "view: PA"}, "view", "PA"),
        ({"ViewPosition": None, "SeriesDescription": "Chest VIEW:ap"}, "view", "AP"),
        ({"ViewPosition": "", "SeriesDescription": "Chest"}, "view", None),
        ({"PixelSpacing": ["0.2", "0.3"]}, "pixel_spacing_mm", 0.2),
        ({"ImagerPixelSpacing": ["0.15", "0.15"]}, "pixel_spacing_mm", 0.15),
        ({"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.1", "0.1"]}, "pixel_spacing_mm", 0.2),
        ({"PixelSpacing": ["0", "0"], "ImagerPixelSpacing": ["0.1", "0.1"]}, "pixel_spacing_mm", 0.1),
        ({"PixelSpacing": ["0,2", "0,2"]}, "pixel_spacing_mm", 0.2),
        ({"PixelSpacing": ["0.2 mm", "0.2 mm"]}, "pixel_spacing_mm", None),
        ({"PixelSpacing": ["nan", "nan"]}, "pixel_spacing_mm", None),
        ({"PatientID": None}, "patient_id", ""),
        ({"SOPInstanceUID": ""}, "sop_instance_uid", ""),
    ],
)
def test_header_values(elements, field, expected, native_file):
    data = edited(native_file, **elements)
    assert getattr(read_header(data), field) == expected
    assert decode_picture(to_picture(data).encoded).shape == (38, 51)


@pytest.mark.parametrize(
    ("character_set", "stored", "expected"),
    [
        ("ISO_IR 192", "Ä-1".encode(), "Ä-1"),
        ("ISO_IR 100", "Ä-1".encode("latin-1"), "Ä-1"),
        ("GB18030", "王-1".encode("gb18030"), "王-1"),
        ("ISO_IR 192", b"\xff\xfe-1", "\ufffd\ufffd-1"),  # no UTF-8
        ("KLINGON", b"\xc4-1", "Ä-1"),  # what nobody knows is read as Latin-1
        ("\\ISO 2022 IR 87", b"\x1b$B;3", "\x1b$B;3"),  # ASCII, with the escapes as they are: tells patients apart
    ],
)
def test_character_sets(character_set, stored, expected, native_file):
    data = edited(native_file, PatientID="x" * len(stored) + " " * (len(stored) % 2))
    dataset = edited(data, SpecificCharacterSet=character_set)
    content = dataset.replace(b"x" * len(stored), stored)
    header = to_picture(content).header
    assert header == read_header(content)
    assert header.patient_id == expected


def test_read_header_needs_no_pixel_data(native_file, pixels):
    assert read_header(native_file[: -pixels.size // 2]) == read_header(native_file)
    for data in (b"", b"text" * 99, edited(native_file, Rows=0)):
        with pytest.raises(UnusablePicture):
            read_header(data)


def test_decode_picture_refuses_what_is_no_picture():
    for content in (b"", b"no picture", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match="no picture"):
            decode_picture(content)


def test_passing_through_decodes_and_encodes_nothing(jpeg_file, native_file, monkeypatch):
    def never(*_args, **_options):
        raise AssertionError("pixels are touched")

    for name in ("cv2.imdecode", "cv2.imencode", "convert.pictures.dicom.decode_frame"):
        monkeypatch.setattr(name, never)
    assert to_picture(jpeg_file).encoded == frame_of(jpeg_file).rstrip(b"\0")
    with pytest.raises(AssertionError, match="pixels are touched"):
        to_picture(native_file)
