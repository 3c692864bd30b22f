"""The sweep's variants against the metric on tables that were changed likewise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from evaluate.metrics.rsna import best_confidence, confidence_sweep, image_scores, rsna_score
from evaluate.metrics.sweep import Sweep, thin_sweep
from tests.evaluate.metrics.reference import random_images, tables


def sorted_tables(seed: int, count: int = 60, confidences: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables as they are stored, by image and falling confidence; `confidences` different confidences."""
    truth, predictions = tables(random_images(count, seed, confidences=confidences))
    order = ["image_id", "confidence"]
    return truth, predictions.sort_values(order, ascending=[True, False], kind="stable", ignore_index=True)


def assert_is_the_sweep_of(sweep: Sweep, truth: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """Everything that the sweep gives is what the metric says of the tables, to the last bit."""
    pd.testing.assert_frame_equal(sweep.table(), confidence_sweep(truth, predictions), rtol=0, atol=0)
    assert sweep.best() == best_confidence(truth, predictions)
    for confidence in (0.0, *predictions["confidence"].unique()[::5], 0.3, 1.1):
        assert sweep.score(confidence) == rsna_score(truth, predictions, confidence)
        kept = predictions[predictions["confidence"] >= confidence]  # matched without those below
        assert sweep.score(confidence) == rsna_score(truth, kept, -1.0)
        pd.testing.assert_series_equal(sweep.image_scores(confidence), image_scores(truth, kept, -1.0), rtol=0, atol=0)


@pytest.mark.parametrize("confidences", [4, 10**9], ids=["many ties", "hardly any"])
@pytest.mark.parametrize("seed", range(3))
class TestVariants:
    def test_as_it_is(self, seed, confidences):
        truth, predictions = sorted_tables(seed, confidences=confidences)
        assert_is_the_sweep_of(Sweep.from_tables(truth, predictions), truth, predictions)

    def test_predictions_on_some_images_only(self, seed, confidences):
        truth, predictions = sorted_tables(seed, confidences=confidences)
        sweep = Sweep.from_tables(truth, predictions)
        chosen = np.random.default_rng(seed).random(len(sweep.images)) < 0.6
        left = predictions[predictions["image_id"].isin(sweep.images[chosen])]
        assert 0 < len(left) < len(predictions)
        assert_is_the_sweep_of(sweep.only_on(chosen), truth, left)
        nowhere = sweep.only_on(np.zeros(len(sweep.images), dtype=bool))
        assert_is_the_sweep_of(nowhere, truth, predictions.iloc[:0])
        assert nowhere.best() == (1.0, 0.0)

    def test_confidences_weighed_by_image(self, seed, confidences):
        truth, predictions = sorted_tables(seed, confidences=confidences)
        sweep = Sweep.from_tables(truth, predictions)
        factors = np.random.default_rng(seed).integers(0, 5, len(sweep.images)) / 4
        factor = predictions["image_id"].map(pd.Series(factors, index=sweep.images))
        assert factor.nunique() == 5  # 0 and 1 among them
        weighed = predictions.assign(confidence=predictions["confidence"] * factor)
        assert_is_the_sweep_of(sweep.weighted(factors), truth, weighed)
        chosen = factors > 0.25
        both = weighed[weighed["image_id"].isin(sweep.images[chosen])]
        assert_is_the_sweep_of(sweep.weighted(factors).only_on(chosen), truth, both)
        assert_is_the_sweep_of(sweep.only_on(chosen).weighted(factors), truth, both)


def test_variants_leave_the_sweep_alone():
    truth, predictions = sorted_tables(0)
    sweep = Sweep.from_tables(truth, predictions)
    before = sweep.table()
    sweep.weighted(np.full(len(sweep.images), 0.5))
    sweep.only_on(np.zeros(len(sweep.images), dtype=bool))
    pd.testing.assert_frame_equal(sweep.table(), before)


@pytest.mark.parametrize("factor", [-0.1, math.nan])
def test_impossible_factors(factor):
    truth, predictions = sorted_tables(0)
    sweep = Sweep.from_tables(truth, predictions)
    with pytest.raises(ValueError, match="0 or more"):
        sweep.weighted(np.full(len(sweep.images), factor))
    with_predictions = np.isin(sweep.images, predictions["image_id"])
    assert not with_predictions.all()
    sweep.weighted(np.where(with_predictions, 1.0, factor))  # of images without predictions it does not matter


def test_other_iou_thresholds():
    truth, predictions = sorted_tables(1)
    sweep = Sweep.from_tables(truth, predictions, (0.5,))
    assert sweep.score(0.0) == rsna_score(truth, predictions, iou_thresholds=(0.5,)) != rsna_score(truth, predictions)


def test_a_confidence_that_is_no_number():
    sweep = Sweep.from_tables(*sorted_tables(0))
    for function in (sweep.score, sweep.image_scores):
        with pytest.raises(UserError, match="confidence: found NaN"):
            function(math.nan)


def test_nothing_to_sweep():
    sweep = Sweep.from_tables(pd.DataFrame(), pd.DataFrame())
    assert sweep.table().empty
    assert sweep.best() == (1.0, 0.0)
    assert sweep.score(0.0) == 0.0
    assert sweep.image_scores(0.0).empty


def test_a_thinned_sweep_keeps_its_ends_and_its_best():
    sweep = Sweep.from_tables(*sorted_tables(2, count=200, confidences=10**9)).table()
    thinned = thin_sweep(sweep, 50)
    assert len(thinned) <= 50 < len(sweep)
    assert thinned["score"].max() == sweep["score"].max()
    assert thinned["confidence"].iloc[[0, -1]].tolist() == sweep["confidence"].iloc[[0, -1]].tolist()
    assert thinned.merge(sweep).equals(thinned)
    assert thin_sweep(sweep.head(50), 50).equals(sweep.head(50))
