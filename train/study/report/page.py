"""The report of a study: one self-contained HTML page and one Markdown file from the study's folder.

The page needs nothing beside itself. The Markdown's figures are SVG files that it links to relatively. Both say the
same and are the same for the same study, whenever they are written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from common.files import write_atomic
from common.pages.figures import svg_file
from common.pages.page import template
from train.study.analysis.study_results import read_study
from train.study.analysis.summary import analyse
from train.study.report.content import make_content
from train.study.report.tables import Table

PAGE, MARKDOWN, FIGURES = "report.html", "report.md", "figures"

_TEMPLATES = Path(__file__).parent / "templates"


def write_study_report(folder: Path, markdown: Path | None = None, figures: Path | None = None) -> tuple[Path, Path]:
    """Write the report of a study.

    Args:
        folder: The study's folder; `report.html` is written into it.
        markdown: The Markdown file; None is `report.md` in the study's folder.
        figures: Folder of the Markdown's figures; None is `figures` beside the Markdown file. Its folder is made.

    Returns:
        The page and the Markdown file.

    Raises:
        UserError: The folder holds no study, or a file in it is not what was expected.
        WorkError: A file cannot be written.
    """
    content = make_content(analyse(read_study(folder)))
    page, markdown = folder / PAGE, markdown or folder / MARKDOWN
    figures = figures or markdown.parent / FIGURES
    drawn = [chart for section in content.sections for chart in section.charts]
    linked = Path(os.path.relpath(figures, markdown.parent)).as_posix()
    texts = {
        page: template(_TEMPLATES, "study.html.j2").render(content=content),
        markdown: _tidy(
            template(_TEMPLATES, "study.md.j2", escape=False, md=_escape, alt=_alt).render(
                content=content, figures=linked, as_commands=_as_commands
            )
        ),
    }
    for place in (markdown.parent, figures if drawn else markdown.parent):
        place.mkdir(parents=True, exist_ok=True)
    for chart in drawn:
        write_atomic(figures / f"{chart.name}.svg", svg_file(chart))
    for path, text in texts.items():
        write_atomic(path, text)
    return page, markdown


def _as_commands(runs: Table, commands: Mapping[str, str]) -> Table:
    """Every run by its command instead of its settings, which are in it."""
    rows = tuple((trial, commands[trial], *rest) for trial, _, *rest in runs.rows)
    return replace(runs, columns=(runs.columns[0], "command", *runs.columns[2:]), rows=rows)


def _escape(text: str) -> str:
    """Plain text as Markdown: what would be markup gets a backslash, and a line stays a line."""
    flat = " ".join(str(text).split(" ")).replace("\n", " ")
    escaped = re.sub(r"([\\`*\[\]<>|~$])", r"\\\1", flat)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def _alt(text: str) -> str:
    """A picture's description, without what would end it."""
    return re.sub(r"[\[\]\n]", " ", text)


def _tidy(text: str) -> str:
    """At most one empty line in a row, none inside a table."""
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\|\n\n+(?=\|)", "|\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
