"""A scoring from what is asked to a typed result: splits, predictions, leakage, numbers, `score.json`."""
