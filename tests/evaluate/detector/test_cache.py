"""Predictions that are kept: used again until something changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.scores import QUICK, read, run


def test_predictions_are_used_again_until_something_changes(run_folder, own_data_set, monkeypatch, capsys):
    from evaluate.detector import cache

    calls = []

    def counting(*args, **kwargs):
        calls.append(args[5])
        return predict(*args, **kwargs)

    predict = cache.predict
    monkeypatch.setattr(cache, "predict", counting)
    arguments = (run_folder / "weights/best.pt", "--data", own_data_set, *QUICK)

    def predicted(*more: object) -> list[str]:
        calls.clear()
        run(*arguments, *more)
        return list(calls)

    both = ["predicting val", "predicting test"]
    assert predicted() == both
    first = read(run_folder)
    capsys.readouterr()
    assert predicted() == []
    assert "val: using " in capsys.readouterr().out
    assert read(run_folder)["splits"] == first["splits"]
    assert predicted("--again") == both
    assert predicted("--imgsz", 64) == both
    assert Path(read(run_folder)["predictions"]["val"]).name.startswith("predictions_val-")
    assert predicted() == []
    assert predicted("--imgsz", 64) == []
    assert read(run_folder)["splits"] != first["splits"]
    picture = own_data_set / "images/test/test-03.jpg"
    cv2.imwrite(str(picture), np.full((128, 128), 80, np.uint8))
    assert predicted() == ["predicting test"]
    (run_folder / "predictions_val.csv").unlink()
    assert predicted() == ["predicting val"]
    import torch

    checkpoint = torch.load(run_folder / "weights/best.pt", weights_only=False)
    torch.save({**checkpoint, "date": "later"}, run_folder / "weights/best.pt")
    assert predicted() == both


def test_stopped_in_the_middle_of_a_split(run_folder, data_set, monkeypatch, capsys):
    from common.data.data_set import DataSet
    from evaluate.detector import inference
    from evaluate.detector.cache import predict_split
    from evaluate.detector.options import InferenceOptions
    from evaluate.detector.weights import load_weights

    weights, options = load_weights(run_folder / "weights/best.pt"), InferenceOptions(batch=5)
    split = DataSet(data_set).split("test")
    folder = run_folder / "whole"
    folder.mkdir()
    whole, _ = predict_split(weights, split, folder, options)
    infer, batches = inference._infer, []

    def second_stops(*arguments):
        batches.append(len(arguments[1]))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return infer(*arguments)

    monkeypatch.setattr(inference, "_infer", second_stops)
    with pytest.raises(KeyboardInterrupt):
        predict_split(weights, split, run_folder, options)
    capsys.readouterr()
    resumed, _ = predict_split(weights, split, run_folder, options)
    assert batches == [5, 5, 5, 2]
    assert "going on: 5 of 12 images were predicted before" in capsys.readouterr().err
    assert resumed.read_bytes() == whole.read_bytes()
    assert not list(run_folder.glob("*.unfinished*"))


def test_edited_predictions_are_not_those_of_the_weights(run_folder, capsys):
    run(run_folder, *QUICK)
    first, file = read(run_folder), run_folder / "predictions_test.csv"
    predicted = file.read_bytes()
    head, *rows = predicted.decode().splitlines(keepends=True)
    edited = "".join([head, *rows[: len(rows) // 4]])
    file.write_text(edited)
    capsys.readouterr()
    run(run_folder, *QUICK)
    warning = capsys.readouterr().err
    assert "predictions_test.csv: was changed since it was predicted, so it is not used; kept as" in warning
    assert read(run_folder)["splits"] == first["splits"]
    assert file.read_bytes() == predicted
    assert (run_folder / "predictions_test.edited.csv").read_text() == edited
    run(run_folder, *QUICK)
    assert "was changed" not in capsys.readouterr().err


def test_other_pictures_do_not_take_the_place_of_the_kept_ones(run_folder, own_data_set, capsys):
    """Two data sets by turns: each keeps its predictions; one whose pictures have changed replaces its own."""
    run(run_folder, *QUICK)
    kept = (run_folder / "predictions_val.csv").read_bytes()
    for name in ("val.txt", "test.txt"):
        listed = (own_data_set / name).read_text().splitlines(keepends=True)
        (own_data_set / name).write_text("".join(listed[:8]))
    run(run_folder, "--data", own_data_set, *QUICK)
    files = {name: Path(path).name for name, path in read(run_folder)["predictions"].items()}
    assert files["val"].startswith("predictions_val-")
    assert (run_folder / "predictions_val.csv").read_bytes() == kept
    capsys.readouterr()
    run(run_folder, *QUICK)
    run(run_folder, "--data", own_data_set, *QUICK)
    assert capsys.readouterr().out.count("made from the same weights") == 4
    assert len(list(run_folder.glob("predictions_*.csv"))) == 4


def test_unusable_pictures_are_told_by_split_and_first_picture(run_folder, own_data_set, capsys):
    for name in ("test-03", "test-07"):
        (own_data_set / f"images/test/{name}.jpg").write_bytes(b"no picture")
    run(run_folder / "weights/best.pt", "--data", own_data_set, *QUICK)
    warning = capsys.readouterr().err
    assert "2 of 12 pictures of 'test' are unusable, first " in warning
    assert "images/test/test-03.jpg: " in warning.split("unusable, first ")[1].splitlines()[0]
