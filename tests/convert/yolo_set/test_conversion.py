"""The way from a source to a data set as a notebook goes it: one call."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from common.errors import UserError
from convert import csv_to_yolo, rsna_to_yolo
from convert.parsers import any_csv, rsna
from convert.yolo_set import Splitting, conversion, convert
from tests.convert.pictures.dicom_bytes import encapsulated, image

ROOT = Path(__file__).resolve().parents[3]


def test_one_call_makes_what_the_command_makes(good_release, tree):
    source = good_release.write()
    by_command, by_call = source.parent / "command", source.parent / "call"
    options = ["--test", "0.2", "--folds", "2", "--negatives", "1", "--size", "32", "--seed", "3"]
    rsna_to_yolo.main(["--source", str(source), "--output", str(by_command), *options])
    data = convert(rsna.parse(source), by_call, Splitting(test=0.2, folds=2, negatives=1, seed=3), size=32)
    assert tree(by_call) == tree(by_command)
    assert data == by_call / "data.yaml"
    assert yaml.safe_load(data.read_text())["train"] == "train.txt"


def test_what_is_there_is_done_anew_only_on_demand(good_release):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    convert(parsed, output)
    before = (output / "manifest.csv").stat().st_mtime_ns
    assert convert(parsed, output) == output / "data.yaml"
    assert (output / "manifest.csv").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="seed was 0, now 1"):
        convert(parsed, output, Splitting(seed=1))
    convert(parsed, output, Splitting(seed=1), overwrite=True)
    assert (output / "manifest.csv").stat().st_mtime_ns > before


def test_a_second_conversion_into_the_same_folder_leaves_the_first_alone(good_release, tree, monkeypatch):
    parsed, folder = rsna.parse(good_release.write()), good_release.folder.parent
    convert(parsed, folder / "alone")
    command = [sys.executable, "convert/rsna_to_yolo.py", "--source", good_release.folder, "--output", folder / "out"]
    convert_plan, seen = conversion.convert_plan, []

    def meanwhile(*arguments, **options):
        part = folder / "out" / "images" / "train" / "a.jpg.77.part"
        part.write_text("of the first")
        seen.extend(
            subprocess.run([*map(str, command), *more], capture_output=True, text=True, cwd=ROOT)
            for more in ([], ["--overwrite"])
        )
        assert part.exists()
        return convert_plan(*arguments, **options)

    monkeypatch.setattr(conversion, "convert_plan", meanwhile)
    convert(parsed, folder / "out")
    assert [done.returncode for done in seen] == [1, 1]
    assert all(re.fullmatch(r"error: .*another conversion is at work in it.*\n", done.stderr) for done in seen)
    assert tree(folder / "out") == tree(folder / "alone")


def test_a_lock_that_a_killed_process_left_does_not_bar_the_way(good_release):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    output.mkdir()
    (output / "conversion.lock").touch()
    convert(parsed, output)
    assert not list(output.glob("*.lock"))


def test_where_nothing_can_be_locked_a_finished_data_set_is_still_found(good_release, monkeypatch):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    convert(parsed, output)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert convert(parsed, output) == output / "data.yaml"


def test_splitting_is_what_the_command_does_by_default():
    options = vars(rsna_to_yolo.build_parser().parse_args([]))
    assert vars(Splitting()) == {name: options[name] for name in vars(Splitting())}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"val": 0.7, "test": 0.4}, "--val 0.7 and --test 0.4 are more than all images"),
        ({"val": 0.95}, "--val 0.95 and --test 0.1 are more than all images"),
        ({"val": 0.1, "test": 1}, "are more than all images"),
        ({"test": 1, "test_ids": Path("ids")}, "--test 1 takes all images for test, --test-ids only those listed"),
        ({"val": -0.1}, "val -0.1"),
        ({"test": 1.5}, "test 1.5"),
        ({"folds": 1}, "folds 1"),
        ({"folds": -2}, "folds -2"),
        ({"negatives": -1}, "negatives -1"),
    ],
)
def test_splittings_that_cannot_be(values, said):
    with pytest.raises(UserError, match=said):
        Splitting(**values)


def test_the_package_alone_is_light():
    code = "import sys, convert.yolo_set; print(*{'numpy', 'pandas', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == ""


def test_a_page_names_the_command_that_was_given(good_release, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(sys, "argv", ["pytest", "--of-another-program"])
    source, output = good_release.write(), good_release.folder.parent / "out"
    rsna_to_yolo.main(["--source", str(source), "--output", str(output), "--report"])
    page = (output / "data.html").read_text()
    assert f"python convert/rsna_to_yolo.py --source {source} --output {output} --report" in page
    assert "--of-another-program" not in page


def odd_pictures() -> dict[str, bytes]:
    """Pictures of 48 rows and 64 columns, most of which are to be turned; DICOMs that need a word in the manifest."""
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    deep, colour = (grey * 16 + 5).astype(np.uint16), np.dstack([grey, grey[::-1], grey])
    files = {"grey.png": saved(grey), "colour.png": saved(colour), "deep.png": saved(deep)}
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files |= {f"turned-{orientation}-8.png": saved(grey, exif=exif)}
        files |= {f"turned-{orientation}-16.png": saved(deep, exif=exif)}
        files[f"turned-{orientation}.jpg"] = saved(colour, "JPEG", exif=exif)
        for kind, one in (("8", grey), ("16", deep), ("rgb", colour)):
            files[f"turned-{orientation}-tiff-{kind}.tiff"] = saved(one, "TIFF", tiffinfo={0x0112: orientation})
    files["raw.dcm"] = image(grey, PresentationIntentType="FOR PROCESSING")
    files["ready.dcm"] = image(grey, PresentationIntentType="FOR PRESENTATION")
    return files


def saved(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_going_on_gives_the_same_bytes_of_every_kind_of_picture(tmp_path, tree, capsys):
    files = odd_pictures()
    (tmp_path / "raw").mkdir()
    for name, data in files.items():
        (tmp_path / "raw" / name).write_bytes(data)
    rows = "".join(f"{name},5,6,10,12\n" for name in files)
    (tmp_path / "boxes.csv").write_text(f"image,x,y,width,height\n{rows}")
    parsed = any_csv.parse(
        tmp_path / "raw", tmp_path / "boxes.csv", columns={}, label="Lung Opacity", classes=None, merge=None
    )
    convert(parsed, tmp_path / "out")
    before = tree(tmp_path / "out")
    summary = " ".join(capsys.readouterr().out.split())

    (tmp_path / "out" / "manifest.csv").unlink()
    convert(parsed, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert before["rejected.csv"].count(b"\n") == 1  # the header

    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv").set_index("image_id")
    turned = manifest.index.str.contains("turned-[68]")
    assert (manifest.loc[turned, ["width", "height"]].to_numpy() == (48, 64)).all()
    assert (manifest.loc[~turned, ["width", "height"]].to_numpy() == (64, 48)).all()
    notes = manifest["note"].dropna().to_dict()
    coloured = {f"turned-{orientation}{kind}" for orientation in (3, 6, 8) for kind in ("", "-tiff-rgb")} | {"colour"}
    assert notes == {"raw": "for processing", **dict.fromkeys(coloured, "colour made grey")}
    assert "8 pictures have a note (manifest.csv):" in summary
    assert "1 for processing: raw values" in summary
    assert "7 colour made grey: the luma" in summary


def test_verify_finds_a_jpeg_that_ends_early(tmp_path):
    """Its markers are sound: only decoding it tells, and only where something follows its data."""
    noise = np.random.default_rng(4).integers(0, 256, (48, 64), dtype=np.uint8)
    whole = saved(noise, "JPEG")
    cut = whole[: len(whole) * 2 // 3] + b"\xff\xd9"
    syntax = "1.2.840.10008.1.2.4.50"
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, frame in (("whole", whole), ("cut", cut)):
        (raw / f"{name}.jpg").write_bytes(frame)
        (raw / f"{name}-dicom.dcm").write_bytes(image(noise, syntax=syntax, PixelData=encapsulated(frame)))
    names = sorted(path.name for path in raw.iterdir())
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\n" + "".join(f"{name},5,6,10,12\n" for name in names))

    command = ["--source", str(raw), "--boxes", str(tmp_path / "boxes.csv"), "--output"]
    csv_to_yolo.main([*command, str(tmp_path / "fast")])
    assert pd.read_csv(tmp_path / "fast" / "rejected.csv").empty
    csv_to_yolo.main([*command, str(tmp_path / "slow"), "--verify"])
    rejected = pd.read_csv(tmp_path / "slow" / "rejected.csv").set_index("image_id")["reason"]
    assert sorted(rejected.index) == ["cut", "cut-dicom"]
    assert rejected.str.contains("its data end before its last pixel|cannot be decoded").all()
    with pytest.raises(UserError, match="verify was true, now null"):
        csv_to_yolo.main([*command, str(tmp_path / "slow")])
