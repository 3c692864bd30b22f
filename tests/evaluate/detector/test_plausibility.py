from __future__ import annotations

import pytest

from convert.pictures import Header
from evaluate.detector.plausibility import doubt_of


@pytest.mark.parametrize(
    ("header", "doubt"),
    [
        ({}, ""),
        ({"modality": "CR", "body_part": "CHEST", "view": "PA"}, ""),
        ({"modality": "DX", "body_part": "PORT CHEST", "view": "AP"}, ""),
        ({"modality": "OT", "body_part": "THORAX"}, ""),
        ({"modality": "CT", "body_part": "CHEST"}, "Modality CT"),
        ({"modality": "MG", "body_part": "BREAST", "view": "LL"},
         "Modality MG; Body Part Examined BREAST; View Position LL"),
        ({"modality": "DX", "view": "LATERAL"}, "View Position LATERAL"),
        ({"modality": "DX", "view": "RL", "for_processing": True},
         "View Position RL; Presentation Intent Type FOR PROCESSING"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_frontal_chest_xray(header, doubt):
    assert doubt_of(Header(width=8, height=8, **header)) == doubt


def test_a_long_word_of_a_damaged_header_is_cut():
    assert len(doubt_of(Header(width=8, height=8, modality="X" * 5000, body_part="Y" * 5000))) < 100
