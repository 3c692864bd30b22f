"""A Structured Report of the boxes that were found on an image (PS3.16, TID 1500, Measurement Report)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from common.data.names import POSITIVE_CLASS
from evaluate.dicom_out.algorithm import LONG_TEXT, MANUFACTURER, SHORT_TEXT, Algorithm

SERIES_NUMBER = 9901
_SCHEME = "99RSNAWORKSHOP"
_DISCLAIMER = (
    "Research only. This is the output of an experimental algorithm, not of a medical device, and no radiologist has "
    "looked at it. It must not guide the care of a patient. That no region is marked does not mean that there is none."
)


def make_report(
    source: Dataset, boxes: NDArray[np.float64], algorithm: Algorithm, sop_instance_uid: str, doubt: str = ""
) -> Dataset:
    """Make the report of one image.

    Each box is a closed polyline of its four corners, in pixels of the image: as in the Standard, the origin is the
    upper left corner of the first pixel, and coordinates are float32. Its confidence is the *certainty of finding* in
    percent. A group of its own says how many regions there are, so that a report without any is one, too.

    Args:
        source: The image, as `evaluate.dicom_out.source.source_of` gives it, with all four UIDs.
        boxes: (N, 5): confidence from 0 to 1, x, y, width, height in pixels of the image.
        algorithm: What has found them.
        sop_instance_uid: Of the report.
        doubt: Why this may be none of the images that the algorithm is made for.

    Returns:
        A Comprehensive SR with file meta information.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    whole_id = sr.AlgorithmIdentification(algorithm.name, algorithm.version, list(algorithm.parameters))
    # With each region once more, without the long part.
    short_id = sr.AlgorithmIdentification(algorithm.name, algorithm.version, [f"digest {algorithm.digest}"])
    lung = sr.FindingSite(anatomic_location=codes.SCT.Lung)
    # In order of confidence, the highest first, as a reader wants them.
    ordered = boxes[np.argsort(-boxes[:, 0], kind="stable")]
    of_image = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            algorithm.uid("tracking", source.SOPInstanceUID), "regions of the image"
        ),
        finding_type=_finding(algorithm.finding),
        algorithm_id=whole_id,
        finding_sites=[lung],
        measurements=[sr.Measurement(_own_code("REGIONS", "Number of marked regions"), len(boxes), codes.UCUM.NoUnits)],
        source_images=[sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )
    regions = [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                algorithm.uid("tracking", sop_instance_uid, str(number)), f"region {number}"
            ),
            referenced_region=sr.ImageRegion(
                graphic_type=sr.GraphicTypeValues.POLYLINE,
                graphic_data=_corners(box[1:]),
                source_image=sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
            ),
            finding_type=_finding(algorithm.finding),
            algorithm_id=short_id,
            finding_sites=[lung],
            measurements=[
                sr.Measurement(codes.DCM.CertaintyOfFinding, round(100 * float(box[0]), 4), codes.UCUM.Percent)
            ],
        )
        for number, box in enumerate(ordered, 1)
    ]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=algorithm.uid("device"), name=algorithm.name, manufacturer_name=MANUFACTURER
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=[of_image, *regions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    comments = [_DISCLAIMER, *([f"May be no frontal chest X-ray: {doubt}"] if doubt else [])]
    for text in comments:  # TID 1500 is extensible
        content[0].ContentSequence.append(
            sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)
        )
    return sr.ComprehensiveSR(
        evidence=[source],
        content=content,
        series_instance_uid=algorithm.uid("reports", source.StudyInstanceUID),
        series_number=SERIES_NUMBER,
        sop_instance_uid=sop_instance_uid,
        instance_number=source.InstanceNumber,
        is_complete=True,
        specific_character_set="ISO_IR 192",
        **algorithm.equipment(),
    )


def boxes_of(report: Dataset) -> NDArray[np.float64]:
    """The boxes of a report that `make_report` has made.

    Returns:
        (N, 5): confidence, x, y, width, height; coordinates rounded to 0.01 pixels, which float32 does not lose.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    whole: Any = report if isinstance(report, sr.ComprehensiveSR) else sr.ComprehensiveSR.from_dataset(report)
    rows = []
    for group in whole.content.get_planar_roi_measurement_groups():
        corners = group.roi.value
        (certainty,) = group.get_measurements(name=codes.DCM.CertaintyOfFinding)
        low, high = corners.min(0), corners.max(0)
        rows.append([certainty.value / 100, *np.round([*low, *(high - low)], 2)])
    return np.array(rows, float).reshape(-1, 5)


def _corners(xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a box, clockwise and back to the first, (5, 2)."""
    x, y, width, height = xywh
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)])


def _finding(name: str) -> Any:
    """The code of a class: the Standard's for an opacity, one of our own for others."""
    from pydicom.sr.codedict import codes

    return codes.DCM.Opacity if name == POSITIVE_CLASS else _own_code(name, name)


def _own_code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    short = re.sub(r"[^A-Z0-9_]+", "_", value.upper())[:SHORT_TEXT].strip("_") or "FINDING"
    return CodedConcept(short, _SCHEME, meaning.replace("\\", "/")[:LONG_TEXT])
