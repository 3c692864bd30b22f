"""Where raw data and data sets lie unless somebody says otherwise, and the file names of the challenge's two releases.

Downloads put raw data there, converters look for them there, and drawn releases have the same files. Imports nothing
heavy.
"""

from __future__ import annotations

from common.paths import PROJECT

DATA_SETS = PROJECT / "datasets"
"""Where converters put what they make: a folder for each source."""
RSNA_DATA_SET = DATA_SETS / "rsna"
RAW = DATA_SETS / "raw"

RSNA_FOLDER = RAW / "rsna"
"""Kaggle's release, extracted."""
RSNA_ZIP = RAW / "rsna-pneumonia-detection-challenge.zip"
"""Kaggle's release as Kaggle's client leaves it."""
RELEASE_FOLDER = RAW / "rsna-release"
"""RSNA's own release."""
NIH_FOLDER = RAW / "nih"
NIH_ZIP = RAW / "nih-chest-xrays.zip"
SIIM_COVID_FOLDER = RAW / "siim-covid"
SIIM_COVID_ZIP = RAW / "siim-covid19-detection.zip"
VINDR_FOLDER = RAW / "vindr"
VINDR_ZIP = RAW / "vinbigdata-chest-xray-abnormalities-detection.zip"
"""The other sources, extracted or as their zip comes."""

LABELS = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
SUBMISSION = "stage_2_sample_submission.csv"
TRAIN_IMAGES = "stage_2_train_images"
CHALLENGE_IMAGES = "stage_2_test_images"
"""The pictures of Kaggle's release, in two folders."""

MAPPING_NAME = "pneumonia-challenge-dataset-mappings_2018.json"
"""RSNA's file: a list of `{subset_img_id, img_id, ...}`, image id and file name in NIH ChestX-ray14."""
ANNOTATIONS = "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json"
PICTURES = "pneumonia-challenge-dataset-adjudicated-kaggle_2018.zip"
PICTURES_FOLDER = "mdai_rsna_project_x9N20BZa_images_2018-07-20-153330"
"""Of RSNA's own release; the folder is in the zip."""

SAMPLE_MARKER = "sample.json"
"""Lies in a synthetic release; scores on one are not comparable with published ones, and reports say so."""
