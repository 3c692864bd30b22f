"""The tables that pass between the parts as CSV files: predictions, Kaggle submissions, truth, manifest.

Coordinates are pixels of the original image, origin upper-left; `x, y` is a box's upper-left corner. Whoever makes
predictions rounds them first (`round_predictions`: coordinates to 0.01 pixel, confidence to 6 decimals); the writers
then write every number in full, so a table read back is the table that was written, bit for bit.

Predictions of several voters (detectors, or one detector run in several ways) may stand in one table. Its two optional
columns say whose a box is, `detector`, and how many voters have looked at the image, `voters`, those that found nothing
included; without the latter every detector of the table has looked at every image.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

from common.data.csv_files import LINE, read_csv, write_csv
from common.data.names import COORDINATES
from common.errors import UnreadableError, UserError
from common.files import MOST_OF_A_TABLE, read_regular

PREDICTION_COLUMNS = ["image_id", "confidence", *COORDINATES]
DETECTOR, VOTERS = "detector", "voters"
VOTER_COLUMNS = [DETECTOR, VOTERS]
"""Optional columns of predictions; see the module."""
SUBMISSION_COLUMNS = ["patientId", "PredictionString"]
TRUTH_COLUMNS = ["image_id", *COORDINATES, "label"]
GATE_COLUMNS = ["image_id", "split", "p_opacity"]
MANIFEST_COLUMNS = ["image_id", "split", "patient_id", "label", "boxes", "width", "height", "view", "sex", "age"]
REJECTED_COLUMNS = ["image_id", "source", "reason"]

_MOST_VOTERS = 10_000

COORDINATE_DECIMALS = 2
CONFIDENCE_DECIMALS = 6


@dataclass(frozen=True)
class PredictionsFile:
    """Predictions as read from a file.

    Attributes:
        path: The file.
        predictions: The predictions table, sorted by image and falling confidence; with `detector` (str) and `voters`
            (int64) if the file has them.
        image_ids: Every image that the file names, sorted; in a submission also those without a prediction.
        is_submission: Whether it is a Kaggle submission.
    """

    path: Path
    predictions: pd.DataFrame
    image_ids: list[str]
    is_submission: bool


def empty_predictions() -> pd.DataFrame:
    """A predictions table without rows, with the right column types."""
    return _predictions([], np.empty((0, 5)))


def make_predictions(image_ids: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    """Make a predictions table: rounded, without boxes that rounding left no area, sorted.

    Args:
        image_ids: One id per prediction, (N,).
        values: Confidence, x, y, width, height, (N, 5) float, in pixels of the original image.
    """
    table = round_predictions(_predictions(image_ids, values))
    return sort_predictions(table[(table["width"] > 0) & (table["height"] > 0)])


def round_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """A copy with coordinates rounded to 0.01 pixel and confidence to 6 decimals."""
    decimals = dict.fromkeys(COORDINATES, COORDINATE_DECIMALS) | {"confidence": CONFIDENCE_DECIMALS}
    return predictions.round(decimals)


def sort_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """A copy by image id, falling confidence and, where there is one, detector; ties stay in the order they have."""
    keys = [-predictions["confidence"].to_numpy(float), _ranks(predictions["image_id"])]
    if DETECTOR in predictions:
        keys.insert(0, _ranks(predictions[DETECTOR]))
    order = np.lexsort(keys)
    return predictions.iloc[order].reset_index(drop=True)


def _ranks(texts: pd.Series) -> np.ndarray:
    """The place of each of (N,) texts among the distinct ones, sorted, (N,) int: millions of texts sort slowly."""
    codes, distinct = pd.factorize(texts)
    ranks = np.empty(len(distinct), dtype=np.intp)
    ranks[np.argsort(np.asarray(distinct, dtype=str), kind="stable")] = np.arange(len(distinct))
    return ranks[codes]


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a predictions table as CSV, sorted, atomically; see the module about precision."""
    optional = [column for column in VOTER_COLUMNS if column in predictions]
    write_csv(path, sort_predictions(predictions)[[*PREDICTION_COLUMNS, *optional]])


def write_submission(path: Path, predictions: pd.DataFrame, image_ids: Iterable[str]) -> None:
    """Write a Kaggle submission: one row per image, sorted, the string empty where nothing is predicted.

    Args:
        path: The file.
        predictions: The predictions table, already thresholded.
        image_ids: All images that were looked at.

    Raises:
        ValueError: A prediction belongs to none of the images.
    """
    strings = dict.fromkeys(sorted(image_ids), "")
    ordered = sort_predictions(predictions)
    for image_id, rows in ordered.groupby("image_id", sort=False)[["confidence", *COORDINATES]]:
        if image_id not in strings:
            raise ValueError(f"prediction for image {image_id!r}, which is not among the images of the submission")
        strings[str(image_id)] = " ".join(repr(float(value)) for value in rows.to_numpy().ravel())
    write_csv(path, pd.DataFrame(strings.items(), columns=SUBMISSION_COLUMNS))


def write_rejected(path: Path, rejected: Sequence[tuple[str, str, str]]) -> None:
    """Write what could not be used: rows of image id, source and reason."""
    write_csv(path, pd.DataFrame(rejected, columns=REJECTED_COLUMNS))


def read_predictions(path: Path) -> PredictionsFile:
    """Read a predictions table or a Kaggle submission; its header says which.

    Raises:
        UserError: The file is missing, empty, neither of the two, or has a bad line; the message names it.
    """
    expected = f"{','.join(PREDICTION_COLUMNS)} (predictions) or {','.join(SUBMISSION_COLUMNS)} (a Kaggle submission)"
    table = _read_csv(path, expected, [*PREDICTION_COLUMNS, *SUBMISSION_COLUMNS, *VOTER_COLUMNS])
    if set(SUBMISSION_COLUMNS) <= set(table.columns):
        return _parse_submission(path, table)
    if not set(PREDICTION_COLUMNS) <= set(table.columns):
        _no_columns(path, table, expected)
    return _parse_predictions(path, table)


def read_truth(path: Path) -> pd.DataFrame:
    """Read `truth.csv`, the boxes table: NaN coordinates, in one row, for an image without boxes.

    Raises:
        UserError: The file is missing, empty, lacks a column or has a bad line; the message names it.
    """
    expected = ",".join(TRUTH_COLUMNS)
    table = _read_csv(path, expected, TRUTH_COLUMNS)
    if not set(TRUTH_COLUMNS) <= set(table.columns):
        _no_columns(path, table, expected)
    _check_ids(path, table)
    blank = table[COORDINATES] == ""
    _refuse(path, table, blank.any(axis=1) & ~blank.all(axis=1), "a box with 1 to 3 empty coordinates", "four or none")
    empty = blank.all(axis=1)
    repeated = empty & (table.groupby("image_id")["image_id"].transform("size") > 1)
    _refuse(path, table, repeated, "an image with a row without box and other rows", "one such row, or only boxes")
    values = np.full((len(table), 4), np.nan)
    values[~empty] = _numbers(path, table[~empty], COORDINATES)
    truth = pd.DataFrame(values, columns=COORDINATES, index=table.index)
    flat = ~empty & ((truth["width"] <= 0) | (truth["height"] <= 0))
    _refuse(path, table, flat, "a box without area", "width and height above 0")
    truth.insert(0, "image_id", table["image_id"])
    return truth.assign(label=table["label"]).reset_index(drop=True)


def is_manifest(path: Path) -> bool:
    """Whether a file's first line names a manifest's columns; False for one that cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader([file.readline(10_000)]), [])
    except (OSError, ValueError, csv.Error):
        return False
    return set(MANIFEST_COLUMNS) <= {column.strip() for column in columns}


def read_manifest(path: Path) -> pd.DataFrame:
    """Read `manifest.csv`: one row per image; text columns as str, `boxes`, `width`, `height`, `age` as float or NaN.

    Raises:
        UserError: The file is missing, empty, lacks a column, or repeats an image.
    """
    expected = ",".join(MANIFEST_COLUMNS)
    table = _read_csv(path, expected, MANIFEST_COLUMNS)
    if not set(MANIFEST_COLUMNS) <= set(table.columns):
        _no_columns(path, table, expected)
    _check_ids(path, table)
    _refuse_repeated(path, table, "image_id")
    for column in ("boxes", "width", "height", "age"):
        filled = table[column] != ""
        values = np.full(len(table), np.nan)
        values[filled] = _numbers(path, table[filled], [column])[:, 0]
        table[column] = values
    return table.drop(columns=LINE).reset_index(drop=True)


def read_as_text(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read any of our tables with all its columns as they are: stripped text, empty where there is nothing.

    Args:
        path: The file.
        columns: Columns that must be there.

    Raises:
        UserError: The file is missing, empty, no CSV, or lacks a column.
    """
    expected = ",".join(columns)
    table = _read_csv(path, expected, ())
    if not set(columns) <= set(table.columns):
        _no_columns(path, table, expected)
    return table.drop(columns=LINE)


def read_gate(path: Path) -> pd.DataFrame:
    """Read what a gate says, as `train/gate.py` writes it: image_id, split (str), p_opacity (0 to 1).

    Args:
        path: A CSV with the columns image_id and p_opacity; without `split` all images count as not trained on.

    Raises:
        UserError: The file is missing, empty, lacks a column, repeats an image, or a probability is none.
    """
    expected = ",".join(GATE_COLUMNS)
    table = _read_csv(path, expected, GATE_COLUMNS)
    if not {"image_id", "p_opacity"} <= set(table.columns):
        _no_columns(path, table, expected)
    _check_ids(path, table)
    _refuse_repeated(path, table, "image_id")
    table["p_opacity"] = _numbers(path, table, ["p_opacity"])[:, 0]
    wrong = ~table["p_opacity"].between(0, 1)
    if wrong.any():
        found = f"p_opacity is {table.loc[wrong, 'p_opacity'].iloc[0]:g}"
        _refuse(path, table, wrong, found, "a probability from 0 to 1")
    if "split" not in table:
        table["split"] = ""
    return table[GATE_COLUMNS].reset_index(drop=True)


def _predictions(image_ids: Sequence[str], values: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(np.asarray(values, dtype=float).reshape(-1, 5), columns=PREDICTION_COLUMNS[1:])
    table.insert(0, "image_id", pd.Series(list(image_ids), dtype=object))
    return table


def _parse_predictions(path: Path, table: pd.DataFrame) -> PredictionsFile:
    _check_ids(path, table)
    values = _numbers(path, table, PREDICTION_COLUMNS[1:])
    _check_values(path, table[LINE].to_numpy(), table["image_id"].to_list(), values)
    predictions = _predictions(table["image_id"].to_list(), values)
    if DETECTOR in table:
        _refuse(path, table, table[DETECTOR] == "", "no detector", "one in every line, or no such column")
        predictions[DETECTOR] = table[DETECTOR].to_numpy(object)
    if VOTERS in table:
        predictions[VOTERS] = _voters(path, table)
    return PredictionsFile(path, sort_predictions(predictions), sorted(set(table["image_id"])), is_submission=False)


def _voters(path: Path, table: pd.DataFrame) -> np.ndarray:
    """How many voters have looked at each row's image, (N,) int64: the same in all its rows, no fewer than speak."""
    numbers = _numbers(path, table, [VOTERS])[:, 0]
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(numbers) & (numbers >= 1) & (numbers == np.floor(numbers)) & (numbers <= _MOST_VOTERS)
    wrong = pd.Series(~whole, index=table.index)
    if wrong.any():
        found = f"voters {table.loc[wrong, VOTERS].iloc[0]}"
        _refuse(path, table, wrong, found, f"a whole number from 1 to {_MOST_VOTERS:,}")
    voters = pd.Series(numbers.astype(np.int64), index=table.index)
    by_image = voters.groupby(table["image_id"])
    wrong = voters != by_image.transform("first")
    if wrong.any():
        found = f"voters {voters[wrong].iloc[0]}, after {by_image.transform('first')[wrong].iloc[0]} for the same image"
        _refuse(path, table, wrong, found, "one number for all boxes of an image")
    if DETECTOR in table:
        speaking = table.groupby("image_id")[DETECTOR].transform("nunique")
        wrong = voters < speaking
        if wrong.any():
            found = f"voters {voters[wrong].iloc[0]}, but boxes of {speaking[wrong].iloc[0]} detectors"
            _refuse(path, table, wrong, found, "as many voters as detectors with boxes, or more")
    return voters.to_numpy()


def _parse_submission(path: Path, table: pd.DataFrame) -> PredictionsFile:
    table = table.rename(columns={"patientId": "image_id"})
    _check_ids(path, table)
    _refuse_repeated(path, table, "image_id")
    ids: list[str] = []
    lines: list[int] = []
    numbers: list[float] = []
    for image_id, text, line in zip(table["image_id"], table["PredictionString"], table[LINE], strict=True):
        tokens = text.split()
        if len(tokens) % 5:
            raise UserError(
                f"{path}, line {line}: PredictionString of {image_id} has {len(tokens)} values; expected groups of 5, "
                "`confidence x y width height`, separated by spaces."
            )
        for token in tokens:
            try:
                numbers.append(_number(token))
            except ValueError:
                raise UserError(
                    f"{path}, line {line}: PredictionString of {image_id} contains {token!r}; expected a number."
                ) from None
        ids += [image_id] * (len(tokens) // 5)
        lines += [line] * (len(tokens) // 5)
    values = np.array(numbers, dtype=float).reshape(-1, 5)
    _check_values(path, np.array(lines), ids, values)
    predictions = sort_predictions(_predictions(ids, values))
    return PredictionsFile(path, predictions, sorted(table["image_id"]), is_submission=True)


def _check_values(path: Path, lines: np.ndarray, ids: list[str], values: np.ndarray) -> None:
    checks = (
        (~np.isfinite(values).all(axis=1), slice(None), "a value that is not finite", "finite numbers"),
        ((values[:, 0] < 0) | (values[:, 0] > 1), slice(0, 1), "confidence {}", "0 to 1"),
        ((values[:, 3:] <= 0).any(axis=1), slice(3, 5), "width and height {}", "sizes above 0"),
    )
    for bad, columns, found, expected in checks:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            shown = found.format(" ".join(f"{value:g}" for value in values[row, columns]))
            raise UserError(f"{path}, line {lines[row]}: {shown} for image {ids[row]}; expected {expected}.")


def _read_csv(path: Path, expected: str, names: Sequence[str]) -> pd.DataFrame:
    """All columns as stripped text, plus `LINE`, the line number in the file; blank lines are left out."""
    try:
        data = read_regular(path, MOST_OF_A_TABLE)
    except UnreadableError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{path}: no such file; expected a CSV with the columns {expected}.") from None
        raise UserError(f"{path}: cannot be read ({error}); expected a CSV file.") from error
    if not data.strip():
        raise UserError(f"{path}: the file is empty; expected a CSV with the columns {expected}.")
    try:
        table = read_csv(data, names)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a readable CSV ({reason}); expected the columns {expected}.") from error
    table[LINE] = table.index
    return table.reset_index(drop=True)


def _no_columns(path: Path, table: pd.DataFrame, expected: str) -> NoReturn:
    found = ",".join(map(str, table.columns.drop(LINE)[:8]))
    raise UserError(f"{path}, line 1: found the columns {found[:120]}; expected {expected}.")


def _check_ids(path: Path, table: pd.DataFrame) -> None:
    _refuse(path, table, table["image_id"] == "", "no image id", "one in every line")


def _refuse(path: Path, table: pd.DataFrame, bad: pd.Series, found: str, expected: str) -> None:
    if bad.any():
        row = table[bad].iloc[0]
        image = f" (image {row['image_id']})" if row["image_id"] else ""
        raise UserError(f"{path}, line {row[LINE]}: {found}{image}; expected {expected}.")


def _refuse_repeated(path: Path, table: pd.DataFrame, column: str) -> None:
    repeated = table[table.duplicated(column, keep=False)]
    if len(repeated):
        image_id = repeated[column].iloc[0]
        lines = repeated.loc[repeated[column] == image_id, LINE].tolist()
        raise UserError(f"{path}, line {lines[1]}: image {image_id} again, after line {lines[0]}; expected it once.")


def _numbers(path: Path, table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """The columns as floats, (N, columns). Python's own parsing: pandas' is not exact to the last bit."""
    texts = table[columns].to_numpy(object)
    try:
        if _is_plain("".join(texts.ravel())):
            return texts.astype(float)
    except ValueError:
        pass
    numbers = np.empty(texts.shape)
    for row, line in enumerate(table[LINE]):
        for place, column in enumerate(columns):
            try:
                numbers[row, place] = _number(texts[row, place])
            except ValueError:
                raise UserError(f"{path}, line {line}: {column} is {texts[row, place]!r}; expected a number.") from None
    return numbers


def _number(text: str) -> float:
    """The number that other programs read there, too: Python also takes `1_0` and digits of other scripts."""
    if not _is_plain(text):
        raise ValueError(text)
    return float(text)


def _is_plain(text: str) -> bool:
    return text.isascii() and "_" not in text
