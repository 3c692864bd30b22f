"""Command: a hyperparameter study on Ray Tune, from the YAML of a space to a page that says what mattered."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from common.cli import go_on_without, parser, run
from common.errors import UserError

STOPPED = go_on_without("--overwrite", "--no-resume")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = parser(
        "python train/sweep.py",
        "Train and score every setting of a space, resumably: a study that was killed goes on when the same command "
        "is run again. A trial that fails is recorded, and tried again then. At the end, a page compares the settings. "
        "Spaces are in train/spaces/; each is also found by its name alone.",
        "  python train/sweep.py optimizer --dry-run           what would be trained\n"
        "  python train/sweep.py train/spaces/losses.yaml epochs=10 model=yolov8n.pt\n"
        "  python train/sweep.py search --gpus-per-trial 0.5   two trials on each GPU\n"
        "  python train/sweep.py optimizer --ray auto          on the cluster that this machine belongs to\n"
        "  python train/sweep.py --report runs/studies/optimizer",
    )
    add = arguments.add_argument
    add("space", nargs="?", type=Path, metavar="space.yaml", help="what is varied, and what is held fixed")
    add("words", nargs="*", metavar="name=value", help="training arguments that change the space's base")
    add("--output", type=Path, metavar="FOLDER", help="the study's folder (default: runs/studies/<name>)")
    add("--dry-run", action="store_true", help="show the planned trials and stop")
    add("--report", type=Path, metavar="FOLDER", help="only write the page of this study anew")
    again = arguments.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with a study of the same space",
    )
    again.add_argument("--overwrite", action="store_true", help="replace the study that is there")
    work = arguments.add_argument_group("work")
    work.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="join a Ray cluster, such as 10.0.0.1:6379, or `auto`; the project, the data set and --output must then "
        "lie on a file system that all nodes share (default: this machine alone)",
    )
    work.add_argument(
        "--trials-at-once", type=_count, metavar="N", help="most trials at a time (default: all that fit)"
    )
    work.add_argument(
        "--cpus-per-trial", type=_count, metavar="N", help="cores of each (default: what there is, shared)"
    )
    work.add_argument(
        "--gpus-per-trial",
        type=_gpus,
        metavar="N",
        help="GPUs of each, also a part of one, such as 0.5; 0 trains on the CPU (default: 1 where there are any)",
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run a study, or what was asked for instead."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_intermixed_args(words)
    if args.report is not None:
        from train.study.conduct import report

        report(args.report)
        return None
    if args.space is None:
        raise UserError("space.yaml: missing; name a space file, such as train/spaces/optimizer.yaml. See --help.")
    if args.dry_run:
        from train.study.conduct import show_plan

        show_plan(args.space, args.words)
        return None
    from train.study.conduct import SweepRequest, sweep

    request = SweepRequest(
        space=args.space,
        words=tuple(args.words),
        output=args.output,
        resume=args.resume,
        overwrite=args.overwrite,
        ray=args.ray,
        trials_at_once=args.trials_at_once,
        cpus_per_trial=args.cpus_per_trial,
        gpus_per_trial=args.gpus_per_trial,
        argv=tuple(words),
    )
    return sweep(request)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)


def _gpus(text: str) -> float:
    try:
        gpus = float(text)
    except ValueError:
        gpus = -1.0
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a part of a GPU, such as 0.5, nor a whole number of GPUs"
        )
    return gpus


if __name__ == "__main__":
    run(main, STOPPED)
