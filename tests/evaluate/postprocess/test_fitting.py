from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.metrics.rsna import best_confidence, image_scores, match, rsna_score
from evaluate.postprocess import Pipeline, fit, fitting
from evaluate.postprocess.steps import BoxScale, Confidence, GateRule, MostBoxes, Rescoring, Sides
from evaluate.postprocess.suppression import Suppression

COLUMNS = ["image_id", "x", "y", "width", "height"]
FACTORS = [round(0.7 + 0.05 * step, 2) for step in range(9)]
GRID = [Sides(x, y) for x in FACTORS for y in FACTORS]
SUPPRESSIONS = [
    Suppression("nms", 0.4), Suppression("none", None), *(Suppression("nms", least) for least in (0.3, 0.2, 0.1)),
    Suppression("votes", 0.4), Suppression("votes", 0.55), Suppression("soft-nms", 0.3),
]  # fmt: skip


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few factors, where it does not matter which: the simplest first, as in the whole grid."""
    monkeypatch.setattr(fitting, "SIDES", tuple(Sides(x, y) for x in (1.0, 0.9, 0.8) for y in (1.0, 0.9)))


def cost(sides: Sides) -> float:
    return 0.01 * (abs(sides.scale_x - 1) + abs(sides.scale_y - 1))


def middle(value: dict[Sides, float], images: int) -> np.ndarray:
    """The mean of all, weighted by how near they are to the best."""
    near = {sides: np.exp((one - max(value.values())) * images**0.5 / 0.08) for sides, one in value.items()}
    return sum(weight * np.array(sides) for sides, weight in near.items()) / sum(near.values())


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


@pytest.mark.parametrize("seed", range(2))
def test_the_box_scale_is_the_middle_of_the_plateau(seed):
    truth, predictions, manifest, _ = tables = case(seed)
    fitted = fit(truth, predictions, manifest, steps=["confidence", "box_scale"])
    value = {sides: best_score(Pipeline(box_scale=BoxScale.common(sides)), tables) - cost(sides) for sides in GRID}
    expected = middle(value, truth.loc[truth["x"].notna(), "image_id"].nunique())
    assert fitted.box_scale.ap == pytest.approx(expected, abs=0.00051)
    assert np.abs(expected - 1).max() > 0.05
    assert fitted.box_scale == BoxScale.common(fitted.box_scale.ap)
    left = fitted.box_scale.apply(predictions, manifest)
    assert (fitted.confidence.least, fitted.fitted_on.score) == best_confidence(truth, left)


def test_the_confidence_is_the_best_by_brute_force():
    truth, predictions, manifest, _ = case(7, images=25)
    fitted = fit(truth, predictions, manifest)
    every = replace(fitted, confidence=replace(fitted.confidence, least=0.0)).apply(predictions, manifest)
    scores = {value: rsna_score(truth, every[every["confidence"] >= value]) for value in every["confidence"]}
    assert fitted.fitted_on.score == max(scores.values())
    assert fitted.confidence.least == max(value for value, score in scores.items() if score == max(scores.values()))


def gain_and_error(one: Pipeline, other: Pipeline, tables: Case) -> tuple[float, float]:
    """By how much one scores higher, each at its best confidence, and the standard error of that."""
    truth, predictions, manifest, gate = tables
    scores = []
    for pipeline in (one, other):
        left = pipeline.apply(predictions, manifest, gate)
        scores.append(image_scores(truth, left, best_confidence(truth, left)[0]))
    deviations = [((one - one.mean()) / one.count()).fillna(0) for one in scores]
    return scores[0].mean() - scores[1].mean(), float(((deviations[0] - deviations[1]) ** 2).sum() ** 0.5)


@pytest.mark.parametrize("step", ["suppression", "most_boxes", "gate"])
def test_a_step_is_taken_if_its_best_setting_gains_enough_and_beyond_chance(step):
    taken = set()
    for seed in range(6):
        truth, predictions, manifest, gate = case(seed, images=50, most=[1, 4][seed % 2])
        if step == "most_boxes" and seed % 2:  # a false box beside each, hardly less confident
            false = predictions.assign(x=predictions["x"] / 9, confidence=predictions["confidence"] * 0.99)
            predictions = pd.concat([predictions, false], ignore_index=True).drop_duplicates()
        if not seed % 2:  # then there is one box an image, too, and nothing to gain
            gate = pd.Series(np.random.default_rng(seed).random(len(gate)).round(2), gate.index)
        tables = truth, predictions, manifest, gate
        fitted = fit(truth, predictions, manifest, gate, steps=["confidence", step], gate_modes=["none", "keep"])
        settings: list = {
            "suppression": SUPPRESSIONS,
            "most_boxes": [MostBoxes(value) for value in (None, 6, 5, 4, 3, 2, 1)],
            "gate": [GateRule(), *(GateRule("keep", float(value)) for value in np.sort(gate))],
        }[step]
        score = {one: best_score(Pipeline(**{step: one}), tables) for one in settings}
        simple, best = settings[0], max(settings[1:], key=lambda one: score[one])
        _, error = gain_and_error(Pipeline(**{step: best}), Pipeline(**{step: simple}), tables)
        expected = best if score[best] - score[simple] > max(0.002, 1.645 * error) else simple
        assert getattr(fitted, step) == expected
        taken.add(expected == simple)
    assert taken == {True, False}  # of these cases, some have something to gain and some have not


def test_a_gate_without_a_tuned_number_has_to_gain_and_no_more():
    taken = set()
    for seed in range(8):
        truth, predictions, manifest, gate = case(seed, images=40, most=2)
        tables = truth, predictions, manifest, gate if seed % 2 else 1 - gate
        fitted = fit(*tables, steps=["confidence", "gate"], gate_modes=["none", "weigh"])
        none, weigh = (best_score(Pipeline(gate=GateRule(mode)), tables) for mode in ("none", "weigh"))
        assert fitted.gate.mode == ("weigh" if weigh - 0.002 > none else "none")
        taken.add(fitted.gate.mode)
    assert taken == {"none", "weigh"}


@pytest.mark.parametrize("seed", range(3))
def test_predicting_where_it_is_expected_to_raise_the_score(seed):
    truth, predictions, manifest, gate = tables = case(seed, images=150, most=2)
    fitted = fit(truth, predictions, manifest, gate, steps=["confidence", "gate"], gate_modes=["bayes"])
    assert fitted.gate.mode == "bayes"
    left = fitted.apply(predictions, manifest, gate)
    scores, boxes = image_scores(truth, left), truth.groupby("image_id")["x"].count()
    flagged = scores[(boxes > 0)[scores.index] & scores.index.isin(left["image_id"])]
    assert fitted.gate.threshold == pytest.approx(scores.mean() / (scores.mean() + flagged.mean()), abs=0.002)
    assert rsna_score(truth, left) == fitted.fitted_on.score > best_score(Pipeline(), tables)


@pytest.mark.parametrize("seed", range(3))
def test_rescoring_is_a_logistic_regression_of_hits(seed):
    minimize = pytest.importorskip("scipy.optimize").minimize
    truth, predictions, manifest, _ = case(seed, images=100, most=3)
    fitted = fit(truth, predictions, manifest, steps=["confidence", "rescoring"])
    left = Suppression().apply(predictions)
    count = (left["confidence"] >= best_confidence(truth, left)[0]).sum()
    look = left.sort_values("confidence", ascending=False, kind="stable").iloc[: 2 * count]
    logit = np.log(left["confidence"].clip(0.01, 0.99) / (1 - left["confidence"].clip(0.01, 0.99)))
    area = left["confidence"] * left["width"] * left["height"] / 256**2
    about = np.column_stack([
        logit,
        logit.groupby(left["image_id"]).transform("max"),
        np.log(area.groupby(left["image_id"]).transform("sum") ** 0.5),
    ])  # fmt: skip
    hits = match(truth, left).mean(axis=1)[look.index].to_numpy()
    x = about[look.index]
    standard = (x - x.mean(axis=0)) / x.std(axis=0)

    def loss(c: np.ndarray) -> float:
        z = c[0] + standard @ c[1:]
        return np.sum(np.logaddexp(0, z) - hits * z) + 25 * (c[2] ** 2 + c[3] ** 2)

    slopes = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    own, highest, area_slope = slopes[1:] / x.std(axis=0)
    expected = Rescoring(slopes[0] - [own, highest, area_slope] @ x.mean(axis=0), own, highest, area_slope)
    new = 1 / (1 + np.exp(-(expected.intercept + about @ [own, highest, area_slope])))
    better = best_confidence(truth, left.assign(confidence=new))[1] > best_confidence(truth, left)[1]
    if not better:
        assert fitted.rescoring == Rescoring()
        return
    for name in ("intercept", "own", "highest", "area"):
        assert getattr(fitted.rescoring, name) == pytest.approx(getattr(expected, name), abs=0.005)
    applied = fitted.rescoring.apply(left, manifest)
    np.testing.assert_allclose(applied["confidence"], new, atol=0.002)
    assert (applied["confidence"].to_numpy()[:-1] >= applied["confidence"].to_numpy()[1:])[
        (left["image_id"].to_numpy()[:-1] == left["image_id"].to_numpy()[1:])
    ].all()


def test_a_view_that_differs_gets_factors_between_the_common_ones_and_its_own():
    truth, predictions, manifest, _ = tables = case(1, images=120, views={"AP": (1.25, 1.0), "PA": (1.0, 1.25)})
    fitted = fit(truth, predictions, manifest, steps=["confidence", "box_scale", "by_view"])
    common = fit(truth, predictions, manifest, steps=["confidence", "box_scale"]).box_scale.ap
    positive = truth.loc[truth["x"].notna(), "image_id"].map(manifest.set_index("image_id")["view"]).value_counts()
    for view in ("AP", "PA"):
        share, weight = positive[view] / positive.sum(), positive[view] / (positive[view] + 50)
        scales = {sides: replace(BoxScale.common(common), **{view.lower(): sides}) for sides in GRID}
        value = {
            sides: best_score(Pipeline(box_scale=scale), tables) - share * cost(sides)
            for sides, scale in scales.items()
        }
        own = middle(value, positive.sum())
        expected = common + weight * (own - common)
        assert getattr(fitted.box_scale, view.lower()) == pytest.approx(expected, abs=0.0016)
    assert fitted.box_scale.ap.scale_x < fitted.box_scale.pa.scale_x - 0.05
    assert fitted.box_scale.ap.scale_y > fitted.box_scale.pa.scale_y + 0.05
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
def test_the_truth_of_the_half_that_is_reported_changes_no_fitted_value(tmp_path):
    truth, predictions, manifest, gate = case(10, images=120, most=3, views={"AP": (1.2, 1.0), "PA": (1.0, 1.1)})
    # What the manifest says of the images' truth is there, too; and probabilities of the other half.
    boxes = truth.groupby("image_id")["x"].count()
    manifest = manifest.assign(boxes=manifest["image_id"].map(boxes), label=manifest["image_id"].map(boxes > 0))
    half = truth["image_id"].isin(manifest["image_id"].iloc[::2])
    mine = predictions["image_id"].isin(truth.loc[half, "image_id"])
    other = truth[~half]
    changes = {
        "as it is": (other, manifest),
        "moved": (other.assign(x=other["x"] + 10), manifest),
        "none": (other.assign(**dict.fromkeys(COLUMNS[1:], np.nan)), manifest.assign(boxes=0, label=False)),
        "all": (other.fillna({"x": 9, "y": 9, "width": 40, "height": 40}), manifest.assign(boxes=1, label=True)),
    }
    files, left, reported = set(), [], set()
    for changed, about in changes.values():
        fitted = fit(truth[half], predictions[mine], about, gate)
        fitted.to_yaml(tmp_path / "pipeline.yaml")
        files.add((tmp_path / "pipeline.yaml").read_bytes())
        left.append(fitted.apply(predictions[~mine], about, gate))
        reported.add(rsna_score(changed, left[-1]))
    assert len(files) == 1
    for one in left[1:]:
        pd.testing.assert_frame_equal(one, left[0])
    assert len(reported) == len(changes)  # the score is another one


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
        fixed = fit(*tables, manifest, gate, fixed={"most_boxes": MostBoxes(2)})
        assert fixed == Pipeline(most_boxes=MostBoxes(2), fitted_on=fixed.fitted_on)
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


@pytest.mark.usefixtures("coarse")
def test_what_is_fixed_stays_and_the_rest_is_chosen_to_go_with_it():
    truth, predictions, manifest, gate = tables = case(9, images=80, most=3)
    scale = BoxScale.common(Sides(0.83, 0.91))
    fitted = fit(truth, predictions, manifest, gate, fixed={"box_scale": scale, "gate": GateRule("keep", 0.4)})
    assert (fitted.box_scale, fitted.gate) == (scale, GateRule("keep", 0.4))
    assert best_score(fitted, tables) == fitted.fitted_on.score
    given = fit(truth, predictions, manifest, gate, fixed={"confidence": Confidence(0.3)}, steps=["most_boxes"])
    scores = {
        boxes: rsna_score(truth, Pipeline(most_boxes=MostBoxes(boxes), confidence=Confidence(0.3)).apply(*tables[1:]))
        for boxes in (None, 6, 5, 4, 3, 2, 1)
    }
    assert given.confidence == Confidence(0.3)
    assert given.fitted_on.score in (scores[None], max(scores.values()))
    everything = fit(truth, predictions, manifest, gate, fixed={"confidence": Confidence(0.3)})
    assert everything.rescoring == Rescoring()  # the confidence that was given is the detector's
    none = fit(truth, predictions, manifest, gate, steps=["confidence"])
    assert replace(none, confidence=Confidence(), fitted_on=Pipeline().fitted_on) == Pipeline()
    kept = fit(truth, predictions, manifest, gate, split="val", weights=["b", "a", "b"], data_fingerprint="f").fitted_on
    assert (kept.split, kept.weights, kept.data_fingerprint, kept.images) == ("val", ("a", "b"), "f", 80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": ["scale"]}, "steps to fit: found 'scale'; expected some of confidence, suppression"),
        ({"fixed": {"by_view": BoxScale()}}, "steps to fit: found 'by_view'"),
        ({"gate_modes": ["drop"]}, "modes of a gate: found 'drop'; expected some of none, weigh, keep, bayes"),
    ],
)
def test_a_step_that_there_is_not_is_refused(arguments, message):
    truth, predictions, manifest, gate = case(8, images=12)
    with pytest.raises(ValueError, match=message):
        fit(truth, predictions, manifest, gate, **arguments)


def five_voters(seed: int, images: int = 300) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Five detectors, each with false boxes of its own, all of which have looked at every image."""
    random = np.random.default_rng(seed)
    truth, ids, values, voters = [], [], [], []
    for number in range(images):
        box = np.concatenate([random.uniform(200, 600, 2), random.uniform(150, 300, 2)])
        positive = random.random() < 0.35
        truth.append((f"i{number:04}", *(box if positive else [np.nan] * 4)))
        for voter in range(5):
            found = [box + random.normal(0, 12, 4)] if positive and random.random() < 0.8 else []
            confidences = [random.beta(5, 3)] * len(found)
            for _ in range(random.poisson(0.6)):
                found.append(np.concatenate([random.uniform(50, 800, 2), random.uniform(100, 220, 2)]))
                confidences.append(random.beta(3, 4))
            for one, confidence in zip(found, confidences, strict=True):
                ids.append(f"i{number:04}")
                values.append([confidence, *one])
                voters.append(f"v{voter}")
    columns = ["confidence", "x", "y", "width", "height"]
    predictions = pd.DataFrame(values, columns=columns).round(2).assign(image_id=ids, detector=voters)
    manifest = pd.DataFrame({"image_id": [row[0] for row in truth], "view": "AP", "width": 1024.0, "height": 1024.0})
    return pd.DataFrame(truth, columns=COLUMNS), predictions, manifest


@pytest.mark.parametrize("seed", range(4))
def test_a_confidence_tuned_with_five_voters_is_right_for_five_voters(seed):
    truth, predictions, manifest = five_voters(seed)
    val = fit(truth, predictions, manifest)
    truth, predictions, manifest = five_voters(100 + seed)
    reached = rsna_score(truth, val.apply(predictions, manifest))
    every = replace(val, confidence=Confidence()).apply(predictions, manifest)
    assert reached > best_confidence(truth, every)[1] - 0.02
    one = predictions[predictions["detector"] == "v0"].drop(columns="detector")
    assert reached > best_confidence(truth, one)[1] + 0.1  # five see more than one
    # Where one of five has looked, the same confidence lets too much or too little pass: voters must be alike.
    alone = rsna_score(truth, val.apply(one, manifest))
    assert alone < best_confidence(truth, one)[1] - 0.02


@pytest.mark.parametrize("modes", [("none", "weigh", "keep", "bayes"), ("none", "keep")])
def test_a_gate_that_knows_the_wrong_thing_is_left_out(modes):
    truth, predictions, manifest, gate = case(3, images=100)
    fitted = fit(truth, predictions, manifest, 1 - gate, steps=["confidence", "gate"], gate_modes=modes)
    assert fitted.gate == GateRule("none")
    asked = fit(truth, predictions, manifest, 1 - gate, steps=["confidence", "gate"], gate_modes=["weigh"])
    assert asked.gate == GateRule("weigh")  # as was asked for
    assert asked.fitted_on.score <= fitted.fitted_on.score


def test_no_more_thresholds_than_said(monkeypatch):
    truth, predictions, manifest, gate = tables = case(0, images=100)
    monkeypatch.setattr(fitting, "THRESHOLDS", 3)
    values = np.unique(gate)[:-1]
    three = [GateRule("keep", float(values[place])) for place in (0, round((len(values) - 1) / 2), len(values) - 1)]
    found = fit(truth, predictions, manifest, gate, steps=["confidence", "gate"], gate_modes=["keep"]).gate
    scores = [best_score(Pipeline(gate=rule), tables) for rule in three]
    assert found == three[int(np.argmax(scores))]
    assert np.ptp(scores) > 0.01
