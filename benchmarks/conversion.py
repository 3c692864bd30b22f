"""Compare the converter with what others do: python benchmarks/conversion.py.

The files are RSNA-true: 1024 x 1024, 8 bit, JPEG Baseline in DICOM, about 130 KB, drawn by
convert/synthetic/phantom.py. Each way reads the same files and writes to the same disk, in one process, and the ways
take turns:

- ours: the whole converter, from tables to manifest, pictures and labels written whole or not at all;
- pixels to PNG, to JPEG: `cv2.imwrite(..., pydicom.dcmread(...).pixel_array)`, as most published scripts do;
- copy: `shutil.copyfile` of the DICOMs, which no converter can beat by much.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from common.cli import console, parser, run
from common.cores import available_cores

RSNA_IMAGES = 26_684
DRAWN = 24
"""Different pictures; files are copies of them under other names, as drawing takes longer than all the rest."""


def make_release(folder: Path, images: int) -> None:
    """Write a release in RSNA's layout: real sizes and class shares, no mapping."""
    from convert.synthetic.dicom_writer import write_dicom
    from convert.synthetic.phantom import draw
    from convert.synthetic.population import make_population

    cases = make_population(DRAWN, seed=0)
    files = [
        write_dicom(draw(case, 1024).pixels, "jpeg-baseline", image_id=case.image_id, patient_age="34", view=case.view)
        for case in cases
    ]
    pictures = folder / "stage_2_train_images"
    pictures.mkdir(parents=True)
    labels, classes = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for number in range(images):
        image_id = f"{number * 2654435761 % 2**32:08x}-{number:06}"
        (pictures / f"{image_id}.dcm").write_bytes(files[number % DRAWN])
        box, label = (",,,", "Normal") if number % 9 > 1 else ("264.0,152.0,213.0,379.0", "Lung Opacity")
        labels.append(f"{image_id},{box},{int(number % 9 <= 1)}")
        classes.append(f"{image_id},{label}")
    (folder / "stage_2_train_labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(classes) + "\n")


def convert_ours(source: Path, output: Path, workers: int = 1) -> None:
    """The converter without its printing."""
    from convert.parsers.rsna import parse
    from convert.yolo_set import Splitting, layout
    from convert.yolo_set.conversion import convert_plan
    from convert.yolo_set.plan import make_plan

    plan = make_plan(parse(source, source.parent / "mapping.csv"), Splitting())
    layout.begin(output, plan.settings, overwrite=False, resume=False)
    convert_plan(plan, output, workers, resumed=False)


def write_pixels(source: Path, output: Path, suffix: str) -> None:
    """Decode every file with pydicom and encode it again with OpenCV."""
    import warnings

    import cv2
    import pydicom

    output.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about ages without a unit: printing them would cost time
        for path in (source / "stage_2_train_images").iterdir():
            cv2.imwrite(str(output / f"{path.stem}{suffix}"), pydicom.dcmread(path).pixel_array)


def copy(source: Path, output: Path) -> None:
    """Copy the DICOMs as they are."""
    import shutil

    output.mkdir()
    for path in (source / "stage_2_train_images").iterdir():
        shutil.copyfile(path, output / path.name)


def measure(images: int = 2000, naive_images: int = 100, repeats: int = 5, whole: bool = True) -> list[dict[str, Any]]:
    """Time all ways on the same disk, in this process.

    Args:
        images: Files for ours and the copy.
        naive_images: Files for the two slow ways; times are per file, so they can be compared.
        repeats: Rounds in which the ways take turns. A ratio is the median of the rounds' ratios, so that it holds even
            where the machine's speed drifts between rounds.
        whole: Also convert a release of RSNA's size with all cores, and watch the memory.

    Returns:
        Rows of what (the work), seconds (ours), ratio (seconds of the alternative / ours), against (the alternative).
    """
    import statistics
    import tempfile
    from contextlib import redirect_stderr
    from time import perf_counter

    with tempfile.TemporaryDirectory() as temporary, open(os.devnull, "w") as null, redirect_stderr(null):
        folder = Path(temporary)
        for name, count in (("many", images), ("few", naive_images)):
            make_release(folder / name / "raw", count)
            _no_mapping(folder / name)
        ways: dict[str, tuple[Callable[[Path, Path], None], str, int]] = {
            "ours": (convert_ours, "many", images),
            "copy": (copy, "many", images),
            "png": (lambda source, output: write_pixels(source, output, ".png"), "few", naive_images),
            "jpeg": (lambda source, output: write_pixels(source, output, ".jpg"), "few", naive_images),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        # Nothing is removed in between: a file system that has just lost thousands of files is slow to make new ones.
        for turn in range(repeats + 1):
            for name, (way, size, count) in ways.items():
                output = folder / f"{name}-{turn}"
                start = perf_counter()
                way(folder / size / "raw", output)
                if turn:  # the first round warms the page cache and the imports
                    times[name].append((perf_counter() - start) / count)
        per_file = {name: statistics.median(seconds) for name, seconds in times.items()}

        def ratio(name: str) -> float:
            return statistics.median(other / ours for other, ours in zip(times[name], times["ours"], strict=True))

        rows = [
            {
                "what": f"convert one RSNA file (of {images:,}; one process)",
                "seconds": per_file["ours"],
                "ratio": ratio(name),
                "against": against,
            }
            for name, against in (
                ("png", "pydicom pixel_array + cv2.imwrite to PNG"),
                ("jpeg", "pydicom pixel_array + cv2.imwrite to JPEG"),
                ("copy", "shutil.copyfile of the DICOM"),
            )
        ]
        if whole:
            rows.append(_whole(folder, per_file["png"]))
    return rows


def _whole(folder: Path, naive_seconds: float) -> dict[str, Any]:
    import subprocess
    from time import perf_counter

    make_release(folder / "whole" / "raw", RSNA_IMAGES)
    _no_mapping(folder / "whole")
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, str(root / "convert" / "rsna_to_yolo.py"), "--source", str(folder / "whole" / "raw")]
    command += ["--nih-mapping", str(folder / "whole" / "mapping.csv"), "--output", str(folder / "converted")]
    start = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _largest_process_mb(process.pid))
    seconds = perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    cores = available_cores()
    return {
        "what": f"convert {RSNA_IMAGES:,} RSNA files ({cores} processes, start to end; largest process {peak:.0f} MB)",
        "seconds": seconds,
        "ratio": naive_seconds * RSNA_IMAGES / cores / seconds,
        "against": f"the PNG way on as many processes (scaled from its time per file, over {cores})",
    }


def _largest_process_mb(pid: int) -> float:
    """Resident memory in MB of the largest of a process and its descendants; also waits a tenth of a second."""
    import time

    import psutil

    time.sleep(0.1)
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        return max(member.memory_info().rss for member in family) / 1e6
    except (psutil.NoSuchProcess, ValueError):
        return 0


def _no_mapping(folder: Path) -> None:
    """A mapping in which two neighbouring images are one patient's."""
    ids = sorted(path.stem for path in (folder / "raw" / "stage_2_train_images").iterdir())
    rows = [f"{image_id},{number // 2:08}_{number % 2:03}.png" for number, image_id in enumerate(ids)]
    (folder / "mapping.csv").write_text("patientId,nih_image\n" + "\n".join(rows) + "\n")


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/conversion.py", "Compare the converter with what others do, and with a copy.")
    command.add_argument("--images", type=int, default=2000, help="files for the converter and the copy")
    command.add_argument("--no-whole", action="store_true", help="leave out the release of RSNA's size (8 GB of disk)")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    arguments = build_parser().parse_args(argv)
    from benchmarks.results import print_rows

    print_rows(measure(arguments.images, whole=not arguments.no_whole))
    console().print("A ratio above 1: ours takes less time.")
    return None


if __name__ == "__main__":
    run(main)
