"""Command: write a synthetic data set in the RSNA challenge's raw layout: Kaggle's, or that of RSNA's own release.

It stands in for the real data where that cannot be had: in tests, in the demo and while trying things out. The
pictures are drawings (see `phantom`), their statistics are the real ones (see `population`).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from common.cli import parser, progress, run
from common.cores import available_cores
from common.errors import UserError, WorkError
from common.files import PART, write_atomic, write_json
from convert.options import share

if TYPE_CHECKING:
    from convert.population import Case
    from convert.sample_tables import Row

MARKER = "sample.json"
"""Written last: the settings of a finished sample."""
UNFINISHED = "sample-unfinished.json"
"""Written first and removed last: what lies beside it was made here, but not to the end."""

FOLDERS = {"train": "stage_2_train_images", "test": "stage_2_test_images"}

USUAL_ENCODING = "jpeg-baseline"
"""How all RSNA files are stored."""


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    arguments = parser(
        "python convert/sample.py",
        "Write synthetic chest radiographs in the raw layout of the RSNA 2018 release: DICOM files, the three CSV "
        "files and RSNA's image-to-patient mapping. The same settings give the same files, and the same images in both "
        "layouts.",
        "  python convert/sample.py\n"
        "  python convert/sample.py --layout release --output datasets/raw/rsna-release\n"
        "  python convert/sample.py --images 2000 --test-images 200 --size 512 --output datasets/raw/large\n",
    )
    add = arguments.add_argument
    add("--output", type=Path, default=Path("datasets/raw/sample"), metavar="FOLDER", help="where the files go")
    add(
        "--layout",
        choices=("kaggle", "release"),
        default="kaggle",
        help="as Kaggle serves the data, or as RSNA does: MD.ai annotations, studies and series, the test set's truth",
    )
    add("--images", type=_count(1), default=400, metavar="N", help="training images")
    add("--test-images", type=_count(0), default=40, metavar="N", help="test images; Kaggle gives no labels for them")
    add("--size", type=_size, default=1024, metavar="PIXELS", help="pictures are square; RSNA's are 1024")
    add("--seed", type=_count(0), default=0, help="decides everything that is drawn")
    add("--workers", type=_count(1), default=available_cores(), metavar="N", help="processes")
    add(
        "--odd-encodings",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="share of files stored in other ways than RSNA's JPEG: other compressions, 12 and 16 bit, inverted, ...",
    )
    add("--overwrite", action="store_true", help="replace the sample that is there")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)
    settings = {
        "images": args.images,
        "test_images": args.test_images,
        "size": args.size,
        "seed": args.seed,
        "odd_encodings": args.odd_encodings,
    }
    if args.layout != "kaggle":
        settings["layout"] = args.layout
    if not _prepare(args.output, settings, args.overwrite):
        print(f"{args.output}: this sample is there already; --overwrite makes it again")
        return 0
    cases, boxes = _make(args.output, settings, args.workers)
    boxes = boxes[: args.images]
    positive = sum(map(bool, boxes))
    print(
        f"{args.output}: {args.images} training images ({positive} with {sum(map(len, boxes))} boxes) and "
        f"{args.test_images} test images of {len({case.nih_image[:8] for case in cases})} patients"
    )
    return None


def _prepare(output: Path, settings: dict[str, Any], overwrite: bool) -> bool:
    """Make the output folder ready; False if the wanted sample is in it already.

    Raises:
        UserError: The folder holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: a file, expected a folder or nothing. Choose another --output.")
    marker, unfinished = output / MARKER, output / UNFINISHED
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
            f"{output}: not empty, and not made by this command (no {MARKER}). Choose a new or an empty --output."
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
            f"{output}: cannot be written ({error.strerror}). Check the folder and its permissions."
        ) from error
    return True


def _clear(output: Path) -> None:
    """Remove what an earlier run of this command made, and nothing else."""
    from convert.sample_release import FOLDER
    from convert.sample_tables import TABLES

    for name in (MARKER, *TABLES):
        (output / name).unlink(missing_ok=True)
    for folder in (*FOLDERS.values(), FOLDER):
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
    from convert.population import make_population
    from convert.sample_release import NO_TRUTH_SHARE
    from convert.sample_tables import write_kaggle_tables, write_mapping, write_release_tables

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
    jobs = zip(cases, encodings, strict=True)
    drawn = _run_jobs(output, jobs, settings, workers)
    boxes = list(progress(drawn, "drawing", len(cases)))
    if "layout" in settings:
        write_release_tables(output, cases, boxes, settings["seed"])
    else:
        write_kaggle_tables(output, train, boxes[: len(train)], test)
    write_mapping(output, cases)
    shares = {name: encodings.count(name) for name in sorted(set(encodings))}
    write_json(output / MARKER, {"settings": settings, "encodings": shares})
    (output / UNFINISHED).unlink()
    return cases, boxes


def _run_jobs(
    output: Path, jobs: Iterable[tuple[Case, str]], settings: dict[str, Any], workers: int
) -> Iterator[list[Row]]:
    from convert.sample_release import picture_path

    def path(case: Case) -> Path:
        return output / (picture_path(case) if "layout" in settings else f"{FOLDERS[case.group]}/{case.image_id}.dcm")

    size = settings["size"]
    if workers == 1:
        yield from (_make_image(path(case), case, encoding, size) for case, encoding in jobs)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator", batch_size="auto")
    yield from parallel(delayed(_make_image)(path(case), case, encoding, size) for case, encoding in jobs)


def _make_image(path: Path, case: Case, encoding: str, size: int) -> list[Row]:
    """Draw one image and write its DICOM file; returns its boxes."""
    import cv2

    from convert.dicom_writer import write_dicom
    from convert.phantom import draw
    from convert.population import REFERENCE_SIZE

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

    from convert.dicom_writer import ENCODINGS

    rng = np.random.default_rng([seed, 2])
    others = rng.permutation([name for name in ENCODINGS if name != USUAL_ENCODING]).tolist()
    odd = round(images * odd_share)
    names = [others[k % len(others)] for k in range(odd)] + [USUAL_ENCODING] * (images - odd)
    return rng.permutation(np.asarray(names, dtype=object)).tolist()


def _count(least: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def _size(text: str) -> int:
    size = int(_count(64)(text))
    if size % 2:  # the encoder for JPEG Lossless cannot do odd numbers of pixels
        raise argparse.ArgumentTypeError(f"{text!r} is odd, expected an even number of pixels")
    return size


if __name__ == "__main__":
    run(main)
