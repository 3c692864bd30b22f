from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from common.data.data_set import DataSet, converted_root, find_root, warn_unknown_patients
from common.data.data_yaml import list_pictures
from common.data.fingerprint import yaml_fingerprint
from common.errors import UserError
from common.quiet_ultralytics import import_ultralytics


def write_yaml(path: Path, /, **content) -> Path:
    path.write_text(yaml.safe_dump({"names": {0: "Lung Opacity"}, **content}))
    return path


@pytest.fixture
def ultralytics_files(monkeypatch):
    """What Ultralytics itself makes of a data YAML: the picture files of a split."""
    pytest.importorskip("ultralytics", reason="Ultralytics is not installed")
    import_ultralytics()
    from ultralytics.data.base import BaseDataset
    from ultralytics.data.utils import check_det_dataset

    monkeypatch.setattr("ultralytics.data.utils.check_font", lambda *_: None)
    monkeypatch.setattr("ultralytics.data.base.check_file_speeds", lambda *_, **__: None)

    def files(path: Path, split: str) -> set[str]:
        reader = BaseDataset.__new__(BaseDataset)
        reader.prefix, reader.fraction = "", 1.0
        return {str(Path(name).resolve()) for name in reader.get_img_files(check_det_dataset(str(path))[split])}

    return files


def test_split_of_a_converted_data_set(data_set):
    split = DataSet(data_set).split("val")
    assert list(split.pictures) == [f"val-{number:02}" for number in range(12)]
    assert split.pictures["val-03"] == data_set / "images/val/val-03.jpg"
    assert split.truth["image_id"].drop_duplicates().tolist() == list(split.pictures)
    assert split.truth["x"].notna().sum() == 9
    assert split.manifest["image_id"].tolist() == list(split.pictures)
    assert split.has_patients


def test_a_conversion_without_the_mapping_does_not_know_its_patients(own_data_set, capsys):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.assign(patient_id=manifest["image_id"]).to_csv(own_data_set / "manifest.csv", index=False)
    split = DataSet(own_data_set).split("val")
    assert not split.has_patients
    warn_unknown_patients(split)
    assert "patients of split 'val' are not known" in capsys.readouterr().err
    manifest.loc[0, "patient_id"] = manifest.loc[1, "patient_id"] = "one"  # a patient with two images: known
    manifest.to_csv(own_data_set / "manifest.csv", index=False)
    warn_unknown_patients(DataSet(own_data_set).split("val"))
    assert capsys.readouterr().err == ""


def layouts(root: Path, elsewhere: Path) -> dict[str, Path]:
    """The same splits, named in every way that Ultralytics knows."""
    (root / "twice.txt").write_text((root / "val.txt").read_text() * 2)
    lines = (root / "val.txt").read_text().replace("./", f"{root}/")
    (elsewhere / "absolute.txt").write_text("\ufeff" + lines, encoding="utf-8")
    return {
        "lists": root / "data.yaml",
        "folders": write_yaml(root / "folders.yaml", train="images/train", val="images/val"),
        "parts": write_yaml(root / "parts.yaml", train="train.txt", val=["val.txt", "images/test"]),
        "repeated": write_yaml(root / "repeated.yaml", train="train.txt", val="twice.txt"),
        "path": write_yaml(elsewhere / "path.yaml", path=str(root), train="train.txt", val="val.txt"),
        "beside": write_yaml(elsewhere / "beside.yaml", train="own/train.txt", val="./own/val.txt"),
        "absolute": write_yaml(elsewhere / "absolute.yaml", train="absolute.txt", val="absolute.txt"),
        "validation": write_yaml(root / "validation.yaml", train="train.txt", validation="val.txt"),
        "dots": write_yaml(elsewhere / "dots.yaml", train="../own/train.txt", val="../own/val.txt"),
    }


@pytest.mark.parametrize(
    "layout", ["lists", "folders", "parts", "repeated", "path", "beside", "absolute", "validation", "dots"]
)
def test_resolves_as_ultralytics_does(own_data_set, tmp_path, ultralytics_files, layout):
    path = layouts(own_data_set, tmp_path)[layout]
    data = DataSet(path)
    for split in ("train", "val"):
        ours = {str(file.resolve()) for file in data.pictures(split).values()}
        assert ours == ultralytics_files(path, split)
    assert len(data.split("val").pictures) == (24 if layout == "parts" else 12)


def test_relative_path_is_found_from_the_current_folder(own_data_set, tmp_path, monkeypatch):
    (tmp_path / "yamls").mkdir()
    path = write_yaml(tmp_path / "yamls" / "relative.yaml", path="own", train="train.txt", val="val.txt")
    monkeypatch.chdir(tmp_path)
    assert len(DataSet(path).pictures("val")) == 12
    monkeypatch.chdir(tmp_path / "yamls")
    with pytest.raises(UserError, match="`path: own` leads nowhere"):
        DataSet(path).pictures("val")


def test_split_that_only_the_data_set_lists(data_set):
    data = DataSet(data_set)
    assert list(data.pictures("challenge")) == ["challenge-00", "challenge-01"]
    assert data.challenge_ids() == {"challenge-00", "challenge-01"}
    with pytest.raises(UserError, match=r"2 images of the challenge's own test set.*not public") as caught:
        data.split("challenge")
    assert "\n" not in str(caught.value)


def test_split_that_nobody_knows(data_set):
    with pytest.raises(UserError, match=r"no split 'fold7'; it has train, val, test"):
        DataSet(data_set).split("fold7")


def test_challenge_with_truth_is_a_split_like_any(own_data_set):
    with (own_data_set / "truth.csv").open("a") as file:
        file.write("challenge-00,1,2,3,4,Lung Opacity\nchallenge-01,,,,,Normal\n")
    assert len(DataSet(own_data_set).split("challenge").truth) == 2


def test_whole_manifest_and_origin(data_set):
    data = DataSet(data_set)
    assert len(data.whole_manifest(["val"])) == 50
    assert data.is_synthetic(["val"]) is True


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "manifest.csv").unlink(), ["conversion.json", "did not finish", "again"]),
        (lambda root: (root / "val.txt").unlink(), ["'val'", "val.txt", "does not exist"]),
        (lambda root: (root / "val.txt").write_text(""), ["'val'", "no pictures"]),
        (lambda root: (root / "val.txt").write_text("./labels/val/a.txt\n"), ["a.txt", "no picture"]),
        (lambda root: (root / "val.txt").write_text("./images/val/new.jpg\n"), ["manifest.csv", "new"]),
        (
            lambda root: (root / "val.txt").write_text("./images/val/val-00.jpg\n./images/val/val-00.png\n"),
            ["two pictures"],
        ),
        (
            lambda root: (root / "truth.csv").write_text("image_id,x,y,width,height,label\na,,,,,b\n"),
            ["12 images", "val-00"],
        ),
        (lambda root: (root / "data.yaml").write_text("a: [1"), ["not a readable YAML"]),
        (lambda root: (root / "data.yaml").write_text("just text"), ["not a YOLO data YAML"]),
        (lambda root: (root / "data.yaml").write_text("val: val.txt"), ["no `names`"]),
        (lambda root: (root / "data.yaml").write_text("val: val.txt\nnames: [cat, dog]"), ["2 classes", "cat"]),
        (lambda root: (root / "data.yaml").unlink(), ["expected one data YAML"]),
    ],
)
def test_spoiled_data_set_gives_one_line(own_data_set, spoil, words):
    spoil(own_data_set)
    with pytest.raises(UserError) as caught:
        DataSet(own_data_set).split("val")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_foreign_data_set_is_read_from_its_labels(own_data_set, capsys):
    truth = DataSet(own_data_set).split("val").truth
    for name in ("manifest.csv", "truth.csv", "conversion.json"):
        (own_data_set / name).unlink()
    (own_data_set / "labels/val/val-01.txt").unlink()
    split = DataSet(own_data_set).split("val")
    assert "1 of 12 pictures of 'val' have no label file" in capsys.readouterr().err
    pd.testing.assert_frame_equal(split.truth.drop(columns="label"), truth.drop(columns="label"), rtol=0, atol=1e-6)
    assert not split.has_patients
    assert split.manifest["patient_id"].tolist() == list(split.pictures)
    assert split.manifest["width"].unique().tolist() == [128.0]


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_ids_of_names_that_are_no_utf8_can_be_written(own_data_set, tmp_path):
    folder = own_data_set / "images/val"
    (folder / "val-00.jpg").rename(folder / os.fsdecode(b"caf\xe9.jpg"))
    (own_data_set / "labels/val/val-00.txt").rename(own_data_set / "labels/val" / os.fsdecode(b"caf\xe9.txt"))
    for name in ("manifest.csv", "truth.csv", "conversion.json"):
        (own_data_set / name).unlink()
    data = write_yaml(own_data_set / "data.yaml", train="images/val", val="images/val")
    split = DataSet(data).split("val")
    assert next(iter(split.pictures)) == r"caf\xe9"
    assert split.pictures[r"caf\xe9"].read_bytes()
    assert split.truth["image_id"].eq(r"caf\xe9").any()
    split.truth.to_csv(tmp_path / "truth.csv", encoding="utf-8")
    assert yaml_fingerprint(data) is not None


FOREIGN = {
    "another program's": b"file,size\nimages/val/val-00.jpg,1000\n",
    "empty": b"",
    "binary": bytes(range(256)) * 9,
    "without line ends": b"x" * 1_000_000,
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_manifest_of_another_program_is_none_of_ours(own_data_set, tmp_path, content):
    for folder in (own_data_set, tmp_path):
        (folder / "manifest.csv").write_bytes(content)
    (own_data_set / "conversion.json").unlink()
    assert find_root(own_data_set / "images" / "val") is None
    assert not DataSet(own_data_set).split("val").has_patients


def test_a_data_set_below_a_manifest_of_another_program(own_data_set, tmp_path):
    (tmp_path / "manifest.csv").write_bytes(FOREIGN["another program's"])
    assert find_root(own_data_set / "images" / "val") == own_data_set
    (own_data_set / "images" / "manifest.csv").write_bytes(FOREIGN["another program's"])
    (own_data_set / "conversion.json").unlink()  # as an older version's data set: our columns tell
    assert find_root(own_data_set / "images" / "val") == own_data_set
    assert DataSet(own_data_set).split("val").has_patients


def test_a_broken_manifest_of_a_conversion_is_an_error(own_data_set):
    (own_data_set / "manifest.csv").write_bytes(FOREIGN["another program's"])
    with pytest.raises(UserError, match=r"manifest.csv, line 1: found the columns file,size; expected image_id"):
        DataSet(own_data_set).split("val")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.1", "line 1: found '0 0.5 0.5 0.1'; expected 5 numbers"),
        ("0 0.5 0.5 0.1 x", "expected 5 numbers"),
        ("1 0.5 0.5 0.1 0.1", "class 1; expected 0 to 0"),
        ("0 64 64 20 20", "expected shares"),
        ("0 0.5 0.5 0 0.1", "above 0"),
    ],
)
def test_bad_label_line(own_data_set, line, words):
    (own_data_set / "manifest.csv").unlink()
    (own_data_set / "conversion.json").unlink()
    (own_data_set / "labels/val/val-00.txt").write_text(line)
    with pytest.raises(UserError, match=r"val-00.txt, line 1") as caught:
        DataSet(own_data_set).split("val")
    assert words in str(caught.value)


def test_a_yaml_anywhere_leads_to_its_converted_set(data_set, tmp_path):
    lists = {name: str(data_set / f"{name}.txt") for name in ("train", "val")}
    outside = write_yaml(tmp_path / "mine.yaml", **lists)
    by_path = write_yaml(tmp_path / "path.yaml", path=str(data_set), train="images/train")
    for data in (data_set, data_set / "data.yaml", outside, by_path):
        assert converted_root(data) == data_set
    with pytest.raises(UserError, match=r"names .*nowhere\.txt, which does not exist\. Convert the data first"):
        converted_root(write_yaml(tmp_path / "gone.yaml", train="nowhere.txt"))
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"leads to none; expected one data set that was converted here"):
        converted_root(write_yaml(tmp_path / "foreign.yaml", train="images"))
    with pytest.raises(UserError, match="no such data YAML"):
        converted_root(tmp_path / "no.yaml")


def test_links_in_circles_name_no_picture_twice(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "up").symlink_to("..")
    assert list_pictures(tmp_path / "images", tmp_path / "data.yaml", "val") == [tmp_path / "images" / "a.png"]
