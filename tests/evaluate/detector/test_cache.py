"""Predictions that are kept: used again until something changes."""

from __future__ import annotations

import cv2
import numpy as np

from tests.evaluate.scores import QUIET, read, run


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
    first = read(run_folder)
    capsys.readouterr()
    assert predicted() == []
    assert "val: using " in capsys.readouterr().out
    assert read(run_folder)["splits"] == first["splits"]
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


def test_unusable_pictures_are_told_by_split_and_first_picture(run_folder, own_data_set, capsys):
    for name in ("test-03", "test-07"):
        (own_data_set / f"images/test/{name}.jpg").write_bytes(b"no picture")
    run(run_folder / "weights/best.pt", "--data", own_data_set, *QUIET)
    warning = capsys.readouterr().err
    assert "2 of 12 pictures of 'test' are unusable, first " in warning
    assert "images/test/test-03.jpg: " in warning.split("unusable, first ")[1].splitlines()[0]
