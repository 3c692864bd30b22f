"""`make docs`: the site builds without a warning, every link in it leads somewhere, and nothing is fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs", reason="needs the extra [docs]")


class _Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.places |= {named[key] for key in ("id", "name") if named.get(key)}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        elif tag == "link" and named.get("href") and named.get("rel") != "canonical":
            self.loaded.append(named["href"])
        elif tag in {"img", "script", "iframe", "source"} and named.get("src"):
            self.loaded.append(named["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return {file: _Page(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}


@pytest.mark.slow
def test_every_link_leads_somewhere(site):
    dead = []
    for file, page in site.items():
        if file.name == "404.html":
            continue
        for target in [*page.links, *page.loaded]:
            path, anchor = urldefrag(target)
            if "://" in path or path.startswith(("mailto:", "data:")):
                continue
            there = (file.parent / unquote(path)).resolve() if path else file
            places = site[there].places if there in site else {unquote(anchor)}
            if not there.exists() or (anchor and unquote(anchor) not in places):
                dead.append((file.name, target))
    assert not dead
    assert sum(len(page.links) for page in site.values()) > 500


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site):
    assert not [target for page in site.values() for target in page.loaded if "://" in target]


@pytest.mark.slow
def test_the_reference_has_the_metric_with_its_arguments(site):
    (page,) = [file for file in site if file.parts[-2:] == ("api", "metrics.html")]
    text = page.read_text(encoding="utf-8")
    assert "evaluate.metrics.rsna.rsna_score" in site[page].places
    assert "iou_thresholds" in text
    assert "greater than" in text  # of the module's docstring: the definition
