from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from common.errors import UserError, WorkError
from train.classifier.class_view import class_folder, make_view, one_class_each, read_positive

LABELS = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
FOLDERS = {
    "Lung_Opacity": "Lung Opacity",
    "No_Lung_Opacity_Not_Normal": "No Lung Opacity / Not Normal",
    "Normal": "Normal",
}


def make_data_set(root: Path, labels=LABELS, folds: bool = True) -> pd.DataFrame:
    """A data set's folder with its manifest; the pictures hold their own name."""
    rows = []
    for split, count in (("train", 9), ("val", 6), ("test", 3), ("challenge", 2)):
        (root / "images" / split).mkdir(parents=True)
        for number in range(count):
            image_id = f"{split}.{number}"
            picture = f"images/{split}/{image_id}.{'png' if number % 2 else 'jpg'}"
            (root / picture).write_text(image_id)
            label = "" if split == "challenge" else labels[number % len(labels)]
            fold = number // 3 if folds and split in ("train", "val") else ""
            rows.append((image_id, split, fold, label, picture))
    table = pd.DataFrame(rows, columns=["image_id", "split", "fold", "label", "picture"])
    table.to_csv(root / "manifest.csv", index=False)
    return table


@pytest.fixture
def root(tmp_path) -> Path:
    make_data_set(tmp_path / "set")
    return tmp_path / "set"


def links(folder: Path) -> dict[str, str]:
    """By path in the view, what is read through it."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "view.json"
    }


def expected(table: pd.DataFrame) -> dict[str, str]:
    folder_of = {label: folder for folder, label in FOLDERS.items()}
    return {
        f"{row.split}/{folder_of[row.label]}/{row.image_id}{Path(row.picture).suffix}": row.image_id
        for row in table.itertuples()
        if row.label
    }


def test_every_labelled_image_is_linked_in_its_class_and_split(root):
    table = pd.read_csv(root / "manifest.csv", keep_default_na=False)
    view = make_view(root, "Lung Opacity")
    assert view.folder == root / "classes"
    assert view.classes == FOLDERS
    assert view.positive == read_positive(view.folder) == "Lung_Opacity"
    assert links(view.folder) == expected(table)
    some = view.folder / "train" / "Normal" / "train.2.jpg"
    assert some.readlink() == Path("../../../images/train/train.2.jpg")
    assert view.images["image_id"].tolist() == sorted(table["image_id"])
    assert set(view.images["split"]) == {"train", "val", "test", "challenge"}
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []


def test_the_view_moves_with_the_data_set(root, tmp_path):
    before = links(make_view(root, "Lung Opacity").folder)
    root.rename(tmp_path / "moved")
    assert links(tmp_path / "moved" / "classes") == before
    assert len(before) == 18


def test_a_view_is_made_once_and_again_when_something_changed(root):
    view = make_view(root, "Lung Opacity")
    mark = view.folder / "train.cache"
    mark.write_text("Ultralytics' own")
    make_view(root, "Lung Opacity")
    assert mark.exists()

    (view.folder / "val" / "Normal" / "val.2.jpg").unlink()
    make_view(root, "Lung Opacity")
    assert not mark.exists()
    assert "val/Normal/val.2.jpg" in links(view.folder)

    table = pd.read_csv(root / "manifest.csv", keep_default_na=False)
    table.loc[table["image_id"] == "train.0", "split"] = "val"
    table.to_csv(root / "manifest.csv", index=False)
    make_view(root, "Lung Opacity")
    assert links(view.folder) == expected(table)
    assert "val/Lung_Opacity/train.0.jpg" in links(view.folder)


def test_a_killed_attempt_is_no_view_and_is_cleared_away(root, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.classifier.class_view.write_json", killed)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # nobody cleans up after a kill
        with pytest.raises(KeyboardInterrupt):
            make_view(root, "Lung Opacity")
    (left,) = root.glob(".classes-*")
    assert not (root / "classes").exists()
    os.utime(left, (0, 0))
    make_view(root, "Lung Opacity")
    assert not left.exists()
    assert len(links(root / "classes")) == 18


def test_a_fold_is_validated_on_and_the_others_are_trained_on(root):
    table = pd.read_csv(root / "manifest.csv", keep_default_na=False)
    view = make_view(root, "Lung Opacity", fold=1)
    assert view.folder == root / "classes-fold1"
    pool = table["fold"] != ""
    table.loc[pool, "split"] = ["val" if fold == "1" else "train" for fold in table.loc[pool, "fold"].astype(str)]
    assert links(view.folder) == expected(table)
    assert view.images.set_index("image_id")["split"].to_dict() == table.set_index("image_id")["split"].to_dict()
    with pytest.raises(UserError, match=r"fold=3: .*manifest.csv has folds 0, 1, 2"):
        make_view(root, "Lung Opacity", fold=3)


def test_without_folds(tmp_path):
    make_data_set(tmp_path / "set", folds=False)
    with pytest.raises(UserError, match="has no folds"):
        make_view(tmp_path / "set", "Lung Opacity", fold=0)


def test_hard_links_where_symbolic_ones_are_not_possible(root, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refuse)
    view = make_view(root, "Lung Opacity")
    some = view.folder / "train" / "Normal" / "train.2.jpg"
    assert not some.is_symlink()
    assert some.samefile(root / "images" / "train" / "train.2.jpg")
    assert json.loads((view.folder / "view.json").read_text())["links"] == "hard"

    shutil.rmtree(view.folder)
    monkeypatch.setattr(
        "os.link", lambda a, b: (_ for _ in ()).throw(OSError(1, "Not permitted", str(a), None, str(b)))
    )
    with pytest.raises(WorkError, match=r"neither symbolic nor hard links .*Move the data set"):
        make_view(root, "Lung Opacity")
    assert sorted(path.name for path in root.iterdir()) == ["images", "manifest.csv"]


def test_other_classes_than_the_challenges(tmp_path):
    make_data_set(tmp_path / "set", labels=("Pneumonia", "no finding", "Edema (acute)"))
    view = make_view(tmp_path / "set", "Pneumonia")
    assert view.classes == {"Edema_acute": "Edema (acute)", "Pneumonia": "Pneumonia", "no_finding": "no finding"}
    assert view.positive == "Pneumonia"


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("No Lung Opacity / Not Normal", "No_Lung_Opacity_Not_Normal"),
        ("../up", "up"),
        ("a\\b:c", "a_b_c"),
        ("Ödem", "Ödem"),
        ("..", ""),
    ],
)
def test_folder_names_hold_no_path(label, folder):
    assert class_folder(label) == folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="label"), "has no column label"),
        (lambda t: t.assign(label=""), "no image has a label"),
        (lambda t: t.replace({"label": {"Lung Opacity": "Consolidation"}}), "found Consolidation, No Lung"),
        (lambda t: t[(t["split"] != "val") | (t["label"] == "Lung Opacity")], "all images of split 'val'"),
        (lambda t: t[t["split"] != "val"], "found no image"),
        (lambda t: t.replace({"label": {"Normal": "lung opacity"}}), "would share a folder"),
        (lambda t: t.replace({"label": {"Normal": "/"}}), "gives no folder name"),
        (lambda t: pd.concat([t, t.tail(1)]), "challenge.1 is there twice"),
        (lambda t: t.assign(picture=t["picture"].str.replace("val.3", "val.9")), "val.9.png: no such picture"),
    ],
)
def test_what_a_gate_cannot_be_trained_on(root, change, message):
    change(pd.read_csv(root / "manifest.csv", keep_default_na=False)).to_csv(root / "manifest.csv", index=False)
    with pytest.raises(UserError) as caught:
        make_view(root, "Lung Opacity")
    assert message in str(caught.value)
    assert not list(root.glob("*classes*"))


def test_images_without_label_are_left_out_with_a_warning(root, capsys):
    table = pd.read_csv(root / "manifest.csv", keep_default_na=False)
    table.loc[table["image_id"].isin(["train.0", "test.1"]), "label"] = ""
    table.to_csv(root / "manifest.csv", index=False)
    view = make_view(root, "Lung Opacity")
    assert links(view.folder) == expected(table)
    assert len(links(view.folder)) == 16
    assert "2 images have no label" in capsys.readouterr().err


def test_no_manifest(tmp_path):
    with pytest.raises(UserError, match=r"manifest.csv: no such file"):
        make_view(tmp_path, "Lung Opacity")
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a readable CSV"):
        make_view(tmp_path, "Lung Opacity")
    with pytest.raises(UserError, match="no view of a data set"):
        read_positive(tmp_path)


def test_val_in_no_fold_is_for_the_calibration_alone(tmp_path):
    """Folds that divide train alone: the training sees nothing of what everything else is tuned on."""
    table = make_data_set(tmp_path / "set")
    table.loc[table["split"] == "val", "fold"] = ""
    table.to_csv(tmp_path / "set" / "manifest.csv", index=False)
    view = make_view(tmp_path / "set", "Lung Opacity", fold=0)
    used = view.images.set_index("image_id")["split"]
    own, folds = table.set_index("image_id")["split"], table.set_index("image_id")["fold"]
    assert set(used[own == "val"]) == {"calibration"}
    assert (used[own == "test"] == "test").all()
    assert set(used[folds == 0]) == {"val"}
    linked = set(links(view.folder).values())
    assert linked & set(own[own == "val"].index) == set()
    assert set(used[used == "val"].index) <= linked


def test_an_image_of_several_classes_is_positive_where_the_opacity_is_among_them(tmp_path):
    root = tmp_path / "several"
    table = make_data_set(root, labels=("Consolidation; Lung Opacity", "Mass; Nodule", "No finding"))
    table.loc[table["image_id"].isin(["train.8", "val.5"]), "label"] = "Nodule"  # so nodules are more than masses
    table.to_csv(root / "manifest.csv", index=False)
    view = make_view(root, "Lung Opacity")
    assert set(view.classes.values()) == {"Lung Opacity", "Nodule", "No finding"}
    of = view.images.set_index("image_id")["label"]
    assert [of[f"train.{number}"] for number in (0, 1, 2, 8)] == ["Lung Opacity", "Nodule", "No finding", "Nodule"]
    assert set(links(view.folder)) >= {"train/Lung_Opacity/train.3.png", "train/Nodule/train.4.jpg"}
    assert of["challenge.0"] == ""


def test_equally_frequent_classes_are_told_apart_by_name():
    labels = pd.Series(["B; A", "C", ""])
    assert one_class_each(labels, "C").tolist() == ["A", "C", ""]
