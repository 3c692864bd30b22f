"""A synthetic release on disk: drawn, encoded and written with its tables, in Kaggle's layout or in RSNA's own."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.cli import progress
from common.errors import UserError, WorkError
from common.files import PART, write_atomic, write_json
from common.parallel import in_chunks
from convert.sources.places import CHALLENGE_IMAGES, PICTURES_FOLDER, SAMPLE_MARKER, TRAIN_IMAGES

if TYPE_CHECKING:
    from convert.synthetic.population import Case
    from convert.synthetic.tables import Row

UNFINISHED = "sample-unfinished.json"
"""Written first and removed last: what lies beside it was made here, but not to the end."""

FOLDERS = {"train": TRAIN_IMAGES, "test": CHALLENGE_IMAGES}

USUAL_ENCODING = "jpeg-baseline"
"""How all RSNA files are stored."""


@dataclass(frozen=True)
class Release:
    """What was drawn: numbers of training images, of those with boxes, of their boxes, of test images, of patients."""

    images: int
    positive_images: int
    boxes: int
    test_images: int
    patients: int


def write_release(
    output: Path,
    *,
    images: int = 400,
    test_images: int = 40,
    size: int = 1024,
    seed: int = 0,
    odd_encodings: float = 0.05,
    layout: Literal["kaggle", "release"] = "kaggle",
    workers: int = 1,
    overwrite: bool = False,
) -> Release | None:
    """Draw a release. The same settings give the same files, and the same images in both layouts.

    Args:
        output: A folder that is new, empty, or holds a sample.
        images: Training images, at least 1.
        test_images: Test images; in Kaggle's layout without labels.
        size: Side of the square pictures in pixels, even and at least 64.
        seed: Decides everything that is drawn.
        odd_encodings: Share of files stored in other ways than RSNA's JPEG.
        layout: As Kaggle serves the data, or as RSNA does.
        workers: Processes.
        overwrite: Replace the sample that is there.

    Returns:
        What was drawn; None if the wanted sample is there already.

    Raises:
        UserError: The folder holds something else.
        WorkError: It cannot be written.
    """
    settings: dict[str, Any] = {
        "images": images,
        "test_images": test_images,
        "size": size,
        "seed": seed,
        "odd_encodings": odd_encodings,
    }
    if layout != "kaggle":
        settings["layout"] = layout
    if not _prepare(output, settings, overwrite):
        return None
    cases, boxes = _make(output, settings, workers)
    boxes = boxes[:images]
    patients = {case.nih_image[:8] for case in cases}
    return Release(images, sum(map(bool, boxes)), sum(map(len, boxes)), test_images, len(patients))


def _prepare(output: Path, settings: dict[str, Any], overwrite: bool) -> bool:
    """Make the output folder ready; False if the wanted sample is in it already.

    Raises:
        UserError: The folder holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: a file, expected a folder or nothing. Choose another --output.")
    marker, unfinished = output / SAMPLE_MARKER, output / UNFINISHED
    if marker.exists() and not overwrite and not unfinished.exists():
        found = _read_settings(marker)
        if found == settings:
            return False
        raise UserError(
            f"{output}: a sample with other settings ({_describe(found)}; wanted {_describe(settings)}). Use "
            "--overwrite to replace it, or another --output."
        )
    if output.exists() and any(output.iterdir()) and not marker.exists() and not unfinished.exists():
        raise UserError(
            f"{output}: not empty, and not made by this command (no {SAMPLE_MARKER}). Choose a new or an empty "
            "--output."
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(unfinished, settings)
        _clear(output)
        if "layout" not in settings:
            for folder in FOLDERS.values():
                (output / folder).mkdir(exist_ok=True)
    except OSError as error:
        raise WorkError(
            f"{output}: cannot be written ({error.strerror}). Check the folder, or choose another --output."
        ) from error
    return True


def _clear(output: Path) -> None:
    """Remove what an earlier run of this command made, and nothing else."""
    from convert.synthetic.tables import TABLES

    for name in (SAMPLE_MARKER, *TABLES):
        (output / name).unlink(missing_ok=True)
    for folder in (*FOLDERS.values(), PICTURES_FOLDER):
        for pattern in ("*.dcm", f"*.dcm{PART}"):
            for file in (output / folder).rglob(pattern):
                file.unlink()
        for path in sorted((output / folder).rglob("*/"), reverse=True):  # studies and series, which are empty now
            with contextlib.suppress(OSError):
                path.rmdir()
        with contextlib.suppress(OSError):
            (output / folder).rmdir()


def _read_settings(marker: Path) -> dict[str, Any]:
    try:
        value = json.loads(marker.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        value = None
    return value if isinstance(value, dict) else {}


def _describe(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "unreadable"


def _make(output: Path, settings: dict[str, Any], workers: int) -> tuple[list[Case], list[list[Row]]]:
    """Draw and write everything; all cases and their boxes, the training images first."""
    from convert.synthetic.population import make_population
    from convert.synthetic.tables import NO_TRUTH_SHARE, write_kaggle_tables, write_mapping, write_release_tables

    train = make_population(settings["images"], settings["seed"], "train")
    # Whether the challenge's test patients are also among the training patients, nobody outside knows.
    taken = frozenset(case.nih_image[:8] for case in train)
    test = make_population(settings["test_images"], settings["seed"], "test", taken)
    cases = [*train, *test]
    encodings = _encodings(len(cases), settings["odd_encodings"], settings["seed"])
    if "layout" in settings:
        taken |= {case.nih_image[:8] for case in test}
        more = make_population(max(1, round(NO_TRUTH_SHARE * len(cases))), settings["seed"], "no truth", taken)
        cases += more
        encodings += [USUAL_ENCODING] * len(more)
    paths = [output / _picture_name(case, is_kaggles="layout" not in settings) for case in cases]
    jobs = list(zip(paths, cases, encodings, strict=True))
    drawn = in_chunks(functools.partial(_make_images, settings["size"]), jobs, workers, chunk=1, fewest=1)
    boxes = list(progress(drawn, "drawing", len(cases)))
    if "layout" in settings:
        write_release_tables(output, cases, boxes, settings["seed"])
    else:
        write_kaggle_tables(output, train, boxes[: len(train)], test)
    write_mapping(output, cases)
    shares = {name: encodings.count(name) for name in sorted(set(encodings))}
    write_json(output / SAMPLE_MARKER, {"settings": settings, "encodings": shares})
    (output / UNFINISHED).unlink()
    return cases, boxes


def _picture_name(case: Case, *, is_kaggles: bool) -> str:
    """Where an image lies in the release."""
    from convert.synthetic.tables import picture_path

    return f"{FOLDERS[case.group]}/{case.image_id}.dcm" if is_kaggles else picture_path(case)


def _make_images(size: int, jobs: Sequence[tuple[Path, Case, str]]) -> list[list[Row]]:
    return [_make_image(path, case, encoding, size) for path, case, encoding in jobs]


def _make_image(path: Path, case: Case, encoding: str, size: int) -> list[Row]:
    """Draw one image and write its DICOM file; returns its boxes."""
    import cv2

    from convert.synthetic.dicom_writer import write_dicom
    from convert.synthetic.phantom import draw
    from convert.synthetic.population import REFERENCE_SIZE

    cv2.setNumThreads(1)  # the processes share the cores already
    radiograph = draw(case, size)
    data = write_dicom(
        radiograph.pixels,
        encoding,
        image_id=case.image_id,
        # RSNA writes 34 where the Standard, and a hospital, writes 034Y.
        patient_age=str(case.age) if encoding == USUAL_ENCODING else f"{case.age:03d}Y",
        patient_sex=case.sex,
        view=case.view,
        # The same body on fewer pixels.
        pixel_spacing_mm=round(case.pixel_spacing_mm * REFERENCE_SIZE / size, 6),
        study_uid=case.study_instance_uid,
        series_uid=case.series_instance_uid,
        sop_uid=case.sop_instance_uid,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return [(x, y, width, height) for x, y, width, height in radiograph.boxes.tolist()]


def _encodings(images: int, odd_share: float, seed: int) -> list[str]:
    """How each file is stored: mostly as RSNA does, the rest evenly in the other ways."""
    import numpy as np

    from convert.synthetic.dicom_writer import ENCODINGS

    rng = np.random.default_rng([seed, 2])
    others = rng.permutation([name for name in ENCODINGS if name != USUAL_ENCODING]).tolist()
    odd = round(images * odd_share)
    names = [others[k % len(others)] for k in range(odd)] + [USUAL_ENCODING] * (images - odd)
    return rng.permutation(np.asarray(names, dtype=object)).tolist()
