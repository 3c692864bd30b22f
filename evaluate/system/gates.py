"""Which classifiers are meant as gates, and which mere tables of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.paths import shown
from evaluate.system.record import SystemClassifier

_CSV = ".csv"
_RECORD = "gate.json"


@dataclass(frozen=True)
class Gates:
    """What was named as gates.

    Attributes:
        classifiers: Those that can look at any picture.
        files: Tables of probabilities, of which that is all there is.
    """

    classifiers: tuple[SystemClassifier, ...] = ()
    files: tuple[Path, ...] = ()


def find_gates(named: Sequence[Path]) -> Gates:
    """Tell classifiers from mere tables.

    Args:
        named: Gates' folders, their `gate.csv` or `weights/best.pt`, or CSV files of any other classifier. A table
            beside which lies no `gate.json` is one of these.

    Raises:
        UserError: One is not there or is no gate, or there are some of both kinds.
    """
    files = tuple(path for path in named if _is_table(path))
    others = [path for path in named if path not in files]
    if files and others:
        raise UserError(
            f"--gate {shown(files[0])}: a table of probabilities, beside {shown(others[0])}, a classifier, which looks "
            "at pictures; expected gates of one kind. Name classifiers only, or tables only."
        )
    if not others:
        return Gates(files=files)
    from evaluate.classifier.weights import locate_classifier

    found = [locate_classifier(path) for path in others]
    return Gates(tuple(SystemClassifier(weights, digest, bool(record.flip)) for weights, digest, record in found))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == _CSV and not path.with_name(_RECORD).is_file()
