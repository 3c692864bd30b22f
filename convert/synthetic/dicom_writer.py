"""Writes an 8-bit picture as DICOM, in the encodings radiographs come in: for sample data, tests and benchmarks.

Every lossless encoding is made so that rendering it as the Standard says gives exactly the pixels that were written.
The same arguments give the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset, config, dcmwrite, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

RSNA_JPEG_QUALITY = 92
"""The quality, on libjpeg's scale, at which OpenCV writes the quantisation table of the RSNA files."""

_UID_NAMESPACE = uuid.UUID("5b0f6a1e-6f0a-4c52-9f0c-6b8b6a3f1d77")


class _Stored(NamedTuple):
    """What is stored for a picture: the values, how many bits they have, and the elements that turn them back."""

    values: NDArray[Any]
    bits: int
    elements: dict[str, Any]


def _as_it_is(pixels: NDArray[np.uint8]) -> _Stored:
    return _Stored(pixels, 8, {})


def _monochrome1(pixels: NDArray[np.uint8]) -> _Stored:
    return _Stored(255 - pixels, 8, {"PhotometricInterpretation": "MONOCHROME1"})


def _window_of_12_bits(pixels: NDArray[np.uint8]) -> _Stored:
    # The window's slope runs from center - 0.5 - (width - 1) / 2 = 1000 to 1000 + 2040: eight values per grey.
    return _Stored(8 * pixels.astype(np.uint16) + 1000, 12, {"WindowCenter": "2020.5", "WindowWidth": "2041"})


def _signed_with_rescale(pixels: NDArray[np.uint8]) -> _Stored:
    # As in CT: -200 to 310 are stored for -900 to 120, which is also the window.
    rescale = {"RescaleIntercept": "-500", "RescaleSlope": "2", "RescaleType": "HU"}
    return _Stored(2 * pixels.astype(np.int16) - 200, 16, {"WindowCenter": "-389.5", "WindowWidth": "1021", **rescale})


def _voi_lut(pixels: NDArray[np.uint8]) -> _Stored:
    # A table of 16 bits, three entries per grey, that starts at the stored value 100; grey g is 257 g of 65,535.
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [766, 100, 16])
    table.add_new("LUTExplanation", "LO", "NORMAL")
    table.add_new("LUTData", "US", [entry * 257 // 3 for entry in range(766)])
    return _Stored(3 * pixels.astype(np.uint16) + 100, 12, {"VOILUTSequence": [table]})


def _jpeg_baseline(values: NDArray[Any], quality: int) -> list[bytes]:
    jpeg = cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
    # The RSNA files have no JFIF segment: 18 bytes after the start marker.
    return [jpeg[:2] + jpeg[20:] if jpeg[2:4] == b"\xff\xe0" else jpeg]


def _jpeg_in_three(values: NDArray[Any], quality: int) -> list[bytes]:
    jpeg = _jpeg_baseline(values, quality)[0]
    length = len(jpeg) // 6 * 2  # all but the last must be of even length
    return [jpeg[:length], jpeg[length : 2 * length], jpeg[2 * length :]]


def _jpeg_lossless(values: NDArray[Any], quality: int) -> list[bytes]:
    """JPEG Lossless, Process 14, Selection Value 1, by GDCM, which is the only encoder of it here."""
    import gdcm

    height, width = values.shape
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimension(0, width)
    image.SetDimension(1, height)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8, 8, 7, 0))  # samples, bits allocated and stored, high bit, unsigned
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    native = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    native.SetByteStringValue(values.tobytes())
    image.SetDataElement(native)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    image.thisown = False  # `change` deletes it; if Python did so too, the process would abort
    if not change.Change():
        # Known of an odd number of pixels: GDCM pads them to an even length, and then finds a byte too many.
        raise ValueError(
            f"GDCM cannot encode {height} x {width} pixels as JPEG Lossless, expected an even number of them"
        )
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    # GDCM's binding gives bytes as text.
    return [fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")]


def _by_pydicom(syntax: uid.UID, plugin: str) -> Callable[[NDArray[Any], int], list[bytes]]:
    def encode(values: NDArray[Any], quality: int) -> list[bytes]:
        height, width = values.shape
        options: dict[str, Any] = {
            "rows": height,
            "columns": width,
            "number_of_frames": 1,
            "samples_per_pixel": 1,
            "bits_allocated": 8,
            "bits_stored": 8,
            "pixel_representation": 0,
            "photometric_interpretation": "MONOCHROME2",
        }
        return [get_encoder(syntax).encode(values, encoding_plugin=plugin, **options)]

    return encode


class _Encoding(NamedTuple):
    store: Callable[[NDArray[np.uint8]], _Stored]
    syntax: uid.UID
    compress: Callable[[NDArray[Any], int], list[bytes]] | None = None  # fragments of the frame


_ENCODINGS = {
    "jpeg-baseline": _Encoding(_as_it_is, uid.JPEGBaseline8Bit, _jpeg_baseline),
    "jpeg-baseline-fragments": _Encoding(_as_it_is, uid.JPEGBaseline8Bit, _jpeg_in_three),
    "explicit-vr": _Encoding(_as_it_is, uid.ExplicitVRLittleEndian),
    "implicit-vr": _Encoding(_as_it_is, uid.ImplicitVRLittleEndian),
    "big-endian": _Encoding(_window_of_12_bits, uid.ExplicitVRBigEndian),
    "deflated": _Encoding(_as_it_is, uid.DeflatedExplicitVRLittleEndian),
    "monochrome1": _Encoding(_monochrome1, uid.ExplicitVRLittleEndian),
    "12-bit-window": _Encoding(_window_of_12_bits, uid.ExplicitVRLittleEndian),
    "signed-16-rescale": _Encoding(_signed_with_rescale, uid.ExplicitVRLittleEndian),
    "voi-lut": _Encoding(_voi_lut, uid.ExplicitVRLittleEndian),
    "rle": _Encoding(_as_it_is, uid.RLELossless, _by_pydicom(uid.RLELossless, "pydicom")),
    "jpeg-lossless": _Encoding(_as_it_is, uid.JPEGLosslessSV1, _jpeg_lossless),
    "jpeg-ls": _Encoding(_as_it_is, uid.JPEGLSLossless, _by_pydicom(uid.JPEGLSLossless, "pyjpegls")),
    "jpeg-2000": _Encoding(_as_it_is, uid.JPEG2000Lossless, _by_pydicom(uid.JPEG2000Lossless, "pylibjpeg")),
}

ENCODINGS = tuple(_ENCODINGS)
"""Names for `write_dicom`. The two that start with `jpeg-baseline` lose quality, as their pictures are passed through;
the others give back exactly the pixels written. `jpeg-baseline` is what the RSNA files are."""


def write_dicom(
    pixels: NDArray[np.uint8],
    encoding: str,
    *,
    image_id: str,
    patient_age: str = "",
    patient_sex: str = "",
    view: str = "",
    pixel_spacing_mm: float | None = None,
    patient_id: str | None = None,
    study_uid: str | None = None,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    jpeg_quality: int = RSNA_JPEG_QUALITY,
) -> bytes:
    """Write a picture as a DICOM file with the elements, and the quirks, of the RSNA files.

    Args:
        pixels: Grey values, shape (height, width), dtype uint8, 0 black.
        encoding: One of `ENCODINGS`.
        image_id: Also the patient's name, as in the RSNA files.
        patient_age: Written as it is; the RSNA files have `34`, where the Standard wants `034Y`.
        patient_sex: `M`, `F`, `O` or empty.
        view: View Position, such as `PA`; also in the Series Description.
        pixel_spacing_mm: Between both rows and columns; None leaves the element out.
        patient_id: The image id if None, as in the RSNA files.
        study_uid: Study Instance UID; like the next two derived from the image id if None.
        series_uid: Series Instance UID.
        sop_uid: SOP Instance UID.
        jpeg_quality: 1 to 100, for JPEG Baseline.

    Returns:
        The whole file.

    Raises:
        ValueError: The pixels are no 8-bit grey picture, the encoding is unknown, or the number of pixels is odd in
            `jpeg-lossless`, which its encoder cannot do.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not 0 < min(pixels.shape) <= max(pixels.shape) < 2**16:
        raise ValueError(f"pixels are {pixels.dtype} of shape {pixels.shape}, expected uint8 of shape (height, width)")
    if encoding not in _ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(ENCODINGS)}")
    store, syntax, compress = _ENCODINGS[encoding]
    values, bits, rendering = store(np.ascontiguousarray(pixels))
    sop_uid = sop_uid or _uid("image", image_id)
    lossy = syntax == uid.JPEGBaseline8Bit
    elements: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": uid.SecondaryCaptureImageStorage,
        "SOPInstanceUID": sop_uid,
        "StudyDate": "19010101",
        "StudyTime": "000000.00",
        "AccessionNumber": "",
        "Modality": "CR",
        "ConversionType": "WSD",
        "ReferringPhysicianName": "",
        "SeriesDescription": f"view: {view}",
        "PatientName": image_id,
        "PatientID": image_id if patient_id is None else patient_id,
        "PatientBirthDate": "",
        "PatientSex": patient_sex,
        "PatientAge": patient_age,
        "BodyPartExamined": "CHEST",
        "ViewPosition": view,
        "StudyInstanceUID": study_uid or _uid("study", image_id),
        "SeriesInstanceUID": series_uid or _uid("series", image_id),
        "StudyID": "",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "PatientOrientation": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "BitsAllocated": 8 * values.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "LossyImageCompression": "01" if lossy else "00",
        **rendering,
    }
    if pixel_spacing_mm is not None:
        elements["PixelSpacing"] = [format_number_as_ds(float(pixel_spacing_mm))] * 2
    if lossy:
        elements["LossyImageCompressionMethod"] = "ISO_10918_1"
    dataset = Dataset()
    for keyword, value in elements.items():
        # Unchecked, since the quirks are wanted; pydicom would warn about an age of `34`.
        dataset.add(DataElement(Tag(keyword), dictionary_VR(keyword), value, validation_mode=config.IGNORE))
    dataset.add(_pixel_data(values, syntax, compress(values, jpeg_quality) if compress else None))

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(sop_uid)
    dataset.file_meta.TransferSyntaxUID = syntax
    # Fixed, where pydicom would write its own version.
    dataset.file_meta.ImplementationClassUID = uid.UID(_uid("implementation", "1"))
    dataset.file_meta.ImplementationVersionName = "RSNA_WORKSHOP"
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _pixel_data(values: NDArray[Any], syntax: uid.UID, fragments: list[bytes] | None) -> DataElement:
    if fragments is not None:
        # No offset table, as in the RSNA files. Each fragment is an item of its own, padded to an even length.
        items = encapsulate(fragments, has_bot=False)
        element = DataElement(Tag("PixelData"), "OB", items)
        element.is_undefined_length = True
        return element
    content = values.astype(values.dtype.newbyteorder(">" if syntax == uid.ExplicitVRBigEndian else "<")).tobytes()
    wide = values.itemsize > 1 or syntax == uid.ImplicitVRLittleEndian
    return DataElement(Tag("PixelData"), "OW" if wide else "OB", _even(content))


def _even(content: bytes) -> bytes:
    return content + b"\0" * (len(content) % 2)


def _uid(kind: str, name: str) -> str:
    """A UID that depends on nothing but its arguments, PS3.5 B.2."""
    return f"2.25.{uuid.uuid5(_UID_NAMESPACE, f'{kind}:{name}').int}"
