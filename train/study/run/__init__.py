"""The trials of a study: which are left, trained on Ray Tune, scored as `evaluate/score.py` does, written down."""
