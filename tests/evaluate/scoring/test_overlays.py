from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from evaluate.detector.loading import Picture
from evaluate.scoring.overlays import draw_overlays

GREY = cv2.imencode(".png", np.full((40, 50), 90, np.uint8))[1].tobytes()
NOTHING = pd.DataFrame(columns=["image_id", "confidence", "x", "y", "width", "height"])


def draw(folder, *ids: str, read=lambda: GREY) -> int:
    return draw_overlays(folder, [Picture(one, f"{one}.png", read) for one in ids], NOTHING, None, None)


def test_only_what_an_earlier_run_has_drawn_is_removed(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes())
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert draw(tmp_path, "a", "b") == 2
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (40, 50, 3)
    assert draw(tmp_path, "c") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.jpg", "empty.jpg", "holiday.jpg"]
    assert draw(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jpg", "holiday.jpg"]


def test_ids_that_are_too_long_for_a_file_name(tmp_path):
    ids = ["é" * 150 + end for end in ("1", "2")]
    assert draw(tmp_path, *ids) == 2
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 2
    assert all(len(name.encode()) <= 204 for name in names)


def test_a_picture_that_is_gone_by_now_is_told(tmp_path, capsys):
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file")

    assert draw(tmp_path, "a", read=gone) == 0
    assert "a.png: cannot be drawn: cannot be read: No such file" in capsys.readouterr().err
