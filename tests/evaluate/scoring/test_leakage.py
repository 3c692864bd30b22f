from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import yaml

from common.data.data_set import DataSet
from evaluate.scoring.leakage import find_leakage, warn_of_leakage
from evaluate.scoring.result import Leakage, SplitLeakage


def yaml_of(folder, name, **splits):
    path = folder / name
    path.write_text(yaml.safe_dump({"names": ["Lung Opacity"], **splits}))
    return DataSet(path)


def test_clean_splits(data_set, capsys):
    data = DataSet(data_set)
    found = find_leakage(data, data, ["val", "test"])
    nothing = SplitLeakage(images=0, patients=0, images_of_these_patients=0)
    assert found.splits == {"val": replace(nothing, chosen_on=12), "test": nothing}
    assert (found.patients_known, found.not_seen) == (True, ())
    warn_of_leakage(found, "test")
    assert capsys.readouterr().err == ""


def test_images_that_were_trained_on(own_data_set, capsys):
    trained = yaml_of(own_data_set, "both.yaml", train=["train.txt", "test.txt"], val="val.txt")
    found = find_leakage(trained, DataSet(own_data_set), ["val", "test"])
    assert found.splits["val"].images == 0
    assert (found.splits["test"].images, found.splits["test"].patients) == (12, 6)
    warn_of_leakage(found, "test")
    assert "LEAKAGE: of split 'test', 12 images were trained on" in capsys.readouterr().err


def test_patient_on_both_sides(own_data_set):
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.loc[manifest["image_id"].isin(["test-03", "test-04", "test-05"]), "patient_id"] = "train-patient-2"
    manifest.to_csv(own_data_set / "manifest.csv", index=False)
    data = DataSet(own_data_set)
    found = find_leakage(data, data, ["test"]).splits["test"]
    assert found == SplitLeakage(
        images=0, patients=1, images_of_these_patients=3, examples=("test-03", "test-04", "test-05")
    )


def test_known_images_whose_patients_have_other_names(own_data_set, tmp_path, capsys):
    """Two conversions of the same pictures, one of which did not know the patients."""
    copy = shutil.copytree(own_data_set, tmp_path / "copy")
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest["patient_id"] = "other " + manifest["patient_id"]
    manifest.to_csv(copy / "manifest.csv", index=False)
    trained = yaml_of(own_data_set, "tests.yaml", train="test.txt", val="val.txt")
    found = find_leakage(trained, DataSet(copy / "data.yaml"), ["val", "test"])
    assert found.splits["val"] == SplitLeakage(0, 0, 0, chosen_on=12)
    leaked = found.splits["test"]
    assert (leaked.images, leaked.patients, leaked.images_of_these_patients) == (12, 6, 12)
    assert leaked.examples[0] == "test-00"
    warn_of_leakage(found, "test")
    assert "12 images belong to 6 patients that were trained on (such as test-00)" in capsys.readouterr().err


def plain_copy(data_set, folder, rename=lambda name: name, spoil=lambda picture: picture):
    """A folder of the test pictures as nobody's data set, to be trained on."""
    images = folder / "plain" / "images"
    images.mkdir(parents=True)
    for path in sorted((data_set / "images" / "test").iterdir()):
        (images / rename(path.name)).write_bytes(spoil(path.read_bytes()))
    return yaml_of(folder / "plain", "plain.yaml", train="images", val="images")


def test_plain_copies_of_the_scored_pictures_are_recognised(data_set, tmp_path, capsys):
    """Whoever trains on a folder of pictures has no ids there: what the files hold tells."""
    trained = plain_copy(data_set, tmp_path, rename=lambda name: f"another-{name}")
    found = find_leakage(trained, DataSet(data_set), ["val", "test"])
    assert (found.splits["test"].images, found.splits["test"].patients) == (12, 6)
    assert found.splits["val"].images == 0
    assert not found.patients_known
    warn_of_leakage(found, "test")
    said = capsys.readouterr().err
    assert "LEAKAGE: of split 'test', 12 images were trained on" in said
    assert "0 of 12 images of 'val' and 12 of 12 of 'train' have no id that tells them apart" in said
    assert "patients are not known both for 'val' and for 'train'" in said


def test_names_that_are_unique_in_themselves_tell(own_data_set, tmp_path):
    """RSNA's images are named by UUIDs: a picture of that name is the same one, encoded anew."""
    unique = {f"test-{number:02}": f"0a1b2c3d-0000-4000-8000-{number:012}" for number in range(12)}
    for name in ("manifest.csv", "truth.csv", "test.txt"):
        text = (own_data_set / name).read_text()
        for old, new in unique.items():
            text = text.replace(f"{old},", f"{new},").replace(f"/{old}.jpg", f"/{new}.jpg")
        (own_data_set / name).write_text(text)
    for old, new in unique.items():
        picture = own_data_set / "images" / "test" / f"{old}.jpg"
        picture.rename(picture.with_stem(new))
    trained = plain_copy(own_data_set, tmp_path, spoil=lambda picture: picture + b"other")
    found = find_leakage(trained, DataSet(own_data_set), ["test"])
    assert (found.splits["test"].images, found.splits["test"].patients) == (12, 6)


def test_equal_names_that_may_be_chance_are_told(data_set, tmp_path, capsys):
    """`001.png` is in many data sets. Between two folders of pictures it may be the same image or not."""
    first = plain_copy(data_set, tmp_path)
    second = plain_copy(data_set, tmp_path / "second", spoil=lambda picture: picture + b"other")
    found = find_leakage(first, yaml_of(second.yaml.parent, "test.yaml", test="images", val="images"), ["test"])
    assert found.splits["test"].images == 0
    warn_of_leakage(found, "test")
    assert "12 images of 'test' have the name of an image of 'train', such as test-00" in capsys.readouterr().err
    same = yaml_of(first.yaml.parent, "test.yaml", test="images", val="images")
    assert find_leakage(first, same, ["test"]).splits["test"].images == 12


def test_pictures_that_were_removed_after_the_training_are_told(data_set, tmp_path):
    trained = plain_copy(data_set, tmp_path)
    for path in (tmp_path / "plain" / "images").iterdir():
        path.unlink()
    (tmp_path / "plain" / "list.txt").write_text("./images/a.jpg\n./images/b.jpg\n")
    trained = yaml_of(tmp_path / "plain", "list.yaml", train="list.txt")
    found = find_leakage(trained, DataSet(data_set), ["test"])
    assert any("2 of 2 pictures are not there any more" in text for text in found.not_seen)


def convert_again(data_set, folder, **columns):
    """The same pictures converted once more, with other patients."""
    copy = shutil.copytree(data_set, folder)
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str)
    manifest.assign(**{name: make(manifest) for name, make in columns.items()}).to_csv(
        copy / "manifest.csv", index=False
    )
    return DataSet(copy / "data.yaml")


def test_one_of_two_conversions_knows_the_patients(own_data_set, tmp_path):
    """What one data set knows of the images of both says which patients are the same."""
    manifest = pd.read_csv(own_data_set / "manifest.csv", dtype=str)
    manifest.loc[manifest["image_id"].isin(["test-03", "test-04", "test-05"]), "patient_id"] = "train-patient-2"
    manifest.to_csv(own_data_set / "manifest.csv", index=False)
    knows = DataSet(own_data_set)
    ignorant = convert_again(own_data_set, tmp_path / "copy", patient_id=lambda manifest: manifest["image_id"])
    for trained, scored in ((ignorant, knows), (knows, ignorant)):
        found = find_leakage(trained, scored, ["test"])
        assert (found.splits["test"].images, found.splits["test"].images_of_these_patients) == (0, 3)
        assert found.patients_known
        assert found.not_seen == ()
    found = find_leakage(ignorant, ignorant, ["test"])
    assert (found.splits["test"].patients, found.patients_known) == (0, False)
    assert "patients are not known" in found.not_seen[0]


def test_patients_that_a_conversion_has_numbered_are_others_elsewhere(own_data_set, tmp_path):
    """Without names, a conversion calls them patient-1, patient-2: two hospitals have nobody in common."""

    def numbered(manifest):
        return [f"patient-{number // 2}" for number in range(len(manifest))]

    def backwards(manifest):
        return numbered(manifest)[::-1]

    first = convert_again(own_data_set, tmp_path / "first", patient_id=numbered)
    root = tmp_path / "second"
    convert_again(own_data_set, root, patient_id=backwards)  # so that train there and test here have equal numbers
    for name in ("manifest.csv", "truth.csv", "test.txt", "val.txt", "train.txt"):
        text = (root / name).read_text()
        for split in ("test", "val", "train"):
            text = text.replace(f"{split}-0", f"other-{split}-0").replace(f"{split}-1", f"other-{split}-1")
            text = text.replace(f"{split}-2", f"other-{split}-2")
        (root / name).write_text(text)
    for picture in list(root.glob("images/*/*.jpg")):
        picture.write_bytes(picture.read_bytes() + b"other")
        picture.rename(picture.with_stem(f"other-{picture.stem}"))
    found = find_leakage(first, DataSet(root), ["test"])
    assert (found.splits["test"].images, found.splits["test"].patients) == (0, 0)
    assert not found.patients_known


def test_the_split_that_the_best_epoch_was_chosen_on(own_data_set, capsys):
    trained = yaml_of(own_data_set, "chosen.yaml", train="train.txt", val="test.txt")
    found = find_leakage(trained, DataSet(own_data_set), ["val", "test"])
    assert [found.splits[split].chosen_on for split in ("val", "test")] == [0, 12]
    warn_of_leakage(found, "test")
    assert "12 images of split 'test' are validation images of the training" in capsys.readouterr().err
    warn_of_leakage(found, "val")
    assert capsys.readouterr().err == ""


def test_what_earlier_trainings_have_seen(own_data_set, capsys):
    data = DataSet(own_data_set)
    earlier = yaml_of(own_data_set, "earlier.yaml", train="test.txt", val="val.txt")
    found = find_leakage(data, data, ["test"], earlier=[earlier], not_seen=["it began with other.pt"])
    assert found.splits["test"].images == 12
    assert (len(found.earlier), found.not_seen) == (1, ("it began with other.pt",))
    warn_of_leakage(found, "test")
    said = capsys.readouterr().err
    assert "12 images were trained on" in said
    assert "not all of it can be seen: it began with other.pt" in said


def test_unknown_training_data(data_set, capsys):
    found = find_leakage(None, DataSet(data_set), ["test"], "it is gone")
    assert found == Leakage(reason="it is gone")
    assert not found.checked
    warn_of_leakage(found, "test")
    assert "leakage was not checked: it is gone" in capsys.readouterr().err
