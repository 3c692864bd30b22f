"""Command: the fused predictions of several trainings, such as the members of `recipe=winner`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.argument_types import positive_int
from common.cli import console, parser, run
from common.paths import shown, typed
from evaluate.arguments import kept_predictions

STOPPED = kept_predictions


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = parser(
        "python evaluate/ensemble.py",
        "Predict val and test with several trainings and fuse what they found (weighted boxes fusion). An image of val "
        "is predicted only by those that have not trained on its patient, so that members of different folds can be "
        "tuned on it honestly. Writes predictions.csv for evaluate/score.py.",
        "  python evaluate/ensemble.py runs/winner\n"
        "  python evaluate/ensemble.py runs/train runs/train-2 --output runs/both --augment",
    )
    add = arguments.add_argument
    add("members", nargs="+", type=Path, help="weights, trainings' folders, or folders of such")
    add("--data", type=Path, help="data YAML or data set folder; otherwise the one that the first was trained on")
    add("--iou", type=float, default=0.4, help="boxes that overlap more are one")
    add("--batch", type=positive_int, default=16, help="images at a time")
    add("--device", help="cpu, 0, cuda:1, mps; otherwise a GPU if there is one")
    add(
        "--augment",
        action="store_true",
        help="look at each image mirrored and at two other sizes, too: four times as slow, often better",
    )
    add("--half", action="store_true", help="compute in 16 bits, on a GPU")
    add("--again", action="store_true", help="predict anew even if kept predictions are still right")
    add("--output", type=Path, metavar="FOLDER", help="where to write; otherwise the first folder named")
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Predict, fuse, and say what to do next."""
    args = build_parser().parse_args(argv)

    from evaluate.detector.options import InferenceOptions
    from evaluate.scoring.members import EnsembleRequest, fuse_members

    fused = fuse_members(
        EnsembleRequest(
            members=tuple(args.members),
            data=args.data,
            iou=args.iou,
            inference=InferenceOptions(augment=args.augment, half=args.half, batch=args.batch, device=args.device),
            again=args.again,
            output=args.output,
        )
    )
    out = console()
    for name, voters in fused.voters.items():
        out.print(f"{name:5} {len(voters):,} images, each seen by {voters.min()} to {voters.max()} of the members")
    if len({(voters.min(), voters.max()) for voters in fused.voters.values()}) > 1:
        out.print(
            "A box that one of several members has found gets less confidence than one that the only one to look "
            "has found: what is tuned on one of these splits may not suit the other."
        )
    out.print(f"\nwrote {shown(fused.predictions)}")
    out.print(f"next: python evaluate/score.py --predictions {typed(fused.predictions)} --data {typed(fused.data)}")
    return None


if __name__ == "__main__":
    run(main, STOPPED)
