"""Who the patient is, where a source's table does not say it: from a mapping, file names, or DICOM headers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from common.cli import print_warning, progress
from common.cores import available_cores
from common.data.csv_files import read_csv
from common.errors import UnreadableError, UserError
from common.parallel import in_chunks
from convert.pictures import UnusablePicture, read_header
from convert.sources.files import Source
from convert.sources.json_files import load_json
from convert.sources.locating import DICOM_SUFFIXES
from convert.sources.places import MAPPING_NAME
from convert.sources.tables import is_given

_HEAD = 1 << 16
"""Bytes of a DICOM file that hold its header, nearly always."""
_WORTH_A_PROCESS = 2000
"""Files whose headers are read in less time than a process takes to start."""


def parse_mapping(data: bytes, where: str) -> pd.Series:
    """Read the mapping from image to NIH patient.

    Args:
        data: RSNA's JSON (a list of objects with `subset_img_id` and `img_id`), or a CSV whose first column is the
            image id and whose second is the NIH file (`PPPPPPPP_NNN.png`: patient and follow-up) or a patient id.
        where: The file's name, for errors.

    Returns:
        Patient ids (str) by image id.

    Raises:
        UserError: The file is neither.
    """
    expected = f"Expected RSNA's {MAPPING_NAME}, or a CSV with the columns patientId and nih_image."
    try:
        if data.lstrip()[:1] in (b"[", b"{"):
            records = load_json(data)
            pairs = [(record["subset_img_id"], record["img_id"]) for record in records]
        else:
            columns = read_csv(data).iloc[:, [0, 1]]
            pairs = [pair for pair in columns.itertuples(index=False, name=None) if all(map(is_given, pair))]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{where}: not an image-to-patient mapping ({error!r}). {expected}") from error
    if not pairs:
        raise UserError(f"{where}: an empty mapping. {expected}")
    # NIH names its files <patient>_<follow-up>.png; anything else is taken to be the patient's id itself.
    image_ids, names = zip(*pairs, strict=True)
    patients = pd.Series(names, index=pd.Index(image_ids, dtype=str), dtype=str).str.replace(
        r"^(\d+)_\d+\.png$", r"\1", regex=True
    )
    patients = patients[~(patients.index.duplicated() & patients.reset_index().duplicated().to_numpy())]
    twice = patients.index[patients.index.duplicated()]
    if len(twice):
        who = " and ".join(patients[[twice[0]]])
        raise UserError(f"{where}: the image {twice[0]} has two patients, {who}; expected one. Keep one row of it.")
    return patients


def find_patients(source: Source, files: Mapping[str, str], pattern: str | None) -> pd.Series | None:
    """Patients by image id: from file names where a pattern is given, else from the headers where files are DICOM.

    Args:
        source: Where the files are.
        files: File by image id.
        pattern: A regular expression; its first group, or else all that it matches in the file's path, is the patient.

    Returns:
        Patient ids by image id. Instead of a header's Patient ID there is what follows from it, `patient-0b3cf6e41d`:
        it tells patients apart as well, and the ID cannot be read from it, though whoever guesses an ID can confirm it.
        None, with a warning, where nobody knows.

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
    found = in_chunks(
        functools.partial(_patients_in, source), list(dicoms.values()), available_cores(), fewest=_WORTH_A_PROCESS
    )
    named = zip(dicoms, progress(found, "reading patients", total=len(dicoms)), strict=True)
    patients = {image_id: _pseudonym(patient) for image_id, patient in named if patient}
    return pd.Series(patients, dtype=str) if patients else None


def _patients_in(source: Source, files: Sequence[str]) -> list[str]:
    """Each file's Patient ID; empty where it has none, or cannot be read: the conversion will say what is wrong."""
    found = []
    for file in files:
        patient = ""
        with contextlib.suppress(UnreadableError, UnusablePicture):
            try:
                patient = read_header(source.read_head(file, _HEAD)).patient_id
            except UnusablePicture:  # perhaps since this is not all of it
                patient = read_header(source.read(file)).patient_id
        found.append(patient)
    return found


def _pseudonym(patient: str) -> str:
    """What stands for a Patient ID: it follows from it alone, so that no other image changes it."""
    return f"patient-{hashlib.sha256(f'Patient ID {patient}'.encode()).hexdigest()[:10]}"


def _may_be_dicom(file: str) -> bool:
    basename = file.rsplit("/", 1)[-1].lower()
    suffix = basename.rpartition(".")[2]
    return basename.endswith(DICOM_SUFFIXES) or "." not in basename or suffix.isdigit()
