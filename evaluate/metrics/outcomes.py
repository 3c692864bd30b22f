"""What became of every image, as a table: for pages and for people who sort and filter."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from evaluate.metrics.errors import ErrorKinds

OUTCOME_COLUMNS = [
    "image_id", "split", "label", "boxes", "predictions", "hits", "score", "error_kinds", "confidence",
]  # fmt: skip


def outcomes(
    split: str,
    labels: pd.Series,
    truth: pd.DataFrame,
    processed: pd.DataFrame,
    final: pd.DataFrame,
    scores: pd.Series,
    kinds: ErrorKinds,
) -> pd.DataFrame:
    """Give one row for each image.

    Args:
        split: Its name.
        labels: Label of each image by image_id.
        truth: The truth table.
        processed: The predictions table after post-processing, at all confidences.
        final: Those from the confidence on, with the column `hit`.
        scores: RSNA score of each image by image_id, NaN where it does not count.
        kinds: What is wrong with the boxes of `final`.

    Returns:
        `OUTCOME_COLUMNS`, sorted by image_id: `boxes` are truth boxes, `predictions` those at the confidence, and
        `confidence` is that of the strongest prediction at any confidence, NaN without one.
    """
    images = scores.index

    def number(of: Iterable[str]) -> pd.Series:
        return pd.Series(list(of), dtype=object).value_counts().reindex(images).fillna(0).astype("int64")

    table = pd.DataFrame(
        {
            "split": split,
            "label": labels.reindex(images).fillna(""),
            "boxes": number(truth.loc[truth["x"].notna(), "image_id"]),
            "predictions": number(final["image_id"]),
            "hits": number(final.loc[final["hit"], "image_id"]),
            "score": scores,
            "error_kinds": kinds.images.reindex(images),
            "confidence": processed.groupby("image_id")["confidence"].max().reindex(images),
        },
        index=images,
    )
    return table.rename_axis("image_id").reset_index()[OUTCOME_COLUMNS].sort_values("image_id", ignore_index=True)
