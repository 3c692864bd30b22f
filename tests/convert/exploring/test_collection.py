"""What a source holds, told as one table of images, from tables small enough to count by hand."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest

from common.errors import UserError
from convert.exploring.collection import OURS, RSNA, open_collection, read_header_table
from convert.rsna_to_yolo import main as convert


def test_raw_rsna_without_any_picture(release, tmp_path):
    release.add("a", "Lung Opacity", (1, 2, 30, 40), (5, 6, 7, 8), patient="00000001")
    release.add("b", "Normal", patient="00000001")
    release.add("c", "No Lung Opacity / Not Normal", patient="00000002")
    release.labels.append("d,1,,3,4,1")
    release.classes.append("d,Lung Opacity")
    release.write_tables()
    headers = tmp_path / "headers.csv.gz"
    text = 'PatientID,PatientAge,PatientSex,ViewPosition,PixelSpacing\na,034Y,F,ap,"[0.143, 0.143]"\nb,155,M,PA,0.2\n'
    headers.write_bytes(gzip.compress(text.encode()))
    found = open_collection(release.folder, headers=headers)
    assert (found.kind, found.rows, found.rows_without_box, found.synthetic) == (RSNA, 5, 2, False)
    assert found.images["boxes"].to_dict() == {"a": 2, "b": 0, "c": 0}
    assert found.images["patient_id"].to_dict() == {"a": "00000001", "b": "00000001", "c": "00000002"}
    assert found.images.loc["a", ["view", "sex", "age", "pixel_spacing_mm"]].tolist() == ["AP", "F", 34, 0.143]
    assert found.images.loc["b", "age"] == 155
    assert found.images.loc["c", ["view", "sex", "age"]].isna().all()
    assert found.images["file"].isna().all()
    assert (found.images["width"] == 1024).all()
    assert found.rejected["image_id"].tolist() == ["d"]


def test_a_converted_set_says_what_the_raw_data_say(good_release, tmp_path, capsys):
    raw = open_collection(good_release.write())
    assert raw.images["label"].isna().sum() == 5  # of the challenge
    convert(["--source", str(good_release.folder), "--output", str(tmp_path / "set")])
    capsys.readouterr()
    for path in (tmp_path / "set", tmp_path / "set" / "data.yaml"):
        found = open_collection(path)
        assert found.kind == OURS
        for column in ("label", "boxes", "patient_id"):
            pd.testing.assert_series_equal(found.images[column], raw.images[column].sort_index(), check_dtype=False)
    assert set(found.images["split"]) == {"train", "val", "test", "challenge"}
    assert found.images["view"].value_counts().to_dict() == {"PA": 60, "AP": 5}
    assert found.images["width"].eq(64).all()
    assert found.boxes["x"].count() == 30


def test_where_nobody_knows_the_patients(release, tmp_path, capsys):
    for number in range(12):
        release.add(f"i{number}", "Normal" if number % 3 else "Lung Opacity", *([] if number % 3 else [(1, 2, 3, 4)]))
    convert(["--source", str(release.write()), "--output", str(tmp_path / "set")])
    capsys.readouterr()
    assert open_collection(tmp_path / "set").images["patient_id"].isna().all()


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [("vindr_source", "VinDr-CXR, raw"), ("siim_source", "SIIM-FISABIO-RSNA COVID-19, raw"),
     ("nih_source", "NIH ChestX-ray14, raw")],
)  # fmt: skip
def test_other_raw_sources_are_known_by_their_tables(fixture, kind, request, tmp_path):
    found = open_collection(request.getfixturevalue(fixture)(tmp_path / "raw"))
    assert found.kind == kind
    assert found.images["boxes"].sum() == found.boxes["x"].count() > 0
    assert found.images["file"].notna().all()


def test_what_is_not_known_is_refused(tmp_path):
    (tmp_path / "some.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"nothing that is known here; expected .*manifest.csv.*--report"):
        open_collection(tmp_path)
    with pytest.raises(UserError, match="no such folder or zip"):
        open_collection(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found the columns a, b; expected a CSV with PatientID"):
        read_header_table(tmp_path / "some.csv")
    (tmp_path / "manifest.csv").write_text("image_id,split\n1,train\n")
    with pytest.raises(UserError, match=r"found the columns image_id,split; expected .*Convert the data anew"):
        open_collection(tmp_path)


def test_the_page_of_several_classes_counts_classes_and_names_boxes(vindr_source, tmp_path, monkeypatch):
    from convert import vindr_to_yolo
    from convert.exploring import gallery, page
    from convert.exploring.measuring import measure

    data = tmp_path / "all"
    arguments = ["--classes", "all", "--separate", "--workers", "1", "--output", str(data)]
    vindr_to_yolo.main(["--source", str(vindr_source(tmp_path / "vindr")), *arguments])
    found = open_collection(data)
    assert "; " in found.images.loc["agreed", "label"]
    assert set(found.classes()["agreed"]) == {"Cardiomegaly", "Infiltration", "Lung Opacity"}
    assert set(found.classes().index) == set(found.images.index)

    named: list[list[str] | None] = []

    def drawn(pixels, truth, predictions, hits=None, truth_labels=None):
        named.append(truth_labels)
        return pixels

    monkeypatch.setattr(gallery, "overlay", drawn)
    groups = gallery.class_groups(found, measure(found, 1, None))
    headings = {group.heading.partition(":")[0] for group in groups}
    assert {"Cardiomegaly", "Consolidation", "No finding"} <= headings
    assert not any("; " in heading for heading in headings)
    assert ["Cardiomegaly", "Infiltration", "Lung Opacity"] in [sorted(names) for names in named if names]
    written = page.write_data_page(tmp_path / "page.html", found, None, "a command").read_text()
    assert "Images of several classes are counted in each" in written
    assert "Cardiomegaly; Infiltration" not in written
