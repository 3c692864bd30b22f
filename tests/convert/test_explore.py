"""The page about data: what it says, that it stands alone, how a browser shows it; the command and `--report`."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from common.cli import execute
from convert.explore import main
from convert.exploring.collection import open_collection
from convert.exploring.sentences import duplicate_text, gaps, label_mixtures, leak, odd_facts
from convert.rsna_to_yolo import main as convert
from convert.sample import main as draw_sample

pytestmark = pytest.mark.usefixtures("apart")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore") / "raw"
    draw_sample(["--output", str(folder), "--images", "60", "--test-images", "4", "--size", "128"])
    # The same picture under another name, as a training image of another class.
    labels = pd.read_csv(folder / "stage_2_train_labels.csv")
    negative = labels.loc[labels["Target"] == 0, "patientId"].iloc[0]
    positive = labels.loc[labels["Target"] == 1, "patientId"].iloc[0]
    pictures = folder / "stage_2_train_images"
    shutil.copyfile(pictures / f"{positive}.dcm", pictures / f"{negative}.dcm")
    return folder


@pytest.fixture(scope="module")
def page(raw, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "raw.html"
    assert execute(main, [str(raw), "--output", str(path), "--no-wandb"]) == 0
    return path


def words(path):
    text = re.sub(r"<(style|svg)\b.*?</\1>", "", path.read_text(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def numbers(text):
    """The numbers in a sentence, in their order, however the rest is worded."""
    return [float(number.replace(",", "")) for number in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)]


def test_the_page_says_what_the_tables_say(page, raw):
    labels = pd.read_csv(raw / "stage_2_train_labels.csv")
    said = words(page)
    for number, what in (
        (labels["patientId"].nunique() + 4, "images"),
        (len(labels), "rows of labels"),
        (labels["x"].count(), "boxes"),
    ):
        assert f"{number} {what}" in said
    positives = labels.loc[labels["Target"] == 1, "patientId"].nunique()
    share = round(100 * positives / labels["patientId"].nunique())
    assert f"{positives} images with boxes ({share} % of {labels['patientId'].nunique()} labelled)" in said
    without = labels["x"].isna().sum()
    assert f"x, y, width, height (rows) {len(labels) - without} {without} no gap" in said
    assert "drawn by a program" in said
    twice = re.search(r"\d+ pairs? of pictures .*?\.(?: \d+ of these pairs .*?\.)*", said)[0]
    assert numbers(twice)[:4] == [1, 2, 64, 1]  # pairs, their images, of all; pairs of different classes
    assert "different classes" in twice
    assert "Pictures that are there twice" in said
    for group in ("largest", "smallest", "oddest", "hardest"):
        assert f"Lung Opacity: {group}" in said


def test_the_page_needs_nothing_beside_itself(page):
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    assert len(text) < 2_000_000


def test_tables_only(raw, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert execute(main, [str(raw), "--pictures", "none", "--output", str(page)]) == 0
    assert "The tables only: none of 64 pictures was looked at." in words(page)
    assert "<img" not in page.read_text()
    assert "64 images" in capsys.readouterr().out


def test_report_of_a_converter_is_kept_in_wandb(raw, tmp_path, capsys, monkeypatch, wandb_service, wandb_files):
    monkeypatch.setenv("WANDB_MODE", "offline")
    output = tmp_path / "set"
    assert execute(convert, ["--source", str(raw), "--output", str(output), "--report"]) == 0
    said = words(output / "data.html")
    assert "In this data set no patient is in more than one of" in said
    assert "Images by split" in said
    out = capsys.readouterr().out
    assert "data.html" in out
    folder = re.search(r"wandb sync (\S+)", out)[1]
    assert ("data-report", "data-set") in wandb_files.read(Path(folder))["artifacts"]


def test_a_place_that_is_only_to_be_read_is_refused_before_the_pictures_are(
    raw, tmp_path, capsys, monkeypatch, read_only
):
    monkeypatch.setattr("convert.explore.PROJECT", tmp_path)
    read_only(tmp_path)
    for options, folder in (([], tmp_path / "runs" / "explore"), (["--output", f"{tmp_path}/a.html"], tmp_path)):
        assert execute(main, [str(raw), "--no-wandb", *options]) == 2
        printed = capsys.readouterr()
        assert printed.err == (
            f"error: the page's folder {folder}: not a folder that can be written (Read-only file system). Choose "
            "another place with --output.\n"
        )


@pytest.mark.parametrize(
    ("mode", "options", "logged"),
    [("", [], False), ("disabled", [], False), ("offline", ["--no-wandb"], False), ("offline", [], True)],
    ids=["no login", "disabled", "left out", "kept"],
)
def test_wandb_gets_the_page_only_where_it_is_wanted(
    raw, apart, capsys, monkeypatch, wandb_service, mode, options, logged
):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    assert execute(main, [str(raw), "--pictures", "none", "--output", str(apart / "page.html"), *options]) == 0
    assert (apart / "page.html").exists()
    assert bool(list(apart.rglob("*.wandb"))) == logged
    assert ("W&B: " in capsys.readouterr().out) == logged


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such folder or zip"),
        ([".", "--pictures", "some"], "not all, none or a whole number of pictures"),
    ],
)
def test_mistakes(arguments, said, capsys):
    try:
        status = execute(main, arguments)
    except SystemExit as end:  # argparse's own
        status = end.code
    assert status == 2
    assert said in capsys.readouterr().err


# ---- findings


def test_findings_of_a_table(release):
    release.add("a", "Lung Opacity", (1, 2, 30, 40), patient="00000001")
    release.add("b", "Normal", patient="00000001")
    release.add("c", "Normal", patient="00000002")
    release.labels.append("c,1,2,3,4,0")
    release.classes.append("c,Normal")
    release.write_tables()
    found = open_collection(release.folder)
    assert [(gap.known, gap.missing) for gap in gaps(found)][:3] == [(2, 2), (2, 0), (2, 0)]
    assert any("cannot be used" in text for text in odd_facts(found))
    # Patients with several images, those of them with several classes, in percent.
    assert numbers(label_mixtures(found.images)) == [1, 1, 100]
    ages = found.images.assign(age=[150.0, 30.0])
    odd = odd_facts(found.__class__(**{**vars(found), "images": ages}))[0]
    assert "impossible" in odd
    assert numbers(odd) == [1, 150]


def test_a_leak_is_told(release):
    for name in "abc":
        release.add(name, "Normal", patient="00000001" if name != "c" else "00000002")
    release.write_tables()
    found = open_collection(release.folder)
    images = found.images.assign(split=["train", "val", "val"])
    split = found.__class__(**{**vars(found), "images": images})
    told = leak(split)
    assert told.warning
    assert numbers(told.text.split(". ")[-1]) == [2]  # of three images, those of patient 1, who is in train and in val
    assert not leak(found).warning
    unknown = leak(found.__class__(**{**vars(found), "images": found.images.assign(patient_id=None)}))
    assert unknown.warning
    assert unknown.random is None
    pairs = pd.DataFrame({"first": ["a"], "second": ["c"], "bits": [0], "correlation": [1.0]})
    same, *differences = duplicate_text(split, pairs, 3).split(". ")
    assert numbers(same) == [1, 2, 3]  # pairs, their images, of all
    # Class, split and patient are compared; these two are of one class.
    assert [numbers(text) for text in differences] == [[1], [1]]
    assert "splits" in differences[0]
    assert "patients" in differences[1]


# ---- in a browser


@pytest.mark.browser
def test_nothing_overflows_and_no_picture_is_broken(browser, page, tmp_path):
    # `srcdoc` lets the outer page measure frames that are narrower than Chromium's own window can be.
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page.read_text())}"></iframe>'
        for width in (320, 390, 1280)
    )
    measure = """addEventListener("load", () => {
        const found = [...document.querySelectorAll("iframe")].map(frame => {
            const page = frame.contentDocument.documentElement;
            const images = [...page.querySelectorAll("img")];
            const cut = [...page.querySelectorAll(".scroll")].filter(table => table.scrollWidth > table.clientWidth);
            return [frame.contentWindow.innerWidth, page.scrollWidth, cut.length, images.length,
                    images.filter(image => !image.naturalWidth).length];
        });
        document.body.replaceChildren("MEASURED" + JSON.stringify(found) + "END");
    });"""
    outer = tmp_path / "outer.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frames}<script>{measure}</script></body>')
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-sync",
             "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}",
             "--dump-dom", "--virtual-time-budget=10000"]  # fmt: skip
    done = subprocess.run([browser, *flags, outer.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search("MEASURED(.*)END", done.stdout)[1])
    assert [width for width, *_ in found] == [320, 390, 1280]
    for width, scroll, cut, images, broken in found:
        assert scroll <= width
        assert cut == 0 or width < 390
        assert images > 10
        assert broken == 0


def test_pages_of_raw_and_of_converted_data_do_not_replace_each_other(good_release, apart, monkeypatch, capsys):
    """Both are mostly called alike, and the name of a folder may have a dot in it."""
    monkeypatch.setattr("convert.explore.PROJECT", apart)
    raw = good_release.write().rename(apart / "rsna.v2")
    data = apart / "sets" / "rsna.v2"
    convert(["--source", str(raw), "--output", str(data), "--workers", "1"])
    other = apart / "other.yaml"
    other.write_text(f"train: {data}/train.txt\nval: {data}/val.txt\nnames: [Lung Opacity]\n")
    pages = apart / "runs" / "explore"
    for source, name in ((raw, "rsna.v2-raw"), (data, "rsna.v2"), (data / "data.yaml", "rsna.v2"), (other, "rsna.v2")):
        shutil.rmtree(pages, ignore_errors=True)
        assert execute(main, [str(source), "--pictures", "none", "--no-wandb"]) == 0
        assert [page.name for page in pages.iterdir()] == [f"{name}.html"]
    archive = shutil.make_archive(str(apart / "kaggle.v3"), "zip", raw)
    execute(main, [archive, "--pictures", "none", "--no-wandb"])
    assert (pages / "kaggle.v3-raw.html").is_file()


def test_printed_commands_can_be_pasted(good_release, apart, capsys):
    output = apart / "my sets" / "it's"
    convert(["--source", str(good_release.write()), "--output", str(output), "--workers", "1"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Next: "))
    assert shlex.split(line) == ["Next:", "yolo", "train", "data=my sets/it's/data.yaml", "model=yolov8m.pt"]
