from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from convert.synthetic.dicom_writer import write_dicom

OPACITY, NOT_NORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"


class Release:
    """A small release in RSNA's layout that a test can spoil before it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = ["patientId,x,y,width,height,Target"]
        self.classes = ["patientId,class"]
        self.files: dict[str, bytes] = {}
        self.mapping: list[dict[str, str]] = []

    def add(self, image_id: str, label: str, *boxes: tuple, patient: str = "", data: bytes | None = None) -> None:
        """Add an image: its rows, its file, its patient."""
        for box in boxes or [("", "", "", "")]:
            self.labels.append(f"{image_id},{','.join(map(str, box))},{int(label == OPACITY)}")
            self.classes.append(f"{image_id},{label}")
        self.files[f"stage_2_train_images/{image_id}.dcm"] = picture(image_id) if data is None else data
        if patient:
            self.mapping.append({"subset_img_id": image_id, "img_id": f"{patient}_000.png"})

    def write(self) -> Path:
        """Write the files; the folder is the release."""
        for name, data in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.write_tables()
        return self.folder

    def write_tables(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stage_2_train_labels.csv").write_text("\n".join(self.labels) + "\n")
        (self.folder / "stage_2_detailed_class_info.csv").write_text("\n".join(self.classes) + "\n")
        if self.mapping:
            path = self.folder / "pneumonia-challenge-dataset-mappings_2018.json"
            path.write_text(json.dumps(self.mapping))


def picture(image_id: str, encoding: str = "jpeg-baseline", shape: tuple[int, int] = (48, 64), **header) -> bytes:
    """A DICOM of noise that is the id's own."""
    pixels = np.random.default_rng(list(image_id.encode())).integers(0, 256, shape, dtype=np.uint8)
    header = {"patient_age": "34", "patient_sex": "F", "view": "PA", "pixel_spacing_mm": 0.143, **header}
    return write_dicom(pixels, encoding, image_id=image_id, **header)


@pytest.fixture
def release(tmp_path) -> Release:
    return Release(tmp_path / "raw")


@pytest.fixture
def good_release(release) -> Release:
    """60 good images of 20 patients, and 5 of the challenge."""
    for number in range(60):
        boxes = {0: [(1, 2, 10, 20)], 1: [(1, 2, 10, 20), (30.5, 5, 20, 30)]}.get(number % 6, [])
        label = OPACITY if boxes else (NORMAL if number % 2 else NOT_NORMAL)
        release.add(f"image-{number:02}", label, *boxes, patient=f"{number % 20:08}")
    for number in range(5):
        image_id = f"challenge-{number}"
        release.files[f"stage_2_test_images/{image_id}.dcm"] = picture(image_id, view="AP")
        release.mapping.append({"subset_img_id": image_id, "img_id": f"{number + 100:08}_001.png"})
    return release


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """The content of a folder, by relative path."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


# The other sources, each in its own true format, odd rows included. `write_<source>(folder)` returns the folder.


def noise(seed: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def put(folder: Path, name: str, content: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def vindr_source() -> Callable[[Path], Path]:
    """30 images, three readers each; see `VINDR_ROWS` for those that are written out."""

    def write(folder: Path) -> Path:
        lines = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *VINDR_ROWS]
        ids = list(dict.fromkeys(line.split(",")[0] for line in VINDR_ROWS)) + [f"{n:032x}" for n in range(20)]
        for number in range(20):
            lines += [f"{number:032x},No finding,14,R{reader},,,," for reader in (8, 9, 10)]
        put(folder, "train.csv", "\n".join(lines) + "\n")
        for number, image_id in enumerate(ids):
            encoding = ("monochrome1", "12-bit-window", "jpeg-2000")[number % 3]
            if image_id != "missing":
                data = write_dicom(noise(number), encoding, image_id=image_id, patient_sex="F", patient_age="034Y")
                put(folder, f"train/{image_id}.dicom", data)
        put(folder, "test/ff00.dicom", write_dicom(noise(99), "rle", image_id="ff00"))
        return folder

    return write


VINDR_ROWS = [
    # Two readers agree on an opacity, whatever they call it; the third saw a heart.
    "agreed,Infiltration,6,R8,10,20,50,60",
    "agreed,Lung Opacity,7,R9,12,22,52,62",
    "agreed,Cardiomegaly,3,R10,40,40,90,80",
    "agreed,Cardiomegaly,3,R9,40,40,90,80",
    # All three, at three places.
    "apart,Consolidation,4,R8,0,0,20,20",
    "apart,Consolidation,4,R9,50,0,70,20",
    "apart,Consolidation,4,R10,90.5,0,110.5,20",
    # One reader draws the same thing twice, under two names: one reader.
    "twice,Consolidation,4,R8,10,10,40,40",
    "twice,Infiltration,6,R8,11,11,41,41",
    "twice,Lung Opacity,7,R9,70,70,90,90",
    # Only other findings.
    "heart,Cardiomegaly,3,R8,10,20,50,60",
    "heart,Aortic enlargement,0,R9,10,20,50,60",
    "heart,No finding,14,R10,,,,",
    # One of three saw something.
    "single,No finding,14,R8,,,,",
    "single,No finding,14,R9,,,,",
    "single,Lung Opacity,7,R10,30,30,60,60",
    # Rows that cannot be right.
    "swapped,Lung Opacity,7,R8,60,60,30,30",
    "swapped,No finding,14,R9,,,,",
    "half,Lung Opacity,7,R8,30,30,,60",
    "half,Lung Opacity,7,R9,30,30,60,60",
    "itself,No finding,14,R8,,,,",
    "itself,Lung Opacity,7,R8,30,30,60,60",
    "strange,Broken rib,22,R8,30,30,60,60",
    "strange,No finding,14,R9,,,,",
    "missing,Lung Opacity,7,R8,30,30,60,60",
]


@pytest.fixture
def siim_source() -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        lines = ["id,boxes,label,StudyInstanceUID"]
        lines += [siim_line(n, [(10 + n, 20, 30, 40)] if n % 2 else [], f"study-{n // 3 * 3}x") for n in range(18)]
        lines += [siim_line(n, [], f"study-{n // 2}n") for n in range(18, 30)]
        two = [(1.5, 2.25, 30, 40), (60, 5, 20, 20.5)]
        lines += [
            siim_line("two", two, "study-two"),
            siim_line("blank", [], "study-b").replace(",,none", ",nan,none"),
            siim_line("differs", [(1, 2, 3, 4)], "study-d").replace("opacity 1 1 2", "opacity 1 9 2"),
            siim_line("garbled", [(1, 2, 3, 4)], "study-g").replace("[{'x'", "[{x"),
            siim_line("label", [(1, 2, 3, 4)], "study-l").replace("opacity 1", "opacity"),
            siim_line("missing", [(1, 2, 3, 4)], "study-m"),
            siim_line("flat", [(1, 2, 0, 4)], "study-f"),
        ]
        put(folder, "train_image_level.csv", "\n".join(lines) + "\n")
        for number, line in enumerate(lines[1:]):
            image, study = line.split("_image")[0], line.rsplit(",", 1)[1]
            if image != "missing":
                data = write_dicom(noise(number), "jpeg-lossless", image_id=image, view="AP")
                put(folder, f"train/{study}/series-{number}/{image}.dcm", data)
        put(folder, "test/study-t/series-t/hidden.dcm", write_dicom(noise(98), "rle", image_id="hidden"))
        return folder

    return write


def siim_line(image: object, boxes: list[tuple[float, ...]], study: str) -> str:
    listed = [dict(zip(("x", "y", "width", "height"), box, strict=True)) for box in boxes]
    label = " ".join(f"opacity 1 {x} {y} {x + w} {y + h}" for x, y, w, h in boxes) or "none 1 0 0 1 1"
    return f'{image}_image,"{listed}",{label},{study}' if boxes else f"{image}_image,,{label},{study}"


@pytest.fixture
def nih_source() -> Callable[[Path], Path]:
    def write(folder: Path, entries: bool = True) -> Path:
        boxes = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
        table = [
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
        ]
        for number, (labels, listed) in enumerate(NIH_IMAGES):
            name = f"{number // 2:08}_{number % 2:03}.png"
            boxes += [f"{name},{finding},{x},{y},{w},{h},,," for finding, (x, y, w, h) in listed]
            sex, view = "FM"[number // 2 % 2], ("PA", "AP")[number % 2]
            table.append(f"{name},{labels},{number % 2},{number // 2},058Y,{sex},{view},2500,2048,0.168,0.168,")
            pixels = noise(number)
            # Some of the real files have four channels, all the same.
            content = png(np.dstack([pixels] * 3 + [np.full_like(pixels, 255)]) if number == 5 else pixels)
            put(folder, f"images_{1 + number % 2:03}/images/{name}", content)
        boxes += ["00000777_000.png,Mass,1,2,3,4,,,", "00000778_000.png,Pneumonia,1,2,3,4,,,"]  # not downloaded
        table.append("00000779_000.png,No Finding,0,779,41,M,PA,2500,2048,0.168,0.168,")
        put(folder, "BBox_List_2017.csv", "\n".join(boxes) + "\n")
        if entries:
            put(folder, "Data_Entry_2017.csv", "\n".join(table) + "\n")
        return folder

    return write


NIH_IMAGES: list[tuple[str, list[tuple[str, tuple[float, ...]]]]] = [
    ("Infiltration", [("Infiltrate", (10.5, 20.25, 30.125, 40.0))]),
    ("Pneumonia|Infiltration", [("Pneumonia", (1, 2, 30, 40)), ("Infiltrate", (60, 2, 30, 40))]),
    ("Mass", [("Mass", (1, 2, 30, 40))]),
    ("No Finding", []),
    ("Infiltration|Mass", [("Mass", (1, 2, 30, 40))]),  # the infiltration has no box: neither positive nor negative
    ("No Finding", []),
    ("Pneumonia", []),  # the same
    ("Hernia|Nodule", []),
    ("Pneumonia", [("Pneumonia", (1, 2, 0, 40))]),
    ("Pneumonia", [("Pneumonia", (100, 80, 60, 40))]),  # over the edge
    ("Pneumonia|Infiltration", [("Pneumonia", (1, 2, 30, 40))]),
    ("Mass", [("Tumour", (1, 2, 30, 40))]),
    *[("No Finding", [])] * 10,
    *[("Infiltration", [("Infiltrate", (20.0, 20.0, 30.0, 40.0))])] * 10,
]


@pytest.fixture
def coco_source() -> Callable[[Path], Path]:
    def write(folder: Path, **spoil: object) -> Path:
        images, annotations = [], []

        def box(image: int, category: int, *bbox: float, **more: object) -> None:
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": category} | more)
            if bbox:
                annotations[-1]["bbox"] = list(bbox)

        for number in range(30):
            name = f"{'abc'[number % 3]}/{number // 2:04}_{number % 2}.png"
            images.append(
                {"id": 100 + number, "file_name": name, "width": 128, "height": 96, "ward": f"w{number // 4}"}
            )
            pixels = noise(number)
            put(folder, f"pictures/{name}", png(np.dstack([pixels] * 3) if number == 4 else pixels))
            if number % 3 == 0:
                box(100 + number, 7, 10.5, 20, 30, 40)
            if number % 5 == 0:
                box(100 + number, 2, 60, 20, 30.25, 40)
        images += [
            {"id": 200, "file_name": "a/not there.png", "width": 128, "height": 96},
            {"id": 201, "file_name": "a/wrong size.png", "width": 1280, "height": 960},
            {"id": 202, "file_name": "a/crowd.png", "width": 128, "height": 96},
            {"id": 203, "file_name": "a/strange.png"},
            {"id": 204, "file_name": "a/flat.png"},
            {"id": 205, "file_name": "a/no box.png"},
        ]
        for number, name in enumerate(("wrong size", "crowd", "strange", "flat", "no box", "unlisted"), start=50):
            put(folder, f"pictures/a/{name}.png", png(noise(number)))
        box(200, 7, 1, 2, 3, 4)
        box(201, 7, 1, 2, 3, 4)
        box(202, 7, 1, 2, 3, 4, iscrowd=1)
        box(203, 7, 1, 2, 3, 4)
        annotations[-1]["bbox"] = [1, 2, 3]
        box(204, 7, 1, 2, 0, 4)
        box(205, 7)
        categories = [{"id": 7, "name": "Opacity"}, {"id": 2, "name": "Nodule"}]
        content = {"images": images, "annotations": annotations, "categories": categories, **spoil}
        put(folder, "annotations/instances.json", json.dumps(content))
        return folder

    return write


@pytest.fixture
def csv_source() -> Callable[[Path], Path]:
    """DICOMs and PNGs, named in several ways, with corners in columns of their own names."""

    def write(folder: Path) -> Path:
        lines = ["left,file,top,right,bottom,finding,sex"]
        for number in range(30):
            corner = f"{10 + number},f,20,{40 + number},60.5,opacity," if number % 3 == 0 else ",f,,,,normal,"
            name, sex = CSV_NAMES.get(number, f"p{number}.png"), "female" if number % 2 else "M"
            lines.append(corner.replace("f,", f"{name},", 1) + sex)
        put(folder, "p2.dcm", write_dicom(noise(2), "explicit-vr", image_id="i", patient_id="MRN 7", view="AP"))
        put(folder, "deep/p3.dcm", write_dicom(noise(3), "monochrome1", image_id="i", patient_id="MRN 7", view="PA"))
        put(folder, "1.2.840.5", write_dicom(noise(4), "rle", image_id="i", patient_id="MRN 1", patient_age="061Y"))
        for number in range(30):
            if number not in CSV_NAMES:
                put(folder, f"deep/p{number}.png", png(noise(number)))
        put(folder, "one/same.png", png(noise(40)))
        put(folder, "two/same.png", png(noise(41)))
        put(folder, "image with spaces.jpg", cv2.imencode(".jpg", noise(42))[1].tobytes())
        put(folder, "nobody.png", png(noise(43)))
        lines += [
            "1,one/same.png,2,30,40,opacity,M",
            "5,two/same,2,35,40,nodule,M",
            "1,image with spaces.jpg,2,30,40,opacity,M",
            "7,image with spaces.jpg,2,30,40,nodule,M",
            "1,same.png,2,30,40,opacity,M",
            "1,absent.png,2,30,40,opacity,M",
            "30,p5.png,2,1,40,opacity,M",  # right of left
            "1,p6.png,2,,40,opacity,M",
            "one,p9.png,2,30,40,opacity,M",
            ",p12.png,,,,opacity,M",  # a box class without a box
            "1,p15.png,2,30,40,,M",
            ",,,,,normal,M",
        ]
        put(folder, "boxes.csv", "\n".join(lines) + "\n")
        return folder

    return write


CSV_NAMES = {2: "p2", 3: r"C:\study\p3.dcm", 4: "1.2.840.5"}
