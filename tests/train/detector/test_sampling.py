from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from common.quiet_ultralytics import import_ultralytics

import_ultralytics()
from ultralytics.data import base  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402

from common.cli import execute  # noqa: E402
from common.errors import UserError  # noqa: E402
from train.detector.dataset import RSNADataset  # noqa: E402
from train.detector.sampling import NOT_NORMAL, DrawnSampler, make_draw, seeded  # noqa: E402
from train.detector.trainer import RSNATrainer  # noqa: E402
from train.settings.options import DEFAULTS  # noqa: E402
from train.train import main  # noqa: E402

SIZE = 64
LABELS = ["Lung Opacity", NOT_NORMAL, "Normal", "Normal"]
KINDS = dict(zip(LABELS[:3], ("positive", "hard", "normal"), strict=True))
COUNTS = {"positive": 6, "hard": 6, "normal": 12}


def write(root: Path, number: int, split: str, grey: int, height: int = SIZE) -> tuple[str, str]:
    """A picture of one grey, by which it is known in a mosaic; its id and label."""
    image_id, label = f"{split}{number:02}", LABELS[number % 4]
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "images" / split / f"{image_id}.png"), np.full((height, SIZE), grey, np.uint8))
    boxes = "0 0.5 0.5 0.4 0.4\n" if label == "Lung Opacity" else ""
    (root / "labels" / split / f"{image_id}.txt").write_text(boxes)
    return image_id, label


def write_set(root: Path, train: list[int]) -> Path:
    """A converted data set; its training images by number, whose remainder by 4 says what they are."""
    rows = []
    for split, numbers in {"train": train, "val": [0, 1, 4, 5]}.items():
        images = [(*write(root, number, split, 5 + 10 * number), split) for number in numbers]
        (root / f"{split}.txt").write_text("".join(f"./images/{split}/{image_id}.png\n" for image_id, *_ in images))
        rows += images
    manifest = pd.DataFrame(rows, columns=["image_id", "label", "split"])
    manifest["patient_id"] = manifest["image_id"]
    manifest["boxes"] = (manifest["label"] == "Lung Opacity").astype(int)
    manifest = manifest.assign(width=SIZE, height=SIZE, view="PA", sex="F", age=50)
    manifest.to_csv(root / "manifest.csv", index=False)
    content = {"train": "train.txt", "val": "val.txt", "names": {0: "Lung Opacity"}, "channels": 1}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.fixture(scope="module")
def greys(tmp_path_factory) -> Path:
    """6 images with boxes, 6 that are not normal, 12 normal ones; `trainNN.png` has the grey 5 + 10 N."""
    return write_set(tmp_path_factory.mktemp("datasets") / "greys", list(range(24)))


@pytest.fixture
def set_up(greys, cnn, tmp_path):
    """Makes a trainer that is ready for its first epoch."""

    def make(workers: int = 0, *, data: Path = greys, **given):
        still = {"scale": 0.0, "translate": 0.0, "mosaic": 0.0}  # pictures are only put together, never drawn anew
        return RSNATrainer(
            overrides={
                "model": str(cnn), "data": str(data / "data.yaml"), "project": str(tmp_path), "imgsz": SIZE, "batch": 4,
                "nbs": 4, "epochs": 3, "device": "cpu", "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 0,
                "plots": False, "amp": False, "deterministic": False, "seed": 3, "workers": workers, "wandb": False,
                **still, **given,
            }
        )  # fmt: skip

    return make


def passes(trainer, epochs):
    """The batches of some epochs, asked for as the training loop does."""
    if trainer.ema is None:
        trainer._setup_train()
    for epoch in epochs:
        trainer.epoch = epoch
        trainer.run_callbacks("on_train_epoch_start")
        yield list(trainer.train_loader)
    trainer.train_loader.close()


def greys_labels():
    return [{"cls": [0] * (number % 4 == 0)} for number in range(24)]


def number(file: str) -> int:
    return int(Path(file).stem.removeprefix("train"))


def names(batches) -> list[int]:
    """The numbers of the images in some batches."""
    return [number(file) for batch in batches for file in batch["im_file"]]


def kinds(numbers) -> dict[str, int]:
    return Counter(KINDS[LABELS[number % 4]] for number in numbers)


@pytest.mark.parametrize(
    ("negatives", "hard", "expected"),
    [
        (0, None, {"positive": 6}),
        (0, 0.5, {"positive": 6}),
        (1, 0.5, {"positive": 6, "hard": 3, "normal": 3}),
        (1, 1, {"positive": 6, "hard": 6}),
        (1.5, 0, {"positive": 6, "normal": 9}),
        (2, 0.25, {"positive": 6, "hard": 3, "normal": 9}),
    ],
)
def test_what_comes_out_has_the_shares_that_were_asked_for(set_up, negatives, hard, expected):
    trainer = set_up(negatives=negatives, hard_negatives=hard)
    seen = [names(batches) for batches in passes(trainer, range(3))]
    total = sum(expected.values())
    assert len(trainer.train_loader) == -(-total // 4)
    for numbers in seen:
        assert kinds(numbers) == expected
        assert len(set(numbers)) == total  # none twice
    assert len({tuple(numbers) for numbers in seen}) == 3  # another order at least
    if 0 < expected.get("normal", 0) < COUNTS["normal"]:
        assert len({frozenset(numbers) for numbers in seen}) == 3  # and others of them


def test_without_a_share_negatives_come_as_they_are(set_up):
    seen = [names(batches) for batches in passes(set_up(negatives=1), range(40))]
    assert all(kinds(numbers)["positive"] == 6 and len(set(numbers)) == len(numbers) == 12 for numbers in seen)
    drawn = Counter(number for numbers in seen for number in numbers if number % 4)
    assert drawn.keys() == {number for number in range(24) if number % 4}
    # Each of 18 is in an epoch with a chance of 1/3: 13.3 of 40, with a standard deviation of 3.
    assert all(2 <= times <= 28 for times in drawn.values())


def test_workers_seed_and_epoch_decide_nothing_but_what_they_should(set_up):
    given = {"negatives": 1, "hard_negatives": 0.5}
    alone = [names(batches) for batches in passes(set_up(**given), range(4))]
    assert [names(batches) for batches in passes(set_up(workers=2, **given), range(4))] == alone
    assert [names(batches) for batches in passes(set_up(**given), [2, 3])] == alone[2:]  # as after a resume
    assert [names(batches) for batches in passes(set_up(**given, seed=4), range(4))] != alone
    # An epoch is repeated after a loss that was no number, while the workers are at the next one already.
    again = [names(batches) for batches in passes(set_up(workers=2, **given), [0, 1, 1, 2])]
    assert again == [alone[0], alone[1], alone[1], alone[2]]


@pytest.mark.parametrize("cache", [False, "ram"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_tiles_of_mosaics_are_drawn_too(set_up, cache, workers):
    trainer = set_up(workers, negatives=1, hard_negatives=0.5, mosaic=1.0, cache=cache)
    found: Counter[str] = Counter()
    mixed = 0
    for batches in passes(trainer, range(12)):
        drawn = set(names(batches))
        for picture in (picture for batch in batches for picture in batch["img"].numpy()):
            tiles = {int(grey - 5) // 10 for grey in np.unique(picture) if grey != 114}  # 114 is where no tile is
            assert tiles <= drawn
            mixed += len(tiles) > 1
            found.update(kinds(tiles))
    assert mixed > 100
    # 144 pictures of up to 4 tiles: half of them positive, a quarter hard.
    shares = {kind: count / sum(found.values()) for kind, count in found.items()}
    assert shares == pytest.approx({"positive": 0.5, "hard": 0.25, "normal": 0.25}, abs=0.08)


def test_a_batch_is_mixed_with_itself_and_as_many_more_each_read_once(set_up, monkeypatch):
    """Four tiles of a whole epoch would mean to read four files for each picture."""
    read: list[int] = []
    imread = base.imread
    monkeypatch.setattr(base, "imread", lambda file, flags: (read.append(number(file)), imread(file, flags=flags))[1])
    trainer = set_up(mosaic=1.0, mixup=1.0, batch=12)
    trainer._setup_train()
    read.clear()
    indices = list(range(12))
    batch = trainer.train_loader.dataset.__getitems__(indices)
    assert len(read) == len(set(read)) <= 12 + 16
    assert len(batch) == 12
    assert set(read) > set(indices)  # and some others


def test_positives_only_means_mosaics_too(set_up):
    for batches in passes(set_up(negatives=0, mosaic=1.0), range(3)):
        greys = np.unique(np.concatenate([batch["img"].numpy().ravel() for batch in batches]))
        assert {int(grey - 5) // 10 % 4 for grey in greys if grey != 114} == {0}


@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "mosaic": 1.0}])
def test_what_is_mixed_in_is_drawn_too(set_up, monkeypatch, mix):
    loaded: list[int] = []
    load = RSNADataset.get_image_and_label
    monkeypatch.setattr(
        RSNADataset, "get_image_and_label", lambda self, index: (loaded.append(index), load(self, index))[1]
    )
    for batches in passes(set_up(negatives=0.5, **mix), range(4)):
        drawn = names(batches)
        assert len(drawn) == 9
        assert len(loaded) >= 18
        assert set(loaded) <= set(drawn)
        loaded.clear()


def record(trainer) -> dict[int, list]:
    """Let a trainer note its batches by epoch."""
    seen: dict[int, list] = {}
    prepare = trainer.preprocess_batch

    def noted(batch):
        kept = {"im_file": batch["im_file"], "img": batch["img"].numpy().copy()}
        seen.setdefault(trainer.epoch, []).append(kept)
        return prepare(batch)

    trainer.preprocess_batch = noted
    return seen


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_sees_what_is_drawn_and_closes_its_mosaic(set_up, workers):
    trainer = set_up(workers, negatives=1, mosaic=1.0, close_mosaic=1)
    seen = record(trainer)
    steps = []
    trainer.add_callback("on_train_batch_end", lambda trainer: steps.append(trainer.epoch))
    trainer.train()
    assert Counter(steps) == {0: 3, 1: 3, 2: 3}  # of four images each
    expected = make_draw([""] * 24, greys_labels(), 1, seed=3)
    assert {epoch: names(batches) for epoch, batches in seen.items()} == {
        epoch: expected.images(epoch).tolist() for epoch in range(3)
    }
    greys = [max(len(np.unique(picture)) for batch in seen[epoch] for picture in batch["img"]) for epoch in range(3)]
    assert greys[0] > 2
    assert greys[1] > 2
    assert greys[2] == 1


def test_a_resumed_training_draws_what_the_undisturbed_one_does(set_up, tmp_path):
    given = {"negatives": 1, "hard_negatives": 0.5, "mosaic": 0.7, "close_mosaic": 1, "epochs": 4}

    class Killed(BaseException):
        pass

    whole = set_up(**given, name="whole")
    expected = record(whole)
    whole.train()
    cut = set_up(**given, name="cut")
    seen = record(cut)

    def kill(trainer):
        if trainer.epoch == 2 and len(seen[2]) == 2:
            raise Killed

    cut.add_callback("on_train_batch_end", kill)
    with pytest.raises(Killed):
        cut.train()
    resumed = set_up(resume=str(tmp_path / "cut" / "weights" / "last.pt"), epochs=4)
    again = record(resumed)
    resumed.train()
    assert again.keys() == {2, 3}
    for epoch in (2, 3):
        assert names(again[epoch]) == names(expected[epoch])
        assert all((a["img"] == b["img"]).all() for a, b in zip(again[epoch], expected[epoch], strict=True))
    rows = [list(csv.DictReader((run.save_dir / "results.csv").open())) for run in (whole, resumed)]
    for row, other in zip(*rows, strict=True):
        for column in row.keys() - {"time"}:
            assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-4, abs=2e-5), column


@pytest.mark.parametrize("processes", [2, 5])
def test_processes_share_an_epoch(processes):
    draw = make_draw([""] * 31, [{"cls": [0] * (number < 9)} for number in range(31)], 4 / 3)
    samplers = [DrawnSampler(draw, rank, processes) for rank in range(processes)]
    for epoch in range(3):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [[divmod(index, 31) for index in sampler] for sampler in samplers]
        assert {epoch_of for share in shares for epoch_of, _ in share} == {epoch}
        assert {len(share) for share in shares} == {len(samplers[0])} == {-(-21 // processes)}
        images = Counter(image for share in shares for _, image in share)
        assert images.keys() == set(draw.images(epoch).tolist())
        assert images.total() - 21 == sum(count - 1 for count in images.values()) < processes  # padding


def test_all_images_are_loaded_as_ultralytics_does(set_up, greys, tmp_path):
    """Each once in an epoch, and what its own data set makes of a picture with the same random numbers."""
    moving = {"scale": 0.5, "translate": 0.1, "flipud": 0.5}
    ours = set_up(**moving)
    known = {name: value for name, value in vars(ours.args).items() if name not in DEFAULTS and name != "save_dir"}
    plain = DetectionTrainer(overrides={**known, "project": str(tmp_path / "plain")})
    plain._setup_train()
    stock = plain.train_loader.dataset
    images = {number(file): position for position, file in enumerate(stock.im_files)}
    orders = []
    for epoch, batches in enumerate(passes(ours, range(3))):
        orders.append(names(batches))
        assert sorted(orders[-1]) == list(range(24))
        for batch in batches:
            for picture, file in zip(batch["img"], batch["im_file"], strict=True):
                with seeded(3, epoch, images[number(file)]):
                    expected = stock[images[number(file)]]["img"]
                assert torch.equal(picture, expected)
    assert len({tuple(order) for order in orders}) == 3


MIXES = {
    "mosaic": {"mosaic": 0.7, "scale": 0.5, "gamma": 0.2, "noise": 0.02},
    "mixup": {"mosaic": 0.5, "mixup": 0.7},
    "cutmix": {"cutmix": 1.0},  # which draws into the picture that was loaded
}


@pytest.mark.parametrize("mix", MIXES)
def test_a_picture_follows_from_its_epoch_and_number_alone(set_up, mix):
    """Neither from who loads it nor from what was loaded before: nothing else makes a resume exact."""
    given = {"negatives": 1, **MIXES[mix]}

    def seen(epochs, **more):
        return [[(batch["img"], batch["bboxes"]) for batch in batches] for batches in passes(set_up(**more), epochs)]

    alone = seen(range(4), **given)
    for other in (
        seen(range(4), **given, workers=2),
        [*seen([0], **given), *seen([1], **given, workers=2), *seen([2, 3], **given, workers=1)],
        seen(range(4), **given, cache="ram"),
    ):
        for found, expected in zip(other, alone, strict=True):
            for (picture, boxes), (other_picture, other_boxes) in zip(found, expected, strict=True):
                assert torch.equal(picture, other_picture)
                assert torch.equal(boxes, other_boxes)
    assert not all(torch.equal(one[0], two[0]) for one, two in zip(alone[0], alone[1], strict=True))


def test_loading_leaves_the_random_numbers_of_the_training_alone(set_up):
    trainer = set_up(mosaic=1.0, mixup=1.0)
    trainer._setup_train()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    trainer.train_loader.dataset[5]
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_pictures_of_several_shapes_keep_their_order(set_up, tmp_path):
    """With rect=True a batch is one of neighbours, which have one shape."""
    data = write_set(tmp_path / "shapes", list(range(8)))
    for number in range(4, 8):
        write(data, number, "train", 45, height=2 * SIZE)
    for batches in passes(set_up(data=data, rect=True), range(2)):
        assert [tuple(batch["img"].shape[2:]) for batch in batches] == [(64, 64), (64, 32)]
        assert sorted(names(batches[:1])) == [0, 1, 2, 3]


def test_the_optimizer_is_chosen_by_what_is_drawn(set_up, monkeypatch):
    asked = []
    build = DetectionTrainer.build_optimizer
    monkeypatch.setattr(
        DetectionTrainer, "build_optimizer", lambda *args, **given: (asked.append(given), build(*args, **given))[1]
    )
    list(passes(set_up(negatives=0, epochs=5), [0]))
    list(passes(set_up(epochs=5), [0]))
    assert [given["iterations"] for given in asked] == [10, 30]  # 5 epochs of 6 and of 24 images, by four


@pytest.mark.parametrize(
    ("negatives", "hard", "counts", "said"),
    [
        (3, None, (0, 18), []),
        (4, None, (0, 18), ["asks for 24 images without boxes beside the 6 with; there are only 18"]),
        (3, 0.5, (6, 12), [f"asks for 9 images of {NOT_NORMAL!r} among the 18 without boxes; there are only 6, so"]),
        (2.5, 0.1, (3, 12), ["asks for 2 images", "there are only 12 others, so every epoch has 3"]),
        (1.5, 1, (6, 3), ["asks for 9 images", "there are only 6, so every epoch has 6"]),
        (9, 1, (6, 12), ["negatives=9 asks for 54", "hard_negatives=1 asks for 18"]),
    ],
)
def test_what_the_data_cannot_give_is_filled_up_and_said(greys, negatives, hard, counts, said):
    files = [str(greys / "images" / "train" / f"train{number:02}.png") for number in range(24)]
    draw = make_draw(files, greys_labels(), negatives, hard)
    assert (draw.hard_count, draw.other_count) == counts
    assert kinds(draw.images(0).tolist())["positive"] == 6
    assert bool(said) == bool(draw.warnings)
    assert all(words in " ".join(draw.warnings) for words in said)


def test_a_training_says_once_what_is_drawn(set_up, caplog):
    trainer = set_up(negatives=4, hard_negatives=0.5)
    messages = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.detector.trainer.LOGGER.info", messages.append)
        patch.setattr("train.detector.trainer.LOGGER.warning", messages.append)
        trainer._setup_train()
        trainer._build_train_pipeline()  # as after running out of memory
    said = [message for message in messages if "without" in str(message)]
    assert len(said) == 3
    assert said[0] == "Each epoch: the 6 images with boxes, 18 of 18 without (6 of them not normal), drawn anew."


def failure(capsys, tmp_path, data, cnn, *given) -> str:
    """What the command says that refuses these arguments; it must leave nothing behind."""
    runs = tmp_path / "runs"
    argv = [f"data={data}", f"model={cnn}", f"project={runs}", "imgsz=64", "epochs=1", "device=cpu", *given]
    assert execute(main, argv) == 2
    assert not runs.exists()
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return error


def test_a_share_of_nothing_is_refused(greys, cnn, tmp_path, capsys):
    message = failure(capsys, tmp_path, greys, cnn, "hard_negatives=0.5")
    assert "Add how many per image with boxes, such as negatives=1" in message
    assert "expected a number, 0 or more" in failure(capsys, tmp_path, greys, cnn, "negatives=-1")
    assert "at most 1" in failure(capsys, tmp_path, greys, cnn, "negatives=1", "hard_negatives=50")


def test_data_that_cannot_be_drawn_from_are_refused(cnn, tmp_path, capsys):
    quiet = write_set(tmp_path / "quiet", [1, 2, 3, 5])
    message = failure(capsys, tmp_path, quiet, cnn, "negatives=1")
    assert "none of the 4 training images has a box" in message
    assert "labels/" in message

    bare = write_set(tmp_path / "bare", [0, 1, 2, 3])
    (bare / "manifest.csv").unlink()
    message = failure(capsys, tmp_path, bare, cnn, "negatives=1", "hard_negatives=0.5")
    assert "no manifest.csv in a folder above it" in message
    assert "rsna_to_yolo.py" in message

    foreign = write_set(tmp_path / "foreign", [0, 1, 2, 3])
    rows = (foreign / "manifest.csv").read_text().splitlines(keepends=True)
    (foreign / "manifest.csv").write_text("".join(row for row in rows if not row.startswith("train02")))
    message = failure(capsys, tmp_path, foreign, cnn, "negatives=1", "hard_negatives=0.5")
    assert "has no row for train02" in message


def test_rectangles_of_several_shapes_cannot_be_drawn(set_up, tmp_path):
    data = write_set(tmp_path / "shapes", list(range(8)))
    for number in range(4, 8):
        write(data, number, "train", 45, height=2 * SIZE)
    with pytest.raises(UserError, match="leave rect out"):
        set_up(data=data, negatives=1, rect=True)._setup_train()
