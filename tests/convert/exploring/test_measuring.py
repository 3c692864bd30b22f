"""What the pictures say, on pictures whose pixels are known."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from convert.exploring.collection import open_collection
from convert.exploring.measuring import BINS, look, measure
from tests.damaged_zip import REASONS, write_zip


def known(level_in, level_out, size=256):
    pixels = np.full((size, size), level_out, dtype=np.uint8)
    pixels[64:128, 32:96] = level_in
    return pixels


def dicom(pixels, image_id, encoding="explicit-vr"):
    from convert.synthetic.dicom_writer import write_dicom

    return write_dicom(pixels, encoding, image_id=image_id, patient_age="40", patient_sex="M", view="AP")


def test_measurements_of_known_pixels(release):
    release.add("bright", "Lung Opacity", (32, 64, 64, 64), data=dicom(known(200, 100), "bright"))
    release.add("faint", "Lung Opacity", (32, 64, 64, 64), (160, 64, 64, 64), data=dicom(known(150, 100), "faint"))
    release.add("normal", "Normal", data=dicom(known(100, 100), "normal"))
    release.add("broken", "Normal", data=b"no DICOM at all")
    collection = open_collection(release.write())
    found = measure(collection, workers=1)
    assert found.image_ids == ["bright", "faint", "normal"]
    assert [name for name, _ in found.rejected] == ["broken"]
    # Inside against a frame of a quarter of the sides; the second box of `faint` has nothing in it.
    assert found.contrasts[:2] == pytest.approx([100, 0])
    assert np.isnan(found.contrasts[2])
    share = 64 * 64 / 256**2
    bins = {100 * BINS // 256: 1 - share, 200 * BINS // 256: share}
    expected = np.zeros(BINS)
    for place, value in bins.items():
        expected[place] = value
    assert found.histograms[0] == pytest.approx(expected)
    assert found.histograms.sum(axis=1) == pytest.approx(1)
    assert (found.small[2] == 100).all()
    header = found.headers["bright"]
    assert (header.view, header.sex, header.age_years, header.width) == ("AP", "M", 40, 256)
    pixels = look(collection, "bright")
    assert (pixels == known(200, 100)).all()


def test_so_many_are_drawn_by_chance_and_two_processes_find_the_same(release):
    for number in range(210):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40), dtype=np.uint8)
        release.add(f"image{number:03}", "Normal", data=dicom(pixels, f"image{number:03}"))
    collection = open_collection(release.write())
    some = measure(collection, workers=1, most=5)
    assert len(some.image_ids) == 5
    assert some.image_ids == measure(collection, workers=1, most=5).image_ids
    assert some.image_ids != measure(collection, workers=1, most=5, seed=1).image_ids
    one, two = measure(collection, workers=1), measure(collection, workers=2)
    assert one.image_ids == two.image_ids
    assert (one.hashes == two.hashes).all()
    assert (one.histograms == two.histograms).all()


def test_boxes_refer_to_the_original_size(tmp_path):
    """A data set whose pictures were stored at half the size."""
    for folder in ("images/train",):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/train/a.png"), known(180, 90)[::2, ::2])
    manifest = {"image_id": "a", "split": "train", "label": "Lung Opacity", "boxes": 1, "width": 256, "height": 256,
                "picture": "images/train/a.png"}  # fmt: skip
    pd.DataFrame([manifest]).to_csv(tmp_path / "manifest.csv", index=False)
    truth = {"image_id": "a", "x": 32, "y": 64, "width": 64, "height": 64, "label": "Lung Opacity"}
    pd.DataFrame([truth]).to_csv(tmp_path / "truth.csv", index=False)
    assert measure(open_collection(tmp_path), workers=1).contrasts == pytest.approx([90])


@pytest.mark.parametrize("kind", REASONS)
def test_a_member_that_the_zip_does_not_give_is_rejected(release, tmp_path, kind):
    for name in ("good", "bad"):
        release.add(name, "Normal", data=dicom(known(100, 120), name))
    folder = release.write()
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    zipped = write_zip(tmp_path / "raw.zip", files, "stage_2_train_images/bad.dcm", kind)
    collection = open_collection(zipped)
    found = measure(collection, workers=1)
    assert found.image_ids == ["good"]
    ((image_id, reason),) = found.rejected
    assert image_id == "bad"
    assert reason.startswith(f"cannot be read: {REASONS[kind]}")
    with pytest.raises(ValueError, match="cannot be read: "):
        look(collection, "bad")
