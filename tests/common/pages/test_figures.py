"""What every figure of the page has in common."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from common.pages.figures import BLUE, INK, legend, new_figure, svg_file


def draw(name="one", text="a label", sentence="What it shows."):
    with new_figure(name, 2.0) as (figure, drawn):
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "o", color=BLUE, label=text)
        axes.set_xlabel("x in units")
        legend(axes)
    return drawn.chart("A title", sentence)


def texts(svg):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("text")]


def test_svg_is_one_element_without_namespaces_or_addresses():
    chart = draw()
    root = ElementTree.fromstring(chart.svg)
    assert root.tag == "svg"
    assert {"width", "height"}.isdisjoint(root.attrib)  # the page says how large
    assert root.get("viewBox").split()[2] == "331.2"
    assert "http" not in chart.svg
    assert {element.tag for element in root.iter()}.isdisjoint({"style", "metadata", "script"})


def test_letters_stay_text_and_are_taken_literally():
    label = '$x_1$ <b>&"bold"</b> äß\x07'
    chart = draw(text=label)
    assert "x in units" in texts(chart.svg)
    assert '$x_1$ <b>&"bold"</b> äß' in texts(chart.svg)
    assert "<b>" not in chart.svg


def test_colours_are_the_pages_variables():
    svg = draw().svg
    assert f"var(--blue, {BLUE})" in svg
    assert f"var(--ink, {INK})" in svg
    assert BLUE not in svg.replace(f"var(--blue, {BLUE})", "")


def test_it_can_be_read_without_seeing_it():
    root = ElementTree.fromstring(draw(sentence='3 < 4 & "so on"').svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'A title. 3 < 4 & "so on"'


def test_ids_are_unique_in_a_page_and_references_hit():
    svgs = [draw("one").svg, draw("two").svg]
    ids = [name for svg in svgs for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in svgs:
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        assert used
        assert {one or other for one, other in used} <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_same_figure_is_the_same_text():
    assert draw() == draw()


def test_matplotlib_is_left_as_it_was():
    before = dict(mpl.rcParams)
    draw()
    with pytest.raises(ZeroDivisionError), new_figure("broken", 2.0):
        raise ZeroDivisionError
    assert dict(mpl.rcParams) == before


def test_a_file_of_its_own_has_a_size_paper_and_plain_colours():
    root = ElementTree.fromstring(svg_file(draw(sentence="a > b")))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    _, _, width, height = map(float, root.get("viewBox").split())
    assert float(root.get("width")) / width == float(root.get("height")) / height == 2
    paper = root[0]
    assert (paper.tag.rpartition("}")[2], paper.get("fill")) == ("rect", "#ffffff")
    text = svg_file(draw())
    assert "var(" not in text
    assert BLUE in text
