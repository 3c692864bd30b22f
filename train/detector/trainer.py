"""Ultralytics' trainers with the RSNA score as fitness, our own arguments, and a resume that continues the same curve.

Importing this module sets Ultralytics up for training (`train.ultralytics_setup`), also in the worker processes of a
multi-GPU training, which import nothing else of this project. The hooks are internals of the pinned version;
tests/train/detector/test_trainer.py is their contract.
"""

from __future__ import annotations

import math
import re
import subprocess
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from common.data.data_set import DataSet
from common.data.names import PICTURE_SIZE
from common.errors import UserError, WorkError
from common.paths import shown
from train.epoch_lines import Column, EpochLines
from train.settings.options import DEFAULTS, LOSS
from train.ultralytics_setup import set_up

set_up()
from ultralytics.cfg import cfg2dict
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import Detect, RTDETRDecoder
from ultralytics.utils import DEFAULT_CFG, LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from train.detector import heads, sampling, starting, stems
from train.detector.criterion import LossSettings, build_criterion
from train.detector.dataset import RSNADataset, build_dataset
from train.detector.locating import positive_class
from train.detector.results import CONFIDENCE, MAP50, SCORE
from train.detector.resuming import ExactResume
from train.detector.tracking import TrainingLog
from train.detector.validation import RSNARTDETRValidator, RSNAValidator, without_own_arguments

_COLUMNS = (Column("mAP50", MAP50), Column("RSNA", SCORE), Column("at conf", CONFIDENCE, 9))
"""What an epoch is told by, beside its losses."""
_MAY_CHANGE_TOO = {"epochs", "wandb", "keep_state", "verbose"}
"""What a resumed training may be told anew, besides what Ultralytics allows."""


class _RSNATraining(ExactResume):
    """What makes a trainer ours; put before the Ultralytics class that does the rest."""

    validator_class: type[Any]
    head_class: type[Any]
    takes_rectangles: bool

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        self._new_best = False
        self._draw_told = False
        # Ultralytics checks every argument against `cfg`: with ours in it, they are known.
        super().__init__({**DEFAULTS, **cfg2dict(cfg)}, overrides, _callbacks)
        self._lines = EpochLines(_COLUMNS)
        if RANK in {-1, 0} and not self.ddp:
            self._lines.hook_into(self)
        if self.args.wandb and RANK in {-1, 0} and not self.ddp:  # of several processes, the one that validates
            TrainingLog().hook_into(self)

    def train(self) -> None:
        """Train: in this process, or, on several GPUs, in one for each."""
        try:
            super().train()
        except subprocess.CalledProcessError as error:
            raise WorkError(
                f"{shown(self.save_dir)}: the training on {self.world_size} devices broke off (status "
                f"{error.returncode}); the first error above says why. After a finished epoch, `resume` goes on."
            ) from error
        finally:
            self._lines.close()

    # --- score

    def get_validator(self) -> Any:
        """The validator that computes the RSNA score."""
        positive_class(self.data["names"])
        arguments = without_own_arguments(copy(self.args))
        return self.validator_class(
            self.test_loader,
            save_dir=self.save_dir,
            args=arguments,
            _callbacks=self.callbacks,
        )

    def validate(self) -> tuple[Any, Any]:
        """Validate, and note whether this epoch is better than all before.

        Of equal epochs the first counts, as in early stopping; the last one only while the score is still 0.
        """
        before = self.best_fitness
        metrics, fitness = super().validate()
        self._new_best = fitness is not None and (not before or fitness > before)
        return metrics, fitness

    def is_best(self) -> bool:
        """Whether the epoch's weights are to be best.pt."""
        return self._new_best

    # --- data

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> RSNADataset:
        """The data set of training or validation.

        For validation Ultralytics pads a batch only to its pictures' shape, and then by half a stride; here a picture
        is laid in the very square that evaluate/score.py and the predictors lay it in, so that the score of an epoch is
        the one its weights get there. `rect=True` is Ultralytics' way, for both.
        """
        model: Any = unwrap_model(self.model)
        stride = max(int(model.stride.max()), 32)
        rect = self.takes_rectangles and self.args.rect
        stretched = not self.takes_rectangles
        return build_dataset(self.args, img_path, batch, self.data, mode, stride=stride, rect=rect, stretched=stretched)

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """The loader of training or validation; that of training gives epochs by their number."""
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        sampling.check_arguments(self.args.negatives, self.args.hard_negatives)
        if mode != "train":
            return loader
        return self.numbered(loader, self._draw(loader.dataset), rank, drop_last=bool(self.args.compile))

    def _draw(self, data: RSNADataset) -> sampling.Draw:
        """Which images the epochs are made of."""
        seed: int = self.args.seed
        several_shapes = data.rect and len(np.unique(data.batch_shapes, axis=0)) > 1
        if self.args.negatives is None:
            return sampling.all_images(len(data), seed, shuffled=not several_shapes)
        if several_shapes:
            raise UserError("negatives: cannot draw images of several shapes with rect=True; leave rect out.")
        draw = sampling.make_draw(data.im_files, data.labels, self.args.negatives, self.args.hard_negatives, seed)
        if not self._draw_told:
            self._draw_told = True
            LOGGER.info(str(draw))
            for warning in draw.warnings:
                LOGGER.warning(warning)
        return draw

    def build_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The optimizer; `auto` chooses it by the training's length, which is that of what is drawn."""
        if self.args.negatives is not None:
            images = len(self.train_loader.sampler) * max(self.world_size, 1)
            kwargs["iterations"] = math.ceil(images / max(self.batch_size, self.args.nbs)) * self.epochs
        return super().build_optimizer(*args, **kwargs)

    # --- model and loss

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """The model, if it is a detector of this trainer's kind; for the data's channels, its weights too."""
        channels: int = self.data["channels"]
        with starting.building(self.args.model):
            try:
                model = super().get_model(stems.with_input_channels(cfg, channels), weights, verbose)
            except RuntimeError as error:
                if fixed := re.search(r"expected input.* to have (\d+) channels", str(error)):
                    stems.refuse_channels(int(fixed[1]), channels)
                raise
        if not heads.is_detector(model, self.head_class):
            raise UserError(
                f"model: its last layer is {heads.head_of(model)}; expected a detection model, such as yolov8m.pt, "
                "rtdetr-l.pt or train/models/basic-cnn.yaml."
            )
        stems.check_input(model, channels)
        if weights and (adapted := stems.adapt_stems(model, weights)):
            LOGGER.info(f"Adapted pretrained weights to pictures of {channels} channel(s): {', '.join(adapted)}")
        return model

    def set_class_weights(self) -> None:
        """The last step before the model is copied for its running average: loss and pictures' size are put in here."""
        super().set_class_weights()
        setattr(unwrap_model(self.model), PICTURE_SIZE, _picture_size(self.data["yaml_file"]))
        self._install_criterion()

    def _install_criterion(self) -> None:
        """Put in the loss that was asked for. What Ultralytics has by itself is left as it is."""
        settings = LossSettings(**{name: getattr(self.args, name) for name in LOSS})
        if settings.iou_loss or settings.cls_loss or settings.cls_scale is not None:
            model: Any = unwrap_model(self.model)
            model.criterion = build_criterion(model, settings, epochs_done=self.start_epoch)

    # --- resume

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Take over the checkpoint's arguments; besides what Ultralytics allows, `_MAY_CHANGE_TOO`."""
        super().check_resume({name: value for name, value in overrides.items() if name not in _MAY_CHANGE_TOO})
        for name, default in DEFAULTS.items():  # a checkpoint of an earlier version lacks the latest of ours
            if not hasattr(self.args, name):
                setattr(self.args, name, default)
        for name in overrides.keys() & _MAY_CHANGE_TOO if self.resume else ():
            setattr(self.args, name, overrides[name])

    def prepare_criterion(self) -> None:
        """Put in our loss in place of the stock one, which Ultralytics gives end-to-end heads at a resume."""
        model: Any = unwrap_model(self.model)
        stock = getattr(model, "criterion", None)
        self._install_criterion()
        if getattr(model, "criterion", None) is not stock:
            self.ema.ema.criterion = deepcopy(model.criterion)  # as at the start, where WIoU's mean is shared


def _picture_size(data_yaml: str) -> int | None:
    """The longest side that the pictures were scaled down to when they were converted, for those who predict others."""
    try:
        return DataSet(Path(data_yaml)).picture_size("train")
    except UserError:  # of no conversion of ours
        return None


class RSNATrainer(_RSNATraining, DetectionTrainer):
    """Trains YOLO models, with end-to-end heads or without, and convolutional networks."""

    validator_class = RSNAValidator
    head_class = Detect
    takes_rectangles = True


class RSNARTDETRTrainer(_RSNATraining, RTDETRTrainer):
    """Trains RT-DETR."""

    validator_class = RSNARTDETRValidator
    head_class = RTDETRDecoder
    takes_rectangles = False  # its attention is trained on squares, into which pictures are stretched
