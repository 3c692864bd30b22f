from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.metrics.rsna import best_confidence, rsna_score
from evaluate.postprocess import Pipeline, fit, fitting
from evaluate.postprocess.steps import BoxScale, GateRule, MostBoxes, Sides
from evaluate.postprocess.suppression import Suppression

COLUMNS = ["image_id", "x", "y", "width", "height"]
STEPS = [round(0.8 + 0.025 * step, 3) for step in range(11)]
SUPPRESSIONS = [
    *(Suppression("nms", least) for least in (0.4, 0.3, 0.2, 0.1)), Suppression("none", None),
    Suppression("votes", 0.4), Suppression("votes", 0.55), Suppression("soft-nms", 0.3),
]  # fmt: skip
GRID = [Sides(x, y) for x in STEPS for y in STEPS]


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few factors, where it does not matter which: the simplest first, as in the whole grid."""
    monkeypatch.setattr(fitting, "SIDES", tuple(Sides(x, y) for x in (1.0, 0.9, 0.8) for y in (1.0, 0.9)))


def cost(sides: Sides) -> float:
    return 0.02 * (abs(sides.scale_x - 1) + abs(sides.scale_y - 1))


Case = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.Series]


def case(seed: int, images: int = 60, most: int = 1, views: dict[str, tuple[float, float]] | None = None) -> Case:
    """Truth, predictions, manifest, probabilities. Boxes are too large by the factors of their image's view."""
    random = np.random.default_rng(seed)
    views = views or {"AP": (1.2, 1.1)}
    truth, ids, values, manifest, chance = [], [], [], [], {}
    for number in range(images):
        image_id, positive = f"i{number:03}", random.random() < 0.6
        view = list(views)[number % len(views)]
        box = np.concatenate([random.integers(60, 120, 2), random.integers(30, 70, 2)]).astype(float)
        truth.append((image_id, *(box if positive else [np.nan] * 4)))
        manifest.append((image_id, view, 256.0, 256.0))
        chance[image_id] = round(1 / (1 + np.exp(-random.normal(2.0 if positive else -2.0, 1.5))), 2)
        for _ in range(random.integers(0, most + 1)):
            size = box[2:] * views[view]
            corner = box[:2] + box[2:] / 2 - size / 2 + random.normal(0, 4, 2)
            ids.append(image_id)
            values.append([random.random(), *corner, *(size + random.normal(0, 4, 2))])
    return (
        pd.DataFrame(truth, columns=COLUMNS),
        make_predictions(ids, np.array(values)),
        pd.DataFrame(manifest, columns=["image_id", "view", "width", "height"]),
        pd.Series(chance),
    )


def best_score(pipeline: Pipeline, tables: Case) -> float:
    """By taking the steps, and by the tables that they leave."""
    truth, predictions, manifest, gate = tables
    return best_confidence(truth, pipeline.apply(predictions, manifest, gate))[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_box_scale_is_the_best_of_the_whole_grid(seed):
    truth, predictions, manifest, _ = tables = case(seed)
    fitted = fit(truth, predictions, manifest)
    value = {sides: best_score(Pipeline(box_scale=BoxScale.common(sides)), tables) - cost(sides) for sides in GRID}
    best = max(value.values())
    assert fitted.box_scale.ap in [sides for sides in GRID if value[sides] == best]
    assert fitted.box_scale.ap != Sides(1.0, 1.0)
    assert fitted.box_scale.pa == fitted.box_scale.ap  # nothing speaks for another one
    # With one box an image there is nothing to suppress.
    assert (fitted.suppression, fitted.most_boxes, fitted.gate) == (Suppression(), MostBoxes(), GateRule("none"))
    left = BoxScale.common(fitted.box_scale.ap).apply(predictions, manifest)
    assert (fitted.confidence.least, fitted.fitted_on.score) == best_confidence(truth, left)


def test_the_confidence_is_the_best_by_brute_force():
    truth, predictions, manifest, _ = case(7, images=25)
    fitted = fit(truth, predictions, manifest)
    every = replace(fitted, confidence=replace(fitted.confidence, least=0.0)).apply(predictions, manifest)
    scores = {value: rsna_score(truth, every[every["confidence"] >= value]) for value in every["confidence"]}
    assert fitted.fitted_on.score == max(scores.values())
    assert fitted.confidence.least == max(value for value, score in scores.items() if score == max(scores.values()))


@pytest.mark.parametrize("seed", range(3))
def test_no_other_setting_of_one_step_is_better(seed):
    truth, predictions, manifest, gate = tables = case(seed, images=40, most=4)
    fitted = fit(truth, predictions, manifest, gate)
    reached = best_score(fitted, tables)
    assert reached == fitted.fitted_on.score
    least = 0.002

    def simple(pipeline: Pipeline) -> float:
        """What the pipeline's settings must have gained."""
        taken = [pipeline.suppression != Suppression(), pipeline.most_boxes.boxes is not None]
        return least * (sum(taken) + (pipeline.gate.mode != "none")) + cost(pipeline.box_scale.ap)

    rules = [GateRule("none"), GateRule("weigh"), *(GateRule("keep", float(value)) for value in gate)]
    others = [
        *(replace(fitted, suppression=value) for value in SUPPRESSIONS),
        *(replace(fitted, most_boxes=MostBoxes(value)) for value in (None, 1, 2, 3, 4, 5, 6)),
        *(replace(fitted, gate=rule) for rule in rules),
        *(replace(fitted, box_scale=BoxScale.common(sides)) for sides in GRID),
    ]
    for other in others:
        assert best_score(other, tables) - simple(other) <= reached - simple(fitted) + 1e-12, other
    assert fitted.gate.mode != "none"
    assert (fitted.suppression, fitted.most_boxes) != (Suppression(), MostBoxes())


def test_a_view_that_differs_gets_factors_between_the_common_ones_and_its_own():
    truth, predictions, manifest, _ = tables = case(1, images=120, views={"AP": (1.25, 1.0), "PA": (1.0, 1.25)})
    fitted = fit(truth, predictions, manifest)
    alike = {sides: best_score(Pipeline(box_scale=BoxScale.common(sides)), tables) - cost(sides) for sides in GRID}
    common = max(GRID, key=lambda sides: alike[sides])
    positive = truth.loc[truth["x"].notna(), "image_id"].map(manifest.set_index("image_id")["view"]).value_counts()
    for view in ("AP", "PA"):
        share = positive[view] / positive.sum()
        scales = {sides: replace(BoxScale.common(common), **{view.lower(): sides}) for sides in GRID}
        value = {
            sides: best_score(Pipeline(box_scale=scale), tables) - share * cost(sides)
            for sides, scale in scales.items()
        }
        best = [sides for sides in GRID if value[sides] >= max(value.values()) - 1e-12]
        assert common not in best
        weight = positive[view] / (positive[view] + 100)
        expected = [[common[side] + weight * (own[side] - common[side]) for side in (0, 1)] for own in best]
        found = getattr(fitted.box_scale, view.lower())
        assert any(found == pytest.approx(one, abs=0.00051) for one in expected)
    assert fitted.box_scale.ap.scale_x < fitted.box_scale.pa.scale_x
    assert fitted.box_scale.ap.scale_y > fitted.box_scale.pa.scale_y
    assert fitted.box_scale.other == common
    assert fitted.fitted_on.score > best_score(Pipeline(box_scale=BoxScale.common(common)), tables)


@pytest.mark.usefixtures("coarse")
def test_views_that_are_not_known_share_factors():
    truth, predictions, manifest, _ = case(2)
    fitted = fit(truth, predictions, manifest)
    for view in ("LL", None):
        unknown = fit(truth, predictions, manifest.assign(view=pd.Series([view] * len(manifest), dtype=object)))
        assert unknown == fitted  # there is one view, whatever it is called
    assert fit(truth, predictions, manifest.assign(view=" ap")) == fitted


@pytest.mark.parametrize("with_gate", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_applied_scores_what_was_reported(seed, with_gate, tmp_path):
    views = {"AP": (1.2, 1.0), "PA": (0.9, 1.1), "": (1.0, 1.0)}
    truth, predictions, manifest, chance = case(seed, images=90, most=4, views=views)
    gate = chance if with_gate else None
    fitted = fit(truth, predictions, manifest, gate)
    fitted.to_yaml(tmp_path / "pipeline.yaml")
    left = Pipeline.from_yaml(tmp_path / "pipeline.yaml").apply(predictions, manifest, gate)
    assert rsna_score(truth, left) == fitted.fitted_on.score > best_confidence(truth, predictions)[1]
    assert fitted.fitted_on.images == 90


@pytest.mark.usefixtures("coarse")
def test_no_order_changes_what_is_fitted():
    truth, predictions, manifest, gate = case(3, images=30, most=3)
    fitted = fit(truth, predictions, manifest, gate)
    shuffled = [table.sample(frac=1, random_state=4) for table in (truth, predictions, manifest, gate)]
    assert fit(*shuffled) == fitted


@pytest.mark.usefixtures("coarse")
def test_images_outside_the_truth_change_nothing():
    truth, predictions, manifest, gate = case(4, images=60, most=3)
    half = manifest["image_id"].iloc[:30]

    def of_half(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["image_id"].isin(half)]

    fitted = fit(of_half(truth), of_half(predictions), of_half(manifest), gate[half])
    assert fit(of_half(truth), of_half(predictions), manifest, gate) == fitted
    # The truth of the other half is another one: what is fitted on this half and applied to that one is the same.
    moved = truth.assign(x=truth["x"].where(truth["image_id"].isin(half), truth["x"] + 100))
    again = fit(of_half(moved), of_half(predictions), manifest, gate)
    pd.testing.assert_frame_equal(again.apply(predictions, manifest, gate), fitted.apply(predictions, manifest, gate))
    assert fit(moved, predictions, manifest).fitted_on != fit(truth, predictions, manifest).fitted_on  # these count


@pytest.mark.usefixtures("coarse")
def test_a_gate_that_knows_nothing_is_not_taken():
    truth, predictions, manifest, gate = case(5)
    assert fit(truth, predictions, manifest, gate * 0 + 0.5).gate == GateRule("none")


def test_with_nothing_to_fit_on_everything_is_left_and_a_warning_says_so(capsys):
    truth, predictions, manifest, gate = case(6, images=12)
    no_box = truth.assign(**dict.fromkeys(COLUMNS[1:], np.nan)).drop_duplicates("image_id")
    for tables, told in (
        ((truth, empty_predictions()), "0 predictions"),
        ((truth, pd.DataFrame()), "0 predictions"),
        ((no_box, predictions), "0 images with truth boxes"),
        ((truth.iloc[:0], empty_predictions()), "0 images with truth boxes"),
    ):
        fitted = fit(*tables, manifest, gate)
        assert fitted == Pipeline(fitted_on=fitted.fitted_on)
        assert fitted.fitted_on.score == 0
        warning = capsys.readouterr().err
        assert warning.startswith("warning: post-processing: nothing to fit it on (")
        assert told in warning


def test_what_does_not_belong_together_is_refused():
    truth, predictions, manifest, gate = case(8)
    named = predictions["image_id"].iloc[0]
    with pytest.raises(UserError, match=f"manifest: image {named} is not among its 59 images"):
        fit(truth, predictions, manifest[manifest["image_id"] != named])
    with pytest.raises(UserError, match=f"predictions: image '{named}' is not in the truth"):
        fit(truth[truth["image_id"] != named], predictions, manifest)
    with pytest.raises(UserError, match=f"gate: no probability for image {named}"):
        fit(truth, predictions, manifest, gate.drop(named))
    silent = truth.loc[~truth["image_id"].isin(predictions["image_id"]), "image_id"].iloc[0]
    with pytest.raises(UserError, match=f"manifest: image {silent} is not among"):
        fit(truth, predictions, manifest[manifest["image_id"] != silent])
