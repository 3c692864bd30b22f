"""Pictures as the model takes them: read, decoded, and laid in its square; and what became of those that were not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.detector.plausibility import doubt_of

if TYPE_CHECKING:
    from convert.pictures import Header
    from evaluate.detector.weights import Weights

DICOM_SUFFIXES = (".dcm", ".dicom")


@dataclass(frozen=True)
class Picture:
    """A picture to look at.

    Attributes:
        image_id: Its id.
        name: Where it comes from, for messages; its suffix tells a DICOM file that lacks the `DICM` mark.
        read: Gives the file's bytes.
        size: Width and height of the original image in pixels, where the picture is stored at another size; predictions
            are scaled to it. None: the picture's own.
        path: The file, where it is one by itself.
        stamp: What changes when the file does, such as its size and time; empty: predictions on it are not kept.
        view: Its View Position, such as `AP`, where that is known beforehand; None: its header's.
    """

    image_id: str
    name: str
    read: Callable[[], bytes]
    size: tuple[float, float] | None = None
    path: Path | None = None
    stamp: str = ""
    view: str | None = None


PREDICTED, UNREADABLE, NO_IMAGE = "predicted", "unreadable", "no image"


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        image_id: Its id.
        source: Where it comes from.
        status: `PREDICTED`, `UNREADABLE`, or `NO_IMAGE` for a DICOM object that holds none, such as a report.
        reason: Why it was not predicted.
        doubt: What in its header makes it doubtful that it is a frontal chest X-ray; see `plausibility`.
        sop_instance_uid: Of a DICOM file.
        study_instance_uid: Likewise.
        series_instance_uid: Likewise.
        width: Of the original image, in pixels; None where it could not be read.
        height: Likewise.
        view: View Position in capitals, such as `PA`; empty where it is not known, as of a picture file.
    """

    image_id: str
    source: str
    status: str
    reason: str = ""
    doubt: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    width: float | None = None
    height: float | None = None
    view: str = ""


def load_picture(picture: Picture, channels: int = 1) -> np.ndarray:
    """Read and decode a picture as the training does; see `load_with_header`, whose pixels these are."""
    return load_with_header(picture, channels)[0]


def load_with_header(picture: Picture, channels: int = 1) -> tuple[np.ndarray, Header]:
    """Read and decode a picture as the training does; see `convert.pictures.read_shown`.

    Args:
        picture: A picture file's, or a DICOM file's.
        channels: 1 for grey, 3 for colour.

    Returns:
        uint8, (height, width) for grey, (height, width, 3) in the order blue, green, red for colour; and the header.

    Raises:
        NoImageError: It is a DICOM object of another kind.
        ValueError: It cannot be read or decoded; the message says why in one line.
    """
    from convert.pictures import UnusablePicture, is_picture_file, object_without_image, read_shown

    try:
        data = picture.read()
    except OSError as error:  # of a zip's member, too: UnreadableError
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ValueError("cannot be read: too large for this machine's memory") from error
    if not data:
        raise ValueError("the file is empty")
    try:
        return read_shown(data, channels)
    except UnusablePicture as error:
        if kind := object_without_image(data):
            raise NoImageError(kind) from error
        if is_picture_file(data) or is_dicom(picture.name, data):
            raise
        raise ValueError("cannot be decoded as a picture") from error  # by its name it was to be one


class NoImageError(ValueError):
    """A DICOM object that holds no image; the message is its kind."""


def stamp_of(path: Path) -> str:
    """Size and time of a file, for `Picture.stamp`; empty where it cannot be looked at: reading it will say why."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def is_dicom(name: str, head: bytes) -> bool:
    """Whether a file is DICOM: by the mark after its preamble, or by its suffix."""
    from convert.pictures import has_dicom_mark

    return has_dicom_mark(head) or name.lower().endswith(DICOM_SUFFIXES)


@dataclass(frozen=True)
class Loaded:
    """A picture as the model takes it: its pixels, and the same laid in the model's square where that is known.

    `pixels` are mirrored where the model is to see the mirror image. `size` is the picture's width and height before it
    was scaled down. Without an outcome that says `PREDICTED` there are no pixels.
    """

    picture: Picture
    outcome: Outcome
    pixels: np.ndarray
    size: tuple[int, int] = (0, 0)
    square: np.ndarray | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it can be predicted on."""
        return self.outcome.status == PREDICTED


class Loader:
    """Loads pictures; into the model's square, too, once there is a predictor that has seen the settings.

    Attributes:
        predictor: Ultralytics' predictor, from the first batch on.
    """

    predictor: Any = None

    def __init__(self, weights: Weights, size: int | None = None, flip: bool = False) -> None:
        self._channels, self._size, self._flip = weights.channels, size, flip

    def load(self, picture: Picture) -> Loaded:
        """A picture, or why it cannot be used."""
        import cv2

        from convert.pictures import downscale

        try:
            # What is scaled down before a training is grey before that.
            pixels, header = load_with_header(picture, self._channels if self._size is None else 1)
        except ValueError as error:
            status = NO_IMAGE if isinstance(error, NoImageError) else UNREADABLE
            outcome = Outcome(picture.image_id, picture.name, status, str(error))
            return Loaded(picture, outcome, np.empty((0, 0), np.uint8))
        size = (pixels.shape[1], pixels.shape[0])
        width, height = picture.size or size
        outcome = Outcome(
            picture.image_id,
            picture.name,
            PREDICTED,
            doubt=doubt_of(header),
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            width=float(width),
            height=float(height),
            view=(picture.view if picture.view is not None else header.view) or "",
        )
        if self._size is not None:
            pixels = downscale(pixels, self._size)
            pixels = pixels if self._channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
        if self._flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        if self.predictor is None:
            return Loaded(picture, outcome, pixels, size)
        # The class's own way to do it: the object's is replaced in `_infer`.
        stacked = pixels if pixels.ndim == 3 else pixels[..., None]
        (square,) = type(self.predictor).pre_transform(self.predictor, [stacked])
        return Loaded(picture, outcome, pixels, size, square)
