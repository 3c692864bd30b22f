from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.data.tables import make_predictions, read_predictions, write_predictions, write_submission
from common.errors import UserError
from evaluate import score
from evaluate.metrics.rsna import confidence_sweep, rsna_score, thin_sweep

QUIET = ("--no-wandb", "--no-report")


@pytest.fixture
def run_folder(trained, tmp_path) -> Path:
    """A copy of the training's folder."""
    folder = tmp_path / "training"
    (folder / "weights").mkdir(parents=True)
    shutil.copy2(trained, folder / "weights" / "best.pt")
    shutil.copy2(trained.parents[1] / "results.csv", folder / "results.csv")
    return folder


def run(*arguments: object) -> None:
    assert not score.main([str(argument) for argument in arguments])


def truth_of(data_set: Path, split: str) -> pd.DataFrame:
    """Read without the project's own reader."""
    table = pd.read_csv(data_set / "truth.csv", dtype={"image_id": str})
    return table[table["image_id"].str.startswith(split)]


def invented(data_set: Path, split: str, seed: int = 0) -> pd.DataFrame:
    """Predictions that are sometimes right: truth boxes moved a little, and others anywhere."""
    random = np.random.default_rng(seed)
    boxes = truth_of(data_set, split).dropna()
    found = boxes[["x", "y", "width", "height"]].to_numpy() + random.integers(-6, 7, (len(boxes), 4))
    strays = random.integers(10, 50, (8, 4))
    ids = [*boxes["image_id"], *(f"{split}-{number:02}" for number in random.integers(0, 12, 8))]
    confidence = np.concatenate([random.uniform(0.3, 1, len(found)), random.uniform(0, 0.6, 8)])
    return make_predictions(ids, np.column_stack([confidence, np.concatenate([found, strays])]))


def test_score_is_the_metric_of_the_files_it_names(run_folder, data_set, capsys):
    run(run_folder / "weights/best.pt", *QUIET)
    found = json.loads((run_folder / "score.json").read_text())
    predictions = {name: pd.read_csv(run_folder / f"predictions_{name}.csv") for name in ("val", "test")}
    assert {name: Path(path).name for name, path in found["predictions"].items()} == {
        "val": "predictions_val.csv",
        "test": "predictions_test.csv",
    }
    # The confidence of highest score on val, by brute force, then test at that confidence.
    val, test = truth_of(data_set, "val"), truth_of(data_set, "test")
    tried = {value: rsna_score(val, predictions["val"], value) for value in predictions["val"]["confidence"]}
    assert found["confidence"] == max(value for value in tried if tried[value] == max(tried.values()))
    assert found["splits"]["val"]["score"] == max(tried.values())
    assert found["score"] == rsna_score(test, predictions["test"], found["confidence"]) > 0.2
    low, high = found["interval_95"]
    assert low <= found["score"] <= high

    entry = found["splits"]["test"]
    kept = predictions["test"].query("confidence >= @found['confidence']")
    assert entry["interval_95"] == found["interval_95"]
    assert (entry["images"], entry["positive_images"], entry["truth_boxes"]) == (12, 6, 9)
    assert entry["predictions"] == len(kept)
    assert entry["counted_images"] == len(set(kept["image_id"]) | set(test.dropna()["image_id"]))
    assert entry["true_positives_at_0.5"] + entry["false_negatives_at_0.5"] == 9
    assert entry["true_positives_at_0.5"] + entry["false_positives_at_0.5"] == len(kept)
    assert entry["score_without_predictions"] == 0.0
    assert 0 < entry["map50_95"] <= entry["map50"] <= 1
    assert set(found["subgroups"]["view"]) == {"AP", "PA"}
    assert found["subgroups"]["sex"]["F"] == {"score": None, "interval_95": None, "images": 6, "counted_images": 0}
    assert found["subgroups"]["sex"]["M"]["score"] == pytest.approx(found["score"], rel=1e-12)
    assert sum(group["images"] for group in found["subgroups"]["age"].values()) == 12
    assert found["leakage"]["test"]["images"] == found["leakage"]["test"]["patients"] == 0
    assert (found["tuned_on"], found["reported_on"], found["synthetic"]) == ("val", "test", True)
    assert found["postprocess"] == {"box_scale": [1.0, 1.0]}
    assert found["command"].startswith("python evaluate/score.py ")
    assert found["versions"]["ultralytics"]

    said = capsys.readouterr()
    assert f"RSNA score on test: {found['score']:.3f} (95 % interval " in said.out
    assert "chosen on val" in said.out
    assert "score if nothing were predicted" in said.out
    assert "LEAKAGE" not in said.err


def test_predictions_are_used_again_until_something_changes(run_folder, own_data_set, monkeypatch, capsys):
    from evaluate.detector import cache

    calls = []

    def counting(*args, **kwargs):
        calls.append(args[5])
        return predict(*args, **kwargs)

    predict = cache.predict
    monkeypatch.setattr(cache, "predict", counting)
    arguments = (run_folder / "weights/best.pt", "--data", own_data_set, *QUIET)

    def predicted(*more: object) -> list[str]:
        calls.clear()
        run(*arguments, *more)
        return list(calls)

    both = ["predicting val", "predicting test"]
    assert predicted() == both
    first = (run_folder / "score.json").read_text()
    capsys.readouterr()
    assert predicted() == []
    assert "val: using " in capsys.readouterr().out
    again = json.loads((run_folder / "score.json").read_text())
    assert again["splits"] == json.loads(first)["splits"]
    assert predicted("--again") == both
    assert predicted("--imgsz", 64) == both
    assert predicted() == both
    picture = own_data_set / "images/test/test-03.jpg"
    cv2.imwrite(str(picture), np.full((128, 128), 80, np.uint8))
    assert predicted() == ["predicting test"]
    (run_folder / "predictions_val.csv").unlink()
    assert predicted() == ["predicting val"]
    import torch

    checkpoint = torch.load(run_folder / "weights/best.pt", weights_only=False)
    torch.save({**checkpoint, "date": "later"}, run_folder / "weights/best.pt")
    assert predicted() == both


def test_submission_of_one_split_is_scored_as_it_is(data_set, tmp_path, capsys):
    table = invented(data_set, "test")
    file = tmp_path / "mine.csv"
    write_submission(file, table, [f"test-{number:02}" for number in range(12)])
    run("--predictions", file, "--data", data_set, *QUIET)
    found = json.loads((tmp_path / "mine-score/score.json").read_text())
    assert found["score"] == rsna_score(truth_of(data_set, "test"), table)
    assert (found["confidence"], found["tuned_on"], found["reported_on"], found["weights"]) == (0.0, None, "test", None)
    assert list(found["splits"]) == ["test"]
    said = capsys.readouterr()
    assert "not tuned" in said.err
    assert "not in the submission" not in said.err
    run("--predictions", file, "--data", data_set, "--confidence", 0.6, "--output", tmp_path / "out", *QUIET)
    at = json.loads((tmp_path / "out/score.json").read_text())
    assert at["score"] == rsna_score(truth_of(data_set, "test"), table, 0.6) != found["score"]


@pytest.mark.parametrize("files", [1, 2])
def test_predictions_of_both_splits_are_tuned(files, data_set, tmp_path):
    val, test, train = (invented(data_set, split, seed) for split, seed in (("val", 1), ("test", 2), ("train", 3)))
    paths = [tmp_path / f"{number}.csv" for number in range(files)]
    if files == 1:
        write_predictions(paths[0], pd.concat([val, test, train]))  # of train nothing is asked
    else:
        write_predictions(paths[0], val)
        write_predictions(paths[1], test)
    run("--predictions", *paths, "--data", data_set, "--output", tmp_path / "out", *QUIET)
    found = json.loads((tmp_path / "out/score.json").read_text())
    sweep = confidence_sweep(truth_of(data_set, "val"), val)
    assert found["tuned_on"] == "val"
    assert found["splits"]["val"]["score"] == sweep["score"].max()
    assert found["score"] == rsna_score(truth_of(data_set, "test"), test, found["confidence"])


def test_images_missing_from_a_submission_count_as_empty(data_set, tmp_path, capsys):
    table = invented(data_set, "test")
    part = table[table["image_id"] >= "test-04"]
    write_submission(tmp_path / "part.csv", part, [f"test-{number:02}" for number in range(4, 12)])
    run("--predictions", tmp_path / "part.csv", "--data", data_set, *QUIET)
    found = json.loads((tmp_path / "part-score/score.json").read_text())
    assert found["splits"]["test"]["images"] == 12
    assert found["score"] == rsna_score(truth_of(data_set, "test"), part)
    assert "4 of the 12 images of split 'test' are not in the submission (such as test-00)" in capsys.readouterr().err


def test_box_scale_is_tuned_and_applied(data_set, tmp_path):
    """Boxes half as wide again as they should be: IoU exceeds 0.75 from the width factor 0.85 on, which leaves most."""
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
    run(*common)
    plain = json.loads((tmp_path / "out/score.json").read_text())
    run(*common, "--box-scale", "tune")
    tuned = json.loads((tmp_path / "out/score.json").read_text())
    assert tuned["postprocess"]["box_scale"] == [0.85, 1.0]
    assert tuned["score"] == 1.0 > plain["score"]
    run(*common, "--box-scale", "0.85,1", "--confidence", 0.1)
    assert json.loads((tmp_path / "out/score.json").read_text())["score"] == 1.0


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


def read_score(arguments: list[object]) -> dict:
    return json.loads((Path(arguments[5]) / "score.json").read_text())


def test_gate_is_tuned_with_the_confidence_by_brute_force(gated, data_set, capsys):
    arguments, file = gated
    run(*arguments)
    plain = read_score(arguments)
    run(*arguments, "--gate", file)
    found, said = read_score(arguments), capsys.readouterr()
    likely = pd.read_csv(file).set_index("image_id")["p_opacity"]
    predictions = {split: invented(data_set, split, seed) for split, seed in (("val", 1), ("test", 2))}
    truth = {split: truth_of(data_set, split) for split in predictions}

    def gates(split: str) -> dict[tuple, pd.DataFrame]:
        table = predictions[split]
        chance = table["image_id"].map(likely)
        kept = {("keep", value): table[chance > value] for value in likely.filter(like="val")}
        return {("none", None): table, ("weigh", None): table.assign(confidence=table["confidence"] * chance), **kept}

    tried = {
        (rule, confidence): rsna_score(truth["val"], table, confidence)
        for rule, table in gates("val").items()
        for confidence in table["confidence"]
    }
    assert found["splits"]["val"]["score"] == max(tried.values()) > plain["splits"]["val"]["score"]
    rule = found["postprocess"]["gate"]
    assert tried[(rule["mode"], rule["threshold"]), found["confidence"]] == max(tried.values())
    assert rule["files"] == [str(file)]
    chosen = predictions["test"]
    chance = chosen["image_id"].map(likely)
    chosen = chosen[chance > rule["threshold"]] if rule["mode"] == "keep" else chosen.assign(
        confidence=chosen["confidence"] * chance
    )  # fmt: skip
    assert found["score"] == rsna_score(truth["test"], chosen, found["confidence"])

    without = found["gate"]["without"]
    assert without["confidence"] == plain["confidence"]
    for split in ("val", "test"):
        assert without["splits"][split]["score"] == plain["splits"][split]["score"]
        gain = found["splits"][split]["score"] - plain["splits"][split]["score"]
        assert without["splits"][split]["gain"] == pytest.approx(gain)
        low, high = without["splits"][split]["gain_interval_95"]
        assert low <= gain <= high
    assert found["gate"]["seen_images"] == {"val": 0, "test": 0}
    assert f"without it {plain['score']:.3f}; the gate changed the score by" in said.out
    assert "gate" not in plain["postprocess"]
    assert "gate" not in plain


def test_gate_modes_that_are_asked_for(gated, data_set):
    arguments, file = gated
    likely = pd.read_csv(file).set_index("image_id")["p_opacity"]
    val = invented(data_set, "val", 1)
    chance = val["image_id"].map(likely)

    run(*arguments, "--gate", file, "--gate-mode", "weigh")
    found = read_score(arguments)
    sweep = confidence_sweep(truth_of(data_set, "val"), val.assign(confidence=val["confidence"] * chance))
    assert found["splits"]["val"]["score"] == sweep["score"].max()
    assert (found["postprocess"]["gate"]["mode"], found["gate"]["tuned_on"]) == ("weigh", None)

    run(*arguments, "--gate", file, "--gate-mode", "keep", "--gate-threshold", "0.4")
    found = read_score(arguments)
    assert (
        found["splits"]["val"]["score"] == confidence_sweep(truth_of(data_set, "val"), val[chance > 0.4])["score"].max()
    )
    assert found["postprocess"]["gate"]["threshold"] == 0.4

    run(*arguments, "--gate", file, "--gate-mode", "keep", "--gate-threshold", "0.4", "--confidence", "0.5")
    found = read_score(arguments)
    test = invented(data_set, "test", 2)
    test = test[test["image_id"].map(likely) > 0.4]
    assert found["score"] == rsna_score(truth_of(data_set, "test"), test, 0.5)
    assert found["gate"]["without"]["confidence"] == 0.5

    run(*arguments, "--gate", file, "--gate-mode", "keep")
    assert read_score(arguments)["gate"]["tuned_on"] == "val"


def test_box_scale_and_gate_together_do_no_worse_than_either(gated):
    arguments, file = gated
    scores = {}
    for options in ((), ("--gate", file), ("--box-scale", "tune"), ("--box-scale", "tune", "--gate", file)):
        run(*arguments, *options)
        scores[options] = read_score(arguments)["splits"]["val"]["score"]
    *_, scaled, both = scores.values()
    assert both >= scaled


def test_a_gate_of_other_data_and_gate_options_that_do_not_fit(gated, tmp_path):
    arguments, file = gated
    for options, words in (
        (["--gate-mode", "weigh"], "name its file with --gate"),
        (["--gate-threshold", "0.3"], "name its file with --gate"),
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
    from evaluate.scoring.result import read_choice

    configs = []
    start = tracking.start
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(tracking, "start", lambda **given: configs.append(given["config"]) or start(**given))
    manifest = pd.read_csv(data_set / "manifest.csv")
    is_positive = manifest["label"] == "Lung Opacity"
    manifest[["image_id", "split"]].assign(p_opacity=is_positive * 0.8 + 0.1).to_csv(tmp_path / "g.csv", index=False)
    run(run_folder, "--gate", tmp_path / "g.csv", "--gate-mode", "weigh")
    found = json.loads((run_folder / "score.json").read_text())
    assert configs[0]["postprocess"]["gate"] == found["postprocess"]["gate"]
    assert "each box&#39;s confidence multiplied" in (run_folder / "report.html").read_text()

    choice = read_choice(run_folder / "score.json")
    assert choice.gated
    assert choice.confidence == found["gate"]["without"]["confidence"] != found["confidence"]
    from evaluate import predict

    capsys.readouterr()
    one = data_set / "images" / "test" / "test-00.jpg"
    weights = run_folder / "weights" / "best.pt"
    assert not predict.main([str(one), "--weights", str(weights), "--output", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "its score was reached with a gate" in said.err
    assert f"at confidence {choice.confidence:.6g}" in said.out


def test_leakage_is_shouted_and_kept(run_folder, own_data_set, data_set, capsys):
    """The weights were trained on the train list of another copy with the same image ids."""
    (own_data_set / "leaky.yaml").write_text("train: test.txt\nval: val.txt\ntest: train.txt\nnames: [Lung Opacity]\n")
    run(run_folder, "--data", own_data_set / "leaky.yaml", *QUIET)
    assert "LEAKAGE: of split 'test', 24 images were trained on" in capsys.readouterr().err
    assert json.loads((run_folder / "score.json").read_text())["leakage"]["test"]["patients"] == 12


def test_untrained_model_and_unknown_training_data(untrained, data_set, capsys):
    path = untrained(data="gone.yaml")
    run(path, "--data", data_set, *QUIET)
    found = json.loads((path.parent / "score.json").read_text())
    assert found["score"] == 0.0
    assert found["leakage"]["checked"] is False
    said = capsys.readouterr().err
    assert "no confidence gives a score above 0 on 'val'" in said
    assert "leakage was not checked" in said
    with pytest.raises(UserError, match=r"was trained on gone.yaml.*--data"):
        run(path, *QUIET)


def test_split_without_any_box(run_folder, own_data_set, capsys):
    truth = pd.read_csv(own_data_set / "truth.csv")
    empty = truth["image_id"].str.startswith("test")
    truth.loc[empty, ["x", "y", "width", "height"]] = np.nan
    truth.drop_duplicates(["image_id", "x", "y"]).to_csv(own_data_set / "truth.csv", index=False)
    run(run_folder, "--data", own_data_set, *QUIET)
    found = json.loads((run_folder / "score.json").read_text())
    assert found["score"] == 0.0
    assert found["splits"]["test"]["map50"] is None
    assert "has a truth box: the score can only be 0" in capsys.readouterr().err


def test_report_and_tracking(run_folder, data_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(run_folder, "--data", data_set)
    page = (run_folder / "report.html").read_text()
    found = json.loads((run_folder / "score.json").read_text())
    assert f"{found['score']:.3f}" in page
    assert list((run_folder / "wandb").glob("offline-run-*/*.wandb"))
    said = capsys.readouterr().out
    assert "report.html" in said
    assert "wandb sync" in said


def wrong_use(kind: str, data_set: Path, folder: Path, trained: Path) -> list[object]:
    def file(*ids: str, name: str = "p.csv") -> Path:
        write_submission(folder / name, make_predictions([], np.empty((0, 5))), ids)
        return folder / name

    unfinished = folder / "unfinished"
    if kind == "unfinished data set":
        shutil.copytree(data_set, unfinished)
        (unfinished / "manifest.csv").unlink()
    if kind == "pictures are gone":
        shutil.copytree(data_set, unfinished)
        shutil.rmtree(unfinished / "images" / "val")
    return {
        "both": lambda: ["some.pt", "--predictions", file("test-00")],
        "unknown ids": lambda: ["--predictions", file("test-00", "stranger", "other"), "--data", data_set],
        "challenge ids": lambda: ["--predictions", file("challenge-00", "challenge-01"), "--data", data_set],
        "challenge split": lambda: [
            "--predictions",
            file("challenge-00"),
            "--data",
            data_set,
            "--report-on",
            "challenge",
        ],
        "train only": lambda: ["--predictions", file("train-00"), "--data", data_set],
        "same image twice": lambda: [
            "--predictions",
            file("test-00"),
            file("test-00", name="q.csv"),
            "--data",
            data_set,
        ],
        "no data set": lambda: ["--predictions", file("test-00"), "--data", folder / "none.yaml"],
        "unfinished data set": lambda: [trained, "--data", unfinished],
        "pictures are gone": lambda: [trained, "--data", unfinished],
        "unknown split": lambda: [trained, "--report-on", "fold9"],
        "tune what is given": lambda: [trained, "--confidence", 0.5, "--box-scale", "tune"],
        "nothing to tune on": lambda: ["--predictions", file("test-00"), "--data", data_set, "--box-scale", "tune"],
        "no weights": lambda: [folder / "none.pt"],
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("both", "one of them at a time"),
        ("unknown ids", "2 of its 3 images, first other, are not in "),
        (
            "challenge ids",
            "2 of its 2 images, first challenge-00, are of the challenge's own test set, whose truth is not",
        ),
        ("challenge split", "whose truth is not public"),
        ("train only", "covers no image of val or test .* its images are in train: name it with --report-on"),
        ("same image twice", "q.csv: image test-00 is in .*p.csv as well"),
        ("no data set", "no such data YAML"),
        ("unfinished data set", "did not finish"),
        ("pictures are gone", "no such picture, nor 11 others"),
        ("unknown split", "no split 'fold9'"),
        ("tune what is given", "leave out --confidence"),
        ("nothing to tune on", "needs predictions for a split to tune on"),
        ("no weights", "no such weights file"),
    ],
)
def test_wrong_use_gives_one_line(kind, words, data_set, tmp_path, trained):
    output = tmp_path / "out"
    arguments = wrong_use(kind, data_set, tmp_path, trained)
    with pytest.raises(UserError, match=words) as caught:
        run(*arguments, "--output", output, *QUIET)
    assert caught.value.status == 2
    assert "\n" not in str(caught.value)
    assert not (output / "score.json").exists()


@pytest.mark.parametrize(
    "option", [("--confidence", "1.5"), ("--box-scale", "1,2,3"), ("--box-scale", "0"), ("--batch", "x")]
)
def test_arguments_out_of_range(option, capsys):
    with pytest.raises(SystemExit) as caught:
        score.main([*option])
    assert caught.value.code == 2
    assert f"found '{option[1]}'" in capsys.readouterr().err


def test_thin_sweep_keeps_ends_and_best():
    confidence = np.linspace(1, 0, 5000)
    sweep = pd.DataFrame({"confidence": confidence, "score": -np.abs(confidence - 0.12345)})
    thin = thin_sweep(sweep, 100)
    assert 98 <= len(thin) <= 100
    assert thin["confidence"].is_monotonic_decreasing
    assert (thin["confidence"].iloc[0], thin["confidence"].iloc[-1]) == (1, 0)
    assert thin["score"].max() == sweep["score"].max()
    assert thin_sweep(sweep.head(50), 100).equals(sweep.head(50))


def test_kept_predictions_can_be_submitted_and_score_the_same(run_folder, data_set, tmp_path):
    run(run_folder, *QUIET)
    found = json.loads((run_folder / "score.json").read_text())
    table = read_predictions(run_folder / "predictions_test.csv").predictions
    kept = table[table["confidence"] >= found["confidence"]]
    write_submission(tmp_path / "s.csv", kept, [f"test-{number:02}" for number in range(12)])
    run("--predictions", tmp_path / "s.csv", "--data", data_set, "--output", tmp_path / "out", *QUIET)
    assert json.loads((tmp_path / "out/score.json").read_text())["score"] == found["score"]
