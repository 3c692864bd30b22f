"""Paths as people and records see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import paths
from common.paths import brief, brief_text


@pytest.fixture
def places(tmp_path, monkeypatch):
    project, here = tmp_path / "home" / "me" / "project", tmp_path / "home" / "me" / "work"
    for folder in (project, here):
        folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "PROJECT", project)
    monkeypatch.chdir(here)
    return project, here


def test_brief_paths_do_not_tell_where_things_lie(places):
    project, here = places
    assert brief(Path("runs/train")) == brief(here / "runs" / "train") == "runs/train"
    assert brief(project / "datasets" / "rsna" / "data.yaml") == "datasets/rsna/data.yaml"
    assert brief(Path("/home/somebody/sets/rsna/data.yaml")) == "rsna/data.yaml"
    assert brief(Path("/home/somebody/runs/first/weights/best.pt")) == "first/weights/best.pt"
    assert brief(Path("/data.yaml")) == "data.yaml"


def test_sentences_keep_their_words(places):
    text = "/home/somebody/runs/first/weights/best.pt: was trained on /mnt/sets/rsna/data.yaml, which is not there."
    assert brief_text(text) == "first/weights/best.pt: was trained on rsna/data.yaml, which is not there."
    for same in ("AP and/or PA", "runs/train/weights/best.pt: no", "1/2 of the images", "began with yolov8n.pt"):
        assert brief_text(same) == same
