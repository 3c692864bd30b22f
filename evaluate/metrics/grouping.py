"""Which images belong together: by view, sex, age, site or scanner, by the size of opacities, by what is there else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.data.names import OLDEST_AGE
from common.errors import UserError

AGE_GROUPS = ("0-17", "18-39", "40-59", "60-79", "80+")
UNKNOWN = "unknown"

SMALL, LARGE = 0.04, 0.10
"""Shares of the picture's area; of the challenge's images with an opacity, 28 % are below the first, 27 % above."""
BOX_SIZES = ("below 4 %", "4 to 10 %", "above 10 %")


def age_groups(ages: pd.Series) -> pd.Series:
    """Sort ages into 0-17, 18-39, 40-59, 60-79 and 80+; a missing, negative or impossible age (above 120) is unknown.

    Args:
        ages: Age in years by image_id; numbers, NaN where unknown.

    Returns:
        Name of the group (str) by image_id.
    """
    years = pd.to_numeric(ages, errors="coerce").astype(float)
    groups = pd.cut(years, [0, 18, 40, 60, 80, OLDEST_AGE + 1], right=False, labels=AGE_GROUPS)
    return groups.astype(object).where(years.between(0, OLDEST_AGE), UNKNOWN).astype(str).rename("age")


def subgroups(manifest: pd.DataFrame, column: str) -> pd.Series:
    """Sort the images of a manifest into groups by one of its columns.

    Args:
        manifest: The data set's manifest, with a column image_id.
        column: `view`, `sex` or any other column whose values are the groups; `age` is sorted into age groups.

    Returns:
        Name of the group (str) by image_id; `unknown` where the manifest is empty.

    Raises:
        UserError: The manifest lacks the column.
    """
    if column not in manifest:
        raise UserError(f"manifest: no column {column}; found {', '.join(map(str, manifest.columns))}")
    values = manifest.set_index("image_id")[column]
    if column == "age":
        return age_groups(values)
    return values.astype(object).where(values.notna() & (values.astype(str) != ""), UNKNOWN).astype(str)


def box_sizes(truth: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series:
    """Sort images by the area of their largest truth box, as a share of the picture.

    Args:
        truth: The truth table.
        manifest: Has image_id, width and height of the original image.

    Returns:
        One of `BOX_SIZES` (str) by image_id of the manifest; `unknown` without a box, or where the size is not known.
    """
    area = (truth["width"] * truth["height"]).groupby(truth["image_id"]).max()
    sizes = manifest.set_index("image_id")[["width", "height"]].astype(float)
    share = area.reindex(sizes.index) / (sizes["width"] * sizes["height"]).where(lambda pixels: pixels > 0)
    groups = np.select([share < SMALL, share <= LARGE, share > LARGE], BOX_SIZES, UNKNOWN)
    return pd.Series(groups, index=sizes.index, dtype=object)


def negative_kinds(truth: pd.DataFrame, labels: pd.Series) -> pd.Series:
    """Sort images without truth box by their label, such as `Normal`; those with one, or without label, are unknown.

    Args:
        truth: The truth table.
        labels: Label of each image by image_id.
    """
    positive = labels.index.isin(truth.loc[truth["x"].notna(), "image_id"])
    return labels.astype(object).where(~positive & (labels.fillna("").astype(str) != ""), UNKNOWN).astype(str)
