from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.cli import execute
from common.errors import UserError
from convert import rsna_release_to_yolo, sample
from convert.exploring.collection import open_collection
from convert.pictures.dicom import to_picture
from convert.synthetic.dicom_writer import write_dicom
from evaluate import score
from evaluate.metrics.rsna import rsna_score

OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
FOLDER = "mdai_rsna_project_x9N20BZa_images_2018-07-20-153330"
ANNOTATIONS = "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
PICTURES = "pneumonia-challenge-dataset-adjudicated-kaggle_2018.zip"
SUBMISSION = "stage_2_sample_submission.csv"

GROUPS: list[dict[str, Any]] = [
    {
        "id": "G_1",
        "name": "Pneumonia",
        "labels": [
            {"id": "L_high", "name": "Lung Opacity (High Prob)"},
            {"id": "L_low", "name": "Lung Opacity (Low Prob) "},
            {"id": "L_question", "name": "Question "},
        ],
    },
    {
        "id": "G_2",
        "name": "Calculated",
        "labels": [
            {"id": "L_opacity", "name": "Lung Opacity "},
            {"id": "L_other", "name": NOT_NORMAL},
            {"id": "L_normal", "name": NORMAL},
        ],
    },
]


def uids_of(number: int) -> dict[str, str]:
    return {f"{level}InstanceUID": f"1.2.{digit}.{number}" for digit, level in enumerate(("Study", "Series", "SOP"))}


class Release:
    """A small release in RSNA's own layout that a test can spoil before it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.annotations: list[dict[str, Any]] = []
        self.mapping: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.groups = GROUPS

    def image(self, number: int, patient: int) -> str:
        """Add an image and its patient; its id."""
        uids = uids_of(number)
        image_id = f"image-{number:02}"
        self.mapping.append({"subset_img_id": image_id, "img_id": f"{patient:08}_{number:03}.png", **uids})
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64), dtype=np.uint8)
        self.files["/".join([FOLDER, *uids.values()]) + ".dcm"] = write_dicom(
            pixels, "jpeg-baseline", image_id=image_id, view="PA", sop_uid=uids["SOPInstanceUID"]
        )
        return image_id

    def say(self, number: int, label_id: str, *box: float, **more: Any) -> None:
        """Add an annotation."""
        annotation = {
            **uids_of(number),
            "labelId": label_id,
            "annotationNumber": len(self.annotations),
            "data": dict(zip(("x", "y", "width", "height"), box, strict=True)) if box else None,
            "createdById": "U_1",
            **more,
        }
        self.annotations.append({name: value for name, value in annotation.items() if value != "absent"})

    def write(self) -> Path:
        for name, data in self.files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
        self.write_tables()
        return self.folder

    def write_tables(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        export = {"labelGroups": self.groups, "datasets": [{"annotations": self.annotations}]}
        (self.folder / ANNOTATIONS).write_text(json.dumps(export))
        (self.folder / MAPPING).write_text(json.dumps(self.mapping))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """30 images of 10 patients, all with truth, and what readers said of them."""
    made = Release(tmp_path / "raw")
    for number in range(30):
        made.image(number, number % 10)
        if number % 3 == 0:
            made.say(number, "L_high", 5, 5, 20, 20)  # a reader's box beside the true one
            made.say(number, "L_opacity", 1, 2, 10, 20)
        else:
            made.say(number, "L_low", 3, 3, 9, 9)  # a reader saw something that the truth has not
            made.say(number, "L_normal" if number % 3 == 1 else "L_other")
    return made


@pytest.fixture
def ids(tmp_path: Path) -> Callable[..., Path]:
    """Write a list of image numbers as Kaggle's sample submission."""

    def write(*numbers: int, name: str = SUBMISSION) -> Path:
        path = tmp_path / name
        path.write_text("patientId,PredictionString\n" + "".join(f"image-{n:02},0.5 0 0 100 100\n" for n in numbers))
        return path

    return write


def convert(source: Path, *arguments: object, output: Path | None = None) -> Path:
    output = output or source.parent / "out"
    given = ["--source", source, "--output", output, "--workers", 1, *arguments]
    assert not rsna_release_to_yolo.main([str(argument) for argument in given])
    return output


def manifest(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "manifest.csv", dtype={"image_id": str, "patient_id": str}).set_index("image_id")


def rejected(output: Path) -> dict[str, str]:
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["image_id"], table["reason"], strict=True))


def test_truth_is_the_calculated_group_and_nothing_else(release, ids):
    output = convert(release.write(), "--test-ids", ids(0, 1, 2), "--keep-leaking")
    images = manifest(output)
    assert len(images) == 30
    assert images["label"].value_counts().to_dict() == {OPACITY: 10, NORMAL: 10, NOT_NORMAL: 10}
    assert images.loc["image-12", ["patient_id", "boxes", "width", "view"]].tolist() == ["00000002", 1, 64, "PA"]
    truth = pd.read_csv(output / "truth.csv").dropna()
    assert truth[["x", "y", "width", "height"]].drop_duplicates().to_numpy().tolist() == [[1, 2, 10, 20]]
    for image_id, row in images.iterrows():
        assert row["source"].endswith(f".{int(image_id[-2:])}.dcm")
        assert (output / row["picture"]).read_bytes() == to_picture(release.files[row["source"]]).encoded
    assert rejected(output) == {}


def test_the_test_split_is_kaggles_and_its_patients_are_left_out_of_training(release, ids, capsys):
    source = release.write()
    output = convert(source, "--test-ids", ids(0, 1, 2))
    images = manifest(output)
    assert set(images.index[images["split"] == "test"]) == {"image-00", "image-01", "image-02"}
    # Patients 0, 1 and 2 have two more images each.
    assert set(rejected(output)) == {f"image-{number:02}" for number in (10, 11, 12, 20, 21, 22)}
    assert (images.groupby("patient_id")["split"].nunique() == 1).all()
    assert "6 images are left out" in capsys.readouterr().err

    output = convert(source, "--test-ids", ids(0, 1, 2), "--keep-leaking", "--overwrite")
    assert (manifest(output).loc[["image-10", "image-22"], "split"] == "train").all()
    assert "have a patient in more than one split" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_external_set_takes_the_images_of_kaggles_test_set_as_well(release, ids, split):
    source = release.write()
    (source / SUBMISSION).write_bytes(ids(0, 1, 2).read_bytes())
    assert (manifest(convert(source))["split"] == "test").sum() == 3  # it is found there
    images = manifest(convert(source, f"--{split}", "1", "--overwrite"))
    assert len(images) == 30
    assert set(images["split"]) == {split}


@pytest.mark.parametrize("way", ["training labels", "Kaggle's folder", "pictures' names", "beside", "labels beside"])
def test_other_ways_to_name_the_test_set(release, ids, way, tmp_path):
    source = release.write()
    labels = "patientId,x,y,width,height,Target\n" + "".join(f"image-{n:02},,,,,0\n" for n in range(3, 30))
    arguments: list[object] = ["--keep-leaking"]
    if way == "training labels":
        (tmp_path / "labels.csv").write_text(labels)
        arguments += ["--train-ids", tmp_path / "labels.csv"]
    elif way == "labels beside":
        (source / "stage_2_train_labels.csv").write_text(labels)
    elif way == "beside":
        ids(0, 1, 2).rename(source / SUBMISSION)
    else:
        kaggle = tmp_path / "kaggle"
        (kaggle / "stage_2_test_images").mkdir(parents=True)
        if way == "Kaggle's folder":
            ids(0, 1, 2).rename(kaggle / SUBMISSION)
        else:
            for number in range(3):
                (kaggle / "stage_2_test_images" / f"image-{number:02}.dcm").touch()
        arguments += ["--test-ids", kaggle]
    images = manifest(convert(source, *arguments))
    assert set(images.index[images["split"] == "test"]) == {"image-00", "image-01", "image-02"}


def test_without_kaggles_ids_the_test_split_is_an_ordinary_one_and_that_is_said(release, capsys):
    images = manifest(convert(release.write(), "--test", "0.2"))
    assert "its score is not the leaderboard's" in capsys.readouterr().err
    assert (images["split"] == "test").sum() == 6


def test_zip_of_the_pictures_with_the_tables_beside_it(release, ids, tree):
    source = release.write()
    output = convert(source, "--test-ids", ids(0, 1, 2))
    beside = source.parent / "zipped" / "downloads"
    beside.mkdir(parents=True)
    with zipfile.ZipFile(beside / PICTURES, "w") as archive:
        for name, data in release.files.items():
            archive.writestr(name, data)
    for name in (ANNOTATIONS, MAPPING):
        (beside / name).write_bytes((source / name).read_bytes())
    for given in (beside / PICTURES, beside):
        other = convert(given, "--test-ids", ids(0, 1, 2), output=source.parent / given.name)
        assert tree(other) == tree(output)
    moved = beside / "elsewhere.json"
    (beside / ANNOTATIONS).rename(moved)
    again = source.parent / "again"
    convert(beside, "--test-ids", ids(0, 1, 2), "--annotations", moved, output=again)
    assert tree(again) == tree(output)


def test_what_cannot_be_used_is_kept_apart_with_its_reason(release, ids):
    release.say(1, "L_question", SOPInstanceUID="absent")
    release.say(4, "L_normal", SOPInstanceUID="absent")
    release.say(5, "L_opacity", 1, 2, 3, 4)  # beside L_other
    release.say(7, "L_normal")  # said twice
    release.say(9, "L_opacity", 1, 2, 0, 4)
    release.annotations = [one for one in release.annotations if one.get("SOPInstanceUID") != "1.2.2.10"]
    release.say(10, "L_high", 1, 2, 3, 4)  # a reader's label alone
    release.annotations = [one for one in release.annotations if one.get("SOPInstanceUID") != "1.2.2.12"]
    release.say(12, "L_opacity")  # positive, but no box
    del release.files[f"{FOLDER}/1.2.0.13/1.2.1.13/1.2.2.13.dcm"]
    release.mapping = [one for one in release.mapping if one["subset_img_id"] != "image-14"]
    output = convert(release.write(), "--test-ids", ids(0, 1, 2), "--keep-leaking")
    gone = {"image-05", "image-10", "image-12", "image-13"}
    assert set(manifest(output).index) == {f"image-{number:02}" for number in range(30) if number != 14} - gone
    table = pd.read_csv(output / "rejected.csv", dtype=str, keep_default_na=False)
    expected = {
        "": {
            "annotation without a SOPInstanceUID: of no known image",
            "annotation without a SOPInstanceUID, of a read",
        },
        "image-05": {"image has two labels"},
        "image-07": {"duplicate of an earlier row"},
        "image-09": {"box has no area: 0 x 4 pixels"},
        "image-10": {"no truth: no annotation of the label group Calculated"},
        "image-12": {"marked positive but has no box"},
        "image-13": {"has truth, but no DICOM"},
        "1.2.2.14": {f"its image is not in {MAPPING}", f"a DICOM that is not in {MAPPING}"},
    }
    assert set(table["image_id"]) == expected.keys()
    for image_id, texts in expected.items():
        reasons = table.loc[table["image_id"] == image_id, "reason"].tolist()
        assert all(any(reason.startswith(text) for reason in reasons) for text in texts), (image_id, reasons)
    # `row` is the annotation's place in the file.
    row = int(table.loc[table["image_id"] == "image-07", "row"].iloc[0])
    assert release.annotations[row - 1]["SOPInstanceUID"] == "1.2.2.7"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / ANNOTATIONS).unlink(), f"no {ANNOTATIONS} in it, nor beside it"),
        (lambda folder: (folder / MAPPING).unlink(), f"no {MAPPING} in it, nor beside it"),
        (lambda folder: (folder / ANNOTATIONS).write_text("[]"), "not an MD.ai export"),
        (
            lambda folder: (folder / ANNOTATIONS).write_text(json.dumps({"labelGroups": GROUPS[:1], "datasets": []})),
            "0 label groups named Calculated, expected one: it holds the truth. Found Pneumonia",
        ),
        (lambda folder: (folder / MAPPING).write_text('[{"img_id": "1"}]'), "not RSNA's mapping"),
        (lambda folder: (folder / FOLDER).rename(folder.parent / "elsewhere"), "no .dcm file in it"),
        (lambda folder: (folder / SUBMISSION).write_text("patientId,x\nother,1\n"), "none of them with truth"),
    ],
    ids=["no annotations", "no mapping", "no export", "no truth group", "bad mapping", "no pictures", "other ids"],
)
def test_source_that_cannot_be_used(release, spoil, message):
    source = release.write()
    spoil(source)
    with pytest.raises(UserError) as error:
        convert(source)
    assert message in str(error.value)
    assert not (source.parent / "out").exists()


def test_two_ways_to_say_the_test_set_are_refused(capsys):
    assert execute(rsna_release_to_yolo.main, ["--test-ids", "a.csv", "--train-ids", "b.csv"]) == 2
    assert "give one of them" in capsys.readouterr().err


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same synthetic images as Kaggle serves them and as RSNA does."""
    folder = tmp_path_factory.mktemp("samples")
    for layout in ("kaggle", "release"):
        more = ["--images", "40", "--test-images", "16", "--size", "64", "--workers", "1", "--layout", layout]
        sample.main(["--output", str(folder / layout), *more])
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_sample_release_holds_what_the_real_one_does(samples):
    raw = samples / "release"
    export = json.loads((raw / ANNOTATIONS).read_text())
    mapping = {record["SOPInstanceUID"]: record for record in json.loads((raw / MAPPING).read_text())}
    listed = export["datasets"][0]["annotations"]
    names = {label["id"]: label["name"] for group in export["labelGroups"] for label in group["labels"]}
    truth = {
        label["id"] for group in export["labelGroups"] if group["name"] == "Calculated" for label in group["labels"]
    }
    assert any(name != name.strip() for name in names.values())
    assert any(one["data"] is None for one in listed)
    assert [one for one in listed if "SOPInstanceUID" not in one]
    with_truth = {one["SOPInstanceUID"] for one in listed if one["labelId"] in truth}
    assert 0 < len(mapping) - len(with_truth) < 5
    boxed = [one for one in listed if one["data"] and "SOPInstanceUID" in one]
    readers = {one["SOPInstanceUID"] for one in boxed if one["labelId"] not in truth}
    assert readers - {one["SOPInstanceUID"] for one in boxed if one["labelId"] in truth}  # where the truth has none
    files = {path.stem: path for path in raw.rglob("*.dcm")}
    assert files.keys() == mapping.keys()
    for sop, path in files.items():
        record = mapping[sop]
        assert path.relative_to(raw).parts == (
            FOLDER,
            record["StudyInstanceUID"],
            record["SeriesInstanceUID"],
            path.name,
        )

    # The same images as in Kaggle's layout, with the same boxes, and the test images' besides.
    of_image = {sop: record["subset_img_id"] for sop, record in mapping.items()}
    boxes = {
        (of_image[one["SOPInstanceUID"]], *one["data"].values())
        for one in listed
        if one["labelId"] in truth and one["data"]
    }
    kaggle = rows(samples / "kaggle" / "stage_2_train_labels.csv")
    test = {row["patientId"] for row in rows(samples / "kaggle" / SUBMISSION)}
    numbers = ("x", "y", "width", "height")
    expected = {(row["patientId"], *(float(row[name]) for name in numbers)) for row in kaggle if row["Target"] == "1"}
    assert {box for box in boxes if box[0] not in test} == expected
    assert {box[0] for box in boxes} & test


def test_sample_made_again_is_the_same_and_leaves_nothing_of_another_layout(samples, tmp_path, tree):
    more = ["--size", "64", "--workers", "1", "--output", str(tmp_path / "raw")]
    sample.main(["--images", "40", "--test-images", "16", "--layout", "release", *more])
    assert tree(tmp_path / "raw") == tree(samples / "release")
    sample.main(["--images", "40", "--test-images", "16", "--overwrite", *more])
    assert tree(tmp_path / "raw") == tree(samples / "kaggle")
    assert not (tmp_path / "raw" / FOLDER).exists()


def test_a_submission_scored_on_the_sample_release_gets_the_metric_of_the_hidden_truth(samples, tmp_path):
    output = convert(samples / "release", output=tmp_path / "set")
    test = {row["patientId"] for row in rows(samples / "kaggle" / SUBMISSION)}
    images = manifest(output)
    assert set(images.index[images["split"] == "test"]) == test

    # The truth read from the annotations without the project's parser.
    export = json.loads((samples / "release" / ANNOTATIONS).read_text())
    of_image = {
        record["SOPInstanceUID"]: record["subset_img_id"]
        for record in json.loads((samples / "release" / MAPPING).read_text())
    }
    truth_ids = {label["id"] for label in export["labelGroups"][1]["labels"]}
    found = [
        {"image_id": of_image[one["SOPInstanceUID"]], **(one["data"] or dict.fromkeys(("x", "y", "width", "height")))}
        for one in export["datasets"][0]["annotations"]
        if one["labelId"] in truth_ids
    ]
    truth = pd.DataFrame(found)
    truth = truth[truth["image_id"].isin(test)].astype(dict.fromkeys(("x", "y", "width", "height"), float))

    random = np.random.default_rng(0)
    strings = dict.fromkeys(sorted(test), "")
    predictions = []
    for box in truth.dropna().itertuples():
        moved = np.array([box.x, box.y, box.width, box.height]) + random.uniform(-1, 1, 4).round(2)
        predictions.append((box.image_id, round(random.uniform(0.4, 1), 3), *moved.round(2).tolist()))
    predictions += [(image_id, 0.3, 5.0, 5.0, 20.0, 20.0) for image_id in sorted(test)[::3]]
    for image_id, *values in predictions:
        strings[image_id] += " " + " ".join(map(str, values))
    submission = tmp_path / "submission.csv"
    lines = [f"{image_id},{text.strip()}" for image_id, text in strings.items()]
    submission.write_text("patientId,PredictionString\n" + "\n".join(lines) + "\n")
    arguments = ["--predictions", submission, "--data", output, "--no-wandb", "--no-report", "--output", tmp_path / "s"]
    assert not score.main([str(argument) for argument in arguments])
    result = json.loads((tmp_path / "s" / "score.json").read_text())
    columns = ["image_id", "confidence", "x", "y", "width", "height"]
    expected = rsna_score(truth, pd.DataFrame(predictions, columns=columns))
    assert 0.1 < expected < 1
    assert result["score"] == pytest.approx(expected, abs=1e-12)
    assert result["reported_on"] == "test"
    assert result["synthetic"] is True


@pytest.mark.parametrize(
    "changed",
    [{"subset_img_id": "image-01"}, {"SOPInstanceUID": uids_of(1)["SOPInstanceUID"]}],
    ids=["two images", "two ids"],
)
def test_a_mapping_that_is_not_one_to_one_is_an_error(release, changed):
    """Boxes of two images would else be put on one picture, or on the wrong one."""
    release.mapping[2] |= changed
    with pytest.raises(UserError, match="not one id for one image"):
        convert(release.write())


def test_records_without_ids_belong_to_no_image(release):
    release.mapping += [{"subset_img_id": None, "img_id": "x", "SOPInstanceUID": f"9.{n}"} for n in range(2)]
    assert len(manifest(convert(release.write()))) == 30


def test_json_nested_too_deep_is_one_line(release):
    source = release.write()
    (source / MAPPING).write_text("[" * 100_000)
    with pytest.raises(UserError, match="not RSNA's mapping"):
        convert(source)
    (source / ANNOTATIONS).write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"not an MD\.ai export"):
        convert(source)


def test_exploring_takes_it_for_what_it_is_though_kaggles_table_lies_beside_it(release):
    source = release.write()
    rows = "".join(f"image-{number:02},,,,,0\n" for number in range(3))
    (source / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\n" + rows)
    assert open_collection(source).kind == "RSNA's own release"
