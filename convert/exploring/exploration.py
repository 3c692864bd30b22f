"""From raw data or a data set to the page about it: what `convert/explore.py` and every converter's `--report` do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common.cli import console, print_warning
from common.files import make_folder
from common.paths import shown
from convert.exploring.collection import Collection

PAGE = "data.html"


def explore(
    collection: Collection,
    output: Path,
    command: str,
    *,
    workers: int,
    pictures: int | None = None,
    wandb: bool = True,
) -> Path:
    """Look at the pictures, write the page, and keep it in W&B if the user has that set up.

    Args:
        collection: What is to be shown.
        output: The HTML file.
        command: That is said to have made the page.
        workers: Processes.
        pictures: At most so many are looked at; 0 for none, None for all.
        wandb: False keeps nothing in W&B.

    Returns:
        `output`.

    Raises:
        UserError: Nothing can be written there.
        WorkError: The disk is full.
    """
    make_folder(output.parent, "the page's folder", "Choose another place with --output.")
    from convert.exploring.measuring import measure
    from convert.exploring.page import write_data_page

    measured = None
    files = int(collection.images["file"].notna().sum())
    if files and pictures != 0:
        measured = measure(collection, workers, pictures)
        collection = collection.with_headers(measured.headers)
        if measured.rejected:
            image_id, reason = measured.rejected[0]
            print_warning(f"{len(measured.rejected):,} pictures cannot be read; the first, {image_id}: {reason}")
        if not measured.image_ids:
            measured = None
    if pictures is not None and files > pictures:
        collection = dataclasses.replace(collection, read_from=[*collection.read_from, f"{pictures:,} pictures"])
    page = write_data_page(output, collection, measured, command)
    _say(collection, page)
    if wandb:
        _keep_in_wandb(page, collection, command)
    return page


def _say(collection: Collection, page: Path) -> None:
    from convert.exploring.page import tiles
    from convert.exploring.sentences import leak

    say = console().print
    say(", ".join(f"{number} {words}" for number, words in tiles(collection)))
    say(leak(collection).text)
    say(f"  {shown(page)}  {page.stat().st_size / 1e6:.1f} MB")


def _keep_in_wandb(page: Path, collection: Collection, command: str) -> None:
    from common.tracking.tracker import is_configured, start

    if not is_configured():
        return
    tracker = start(
        config={"source": collection.name, "command": command}, job_type="explore", name=f"data {page.stem}"
    )
    try:
        tracker.artifact(page, f"data-{Path(collection.name).name}", "data-report")
        if tracker.where:
            console().print(f"  W&B: {tracker.where}")
    finally:
        tracker.finish()
