"""The page and the Markdown of a study: that they stand alone, agree with themselves, and cope with any study."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from common.errors import UserError
from train.study.report.page import write_study_report

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page's elements, the text of its cells and of its list items; refuses what is not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.parts = {"cell": [], "item": [], "code": []}
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        kind = {"td": "cell", "th": "cell", "li": "item", "code": "code"}.get(tag)
        if kind:
            self.parts[kind].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open or "svg" in self.open:
            return
        self.words.append(data)
        for kind, tags in (("cell", {"td", "th"}), ("item", {"li"}), ("code", {"code"})):
            if tags & set(self.open):
                self.parts[kind][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


MODELS = {"basic-cnn.yaml": (0.15, 90_000), "cnn-bn.yaml": (0.25, 90_300), "yolov8n.yaml": (0.32, 3_000_000)}
BLOCKS = [
    {"name": "models", "title": "From a CNN to YOLO", "about": "One at a time.", "parameters": {"model": list(MODELS)}},
    {"name": "lr", "title": "Learning rate", "parameters": {"optimizer": ["SGD", "AdamW"], "lr0": [0.001, 0.01, 0.1]},
     "only": {"optimizer": {"SGD": {"momentum": 0.8}}}},
    {"name": "patience", "title": "Early stopping", "parameters": {"patience": [3, 10]}},
]  # fmt: skip


def score(settings, repeat):
    random = np.random.default_rng([repeat, len(json.dumps(settings))])
    base = MODELS[settings["model"]][0] if "model" in settings else 0.3
    if "lr0" in settings:
        base -= 0.06 * abs(np.log10(settings["lr0"]) + (2 if settings["optimizer"] == "AdamW" else 1))
    return np.clip(base + random.normal(0, 0.01) + random.normal(0, 0.06, 60), 0, 0.98)


def costs(settings):
    return {"parameters": MODELS.get(settings.get("model"), (0, 90_000))[1], "gflops": 0.4, "milliseconds": None}


def outcome(settings, repeat):
    return "failed" if settings.get("lr0") == 0.1 and settings["optimizer"] == "AdamW" else "finished"


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_study):
    folder = tmp_path_factory.mktemp("report") / "study"
    return write_study(folder, BLOCKS, score, seeds=(0, 1), costs=costs, outcome=outcome)


@pytest.fixture(scope="module")
def written(study):
    return write_study_report(study)


@pytest.fixture(scope="module")
def page(written):
    return Page(written[0].read_text())


@pytest.fixture(scope="module")
def markdown(written):
    return written[1].read_text()


def test_where_it_is_written(study, written, tmp_path):
    assert written == (study / "report.html", study / "report.md")
    _, elsewhere = write_study_report(study, tmp_path / "docs" / "study.md", tmp_path / "docs" / "pictures" / "study")
    assert elsewhere == tmp_path / "docs" / "study.md"
    assert "](pictures/study/variance-shares.svg)" in elsewhere.read_text()


def test_the_page_stands_alone_and_is_well_formed(written, page):
    text = written[0].read_text()
    loads = [
        (tag, name, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href")
    ]
    assert [load for load in loads if not load[2].startswith(("data:", "#"))] == []
    assert re.findall(r"https?://|@import|<script|url\((?!#)|\son\w+=", text) == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(ids)
    assert len(page.all("h1")) == 1
    figures = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert len(figures) >= 8
    assert all(len(figure["aria-label"]) > 30 for figure in figures)


def numbers(text):
    """Scores and differences of scores."""
    return set(re.findall(r"(?<![\w.])\d\.\d{3}(?!\d)", text))


def test_every_number_of_a_sentence_stands_in_a_table(page, markdown):
    in_tables = set().union(*(numbers(cell) for cell in page.parts["cell"]))
    sentences = [item for item in page.parts["item"] if numbers(item)]
    assert len(sentences) > 10
    for sentence in sentences:
        missing = numbers(sentence) - in_tables
        if "scatter" in sentence:  # the noise stands in the text above the ranking
            missing = {number for number in missing if number not in page.text.partition("two trainings of one")[2]}
        assert not missing, sentence
    rows = "\n".join(line for line in markdown.splitlines() if line.startswith("|"))
    for line in markdown.splitlines():
        if line.startswith("- ") and "scatter" not in line:
            assert numbers(line) <= numbers(rows), line


def test_page_and_markdown_say_the_same(page, markdown):
    plain = markdown.replace("\\", "")
    assert {item.strip() for item in page.parts["item"] if " ± " in item.replace("\N{NO-BREAK SPACE}", " ")} <= {
        line.removeprefix("- ") for line in plain.splitlines()
    }
    assert all(cell in plain for cell in page.parts["cell"])


def test_every_run_and_the_command_that_repeats_it(study, page, markdown):
    for file in sorted(study.glob("trials/*/trial.json")):
        trial = json.loads(file.read_text())
        assert trial["id"] in page.parts["cell"]
        assert page.parts["code"].count(trial["command"]) == 1
        (call,) = re.findall(rf"\n\| {trial['id']} \| again([^|]*) \|", markdown.replace("\\", ""))
        (common,) = re.findall(r'again\(\) \{ (python train/train\.py .*) "\$@"; \}', markdown)
        # The last word of a name counts.
        words = dict(word.split("=") for word in shlex.split(f"{common} {call}")[2:])
        assert words == dict(word.split("=") for word in shlex.split(trial["command"])[2:])
        if trial["test"]:
            low, high = trial["test"]["interval_95"]
            assert f"{trial['test']['score']:.3f} ({low:.3f} to {high:.3f})" in page.parts["cell"]
        else:
            assert trial["status"] == "failed"
    assert "git checkout 0123abc\nmake setup" in markdown


def test_how_it_was_done_is_said(page):
    for words in (
        "A planted study", "What the tests know.", "datasets/sample/data.yaml", "f00d", "seeds 0, 1", "2 cores",
        "python train/sweep.py space.yaml", "torch 2.7.1", "epochs=10, imgsz=256", "Study of 2025-03-04 05:06.",
        "epoch and confidence are chosen on val, what is compared is the RSNA score on test (30 patients)",
        "drawn by a program", "With optimizer=SGD: momentum=0.8.", "This is no medical device", "CUDA out of memory",
    ):  # fmt: skip
        assert words in page.text, words


def test_figures_of_the_markdown_are_there_and_whole(written, markdown):
    links = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", markdown)
    assert len(links) >= 8
    for words, link in links:
        assert words
        assert not Path(link).is_absolute()
        root = ElementTree.fromstring((written[1].parent / link).read_text())
        assert root.tag.endswith("}svg")
    assert {Path(link).name for _, link in links} == {path.name for path in written[1].parent.glob("figures/*")}


def test_tables_of_the_markdown_are_tables(markdown):
    lines = markdown.splitlines()
    heads = [place for place, line in enumerate(lines) if re.fullmatch(r"\|( ?:?-+:? ?\|)+", line)]
    assert len(heads) > 10
    for place in heads:
        width = len(re.findall(r"(?<!\\)\|", lines[place]))
        assert lines[place - 2] == ""  # a table needs an empty line above
        row = place - 1
        while row < len(lines) and lines[row].startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", lines[row])) == width, lines[row]
            row += 1
        assert row > place + 1
        assert lines[row] == ""
    assert markdown.count("<details>") == markdown.count("</details>")


def test_the_same_study_gives_the_same_files(study, written):
    before = [path.read_bytes() for path in written]
    write_study_report(study)
    assert [path.read_bytes() for path in written] == before


def test_special_characters_are_shown_and_not_obeyed(tmp_path, write_study):
    nasty = '<script>alert("1")</script> | `a` *b* [c](d)'
    blocks = [{"name": nasty, "title": nasty, "about": nasty, "parameters": {"optimizer": [nasty, "$x_1$"]}}]
    folder = write_study(tmp_path / "study", blocks, score, title=nasty, machine=nasty, outcome=lambda s, _: "finished")
    written = write_study_report(folder)
    page = Page(written[0].read_text())
    assert page.all("script") == []
    assert page.text.count(nasty) > 5
    text = written[1].read_text()
    assert "\\<script\\>" in text
    assert "<script>" not in re.sub(r"```sh.*?```", "", text, flags=re.DOTALL)


# ---- any study


def report(folder):
    written = write_study_report(folder)
    return Page(written[0].read_text()), written[1].read_text()


def test_a_single_trial(tmp_path, write_study):
    page, text = report(write_study(tmp_path / "one", [{"name": "o", "parameters": {"optimizer": ["SGD"]}}], score))
    assert "1 trials" not in page.text
    assert "1 trial" in page.text
    assert "Each setting was trained once" in page.text
    assert "Best on val: optimizer=SGD" in text


def test_when_all_fail_the_page_says_so(tmp_path, write_study):
    page, text = report(write_study(tmp_path / "none", BLOCKS, score, outcome=lambda *_: "failed"))
    assert "No trial has finished (11 trials)" in page.text
    assert "No trial of this block has finished." in text
    assert "CUDA out of memory" in text
    assert not (tmp_path / "none" / "figures").exists()


def test_without_a_test_split_scores_are_called_flattering(tmp_path, write_study):
    page, _ = report(write_study(tmp_path / "val", BLOCKS, score, costs=costs, outcome=outcome, test=False))
    assert "they flatter" in page.text
    assert "val score (95 % interval)" in page.parts["cell"]
    assert "test score (95 % interval)" not in page.parts["cell"]


def test_folds_are_told_from_seeds(tmp_path, write_study):
    page, _ = report(write_study(tmp_path / "folds", BLOCKS, score, folds=3, costs=costs, outcome=outcome))
    assert "3 folds" in page.text
    assert "Trainings that differ in their fold only scatter by" in page.text
    assert "fold" in page.parts["cell"]


@pytest.mark.parametrize(("method", "count"), [("random", 200), ("tpe", 6)])
def test_drawn_settings(tmp_path, write_study, method, count):
    random = np.random.default_rng(0)
    blocks = [
        {
            "name": "search",
            "parameters": {"lr0": {"low": 1e-4, "high": 0.1, "log": True}, "optimizer": ["SGD", "AdamW"]},
        }
    ]
    settings = [
        ("search", {"lr0": float(10 ** random.uniform(-4, -1)), "optimizer": str(random.choice(["SGD", "AdamW"]))})
        for _ in range(count)
    ]
    scheduler = {"type": "asha", "grace": 1}
    page, text = report(
        write_study(
            tmp_path / "drawn", blocks, score, settings=settings, method=method, scheduler=scheduler,
            outcome=lambda s, _: "stopped" if s["lr0"] < 2e-4 else "finished",
            curve=lambda s, _: [0.1] * (3 if s["lr0"] < 2e-4 else 10),
        )
    )  # fmt: skip
    assert "Settings were drawn" in page.text
    assert ("A random forest predicts" in page.text) == (count == 200)
    assert ("nothing can be said of single parameters" in page.text) == (count == 6)
    assert ("TPE tries most" in text) == (method == "tpe")
    if count == 200:
        assert "type=asha, grace=1" in page.text
        assert "left out of comparisons" in page.text
        assert sum(code.startswith("python train/train.py") for code in page.parts["code"]) == 200


def test_nothing_is_written_of_a_wrong_study(tmp_path, write_study):
    folder = write_study(tmp_path / "study", BLOCKS, score, costs=costs, outcome=outcome)
    (folder / "trials" / "t001" / "scores.csv").unlink()
    with pytest.raises(UserError, match=r"t001/scores\.csv: no such file"):
        write_study_report(folder)
    assert not list(folder.glob("report*"))


# ---- in a browser


@pytest.mark.browser
def test_nothing_overflows_and_every_table_can_be_reached(browser, written, tmp_path):
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(written[0].read_text())}"></iframe>'
        for width in (390, 1280)
    )
    measure = """addEventListener("load", () => {
        const found = [...document.querySelectorAll("iframe")].map(frame => {
            const page = frame.contentDocument.documentElement, view = frame.contentWindow;
            const cut = [...page.querySelectorAll("table")].filter(table => !table.closest(".scroll"));
            const charts = [...page.querySelectorAll(".chart svg")].map(svg => svg.getBoundingClientRect().width);
            return {width: view.innerWidth, scroll: page.scrollWidth, height: page.scrollHeight, cut: cut.length,
                    charts: Math.min(...charts)};
        });
        document.body.replaceChildren("MEASURED" + JSON.stringify(found) + "END");
    });"""
    outer = tmp_path / "outer.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{frames}<script>{measure}</script></body>')
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        "--virtual-time-budget=10000",
    ]  # fmt: skip
    done = subprocess.run([browser, *flags, outer.as_uri()], capture_output=True, text=True, timeout=240, check=True)
    found = json.loads(re.search("MEASURED(.*)END", done.stdout).group(1))
    assert [frame["width"] for frame in found] == [390, 1280]
    for frame in found:
        assert frame["scroll"] <= frame["width"], frame
        assert frame["height"] > 3000
        assert frame["cut"] == 0
        assert frame["charts"] > 300
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
