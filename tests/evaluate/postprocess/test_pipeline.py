from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from common.data.names import COORDINATES
from common.data.tables import empty_predictions, make_predictions
from common.errors import UserError
from evaluate.postprocess import Pipeline
from evaluate.postprocess.steps import BoxScale, Confidence, FittedOn, GateRule, MostBoxes, Rescoring, Sides
from evaluate.postprocess.suppression import Suppression

MANIFEST = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "view": ["AP", "pa ", "LL", None],
        "width": [100.0, 100.0, 100.0, 200.0],
        "height": [100.0, 80.0, 100.0, 200.0],
    }
)


def predicted(*rows: tuple) -> pd.DataFrame:
    """Rows of image, confidence, x, y, width, height."""
    return make_predictions([row[0] for row in rows], np.array([row[1:] for row in rows], dtype=float))


def test_most_boxes_keeps_the_most_confident_of_each_image():
    table = predicted(*(("a", value, 0, 0, 9, 9) for value in (0.9, 0.8, 0.1)), ("b", 0.05, 0, 0, 9, 9))
    assert MostBoxes(2).apply(table)["confidence"].tolist() == [0.9, 0.8, 0.05]
    assert MostBoxes(1).apply(table)["confidence"].tolist() == [0.9, 0.05]
    assert len(MostBoxes().apply(table)) == 4


def test_boxes_are_resized_about_their_centre_by_side_and_view():
    table = predicted(*((image, 0.9, 20, 30, 20, 40) for image in "abcd"))
    scaled = BoxScale(Sides(0.5, 1), Sides(1, 0.5), Sides(0.9, 0.75)).apply(table, MANIFEST)
    assert scaled[COORDINATES].to_numpy().tolist() == [
        [25, 30, 10, 40],  # AP: centre 30, 50
        [20, 40, 20, 20],  # PA, as `pa `
        [21, 35, 18, 30],  # another view
        [21, 35, 18, 30],  # none that is known
    ]
    assert scaled["confidence"].tolist() == [0.9] * 4


def test_a_confidence_for_which_the_image_speaks_by_hand():
    table = predicted(
        ("a", 0.8, 0, 0, 50, 40), ("a", 0.5, 50, 50, 20, 50), ("d", 0.999, 0, 0, 20, 20), ("d", 0.0, 0, 0, 9, 9)
    )
    given = Rescoring(-1.0, 2.0, 0.5, 1.5).apply(table, MANIFEST)
    # a: logits log(4) and 0; expected area 0.8 x 2000 + 0.5 x 1000 of 10000 square pixels. d: of 40000; limited logits.
    area, other = np.log(np.sqrt(0.21)), np.log(np.sqrt(0.999 * 400 / 40000))
    most = np.log(0.99 / 0.01)
    z = [
        -1 + 2 * np.log(4) + 0.5 * np.log(4) + 1.5 * area,
        -1 + 0.5 * np.log(4) + 1.5 * area,
        -1 + 2 * most + 0.5 * most + 1.5 * other,
        -1 - 2 * most + 0.5 * most + 1.5 * other,
    ]
    assert given["confidence"].tolist() == pytest.approx([1 / (1 + np.exp(-one)) for one in z])
    pd.testing.assert_frame_equal(given[COORDINATES], table[COORDINATES])
    pd.testing.assert_frame_equal(Rescoring().apply(table, MANIFEST), table)


def test_resized_boxes_end_where_their_picture_ends():
    # b is 100 wide and 80 high. Grown by half: x 5 - 2.5 to 25 + 2.5 fits, y 60 - 5 to 80 + 5 does not.
    grown = BoxScale.common(Sides(1.25, 1.5)).apply(predicted(("b", 0.9, 5, 60, 20, 20)), MANIFEST)
    assert grown[COORDINATES].to_numpy().tolist() == [[2.5, 55, 25, 25]]
    over = BoxScale().apply(predicted(("b", 0.9, -4, -6, 10, 10), ("b", 0.8, 95, 75, 10, 10)), MANIFEST)
    assert over[COORDINATES].to_numpy().tolist() == [[0, 0, 6, 4], [95, 75, 5, 5]]


def test_a_box_beside_its_picture_stays_as_a_false_one():
    beside = BoxScale().apply(predicted(("b", 0.9, 300, -50, 10, 10)), MANIFEST)
    assert beside[COORDINATES].to_numpy().tolist() == [[99.99, 0, 0.01, 0.01]]


def test_the_steps_are_taken_in_their_order():
    table = predicted(
        ("a", 0.5, 5, 0, 10, 10),  # overlaps the next, which is more confident
        ("a", 0.9, 0, 0, 10, 10),
        ("a", 0.8, 50, 50, 10, 10),
        ("a", 0.7, 80, 80, 10, 10),  # the third that suppression leaves
        ("b", 0.9, 0, 0, 10, 10),  # 0.9 x 0.5 is below the confidence
    )
    pipeline = Pipeline(
        suppression=Suppression("nms", 0.3),
        most_boxes=MostBoxes(2),
        box_scale=BoxScale(ap=Sides(0.8, 1)),
        gate=GateRule("weigh"),
        confidence=Confidence(0.6),
    )
    left = pipeline.apply(table.sample(frac=1, random_state=1), MANIFEST, pd.Series({"a": 0.8, "b": 0.5}))
    assert left.to_numpy().tolist() == [["a", 0.9 * 0.8, 1, 0, 8, 10], ["a", 0.8 * 0.8, 51, 50, 8, 10]]
    keep = Pipeline(gate=GateRule("keep", 0.5)).apply(table, MANIFEST, pd.Series({"a": 0.8, "b": 0.5}))
    assert set(keep["image_id"]) == {"a"}


def test_a_pipeline_of_no_steps_leaves_the_table():
    table = predicted(("a", 0.5, 5, 0, 10, 10.37), ("d", 0.0, 5, 1.11, 10, 10))
    pd.testing.assert_frame_equal(Pipeline().apply(table, MANIFEST), table)


@pytest.mark.parametrize("empty", [empty_predictions(), pd.DataFrame()])
def test_of_no_predictions_none_remain(empty):
    pipeline = Pipeline(most_boxes=MostBoxes(1), rescoring=Rescoring(own=2), box_scale=BoxScale.common(Sides(0.9, 0.9)))
    pd.testing.assert_frame_equal(pipeline.apply(empty, MANIFEST), empty_predictions())


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (MANIFEST[MANIFEST["image_id"] != "b"], "image b is not among its 3 images; .* Take the manifest"),
        (MANIFEST.assign(width=np.nan), "image a: width and height are nan and 100; .* Convert"),
        (MANIFEST.drop(columns="view"), "manifest: no column view; expected image_id, view, width and height"),
        (pd.concat([MANIFEST, MANIFEST]), "image a is there more than once"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(manifest, message):
    with pytest.raises(UserError, match=message):
        Pipeline().apply(predicted(("a", 0.5, 5, 0, 10, 10), ("b", 0.5, 5, 0, 10, 10)), manifest)


def test_a_gate_that_was_fitted_is_needed():
    with pytest.raises(UserError, match=r"gate: none given, but .*mode 'keep'.; give P\(opacity\)"):
        Pipeline(gate=GateRule("keep", 0.5)).apply(predicted(("a", 0.5, 5, 0, 10, 10)), MANIFEST)
    with pytest.raises(UserError, match="no probability for image a"):
        Pipeline(gate=GateRule("weigh")).apply(predicted(("a", 0.5, 5, 0, 10, 10)), MANIFEST, pd.Series({"b": 0.1}))


FULL = Pipeline(
    Suppression("soft-nms", 0.1 + 0.2),
    MostBoxes(3),
    Rescoring(-1 / 3, 0.1 + 0.2, 1e-3, 2.0),
    BoxScale(Sides(0.85, 0.9250000000000002), Sides(1.0, 1 / 3), Sides(0.875, 0.9)),
    GateRule("keep", 1e-7),
    Confidence(float(np.float64(2) / 3)),
    FittedOn(26_684, 0.1 + 0.1 + 0.1, "val", ("0" * 64, "a" * 64), "12ab"),
)


@pytest.mark.parametrize("pipeline", [FULL, Pipeline(), Pipeline(gate=GateRule("weigh"), confidence=Confidence(1.0))])
def test_a_pipeline_read_back_is_the_one_that_was_written(tmp_path, pipeline):
    file = tmp_path / "pipeline.yaml"
    pipeline.to_yaml(file)
    assert Pipeline.from_yaml(file) == pipeline
    first = file.read_bytes()
    Pipeline.from_yaml(file).to_yaml(file)
    assert file.read_bytes() == first
    assert b"\nformat: 2\n" in first
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_a_file_of_the_first_format_is_read(tmp_path):
    old = """format: 1
suppression:
  iou: 0.2
most_boxes:
  boxes: 3
box_scale:
  ap: {scale_x: 0.85, scale_y: 0.925}
  pa: {scale_x: 1.0, scale_y: 1.0}
  other: {scale_x: 0.9, scale_y: 0.9}
gate:
  mode: keep
  threshold: 0.3
confidence:
  least: 0.4
fitted_on:
  images: 12
  score: 0.25
complete: true
"""
    file = tmp_path / "pipeline.yaml"
    file.write_text(old)
    expected = Pipeline(
        Suppression("nms", 0.2),
        MostBoxes(3),
        Rescoring(),
        BoxScale(Sides(0.85, 0.925), Sides(1.0, 1.0), Sides(0.9, 0.9)),
        GateRule("keep", 0.3),
        Confidence(0.4),
        FittedOn(12, 0.25),
    )
    assert Pipeline.from_yaml(file) == expected
    file.write_text(old.replace("iou: 0.2", "iou: null"))
    assert Pipeline.from_yaml(file).suppression == Suppression("none", None)


def test_numpy_numbers_are_written_as_plain_ones(tmp_path):
    file = tmp_path / "pipeline.yaml"
    Pipeline(confidence=Confidence(np.float64(0.25)), gate=GateRule("keep", np.float64(0.5))).to_yaml(file)
    assert Pipeline.from_yaml(file).confidence.least == 0.25


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path):
    file = tmp_path / "pipeline.yaml"
    FULL.to_yaml(file)
    whole = file.read_bytes().rstrip()
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError) as error:
            Pipeline.from_yaml(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format: 2", "format: 3", "format is 3; expected format: 2"),
        ("format: 2", "format: true", "format is True; expected format: 2"),
        ("format: 2", "name: 1", "format is nothing; expected format: 2"),
        ("iou: 0.3", "iou: 1.3", r"suppression.iou is 1.3\d*; expected a number from 0 to 1"),
        ("iou: 0.3", "iou: .nan #", "suppression.iou is not finite; expected a number from 0 to 1"),
        ("iou: 0.3", "iou: 1.0 #", "suppression.iou is 1; expected a number below 1"),
        ("iou: 0.3", "iou: null #", "suppression.iou is nothing with method soft-nms; expected one with all"),
        ("method: soft-nms", "method: hard-nms", "suppression.method is 'hard-nms'; expected none, nms, soft-nms, wbf"),
        ("  own: 0.3", "  own: -0.3", r"rescoring.own is -0.3\d*; expected a number from 0 to"),
        ("  highest: 0.001", "  lowest: 0.001", "rescoring lacks highest; expected intercept, own, highest, area"),
        ("split: val", "split: 3", "fitted_on.split is 3; expected text"),
        (f"- {'a' * 64}", "- abc", "fitted_on.weights is .*; expected a list of SHA-256 checksums"),
        ("boxes: 3", "boxes: 0", "most_boxes.boxes is 0; expected a whole number from 1 on"),
        ("boxes: 3", "boxes: true", "most_boxes.boxes is True; expected a whole number from 1 on"),
        ("scale_x: 0.85", "scale_x: 0", "box_scale.ap.scale_x is 0; expected a number from 0.01 to 100"),
        ("scale_x: 0.85", "scale_x: small", "box_scale.ap.scale_x is 'small'; expected a number"),
        ("  other:", "  lateral:", "box_scale lacks other; expected ap, pa, other"),
        ("mode: keep", "mode: drop", "gate.mode is 'drop'; expected none, weigh, keep, bayes"),
        ("mode: keep", "mode: [1]", r"gate.mode is \[1\]; expected none, weigh, keep, bayes"),
        (
            "mode: keep",
            "mode: weigh",
            "gate.threshold is 1e-07 with mode weigh; expected one with mode keep or bayes only",
        ),
        ("least: 0.6", "least: 6.6", r"confidence.least is 6.6\d*; expected a number from 0 to 1"),
        ("images: 26684", "images: 2.5", "fitted_on.images is 2.5; expected a whole number from 0 on"),
        ("most_boxes:\n  boxes: 3", "most_boxes: 3", "most_boxes is 3; expected names with values"),
        ("complete: true", "complete: maybe", "complete is 'maybe'; expected true"),
        ("complete: true", "complete: true\nmore: 1", "the file has 'more'; expected format, suppression, "),
        ("format: 2", "format: [1", "no readable YAML, at line"),
        ("format: 2", "format: 2020-99-99", "no readable YAML"),
    ],
)
def test_a_file_with_something_wrong_is_refused_in_one_line(tmp_path, old, new, message):
    file = tmp_path / "pipeline.yaml"
    FULL.to_yaml(file)
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        Pipeline.from_yaml(file)
    assert re.search(r"pipeline\.yaml: [^\n]*expected[^\n]*Take a file [^\n]*fit anew\.$", str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"train: images\nnames: [a]\n", b"\xff\xfe\x00", b"[" * 5000])
def test_a_foreign_file_is_refused(tmp_path, content):
    file = tmp_path / "other.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.yaml: [^\n]*; expected [^\n]*\.$"):
        Pipeline.from_yaml(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match=re.escape(path.name) + ": cannot be read"):
            Pipeline.from_yaml(path)


def test_scaling_is_about_the_centre():
    random = np.random.default_rng(5)
    values = np.column_stack([random.random(60), random.uniform(30, 50, (60, 2)), random.uniform(1, 30, (60, 2))])
    table = make_predictions(list(itertools.islice(itertools.cycle("acd"), 60)), values)
    for sides in (Sides(0.8, 0.975), Sides(1.05, 0.825)):
        scaled = BoxScale.common(sides).apply(table, MANIFEST)
        for start, size, factor in (("x", "width", sides.scale_x), ("y", "height", sides.scale_y)):
            np.testing.assert_allclose(scaled[size], table[size] * factor, atol=0.0051)
            np.testing.assert_allclose(scaled[start] + scaled[size] / 2, table[start] + table[size] / 2, atol=0.0101)
        assert scaled["confidence"].equals(table["confidence"])
