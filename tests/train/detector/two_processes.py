"""A training on two "devices" that are both the CPU, for tests: processes, gradients and gathering are the real ones.

Ultralytics trains in several processes on GPUs only. What is replaced here is which device and which transport they
use; the parent that starts them, the script that they run and the training are its own and ours. It is a module of its
own because the started processes import the trainer's class from it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import distributed, nn

from train.detector.trainer import RSNATrainer  # isort: skip  # which sets Ultralytics up
from ultralytics.engine import validator
from ultralytics.utils import LOCAL_RANK, RANK

NOTES, KILL = "TWO_PROCESSES_NOTES", "TWO_PROCESSES_KILL"
"""Environment: a folder for what the processes note; the epoch in which the first one dies, if any."""

if RANK != -1:

    class OnCPU(nn.parallel.DistributedDataParallel):
        def __init__(self, module, device_ids=None, **given):
            super().__init__(module, **given)

    nn.parallel.DistributedDataParallel = OnCPU
    backend = validator.AutoBackend
    validator.AutoBackend = lambda *args, **given: backend(*args, **{**given, "device": torch.device("cpu")})
    validator.get_torch_device_backend = lambda _: SimpleNamespace(current_device=lambda: 0)


class OnTwoProcesses(RSNATrainer):
    """Trains in two processes, which note what they see."""

    world_size = property(lambda self: 2, lambda self, found: None)
    ddp = property(lambda self: LOCAL_RANK == -1, lambda self, found: None)

    def _setup_ddp(self):
        self.device = torch.device("cpu")
        distributed.init_process_group("gloo", rank=RANK, world_size=2)
        self.seen = {}
        torch.set_num_threads(1)

    def preprocess_batch(self, batch):
        self.seen.setdefault(self.epoch, []).extend(Path(file).stem for file in batch["im_file"])
        if RANK == 0 and os.environ.get(KILL) == str(self.epoch):
            os._exit(9)
        return super().preprocess_batch(batch)

    def _do_train(self):
        super()._do_train()
        notes = {"seen": self.seen, "metrics": self.metrics, "save_dir": str(self.save_dir)}
        (Path(os.environ[NOTES]) / f"{RANK}.json").write_text(json.dumps(notes, default=float))
        distributed.destroy_process_group()
