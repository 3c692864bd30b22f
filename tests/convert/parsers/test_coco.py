"""The joins of COCO JSON: what belongs together is found however ids are written, and what is not found is an error."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from common.errors import UserError
from convert.parsers import coco
from convert.sources.files import open_source
from tests.mutations import mutate

FINDING = {"id": 1, "name": "Opacity"}


@pytest.fixture
def parsed(tmp_path):
    """Parses a small set, of the pictures p0.png to p5.png."""

    def parse(images, annotations, categories=(FINDING,), *, files=(), **options):
        for number in range(6):
            (tmp_path / f"p{number}.png").write_bytes(b"")
        content = {"images": list(images), "annotations": list(annotations), "categories": list(categories)}
        paths = []
        for number, part in enumerate([content, *files]):
            paths.append(tmp_path / f"part{number}.json")
            paths[-1].write_text(json.dumps(part))
        splits = options.pop("splits", [""] * len(paths))
        given = {split: [path for path, own in zip(paths, splits, strict=True) if own == split] for split in splits}
        return coco.parse(tmp_path, annotations=given, classes=None, merge=None, **options)

    return parse


def image(key, number=0, **more):
    return {"id": key, "file_name": f"p{number}.png", **more}


def box(key, category=1, bbox=(1, 2, 3, 4), **more):
    return {"id": 50, "image_id": key, "category_id": category, "bbox": list(bbox), **more}


def truth(parsed):
    """Boxes by image; an image without is there with none."""
    rows = parsed.boxes[["image_id", "x", "y", "width", "height"]]
    return {key: group.dropna().iloc[:, 1:].to_numpy().tolist() for key, group in rows.groupby("image_id")}


HERE, THERE = [[1, 2, 3, 4]], [[5, 6, 7, 8]]


@pytest.mark.parametrize("listed", [1, "1", 1.0, "1.0", " 1 "], ids=repr)
@pytest.mark.parametrize("said", [1, "1", 1.0, " 1"], ids=repr)
def test_an_id_is_the_same_as_number_and_as_text(parsed, listed, said):
    found = parsed([image(listed), image(2, 1)], [box(said, said)], [{"id": listed, "name": "Opacity"}])
    assert truth(found) == {"p0": HERE, "p1": []}
    assert found.class_names == ["Opacity"]


def test_text_ids_stay_apart_where_they_are_not_the_same_number(parsed):
    found = parsed([image("a-1"), image("01", 1), image("1", 2)], [box("01"), box("a-1", bbox=(5, 6, 7, 8))])
    assert truth(found) == {"p0": THERE, "p1": HERE, "p2": []}


def test_categories_go_by_number_also_as_text(parsed):
    names = [{"id": "10", "name": "ten"}, {"id": "2", "name": "two"}, {"id": "x", "name": "last"}]
    assert parsed([image(1)], [box(1, 10), box(1, "2"), box(1, "x")], names).class_names == ["two", "ten", "last"]


def test_a_picture_listed_twice_has_the_boxes_of_both(parsed):
    listed = [image(3), image(100), image(4, 1), image(5, 1)]
    found = parsed(listed, [box(100), box(5), box(4, bbox=(5, 6, 7, 8))])
    assert truth(found) == {"p0": HERE, "p1": [*HERE, *THERE]}
    assert (found.rejected["reason"] == "listed again; its annotations count").sum() == 2


def test_a_picture_in_two_files_goes_where_one_of_them_says(parsed):
    whole = [image(1), image(2, 1)]
    test = {"images": [image(7, 1)], "annotations": [box(7)], "categories": [FINDING]}
    found = parsed(whole, [box(1)], files=[test], splits=["", "test"])
    assert truth(found) == {"p0": HERE, "p1": HERE}
    assert found.fixed == {"test": ["p1"]}
    with pytest.raises(UserError, match=r"'p1.png' is listed 2 times, with the splits test and val"):
        parsed(whole, [box(1)], files=[test], splits=["val", "test"])


def test_one_category_is_meant_by_an_unlisted_number(parsed, capsys):
    found = parsed([image(1), image(2, 1)], [box(1, 0)])
    assert truth(found) == {"p0": HERE, "p1": []}
    assert "category_id 0 is not in `categories` (1 x in annotations)" in capsys.readouterr().err


def test_dummy_boxes_are_none(parsed, capsys):
    """As real files of the challenge have them: category_id 0, the only one being 1, and a box for every negative."""
    negatives = [image(key, key) for key in (1, 2, 3)]
    dummies = [box(key, 0, (0, 0, 1, 1)) for key in (1, 2, 3)]
    found = parsed([image(0), *negatives], [box(0, 0), *dummies])
    assert truth(found) == {"p0": HERE, "p1": [], "p2": [], "p3": []}
    assert "the bbox 0, 0, 1, 1 (3 x in annotations) is not taken for a box" in capsys.readouterr().err
    with pytest.raises(UserError, match="every bbox is 0, 0, 1, 1"):
        parsed(negatives, dummies)


def test_a_group_of_categories_is_no_class(parsed):
    """Roboflow lists the project itself as category 0."""
    group = {"id": 0, "name": "chests", "supercategory": "none"}
    classes = [
        {"id": 1, "name": "Opacity", "supercategory": "chests"},
        {"id": 2, "name": "N", "supercategory": "chests"},
    ]
    images = [image(1), image(2, 1)]
    assert parsed(images, [box(1)], [group, *classes]).class_names == ["Opacity", "N"]
    # With an annotation of its own it is one.
    assert parsed(images, [box(1), box(2, 0)], [group, *classes]).class_names == ["chests", "Opacity", "N"]


@pytest.mark.parametrize(
    ("images", "annotations", "categories", "message"),
    [
        ([image(1)], [box(1), box(7)], [FINDING], r"annotation 2 \(id 50\): its image_id '7' is not among the 1 ids"),
        ([image("001")], [box(1)], [FINDING], r"its image_id '1' is not among the 1 ids in `images`, such as '001'"),
        ([image(1), image("1", 1)], [], [FINDING], r"images 1 and 2 have one id, '1', but are two pictures, 'p0.png'"),
        ([image(1)], [box(1), box(1, 9)], [FINDING], r"annotation 2 \(id 50\): its category_id '9' is not in .*1 \(O"),
        ([image(1)], [box(1, 9)], [FINDING, {"id": 2, "name": "N"}], "its category_id '9' is not in `categories`"),
        ([image(1)], [box(1, 8), box(1, 9)], [FINDING], "its category_id '8' is not in `categories`"),
        ([image(1)], [box(True)], [FINDING], "its image_id is True, expected a number or a text"),
        ([image(1.5)], [], [FINDING], "image 1: its id is 1.5, expected"),
        ([image([1])], [], [FINDING], "image 1: its id is a list, expected"),
        ([{"id": 1, "file_name": ""}], [], [FINDING], "image 1: its file_name is '', expected a text"),
        ([{"id": 1, "file_name": "\ud800.png"}], [], [FINDING], r"its file_name is '\\ud800.png', expected a text"),
        ([{"id": 1, "file_name": None}], [], [FINDING], "its file_name is None, expected a text"),
        ([image(1)], [], [{"id": 1, "name": "\udfff"}], "category 1: its name is"),
        ([image(1)], [], [{"id": 1, "name": " "}], "category 1: its name is"),
        ([image(1)], [], [FINDING, {"id": "1", "name": "N"}], "category 2: 'N' has the id 1, which 'Opacity' has"),
        ([image(1, width=9, height=9), image(2, width=8, height=9)], [], [FINDING], "with different width and height"),
        ([image(1), 5], [], [FINDING], "entry 2 of `images` is 5, expected an object"),
    ],
)  # fmt: skip
def test_what_does_not_join_is_one_line(parsed, images, annotations, categories, message):
    with pytest.raises(UserError, match=message) as error:
        parsed(images, annotations, categories)
    assert "\n" not in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "categories": [], "annotations": 5}', "`annotations` is 5, expected a list"),
        ('{"images": {}, "categories": [], "annotations": []}', "`images` is an object, expected a list"),
        ("[" * 100_000, "nested too deep"),
        ('{"\\ud800": 1}', r"found '\\ud800'; expected COCO"),
    ],
)
def test_other_json_is_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        coco.parse(tmp_path, annotations={}, classes=None, merge=None)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "image has an annotation with segmentation, but without bbox"),
        ({"keypoints": [1, 2, 2], "bbox": []}, "image has an annotation with keypoints, but without bbox"),
        ({}, "marked positive but has no box"),
        ({"bbox": [1, 2, 3, None]}, "box has a coordinate that is not a number"),
        ({"bbox": [1, 2, 3, [4]]}, "box has a coordinate that is not a number"),
        ({"bbox": [1, 2, 3, 10**400]}, "box has a coordinate that is not a number"),
        ({"bbox": [1, 2, 3, "four"]}, "box has a coordinate that is not a number"),
        ({"bbox": {"x": 1}}, "image has an annotation whose bbox is an object, expected x, y, width and height"),
    ],
)
def test_an_annotation_without_a_box_makes_no_negative(parsed, annotation, reason):
    found = parsed([image(1), image(2, 1)], [{"image_id": 1, "category_id": 1, **annotation}, box(2)])
    assert truth(found) == {"p1": HERE}
    rejected = found.rejected.set_index("image_id")["reason"]
    assert rejected["p0"] == reason if isinstance(rejected["p0"], str) else reason in set(rejected["p0"])


def test_a_crowd_is_said_in_several_ways(parsed):
    images = [image(key, key) for key in range(5)]
    found = parsed(images, [box(key, iscrowd=said) for key, said in enumerate((0, "0", 1, "1", True))])
    assert truth(found) == {"p0": HERE, "p1": HERE}


def test_patients_are_the_same_as_number_and_as_text(parsed):
    images = [image(1, who=7), image(2, 1, who="7"), image(3, 2, who=7.0), image(4, 3, who="8")]
    assert parsed(images, [box(1)], patient_key="who").patients.to_dict() == {
        "p0": "7",
        "p1": "7",
        "p2": "7",
        "p3": "8",
    }


VALUES = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 1e300, 10**30, "", " ", "1", "\ud800", "\0", "../x",
    "p1.png", "a\nb",
    [], {}, [[]], [1, 2, 3, 4], ["1", 2, 3, 4], {"id": 1}, [None] * 4, "x" * 5000,
)  # fmt: skip
"""What may stand in the place of any other value."""


def spoiled(content, draw: random.Random):
    """A copy in which one to three values, keys or entries are others, gone, doubled or exchanged."""
    content = json.loads(json.dumps(content))
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder = content
        while draw.random() < 0.8:
            inside = [
                one
                for one in (holder.values() if isinstance(holder, dict) else holder)
                if one and isinstance(one, dict | list)
            ]
            if not inside:
                break
            holder = draw.choice(inside)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = draw.choice(keys)
        kind = draw.random()
        if kind < 0.5:
            holder[key] = draw.choice(VALUES)
        elif kind < 0.65:
            del holder[key]
        elif kind < 0.8 and isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])))
        elif kind < 0.9:
            other = draw.choice(keys)
            holder[key], holder[other] = holder[other], holder[key]
        elif isinstance(holder, dict):
            holder[draw.choice(("id", "bbox", "supercategory", "iscrowd", "segmentation"))] = draw.choice(VALUES)
    return content


def test_damaged_files_are_one_line_or_are_read(tmp_path, monkeypatch):
    """2,000 damages of bytes and of structure, the same each time: nothing but the documented error, and no new box."""
    whole = {
        "images": [image(number, number, width=64, height=48, who=f"w{number % 2}") for number in range(4)],
        "annotations": [box(0), box(1, 2), box(1, bbox=(5, 6, 7, 8), iscrowd=1), box(2, bbox=(0, 0, 1, 1))],
        "categories": [FINDING, {"id": 2, "name": "Mass", "supercategory": "chest"}, {"id": 3, "name": "chest"}],
    }
    for number in range(5):
        (tmp_path / f"p{number}.png").touch()
    source = open_source(tmp_path)
    monkeypatch.setattr(coco, "open_source", lambda path: source)
    monkeypatch.setattr(coco, "find_patients", lambda *_: None)
    data, draw = json.dumps(whole).encode(), random.Random(6)
    outcomes = Counter()
    for number in range(2000):
        damaged = json.dumps(spoiled(whole, draw)).encode() if number % 4 == 0 else mutate(data, draw)
        monkeypatch.setattr(coco, "read_file", lambda path, damaged=damaged: damaged)
        given = {"": [tmp_path / "a.json"]}
        try:
            found = coco.parse(
                tmp_path, annotations=given, classes=None, merge=None, patient_key=draw.choice((None, "who"))
            )
        except UserError as error:
            text = str(error)
            assert "\n" not in text
            assert len(text) < 1000
            text.encode()
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert set(found.boxes["image_id"]) <= {f"p{index}" for index in range(5)}
        "".join(found.rejected["reason"]).encode()
        "".join(found.class_names).encode()
    assert min(outcomes.values()) > 150, outcomes
