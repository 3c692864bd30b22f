from __future__ import annotations

import pytest

from benchmarks import fitting, run, scoring
from benchmarks.conversion import measure
from benchmarks.results import RESULTS, write_rows
from common.errors import UserError

ROW = {"what": "convert one file", "seconds": 0.0005, "ratio": 52.3, "against": "something slow"}


def test_every_way_of_conversion_is_timed_in_one_run():
    rows = measure(images=3, naive_images=2, repeats=1, whole=False)
    assert [row["against"] for row in rows] == [
        "pydicom pixel_array + cv2.imwrite to PNG",
        "pydicom pixel_array + cv2.imwrite to JPEG",
        "shutil.copyfile of the DICOM",
    ]
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in rows)


def test_fitting_is_timed_against_the_metric_asked_anew(monkeypatch):
    monkeypatch.setattr(fitting, "UNSEEN_UP_TO", 150)
    one, several = fitting.measure([(200, 900, 1), (150, 900, 3)], settings=2)
    assert one["what"] == "fit post-processing (200 images, 900 predictions of one detector)"
    assert "unseen patients (150 images, 900 predictions of 3 detectors)" in several["what"]
    assert one["seconds"] > 0
    assert one["ratio"] > 0
    assert "(timed at 2, scaled to 258)" in one["against"]


def test_scoring_is_timed_against_a_script_that_gives_the_same_numbers():
    score, gate = scoring.measure(images=120, repeats=1, gates=3)
    assert "120 images, 2,400 kept predictions" in score["what"]
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in (score, gate))


def test_numbers_that_differ_are_no_benchmark(tmp_path):
    scoring.make_data(tmp_path, 60)
    theirs = {"confidence": 0.2, **{split: {"score": 0.9, "map50": 0.1, "map50_95": 0.1} for split in scoring.SPLITS}}
    ours = {"splits": {split: {"score": 0.9, "map50": 0.1, "map50_95": 0.1} for split in scoring.SPLITS}}
    with pytest.raises(RuntimeError, match=r"val: ours and the alternative's score, .* differ"):
        scoring._require_equal(tmp_path, ours, theirs)


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(
        UserError, match="speed: no such benchmark; expected metric, fitting, scoring, conversion, training"
    ):
        run.main(["metric", "speed"])


def test_results_keep_what_stands_around_the_table(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(RESULTS.read_text() + "\n## By hand\n\nkept\n")
    for _ in range(2):  # the second time replaces the first
        write_rows([ROW], path)
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("\n## By hand\n\nkept\n")
    assert text.count("| convert one file | 0.00050 | 52 | something slow |") == 1
    assert "Command: `make bench`" in text
