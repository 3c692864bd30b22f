from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.data.names import COORDINATES
from common.data.tables import make_predictions
from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics
from evaluate.metrics.rsna import best_confidence, rsna_score
from evaluate.postprocess.suppression import Suppression

import_ultralytics()
import torch  # noqa: E402

from train.detector.results import CONFIDENCE, FIXED_SCORE, SCORE  # noqa: E402
from train.detector.validation import (  # noqa: E402
    ImageResult,
    RSNAMetrics,
    RSNAValidator,
    positive_class,
    score_images,
    to_tables,
    without_own_arguments,
)
from train.settings.options import DEFAULTS  # noqa: E402


def brute_force(results, confidence):
    """The score as the challenge's page defines it, image by image, box by box."""
    scores = []
    for _, truth, predictions in results:
        chosen = sorted((p for p in predictions.tolist() if p[0] >= confidence), key=lambda p: -p[0])
        if not len(truth) and not chosen:
            continue
        per_threshold = []
        for threshold in (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75):
            free, hits = list(truth.tolist()), 0
            for _, x, y, w, h in chosen:

                def overlap(box, x=x, y=y, w=w, h=h):
                    across = max(0, min(x + w, box[0] + box[2]) - max(x, box[0]))
                    down = max(0, min(y + h, box[1] + box[3]) - max(y, box[1]))
                    return across * down / (w * h + box[2] * box[3] - across * down)

                best = max(free, key=overlap, default=None)
                if best is not None and overlap(best) > threshold:
                    free.remove(best)
                    hits += 1
            per_threshold.append(hits / (len(chosen) + len(truth) - hits))
        scores.append(np.mean(per_threshold) if len(truth) else 0.0)
    return float(np.mean(scores)) if scores else 0.0


def draw_results(random, images=12):
    results = []
    for number in range(images):
        truth = np.column_stack([random.uniform(0, 60, (number % 3, 2)), random.uniform(10, 40, (number % 3, 2))])
        near = truth[random.integers(0, len(truth), 3)] + random.normal(0, 3, (3, 4)) if len(truth) else truth
        far = np.column_stack([random.uniform(0, 60, (2, 2)), random.uniform(10, 40, (2, 2))])
        boxes = np.concatenate([near, far])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        confidence = random.choice([0.1, 0.2, 0.25, 0.3, 0.6, 0.9], len(boxes))
        order = np.argsort(-confidence, kind="stable")
        results.append(ImageResult(f"/a/{number}.png", truth, np.column_stack([confidence, boxes])[order]))
    return results


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_the_definition(seed):
    results = draw_results(np.random.default_rng(seed))
    score, confidence, fixed = score_images(results)
    every = {c: brute_force(results, c) for c in (0.1, 0.2, 0.25, 0.3, 0.6, 0.9)}
    assert score == pytest.approx(max(every.values()))
    assert every[confidence] == pytest.approx(score)
    assert fixed == pytest.approx(every[0.25])


def test_no_predictions_no_truth_no_images():
    truth = np.array([[1.0, 2.0, 10.0, 10.0]])
    nothing, box = np.empty((0, 5)), np.array([[0.2, 1.0, 2.0, 10.0, 10.0]])
    assert score_images([]) == (0.0, 1.0, 0.0)
    assert score_images([ImageResult("a.png", truth, nothing)]) == (0.0, 1.0, 0.0)
    assert score_images([ImageResult("a.png", truth[:0], box)]) == (0.0, 0.2, 0.0)
    assert score_images([ImageResult("a.png", truth, box)]) == (1.0, 0.2, 0.0)  # nothing is left at 0.25
    assert score_images([ImageResult("a.png", truth, box), ImageResult("b.png", truth[:0], nothing)])[0] == 1.0


def test_files_of_one_name_are_two_images():
    truth = np.array([[1.0, 2.0, 10.0, 10.0]])
    box = np.array([[0.9, 1.0, 2.0, 10.0, 10.0]])
    table, predictions = to_tables([ImageResult("/a/x.png", truth, box), ImageResult("/b/x.jpg", truth, box[:0])])
    assert table["image_id"].nunique() == 2
    assert rsna_score(table, predictions) == 0.5


def validator(tmp_path, names=None):
    made = RSNAValidator(save_dir=tmp_path, args={"task": "detect", **DEFAULTS})
    made.device = torch.device("cpu")
    made.metrics.names = names or {0: "Lung Opacity"}
    return made


def picture(truth, classes, ratio_pad=((0.5, 0.5), (0.0, 10.0)), shape=(80, 120)):
    """A picture of 120 x 80 pixels, halved, below 10 pixels of padding."""
    return {
        "cls": torch.tensor(classes, dtype=torch.float32),
        "bboxes": torch.tensor(truth, dtype=torch.float32).reshape(-1, 4),
        "ori_shape": shape,
        "imgsz": (60, 60),
        "ratio_pad": ratio_pad,
        "im_file": "/x/p1.png",
    }


def test_boxes_come_in_pixels_of_the_original_image_clipped_to_it(tmp_path):
    preds = {
        "bboxes": torch.tensor([[5.0, 15.0, 25.0, 30.0], [-9.0, 2.0, 30.0, 70.0], [0.0, 0.0, 9.0, 9.0]]),
        "conf": torch.tensor([0.3, 0.8, 0.9]),
        "cls": torch.zeros(3),
    }
    result = validator(tmp_path)._process_batch(preds, picture([[5.0, 15.0, 25.0, 30.0]], [0]))["rsna"]
    assert result.truth.tolist() == [[10, 10, 40, 30]]
    # In falling confidence; the third lies in the padding altogether, and is no box.
    assert result.predictions == pytest.approx(np.array([[0.8, 0, 0, 60, 80], [0.3, 10, 10, 40, 30]]))


def test_only_the_positive_class_counts(tmp_path):
    count = 120
    confidence = torch.linspace(0.01, 0.9, count)
    preds = {
        "bboxes": torch.tensor([[5.0, 15.0, 25.0, 30.0]]).repeat(count, 1),
        "conf": confidence,
        "cls": (torch.arange(count) % 120 == 7).float(),
    }
    two = {0: "Lung Opacity", 1: "Nodule"}
    result = validator(tmp_path, two)._process_batch(preds, picture([[5, 15, 25, 30], [1, 11, 9, 19]], [1, 0]))["rsna"]
    assert result.truth.tolist() == [[2, 2, 16, 16]]
    assert len(result.predictions) == count - 1
    assert result.predictions[0, 0] == pytest.approx(0.9)
    assert (np.diff(result.predictions[:, 0]) <= 0).all()


def network_output(random, classes=1, boxes=900):
    """As of a YOLO head before suppression, (1, 4 + classes, boxes): many about few places of a square."""
    places = random.uniform([15, 15, 8, 8], [45, 45, 30, 30], (7, 4))
    found = places[random.integers(0, 7, boxes)] + random.normal(0, 2.5, (boxes, 4))
    confidence = random.uniform(0, 1, (boxes, classes)) ** 4
    return torch.tensor(np.column_stack([np.maximum(found, 1), confidence]).T[None], dtype=torch.float32)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("iou", [0.4, 0.7, 0.9])
def test_boxes_that_are_scored_are_those_of_a_kept_prediction_suppressed_afterwards(iou, classes, tmp_path):
    """Against Ultralytics' suppression at 0.8 and the project's own, which goes by a table."""
    from ultralytics.utils.nms import non_max_suppression

    names = {0: "Lung Opacity"} if classes == 1 else {0: "Mass", 1: "Lung Opacity", 2: "Nodule"}
    positive = classes // 2
    made = validator(tmp_path, names)
    made.args.iou, made.args.conf, made.end2end = iou, 0.001, False
    one = picture([[5, 15, 25, 30]], [positive])
    changed = 0
    for seed in range(12):
        raw = network_output(np.random.default_rng(seed), classes)
        (preds,) = made.postprocess(raw.clone())
        result = made._process_batch(preds, one)["rsna"]
        alone = torch.cat([raw[:, :4], raw[:, [4 + positive]]], 1)
        (kept,) = non_max_suppression(alone, 0.001, max(0.8, iou), max_det=300)
        assert 40 < len(kept) <= 300
        corners = made.scale_preds({"bboxes": kept[:, :4]}, one)["bboxes"].numpy().astype(float)
        values = np.column_stack([kept[:, 4].numpy().astype(float), corners[:, :2], corners[:, 2:] - corners[:, :2]])
        expected = Suppression("nms", iou).apply(make_predictions(["p1"] * len(values), values))
        np.testing.assert_array_equal(result.predictions, expected[["confidence", *COORDINATES]].to_numpy())
        (direct,) = non_max_suppression(raw, 0.001, iou, multi_label=True, max_det=300)
        confident = {round(float(value), 5) for value in direct[direct[:, 4] > 0.5, 4]}
        changed += confident != {round(float(value), 5) for value in preds["conf"] if value > 0.5}
        assert len(preds) == 4
    # Those of the mAP are Ultralytics' own but where of a chain of boxes the middle one was a repetition: often in such
    # crowds if much may overlap.
    assert changed <= (0 if classes > 1 or iou == 0.9 else {0.4: 3, 0.7: 12}[iou])


def test_an_end_to_end_head_is_left_as_it_is(tmp_path):
    made = validator(tmp_path)
    made.args.conf, made.end2end = 0.001, True
    boxes = torch.tensor([[[5.0, 15.0, 25.0, 30.0, 0.9, 0.0], [5.0, 15.0, 25.0, 30.0, 0.8, 0.0]]])
    (preds,) = made.postprocess(boxes)
    result = made._process_batch(preds, picture([[5, 15, 25, 30]], [0]))["rsna"]
    assert result.predictions[:, 0].tolist() == pytest.approx([0.9, 0.8])


def test_positive_class():
    assert positive_class({0: "item"}) == 0
    assert positive_class({0: "a", 3: "Lung Opacity"}) == 3
    with pytest.raises(UserError, match="2 classes"):
        positive_class({0: "a", 1: "b"})


def test_metrics_keep_one_order_and_gather_by_joining_lists():
    metrics = RSNAMetrics({0: "Lung Opacity"})
    truth = np.array([[1.0, 2.0, 10.0, 10.0]])
    for file, confidence in (("a.png", 0.6), ("b.png", 0.4)):
        metrics.update_stats(
            {
                "tp": np.ones((1, 10), dtype=bool), "conf": np.array([confidence]), "pred_cls": np.zeros(1),
                "target_cls": np.zeros(1), "target_img": np.zeros(1), "im_name": file,
                "rsna": ImageResult(file, truth, np.array([[confidence, 1.0, 2.0, 10.0, 10.0]])),
            }
        )  # fmt: skip
    assert all(isinstance(value, list) for value in metrics.stats.values())  # as Ultralytics' gather_stats needs them
    metrics.process()
    results = metrics.results_dict
    assert list(results)[-4:] == [SCORE, CONFIDENCE, FIXED_SCORE, "fitness"]
    assert [results[SCORE], results[FIXED_SCORE], results["fitness"]] == [1.0, 1.0, 1.0]
    assert results[CONFIDENCE] == 0.4
    assert len(metrics.keys) == len(metrics.mean_results()) == len(metrics.class_result(0))
    metrics.clear_stats()
    assert metrics.stats["rsna"] == []


def test_own_arguments_are_kept_from_ultralytics():
    assert without_own_arguments({"epochs": 3, **DEFAULTS}) == {"epochs": 3}
    assert without_own_arguments(None) is None


def test_a_trainings_score_is_that_of_the_predictions_on_its_val_images(trained, data_set):
    """Scored the other way round: best.pt's predictions, file by file, against truth.csv."""
    import cv2
    from ultralytics import YOLO

    model = YOLO(trained.best)
    found = []
    files = [data_set / line for line in (data_set / "val.txt").read_text().split()]
    for file in files:
        picture = cv2.imread(str(file), 0)[..., None]
        boxes = model.predict(picture, imgsz=64, conf=0.001, iou=0.7, rect=False, device="cpu", verbose=False)[0].boxes
        for confidence, (x1, y1, x2, y2) in zip(boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True):
            if x2 > x1 and y2 > y1:
                found.append((file.stem, confidence, x1, y1, x2 - x1, y2 - y1))
    predictions = pd.DataFrame(found, columns=["image_id", "confidence", "x", "y", "width", "height"])
    truth = pd.read_csv(data_set / "truth.csv").query("image_id.str.startswith('val')")
    confidence, score = best_confidence(truth, predictions)
    assert score > 0.02  # else it would compare nothing with nothing
    assert trained.metrics[SCORE] == pytest.approx(score, abs=2e-3)
    assert trained.metrics[CONFIDENCE] == pytest.approx(confidence, abs=2e-3)
    assert trained.metrics[FIXED_SCORE] == pytest.approx(rsna_score(truth, predictions, 0.25), abs=2e-3)


def test_a_trainings_score_is_that_of_kept_predictions_suppressed(trained, data_set):
    """By the very functions of evaluate/score.py."""
    from common.data.data_set import DataSet
    from evaluate.detector.inference import Settings, predict
    from evaluate.detector.loading import Picture
    from evaluate.detector.weights import load_weights

    split = DataSet(data_set / "data.yaml").split("val")
    pictures = [Picture(name, file.name, file.read_bytes) for name, file in split.pictures.items()]
    kept = predict(load_weights(trained.best), pictures, Settings(64)).predictions
    predictions = Suppression("nms", 0.7).apply(kept)  # the default of `yolo train`, as this training had
    assert len(predictions) < len(kept)
    confidence, score = best_confidence(split.truth, predictions)
    assert trained.metrics[SCORE] == pytest.approx(score, abs=2e-3)
    assert trained.metrics[CONFIDENCE] == pytest.approx(confidence, abs=2e-3)
