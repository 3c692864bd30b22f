"""The conversion itself: every source's images go through here, in parallel, resumable at any point.

A source's command makes a `Plan` (which file is which image, in which split, with which boxes); `convert` writes the
pictures and labels, and then the tables. A picture that exists is whole, so a conversion that was interrupted skips
the work on it, reads the header again, and ends with the same data set, byte for byte.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.cli import console, progress
from common.errors import WorkError
from common.files import write_atomic
from common.paths import shown
from convert.pictures.dicom import Header, Picture, UnusableDicom, read_header, to_picture
from convert.pictures.raster import UnusablePicture, is_picture_file, passed_through, read_picture_header, render
from convert.sources.boxes import COLUMNS, COORDINATES, READERS, REJECTED_COLUMNS, clip, schema, to_yolo
from convert.sources.files import Source
from convert.yolo_set import layout
from convert.yolo_set.summary import print_summary

DETAILS = ("view", "sex", "age", "pixel_spacing_mm")
"""Columns of the manifest that a source's tables may fill where the pictures' headers do not."""

_CHUNK = 64  # images handed to a worker at once: enough to hide the handing over, few enough for a smooth bar


@dataclass(frozen=True)
class Plan:
    """What is to be converted.

    Attributes:
        source: Where the files are.
        images: Index image_id; columns `file` (name in the source), `split`, `fold` (nullable integer), `patient_id`,
            `label` and `boxes` (number of rows in `boxes` with coordinates; missing where there is no truth).
        boxes: The boxes table of all images but the challenge's.
        rejected: What the parser could not use.
        details: What is known of images besides their headers: index image_id, columns of `DETAILS`.
        shapes: Width and height in pixels of the picture that an image's boxes were drawn on, where the source says so.
        class_names: The boxes' labels by class index.
        settings: What decides the outcome, for `layout.begin`.
        size: Longest side of the pictures in pixels; None keeps them as they are.
        negatives: See `layout.finish`.
        seed: See `layout.finish`.
    """

    source: Source
    images: pd.DataFrame
    boxes: pd.DataFrame
    rejected: pd.DataFrame
    class_names: list[str]
    settings: dict[str, Any]
    size: int | None = None
    negatives: float | None = None
    seed: int = 0
    details: pd.DataFrame | None = None
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
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


@dataclass(frozen=True)
class _Work:
    """What a worker process must know besides its jobs."""

    source: Source
    output: str
    size: int | None
    resumed: bool


@dataclass(frozen=True)
class _Done:
    image_id: str
    header: Header | None = None
    stored: str = ""
    suffix: str = ""
    boxes_xywh: np.ndarray | None = None
    clipped: int = 0
    outside: tuple[int, ...] = ()
    rejected: str = ""


def run_plan(plan: Plan, output: Path, workers: int, *, overwrite: bool = False, resume: bool = True) -> None:
    """Convert into `output` and print what came of it; nothing is done where it was done before.

    Args:
        plan: What is to be converted.
        output: The data set's folder; see `layout.begin` for what may be there.
        workers: Processes, at most; few images get fewer.
        overwrite: Replace the data set that is there.
        resume: Go on with an unfinished one.

    Raises:
        UserError: The folder holds something else.
        WorkError: The disk is full, or no image could be used.
    """
    started = time.monotonic()
    out = console()
    resumed = layout.begin(output, plan.settings, overwrite, resume)
    if layout.is_finished(output):
        out.print(f"{shown(output)} is converted already, with these settings; --overwrite would do it again.")
        return
    if resumed:
        out.print(f"going on with the unfinished conversion in {shown(output)}")
    # A process takes half a second to start: not worth it for a handful of images.
    outcome = convert(plan, output, min(workers, max(1, len(plan.images) // 100)), resumed)
    print_summary(outcome.tables, outcome.clipped, plan.class_names)
    count, seconds = len(outcome.tables.manifest), time.monotonic() - started
    out.print(f"{count:,} images in {seconds:.1f} s ({count / seconds:,.0f} images/s) -> {shown(output)}")


def convert(plan: Plan, output: Path, workers: int, resumed: bool) -> Outcome:
    """Write the data set into a folder that `layout.begin` prepared.

    Args:
        plan: What is to be converted.
        output: The data set's folder.
        workers: Processes; 1 works in this one.
        resumed: Whether pictures of an interrupted conversion may be there.

    Returns:
        The tables as written, and what was clipped.

    Raises:
        WorkError: The disk is full, or no image could be used.
    """
    work = _Work(plan.source, os.fspath(output), plan.size, resumed)
    jobs = _jobs(plan)
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    done = list(progress(_results(work, chunks, workers), "converting", total=len(jobs)))
    outcome = _tables(plan, done)
    if not (outcome.tables.manifest["split"] != layout.CHALLENGE).any():
        first = next((result.rejected for result in done if result.rejected), "no image has a file")
        raise WorkError(f"{plan.source.path}: none of its {len(jobs)} images could be used; the first: {first}.")
    layout.finish(output, outcome.tables, plan.class_names, plan.negatives, plan.seed)
    return outcome


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
        shape = plan.shapes.get(image_id)
        jobs.append(_Job(image_id, file, split, tuple(classes[rows].tolist()), coordinates[rows], shape))
    return jobs


def _results(work: _Work, chunks: list[list[_Job]], workers: int) -> Iterator[_Done]:
    if workers == 1:
        for chunk in chunks:
            yield from _convert_chunk(work, chunk)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="3*n_jobs", batch_size=1)
    for results in parallel(delayed(_convert_chunk)(work, chunk) for chunk in chunks):
        yield from results


def _convert_chunk(work: _Work, jobs: list[_Job]) -> list[_Done]:
    return [_convert_image(work, job) for job in jobs]


def _convert_image(work: _Work, job: _Job) -> _Done:
    picture_stem = f"{work.output}/images/{job.split}/{job.image_id}"
    try:
        data = work.source.read(job.file)
        there = _existing(picture_stem, data, work.size) if work.resumed else None
        if there is not None:
            header, encoded = read_picture_header(data) if is_picture_file(data) else read_header(data), None
            stored, suffix = there
        else:
            picture = _picture(data, work.size)
            header, encoded, stored, suffix = picture.header, picture.encoded, picture.stored, picture.suffix
    except (UnusableDicom, UnusablePicture) as error:
        return _Done(job.image_id, rejected=str(error))
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return _Done(job.image_id, rejected=f"cannot be read: {error}")

    if job.shape is not None and job.shape != (header.width, header.height):
        found, expected = (f"{width} x {height}" for width, height in ((header.width, header.height), job.shape))
        return _Done(job.image_id, rejected=f"the picture has {found} pixels, its boxes are for {expected}")
    label, boxes, clipped = "", None, 0
    outside: tuple[int, ...] = ()
    if job.classes:
        boxes, cut, gone = clip(job.boxes_xywh, header.width, header.height)
        if gone.all():
            shape = f"{header.width} x {header.height}"
            return _Done(job.image_id, rejected=f"every box lies outside the picture of {shape} pixels")
        label = to_yolo(boxes[~gone], np.array(job.classes)[~gone].tolist(), header.width, header.height)
        clipped, outside = int(cut.sum()), tuple(np.flatnonzero(gone).tolist())
    if encoded is not None:
        write_atomic(picture_stem + suffix, encoded)
    if job.split != layout.CHALLENGE:
        write_atomic(f"{work.output}/labels/{job.split}/{job.image_id}.txt", label)
    changed = boxes if clipped or outside else None
    return _Done(job.image_id, header, stored, suffix, changed, clipped, outside)


def _picture(data: bytes, size: int | None) -> Picture:
    return render(data, size) if is_picture_file(data) else to_picture(data, size)


def _existing(picture_stem: str, data: bytes, size: int | None) -> tuple[str, str] | None:
    """How a picture of an interrupted conversion was stored, and its suffix."""
    if os.path.exists(picture_stem + ".jpg"):
        return "passed through", ".jpg"
    if os.path.exists(picture_stem + ".png"):
        # A PNG is what was rendered, or what was a PNG before; only the original tells which.
        same = is_picture_file(data) and passed_through(data, size)
        return "passed through" if same else "decoded", ".png"
    return None


def _tables(plan: Plan, done: list[_Done]) -> Outcome:
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
    truth = schema().validate(truth.drop(index=outside).reset_index(drop=True)[columns])
    truth = truth.sort_values("image_id", kind="stable").reset_index(drop=True)

    rejected = pd.concat([plan.rejected, pd.DataFrame(objections, columns=REJECTED_COLUMNS)], ignore_index=True)
    rejected["row"] = pd.to_numeric(rejected["row"]).astype("Int64")
    rejected = rejected.sort_values(["image_id", "row"], kind="stable").reset_index(drop=True)
    manifest = _manifest(plan, usable, truth)
    return Outcome(layout.Tables(manifest, truth, rejected), sum(result.clipped for result in usable.values()))


def _manifest(plan: Plan, usable: dict[str, _Done], truth: pd.DataFrame) -> pd.DataFrame:
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
