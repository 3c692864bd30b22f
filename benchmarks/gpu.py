"""Measure training and prediction on a GPU: python benchmarks/gpu.py.

The pictures are RSNA's size, drawn by convert/sample.py, converted, and repeated under other names.

- Training: YOLOv8m at 640 pixels, batch 64, mixed precision, 10,000 images, by `train/train.py` and by plain
  `yolo train`; three channels and one; pictures decoded anew, kept in memory and on disk. Images per second are those
  of a window of batches that begins when the loader's head start is used up. In it the GPU's driver is asked how busy
  it is, and the time that the training waits for data is added up.
- Whole epochs of both, with validation (the RSNA score in ours) and checkpoint.
- Prediction: from DICOM files to the predictions file, start to end, against `yolo predict` on converted pictures.

Results are printed and written to --output as they come, so that a run that is broken off has left what it measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.cli import console, parser, run
from common.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("epochs", "prediction", "training")


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        who: `ours` or `plain`.
        channels: Of the pictures.
        extra: Further arguments of the training.
    """

    who: str
    channels: int
    extra: tuple[str, ...] = ()

    def __str__(self) -> str:
        command = "train/train.py" if self.who == "ours" else "plain yolo train"
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return ", ".join([command, channels, *self.extra])


def pairs() -> list[tuple[Way, Way]]:
    """What is compared, ours and the alternative; the most telling first."""
    ours, plain = Way("ours", 1), Way("plain", 1)
    return [
        (ours, plain),
        (ours, Way("plain", 3)),
        (Way("ours", 3), Way("plain", 3)),
        (Way("ours", 1, ("cache=ram",)), Way("plain", 1, ("cache=ram",))),
        (Way("ours", 3, ("cache=ram",)), Way("plain", 3, ("cache=ram",))),
        (Way("ours", 1, ("cache=disk",)), Way("plain", 1, ("cache=disk",))),
        (ours, Way("ours", 1, ("amp=False",))),
        (Way("ours", 1, ("compile=True",)), ours),
        (Way("ours", 3, ("cache=disk",)), Way("plain", 3, ("cache=disk",))),
    ]


class Busy:
    """Asks an NVIDIA GPU's driver in the background which share of the time it computes; without one, nothing."""

    def __init__(self, every: float = 0.1) -> None:
        self.samples: list[tuple[float, float]] = []
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        try:
            import pynvml  # type: ignore[import-untyped]

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception:  # no library, no driver, no GPU: each raises its own
            return
        while not self._stop.wait(self._every):
            with contextlib.suppress(pynvml.NVMLError):
                self.samples.append((time.time(), pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100))

    def share(self, start: float, end: float) -> float | None:
        """Mean share between two times, seconds since 1970."""
        within = [share for moment, share in self.samples if start <= moment <= end]
        return statistics.mean(within) if within else None


class Bench:
    """Makes the data and takes the measurements, each in a process of its own.

    Attributes:
        args: The command's arguments.
        folder: A folder for data and runs.
        rows: What was measured so far.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.ends = time.monotonic() + 60 * args.minutes
        self._seen: dict[Way, dict[str, Any]] = {}

    def make_data(self) -> None:
        """Draw, convert and repeat the pictures."""
        raw, converted = self.folder / "raw", self.folder / "converted"
        sizes = ["--images", str(self.args.drawn), "--test-images", "0", "--odd-encodings", "0"]
        self._run("sample", ["convert/sample.py", "--output", str(raw), *sizes])
        self._run("convert", ["convert/rsna_to_yolo.py", "--source", str(raw), "--output", str(converted)])
        for split, count in (("train", self.args.images), ("val", self.args.val)):
            files = [converted / line for line in (converted / f"{split}.txt").read_text().split()]
            for kind in ("images", "labels"):
                (self.folder / kind / split).mkdir(parents=True)
            for number in range(count):
                picture = files[number % len(files)]
                label = Path(str(picture).replace(f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"))
                name = f"{number * 2654435761 % 2**32:08x}"
                os.link(picture, self.folder / "images" / split / f"{name}{picture.suffix}")
                os.link(label.with_suffix(".txt"), self.folder / "labels" / split / f"{name}.txt")
        for channels in (1, 3):
            text = "train: images/train\nval: images/val\nnames: {0: Lung Opacity}\n"
            (self.folder / f"{channels}.yaml").write_text(f"path: {self.folder}\n{text}channels: {channels}\n")
        dicoms = sorted(raw.rglob("*.dcm"))
        pictures = sorted((converted / "images").rglob("*.*"))
        for kind, sources in (("dicoms", dicoms), ("pictures", pictures)):
            (self.folder / kind).mkdir()
            for number in range(self.args.predicted):
                source = sources[number % len(sources)]
                os.link(source, self.folder / kind / f"{number:05d}{source.suffix}")

    def measure_training(self) -> None:
        """Images per second of every way, against its alternative."""
        for ours, other in pairs():
            mine, theirs = self._window(ours), self._window(other)
            if mine is None or theirs is None:
                continue
            self._add(
                f"training: {ours}",
                mine["rate"],
                mine["rate"] / theirs["rate"],
                f"{other}: {theirs['rate']:.0f} images/s, GPU {_share(theirs['busy'])} busy, "
                f"{_share(theirs['waits'])} of the time waiting for data",
                mine,
            )

    def measure_epochs(self) -> None:
        """Whole epochs: training, validation, checkpoint; the second one of each way."""
        spent: dict[str, dict[str, float]] = {}
        for who in ("ours", "plain"):
            seen = self._train(Way(who, 1), whole=True)
            if seen is None:
                return
            self._seen[Way(who, 1)] = seen  # the window was in the first epoch
            epoch = seen["epochs"][-1]
            spent[who] = {name: epoch[name] - epoch["start"] for name in ("trained", "saved")}
        for name, what in (
            ("saved", "one epoch, validation and checkpoint included"),
            ("trained", "its training alone"),
        ):
            mine, theirs = spent["ours"][name], spent["plain"][name]
            self._add(
                f"{what}: {Way('ours', 1)}, {self.args.images} + {self.args.val} images, {mine:.1f} s",
                self.args.images / mine,
                theirs / mine,
                f"{Way('plain', 1)}: {theirs:.1f} s",
            )

    def measure_prediction(self) -> None:
        """From files to predictions, start to end; the weights are those of `measure_epochs`, or new ones."""
        weights = self.folder / "runs" / "ours-1-whole" / "weights" / "best.pt"
        if not weights.is_file():
            weights = self.folder / "new.pt"
            code = "import sys; from ultralytics import YOLO; YOLO(sys.argv[1]).save(sys.argv[2])"
            self._run("new", ["-c", code, self.args.model, str(weights)])
        batch, size = str(self.args.batch), str(self.args.imgsz)
        device = str(self.args.device)
        ours = ["evaluate/predict.py", str(self.folder / "dicoms"), "--weights", str(weights), "--batch", batch]
        ours += ["--imgsz", size, "--device", device, "--overlays", "none"]
        given = {"model": weights, "source": self.folder / "pictures", "imgsz": size, "batch": batch, "conf": 0.001}
        given |= {"iou": 0.4, "max_det": 100, "device": device, "save_txt": True, "save_conf": True, "save": False}
        given |= {"verbose": False, "project": self.folder / "predicted", "rect": False}
        code = "from ultralytics.cfg import entrypoint; entrypoint()"
        plain = ["-c", code, "predict", *(f"{key}={value}" for key, value in given.items())]
        theirs = self._timed("predict-plain", plain)
        for name, extra in (("predict-ours", []), ("predict-ours-half", ["--half"])):
            if extra and device == "cpu":
                continue
            mine = self._timed(name, [*ours, *extra, "--output", str(self.folder / name)])
            if mine is not None and theirs is not None:
                self._add(
                    f"prediction: {' '.join(['evaluate/predict.py', *extra])}, {self.args.predicted} DICOM files to "
                    f"predictions.csv, {mine:.1f} s with start-up",
                    self.args.predicted / mine,
                    theirs / mine,
                    f"yolo predict on converted pictures: {theirs:.1f} s",
                )

    def _window(self, way: Way) -> dict[str, Any] | None:
        """The rate of a way, measured once."""
        if way not in self._seen:
            seen = self._train(way, whole=False)
            if seen is None:
                return None
            self._seen[way] = seen
        return self._seen[way]

    def _train(self, way: Way, whole: bool) -> dict[str, Any] | None:
        name = f"{way.who}-{way.channels}-{'whole' if whole else '-'.join(way.extra) or 'no-cache'}"
        result = self.folder / f"{name}.json"
        given: dict[str, Any] = {
            "model": self.args.model,
            "data": self.folder / f"{way.channels}.yaml",
            "imgsz": self.args.imgsz,
            "batch": self.args.batch,
            "epochs": 2,
            "optimizer": "SGD",  # named, so that it is the same whatever `auto` would take
            "lr0": 0.01,
            "close_mosaic": 0,  # Ultralytics leaves mosaic out of the last ten epochs, and so of all of a short run
            "iou": 0.4,
            "plots": False,
            "device": self.args.device,
            "project": self.folder / "runs",
            "name": name,
        }
        words = [*(f"{key}={value}" for key, value in given.items()), *way.extra]
        window = [str(self.args.warmup), str(self.args.warmup + self.args.batches), "0" if whole else "1"]
        with Busy() as busy:
            done = self._run(name, ["benchmarks/watched.py", str(result), *window, way.who, *words], fatal=False)
        if not done or not result.is_file():
            return None
        from benchmarks.watched import read

        seen = read(result)
        if "end" in seen:
            seconds = seen["end"] - seen["start"]
            seen["rate"] = seen["batches"] * self.args.batch / seconds
            seen["waits"] = seen["waited"] / seconds
            seen["busy"] = busy.share(seen["start"], seen["end"])
        return seen

    def _timed(self, name: str, command: list[str]) -> float | None:
        start = time.perf_counter()
        return time.perf_counter() - start if self._run(name, command, fatal=False) else None

    def _run(self, name: str, command: list[str], fatal: bool = True) -> bool:
        """Run Python on a command, its output in a file; False if it failed or there was no time."""
        left = self.ends - time.monotonic()
        if left < self.args.reserve:
            if fatal:
                raise UserError(f"--minutes {self.args.minutes}: found no time for {name}; expected more than that.")
            console().print(f"{name}: left out, the time is up")
            return False
        environment = os.environ | {"YOLO_OFFLINE": "true"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        log = self.args.output / f"{name}.log"
        start = time.perf_counter()
        with open(log, "w") as file:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
            )
            try:
                status: int | str = process.wait(left)
            except subprocess.TimeoutExpired:
                status = "out of time"
            finally:
                with contextlib.suppress(ProcessLookupError):  # loader processes that are still there
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status == 0:
            console().print(f"{name}: {time.perf_counter() - start:.1f} s")
            return True
        message = f"{name}: ended with {status}; see {log}: {log.read_text(errors='replace')[-300:]}"
        if fatal:
            raise UserError(message)
        console().print(message, markup=False)
        return False

    def _add(self, what: str, rate: float, ratio: float, against: str, seen: dict[str, Any] | None = None) -> None:
        from common.files import write_json

        row = {"what": what, "images_per_second": rate, "ratio": ratio, "against": against}
        row |= {"busy": seen["busy"], "waits": seen["waits"]} if seen else {"busy": None, "waits": None}
        self.rows.append(row)
        write_json(self.args.output / "gpu.json", self.rows)
        console().print(_line(row), markup=False)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


def _line(row: dict[str, Any]) -> str:
    shares = ["" if row[name] is None else _share(row[name]) for name in ("busy", "waits")]
    cells = [row["what"], f"{row['images_per_second']:.0f}", *shares, f"{row['ratio']:.2f}", row["against"]]
    return f"| {' | '.join(cells)} |"


def markdown(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield "| what | images/s | GPU busy | waiting for data | times as fast | as |"
    yield "|---|---:|---:|---:|---:|---|"
    yield from map(_line, rows)


def build_parser() -> argparse.ArgumentParser:
    """Make the command's argument parser."""
    command = parser("python benchmarks/gpu.py", "Measure training and prediction on a GPU.")
    add = command.add_argument
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    add("--output", type=Path, default=Path("runs/benchmark-gpu"), help="folder for results and logs")
    add("--model", default="yolov8m.yaml", help="a model's YAML")
    add("--device", default="0", help="as Ultralytics takes it; cpu to try the script out")
    add("--imgsz", type=int, default=640, help="side of the model's input in pixels")
    add("--batch", type=int, default=64, help="images per batch")
    add("--drawn", type=int, default=400, help="different images; the others are these under other names")
    add("--images", type=int, default=10_000, help="training images")
    add("--val", type=int, default=1_000, help="validation images")
    add("--predicted", type=int, default=3_000, help="images to predict on")
    add("--warmup", type=int, default=40, help="batches before the window, more than the loader prepares ahead")
    add("--batches", type=int, default=60, help="batches of the window")
    add("--minutes", type=float, default=60.0, help="begin nothing after so long, and break off what still runs")
    add("--reserve", type=float, default=20.0, help="seconds that must be left for something to begin")
    return command


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command."""
    args = build_parser().parse_args(argv)
    args.output = args.output.resolve()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(args, Path(temporary))
        bench.make_data()
        for part in args.only:
            getattr(bench, f"measure_{part}")()
        console().print("\n".join(markdown(bench.rows)), markup=False, soft_wrap=True)
    return None


if __name__ == "__main__":
    run(main)
