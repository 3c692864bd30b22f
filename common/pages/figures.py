"""How a figure of a page is drawn: matplotlib into SVG that becomes part of the page.

Figures are drawn with matplotlib's objects alone (no pyplot, no shared state that outlives a call). Colours are written
as CSS variables of the page, so that a figure follows light and dark mode, and letters stay text in the page's font.
Figures are 331 units wide: legible on a telephone without zooming.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2329", "#57606b", "#d7dce2"
BLUE, ORANGE, TEAL, GREY = "#0a5fa5", "#b34a08", "#0d7a68", "#8a929c"
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", BLUE: "blue", ORANGE: "orange", TEAL: "teal", GREY: "grey"}

_WIDTH_INCHES = 4.6
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """A figure of a page.

    Attributes:
        name: Unique in the page; letters, digits and hyphens.
        title: What is shown, a few words.
        svg: One `<svg>` element, safe to put into a page as it is.
        sentence: What the figure shows, in its own numbers; plain text, not escaped.
    """

    name: str
    title: str
    svg: str
    sentence: str

    def _repr_html_(self) -> str:
        """The figure with its sentence, as a notebook shows it."""
        return (
            f"<figure><strong>{html.escape(self.title)}</strong><br>{svg_file(self)}"
            f"<figcaption>{html.escape(self.sentence)}</figcaption></figure>"
        )


class Drawn:
    """What `_figure` hands out: the SVG once the figure is complete."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.raw = ""

    def chart(self, title: str, sentence: str) -> Chart:
        """Join the figure with its title and its sentence, which also serve readers who cannot see it."""
        return Chart(self.name, title, _page_svg(self.raw, self.name, f"{title}. {sentence}"), sentence)


@contextmanager
def new_figure(name: str, height_inches: float) -> Iterator[tuple[Figure, Drawn]]:
    """Open a figure, 331 units wide, whose SVG is ready when the block ends.

    Args:
        name: Unique in the page; letters, digits and hyphens.
        height_inches: 72 units each.
    """
    drawn = Drawn(name)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
        yield figure, drawn
        stream = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        with warnings.catch_warnings():
            # Letters stay text, so it is the reader's browser that must know them, and not matplotlib's font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
            figure.savefig(stream, format="svg", metadata=nothing)
        drawn.raw = stream.getvalue()


def _page_svg(raw: str, name: str, description: str) -> str:
    """Fit matplotlib's SVG file into a page: ids unique in the page, colours as variables, size left to the page."""
    # XML has no place for control characters, which a name read from a file may hold.
    root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", raw))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}style") or child.tag.endswith("}metadata"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            if key == "id":
                value = f"{name}-{value}"
            elif key == "href" and value.startswith("#"):
                value = f"#{name}-{value[1:]}"
            else:
                value = value.replace("url(#", f"url(#{name}-")
                if key == "style":
                    value = re.sub(r"#[0-9a-f]{6}", _as_variable, value)
            element.set(key, value)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ElementTree.tostring(root, encoding="unicode")


def svg_file(chart: Chart) -> str:
    """The chart as an SVG file of its own: with its colours, on white, and of the size it was drawn in."""
    svg = re.sub(r"var\(--[a-z]+, (#[0-9a-f]{6})\)", r"\1", chart.svg)
    x, y, width, height = re.search(r'viewBox="([^"]+)"', svg)[1].split()  # type: ignore[index]
    size = f'xmlns="http://www.w3.org/2000/svg" width="{2 * float(width):g}" height="{2 * float(height):g}"'
    head, _, body = svg.partition(">")
    paper = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#ffffff" />'
    return f"{head.replace('<svg', f'<svg {size}', 1)}>{paper}{body}\n"


def _as_variable(match: re.Match[str]) -> str:
    colour = match.group()
    return f"var(--{_VARIABLES[colour]}, {colour})" if colour in _VARIABLES else colour


def legend(axes: Axes, columns: int = 4) -> None:
    """Put the legend, where there is anything to name, above the axes: it hides no data there."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.2, handlelength=1.8)
