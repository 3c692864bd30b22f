"""Which image shows which patient, where somebody knows."""

from __future__ import annotations

import io
import json

import pandas as pd

from common.errors import UserError
from convert.sources.places import MAPPING_NAME


def parse_mapping(data: bytes, where: str) -> pd.Series:
    """Read the mapping from image to NIH patient.

    Args:
        data: RSNA's JSON (a list of objects with `subset_img_id` and `img_id`), or a CSV whose first column is the
            image id and whose second is the NIH file (`PPPPPPPP_NNN.png`: patient and follow-up) or a patient id.
        where: The file's name, for errors.

    Returns:
        Patient ids (str) by image id.

    Raises:
        UserError: The file is neither.
    """
    expected = f"Expected RSNA's {MAPPING_NAME}, or a CSV with the columns patientId and nih_image."
    try:
        if data.lstrip()[:1] in (b"[", b"{"):
            records = json.loads(data)
            pairs = [(record["subset_img_id"], record["img_id"]) for record in records]
        else:
            frame = pd.read_csv(io.BytesIO(data), dtype=str, encoding="utf-8-sig")
            pairs = list(frame.iloc[:, [0, 1]].dropna().itertuples(index=False, name=None))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{where}: not an image-to-patient mapping ({error!r}). {expected}") from error
    if not pairs:
        raise UserError(f"{where}: an empty mapping. {expected}")
    # NIH names its files <patient>_<follow-up>.png; anything else is taken to be the patient's id itself.
    image_ids, names = zip(*pairs, strict=True)
    patients = pd.Series(names, index=pd.Index(image_ids, dtype=str), dtype=str).str.replace(
        r"^(\d+)_\d+\.png$", r"\1", regex=True
    )
    return patients[~patients.index.duplicated()]
