"""What predicts together: detectors, classifiers, and predictions of others; found, written down, run, and joined.

One code path serves the splits of a data set and new pictures, so that what is submitted is what was scored. Knows
models and pictures through `evaluate.detector` and `evaluate.classifier`; no score, no report, no command.
"""

from evaluate.system.record import System, SystemClassifier, SystemDetector, SystemPredictions

__all__ = ["System", "SystemClassifier", "SystemDetector", "SystemPredictions"]
