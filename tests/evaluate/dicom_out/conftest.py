from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pydicom.config
import pydicom.datadict
import pytest

from common.data.names import COORDINATES
from convert.synthetic.dicom_writer import write_dicom
from evaluate.detector.loading import Outcome, Picture
from evaluate.dicom_out.algorithm import Algorithm

ALGORITHM = Algorithm(
    "rsna-pneumonia-workshop", "0.1.0", ("detector best.pt, SHA-256 abc", 'confidence {"least": 0.25}'), "Lung Opacity"
)
STUDY = "1.2.826.0.1.3680043.8.498.7"
SHAPE = (201, 151)
"""Rows and columns, both odd: three bytes of each pixel are an odd number, which DICOM pads."""


def program(name: str) -> str:
    """A program of dicom3tools, dcmtk or Orthanc; without it the test is skipped, in CI it fails."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"no {name} on PATH: the continuous integration must look at the DICOM objects with it")
    if found is None:
        pytest.skip(f"no {name} on PATH: install dicom3tools, dcmtk and orthanc to have the objects looked at")
    return found


def output_of(name: str, *arguments: object) -> str:
    """What a program says."""
    done = subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def dicom(image_id: str, encoding: str = "explicit-vr", **elements: object) -> bytes:
    """A drawn radiograph as a DICOM file with RSNA's headers; None deletes an element."""
    pixels = np.random.default_rng(len(image_id)).integers(0, 256, SHAPE, np.uint8)
    data = write_dicom(
        pixels, encoding, image_id=image_id, patient_age="34", patient_sex="F", view="PA", study_uid=STUDY,
        patient_id="p-17", pixel_spacing_mm=0.14,
    )  # fmt: skip
    if not elements:
        return data
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        elif isinstance(value, pydicom.DataElement):
            dataset[keyword] = value
        else:
            setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    data = file.getvalue()
    for keyword, value in elements.items():
        if isinstance(value, pydicom.DataElement):  # as text above, now as it should be
            tag = pydicom.tag.Tag(keyword)
            head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
            data = data.replace(head + b"LO", head + pydicom.datadict.dictionary_VR(keyword).encode())
    return data


def unchecked(keyword: str, value: str) -> pydicom.DataElement:
    """An element that the Standard does not allow: pydicom makes no number of words, but writes any text."""
    mode = pydicom.config.IGNORE
    return pydicom.DataElement(pydicom.tag.Tag(keyword), "LO", value, validation_mode=mode)


def picture_of(image_id: str, data: bytes) -> Picture:
    return Picture(image_id, f"{image_id}.dcm", lambda: data)


def outcome_of(image_id: str, doubt: str = "") -> Outcome:
    return Outcome(image_id, f"{image_id}.dcm", "predicted", doubt=doubt, width=float(SHAPE[1]), height=float(SHAPE[0]))


def table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "confidence", *COORDINATES])


BOXES = [
    ("chest", 0.40, 100.0, 20.0, 30.03, 140.99),
    ("chest", 0.912345, 10.37, 20.11, 30.03, 40.99),
    ("film", 0.5, 0.0, 0.0, 151.0, 201.0),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder of what is written for four images: two boxes, one as large as the image, none, none and a doubt."""
    from evaluate.dicom_out.writing import write_dicoms

    folder = tmp_path_factory.mktemp("archive")
    files = {
        "chest": dicom("chest", "jpeg-baseline"),
        "film": dicom("film", "12-bit-window", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", Modality="DX"),
        "clear": dicom("clear"),
        "lateral": dicom("lateral", ViewPosition="LL"),
    }
    pictures = [picture_of(image_id, data) for image_id, data in files.items()]
    outcomes = {name: outcome_of(name, "View Position LL" if name == "lateral" else "") for name in files}
    (folder / "out").mkdir()
    done = write_dicoms(folder / "out", pictures, outcomes, table(BOXES), ALGORITHM)
    assert (done.reports, done.captures, done.kept, done.left_out) == (4, 4, 0, {})
    for name, data in files.items():
        (folder / f"{name}.dcm").write_bytes(data)
    return folder


def objects(folder: Path, suffix: str = "") -> list[Path]:
    return sorted((folder / "out").glob(f"*{suffix}.dcm"))
