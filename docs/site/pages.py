"""What `make docs` adds to the pages of docs/: documents that lie elsewhere, and the reference of the public modules.

A document's links are written for where it lies, so that they work on a code host and in an editor. Here they are
turned to where it stands in the site; a link to a file that the site does not have, such as a module, becomes its text.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "datasets/README.md": "datasets.md",
}
"""Documents outside of docs/, and their place in the site."""

REFERENCE = {
    "metrics": (
        "The metric, and how sure a score is",
        ("evaluate.metrics.rsna", "evaluate.metrics.uncertainty", "evaluate.metrics.coco"),
    ),
    "postprocess": (
        "Post-processing",
        (
            "evaluate.postprocess.pipeline",
            "evaluate.postprocess.suppression",
            "evaluate.postprocess.steps",
            "evaluate.postprocess.fitting",
            "evaluate.postprocess.gains",
        ),
    ),
    "scoring": (
        "Scoring and predicting",
        (
            "evaluate.scoring.request",
            "evaluate.scoring.run",
            "evaluate.scoring.result",
            "evaluate.scoring.prediction",
            "evaluate.system.record",
            "evaluate.system.finding",
            "evaluate.report.page",
        ),
    ),
    "convert": (
        "Pictures and data sets",
        ("convert.pictures", "convert.sources.parsed", "convert.yolo_set", "convert.synthetic.release"),
    ),
    "train": ("Training", ("train.detector.training", "train.classifier.training", "train.members")),
    "common": ("Tables and errors", ("common.data.tables", "common.data.data_set", "common.errors")),
}
"""By page of the reference, its title and its modules."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the documents that lie elsewhere and the pages of the reference."""
    for source, place in ELSEWHERE.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    rows = ["# Reference\n\nMade from the docstrings. [A whole script](../library.md) shows how the parts join.\n"]
    for name, (title, modules) in REFERENCE.items():
        text = f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, f"api/{name}.md", content=text))
        rows.append(f"- [{title}]({name}.md): {', '.join(f'`{module}`' for module in modules)}")
    files.append(File.generated(config, "api/index.md", content="\n".join(rows) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links to where their targets stand in the site."""
    place = page.file.src_uri
    if place.startswith("api/"):
        return markdown
    source = next((key for key, value in ELSEWHERE.items() if value == place), f"docs/{place}")
    parts = _FENCE.split(markdown)  # every second part is code, in which nothing is a link
    parts[::2] = [_LINK.sub(lambda link: _turned(link, source, place, files), part) for part in parts[::2]]
    return "".join(parts)


def _turned(link: re.Match[str], source: str, place: str, files: Files) -> str:
    """One link, of a document that lies at `source` and stands at `place`."""
    mark, text, target = link.groups()
    path, hash_mark, anchor = target.partition("#")
    if "://" in target or not path:
        return link.group()
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    there = ELSEWHERE.get(wanted) or wanted.removeprefix("docs/")
    if files.get_file_from_path(there) is not None and (wanted in ELSEWHERE or wanted.startswith("docs/")):
        turned = os.path.relpath(there, posixpath.dirname(place) or ".")
        return f"{mark}[{text}]({turned}{hash_mark}{anchor})"
    if not (ROOT / wanted).exists():
        raise PluginError(f"{source}: links to {target}, which is not there")
    return text
