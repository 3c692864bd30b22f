"""rsna.yaml with the real Ultralytics, in a copy of the project: from its root, elsewhere, with and without data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convert.synthetic.dicom_writer import write_dicom

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The parts of the project that the hook needs, so that its datasets/ is not touched."""
    folder = tmp_path_factory.mktemp("project")
    for package in ("common", "convert"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "rsna.yaml", folder)
    return folder


def check(data: str | Path, project: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What Ultralytics makes of the YAML; its settings name a datasets_dir that is of no help."""
    config = project / "config"
    (config / "Ultralytics").mkdir(parents=True, exist_ok=True)
    font = Path(sys.prefix) / "lib"  # no download of a font: any file of the right name will do
    shutil.copy(next(font.rglob("DejaVuSans.ttf")), config / "Ultralytics" / "Arial.ttf")
    code = (
        "import json, sys\n"
        "from ultralytics import settings\n"
        "settings.update(datasets_dir='/nonexistent/datasets')\n"
        "from ultralytics.data.utils import check_det_dataset\n"
        "data = check_det_dataset(sys.argv[1])\n"
        "print('RESULT', json.dumps([data['train'], data['val'], data['test'], data['channels'], data['names'][0]]))\n"
    )
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(config), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    command = [sys.executable, "-P", "-c", code, str(data)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_without_data_it_says_where_to_get_them_and_then_converts(project, tmp_path):
    done = check("rsna.yaml", project, cwd=project)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no raw data there. Download them: python convert/download.py rsna" in done.stderr
    assert "Traceback" not in done.stderr

    raw = project / "datasets" / "raw" / "rsna"
    (raw / "stage_2_train_images").mkdir(parents=True)
    labels, classes, mapping = "patientId,x,y,width,height,Target\n", "patientId,class\n", []
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        data = write_dicom(pixels, "jpeg-baseline", image_id=f"image{number}")
        (raw / "stage_2_train_images" / f"image{number}.dcm").write_bytes(data)
        labels += f"image{number},,,,,0\n"
        classes += f"image{number},Normal\n"
        mapping.append({"subset_img_id": f"image{number}", "img_id": f"{number:08}_000.png"})
    (raw / "stage_2_train_labels.csv").write_text(labels)
    (raw / "stage_2_detailed_class_info.csv").write_text(classes)
    (raw / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping))

    first = check("rsna.yaml", project, cwd=project)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "20 images in" in first.stdout
    elsewhere = check(project / "rsna.yaml", project, cwd=tmp_path)
    assert "20 images in" not in elsewhere.stdout
    expected = [str(project / f"datasets/rsna/{split}.txt") for split in ("train", "val", "test")]
    for done in (first, elsewhere):
        result = json.loads(done.stdout.split("RESULT")[1])
        assert result == [*expected, 1, "Lung Opacity"]
    assert all(Path(path).is_file() for path in expected)
    assert not list(tmp_path.iterdir())
