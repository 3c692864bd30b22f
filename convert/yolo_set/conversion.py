"""The conversion itself: every source's images go through here, in parallel, resumable at any point.

`convert` makes a `Plan` of what a source's parser found (which file is which image, in which split, with which boxes),
and writes the pictures and labels, and then the tables. A picture that exists is whole, so a conversion that was
interrupted skips the work on it, reads the header again, and ends with the same data set, byte for byte.
"""

from __future__ import annotations

import errno
import functools
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import console, progress
from common.data.names import CHALLENGE
from common.errors import UnreadableError, WorkError
from common.files import write_atomic
from common.parallel import in_chunks
from common.paths import shown
from convert.pictures import Header, UnusablePicture, is_kept_png, read_header, read_notes, read_picture
from convert.sources.boxes import (
    COLUMNS,
    COORDINATES,
    READERS,
    REJECTED_COLUMNS,
    check_boxes,
    clip,
    in_picture,
    to_yolo,
)
from convert.sources.files import Source
from convert.sources.parsed import Parsed
from convert.yolo_set import layout, plausibility
from convert.yolo_set.plan import DETAILS, BoxesSize, Plan, make_plan
from convert.yolo_set.splits import Splitting
from convert.yolo_set.summary import print_summary

_NO_FAULT_OF_A_FILE = {
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ENXIO,
    errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
}  # fmt: skip
"""What any other file would meet as well: a machine short of handles or memory, a drive or server that is gone."""


@dataclass(frozen=True)
class Converted:
    """What a conversion ended in.

    Attributes:
        tables: The data set's tables.
        clipped: How many boxes were cut at the edge of their image.
    """

    tables: layout.Tables
    clipped: int


@dataclass(frozen=True)
class _Job:
    image_id: str
    file: str
    split: str
    classes: tuple[int, ...]
    boxes_xywh: np.ndarray
    shape: tuple[int, int] | None = None
    frame: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Setting:
    """What a worker process must know besides its jobs."""

    source: Source
    output: str
    size: int | None
    resumed: bool
    verify: bool


@dataclass(frozen=True)
class _Result:
    image_id: str
    header: Header | None = None
    stored: str = ""
    suffix: str = ""
    notes: tuple[str, ...] = ()
    boxes_xywh: np.ndarray | None = None
    clipped: int = 0
    outside: tuple[int, ...] = ()
    rejected: str = ""


def convert(
    parsed: Parsed,
    output: Path,
    splitting: Splitting = Splitting(),  # noqa: B008  # frozen
    *,
    size: int | None = None,
    boxes_size: BoxesSize | None = None,
    verify: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    resume: bool = True,
) -> Path:
    """Make a data set of what a source's parser found, and print what came of it; what was done before is not redone.

    In a notebook: `convert(rsna.parse(Path("datasets/raw/rsna")), Path("datasets/rsna"))`.

    Args:
        parsed: From the `parse` of a module of `convert.parsers`.
        output: The data set's folder; see `layout.begin` for what may be there.
        splitting: How images are divided.
        size: Longest side of the pictures in pixels, which are scaled down to it; None keeps them as they are.
        boxes_size: The frame that boxes are given in; None for the pictures, as far as that is plausible.
        verify: Decode every JPEG to find those whose data end early; see `convert.pictures.read_picture`.
        workers: Processes, at most; few images get fewer.
        overwrite: Replace the data set that is there.
        resume: Go on with an unfinished one.

    Returns:
        The data YAML, to train with.

    Raises:
        UserError: No image is left, a list of ids does not fit, boxes do not fit pictures, or the folder holds
            something else.
        WorkError: The disk is full, the source is gone, no image could be used, or another conversion writes there.
    """
    output = output.expanduser().absolute()
    plan = make_plan(parsed, splitting, size, boxes_size, verify)
    plausibility.check_source(plan)
    started = time.monotonic()
    out = console()
    data = output / layout.DATA_YAML
    with layout.locked(output):
        resumed = layout.begin(output, plan.settings, overwrite, resume)
        if layout.is_finished(output):
            out.print(f"{shown(output)} is converted already, with these settings; --overwrite would do it again.")
            return data
        if resumed:
            out.print(f"going on with the unfinished conversion in {shown(output)}")
        converted = convert_plan(plan, output, workers, resumed=resumed)
    listed = None if splitting.negatives is None else (output / "train.txt").read_text().count("\n")
    print_summary(converted.tables, converted.clipped, plan.class_names, listed)
    count, seconds = len(converted.tables.manifest), time.monotonic() - started
    out.print(f"{count:,} images in {seconds:.1f} s ({count / seconds:,.0f} images/s) -> {shown(output)}")
    return data


def convert_plan(plan: Plan, output: Path, workers: int, *, resumed: bool) -> Converted:
    """Write the data set into a folder that `layout.begin` prepared.

    Args:
        plan: What is to be converted.
        output: The data set's folder.
        workers: Processes, at most; 1 works in this one.
        resumed: Whether pictures of an interrupted conversion may be there.

    Returns:
        The tables as written, and what was clipped.

    Raises:
        UserError: Boxes and pictures do not fit.
        WorkError: The disk is full, the source is gone, or no image could be used.
    """
    setting = _Setting(plan.source, os.fspath(output), plan.size, resumed, plan.verify)
    jobs = _jobs(plan)
    results = in_chunks(functools.partial(_convert_images, setting), jobs, workers)
    done = list(progress(results, "converting", total=len(jobs)))
    converted = _tables(plan, done)
    if not (converted.tables.manifest["split"] != CHALLENGE).any():
        first = next((result.rejected for result in done if result.rejected), "no image has a file")
        raise WorkError(f"{plan.source.path}: none of its {len(jobs)} images could be used; the first: {first}.")
    _check_whole(plan, done, converted)
    layout.finish(output, converted.tables, plan.class_names, plan.negatives, plan.seed)
    return converted


def _check_whole(plan: Plan, done: Sequence[_Result], converted: Converted) -> None:
    """Judge the boxes once more, now that all pictures' sizes are known."""
    sizes = {one.image_id: (one.header.width, one.header.height) for one in done if one.header is not None}
    plausibility.check_boxes_fit(plan, sizes)
    reasons = {one.image_id: one.rejected for one in done if one.rejected}
    plausibility.check_left(plan, converted.tables.truth, reasons)


def _jobs(plan: Plan) -> list[_Job]:
    index = {name: position for position, name in enumerate(plan.class_names)}
    boxed = plan.boxes.dropna(subset=["x"])
    coordinates = boxed[COORDINATES].to_numpy(float)
    classes = boxed["label"].map(index).to_numpy()
    rows_of = boxed.groupby("image_id").indices
    none = np.empty(0, dtype=int)
    jobs = []
    for image_id, file, split in zip(plan.images.index, plan.images["file"], plan.images["split"], strict=True):
        rows = rows_of.get(image_id, none)
        shape = plan.shapes.get(image_id) if plan.boxes_size is None else None
        frame = plan.frame_of(image_id) if len(rows) else None
        jobs.append(_Job(image_id, file, split, tuple(classes[rows].tolist()), coordinates[rows], shape, frame))
    return jobs


def _convert_images(setting: _Setting, jobs: Sequence[_Job]) -> list[_Result]:
    return [_convert_image(setting, job) for job in jobs]


def _convert_image(setting: _Setting, job: _Job) -> _Result:
    picture_stem = f"{setting.output}/images/{job.split}/{job.image_id}"
    try:
        data = setting.source.read(job.file)
        there = _existing(picture_stem, data, setting.size) if setting.resumed else None
        if there is not None:
            header, encoded, notes = read_header(data), None, read_notes(data)
            stored, suffix = there
        else:
            picture = read_picture(data, setting.size, verify=setting.verify)
            header, encoded, notes = picture.header, picture.encoded, picture.notes
            stored, suffix = picture.stored, picture.suffix
    except UnusablePicture as error:
        return _Result(job.image_id, rejected=str(error))
    except UnreadableError as error:
        _check_source(setting.source, job.file, error.__cause__ or error)
        return _Result(job.image_id, rejected=f"cannot be read: {error}")

    if job.shape is not None and job.shape != (header.width, header.height):
        found, expected = (f"{width} x {height}" for width, height in ((header.width, header.height), job.shape))
        return _Result(job.image_id, header, rejected=f"the picture has {found} pixels, its boxes are for {expected}")
    label, boxes, clipped = "", None, 0
    outside: tuple[int, ...] = ()
    if job.classes:
        given = job.boxes_xywh
        if job.frame is not None:
            given = in_picture(given, np.array(job.frame), np.array((header.width, header.height)))
        boxes, cut, gone = clip(given, header.width, header.height)
        if gone.all():
            shape = f"{header.width} x {header.height}"
            return _Result(job.image_id, header, rejected=f"every box lies outside the picture of {shape} pixels")
        label = to_yolo(boxes[~gone], np.array(job.classes)[~gone].tolist(), header.width, header.height)
        clipped, outside = int(cut.sum()), tuple(np.flatnonzero(gone).tolist())
    if encoded is not None:
        write_atomic(picture_stem + suffix, encoded)
    if job.split != CHALLENGE:
        write_atomic(f"{setting.output}/labels/{job.split}/{job.image_id}.txt", label)
    changed = boxes if clipped or outside or job.frame is not None else None
    return _Result(job.image_id, header, stored, suffix, notes, changed, clipped, outside)


def _check_source(source: Source, file: str, error: BaseException) -> None:
    """Tell a file that cannot be read from a source that is gone, which says nothing about its images.

    Raises:
        WorkError: A drive was unplugged, a folder moved, a zip cut short, or this machine is short of something.
    """
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno in _NO_FAULT_OF_A_FILE else ""
    where = source.path
    try:
        # A folder between may be a mount of its own; an unmounted one is still there, and empty.
        for where in dict.fromkeys((source.path, source.container(file))):
            if where.is_file():
                with open(where, "rb") as opened:
                    reason = reason or ("" if zipfile.is_zipfile(opened) else "it is no whole zip any more")
            else:
                with os.scandir(where) as entries:
                    reason = reason or ("" if next(entries, None) else "the folder is empty now")
    except OSError as gone:
        reason = gone.strerror or str(gone)
    if reason:
        raise WorkError(
            f"{where}: cannot be read any more ({reason}), expected the source as it was at the start. Bring it back "
            "and run the same command again; what is finished stays."
        ) from error


def _existing(picture_stem: str, data: bytes, size: int | None) -> tuple[str, str] | None:
    """How a picture of an interrupted conversion was stored, and its suffix."""
    if os.path.exists(picture_stem + ".jpg"):
        return "passed through", ".jpg"
    if os.path.exists(picture_stem + ".png"):
        # A PNG is what was rendered, or what was a PNG before; only the original tells which.
        return "passed through" if is_kept_png(data, size) else "decoded", ".png"
    return None


def _tables(plan: Plan, done: list[_Result]) -> Converted:
    """Put the results together; boxes that were clipped or dropped are so in the truth, too."""
    usable = {result.image_id: result for result in done if not result.rejected}
    objections = [
        {"image_id": result.image_id, "source": plan.images.at[result.image_id, "file"], "reason": result.rejected}
        for result in done
        if result.rejected
    ]
    truth = plan.boxes[plan.boxes["image_id"].isin(usable.keys())].reset_index(drop=True)
    positions = truth.index.to_series().groupby(truth["image_id"])
    outside: list[int] = []
    for result in usable.values():
        if result.boxes_xywh is None:
            continue
        rows = positions.get_group(result.image_id).to_numpy()
        for position in result.outside:
            box = truth.loc[rows[position], COORDINATES].tolist()
            reason = f"box {' '.join(f'{value:g}' for value in box)} lies outside the picture"
            objections.append(
                {"image_id": result.image_id, "source": plan.images.at[result.image_id, "file"], "reason": reason}
            )
        truth.loc[rows, COORDINATES] = result.boxes_xywh
        outside += rows[list(result.outside)].tolist()
    columns = [*COLUMNS, READERS] if READERS in truth else COLUMNS
    truth = check_boxes(truth.drop(index=outside).reset_index(drop=True)[columns])
    truth = truth.sort_values("image_id", kind="stable").reset_index(drop=True)

    rejected = pd.concat([plan.rejected, pd.DataFrame(objections, columns=REJECTED_COLUMNS)], ignore_index=True)
    rejected["row"] = pd.to_numeric(rejected["row"]).astype("Int64")
    rejected = rejected.sort_values(["image_id", "row"], kind="stable").reset_index(drop=True)
    manifest = _manifest(plan, usable, truth)
    return Converted(layout.Tables(manifest, truth, rejected), sum(result.clipped for result in usable.values()))


def _manifest(plan: Plan, usable: dict[str, _Result], truth: pd.DataFrame) -> pd.DataFrame:
    images = plan.images.loc[plan.images.index.isin(usable.keys())]
    results = [usable[image_id] for image_id in images.index]
    headers = [result.header for result in results]
    counts = truth.groupby("image_id")["x"].count()
    manifest = pd.DataFrame(
        {
            "image_id": images.index.to_numpy(),
            "split": images["split"].to_numpy(),
            "fold": images["fold"].array,  # nullable integers, which to_numpy() would turn into floats
            "patient_id": images["patient_id"].to_numpy(),
            "label": images["label"].to_numpy(),
            "boxes": counts.reindex(images.index).astype("Int64").array,
            "width": [header.width for header in headers if header],
            "height": [header.height for header in headers if header],
            "view": [header.view for header in headers if header],
            "sex": [header.sex for header in headers if header],
            "age": pd.array([header.age_years for header in headers if header], dtype="Int64"),
            "pixel_spacing_mm": [header.pixel_spacing_mm for header in headers if header],
            "stored": [result.stored for result in results],
            "note": ["; ".join(result.notes) for result in results],
            "source": images["file"].to_numpy(),
            "picture": [
                f"images/{split}/{result.image_id}{result.suffix}"
                for split, result in zip(images["split"], results, strict=True)
            ],
        }
    )
    if plan.details is not None:
        known = plan.details.reindex(manifest["image_id"]).set_axis(manifest.index)
        for name in known.columns.intersection(list(DETAILS)):
            manifest[name] = manifest[name].astype("Int64" if name == "age" else object).fillna(known[name])
    return manifest.sort_values("image_id", kind="stable").reset_index(drop=True)
