"""Command: a data set made here, and predictions for it, as COCO JSON."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import START_OVER, parser, run
from common.paths import shown
from convert.sources.places import RSNA_DATA_SET

STOPPED = START_OVER


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = parser(
        "python convert/yolo_to_coco.py",
        "Write COCO JSON of a data set made here, and of predictions for it, for other programs, such as pycocotools "
        "and FiftyOne. Boxes are in pixels of the original images; file names are relative to the data set's folder.",
        "  python convert/yolo_to_coco.py\n"
        "  python convert/yolo_to_coco.py --data datasets/nih --predictions runs/detect/train/predictions_test.csv\n"
        "in FiftyOne, afterwards:\n"
        "  fo.Dataset.from_dir(dataset_type=fo.types.COCODetectionDataset, data_path='datasets/rsna',\n"
        "                      labels_path='datasets/rsna/coco/test.json')",
    )
    add = result.add_argument
    add(
        "--data", type=Path, default=Path(shown(RSNA_DATA_SET)), metavar="PATH", help="the data set: its folder or YAML"
    )
    add("--predictions", type=Path, metavar="FILE", help="a predictions CSV or a Kaggle submission, to go with it")
    add("--output", type=Path, metavar="FOLDER", help="where the JSON goes (default: the folder coco in the data set)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Export; see `build_parser` for the arguments.

    Returns:
        0, the exit status.
    """
    args = build_parser().parse_args(argv)

    from common.cli import console
    from common.data.data_set import converted_root
    from convert.yolo_set.coco_export import export
    from convert.yolo_set.layout import COCO

    data = converted_root(args.data.expanduser())
    for path in export(data, (args.output or data / COCO).expanduser(), args.predictions):
        console().print(shown(path))
    return 0


if __name__ == "__main__":
    run(main, STOPPED)
