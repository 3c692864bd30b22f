"""The project's commands: how each is typed, as a file of a checkout or through the console command `rsna`.

Messages name commands as a checkout has them, `python convert/rsna_to_yolo.py`. Where `rsna` was typed, `as_typed`
turns them into what this user can type: `rsna convert rsna`.
"""

from __future__ import annotations

import re

COMMANDS: dict[tuple[str, ...], str] = {
    ("sample",): "convert.sample",
    ("download",): "convert.download",
    ("explore",): "convert.explore",
    ("convert", "rsna"): "convert.rsna_to_yolo",
    ("convert", "rsna-release"): "convert.rsna_release_to_yolo",
    ("convert", "vindr"): "convert.vindr_to_yolo",
    ("convert", "siim-covid"): "convert.siim_covid_to_yolo",
    ("convert", "nih"): "convert.nih_to_yolo",
    ("convert", "coco"): "convert.coco_to_yolo",
    ("convert", "csv"): "convert.csv_to_yolo",
    ("convert", "to-coco"): "convert.yolo_to_coco",
    ("train",): "train.train",
    ("gate",): "train.gate",
    ("sweep",): "train.sweep",
    ("score",): "evaluate.score",
    ("predict",): "evaluate.predict",
}
"""Module by the words after `rsna`."""

GONE = {"ensemble": "`rsna score` and `rsna predict --weights` take several trainings, or a folder of them, themselves"}
"""Of commands that there were: what to type instead."""

_WORDS = {module.replace(".", "/") + ".py": " ".join(("rsna", *words)) for words, module in COMMANDS.items()}
_FILE = re.compile(r"(?:\bpython )?(?<![\w./-])((?:convert|train|evaluate)/\w+\.py)\b")

_through_console = False


def use_console() -> None:
    """Note that `rsna` was typed: from now on `as_typed` speaks its language."""
    global _through_console
    _through_console = True


def as_typed(text: str) -> str:
    """The text with its commands as this user types them."""
    if not _through_console:
        return text
    # `rsna.yaml` lies in a checkout; `rsna train` takes the same data set without it.
    text = text.replace("yolo train data=rsna.yaml", "rsna train")
    return _FILE.sub(lambda found: _WORDS.get(found[1], found[0]), text)
