"""Writes reports and captures for the images that were predicted, and says which have got none, and why."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.filereader import read_file_meta_info

from common.cli import progress
from common.data.names import COORDINATES
from common.files import file_stem, write_atomic
from convert.pictures import is_picture_file
from evaluate.detector.loading import Outcome, Picture, load_picture
from evaluate.detector.plausibility import NO_CHEST, is_no_chest
from evaluate.dicom_out.algorithm import Algorithm
from evaluate.dicom_out.capture import draw, make_capture
from evaluate.dicom_out.report import make_report
from evaluate.dicom_out.source import LINKS, source_of

# Of names of one part and the like, which are the original's; once and for all, as in `convert.pictures.elements`.
warnings.filterwarnings("ignore", module=r"highdicom\b")

REPORT, CAPTURE = ".sr.dcm", ".sc.dcm"
"""Suffixes of the files, after the image id."""


@dataclass
class Written:
    """What was written.

    Attributes:
        reports: How many Structured Reports are there now.
        captures: How many Secondary Captures.
        kept: How many of both had been written before, and are the same.
        left_out: Why an image has no report or no capture, and how many have not, with the first of them.
    """

    reports: int = 0
    captures: int = 0
    kept: int = 0
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)

    def leave_out(self, why: str, name: str) -> None:
        """Note why one has none."""
        count, first = self.left_out.get(why, (0, name))
        self.left_out[why] = (count + 1, first)


def write_dicoms(
    folder: Path,
    pictures: Sequence[Picture],
    outcomes: Mapping[str, Outcome],
    predictions: pd.DataFrame,
    algorithm: Algorithm,
) -> Written:
    """Write a Structured Report and a Secondary Capture for each DICOM image; what is there already is kept.

    Objects have UIDs that follow from image, boxes and algorithm, so a folder that was written by halves is finished by
    the same call, and an archive that has them takes them for the same. Originals are read only.

    Args:
        folder: For `<image id>.sr.dcm` and `<image id>.sc.dcm`.
        pictures: Those that were predicted, and that are to be written.
        outcomes: What became of them, by image id.
        predictions: The predictions table of what is to be shown.
        algorithm: What has made it.

    Raises:
        WorkError: A file cannot be written.
    """
    written = Written()
    boxes = dict(iter(predictions.groupby("image_id")))
    for picture in progress(pictures, "writing DICOM"):
        found = boxes.get(picture.image_id, predictions.iloc[:0])[["confidence", *COORDINATES]].to_numpy(
            float, copy=True
        )
        outcome = outcomes[picture.image_id]
        if is_no_chest(outcome.doubt):
            written.leave_out(f"{NO_CHEST} by their headers", picture.name)
            continue
        try:
            data = picture.read()
            if is_picture_file(data):
                written.leave_out("picture files, which belong to no study", picture.name)
                continue
            source = source_of(data)
        except (OSError, ValueError) as error:  # it was there when it was predicted
            written.leave_out(f"cannot be read: {error}", picture.name)
            continue
        if "StudyInstanceUID" not in source:
            written.leave_out("no valid Study Instance UID in their headers", picture.name)
            continue
        if outcome.width and outcome.height and "Columns" in source and "Rows" in source:
            found[:, 1:] *= np.tile([source.Columns / outcome.width, source.Rows / outcome.height], 2)
        _write(folder, picture, data, source, found, outcome.doubt, algorithm, written)
    return written


def _write(
    folder: Path,
    picture: Picture,
    data: bytes,
    source: Dataset,
    boxes: NDArray[np.float64],
    doubt: str,
    algorithm: Algorithm,
    written: Written,
) -> None:
    """Both objects of one image, or one of them."""
    made_from = [hashlib.sha256(data).hexdigest(), hashlib.sha256(boxes.tobytes()).hexdigest(), doubt]
    stem = folder / file_stem(picture.image_id)
    report_uid, capture_uid = algorithm.uid("report", *made_from), algorithm.uid("capture", *made_from)

    def report() -> Dataset:
        return make_report(source, boxes, algorithm, report_uid, doubt)

    def capture() -> Dataset:
        # Of the same bytes, should the file change meanwhile.
        pixels = load_picture(dataclasses.replace(picture, read=lambda: data))
        return make_capture(source, draw(pixels, boxes, doubt), algorithm, capture_uid)

    if all(keyword in source for keyword in LINKS):
        written.reports += _put(Path(f"{stem}{REPORT}"), report_uid, report, picture.name, written)
    else:
        written.leave_out(
            "no valid Series or SOP Instance UID in their headers: a capture, but no report", picture.name
        )
    written.captures += _put(Path(f"{stem}{CAPTURE}"), capture_uid, capture, picture.name, written)


def _put(path: Path, uid: str, make: Callable[[], Dataset], name: str, written: Written) -> bool:
    """Write an object, unless the file holds it already; whether it is there then."""
    if _uid_of(path) == uid:
        written.kept += 1
        return True
    file = BytesIO()
    try:
        dcmwrite(file, make(), enforce_file_format=True)
    except (ValueError, TypeError) as error:  # of a header that highdicom does not accept, or undecodable pixels
        path.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
        written.leave_out(f"no {path.name[-len(REPORT) :]} can be made: {error}", name)
        return False
    write_atomic(path, file.getvalue())
    return True


def _uid_of(path: Path) -> str:
    """The SOP Instance UID of a file; empty if there is none. Files are written at once: what has one is whole."""
    try:
        return str(read_file_meta_info(path).get("MediaStorageSOPInstanceUID", ""))
    except Exception:  # of what is no DICOM pydicom raises many kinds
        return ""
