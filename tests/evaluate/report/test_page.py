"""The page: what it says, that it stands alone, and how a browser shows it."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from common.pages.pictures import TRUTH_COLOUR
from evaluate.metrics.rsna import confidence_sweep
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import Confidence, GateRule
from evaluate.postprocess.suppression import Suppression
from evaluate.report.page import ReportInput, write_report
from evaluate.scoring.result import Gain, Interval, Leakage, Origin, SplitLeakage, Step
from tests.evaluate.sample_score import GATE, SCORE, split_score, subgroup

BARE = Pipeline(confidence=Confidence(0.5))
NAN = float("nan")
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page's elements, attributes and text; refuses elements that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.text_of = {}
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self):
        return [attributes["value"] for attributes in self.all("data")]


TRUTH = pd.DataFrame(
    [
        ("exact", 10, 10, 40, 40, "Lung Opacity"),
        ("beside", 10, 10, 40, 40, "Lung Opacity"),
        ("unseen", 10, 10, 40, 40, "Lung Opacity"),
        ("alarm", NAN, NAN, NAN, NAN, "Normal"),
        ("quiet", NAN, NAN, NAN, NAN, "No Lung Opacity / Not Normal"),
    ],
    columns=["image_id", "x", "y", "width", "height", "label"],
)
PREDICTIONS = pd.DataFrame(
    [
        ("alarm", 0.7, 0, 0, 20, 20),
        ("beside", 0.8, 60, 60, 30, 30),
        ("exact", 0.9, 10, 10, 40, 40),
        ("quiet", 0.2, 0, 0, 20, 20),
    ],
    columns=["image_id", "confidence", "x", "y", "width", "height"],
)


def make_manifest():
    ids = list(dict.fromkeys(TRUTH["image_id"]))
    return pd.DataFrame(
        {
            "image_id": ids, "split": "test", "patient_id": [f"p{name}" for name in ids],
            "label": TRUTH.groupby("image_id")["label"].first()[ids].tolist(), "boxes": [1.0, 1.0, 1.0, 0.0, 0.0],
            "width": 100.0, "height": 100.0, "view": ["AP", "PA", "AP", "PA", ""], "sex": "F",
            "age": [30.0, 40.0, 50.0, 60.0, NAN], "source": [f"stage_2_train_images/{name}.dcm" for name in ids],
        }
    )  # fmt: skip


def draw(image_id):
    return np.full((400, 400), 120, np.uint8)


def write(folder, score=SCORE, truth=TRUTH, predictions=PREDICTIONS, manifest="made", pictures=draw, run=None):
    path = folder / "page" / "report.html"
    known = {} if predictions is None else {"val": predictions, "test": predictions}
    given = ReportInput(
        score=score,
        truth={"val": truth, "test": truth},
        predictions=known,
        sweeps={split: confidence_sweep(truth, table) for split, table in known.items()},
        manifest=make_manifest() if isinstance(manifest, str) else manifest,
        pictures=pictures,
        run=run,
    )
    assert write_report(path, given) == path
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    epochs = np.arange(1, 6)
    table = {"epoch": epochs, "train/box_loss": 2 - 0.1 * epochs, "val/box_loss": 2.5 - 0.1 * epochs}
    pd.DataFrame({**table, "metrics/mAP50(B)": 0.1 * epochs}).to_csv(folder / "results.csv", index=False)
    return write(folder, run=folder)


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text())


def changed(**values):
    return dataclasses.replace(SCORE, **values)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (GateRule("keep", 0.31), "only in images whose probability of an opacity is above 0.310."),
        (GateRule("weigh"), "each box's confidence multiplied by its image's probability"),
    ],
)
def test_a_gate_and_what_it_is_worth(tmp_path, rule, words):
    step = Step("gate", Gain(0.23, 0.012, Interval(-0.003, 0.03)), Gain(0.2345678, -0.004, Interval(-0.01, 0.002)))
    score = changed(pipeline=dataclasses.replace(BARE, gate=rule), steps=(SCORE.steps[0], step), gate=GATE)
    text = Page(write(tmp_path, score).read_text()).text
    assert words in text
    assert "What scores highest on split val was taken." in text
    assert "Confidence the threshold alone, and the usual way with overlaps 0.215" in text
    assert "0.235 −0.004 −0.010 to +0.002 +0.012 −0.003 to +0.030" in text
    assert "On test, none of the steps changed the score beyond chance (95 % intervals)." in text
    assert "The boxes are used as they came, without post-processing." not in text
    assert "runs/gate/gate.csv" in text
    assert "Leakage: the gate was trained on 3 images of split val." in text


def test_a_gate_that_did_not_help(tmp_path):
    gate = dataclasses.replace(GATE, seen_images={"val": 0, "test": 0})
    steps = (SCORE.steps[0], Step("gate", None, Gain(0.2345678, 0.0, Interval(0.0, 0.0))))
    text = Page(write(tmp_path, changed(pipeline=BARE, gate=gate, steps=steps)).read_text()).text
    assert "Gate none, because boxes as they came score as high as with any 0.235 +0.000" in text
    assert "Leakage: the gate" not in text


def test_steps_of_few_patients_are_not_told_from_chance(tmp_path, page):
    assert "Box scale boxes resized, width x height: AP 0.87 x 0.8, PA 0.9 x 0.85, others 0.87 x 0.8" in page.text
    assert "On test, box scale changed the score beyond chance (95 % intervals)." in page.text
    gain = dataclasses.replace(SCORE.steps[1].reported, gain_interval_95=None)
    steps = (SCORE.steps[0], dataclasses.replace(SCORE.steps[1], reported=gain, unseen=None))
    text = Page(write(tmp_path, changed(steps=steps)).read_text()).text
    assert "Fewer than 20 patients have images that count, too few to tell a change from chance." in text
    assert "changed the score" not in text


def test_the_page_stands_alone(path, page):
    loads = [
        (tag, name, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href")
    ]
    assert loads
    assert [load for load in loads if not load[2].startswith(("data:", "#"))] == []
    text = path.read_text()
    assert re.findall(r"https?://|@import|<script|url\((?!#)", text) == []
    assert re.findall(r"\son\w+=", text) == []
    assert path.stat().st_size < 5e6


def test_the_page_is_well_formed(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for attributes in page.all("a")]
    assert len(targets) == 7
    assert set(targets) <= set(ids)
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_pictures_and_figures_have_words_for_those_who_cannot_see_them(page):
    images = page.all("img")
    assert sorted(image["alt"].split()[1] for image in images) == sorted(set(TRUTH["image_id"]))
    assert all(len(image["alt"]) > 20 for image in images)
    assert all(figure.get("role") == "img" for figure in page.all("svg"))
    labels = " ".join(figure["aria-label"] for figure in page.all("svg"))
    for words in (
        "the score on its scale",
        "every confidence threshold",
        "by subgroup",
        "losses",
        "validation",
        "ages",
    ):
        assert words in labels.lower()
    assert all(len(figure["aria-label"]) > 30 for figure in page.all("svg"))


def test_numbers_are_those_of_the_score(page):
    assert page.values()[0] == "0.2345678"
    for split in SCORE.splits.values():
        for name, value in vars(split).items():
            assert str(value) in page.values() or name == "interval_95"
    assert "0.232 to 0.268" not in page.text  # of val, where the threshold was chosen
    assert "The interval is of this model at this threshold" in page.text
    for shown in ("0.235", "0.222 to 0.258", "1,205", "0.322", "0.162", "confidence threshold was chosen"):
        assert shown in page.text
    assert "50 % of the true boxes are met, and 48 % of the predicted boxes meet one" in page.text
    assert "The score on val, where the threshold was chosen, is 0.010 higher." in page.text
    assert "of boxes that overlap (IoU above 0.3) the most confident kept; at most 3 boxes in an image;" in page.text


def test_outcomes_and_gallery(path, page):
    for words in ("1 found", "1 in the wrong place", "1 missed", "1 false alarms", "1 rightly left empty"):
        assert words in page.text
    assert "33 % of those with opacity" in page.text
    assert page.text.count("in the wrong place") == page.text.count("In the wrong place") + 1 == 1  # the number only
    assert "50 % of those without" in page.text
    groups = dict(re.findall(r'<ul class="strip"[^>]*data-group="(\w+)">(.*?)</ul>', path.read_text(), re.DOTALL))
    shown = {group: re.findall(r"<code>(.*?)</code>", content) for group, content in groups.items()}
    assert shown == {
        "best": ["exact"], "worst": ["beside"], "missed": ["unseen"], "false_alarms": ["alarm"], "empty": ["quiet"],
    }  # fmt: skip
    assert "score 1.000" in groups["best"]
    assert "Lung Opacity · AP" in groups["best"]
    assert "does not count" in groups["empty"]
    assert "the strongest rejected one had 0.20" in groups["empty"]


def test_details(page):
    for words in (
        SCORE.origin.command,
        "0123abc",
        "2.7.1",
        "runs/first/weights/best.pt",
        "datasets/rsna.yaml",
        "val.csv",
    ):
        assert words in page.text
    assert "first, best.pt on datasets/rsna.yaml" in page.text
    assert "This is no medical device" in page.text


def test_every_figure_has_its_sentence(page):
    for words in (
        "The dot is the score, 0.235; the band is its",
        "Boxes are kept from confidence 0.50, chosen on val",
        "By view, PA scores 0.060 higher than AP, which is beyond chance (p = 0.012, corrected for all pairs",
        "5 epochs of training; the training loss went from 1.90 to 1.50",
        "mAP50 is highest at epoch 5 (0.500)",
        "Lung Opacity: 60 % of test",
        "The median box is 40 wide and 40 high",
        "in 100 % of 3 images with boxes",
        "The median age is 45 years",
    ):
        assert words in page.text


def test_comparison_is_made_only_with_the_challenges_own_images(tmp_path, page):
    published = "highest score published for the challenge is 0.255"
    assert published in page.text
    other = make_manifest().assign(source="images/1.png")
    assert published not in Page(write(tmp_path, manifest=other).read_text()).text
    assert published not in Page(write(tmp_path, score=changed(synthetic=None)).read_text()).text
    synthetic = Page(write(tmp_path, score=changed(synthetic=True)).read_text()).text
    assert published not in synthetic
    assert "not comparable with published scores" in synthetic


def test_doubts_are_named(tmp_path, page):
    assert "Mind:" not in page.text
    leaking = Leakage(trained_on="a", patients_known=True, splits={"test": SplitLeakage(3, 2, 4, ("exact",))})
    text = Page(write(tmp_path, score=changed(leakage=leaking)).read_text()).text
    assert "3 images were trained on, and 2 patients have images that were." in text
    partly = Leakage(splits={"test": SplitLeakage(0, 0, 0, chosen_on=5)}, not_seen=("it began with x.pt", "more"))
    text = Page(write(tmp_path, score=changed(leakage=partly)).read_text()).text
    assert "5 images of split 'test' are validation images of the training" in text
    assert "Leakage was looked for, but not all of it can be seen: it began with x.pt; more." in text
    unknown = Leakage(reason="the weights do not say.")
    text = Page(write(tmp_path, score=changed(leakage=unknown)).read_text()).text
    assert "Whether the weights have seen these images is not known: the weights do not say. " in text
    text = Page(write(tmp_path, score=changed(tuned_on="test")).read_text()).text
    assert "the very split that is reported" in text
    shared = make_manifest().assign(patient_id="one", split=["train", "test", "val", "test", "test"])
    assert "1 patients have images in more than one split" in Page(write(tmp_path, manifest=shared).read_text()).text
    challenge = shared.assign(split=["challenge", "test", "challenge", "test", "test"])
    assert "in more than one split" not in Page(write(tmp_path, manifest=challenge).read_text()).text
    for unknown in (None, shared.assign(patient_id=shared["image_id"])):
        text = Page(write(tmp_path, manifest=unknown).read_text()).text
        assert "Patients are not known: every image counts as a patient of its own, so the interval is too" in text


def test_an_interval_is_shown_only_where_it_means_something(tmp_path):
    def text(**values):
        reported = dataclasses.replace(SCORE.reported, **values)
        score = changed(splits={**SCORE.splits, "test": reported})
        return Page(write(tmp_path, score).read_text()).text

    assert "95 % interval 0.222 to 0.258 What" not in text()
    assert "Of few patients (39): somewhat too narrow" in text(counted_patients=39)
    assert "f few patients" not in text(counted_patients=40)
    none = text(interval_95=None, counted_patients=19)
    assert "Fewer than 20 patients have images that count, too few for an interval" in none
    assert "The interval is of this model" not in none
    tuned = Page(write(tmp_path, changed(tuned_on="test")).read_text()).text
    assert "0.222 to 0.258" not in tuned
    assert "The threshold was chosen on this split, so that an interval would mislead" in tuned


def test_of_predictions_from_a_file_no_more_is_said_than_is_known(tmp_path):
    text = Page(write(tmp_path, changed(weights=None)).read_text()).text
    assert "how they were made, and from which confidence on, is not known" in text
    assert "looked at every image" not in text


def test_a_given_threshold_is_not_called_tuned(tmp_path):
    text = Page(write(tmp_path, score=changed(tuned_on=None)).read_text()).text
    assert "0.500, was given, not tuned" in text
    assert "had no part in that choice" not in text
    nothing = dataclasses.replace(BARE, suppression=Suppression("none", None), confidence=Confidence())
    text = Page(write(tmp_path, score=changed(tuned_on=None, pipeline=nothing, steps=())).read_text()).text
    assert "every box counts" in text
    assert "without post-processing" in text


def test_special_characters_are_shown_and_not_obeyed(tmp_path):
    nasty = '<script>alert("1")</script>&amp;'
    truth = TRUTH.assign(label=TRUTH["label"].replace("Lung Opacity", nasty))
    truth["image_id"] = truth["image_id"].replace("exact", "<b>$x$</b>")
    predictions = PREDICTIONS.assign(image_id=PREDICTIONS["image_id"].replace("exact", "<b>$x$</b>"))
    manifest = make_manifest().assign(label=nasty, view='"><i>')
    manifest["image_id"] = manifest["image_id"].replace("exact", "<b>$x$</b>")
    score = changed(
        weights=f"runs/{nasty}",
        origin=dataclasses.replace(SCORE.origin, command=nasty, versions={nasty: nasty}),
        subgroups={nasty: {nasty: subgroup(0.2, images=1205)}},
    )
    page = Page(write(tmp_path, score, truth, predictions, manifest).read_text())
    assert page.all("script") == []
    assert page.all("b")
    for words in (f'{nasty} · "><i>', "<b>$x$</b>", f"{nasty} (1,205)"):
        assert words in page.text
    assert page.text.count(nasty) > 8
    assert any("<b>$x$</b>" in image["alt"] for image in page.all("img"))


def test_what_is_missing_is_left_out_or_said(tmp_path):
    page = Page(write(tmp_path, manifest=None, pictures={}, run=tmp_path / "absent").read_text())
    assert page.text.count("The picture could not be read.") == len(set(TRUTH["image_id"]))
    assert page.all("img") == []
    assert "there are no training curves" in page.text
    assert "its splits are not shown" in page.text
    assert "No comparison with published scores" in page.text


@pytest.mark.parametrize("columns", [["image_id"], ["split", "age"], ["image_id", "age", "patient_id", "width"]])
def test_a_manifest_may_lack_columns(tmp_path, columns):
    page = Page(write(tmp_path, manifest=make_manifest()[columns]).read_text())
    assert "its splits are not shown" in page.text
    assert len(page.all("img")) == len(set(TRUTH["image_id"]))
    assert ("The median age" in page.text) == (columns[0] == "image_id" and "age" in columns)


def test_a_bare_score_makes_a_page(tmp_path):
    """Everything that may be unknown is."""
    bare = changed(
        weights=None, weights_sha256=None, data_fingerprint=None, predictions={}, synthetic=None, tuned_on=None,
        splits={"test": dataclasses.replace(split_score(0.5), map50=None, map50_95=None)}, subgroups={},
        subgroup_differences=None, leakage=Leakage(reason=""),
        origin=Origin({}, "", None, ""),
    )  # fmt: skip
    text = write(tmp_path, score=bare, manifest=None).read_text()
    page = Page(text)
    assert page.values()[0] == "0.5"
    assert "Predictions on datasets/rsna.yaml" in page.text
    assert "is not known: not checked." in page.text
    assert "Score of" not in page.text
    assert "mAP50" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)


def test_without_predictions(tmp_path):
    page = Page(write(tmp_path, predictions=None).read_text())
    assert "There are no predictions to draw a curve from." in page.text
    assert "What the model does" not in page.text
    empty = PREDICTIONS.iloc[:0]
    page = Page(write(tmp_path, predictions=empty).read_text())
    assert "3 missed" in page.text
    assert "Images without opacity on which the model is surest of one. Each scores 0. There is none." in page.text


def test_without_truth_boxes(tmp_path):
    page = Page(write(tmp_path, truth=TRUTH[TRUTH["x"].isna()], predictions=PREDICTIONS.iloc[:1]).read_text())
    assert "No image of split test has a true box" in page.text


@pytest.mark.parametrize("content", ["", "epoch\n", "\x00\xff", "no,table\n1,2,3\n4", "epoch,train/box_loss\n1,nan\n"])
def test_bad_training_tables_do_no_harm(tmp_path, content):
    (tmp_path / "results.csv").write_text(content)
    page = Page(write(tmp_path, run=tmp_path).read_text())
    assert "This is no medical device" in page.text


def test_tables_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(UserError, match="stranger"):
        write(tmp_path, predictions=PREDICTIONS.assign(image_id="stranger"))
    assert not (tmp_path / "page").exists()


def test_the_same_input_gives_the_same_page(tmp_path, path):
    assert write(tmp_path / "a").read_text() == write(tmp_path / "b").read_text()


# ---- in a browser


def open_page(browser, path, folder, *options):
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
    ]  # fmt: skip
    command = [browser, *flags, *options, path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def measure(browser, path, folder):
    """What a browser makes of the page at several widths."""
    # Chromium's own window is never narrower than 500 pixels, a frame may be. `srcdoc` lets the outer page measure.
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(path.read_text())}"></iframe>'
        for width in (320, 390, 800, 1280)
    )
    script = """addEventListener("load", () => {
        const found = [...document.querySelectorAll("iframe")].map(frame => {
            const page = frame.contentDocument.documentElement, view = frame.contentWindow;
            const images = [...page.querySelectorAll("img")];
            const cut = [...page.querySelectorAll(".scroll")].filter(table => table.scrollWidth > table.clientWidth);
            return {width: view.innerWidth, scroll: page.scrollWidth, height: page.scrollHeight, cut: cut.length,
                    broken: images.filter(image => !image.naturalWidth).length, images: images.length};
        });
        document.body.replaceChildren("MEASURED" + JSON.stringify(found) + "END");
    });"""
    outer = folder / "outer.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frames}<script>{script}</script></body>')
    done = open_page(browser, outer, folder, "--dump-dom", "--virtual-time-budget=10000")
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    found = json.loads(re.search("MEASURED(.*)END", done.stdout).group(1))
    assert [frame["width"] for frame in found] == [320, 390, 800, 1280]
    return found


@pytest.mark.browser
def test_nothing_overflows_and_nothing_fails(browser, path, tmp_path):
    for frame in measure(browser, path, tmp_path):
        assert frame["scroll"] <= frame["width"], frame
        assert frame["height"] > 2000
        assert frame["images"] == len(Page(path.read_text()).all("img")) > 0
        assert frame["broken"] == 0


@pytest.mark.browser
def test_tables_with_numbers_as_large_as_rsnas_are_not_cut_on_a_phone(browser, tmp_path):
    rows = 26_684
    split = np.repeat(["train", "val", "test", "challenge"], [18_680, 4_002, 4_002, 3_000])[:rows]
    manifest = pd.DataFrame(
        {
            "image_id": [f"{number:036}" for number in range(rows)], "split": split, "label": "Normal",
            "patient_id": np.arange(rows) // 2, "boxes": np.arange(rows) % 2, "width": 1024.0, "height": 1024.0,
        }
    )  # fmt: skip
    large = dataclasses.replace(split_score(0.2345678), images=14_002, truth_boxes=11_433, predictions=15_120)
    path = write(tmp_path, changed(splits={"test": large, "val": large}), manifest=manifest, predictions=None)
    for frame in measure(browser, path, tmp_path):
        assert frame["scroll"] <= frame["width"], frame
        assert frame["cut"] == 0 or frame["width"] < 390, frame


@pytest.mark.browser
def test_the_page_is_not_blank(browser, path, tmp_path):
    target = tmp_path / "page.png"
    open_page(browser, path, tmp_path, f"--screenshot={target}", "--window-size=1280,5200")
    picture = cv2.imread(str(target))[:, :, ::-1].astype(int)
    assert picture.shape == (5200, 1280, 3)
    paper = (picture == picture[2, 2]).all(axis=2)
    assert 0.3 < paper.mean() < 0.95
    ink = (picture.sum(axis=2) < 200)[:600]
    assert ink.mean() > 0.005  # the number and its words
    truth = np.abs(picture - np.array(TRUTH_COLOUR)).max(axis=2) < 25
    assert truth.sum() > 500  # boxes on the pictures of the gallery
