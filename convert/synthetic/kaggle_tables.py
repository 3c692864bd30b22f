"""The tables of a synthetic release: Kaggle's CSV files, RSNA's annotations, and the mapping that both have."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.files import write_atomic, write_json
from convert.sources.places import ANNOTATIONS, CLASSES, LABELS, MAPPING_NAME, SUBMISSION
from convert.synthetic.population import Case
from convert.synthetic.release_tables import Row, make_export

TABLES = (LABELS, CLASSES, SUBMISSION, MAPPING_NAME, ANNOTATIONS)


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
    _write_csv(output / LABELS, ("patientId", "x", "y", "width", "height", "Target"), labels)
    _write_csv(output / CLASSES, ("patientId", "class"), classes)
    _write_submission(output, test)


def write_release_tables(output: Path, cases: Sequence[Case], boxes: Sequence[Sequence[Row]], seed: int) -> None:
    """Write RSNA's annotations; and beside them Kaggle's sample submission, which tells the test set apart.

    Args:
        output: The release's folder.
        cases: All images.
        boxes: Their true boxes, in the same order.
        seed: Decides what readers say.
    """
    write_json(output / ANNOTATIONS, make_export(cases, boxes, seed))
    _write_submission(output, [case for case in cases if case.group == "test"])


def _write_submission(output: Path, test: Sequence[Case]) -> None:
    example = [(case.image_id, "0.5 0 0 100 100") for case in test]
    _write_csv(output / SUBMISSION, ("patientId", "PredictionString"), example)


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
    write_json(output / MAPPING_NAME, mapping)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())
