"""A converted data set of fifty small pictures, by its contract, written without the converter."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

SIZE = 128
COUNTS = {"train": 24, "val": 12, "test": 12, "challenge": 2}


def draw(boxes: list[tuple[int, int, int, int]], seed: int) -> np.ndarray:
    """A dark grey picture with a bright ellipse in every box: easy to learn, yet with noise that tells images apart."""
    pixels = np.random.default_rng(seed).normal(50, 6, (SIZE, SIZE))
    for x, y, width, height in boxes:
        centre, axes = (x + width // 2, y + height // 2), (width // 2, height // 2)
        cv2.ellipse(pixels, centre, axes, 0, 0, 360, 210.0, -1)
    return cv2.GaussianBlur(pixels, (0, 0), 1.2).clip(0, 255).astype(np.uint8)


def write_data_set(root: Path) -> Path:
    """A converted data set, by its contract, written without the converter: every second image has a box or two."""
    random = np.random.default_rng(7)
    truth, manifest = [], []
    for split, count in COUNTS.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        names = []
        for number in range(count):
            image_id = f"{split}-{number:02}"
            boxes = []
            if number % 2 == 0:
                width, height = (int(v) for v in random.integers(30, 50, 2))
                boxes.append((*random.integers(4, (70 - width, 120 - height)).tolist(), width, height))
                if number % 4 == 0:
                    boxes.append((*random.integers((70, 4), (80, 70)).tolist(), 40, 44))
            cv2.imwrite(
                str(root / "images" / split / f"{image_id}.jpg"), draw(boxes, seed=len(manifest)),
                [cv2.IMWRITE_JPEG_QUALITY, 95],
            )  # fmt: skip
            label = "Lung Opacity" if boxes else "Normal"
            if split != "challenge":
                lines = [f"0 {(x + w / 2) / SIZE} {(y + h / 2) / SIZE} {w / SIZE} {h / SIZE}\n" for x, y, w, h in boxes]
                (root / "labels" / split / f"{image_id}.txt").write_text("".join(lines))
                truth += [(image_id, *box, label) for box in boxes or [(None,) * 4]]
            names.append(f"./images/{split}/{image_id}.jpg")
            known = split != "challenge"
            manifest.append(
                {
                    "image_id": image_id,
                    "split": split,
                    "fold": "",
                    "patient_id": f"{split}-patient-{number // 2}",
                    "label": label if known else "",
                    "boxes": len(boxes) if known else "",
                    "width": SIZE,
                    "height": SIZE,
                    "view": "AP" if number % 3 else "PA",
                    "sex": "MF"[number % 2],
                    "age": 20 + 5 * number if number else "",
                    "pixel_spacing_mm": 0.14,
                    "stored": "passed through",
                    "source": f"raw/{image_id}.dcm",
                    "picture": f"images/{split}/{image_id}.jpg",
                }
            )
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    (root / "data.yaml").write_text(
        "train: train.txt\nval: val.txt\ntest: test.txt\nchannels: 1\nnames:\n  0: Lung Opacity\n"
    )
    columns = ["image_id", "x", "y", "width", "height", "label"]
    pd.DataFrame(truth, columns=columns).to_csv(root / "truth.csv", index=False)
    (root / "conversion.json").write_text(json.dumps({"synthetic": True}))
    pd.DataFrame(manifest).to_csv(root / "manifest.csv", index=False)
    return root
