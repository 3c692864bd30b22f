"""Ultralytics' classification trainer, judged by what a gate is for: the probability of an opacity.

Ultralytics takes accuracy over all classes for best.pt and early stopping. Here an epoch is as good as its calibrated
probability of the opacity fits val: its log-loss after the calibration with which it is written out in the end.
Accuracy stands beside it, and so does the area under the ROC curve. The hooks are internals of the pinned version;
tests/train/test_gate.py is their contract.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.classifier.architectures import is_architecture
from evaluate.classifier.calibration import assess, fit_calibration
from evaluate.classifier.networks import ImageNetwork
from train.classifier.class_view import read_positive
from train.classifier.pretrained import load_start, take_over
from train.classifier.results import AUC, LOG_LOSS
from train.detector.resuming import ExactResume
from train.detector.sampling import Draw, all_images, seeded
from train.detector.starting import building
from train.epoch_lines import Column, EpochLines
from train.settings.options import GATE, USE
from train.ultralytics_setup import set_up

set_up()
import torch
from ultralytics.cfg import cfg2dict
from ultralytics.data import ClassificationDataset
from ultralytics.models.yolo.classify import ClassificationTrainer, ClassificationValidator
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK
from ultralytics.utils.metrics import ClassifyMetrics

_COLUMNS = (Column("accuracy", "metrics/accuracy_top1", 10), Column("AUC", AUC), Column("log-loss", LOG_LOSS, 10))
"""What an epoch is told by, beside its loss; the best one is that of the lowest log-loss."""


class GateMetrics(ClassifyMetrics):
    """Ultralytics' metrics, with the fit of the opacity's probability as fitness.

    Attributes:
        auc: Area under the ROC curve.
        log_loss: Of the calibrated probability.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auc, self.log_loss = 0.5, math.inf

    @property
    def fitness(self) -> float:
        """The likelihood that falls to an image on average, above 0 as early stopping needs it; higher is better."""
        return math.exp(-self.log_loss)

    @property
    def keys(self) -> list[str]:
        """Names of the results; columns of results.csv."""
        return [*super().keys, AUC, LOG_LOSS]

    @property
    def results_dict(self) -> dict[str, float]:
        """Values by name, with the fitness."""
        return dict(zip([*self.keys, "fitness"], [*self.values(), self.fitness], strict=True))

    def values(self) -> list[float]:
        """Values of `keys`."""
        return [self.top1, self.top5, self.auc, self.log_loss]


class GateValidator(ClassificationValidator):
    """Validates an image classifier by the probability of one class."""

    metrics: Any
    names: Any
    pred: Any
    targets: Any

    def __init__(self, *args: Any, positive: int, **kwargs: Any) -> None:
        """Take Ultralytics' arguments, and the index of the class that is the opacity."""
        super().__init__(*args, **kwargs)
        self.metrics = GateMetrics()
        self._positive = positive
        self._logits: Any = None

    def postprocess(self, preds: Any) -> Any:
        """Probabilities, as the parent gives them; the logits are kept, whose tails are not rounded to 0."""
        shares = super().postprocess(preds)
        self._logits = preds[1] if isinstance(preds, list | tuple) else shares.clamp_min(1e-30).log()
        return shares

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        """Keep the logits of a batch in `pred`, which is gathered over all GPUs."""
        self.pred.append(self._logits.float().cpu())
        self.targets.append(batch["cls"].type(torch.int32).cpu())

    def get_stats(self) -> dict[str, float]:
        """Judge the logits, and leave in `pred` what the parent expects there: classes in falling probability."""
        logits = torch.cat(self.pred).double().numpy()
        classes = torch.cat(self.targets).long().numpy()
        if np.isfinite(logits).all():
            calibration = fit_calibration(logits, classes, self._positive)
            quality = assess(calibration.apply(logits, self._positive), classes, self._positive)
            self.metrics.auc, self.metrics.log_loss = quality.auc, quality.log_loss
        else:  # a training that has come apart
            self.metrics.auc, self.metrics.log_loss = 0.5, math.inf
        most = min(len(self.names), 5)
        self.pred = [batch.argsort(1, descending=True)[:, :most].type(torch.int32) for batch in self.pred]
        return super().get_stats()

    def get_desc(self) -> str:
        """The head of the table that is printed."""
        return super().get_desc() + f"{'AUC':>11}{'log_loss':>11}"

    def print_results(self) -> None:
        """Print a row of it."""
        LOGGER.info(f"{'all':>22}" + "".join(f"{value:>11.3g}" for value in self.metrics.values()))


class GateDataset(ClassificationDataset):
    """Ultralytics' data set, asked for its images by `epoch * images + image`, from which its random numbers follow."""

    _seed = 0

    def follow(self, draw: Draw) -> None:
        """From now on give the images of a draw; see `train.detector.sampling`."""
        self._seed = draw.seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        """An augmented image, of the epoch that its number says."""
        epoch, image = divmod(index, len(self.samples))
        with seeded(self._seed, epoch, image):
            return super().__getitem__(image)

    @staticmethod
    def imread(file: str) -> Any:
        """Read a picture, of colour.

        Raises:
            FileNotFoundError: It cannot be read.
        """
        picture = ClassificationDataset.imread(file)
        if picture is None:
            raise FileNotFoundError(f"Image Not Found {file}")
        return picture


class GateTrainer(ExactResume, ClassificationTrainer):
    """Trains an image classifier on a view of the data set by class."""

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        """Take Ultralytics' arguments, and those of `USE`, which are kept with them for the calibration at the end."""
        # Ultralytics checks every argument against `cfg`: with ours in it, it is known.
        super().__init__({**{name: GATE[name].default for name in USE}, **cfg2dict(cfg)}, overrides, _callbacks)
        self._lines = EpochLines(_COLUMNS, score=lambda fitness: -math.log(fitness) if fitness > 0 else math.inf)
        if RANK in {-1, 0} and not self.ddp:
            self._lines.hook_into(self)

    def train(self) -> None:
        """Train: in this process, or, on several GPUs, in one for each."""
        try:
            super().train()
        finally:
            self._lines.close()

    def build_dataset(self, img_path: str, mode: str = "train", batch: Any = None) -> GateDataset:
        """The data set of training or validation."""
        arguments: Any = self.args
        augment = mode == "train"
        prefix = "train" if augment else arguments.split
        return GateDataset(img_path, arguments, augment=augment, prefix=prefix, names=self.data["names"])

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """The loader of training or of validation, whose images keep their order here, as a sum depends on it."""
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        trains = mode == "train"
        draw = all_images(len(loader.dataset), self.args.seed, shuffled=trains)
        return self.numbered(loader, draw, rank, drop_last=trains and bool(self.args.compile))

    def setup_model(self) -> Any:
        """Make the network, or that of a checkpoint; give the checkpoint, or None."""
        if not is_architecture(self.model):
            return super().setup_model()
        made = self.get_model({"architecture": self.model})
        if isinstance(self.args.pretrained, str | Path):
            load_start(made, Path(self.args.pretrained))
        self.model = made
        return None

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """The network, or one line of what is wrong with its description."""
        with building(self.args.model):
            if not isinstance(cfg, dict) or "architecture" not in cfg:
                return super().get_model(cfg, weights, verbose)
            made = ImageNetwork(cfg["architecture"], self.data["nc"], self.args.imgsz, cfg.get("mean"), cfg.get("std"))
        made.yaml["pretrained_on"] = cfg.get("pretrained_on", "")
        if weights is not None:
            state = getattr(weights, "network", weights).state_dict()
            take_over(made, state, f"model: {self.args.model}")
        if verbose:
            count = sum(one.numel() for one in made.parameters())
            LOGGER.info(f"{cfg['architecture']}: {count:,} parameters, one grey channel of {self.args.imgsz} pixels")
        for layer in made.modules():
            if isinstance(layer, torch.nn.Dropout) and self.args.dropout:
                layer.p = self.args.dropout
        return made

    def get_validator(self) -> GateValidator:
        """The validator that judges the probability of an opacity."""
        positive = positive_index(self.data["names"], Path(self.data["train"]).parent)
        arguments = copy(self.args)
        for name in USE:
            vars(arguments).pop(name, None)  # the validators know Ultralytics' own arguments alone
        return GateValidator(
            self.test_loader, self.save_dir, args=arguments, _callbacks=self.callbacks, positive=positive
        )


def positive_index(names: Mapping[int, str], view: Path) -> int:
    """Index of the class that is the opacity, by the view's folders."""
    folder = read_positive(view)
    return next(index for index, name in names.items() if name == folder)
