"""Who the patient is, where no table says it: from file names, or from DICOM headers."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping

import pandas as pd

from common.cli import print_warning, progress
from common.errors import UserError
from convert.pictures.dicom import UnusableDicom, read_header
from convert.pictures.raster import is_picture_file
from convert.sources.files import Source
from convert.sources.locating import DICOM_SUFFIXES


def find_patients(source: Source, files: Mapping[str, str], pattern: str | None) -> pd.Series | None:
    """Patients by image id: from file names where a pattern is given, else from the headers where files are DICOM.

    Args:
        source: Where the files are.
        files: File by image id.
        pattern: A regular expression; its first group, or else all that it matches in the file's path, is the patient.

    Returns:
        Patient ids by image id. A header's Patient ID becomes a number, `patient-1` and so on: it tells patients apart
        as well, and stays in the hospital. None, with a warning, where nobody knows.

    Raises:
        UserError: The pattern is none, or matches no file.
    """
    if pattern is not None:
        return _from_names(files, pattern)
    known = _from_headers(source, files)
    if known is None:
        print_warning(
            "patients are not known, so one patient's images can be in train and test, and scores too good. Name the "
            "column that holds them, or --patient-pattern for file names that do."
        )
    return known


def _from_names(files: Mapping[str, str], pattern: str) -> pd.Series:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--patient-pattern {pattern!r}: not a regular expression ({error}).") from error
    found = {image_id: expression.search(file) for image_id, file in files.items()}
    # A group that took no part in the match says nothing.
    patients = {key: match[1] if expression.groups else match[0] for key, match in found.items() if match}
    patients = {key: patient for key, patient in patients.items() if patient}
    if files and not patients:
        raise UserError(f"--patient-pattern {pattern!r}: matches no file, such as {next(iter(files.values()))}.")
    return pd.Series(patients, dtype=str)


def _from_headers(source: Source, files: Mapping[str, str]) -> pd.Series | None:
    dicoms = {image_id: file for image_id, file in files.items() if _may_be_dicom(file)}
    if not dicoms:
        return None
    names: dict[str, str] = {}
    for image_id, file in progress(dicoms.items(), "reading patients", total=len(dicoms)):
        try:
            data = source.read(file)
            patient = "" if is_picture_file(data) else read_header(data).patient_id
        except (UnusableDicom, OSError, EOFError, zipfile.BadZipFile):
            patient = ""  # the conversion will say what is wrong with it
        if patient:
            names[image_id] = patient
    if not names:
        return None
    number = {name: f"patient-{index}" for index, name in enumerate(sorted(set(names.values())), start=1)}
    return pd.Series({image_id: number[name] for image_id, name in names.items()}, dtype=str)


def _may_be_dicom(file: str) -> bool:
    basename = file.rsplit("/", 1)[-1].lower()
    suffix = basename.rpartition(".")[2]
    return basename.endswith(DICOM_SUFFIXES) or "." not in basename or suffix.isdigit()
