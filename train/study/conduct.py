"""A study from its command line to its closing lines: what the command `train/sweep.py` does."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.cli import console, print_error
from common.errors import UserError
from common.paths import PROJECT, shown
from train.study.plan import Trial, command, effective, identity, plan
from train.study.run.folder import TRIALS, BestSetting, begin_study, best_setting, find_violations, read_trials
from train.study.run.trial_files import ERROR
from train.study.space import Space, read_space
from train.study.study_record import Origin, StudyRecord, find_study_record, read_study_record, write_study_record
from train.study.trial_record import STOPPED

STUDIES = PROJECT / "runs" / "studies"


@dataclass(frozen=True)
class SweepRequest:
    """What a study is asked to do, and with what.

    Attributes:
        space: The space's file, or its name alone if it is one of `train/spaces/`.
        words: Training arguments, `name=value`, that change the space's base.
        output: The study's folder; None is `runs/studies/<name>`.
        resume: Go on with a study of the same space.
        overwrite: Replace the study that is there.
        ray: Address of a cluster to join, or `auto`; None is this machine alone.
        trials_at_once: Most trials at a time; None is all that fit.
        cpus_per_trial: Cores of each; None shares what there is.
        gpus_per_trial: GPUs of each, also a part of one; None is 1 where there are any.
        argv: The command line as typed, for the record.
    """

    space: Path
    words: tuple[str, ...] = ()
    output: Path | None = None
    resume: bool = True
    overwrite: bool = False
    ray: str | None = None
    trials_at_once: int | None = None
    cpus_per_trial: int | None = None
    gpus_per_trial: float | None = None
    argv: tuple[str, ...] = ()


def show_plan(file: Path, words: Sequence[str] = ()) -> None:
    """Print the trials of a space without training any.

    Args:
        file: The space's file; see `SweepRequest.space`.
        words: See `SweepRequest.words`.

    Raises:
        UserError: The space is wrong.
    """
    from rich.table import Table

    space = read_space(file, words)
    out = console()
    if space.method == "tpe":
        block = space.blocks[0]
        for name, choices in block.parameters.items():
            out.print(f"{name:<16}{list(choices) if isinstance(choices, tuple) else choices.as_dict()}")
        out.print(f"{space.trials} settings chosen by TPE, each trained {space.repeats} times")
        out.print(f"{(space.trials or 0) * space.repeats} trainings")
        return
    trials = plan(space)
    base = effective(space.base)
    table = Table("trial", "settings", "seed", *(["fold"] if space.folds else []), "blocks", box=None, pad_edge=False)
    for trial in trials:
        # A setting of several blocks is often their common base: naming all that is varied anywhere would tell nothing.
        besides = {name: value for name, value in trial.arguments.items() if base.get(name) != value}
        besides = {name: value for name, value in besides.items() if name not in ("seed", "data")}
        differing = {**trial.settings, **besides} if len(trial.blocks) == 1 else besides
        words = " ".join(f"{name}={value}" for name, value in differing.items()) or "the base"
        fold = [str(trial.fold)] if space.folds else []
        blocks = ", ".join(trial.blocks) if len(trial.blocks) < 4 else f"{len(trial.blocks)} blocks"
        table.add_row(trial.id, words, str(trial.seed), *fold, blocks)
    out.print(table)
    settings = len({trial.setting for trial in trials})
    out.print(f"\n{len(trials)} trainings of {settings} settings; the first:\n{command(trials[0].arguments)}")


def sweep(request: SweepRequest) -> int:
    """Run a study, or what is left of it; write its page.

    Returns:
        Exit status: 0 if a trial finished, else 1.

    Raises:
        UserError: The space, the data or the folder is wrong, or the extra `ray` is not installed.
        WorkError: The folder cannot be written.
    """
    from train.study.run.cluster import check_nodes, connected, require, share_out

    space = read_space(request.space, request.words)
    require("ray", *(["optuna"] if space.method == "tpe" else []))
    trials = plan(space) if space.method != "tpe" else []
    gpus = _gpus(space, trials, request.gpus_per_trial)
    data = _check(space, trials)
    folder = (request.output or STUDIES / space.name).expanduser().absolute()

    from train.study.run.jobs import Jobs
    from train.study.run.trial_files import Work
    from train.study.run.tuning import run_jobs

    record = StudyRecord.of(space, _origin(space, data, request.argv))
    begin_study(folder, record, resume=request.resume, overwrite=request.overwrite)
    jobs = Jobs(space, folder)
    left = sum(not jobs.is_over(number) for number in jobs.numbers)
    if left or jobs.unscored():
        print(f"{jobs.total()} trials, {jobs.done()} of them done; starting Ray", flush=True)
        with connected(request.ray):
            if request.ray:
                check_nodes([folder, PROJECT, Path(data["path"])])
            resources = share_out(max(left, 1), request.trials_at_once, request.cpus_per_trial, gpus)
            _note_machine(folder, resources.machine, resources.cpus)
            run_jobs(jobs, Work(folder, space.name, resources.cpus, resources.gpus), resources)
    return _close(folder)


def report(folder: Path) -> tuple[Path, Path]:
    """Write a study's page and its Markdown; say where they are.

    Returns:
        Both files.

    Raises:
        UserError: There is no study.
    """
    if find_study_record(folder) is None:
        raise UserError(f"{folder}: no study (it has no study.json). Name the folder of one, in {shown(STUDIES)}/.")
    from train.study.report.page import write_study_report

    page, markdown = write_study_report(folder)
    console().print(f"\nreport   {shown(page)}\n         {shown(markdown)}")
    return page, markdown


def _check(space: Space, trials: list[Trial]) -> dict[str, Any]:
    """Refuse what every trial would fail of, and fetch weights and data once; gives the content of the data YAML."""
    from train.detector.training import check, check_arguments
    from train.settings.arguments import parse
    from train.study.plan import trials_of
    from train.study.space_values import Range, to_text

    if not trials:  # TPE: every choice and both ends of a range, one at a time
        block = space.blocks[0]
        ends = {n: (v.low, v.high) if isinstance(v, Range) else v for n, v in block.parameters.items()}
        first = {name: values[0] for name, values in ends.items()}
        settings = [{**first, name: value} for name, values in ends.items() for value in values]
        trials = [trial for values in settings for trial in trials_of(space, block, values)]
    else:
        same = len(trials) - len({identity(trial.arguments) for trial in trials})
        assert not same, f"{same} trials do not differ from others"
    found: dict[tuple[str, str], Any] = {}
    for trial in trials:
        given = parse([f"{name}={to_text(value)}" for name, value in trial.arguments.items()])
        key = str(given["data"]), str(given["model"])
        try:
            if key in found:
                check_arguments(given)
            else:
                found[key] = check(given)
        except UserError as error:
            settings_text = " ".join(f"{name}={value}" for name, value in trial.settings.items())
            raise type(error)(f"{shown(space.file)}: {settings_text}: {error}") from error
    return next(iter(found.values()))


def _gpus(space: Space, trials: list[Trial], asked: float | None) -> float | None:
    """GPUs of a trial; a device in the space decides where nothing else does."""
    devices = {str(trial.arguments["device"]) for trial in trials if "device" in trial.arguments}
    devices |= {str(space.base["device"])} if "device" in space.base else set()
    if devices <= {"cpu", "mps"}:
        if devices and asked:
            raise UserError(
                f"--gpus-per-trial {asked:g}: the space says device: {min(devices)}; leave out one of them."
            )
        gpus = 0.0 if devices else asked
    else:
        raise UserError(
            f"{shown(space.file)}: device: found {min(devices)}; expected cpu, mps or none: which GPU a trial gets is "
            "Ray's choice, and how many --gpus-per-trial's."
        )
    if space.scheduler and gpus and gpus > 1:
        raise UserError(
            f"--gpus-per-trial {gpus:g}: a training on several GPUs does not report its epochs, which the space's "
            "scheduler needs; use at most 1, or leave out the scheduler."
        )
    return gpus


def _origin(space: Space, data: Mapping[str, Any], argv: Sequence[str]) -> Origin:
    """What study.json says besides the space.

    Args:
        space: The study.
        data: The content of its data YAML, as Ultralytics sees it.
        argv: The command line as typed.
    """
    from common.data.data_set import DataSet
    from common.data.fingerprint import data_fingerprint
    from common.provenance import describe_origin

    described = describe_origin("train/sweep.py", argv)
    for package in ("ray", "optuna"):
        if importlib.util.find_spec(package):
            described["versions"][package] = version(package)
    yaml = Path(effective(space.base)["data"]).expanduser()
    yaml = yaml if yaml.exists() else PROJECT / yaml
    return Origin(
        **described,
        data=space.data,
        fingerprint=data_fingerprint(data),
        synthetic=DataSet(yaml).is_synthetic(["val"]),
    )


def _note_machine(folder: Path, found: str, threads: int) -> None:
    """Add to study.json what the study runs on, and with how many threads a trial computes."""
    import torch

    cards = sorted({torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())})
    # The vector instructions decide how sums are rounded, and with it whether a score can be repeated exactly.
    names = ", ".join(filter(None, (_processor(), torch.backends.cpu.get_cpu_capability(), *cards)))
    record = read_study_record(folder)
    origin = replace(record.origin, machine=f"{found} ({names})", threads=threads)
    write_study_record(folder, replace(record, origin=origin))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _close(folder: Path) -> int:
    """Check what came out, write the page, print the best setting."""
    records = read_trials(folder)
    failed = [record for record in records if record.has_failed]
    stopped = sum(record.status == STOPPED for record in records)
    out = console()
    counts = f"{len(records) - len(failed) - stopped} finished, {stopped} stopped early, {len(failed)} failed"
    out.print(f"\n{len(records)} trials: {counts}")
    for record in failed:
        out.print(f"  {record.id}: {record.error}  ({shown(folder / TRIALS / record.id / ERROR)})")
    for violation in find_violations(folder, records):
        print_error(f"trials that should differ: {violation}")
    best = best_setting(records)
    if best is None:
        print_error(f"{shown(folder)}: no trial finished; the same command tries them again")
        return 1
    report(folder)
    _print_best(best, read_study_record(folder).base)
    return 0


def _print_best(best: BestSetting, base: Mapping[str, Any]) -> None:
    from train.study.analysis.study_results import spelled_out

    out = console()
    first = best.records[0]
    differing = spelled_out(first.settings, first.arguments, base)
    settings = " ".join(f"{name}={value}" for name, value in differing.items())
    tests = [record.test.score for record in best.records if record.test]
    of = f", mean of {len(best.records)} trainings" if len(best.records) > 1 else ""
    on_test = f"; test {sum(tests) / len(tests):.4f}" if tests else ""
    out.print(f"\nbest     {settings}: RSNA score on val {best.score:.4f}{of}{on_test}")
    out.print("         The best of many on val flatters; the page says what is within noise.")
    out.print(f"         {first.command}")
