"""What sources' tables say in their cells; `common.data.csv_files` reads them."""

from __future__ import annotations

import math

from common.data.csv_files import NOTHING


def is_given(value: object) -> bool:
    """Whether a cell says something: tables write in many ways that it does not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return str(value).strip().lower() not in NOTHING
