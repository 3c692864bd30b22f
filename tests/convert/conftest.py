from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.dicom_writer import write_dicom

OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"


class Release:
    """A small release in RSNA's layout that a test can spoil before it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = ["patientId,x,y,width,height,Target"]
        self.classes = ["patientId,class"]
        self.files: dict[str, bytes] = {}
        self.mapping: list[dict[str, str]] = []

    def add(self, image_id: str, label: str, *boxes: tuple, patient: str = "", data: bytes | None = None) -> None:
        """Add an image: its rows, its file, its patient."""
        for box in boxes or [("", "", "", "")]:
            self.labels.append(f"{image_id},{','.join(map(str, box))},{int(label == OPACITY)}")
            self.classes.append(f"{image_id},{label}")
        self.files[f"stage_2_train_images/{image_id}.dcm"] = picture(image_id) if data is None else data
        if patient:
            self.mapping.append({"subset_img_id": image_id, "img_id": f"{patient}_000.png"})

    def write(self) -> Path:
        """Write the files; the folder is the release."""
        for name, data in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.write_tables()
        return self.folder

    def write_tables(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stage_2_train_labels.csv").write_text("\n".join(self.labels) + "\n")
        (self.folder / "stage_2_detailed_class_info.csv").write_text("\n".join(self.classes) + "\n")
        if self.mapping:
            path = self.folder / "pneumonia-challenge-dataset-mappings_2018.json"
            path.write_text(json.dumps(self.mapping))


def picture(image_id: str, encoding: str = "jpeg-baseline", shape: tuple[int, int] = (48, 64), **header) -> bytes:
    """A DICOM of noise that is the id's own."""
    pixels = np.random.default_rng(list(image_id.encode())).integers(0, 256, shape, dtype=np.uint8)
    header = {"patient_age": "34", "patient_sex": "F", "view": "PA", "pixel_spacing_mm": 0.143, **header}
    return write_dicom(pixels, encoding, image_id=image_id, **header)


@pytest.fixture
def release(tmp_path) -> Release:
    return Release(tmp_path / "raw")


@pytest.fixture
def good_release(release) -> Release:
    """60 good images of 20 patients, and 5 of the challenge."""
    for number in range(60):
        boxes = {0: [(1, 2, 10, 20)], 1: [(1, 2, 10, 20), (30.5, 5, 20, 30)]}.get(number % 6, [])
        label = OPACITY if boxes else (NORMAL if number % 2 else NOT_NORMAL)
        release.add(f"image-{number:02}", label, *boxes, patient=f"{number % 20:08}")
    for number in range(5):
        image_id = f"challenge-{number}"
        release.files[f"stage_2_test_images/{image_id}.dcm"] = picture(image_id, view="AP")
        release.mapping.append({"subset_img_id": image_id, "img_id": f"{number + 100:08}_001.png"})
    return release


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """The content of a folder, by relative path."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
