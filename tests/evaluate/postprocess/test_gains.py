from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evaluate.metrics.rsna import image_scores
from evaluate.postprocess import STEPS, fit, fitting, gains
from evaluate.postprocess.steps import BoxScale, Sides

COLUMNS = ["image_id", "x", "y", "width", "height"]


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few factors: it does not matter which."""
    monkeypatch.setattr(fitting, "SIDES", tuple(Sides(x, y) for x in (1.0, 0.9, 0.8) for y in (1.0, 0.9)))


def case(seed: int, too_large: float = 1.2, images: int = 90):
    """Truth, predictions, manifest with patients of one to three images, and probabilities."""
    random = np.random.default_rng(seed)
    truth, rows, manifest, chance = [], [], [], {}
    for number in range(images):
        image_id, positive = f"i{number:03}", random.random() < 0.6
        box = np.concatenate([random.integers(60, 120, 2), random.integers(30, 70, 2)]).astype(float)
        truth.append((image_id, *(box if positive else [np.nan] * 4)))
        manifest.append((image_id, f"p{number * 2 // 5}", ["AP", "PA"][number % 2], 256.0, 256.0))
        chance[image_id] = 1 / (1 + np.exp(-random.normal(2.0 if positive else -2.0, 1.5)))
        if random.random() < (0.95 if positive else 0.5):
            size = box[2:] * too_large
            rows.append(
                (image_id, random.random(), *(box[:2] + box[2:] / 2 - size / 2 + random.normal(0, 3, 2)), *size)
            )
    predictions = pd.DataFrame(rows, columns=["image_id", "confidence", *COLUMNS[1:]]).round(2)
    manifest = pd.DataFrame(manifest, columns=["image_id", "patient_id", "view", "width", "height"])
    return pd.DataFrame(truth, columns=COLUMNS), predictions, manifest, pd.Series(chance)


def test_every_image_is_scored_by_pipelines_that_have_not_seen_its_patient():
    truth, predictions, manifest, gate = case(0)
    steps = ["confidence", "box_scale", "gate"]
    found = gains(truth, predictions, manifest, gate, steps=steps, folds=3, resamples=50)
    assert [one.step for one in found] == [*steps, "all"]
    patient = manifest.set_index("image_id")["patient_id"]
    # The folds, as the module deals them: which patients share one is all that has to be known of it.
    from evaluate.postprocess.gains import _deal

    with_truth = truth.drop_duplicates("image_id").set_index("image_id")["x"].notna()
    fold = pd.Series(_deal(patient[with_truth.index], with_truth.to_numpy(), 3), index=with_truth.index)
    assert (fold.groupby(patient).nunique() == 1).all()
    assert fold.value_counts().min() > 20
    assert fold[with_truth].value_counts().min() > 10
    for count, line in enumerate(found[:-1], 1):
        parts = []
        for held_out in range(3):
            mine, others = fold.index[fold == held_out], fold.index[fold != held_out]
            of = {
                name: [table[table["image_id"].isin(ids)] for table in (truth, predictions)]
                for name, ids in (("mine", mine), ("others", others))
            }
            pipeline = fit(*of["others"], manifest, gate, steps=steps[:count])
            parts.append(image_scores(of["mine"][0], pipeline.apply(of["mine"][1], manifest, gate)))
        assert line.score == pytest.approx(pd.concat(parts).mean(), abs=1e-12)
    gained = [one.gain for one in found]
    assert gained[0] == 0
    assert gained[1:3] == pytest.approx(np.diff([one.score for one in found[:3]]), abs=1e-12)
    assert gained[3] == pytest.approx(found[2].score - found[0].score, abs=1e-12)
    assert all(one.low <= one.gain <= one.high for one in found[1:])
    assert found[0].low is None


def test_what_there_is_to_gain_is_found_and_what_is_not_is_not():
    truth, predictions, manifest, gate = case(1, images=200)
    lines = {one.step: one for one in gains(truth, predictions, manifest, gate)}
    assert list(lines) == [*STEPS, "all"]
    assert lines["box_scale"].low > 0  # boxes are too large by a fifth
    assert lines["gate"].low > 0
    assert abs(lines["suppression"].gain) + abs(lines["most_boxes"].gain) < 0.01  # one box an image
    right = {one.step: one for one in gains(*case(1, too_large=1.0, images=200)[:3])}
    assert list(right) == [step for step in [*STEPS, "all"] if step != "gate"]
    assert abs(right["box_scale"].gain) < 0.01


def test_no_order_changes_what_is_gained():
    truth, predictions, manifest, _ = case(2)
    lines = gains(truth, predictions, manifest, steps=["confidence", "box_scale"], resamples=50)
    shuffled = [table.sample(frac=1, random_state=4) for table in (truth, predictions, manifest)]
    again = gains(*shuffled, steps=["confidence", "box_scale"], resamples=50)
    for one, other in zip(lines, again, strict=True):
        assert (one.step, one.score, one.gain) == (other.step, pytest.approx(other.score), pytest.approx(other.gain))


def test_of_too_little_nothing_is_said():
    truth, predictions, manifest, _ = case(3, images=30)  # 12 patients
    assert gains(truth, predictions, manifest) == ()
    assert gains(truth, predictions.iloc[:0], manifest) == ()
    assert gains(truth.iloc[:0], predictions.iloc[:0], manifest) == ()
    assert gains(*case(3)[:3], steps=[], resamples=10) == ()


def test_what_is_fixed_is_done_throughout():
    truth, predictions, manifest, _ = case(4)
    scale = BoxScale.common(Sides(0.83, 0.83))
    fixed = gains(truth, predictions, manifest, steps=["confidence", "most_boxes"], fixed={"box_scale": scale})
    plain = gains(truth, predictions, manifest, steps=["confidence", "most_boxes"])
    assert [one.step for one in fixed] == ["confidence", "most_boxes", "all"]
    assert fixed[0].score > plain[0].score + 0.05
    # Without patients each image counts as one.
    assert gains(truth, predictions, manifest.drop(columns="patient_id"), steps=["confidence"])
