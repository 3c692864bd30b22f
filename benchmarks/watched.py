"""Run a training with its batches timed, for benchmarks/gpu.py: ours or plain Ultralytics, watched in the same way.

python benchmarks/watched.py RESULT.json FIRST LAST STOP WHO name=value ...

The window begins when batch FIRST of the first epoch is done and ends when LAST is; with STOP=1 the training ends
there. RESULT.json then holds its start and end (seconds since 1970), its batches, how long the training waited in it
for data, and of every epoch so far the start, the end of its training, and the end with validation and checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this folder first on the path, where its module names would hide others: put the project there.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Watch:
    """What is seen of a training.

    Attributes:
        result: Where it is written.
        first: The batch after which the window begins, from 1.
        last: The batch after which it ends.
        stop: Whether the training ends with the window.
    """

    result: Path
    first: int
    last: int
    stop: bool
    batches: int = 0
    waited: float = 0.0
    seen: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, float]] = field(default_factory=list)

    def install(self) -> None:
        """Listen to every training of this process, and to the loader that it takes its batches from."""
        from ultralytics.data.build import InfiniteDataLoader
        from ultralytics.utils.callbacks import default_callbacks

        stock = InfiniteDataLoader.__iter__

        def watched(loader: Any) -> Iterator[Any]:
            batches = stock(loader)
            while True:
                start = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                self.waited += time.perf_counter() - start
                yield batch

        setattr(InfiniteDataLoader, "__iter__", watched)  # noqa: B010  # a method is replaced on purpose
        # Functions, not methods: Ultralytics copies the callbacks deeply, and a method's object with it.
        default_callbacks["on_train_epoch_start"].append(lambda trainer: self._epoch_started())
        default_callbacks["on_train_batch_end"].append(lambda trainer: self._batch_done())
        default_callbacks["on_train_epoch_end"].append(lambda trainer: self._note("trained"))
        default_callbacks["on_model_save"].append(lambda trainer: self._note("saved"))

    def _epoch_started(self) -> None:
        self.epochs.append({"start": time.time()})

    def _note(self, what: str) -> None:
        _finish_work()
        self.epochs[-1][what] = time.time()
        self._write()

    def _batch_done(self) -> None:
        self.batches += 1
        if self.batches == self.first:
            _finish_work()
            self.waited = 0.0
            self.seen = {"start": time.time()}
        elif self.batches == self.last:
            _finish_work()
            self.seen |= {"end": time.time(), "waited": self.waited, "batches": self.last - self.first}
            self._write()
            if self.stop:
                os._exit(0)  # at once: what Ultralytics does at the end of a training is not asked for

    def _write(self) -> None:
        from common.files import write_json

        write_json(self.result, {**self.seen, "epochs": self.epochs})


def _finish_work() -> None:
    """Wait until the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def read(result: Path) -> dict[str, Any]:
    """What a watched training left."""
    seen: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return seen


def main(argv: list[str]) -> None:
    """Watch and train."""
    result, first, last, stop, who, *words = argv
    sys.argv = ["yolo", "train", *words]  # Ultralytics takes its arguments from here when it is imported
    from common.quiet_ultralytics import import_ultralytics

    import_ultralytics(verbose=True)
    Watch(Path(result), int(first), int(last), stop == "1").install()
    if who == "ours":
        from train.train import main as train

        train([*words, "wandb=False"])
    else:
        from ultralytics.cfg import entrypoint

        entrypoint()


if __name__ == "__main__":
    main(sys.argv[1:])
