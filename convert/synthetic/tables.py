"""The tables of a synthetic release: Kaggle's CSV files, RSNA's annotations, and the mapping that both have.

Odd parts included. As in RSNA's own release, the truth is the label group `Calculated`; readers' labels, with trailing
spaces and boxes of their own, are not; some annotations have no SOPInstanceUID, and some images no truth at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_atomic, write_json
from convert.sources import places
from convert.synthetic.population import LABELS, NORMAL, NOT_NORMAL, OPACITY, Case

TABLES = (places.LABELS, places.CLASSES, places.SUBMISSION, places.MAPPING_NAME, places.ANNOTATIONS)

NO_TRUTH_SHARE = 316 / 29_684
"""Images without truth per image with truth, in the real release."""
_LOST_SHARE = 98 / 83_809
_READERS = ("U_aaaaaa", "U_bbbbbb", "U_cccccc")
_DISSENT = 0.15
"""How often a reader sees something else than the truth; the real share is not known here."""

_READER_LABELS = (
    "Lung Opacity (High Prob)", "Lung Opacity (Med Prob) ", "Lung Opacity (Low Prob) ",
    "No Lung Opacity / Not Normal ", "Normal", "Question", "QA", "Flag ",
)  # fmt: skip

Row = tuple[float, float, float, float]


def picture_path(case: Case) -> str:
    """Where an image lies in the release."""
    return f"{places.PICTURES_FOLDER}/{case.study_instance_uid}/{case.series_instance_uid}/{case.sop_instance_uid}.dcm"


def write_kaggle_tables(
    output: Path, train: Sequence[Case], boxes: Sequence[Sequence[Row]], test: Sequence[Case]
) -> None:
    """Write Kaggle's three CSV files.

    Args:
        output: The release's folder.
        train: The training images.
        boxes: Their boxes, in the same order.
        test: The test images.
    """
    labels: list[tuple[object, ...]] = []
    classes: list[tuple[object, ...]] = []
    for case, rows in zip(train, boxes, strict=True):
        labels += [(case.image_id, *row, 1) for row in rows] or [(case.image_id, "", "", "", "", 0)]
        classes += [(case.image_id, case.label)] * max(1, len(rows))
    _write_csv(output / places.LABELS, ("patientId", "x", "y", "width", "height", "Target"), labels)
    _write_csv(output / places.CLASSES, ("patientId", "class"), classes)
    _write_submission(output, test)


def write_release_tables(output: Path, cases: Sequence[Case], boxes: Sequence[Sequence[Row]], seed: int) -> None:
    """Write RSNA's annotations; and beside them Kaggle's sample submission, which tells the test set apart.

    Args:
        output: The release's folder.
        cases: All images.
        boxes: Their true boxes, in the same order.
        seed: Decides what readers say.
    """
    write_json(output / places.ANNOTATIONS, _make_export(cases, boxes, seed))
    _write_submission(output, [case for case in cases if case.group == "test"])


def _write_submission(output: Path, test: Sequence[Case]) -> None:
    example = [(case.image_id, "0.5 0 0 100 100") for case in test]
    _write_csv(output / places.SUBMISSION, ("patientId", "PredictionString"), example)


def write_mapping(output: Path, cases: Sequence[Case]) -> None:
    """Write RSNA's mapping from images to patients."""
    mapping = [
        {
            "subset_img_id": case.image_id,
            "img_id": case.nih_image,
            "subset_group": case.group,
            "orig_labels": list(case.nih_labels),
            "StudyInstanceUID": case.study_instance_uid,
            "SeriesInstanceUID": case.series_instance_uid,
            "SOPInstanceUID": case.sop_instance_uid,
        }
        for case in cases
    ]
    write_json(output / places.MAPPING_NAME, mapping)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def _make_export(cases: Sequence[Case], boxes: Sequence[Sequence[Row]], seed: int) -> dict[str, Any]:
    """The annotations as an MD.ai export.

    Args:
        cases: All images; those of the group `no truth` get readers' labels alone.
        boxes: Their true boxes, in pixels, in the same order.
        seed: Decides what the readers say.
    """
    rng = np.random.default_rng([seed, 3])
    reader_ids = {name: f"L_reader{number}" for number, name in enumerate(_READER_LABELS)}
    truth_ids = {name: f"L_truth{number}" for number, name in enumerate(LABELS)}
    annotations: list[dict[str, Any]] = []

    def add(case: Case, label_id: str, box: Sequence[float] | None, by: str) -> None:
        named = zip(("x", "y", "width", "height"), box, strict=True) if box is not None else None
        annotations.append(
            {
                "id": f"A_{len(annotations):06d}",
                "StudyInstanceUID": case.study_instance_uid,
                "SeriesInstanceUID": case.series_instance_uid,
                "SOPInstanceUID": case.sop_instance_uid,
                "labelId": label_id,
                "annotationNumber": len(annotations) + 1,
                "data": None if named is None else {name: float(value) for name, value in named},
                "createdById": by,
            }
        )

    for case, rows in zip(cases, boxes, strict=True):
        for reader in _READERS[: int(rng.integers(1, 4))]:
            opacity = (case.label == OPACITY) != (rng.random() < _DISSENT)
            if opacity:
                name = _READER_LABELS[int(rng.integers(3))]
                for row in rows or [(10.0, 20.0, 30.0, 20.0)]:
                    add(case, reader_ids[name], np.add(row, rng.uniform(0, 3, 4)).round(1).tolist(), reader)
            else:
                name = "Normal" if case.label == NORMAL else "No Lung Opacity / Not Normal "
                add(case, reader_ids[name], None, reader)
        if rng.random() < 0.05:
            add(case, reader_ids["Question"], None, _READERS[0])
        if case.group != "no truth":
            for row in rows:
                add(case, truth_ids[case.label], row, "U_calculated")
            if not rows:
                add(case, truth_ids[case.label], None, "U_calculated")

    # Notes on a whole study name no image.
    lost = max(2, round(_LOST_SHARE * len(annotations)))
    for index in rng.choice(len(cases), size=min(lost, len(cases)), replace=False).tolist():
        add(cases[index], reader_ids["QA" if index % 2 else "Flag "], None, _READERS[0])
        del annotations[-1]["SOPInstanceUID"]
    order = rng.permutation(len(annotations)).tolist()
    return {
        "name": "synthetic",
        "labelGroups": [
            {
                "id": "G_readers",
                "name": "Default group",
                "labels": [{"id": label_id, "name": name} for name, label_id in reader_ids.items()],
            },
            {
                "id": "G_truth",
                "name": "Calculated",
                "labels": [{"id": truth_ids[name], "name": name} for name in (OPACITY, NOT_NORMAL, NORMAL)],
            },
        ],
        "datasets": [{"id": "D_synthetic", "name": "synthetic", "annotations": [annotations[k] for k in order]}],
    }
