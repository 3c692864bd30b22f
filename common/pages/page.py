"""The templates of HTML pages and Markdown files: one style, one way to fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from common.pages.wording import count, percent

_SHARED = Path(__file__).parent / "templates"
"""`page.css`, the style of every page, and `figure.html.j2`."""


def template(folder: Path, name: str, *, escape: bool = True, **filters: Any) -> jinja2.Template:
    """A template that may include those that all pages share.

    Args:
        folder: Where the template lies.
        name: Its file name.
        escape: Whether what is filled in is text, of which HTML's own characters are escaped.
        filters: Filters besides `count`, `percent` and `svg`, which puts a figure in as it is.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SHARED]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, percent=percent, svg=Markup, **filters)
    return environment.get_template(name)
