"""What is tuned: box scale, gate, confidence; on one split only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.fingerprint import yaml_fingerprint
from common.data.tables import (
    make_predictions,
    read_predictions,
    sort_predictions,
    write_predictions,
    write_submission,
)
from common.errors import UserError
from evaluate.metrics.rsna import confidence_sweep, rsna_score
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import FittedOn
from evaluate.scoring.choice import DEFAULT
from evaluate.scoring.request import ScoringRequest
from evaluate.scoring.run import score
from evaluate.scoring.score_file import read_score
from tests.evaluate.scores import QUICK, QUIET, invented, read, run, truth_of


def test_box_scale_is_tuned_and_applied(data_set, tmp_path):
    """Boxes half as wide again as they should be: a width factor near 2 / 3 makes them right."""
    paths = []
    for split in ("val", "test"):
        boxes = truth_of(data_set, split).dropna()
        xywh = boxes[["x", "y", "width", "height"]].to_numpy()
        xywh[:, 0] -= xywh[:, 2] / 4
        xywh[:, 2] *= 3 / 2
        paths.append(tmp_path / f"{split}.csv")
        write_predictions(
            paths[-1], make_predictions(list(boxes["image_id"]), np.column_stack([np.full(len(xywh), 0.5), xywh]))
        )
    common = ("--predictions", *paths, "--data", data_set, "--output", tmp_path / "out", *QUIET)
    run(*common, "--fit", "confidence")
    plain = read(tmp_path / "out")
    assert set(map(tuple, plain["postprocess"]["box_scale"].values())) == {(1.0, 1.0)}
    run(*common, "--fit", "confidence", "--box-scale", "tune")
    tuned = read(tmp_path / "out")
    ((across, _),) = set(map(tuple, tuned["postprocess"]["box_scale"].values()))
    assert 0.6 < across < 0.875
    assert tuned["score"] == 1.0 > plain["score"]
    confidence, scale, by_view, together = tuned["steps"]
    assert [step["name"] for step in tuned["steps"]] == ["confidence", "box_scale", "by_view", "all"]
    assert [step["unseen"] for step in tuned["steps"]] == [None] * 4  # of six patients
    assert (by_view["reported"]["gain"], together["reported"]) == (0.0, scale["reported"])
    assert confidence["reported"]["score"] == plain["score"]
    assert scale["reported"] == {"score": 1.0, "gain": 1.0 - plain["score"], "gain_interval_95": None}
    run(*common, "--box-scale", "0.85,1", "--confidence", 0.1)
    assert read(tmp_path / "out")["score"] == 1.0
    run(*common)
    everything = read(tmp_path / "out")
    assert everything["postprocess"]["box_scale"] == tuned["postprocess"]["box_scale"]
    assert everything["fitted"] == ["suppression", "most_boxes", "box_scale", "by_view", "rescoring", "confidence"]
    run(*common, "--fit", "confidence", "--box-scale", "1")
    assert read(tmp_path / "out")["score"] == plain["score"]


def test_what_a_confidence_cannot_tell_apart_the_number_of_boxes_does(data_set, tmp_path):
    """Beside each true box lies a false one of nine tenths of its confidence, and these differ more by image."""
    paths = []
    for split in ("val", "test"):
        boxes = truth_of(data_set, split).dropna().drop_duplicates("image_id")
        xywh = boxes[["x", "y", "width", "height"]].to_numpy()
        confidence = np.linspace(0.4, 0.9, len(boxes))
        elsewhere = np.column_stack([(xywh[:, :2] + 64) % 88, xywh[:, 2:]])
        rows = np.vstack([np.column_stack([confidence, xywh]), np.column_stack([0.9 * confidence, elsewhere])])
        paths.append(tmp_path / f"{split}.csv")
        write_predictions(paths[-1], make_predictions([*boxes["image_id"]] * 2, rows))
    common = ("--predictions", *paths, "--data", data_set, "--output", tmp_path / "out", *QUIET)
    run(*common, "--fit", "confidence")
    plain = read(tmp_path / "out")
    run(*common, "--box-scale", "1")
    found = read(tmp_path / "out")
    assert found["postprocess"]["most_boxes"] == {"boxes": 1}
    for split in ("val", "test"):
        truth, table = truth_of(data_set, split), read_predictions(paths[split == "test"]).predictions
        first = table.sort_values("confidence").drop_duplicates("image_id", keep="last")
        assert found["splits"][split]["score"] == rsna_score(truth, first) > plain["splits"][split]["score"]
    fitted = Pipeline.from_yaml(tmp_path / "out" / "pipeline.yaml")
    assert fitted.fitted_on == FittedOn(
        12, found["splits"]["val"]["score"], "val", (), yaml_fingerprint(data_set / "data.yaml")
    )
    run(*common, "--pipeline", tmp_path / "out" / "pipeline.yaml", "--output", tmp_path / "again")
    again = read(tmp_path / "again")
    assert (again["score"], again["tuned_on"], again["steps"]) == (found["score"], None, [])
    assert not (tmp_path / "again" / "pipeline.yaml").exists()
    with pytest.raises(UserError, match=r"pipeline.yaml says what is done to the predictions: leave out --box-scale"):
        run(*common, "--pipeline", tmp_path / "out" / "pipeline.yaml", "--box-scale", "1")


def test_new_pictures_get_what_was_scored(run_folder, data_set, tmp_path, capsys):
    """The submission of test's pictures, or of their predictions, is exactly what the score was computed from."""
    from evaluate import predict

    scored = score(ScoringRequest(weights=run_folder, data=data_set))
    final = scored.judged["test"].final.drop(columns="hit")
    assert scored.score.pipeline != DEFAULT
    weights = run_folder / "weights" / "best.pt"
    pictures, kept = data_set / "images" / "test", run_folder / "predictions_test.csv"
    capsys.readouterr()
    for name, arguments in (
        ("pictures", [pictures, "--weights", weights, "--overlays", "none"]),
        ("kept", [kept, "--pipeline", run_folder / "pipeline.yaml", "--data", data_set]),
    ):
        given = [*map(str, arguments), "--output", str(tmp_path / name)]
        assert not predict.main(given)
        submission = read_predictions(tmp_path / name / "submission.csv")
        pd.testing.assert_frame_equal(submission.predictions, sort_predictions(final), check_exact=True)
        assert submission.image_ids == [f"test-{number:02}" for number in range(12)]
        said = capsys.readouterr().out
        assert f"at confidence {scored.score.confidence:.6g} (" in said
        assert "post-processing: " in said


def test_a_submission_is_scored_as_it_is(data_set, tmp_path):
    """The challenge does not cut boxes off at the picture's edge; this one would hit if it were."""
    boxes = truth_of(data_set, "test").dropna()
    xywh = boxes[["x", "y", "width", "height"]].to_numpy()
    table = make_predictions([*boxes["image_id"]], np.column_stack([np.full(len(xywh), 0.5), xywh]))
    at = table.index[(table["x"] < 40) & (table["y"] < 128)][0]
    table.loc[at, "width"] += table.loc[at, "x"] + 200
    table.loc[at, "x"] = -200.0
    write_submission(tmp_path / "s.csv", table, [f"test-{number:02}" for number in range(12)])
    arguments = ("--predictions", tmp_path / "s.csv", "--data", data_set, "--output", tmp_path / "out", *QUIET)
    for options in ((), ("--confidence", 0.5)):
        run(*arguments, *options)
        assert read(tmp_path / "out")["score"] == rsna_score(truth_of(data_set, "test"), table)
    run(*arguments, "--box-scale", "0.999")
    assert read(tmp_path / "out")["score"] != rsna_score(truth_of(data_set, "test"), table)


@pytest.fixture
def gated(data_set, tmp_path) -> tuple[list[object], Path]:
    """Arguments to score invented predictions of val and test, and a gate that mostly knows what is there."""
    random = np.random.default_rng(5)
    manifest = pd.read_csv(data_set / "manifest.csv")
    likely = np.where(manifest["label"] == "Lung Opacity", random.uniform(0.3, 1, len(manifest)), 0.0)
    likely = np.where(likely > 0, likely, random.uniform(0, 0.5, len(manifest))).round(3)
    file = tmp_path / "gate.csv"
    manifest[["image_id", "split"]].assign(p_opacity=likely).to_csv(file, index=False)
    tables = [invented(data_set, split, seed) for split, seed in (("val", 1), ("test", 2))]
    write_predictions(tmp_path / "p.csv", pd.concat(tables))
    return ["--predictions", tmp_path / "p.csv", "--data", data_set, "--output", tmp_path / "out", *QUIET], file


def by_hand(table: pd.DataFrame, rule: dict[str, object], likely: pd.Series) -> pd.DataFrame:
    """What a gate leaves of predictions."""
    chance = table["image_id"].map(likely)
    if rule["threshold"] is not None:
        return table[chance > rule["threshold"]]
    return table.assign(confidence=table["confidence"] * chance) if rule["mode"] == "weigh" else table


def test_gate_is_tuned_with_the_confidence(gated, data_set, tmp_path, capsys):
    """Every true box is found, and a surer false one in every image without any."""
    arguments, file = gated
    arguments = [*arguments, "--fit", "confidence"]
    manifest = pd.read_csv(data_set / "manifest.csv").set_index("image_id")
    predictions = {}
    for split in ("val", "test"):
        truth = truth_of(data_set, split)
        boxes = truth[["x", "y", "width", "height"]].fillna(20).to_numpy()
        confidence = truth["x"].isna() * 0.3 + np.linspace(0.5, 0.6, len(truth))
        predictions[split] = make_predictions([*truth["image_id"]], np.column_stack([confidence, boxes]))
    write_predictions(tmp_path / "p.csv", pd.concat(predictions.values()))
    run(*arguments)
    plain = read(tmp_path / "out")
    assert plain["postprocess"]["gate"] == {"mode": "none", "threshold": None}
    assert "gate" not in plain
    for knows in (True, False):
        likely = (manifest["label"] == "Lung Opacity") * (0.8 if knows else 0.0) + 0.1
        table = pd.DataFrame({"image_id": likely.index, "split": manifest["split"], "p_opacity": likely.to_numpy()})
        table.to_csv(file, index=False)
        capsys.readouterr()
        run(*arguments, "--gate", file)
        found, said = read(tmp_path / "out"), capsys.readouterr().out
        rule = found["postprocess"]["gate"]
        assert (rule["mode"] != "none") == knows
        for split, boxes in predictions.items():
            left = by_hand(boxes, rule, likely)
            assert found["splits"][split]["score"] == rsna_score(truth_of(data_set, split), left, found["confidence"])
        assert (found["splits"]["val"]["score"] > plain["splits"]["val"]["score"]) == knows
        assert found["gate"] == {
            "files": [f"{file.parent.name}/gate.csv"], "asked": "tune", "tuned_on": "val",
            "seen_images": {"val": 0, "test": 0},
        }  # fmt: skip
        confidence, gate = found["steps"]
        assert (confidence["name"], gate["name"]) == ("confidence", "gate")
        assert confidence["reported"]["score"] == plain["score"]
        gain = found["score"] - plain["score"]
        assert gate["reported"] == {"score": found["score"], "gain": pytest.approx(gain), "gain_interval_95": None}
        row = f"gate           {found['score']:.3f}    {gain:+.3f}"
        assert row.replace("-", "\N{MINUS SIGN}") in said


def test_gate_modes_that_are_asked_for(gated, data_set, tmp_path):
    arguments, file = gated
    arguments = [*arguments, "--fit", "confidence"]
    likely = pd.read_csv(file).set_index("image_id")["p_opacity"]
    val = invented(data_set, "val", 1)
    chance = val["image_id"].map(likely)

    run(*arguments, "--gate", file, "--gate-mode", "weigh")
    found = read(tmp_path / "out")
    sweep = confidence_sweep(truth_of(data_set, "val"), val.assign(confidence=val["confidence"] * chance))
    assert found["splits"]["val"]["score"] == sweep["score"].max()
    assert (found["postprocess"]["gate"]["mode"], found["gate"]["tuned_on"]) == ("weigh", None)

    run(*arguments, "--gate", file, "--gate-mode", "keep", "--gate-threshold", "0.4")
    found = read(tmp_path / "out")
    assert (
        found["splits"]["val"]["score"] == confidence_sweep(truth_of(data_set, "val"), val[chance > 0.4])["score"].max()
    )
    assert found["postprocess"]["gate"]["threshold"] == 0.4

    run(*arguments, "--gate", file, "--gate-mode", "keep", "--gate-threshold", "0.4", "--confidence", "0.5")
    found = read(tmp_path / "out")
    test = invented(data_set, "test", 2)
    test = test[test["image_id"].map(likely) > 0.4]
    assert found["score"] == rsna_score(truth_of(data_set, "test"), test, 0.5)
    assert found["steps"] == []

    run(*arguments, "--gate", file, "--gate-mode", "keep")
    assert read(tmp_path / "out")["gate"]["tuned_on"] == "val"


def test_box_scale_and_gate_together(gated, data_set, tmp_path):
    """Boxes resized, then the gate, then the confidence: on both splits, here with plain arithmetic."""
    arguments, file = gated
    arguments = [*arguments, "--fit", "confidence", "--box-scale", "0.9,1.05"]
    run(*arguments)
    scaled = read(tmp_path / "out")
    run(*arguments, "--gate", file, "--gate-mode", "weigh")
    both = read(tmp_path / "out")
    assert [step["name"] for step in both["steps"]] == ["confidence", "box_scale", "gate", "all"]
    rule = both["postprocess"]["gate"]
    likely = pd.read_csv(file).set_index("image_id")["p_opacity"]
    for split, seed in (("val", 1), ("test", 2)):
        table = by_hand(invented(data_set, split, seed), rule, likely)
        resized = table.assign(
            x=(table["x"] + table["width"] * (1 - 0.9) / 2).round(2),
            y=(table["y"] + table["height"] * (1 - 1.05) / 2).round(2),
            width=(table["width"] * 0.9).round(2),
            height=(table["height"] * 1.05).round(2),
        )
        for start, size in (("x", "width"), ("y", "height")):  # cut off at the picture's edge
            resized[size] += resized[start].clip(upper=0)
            resized[start] = resized[start].clip(lower=0)
            assert (resized[start] + resized[size] < 128).all()
        assert both["splits"][split]["score"] == rsna_score(truth_of(data_set, split), resized, both["confidence"])
    assert both["splits"]["test"]["score"] != scaled["splits"]["test"]["score"]


def test_the_reported_truth_changes_nothing_that_is_fitted(gated, own_data_set, tmp_path):
    """Were anything tuned on test, boxes moved there, and images made empty, would change it."""
    arguments, file = gated
    options = ("--data", own_data_set, "--gate", file)
    run(*arguments, *options)
    before, pipeline = read(tmp_path / "out"), (tmp_path / "out" / "pipeline.yaml").read_bytes()
    truth = pd.read_csv(own_data_set / "truth.csv")
    reported = truth["image_id"].str.startswith("test")
    truth.loc[reported, ["x", "y"]] += 9
    truth.loc[reported & truth["image_id"].isin(["test-00", "test-04"]), ["x", "y", "width", "height"]] = np.nan
    truth.drop_duplicates().to_csv(own_data_set / "truth.csv", index=False)
    shutil.rmtree(own_data_set / "labels")
    run(*arguments, *options)
    after = read(tmp_path / "out")
    assert after["score"] != before["score"]
    for fitted in ("confidence", "postprocess", "tuned_on"):
        assert after[fitted] == before[fitted]
    assert after["splits"]["val"] == before["splits"]["val"]
    assert (tmp_path / "out" / "pipeline.yaml").read_bytes() == pipeline


def test_a_scoring_is_one_call(gated, data_set, tmp_path):
    _, file = gated
    request = ScoringRequest(
        predictions=(tmp_path / "p.csv",), data=data_set, gates=(file,), output=tmp_path / "called", argv=("--here",)
    )
    scored = score(request)
    assert scored.score == read_score(tmp_path / "called" / "score.json")
    assert scored.score.origin.command.endswith("evaluate/score.py --here")
    assert sorted(path.name for path in (tmp_path / "called").iterdir()) == [
        "outcomes.csv", "pipeline.yaml", "score.json"
    ]  # fmt: skip
    run("--predictions", tmp_path / "p.csv", "--data", data_set, "--gate", file, "--output", tmp_path / "out", *QUIET)
    typed = read(tmp_path / "out")
    assert {**typed, "command": "", "created": ""} == {
        **read(tmp_path / "called"), "command": "", "created": "",
    }  # fmt: skip


def test_a_gate_of_other_data_and_gate_options_that_do_not_fit(gated, tmp_path):
    arguments, file = gated
    for options, words in (
        (["--gate-mode", "weigh"], "name it with --gate"),
        (["--gate-threshold", "0.3"], "name it with --gate"),
        (["--gate", file, "--gate-threshold", "0.3"], "belongs to --gate-mode keep"),
        (["--gate", file, "--confidence", "0.3"], "leave out --confidence"),
        (["--gate", file, "--confidence", "0.3", "--gate-mode", "keep"], "leave out --confidence"),
    ):
        with pytest.raises(UserError, match=words):
            run(*arguments, *options)
    table = pd.read_csv(file)
    table[table["image_id"] != "test-03"].to_csv(file, index=False)
    with pytest.raises(UserError, match=r"gate.csv: 1 of the 12 images of split 'test' are not in it, first test-03"):
        run(*arguments, "--gate", file)
    write_submission(tmp_path / "one.csv", make_predictions([], np.empty((0, 5))), ["test-00"])
    with pytest.raises(UserError, match="--gate-mode tune: needs predictions for a split to tune on"):
        run("--predictions", tmp_path / "one.csv", *arguments[2:], "--gate", file)
    assert not (tmp_path / "out" / "score.json").exists()


def test_gate_on_the_page_in_wandb_and_in_a_later_prediction(run_folder, data_set, tmp_path, monkeypatch, capsys):
    from common.tracking import tracker as tracking

    configs = []
    start = tracking.start
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(tracking, "start", lambda **given: configs.append(given["config"]) or start(**given))
    manifest = pd.read_csv(data_set / "manifest.csv")
    is_positive = manifest["label"] == "Lung Opacity"
    manifest[["image_id", "split"]].assign(p_opacity=is_positive * 0.8 + 0.1).to_csv(tmp_path / "g.csv", index=False)
    run(run_folder, "--gate", tmp_path / "g.csv", "--gate-mode", "weigh")
    found = read(run_folder)
    assert configs[0]["postprocess"]["gate"] == found["postprocess"]["gate"]
    assert "each box&#39;s confidence multiplied" in (run_folder / "report.html").read_text()

    from evaluate import predict

    one = data_set / "images" / "test" / "test-00.jpg"
    weights = run_folder / "weights" / "best.pt"
    arguments = [str(one), "--weights", str(weights), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"pipeline.yaml: was fitted with a gate.*--gate"):
        predict.main(arguments)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def external(own_data_set):
    """A data set of nothing but a test set, as `--test 1` makes it: Ultralytics insists on the other lists."""
    for name in ("train.txt", "val.txt"):
        (own_data_set / name).write_text("")
    return own_data_set


def test_a_data_set_of_nothing_but_a_test_set(external, data_set, run_folder, capsys):
    """Without images to tune on, the confidence is what these weights' score has chosen elsewhere."""
    weights = run_folder / "weights" / "best.pt"
    output = external.parent / "external"
    arguments = (weights, "--data", external, "--output", output, *QUIET)
    run(*arguments)
    assert "'val' has no pictures to tune on: scored at confidence 0.25 (not tuned: run" in capsys.readouterr().err
    assert (read(output)["confidence"], read(output)["tuned_on"]) == (0.25, None)

    run(weights, *QUIET)
    chosen = read(run_folder)
    capsys.readouterr()
    run(*arguments)
    found = read(output)
    assert found["confidence"] == chosen["confidence"]
    assert list(found["splits"]) == ["test"]
    assert found["score"] == chosen["score"]  # they are the same images
    said = capsys.readouterr().err
    origin = f"chosen in {run_folder}/pipeline.yaml, on val of {data_set.name}/data.yaml"
    assert f"confidence {chosen['confidence']:.6g} ({origin})" in said
    run(*arguments, "--box-scale", "0.9,0.8")
    assert set(map(tuple, read(output)["postprocess"]["box_scale"].values())) == {(0.9, 0.8)}
    run(*arguments, "--confidence", 0.5)
    assert read(output)["confidence"] == 0.5
    with pytest.raises(UserError, match="--box-scale tune: needs predictions for a split to tune on"):
        run(*arguments, "--box-scale", "tune")
    with pytest.raises(UserError, match="split 'val' has no pictures"):
        run(*arguments, "--report-on", "val")


def test_a_submission_for_a_data_set_of_nothing_but_a_test_set(external, tmp_path, capsys):
    table = invented(external, "test")
    write_submission(tmp_path / "p.csv", table, [f"test-{number:02}" for number in range(12)])
    run("--predictions", tmp_path / "p.csv", "--data", external, "--confidence", 0.4, *QUIET)
    assert read(tmp_path / "p-score")["score"] == rsna_score(truth_of(external, "test"), table, 0.4)
    run("--predictions", tmp_path / "p.csv", "--data", external, *QUIET)
    assert "not tuned" in capsys.readouterr().err


def test_the_record_does_not_tell_where_on_this_machine_things_lie(
    gated, run_folder, own_data_set, tmp_path, monkeypatch
):
    """But for the command, which is as it was typed."""
    import platform

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    _, file = gated
    request = ScoringRequest(
        weights=run_folder / "weights" / "best.pt", data=own_data_set, gates=(file,), output=tmp_path / "out"
    )
    score(request)
    text = (tmp_path / "out" / "score.json").read_text()
    assert str(tmp_path) not in text
    assert platform.node() not in text
    assert read(tmp_path / "out")["data"] == "own/data.yaml"


def test_outcomes_tell_of_every_image_what_the_score_is_made_of(data_set, tmp_path):
    paths = [tmp_path / "val.csv", tmp_path / "test.csv"]
    for path in paths:
        write_predictions(path, invented(data_set, path.stem))
    run("--predictions", *paths, "--data", data_set, "--output", tmp_path / "out", *QUICK)
    table = pd.read_csv(tmp_path / "out" / "outcomes.csv", dtype={"image_id": str}, keep_default_na=False)
    assert list(table) == [
        "image_id", "split", "label", "boxes", "predictions", "hits", "score", "error_kinds", "confidence"
    ]  # fmt: skip
    found = read(tmp_path / "out")
    assert table["split"].unique().tolist() == ["test", "val"]  # the reported one first
    for name, split in found["splits"].items():
        rows, truth = table[table["split"] == name], truth_of(data_set, name)
        assert rows["image_id"].tolist() == sorted(truth["image_id"].unique())
        assert rows.set_index("image_id")["label"].to_dict() == dict(
            zip(truth["image_id"], truth["label"], strict=True)
        )
        counted = rows.loc[rows["score"] != "", "score"].astype(float)
        assert (len(counted), counted.mean()) == (split["counted_images"], pytest.approx(split["score"]))
        assert rows["boxes"].sum() == split["truth_boxes"]
        assert rows["predictions"].sum() == split["predictions"]
        assert rows["hits"].sum() == split["true_positives_at_0.5"]
        is_right = (rows["hits"] == rows["predictions"]) & (rows["hits"] == rows["boxes"])
        assert ((rows["error_kinds"] == "") == is_right).all()
        strongest = invented(data_set, name).groupby("image_id")["confidence"].max()
        told = rows[rows["confidence"] != ""].set_index("image_id")["confidence"].astype(float)
        assert told.to_dict() == pytest.approx(strongest.to_dict(), abs=1e-6)
