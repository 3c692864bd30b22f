"""Where raw data lie unless somebody says otherwise: where downloads put them and converters look for them."""

from __future__ import annotations

from common.paths import PROJECT

RAW = PROJECT / "datasets" / "raw"

RSNA_FOLDER = RAW / "rsna"
"""Kaggle's release, extracted."""
RSNA_ZIP = RAW / "rsna-pneumonia-detection-challenge.zip"
"""Kaggle's release as Kaggle's client leaves it."""
RELEASE_FOLDER = RAW / "rsna-release"
"""RSNA's own release."""
