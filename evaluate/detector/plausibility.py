"""What a DICOM header says against a frontal chest X-ray, which is all that the models know. Nobody is refused for it.

Headers are often empty, and hospitals have words of their own for a body part: only what clearly says something else
counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convert.pictures import Header

NO_CHEST = "no chest radiograph"
"""What to call an image whose header says that it is of another modality or another part of the body."""

_RADIOGRAPHS = frozenset(("CR", "DX", "DR", "RG", "XR", "OT", "SC", ""))
"""Modalities of radiographs (PS3.3 C.7.3.1.1.1), some that are not in the Standard any more or never were, and those
that say nothing: other, secondary capture."""
_CHEST = ("CHEST", "THORA", "TORA", "LUNG", "PULM", "BRUST", "HEART", "RIB", "WHOLEBODY")
"""What the words for it begin with or contain, in the Standard (CHEST, LUNG, RIB) and in hospitals."""
_OTHER_VIEWS = frozenset(("LL", "RL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"))
"""Lateral and oblique ones (PS3.3 C.8.7.1)."""
_MODALITY, _BODY_PART = "Modality", "Body Part Examined"


def doubt_of(header: Header) -> str:
    """What speaks against a frontal chest X-ray, such as `Modality CT`, several joined by `; `; empty if nothing does.

    Args:
        header: Of a picture file, it says nothing.
    """
    doubts = []
    if header.modality not in _RADIOGRAPHS:
        doubts.append(f"{_MODALITY} {header.modality[:16]}")
    if header.body_part and not any(word in header.body_part for word in _CHEST):
        doubts.append(f"{_BODY_PART} {header.body_part[:32]}")
    view = header.view or ""
    if view in _OTHER_VIEWS or view.startswith("LAT"):
        doubts.append(f"View Position {view[:16]}")
    if header.for_processing:
        doubts.append("Presentation Intent Type FOR PROCESSING")
    return "; ".join(doubts)


def is_no_chest(doubt: str) -> bool:
    """Whether a doubt of `doubt_of` is about the modality or the part of the body, not about the view or processing."""
    return any(one.startswith((f"{_MODALITY} ", f"{_BODY_PART} ")) for one in doubt.split("; "))
